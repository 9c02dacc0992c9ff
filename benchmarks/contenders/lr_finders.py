"""Learning-rate finders that people use, each with its own defaults, for `benchmarks/lr_finder.py`.

A finder is a function ``(model, data, spec) -> {rule: lr}``; a rule that has no answer gives None. Where a package is
not installed its finders are left out.
"""

import contextlib
import importlib.util
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.data import Data
from convlab.spec import TrainSpec
from convlab.training.lr_finder import range_test
from convlab.training.lr_probe import probe_lr
from convlab.training.lr_rules import NoSuggestionError
from convlab.training.lr_sweep import RULES
from convlab.training.optimizers import build_optimizer

Found = dict[str, float | None]
Finder = Callable[[nn.Module, Data, TrainSpec], Found]


def _loader(data: Data, spec: TrainSpec) -> DataLoader:
    dataset = TensorDataset(data.train.x, data.train.y)
    return DataLoader(dataset, batch_size=spec.batch_size, shuffle=True, drop_last=True)


def convlab(model: nn.Module, data: Data, spec: TrainSpec) -> Found:
    sweep = range_test(model, data, spec)
    if sweep.refusal is not None:
        return dict.fromkeys(RULES)
    return {rule: sweep.suggestion(rule).lr for rule in RULES}


def convlab_probe(model: nn.Module, data: Data, spec: TrainSpec) -> Found:
    probe = probe_lr(model, data, spec)
    with contextlib.suppress(NoSuggestionError):
        return {"probe": probe.suggestion().lr}
    return {"probe": None}


def torch_lr_finder(model: nn.Module, data: Data, spec: TrainSpec) -> Found:
    from torch_lr_finder import LRFinder

    optimizer = build_optimizer(model.parameters(), spec.replace(lr=1e-7))
    finder = LRFinder(model, optimizer, nn.CrossEntropyLoss(), device="cpu")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        finder.range_test(_loader(data, spec), end_lr=10, num_iter=100)
    # What its plot marks: the steepest descent, ten points skipped at the start and five at the end.
    losses = torch.tensor(finder.history["loss"])[10:-5]
    steepest = None
    if len(losses) > 1:
        steepest = finder.history["lr"][10:-5][int(torch.gradient(losses)[0].argmin())]
    finder.reset()
    return {"steepest": steepest}


def fastai(model: nn.Module, data: Data, spec: TrainSpec) -> Found:
    from fastai.callback.schedule import minimum, slide, steep, valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    def optimizer(params, lr, **_):
        flat = [p for group in params for p in ([group] if isinstance(group, nn.Parameter) else group)]
        return OptimWrapper(opt=build_optimizer(flat, spec.replace(lr=lr)))

    loader = _loader(data, spec)
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(
            DataLoaders(loader, loader), model, loss_func=nn.CrossEntropyLoss(), opt_func=optimizer, path=folder
        )
        with learner.no_bar():
            found = learner.lr_find(show_plot=False, suggest_funcs=(valley, slide, minimum, steep))
    return {name: float(lr) for name, lr in found._asdict().items()}


def lightning(model: nn.Module, data: Data, spec: TrainSpec) -> Found:
    import lightning as L
    from lightning.pytorch.tuner import Tuner

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = model, 1e-3

        def training_step(self, batch, _):
            x, y = batch
            return F.cross_entropy(self.model(x), y)

        def configure_optimizers(self):
            return build_optimizer(self.model.parameters(), spec.replace(lr=self.lr))

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        with contextlib.redirect_stderr(io.StringIO()):
            finder = Tuner(trainer).lr_find(Module(), _loader(data, spec))
    lr = finder.suggestion()
    return {"steepest": None if lr is None or not math.isfinite(lr) else lr}


_PACKAGES = {torch_lr_finder: "torch_lr_finder", fastai: "fastai", lightning: "lightning"}
FINDERS: dict[str, Finder] = {
    finder.__name__: finder
    for finder in (convlab, torch_lr_finder, fastai, lightning)
    if finder not in _PACKAGES or importlib.util.find_spec(_PACKAGES[finder])
}
warnings.filterwarnings("ignore")
