"""The sweep panel: what to try, how much of it, and what has come of it so far; the trials run in other processes."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ipywidgets as widgets
from torch import nn

from convlab.data.resolve import Data
from convlab.frontend.curves import Curves
from convlab.frontend.style import Style
from convlab.net_spec import NetSpec
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.settings import dropout_of
from convlab.panels.sweep_pictures import curve_lines, importances, parallel, ranked, state_line, table
from convlab.panels.sweep_space import STRUCTURE, TRAINING, SpaceEditor
from convlab.search.attempts import Counts, Trial
from convlab.search.sweep import Sweep
from convlab.spec import TrainSpec
from convlab.training.trainer import Criterion

LOOK_SECONDS: Final = 1.0
"""How often the study is read while workers are at it."""

_STYLE: Final = {"description_width": "auto"}
_SAMPLERS: Final = (("TPE", "tpe"), ("random", "random"), ("grid", "grid"))
_PRUNERS: Final = (("median", "median"), ("Hyperband", "hyperband"), ("none", "none"))


class SweepPanel(widgets.VBox):
    """Tick what to try, press Start, and watch; a sweep that is in the directory is shown at once.

    Args:
        network: what is trained: a `NetSpec`, or a network, of which each trial trains a copy.
        data: what it learns.
        spec: the settings that are not tried.
        send: puts a trial's settings and network on the bench.
        look: puts a trial's run on the bench.
        criterion: the user's, if any.
        directory: where sweeps are kept, to begin with.

    Attributes:
        sweep: the sweep that is shown, or None.
    """

    def __init__(
        self,
        network: Callable[[], nn.Module | NetSpec],
        data: Data,
        spec: Callable[[], TrainSpec],
        send: Callable[[Sweep, Trial], object],
        look: Callable[[Sweep, Trial], object],
        criterion: Criterion | None = None,
        directory: str = "sweep",
    ) -> None:
        self._network, self._data, self._spec = network, data, spec
        self._send_trial, self._look_at, self._criterion = send, look, criterion
        self.sweep: Sweep | None = None
        self._follower: threading.Thread | None = None
        self._closed = threading.Event()
        self._drawn: object = None
        self._messages = Messages()
        self._latest = Latest(self._on_error)
        self.editor = SpaceEditor(_names(network()), self._tell_plan)
        self._make_budget(directory)
        self._make_buttons()
        self.line = widgets.HTML().add_class("convlab-sweep-line")
        self.curves = Curves(x_label="epoch", y_label="validation loss", y_log=True, height=200)
        self.lines = widgets.HTML()
        self.bars = widgets.HTML()
        self.best = widgets.HTML()
        super().__init__(
            [
                Style(),
                self.editor,
                self.budget,
                self.buttons,
                self.line,
                self._messages,
                self.curves,
                widgets.HBox([self.lines, self.bars]).add_class("convlab-sweep-pictures"),
                self.best,
                self.actions,
            ]
        )
        self.add_class("convlab").add_class("convlab-sweep")
        self._show()
        self._attach()

    # -- controls -----------------------------------------------------------------------------------------------------

    def _make_budget(self, directory: str) -> None:
        self.sampler = _dropdown("Sampler", "What proposes values: TPE learns from the trials before.", _SAMPLERS)
        self.pruner = _dropdown("Pruner", "What ends a hopeless trial after an epoch.", _PRUNERS)
        self.trials = _number(
            widgets.BoundedIntText, "Trials", "How many in all; skipped ones not counted.", 20, 1, 10**6
        )
        self.minutes = _number(
            widgets.BoundedFloatText,
            "Minutes, at most",
            "Time after which no trial begins; 0 is no limit.",
            0,
            0,
            10**5,
        )
        self.workers = _number(
            widgets.BoundedIntText, "Workers", "Processes of this machine; they outlive the kernel.", 1, 1, 256
        )
        self.directory = widgets.Text(directory, description="Directory", style=_STYLE, continuous_update=False)
        self.directory.tooltip = "Where the sweep is kept; one that is there already is shown and taken up."
        self.directory.observe(lambda _: self._attach(), "value")
        self.sampler.observe(lambda _: self._show(), "value")
        parts = [self.sampler, self.pruner, self.trials, self.minutes, self.workers, self.directory]
        self.budget = widgets.HBox(parts).add_class("convlab-keep")

    def _make_buttons(self) -> None:
        self.start_button = _button("Start", "play", "Begin, or go on until there are so many trials.", self.start)
        self.pause_button = _button("Pause", "pause", "Let the workers stand still after their epoch.", self.pause)
        self.stop_button = _button("Stop", "stop", "Let the workers end; what they train is begun again.", self.stop)
        self.buttons = widgets.HBox([self.start_button, self.pause_button, self.stop_button])
        self.buttons.add_class("convlab-buttons")
        self.send_button = _button(
            "Send best to bench", "share", "Put the best trial's settings and network on the bench.", self.send_best
        )
        self.chosen = _dropdown("Trial", "The finished trials, the best first.", [("none yet", None)])
        self.open_button = _button("Open trial", "folder-open", "Put the trial's run on the bench.", self.open_trial)
        self.actions = widgets.HBox([self.send_button, self.chosen, self.open_button]).add_class("convlab-keep")

    def start(self) -> None:
        """Begin the sweep that is ticked, or go on with the one that is in the directory."""
        self._latest.also(self._start)

    def _start(self) -> None:
        self._messages.clear()
        self._say("Starting the workers.")
        self.sweep = Sweep(
            self._network(),
            self._data,
            self._spec(),
            self.editor.space,
            directory=self._place,
            sampler=str(self.sampler.value),
            pruner=str(self.pruner.value),
            criterion=self._criterion,
        )
        trials = None if self.sampler.value == "grid" else int(self.trials.value)
        self.sweep.run(trials, minutes=self.minutes.value or None, workers=int(self.workers.value))
        self._draw()
        self._follow()

    def pause(self) -> None:
        """Stand still, or go on."""
        self._latest.also(self._pause)

    def _pause(self) -> None:
        if self.sweep is not None:
            self.sweep.resume() if self.sweep.state == "paused" else self.sweep.pause()
            self._draw()
            self._follow()

    def stop(self) -> None:
        """End; nothing that has finished is lost."""
        self._latest.also(self._stop)

    def _stop(self) -> None:
        if self.sweep is not None:
            self.sweep.stop()
            self._draw()

    def send_best(self) -> None:
        """Put the best trial on the bench."""
        self._latest.also(self._send_best)

    def _send_best(self) -> None:
        sweep = self.sweep
        if sweep is not None and (best := sweep.best) is not None:
            self._messages.clear()
            self._send_trial(sweep, best)

    def open_trial(self) -> None:
        """Put the chosen trial's run on the bench."""
        self._latest.also(self._open_trial)

    def _open_trial(self) -> None:
        number: Any = self.chosen.value
        if self.sweep is not None and number is not None:
            trial = next(one for one in self.sweep.trials if one.number == number)
            self._messages.clear()
            self._look_at(self.sweep, trial)

    def close(self) -> None:
        """Take the panel away; the workers go on."""
        self._closed.set()
        super().close()

    # -- showing ------------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> Path:
        return Path(self.directory.value.strip() or "sweep").expanduser()

    def _attach(self) -> None:
        """Show the sweep that is in the directory."""
        if (self._place / "sweep.json").is_file():
            self._latest.also(self._open)
        elif self.sweep is not None:
            self.sweep, self._drawn = None, None
            self._show()

    def _open(self) -> None:
        self.sweep, self._drawn = Sweep.open(self._place), None
        told = self.sweep.directory.manifest
        self.editor.show(told["space"])
        self.sampler.value, self.pruner.value = told["sampler"], told["pruner"]
        self.trials.value = self.sweep.directory.budget.trials or self.trials.value
        self._draw()
        self._follow()

    def _follow(self) -> None:
        """Look again and again while workers are at it, in a thread that does not hold up the kernel's end."""
        if self._follower is None or not self._follower.is_alive():
            self._follower = threading.Thread(target=self._keep_looking, name="convlab-sweep", daemon=True)
            self._follower.start()

    def _keep_looking(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            sweep = self.sweep
            if sweep is None:
                return
            is_over = sweep.state not in ("running", "paused")
            self.refresh()
            if is_over:
                return

    def refresh(self) -> None:
        """Look again, soon and in another thread."""
        self._latest(self._draw)

    def settle(self) -> None:
        """Block until all that was asked for is done."""
        self._latest.wait()

    def _draw(self) -> None:
        if self._closed.is_set():
            return
        sweep = self.sweep
        trials = [] if sweep is None else sweep.trials
        self._show(trials)
        drawn = [(one.number, one.state, len(one.losses)) for one in trials]
        if sweep is None or drawn == self._drawn:
            return
        self._drawn = drawn
        self.curves.show(curve_lines(trials))
        names = [*sweep.space.entries]
        self.best.value = table(trials, names)
        self.lines.value = parallel(trials, sweep.space.entries)
        self.bars.value = importances(sweep.importances())

    def _show(self, trials: list[Trial] | None = None) -> None:
        """The line, and what can be pressed."""
        sweep, trials = self.sweep, trials or []
        state = "pending" if sweep is None else sweep.state
        best = ranked(trials)
        if sweep is None or state == "pending":
            self._tell_plan()
        else:
            first = best[0] if best else None
            self._say(state_line(state, Counts.of(trials), sweep.total, first, sweep.seconds_left))
        busy = state in ("running", "paused")
        self.editor.lock(busy)
        for control in (self.sampler, self.pruner, self.directory):
            control.disabled = busy
        self.trials.disabled = self.sampler.value == "grid"
        self.start_button.disabled = busy
        self.pause_button.disabled = self.stop_button.disabled = not busy
        self.pause_button.description, self.pause_button.icon = (
            ("Resume", "play") if state == "paused" else ("Pause", "pause")
        )
        options: list[tuple[str, int | None]] = [(f"{one.number}: {one.value:.4g}", one.number) for one in best]
        options = options or [("none yet", None)]
        if tuple(options) != self.chosen.options:
            before = self.chosen.value
            was_best = before == self.chosen.options[0][1]
            self.chosen.options = options
            is_kept = not was_best and before in dict(options).values()
            self.chosen.value = before if is_kept else options[0][1]
        self.send_button.disabled = self.open_button.disabled = not best
        for part in (self.curves, self.actions):
            part.layout.display = None if trials else "none"

    def _tell_plan(self) -> None:
        if self.sweep is None:
            names = ", ".join(self.editor.space) or "nothing yet: tick a setting"
            self._say(f"Will try {names}; every other setting is that of the Training tab.")

    def _say(self, text: str) -> None:
        # A live region: a screen reader says it when it changes.
        line = f'<div role="status" aria-live="polite">{html.escape(text)}</div>'
        if line != self.line.value:
            self.line.value = line

    def _on_error(self, error: BaseException) -> None:
        self._messages.exception(error)
        self._show([] if self.sweep is None else self.sweep.trials)


def _names(network: nn.Module | NetSpec) -> list[str]:
    """The settings that a sweep of this network has."""
    if isinstance(network, NetSpec):
        return [*TRAINING, *STRUCTURE]
    return [name for name in TRAINING if name != "dropout" or dropout_of(network) is not None]


def _dropdown(text: str, tooltip: str, options: Any) -> widgets.Dropdown:
    # A Dropdown that has a description does not show its tooltip.
    label = f'<span title="{tooltip}">{text}</span>'
    return widgets.Dropdown(options=options, description=label, description_allow_html=True, style=_STYLE)


def _number(kind: Any, text: str, tooltip: str, value: float, low: float, high: float) -> Any:
    made = kind(value, min=low, max=high, description=text, style=_STYLE)
    made.tooltip = tooltip
    return made.add_class("convlab-count")


def _button(text: str, icon: str, tooltip: str, act: Callable[[], object]) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon, tooltip=tooltip)
    button.on_click(lambda _: act())
    return button
