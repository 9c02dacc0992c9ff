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
    from convlab.panels.remedies import Applied
    from convlab.search.attempts import Trial
    from convlab.search.sweep import Sweep


def further_panels(lab: Lab) -> dict[str, Callable[[], widgets.Widget]]:
    """What makes the panel of each tab, by its title."""
    applied: list[Applied] = []  # outlives the panel, which another network or other data renew
    return {
        "Advice": lambda: _advice(lab, applied),
        "Learning rate": lambda: _lr_finder(lab),
        "Schedule": lambda: _schedule(lab),
        "Scores": lambda: _scores(lab),
        "Runs": lambda: _runs(lab),
        "Sweep": lambda: _sweep(lab),
        "Build": lambda: _build(lab),
        "Architecture": lambda: _architecture(lab),
        "Network": lambda: _network(lab),
        "Receptive field": lambda: _receptive_field(lab),
        "Inside": lambda: _inside(lab),
        "Convolution": _explorer,
        "Code": lambda: _code(lab),
    }


def _advice(lab: Lab, applied: list[Applied]) -> widgets.Widget:
    from convlab.panels.advice import Advice
    from convlab.panels.remedies import take_over
    from convlab.panels.tour import TourPanel

    panel = Advice(lab, lambda: lab.tabs.is_shown("Advice"), applied)
    tour = TourPanel(
        network=lambda: lab.model if lab.edits or lab.net is None else lab.net,
        data=lambda: lab.data,
        spec=lambda: lab.spec,
        use=lambda spec, edits, data: take_over(lab, spec, edits, data),
        add=lab.watch_beside,
        free=lab.free_to_train,
        criterion=lab.criterion,
    )
    lab.following.append(panel.follow)
    lab.on_tab.append(panel.follow)
    return widgets.VBox([panel, widgets.Accordion([tour], titles=("Guided tour: from defaults to a tuned network",))])


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


def _sweep(lab: Lab) -> widgets.Widget:
    from convlab.panels.sweep import SweepPanel

    def send(sweep: Sweep, trial: Trial) -> None:
        lab.free_to_train()
        spec, net = sweep.spec(trial), sweep.net(trial)
        if net is not None and net != lab.net:
            lab.use(net, spec.seed)
        lab.set(**lab.spec.changes_to(spec))
        lab.tabs.show("Training")
        lab.messages.note(f"The network and the settings of trial {trial.number} are on the bench: press Run.")

    def look(sweep: Sweep, trial: Trial) -> None:
        lab.free_to_train()
        lab.load(sweep.directory.run_file(trial.number))
        lab.tabs.show("Training")
        lab.messages.note(f"The run of trial {trial.number} is on the bench, its curve on the Runs tab, too.")

    panel = SweepPanel(
        lambda: lab.net or lab.model, lab.data, lambda: lab.spec, send, look, lab.criterion, lab.sweep_directory
    )

    def remember(change: Any) -> None:
        lab.sweep_directory = change["new"]

    panel.directory.observe(remember, "value")
    return panel


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


def _inside(lab: Lab) -> widgets.Widget:
    from convlab.panels.inside import InsidePanel

    panel = InsidePanel(
        lab.model, lab.data, lambda: lab.current, lambda: lab.tabs.is_shown("Inside"), criterion=lab.criterion
    )
    lab.looking.append(panel)
    lab.following.append(panel.follow)
    lab.on_tab.append(panel.look)
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
