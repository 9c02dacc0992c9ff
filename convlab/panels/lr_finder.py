"""The learning-rate panel: find one by a sweep or by short trainings, see why, and put it on the bench."""

import html
import threading
from collections.abc import Callable
from typing import Any, Final

import ipywidgets as widgets
from torch import nn

from convlab.data.resolve import Data
from convlab.frontend.curves import Curves, Mark
from convlab.frontend.style import Style
from convlab.panels.lr_lines import probe_lines, sweep_lines, training_lines
from convlab.panels.messages import Messages
from convlab.spec import TrainSpec
from convlab.training.active import active_runs
from convlab.training.lr_finder import range_test
from convlab.training.lr_probe import LRProbe, probe_cost, probe_lr
from convlab.training.lr_rules import LRSuggestion
from convlab.training.lr_sweep import RULES, LRSweep
from convlab.training.trainer import Criterion

SURE: Final = {"high": "sure", "fair": "fairly sure", "low": "not sure"}


class LRFinder(widgets.VBox):
    """Finds a learning rate for a live model, gives the model back bit for bit, and says what it rests on.

    Args:
        model: the live model; a run that trains it must stand still meanwhile.
        data: what it is trained on.
        spec: gives the recipe as it stands; its lr is not used.
        apply: puts an lr on the bench.
        pause: makes a run stand still, for when one is training the model.
        then: called when a suggestion was put on the bench, to go on from there.
        criterion: as for `fit`.

    Attributes:
        sweep: the latest `LRSweep`, or None.
        probe: the latest `LRProbe`, or None.
        chosen: the lr that a click on the curve chose, or None.

    Example:
        >>> from convlab.data import resolve
        >>> from convlab.models.gallery import lenet
        >>> lrs = []
        >>> panel = LRFinder(lenet(), resolve("digits"), spec=TrainSpec, apply=lrs.append)
        >>> panel.find()
        >>> panel.settle()
        >>> panel.suggestions["mean"].click()
        >>> 0.001 < lrs[0] < 1
        True
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        *,
        spec: Callable[[], TrainSpec],
        apply: Callable[[float], object],
        pause: Callable[[], object] = lambda: None,
        then: Callable[[], object] = lambda: None,
        criterion: Criterion | None = None,
    ) -> None:
        self.model, self.data, self.criterion = model, data, criterion
        self._spec, self._put, self._pause, self._then = spec, apply, pause, then
        self.sweep: LRSweep | None = None
        self.probe: LRProbe | None = None
        self.chosen: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # Clicks and the thread that tests come from wherever they like.
        self._hand = threading.RLock()
        self._make_parts()
        super().__init__(
            [
                Style(),
                widgets.HBox([self.find_button, self.careful_button, self.stop_button, self.line]),
                self._messages,
                self.curves,
                self.trainings,
                widgets.HBox([widgets.Label("Put on the bench:"), *self.suggestions.values(), self.apply_button]),
                self.reason,
                self.proof,
                self.options,
            ]
        )
        self.children[1].add_class("convlab-buttons")
        self.children[5].add_class("convlab-suggestions")
        self.add_class("convlab").add_class("convlab-lr-finder")
        self._show_buttons()

    def _make_parts(self) -> None:
        self.find_button = _button("Find learning rate", "search", "A sweep: one step at each lr, from tiny to huge.")
        self.find_button.button_style = "primary"
        self.find_button.on_click(lambda _: self.find())
        self.careful_button = _button("Careful mode", "balance-scale", "")
        self.careful_button.on_click(lambda _: self.careful())
        self.stop_button = _button("Stop", "stop", "End the test; the model is given back as it was.")
        self.stop_button.on_click(lambda _: self.stop())
        self.line = widgets.Label("The model comes back exactly as it is.")
        self._messages = Messages()
        self.curves = Curves(x_label="learning rate", y_label="loss", x_log=True, hint="Click the curve to choose.")
        self.curves.on_pick(self._on_pick)
        self.trainings = Curves(x_label="step", y_label="loss", height=170)
        self.trainings.layout.display = "none"
        self.suggestions = {rule: widgets.Button() for rule in ("careful", *RULES)}
        for rule, button in self.suggestions.items():
            button.on_click(lambda _, rule=rule: self._on_suggestion(rule))
        self.apply_button = widgets.Button()
        self.apply_button.on_click(lambda _: self.apply())
        self.reason, self.proof = widgets.HTML(), widgets.HTML()
        style = {"description_width": "7.5em"}
        self.start_lr = widgets.FloatText(1e-7, description="From lr", style=style, tooltip="The first lr, above 0.")
        self.end_lr = widgets.FloatText(10.0, description="To lr", style=style, tooltip="The last lr.")
        self.num_steps = widgets.IntText(100, description="Steps", style=style, tooltip="Steps from one to the other.")
        self.seeds = widgets.IntText(
            1, description="Sweeps", style=style, tooltip="Sweeps with different orders of the data, averaged."
        )
        numbers = widgets.HBox([self.start_lr, self.end_lr, self.num_steps, self.seeds]).add_class("convlab-settings")
        self.options = widgets.Accordion([numbers], titles=("Options of the sweep",))

    # -- the same as the buttons --------------------------------------------------------------------------------------

    def find(self) -> None:
        """Begin a sweep, unless a test is under way."""
        self._begin(self._sweep)

    def careful(self) -> None:
        """Begin short trainings at a few lrs, after a sweep if there was none."""
        self._begin(self._probe)

    def stop(self) -> None:
        """End the test at its next step."""
        self._stopping.set()

    def apply(self, lr: float | None = None) -> bool:
        """Put `lr`, or else the one that was chosen on the curve, on the bench; whether it is there."""
        lr = self.chosen if lr is None else lr
        if lr is None:
            return False
        before = self._spec().lr
        try:
            self._put(lr)
        except Exception as error:  # a callback's exception would go to the log, where nobody looks
            self._messages.exception(error)
            return False
        self._messages.note(f"Learning rate {lr:.3g} is on the slider of the Training tab; it was {before:.3g}.")
        self._messages.offer("Undo", f"Put {before:.3g} back.", lambda: self._undo(before))
        return True

    def settle(self) -> None:
        """Block until no test is under way."""
        if self._thread is not None:
            self._thread.join()

    def _undo(self, lr: float) -> None:
        self._put(lr)
        self._messages.note(f"Learning rate {lr:.3g} is back on the slider.")

    # -- a test, in a thread of its own -------------------------------------------------------------------------------

    def _begin(self, job: Callable[[], None]) -> None:
        with self._hand:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stopping.clear()
            self._messages.clear()
            self.proof.value = ""
            # No daemon: torch aborts the process that exits under a thread in one of its kernels.
            self._thread = threading.Thread(target=lambda: self._work(job), name="convlab-lr-finder")
            self._show_buttons(busy=True)
            self._thread.start()

    def _work(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # whatever user code raises belongs in the panel
            self._fail(error)
        self._show_buttons(busy=False)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, RuntimeError) and any(not run.standing for run in active_runs(self.model)):
            self._messages.error("The model is being trained right now; the test needs it for a moment.")
            self._messages.offer("Pause and test", "Pause the training, then test.", self._pause_and_find)
        else:
            self._messages.exception(error)
        self.line.value = "The test ended with an error; the model is as it was."
        so_far = getattr(error, "sweep", None)
        if so_far is not None and len(so_far.lrs):
            self.curves.show(sweep_lines(so_far))
            self._prove(so_far)

    def _pause_and_find(self) -> None:
        self._pause()
        self.find()

    def _sweep(self) -> None:
        self.probe = None
        self.trainings.layout.display = "none"
        sweep = range_test(
            self.model,
            self.data,
            self._spec(),
            self.start_lr.value,
            self.end_lr.value,
            self.num_steps.value,
            seeds=self.seeds.value,
            criterion=self.criterion,
            should_stop=self._stopping.is_set,
            listener=self._watch_sweep,
        )
        self.sweep = sweep
        self._show_sweep(sweep)
        self._prove(sweep)
        self._propose(sweep)

    def _probe(self) -> None:
        spec, sweep = self._spec(), self.sweep
        if sweep is not None and sweep.spec != spec.replace(lr=sweep.spec.lr):
            sweep = None  # what was swept is not what would be trained now
        probe = probe_lr(
            self.model,
            self.data,
            spec,
            sweep=sweep,
            criterion=self.criterion,
            should_stop=self._stopping.is_set,
            listener=self._watch_probe,
        )
        self.sweep, self.probe = probe.sweep, probe
        self._show_probe(probe)
        self._prove(probe)
        if probe.refusal is not None:
            self._messages.error(probe.refusal)
        elif probe.trained:
            self._messages.note(probe.trained)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _watch_sweep(self, sweep: LRSweep) -> None:
        self.line.value = f"Testing: step {len(sweep.lrs):,} of {self.num_steps.value:,}"
        self.curves.show(sweep_lines(sweep))

    def _watch_probe(self, probe: LRProbe) -> None:
        self.line.value = f"Testing: {len(probe.lrs)} short trainings of {probe.num_steps} steps are done"
        self._show_probe(probe)

    def _show_sweep(self, sweep: LRSweep) -> None:
        self.curves.y_label = "loss"
        self.line.value = f"{len(sweep.lrs):,} steps, {sweep.seconds:.1f} s; {_ENDINGS[sweep.ending]}."
        marks = []
        if sweep.refusal is None:
            found = sweep.suggestion()
            marks = [Mark(found.lr, f"{found.rule} {found.lr:.2g}")]
            self._explain(found)
        self.curves.show(sweep_lines(sweep), marks)

    def _show_probe(self, probe: LRProbe) -> None:
        self.trainings.layout.display = None
        self.trainings.show(training_lines(probe))
        if probe.refusal is not None:
            return
        self.curves.y_label = "loss after the training"
        found = probe.suggestion()
        self.line.value = f"{len(probe.lrs)} trainings of {probe.num_steps} steps, {probe.seconds:.1f} s."
        marks = [Mark(found.lr, f"careful {found.lr:.2g}")]
        if probe.factor != 1:
            marks.append(Mark(probe.best_lr, f"best of the short trainings {probe.best_lr:.2g}"))
        self.curves.show(probe_lines(probe), marks)
        self._explain(found)

    def _explain(self, found: LRSuggestion) -> None:
        text = f"{found.rule} {found.lr:.3g}: {found.reason} {SURE[found.confidence].capitalize()}: {found.why}"
        self.reason.value = f'<div class="convlab-note">{html.escape(text)}</div>'

    def _prove(self, result: LRSweep | LRProbe) -> None:
        if result.given_back:
            text = "Given back bit for bit: weights, buffers, modes, optimizer, random numbers, order of the data."
            css = "convlab-note"
        else:
            text, css = "Not everything is as it was before the test.", "convlab-error"
        sums = f"Checksum before {result.checksum_before}, after {result.checksum_after}."
        self.proof.value = f'<div class="{css}">{html.escape(text)} <code>{html.escape(sums)}</code></div>'

    def _propose(self, sweep: LRSweep) -> None:
        """Where one sweep does not tell, say why and what the careful mode would cost."""
        why = sweep.refusal
        if why is None and (found := sweep.suggestion()).confidence == "low":
            why = found.why
        if why is None:
            if sweep.trained:
                self._messages.note(sweep.trained)
            return
        cost = probe_cost(self.data, self._spec(), sweep=sweep)
        self._messages.note(f"{why[0].upper()}{why[1:]} The careful mode would tell: {cost}")
        self._messages.offer("Careful mode", str(cost), self.careful)

    def _show_buttons(self, busy: bool = False) -> None:
        with self._hand:
            self.find_button.disabled = self.careful_button.disabled = busy
            self.stop_button.disabled = not busy
            cost = probe_cost(self.data, self._spec(), sweep=self.sweep)
            self.careful_button.tooltip = f"Short real trainings at a few lrs, from the same weights: {cost}"
            best = "mean" if self._found("careful") is None else "careful"
            for rule, button in self.suggestions.items():
                found = None if busy else self._found(rule)
                button.layout.display = "none" if rule == "careful" and found is None else None
                button.disabled = found is None
                button.description = rule if found is None else f"{rule} {found.lr:.2g}"
                button.tooltip = "" if found is None else f"{found.reason} {SURE[found.confidence]}: {found.why}"
                button.button_style = "primary" if found is not None and rule == best else ""
            self.apply_button.disabled = self.chosen is None
            self.apply_button.description = "Apply" if self.chosen is None else f"Apply {self.chosen:.2g}"
            self.apply_button.tooltip = "The learning rate that you clicked on the curve."

    def _found(self, rule: Any) -> LRSuggestion | None:
        result: Any = self.probe if rule == "careful" else self.sweep
        if result is None or result.refusal is not None:
            return None
        found: LRSuggestion = result.suggestion() if rule == "careful" else result.suggestion(rule)
        return found

    def _on_suggestion(self, rule: str) -> None:
        found = self._found(rule)
        if found is not None:
            self._explain(found)
            if self.apply(float(f"{found.lr:.3g}")):
                self._then()

    def _on_pick(self, lr: float, _: float) -> None:
        self.chosen = float(f"{lr:.3g}")
        marks = [*(mark for mark in self.curves.marks if not mark.text.startswith("chosen"))]
        self.curves.show(self.curves.lines, [*marks, Mark(self.chosen, f"chosen {self.chosen:.2g}")])
        self._show_buttons(busy=self._thread is not None and self._thread.is_alive())


_ENDINGS: Final = {"end": "swept to the end", "diverged": "ended where the loss diverged", "stopped": "stopped by hand"}


def _button(text: str, icon: str, tooltip: str) -> widgets.Button:
    return widgets.Button(description=text, icon=icon, tooltip=tooltip)
