"""The panels behind the bench's further tabs, each made when it is first looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from convlab.net_spec import NetSpec
from convlab.schedule_spec import ScheduleSpec
from convlab.training.progress import steps_per_epoch

if TYPE_CHECKING:
    from convlab.panels.lab import Lab


def further_panels(lab: Lab) -> dict[str, Callable[[], widgets.Widget]]:
    """What makes the panel of each tab, by its title."""
    return {
        "Learning rate": lambda: _lr_finder(lab),
        "Schedule": lambda: _schedule(lab),
        "Scores": lambda: _scores(lab),
        "Runs": lambda: _runs(lab),
        "Build": lambda: _build(lab),
        "Architecture": lambda: _architecture(lab),
        "Network": lambda: _network(lab),
        "Receptive field": lambda: _receptive_field(lab),
        "Convolution": _explorer,
        "Code": lambda: _code(lab),
    }


def _lr_finder(lab: Lab) -> widgets.Widget:
    from convlab.panels.lr_finder import LRFinder

    return LRFinder(
        lab.model,
        lab.data,
        spec=lambda: lab.spec,
        apply=lambda lr: lab.set(lr=lr),
        pause=lab.pause,
        then=lambda: lab.tabs.show("Schedule"),
        criterion=lab.criterion,
    )


def _schedule(lab: Lab) -> widgets.Widget:
    from convlab.panels.schedule import SchedulePreview

    def apply(schedule: ScheduleSpec | None) -> None:
        lab.set(schedule=schedule)
        lab.tabs.show("Training")

    panel = SchedulePreview(
        train=lambda: lab.spec,
        steps_per_epoch=lambda: steps_per_epoch(lab.data, lab.spec),
        history=lambda: lab.current.history if lab.current else None,
        apply=apply,
    )
    lab.on_spec.append(panel.refresh)
    lab.on_tab.append(panel.refresh)  # a run may have got further
    return panel


def _scores(lab: Lab) -> widgets.Widget:
    from convlab.panels.metrics import MetricsPanel

    panel = MetricsPanel(lambda: lab.current, lab.data, lambda: lab.tabs.is_shown("Scores"))
    lab.following.append(panel.follow)
    lab.rewound.append(panel)
    lab.on_tab.append(panel.refresh)
    return panel


def _runs(lab: Lab) -> widgets.Widget:
    from convlab.panels.ab import ABPanel
    from convlab.panels.keep import Keep
    from convlab.panels.runs import RunsPanel

    table = RunsPanel(lambda: lab.runs, lab.runs.remove)
    pairs = ABPanel(
        lambda: lab.net or lab.model, lab.data, lambda: lab.spec, lab.watch_beside, lab.free_to_train, lab.criterion
    )
    keep = Keep(lambda: table.selected, lab.load, lab.keep_in, lab.autosave or "runs", lab.autosave is not None)
    sections = widgets.Accordion([pairs, keep], titles=("A/B: does it matter?", "Keep: save, load, resume, export"))

    def follow() -> None:
        if lab.tabs.is_shown("Runs"):
            table.refresh()

    def look() -> None:
        if lab.tabs.is_shown("Runs"):
            table.refresh()
            keep.refresh()  # a run that is kept by epoch may have been written meanwhile

    lab.following.append(follow)
    lab.on_spec.append(pairs.refresh)
    lab.on_tab.append(look)
    return widgets.VBox([table, sections])


def _build(lab: Lab) -> widgets.Widget:
    from convlab.panels.build import NetBuilder

    def use(spec: NetSpec, seed: int) -> None:
        lab.use(spec, seed)
        lab.tabs.show("Training")

    return NetBuilder(lab.data, use, lab.net)


def _architecture(lab: Lab) -> widgets.Widget:
    from convlab.panels.architecture import Architecture

    panel = Architecture(lab.live, lab.edit)
    lab.rewound.append(panel)
    return panel


def _network(lab: Lab) -> widgets.Widget:
    from convlab.panels.network import Network

    panel = Network(lab.model, (1, *lab.data.input_size))
    panel.observe(lambda change: _on_layer_clicked(lab, change), "selected")
    lab.looking.append(panel)
    return panel


def _on_layer_clicked(lab: Lab, change: Any) -> None:
    panel = lab.tabs.show("Receptive field")
    if hasattr(panel, "select"):  # otherwise the tab says why it cannot be drawn
        panel.select(change["new"])


def _receptive_field(lab: Lab) -> widgets.Widget:
    from convlab.panels.receptive_field import ReceptiveFieldPanel

    panel = ReceptiveFieldPanel(lab.model, lab.data.pictures(64))
    lab.rewound.append(panel)
    return panel


def _code(lab: Lab) -> widgets.Widget:
    from convlab.panels.code import Code

    panel = Code(lab, is_shown=lambda: lab.tabs.is_shown("Code"))
    lab.looking.append(panel)
    lab.following.append(panel.follow)
    lab.on_spec.append(panel.refresh)
    lab.on_tab.append(panel.look)
    return panel


def _explorer() -> widgets.Widget:
    from convlab.frontend.explorer import ConvExplorer

    return ConvExplorer()
