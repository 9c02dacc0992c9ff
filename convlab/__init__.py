"""A lab bench for convolutional networks inside a notebook.

Public names resolve on first use, so that ``import convlab`` and ``%load_ext convlab`` load neither torch nor
matplotlib, and ``convlab.geometry`` never does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from convlab._version import __version__ as __version__

if TYPE_CHECKING:
    from convlab import data as data
    from convlab import geometry as geometry
    from convlab._ipython import load_ipython_extension as load_ipython_extension
    from convlab._ipython import unload_ipython_extension as unload_ipython_extension
    from convlab.diagnosis.attribution import occlusion as occlusion
    from convlab.diagnosis.attribution import saliency as saliency
    from convlab.diagnosis.diagnose import diagnose as diagnose
    from convlab.diagnosis.finding import Finding as Finding
    from convlab.diagnosis.inside import Inside as Inside
    from convlab.diagnosis.inside import look_inside as look_inside
    from convlab.diagnosis.inside_log import InsideLog as InsideLog
    from convlab.diagnosis.inside_log import watch_inside as watch_inside
    from convlab.diagnosis.maps import feature_maps as feature_maps
    from convlab.diagnosis.maps import kernels as kernels
    from convlab.diagnosis.tour import Tour as Tour
    from convlab.frontend.explorer import ConvExplorer as ConvExplorer
    from convlab.lab_state import LabState as LabState
    from convlab.models.build import build as build
    from convlab.models.gallery import GALLERY as GALLERY
    from convlab.models.gallery import net as net
    from convlab.models.live import LiveModel as LiveModel
    from convlab.models.live import bind as bind
    from convlab.models.trace import Trace as Trace
    from convlab.models.trace import trace as trace
    from convlab.models.verify import verify as verify
    from convlab.net_spec import Block as Block
    from convlab.net_spec import Head as Head
    from convlab.net_spec import NetSpec as NetSpec
    from convlab.panels.lab import Lab as Lab
    from convlab.schedule_spec import ScheduleSpec as ScheduleSpec
    from convlab.search.sweep import Sweep as Sweep
    from convlab.spec import TrainSpec as TrainSpec
    from convlab.training.ab import ab as ab
    from convlab.training.autosave import saved_runs as saved_runs
    from convlab.training.evaluate import evaluate as evaluate
    from convlab.training.fit import fit as fit
    from convlab.training.history import History as History
    from convlab.training.lr_finder import range_test as range_test
    from convlab.training.lr_probe import probe_lr as probe_lr
    from convlab.training.lr_sweep import LRSweep as LRSweep
    from convlab.training.replay import replay as replay
    from convlab.training.run import Run as Run
    from convlab.training.schedules import simulate as simulate

_ROOMS = ("data", "geometry")
_HOME = {
    "Lab": "convlab.panels.lab",
    "LabState": "convlab.lab_state",
    "ConvExplorer": "convlab.frontend.explorer",
    "diagnose": "convlab.diagnosis.diagnose",
    "Finding": "convlab.diagnosis.finding",
    "Tour": "convlab.diagnosis.tour",
    "feature_maps": "convlab.diagnosis.maps",
    "kernels": "convlab.diagnosis.maps",
    "occlusion": "convlab.diagnosis.attribution",
    "saliency": "convlab.diagnosis.attribution",
    "Inside": "convlab.diagnosis.inside",
    "look_inside": "convlab.diagnosis.inside",
    "InsideLog": "convlab.diagnosis.inside_log",
    "watch_inside": "convlab.diagnosis.inside_log",
    "TrainSpec": "convlab.spec",
    "LiveModel": "convlab.models.live",
    "bind": "convlab.models.live",
    "Trace": "convlab.models.trace",
    "trace": "convlab.models.trace",
    "build": "convlab.models.build",
    "GALLERY": "convlab.models.gallery",
    "net": "convlab.models.gallery",
    "NetSpec": "convlab.net_spec",
    "Block": "convlab.net_spec",
    "Head": "convlab.net_spec",
    "verify": "convlab.models.verify",
    "ab": "convlab.training.ab",
    "saved_runs": "convlab.training.autosave",
    "evaluate": "convlab.training.evaluate",
    "replay": "convlab.training.replay",
    "fit": "convlab.training.fit",
    "Run": "convlab.training.run",
    "History": "convlab.training.history",
    "LRSweep": "convlab.training.lr_sweep",
    "ScheduleSpec": "convlab.schedule_spec",
    "Sweep": "convlab.search.sweep",
    "probe_lr": "convlab.training.lr_probe",
    "range_test": "convlab.training.lr_finder",
    "simulate": "convlab.training.schedules",
    "load_ipython_extension": "convlab._ipython",
    "unload_ipython_extension": "convlab._ipython",
}


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"convlab.{name}")
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'convlab' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
