"""The schedule previewer: every scheduler of torch, its arguments as controls, and the curve that it will draw."""

import html
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ipywidgets as widgets
import numpy as np

from convlab.frontend.curves import Curves, Line, Mark
from convlab.frontend.style import Style
from convlab.limits import SpecError
from convlab.panels.arguments import Arguments, words
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.scores import ScoreTrace
from convlab.panels.tabs import close_whole
from convlab.schedule_spec import CADENCES, SCHEDULERS, Cadence, ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.history import History
from convlab.training.schedule_code import schedule_code
from convlab.training.schedule_defaults import calls_of, fitted, refitted, with_parts
from convlab.training.schedule_preview import Array, corners, preview
from convlab.training.schedules import Overtaken, ScheduleCurve

POINTS: Final = 2000
"""Most points of a curve that are sent."""

SLOW: Final = 20_000
"""From so many steps on the wait can be felt, and is told."""

_UNKNOWN_STEPS: Final = 100
_FIRST: Final = "CosineAnnealingLR"


@dataclass(frozen=True)
class Facts:
    """What a schedule is fitted to."""

    train: TrainSpec
    per_epoch: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.train.epochs * self.per_epoch

    def fitted(self, scheduler: str, cadence: Cadence) -> ScheduleSpec:
        """Where this scheduler begins in this training."""
        lengths: Any = {"steps": self.steps, "epochs": self.train.epochs}
        return fitted(scheduler, cadence=cadence, lr=self.train.lr, **lengths)

    def calls(self, spec: ScheduleSpec | None) -> int:
        """How often its `step` would be called."""
        return calls_of(spec.cadence if spec else "step", self.steps, self.train.epochs)

    def refitted(self, spec: ScheduleSpec) -> ScheduleSpec:
        """This schedule with the lengths of this training."""
        return refitted(spec, steps=self.steps, epochs=self.train.epochs)


class SchedulePreview(widgets.VBox):
    """A scheduler, a control for each of its arguments, the curve, and the code for it.

    Nothing reaches the training before *Apply*.

    Args:
        train: the recipe as it stands: lr, epochs, optimizer, and the schedule that it has.
        steps_per_epoch: optimizer steps in an epoch, or None where the data does not say.
        history: the records of the current run, for ReduceLROnPlateau; None where there is none.
        apply: called with the schedule, or None for an lr that stays; a `SpecError` that it raises is shown.

    Attributes:
        spec: the schedule that is shown; None: the lr stays.
        curve: what is drawn: `ScheduleCurve`.

    Example:
        >>> taken = []
        >>> panel = SchedulePreview(train=TrainSpec, steps_per_epoch=lambda: 45, apply=taken.append)
        >>> panel.choose("OneCycleLR")
        >>> panel.settle()
        >>> panel.curve
        ScheduleCurve(OneCycleLR, 450 steps, lr 0.002 → 0.05 (step 135) → 2e-07, momentum 0.85 to 0.95)
        >>> panel.apply.click()
        >>> taken
        [ScheduleSpec('OneCycleLR', max_lr=0.05, total_steps=450, cadence='step')]
    """

    def __init__(
        self,
        *,
        train: Callable[[], TrainSpec],
        steps_per_epoch: Callable[[], int | None],
        history: Callable[[], History | None] = lambda: None,
        apply: Callable[[ScheduleSpec | None], object],
    ) -> None:
        self._train, self._steps_per_epoch, self._history, self._apply = train, steps_per_epoch, history, apply
        self._moving = threading.RLock()
        self._following = False
        self._asked = 0
        self._messages = Messages()
        self._latest = Latest(self._on_error)
        self._facts = self._read_facts()
        self.curve: ScheduleCurve | None = None
        self._kept: list[Line] = []
        self._make_controls()
        self.curves = Curves(x_label="step", y_label="learning rate", height=240).add_class("convlab-schedule-lr")
        self.momentum = Curves(x_label="step", height=130).add_class("convlab-schedule-momentum")
        self.scores = ScoreTrace(self._changed)
        self.code = widgets.HTML().add_class("convlab-code")
        self.summary = widgets.HTML().add_class("convlab-schedule-summary")
        super().__init__(
            [
                Style(),
                widgets.HBox([self.scheduler, self.cadence]).add_class("convlab-schedule-top"),
                self._place,
                self._messages,
                self.scores,
                widgets.HBox([self.summary, self.log_scale, self.keep, self.apply]).add_class("convlab-schedule-acts"),
                self.curves,
                self.momentum,
                self._kept_row,
                self.code,
            ]
        )
        self.add_class("convlab").add_class("convlab-schedule")
        spec = self._facts.train.schedule
        self._set(spec or self._facts.fitted(_FIRST, "step"))

    def _make_controls(self) -> None:
        self.scheduler = widgets.Dropdown(
            options=[("constant (no scheduler)", None), *((name, name) for name in SCHEDULERS)],
            description='<span title="A class of torch.optim.lr_scheduler.">Scheduler</span>',
            description_allow_html=True,
            style={"description_width": "9.5em"},
        )
        self.cadence = widgets.ToggleButtons(
            options=[(f"each {cadence}", cadence) for cadence in CADENCES],
            tooltips=["scheduler.step() after every optimizer step", "scheduler.step() after every epoch"],
            description="step() after",
            style={"button_width": "auto"},
        )
        self.log_scale = widgets.Checkbox(
            description="Log scale", indent=False, tooltip="The lr on a logarithmic scale."
        )
        self.keep = widgets.Button(
            description="Keep for comparison", icon="thumb-tack", tooltip="Leave this curve as a faint line."
        )
        self.apply = widgets.Button(
            description="Apply", button_style="primary", tooltip="Train under this schedule: the bench takes it over."
        )
        self._place = widgets.VBox()
        self._kept_row = widgets.HBox().add_class("convlab-kept")
        self.scheduler.observe(self._on_scheduler, "value")
        self.cadence.observe(lambda _: self._changed(), "value")
        self.log_scale.observe(lambda change: setattr(self.curves, "y_log", change["new"]), "value")
        self.keep.on_click(lambda _: self._keep())
        self.apply.on_click(lambda _: self._on_apply())

    # -- what a script can do, too ------------------------------------------------------------------------------------

    def choose(self, scheduler: str | None) -> None:
        """Begin with a scheduler where it fits this training; None: an lr that stays."""
        with self._moving:
            # A validation score is had once an epoch.
            cadence: Cadence = "epoch" if scheduler == "ReduceLROnPlateau" else self.cadence.value
            self._set(None if scheduler is None else self._facts.fitted(scheduler, cadence))

    def show(self, spec: ScheduleSpec | None) -> None:
        """Show a schedule with all its controls."""
        with self._moving:
            self._set(spec)

    def fit(self) -> None:
        """Give the schedule the lengths of this training."""
        with self._moving:
            self._set(None if self.spec is None else self._facts.refitted(self.spec))

    def refresh(self) -> None:
        """Follow the recipe: its lr, its epochs, its batch size. What was as fitted, is fitted to the new ones."""
        with self._moving:
            before, self._facts = self._facts, self._read_facts()
            spec, now = self.spec, self._facts
            if spec is not None and before != now:
                if spec == before.fitted(spec.scheduler, spec.cadence):
                    spec = now.fitted(spec.scheduler, spec.cadence)
                elif before.train.lr != now.train.lr:
                    spec = _scaled(spec, now.train.lr / before.train.lr)
            self._set(spec)

    def settle(self) -> None:
        """Block until the curve shows the controls as they stand."""
        self._latest.wait()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _read_facts(self) -> Facts:
        return Facts(self._train(), self._steps_per_epoch() or _UNKNOWN_STEPS)

    def _set(self, spec: ScheduleSpec | None) -> None:
        """Move all controls to `spec` and draw it."""
        self._following = True
        try:
            self.scheduler.value = None if spec is None else spec.scheduler
            self.cadence.disabled = spec is None
            editor = self._editor
            if spec is None or editor is None or not editor.fits(spec):
                self._place.children = ()
                if editor is not None:
                    close_whole(editor)
            if spec is not None:
                self.cadence.value = spec.cadence
                if self._editor is None:
                    self._place.children = (Arguments(spec, self._facts.calls(spec), self._changed, self._on_parts),)
                else:
                    self._editor.show(spec)
        finally:
            self._following = False
        self._show(spec)

    @property
    def _editor(self) -> Arguments | None:
        return self._place.children[0] if self._place.children else None

    def _on_scheduler(self, change: Any) -> None:
        with self._moving:
            if not self._following:
                self.choose(change["new"])

    def _changed(self) -> None:
        """A hand moved a control."""
        with self._moving:
            if self._following:
                return
            try:
                spec = self._as_controls()
            except SpecError as error:
                self._asked += 1
                self.apply.disabled = self.keep.disabled = True
                self._messages.error(str(error))
                return
            if self._editor is not None and spec is not None:
                self._editor.set_cadence(spec.cadence)
            self._show(spec)

    def _as_controls(self) -> ScheduleSpec | None:
        return None if self._editor is None else self._editor.spec(self.cadence.value)

    def _on_parts(self, wish: str | int) -> None:
        with self._moving:
            try:
                spec = self._as_controls()
                assert spec is not None
                parts = list(spec.arguments["schedulers"])
                if isinstance(wish, int):
                    del parts[wish]
                else:
                    parts.append(self._facts.fitted(wish, spec.cadence))
                self._set(with_parts(spec, parts, steps=self._facts.steps, epochs=self._facts.train.epochs))
            except SpecError as error:
                self._messages.error(str(error))

    def _show(self, spec: ScheduleSpec | None) -> None:
        self.spec = spec
        self._asked += 1
        asked, facts = self._asked, self._facts
        self.scores.follow(spec, facts.calls(spec), self._history())
        scores = self.scores.scores
        slow = facts.steps > SLOW

        def draw() -> None:
            if slow:
                self.summary.value = "<span>Stepping the real scheduler …</span>"
            curve = preview(spec, facts.train, facts.per_epoch, scores=scores, go_on=lambda: asked == self._asked)
            with self._moving:
                if asked == self._asked:
                    self._draw(spec, facts, curve)

        self._latest(draw)

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, Overtaken):
            return
        self.apply.disabled = self.keep.disabled = True
        self._messages.error(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")

    def _draw(self, spec: ScheduleSpec | None, facts: Facts, curve: ScheduleCurve) -> None:
        self.curve = curve
        self.keep.disabled = False
        on_bench = facts.train.schedule == spec
        self.apply.disabled = on_bench
        self.apply.description, self.apply.icon = ("On the bench", "check") if on_bench else ("Apply", "")
        self._draw_lines()
        has_momentum = curve.momenta is not None
        self.momentum.layout.display = None if has_momentum else "none"
        if curve.momenta is not None:
            name = "beta1" if facts.train.optimizer in ("adam", "adamw") else "momentum"
            self.momentum.y_label = name
            self.momentum.show([_line(name, curve.step, curve.momenta, colour=2)])
        self.summary.value = f"<span>{html.escape(_summary(curve, facts))}</span>"
        code = html.escape(schedule_code(spec, facts.train))
        self.code.value = f'<pre tabindex="0" aria-label="Code">{code}</pre>'
        self._say(spec, facts, curve)

    def _draw_lines(self) -> None:
        assert self.curve is not None
        present = _line(words(self.spec), self.curve.step, self.curve.lrs)
        self.curves.show([*self._kept, present], _marks(self.spec, self.curve))

    def _say(self, spec: ScheduleSpec | None, facts: Facts, curve: ScheduleCurve) -> None:
        notes = list(curve.notes)
        if self._steps_per_epoch() is None:
            notes.append(f"The data does not say how many steps an epoch has: drawn as if it were {_UNKNOWN_STEPS}.")
        if not notes:
            self._messages.clear()
            return
        self._messages.note(" ".join(f"{note[0].upper()}{note[1:]}" for note in notes))
        if spec is not None and facts.refitted(spec) != spec:
            self._messages.offer(
                "Fit to this training",
                f"Lengths for {facts.train.epochs:,} epochs of {facts.per_epoch:,} steps; the rest stays as it is.",
                self.fit,
            )

    def _keep(self) -> None:
        with self._moving:
            if self.curve is None:
                return
            name, number = words(self.spec), 2
            while any(line.name == name for line in self._kept):
                name, number = f"{words(self.spec)} ({number})", number + 1
            kept = _line(name, self.curve.step, self.curve.lrs, style="faint")
            self._kept.append(kept)
            button = widgets.Button(description=name, icon="times", tooltip=f"Remove {name} from the comparison.")
            button.on_click(lambda _: self._drop(kept, button))
            self._kept_row.children = (*self._kept_row.children, button)
            self._draw_lines()

    def _drop(self, kept: Line, button: widgets.Button) -> None:
        with self._moving:
            self._kept = [line for line in self._kept if line is not kept]
            self._kept_row.children = tuple(child for child in self._kept_row.children if child is not button)
            close_whole(button)
            self._draw_lines()

    def _on_apply(self) -> None:
        # Not under the lock: the bench has locks of its own, and calls `refresh` under them.
        try:
            self._apply(self.spec)
        except Exception as error:  # a callback's exception would go to the log, where nobody looks
            self._messages.exception(error)
        else:
            self.refresh()


def _line(name: str, x: Any, y: Array, **looks: Any) -> Line:
    x, y = np.asarray(x, dtype=np.float64)[: len(y)], np.asarray(y, dtype=np.float64)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    chosen = corners(y, POINTS)
    return Line(name, x[chosen], y[chosen], **looks)


def _marks(spec: ScheduleSpec | None, curve: ScheduleCurve) -> list[Mark]:
    """Where one part of a SequentialLR hands over to the next."""
    if spec is None or spec.scheduler != "SequentialLR":
        return []
    stride = 1 if spec.cadence == "step" else curve.steps_per_epoch or 1
    parts = spec.arguments["schedulers"][1:]
    starts = [1 + at * stride for at in spec.arguments["milestones"]]
    return [Mark(at, part.scheduler) for at, part in zip(starts, parts, strict=True) if at <= len(curve)]


def _summary(curve: ScheduleCurve, facts: Facts) -> str:
    lrs = curve.lrs
    peak = int(np.argmax(lrs))
    by_peak = f" → {lrs[peak]:.3g} (step {peak + 1:,})" if lrs[peak] > max(lrs[0], lrs[-1]) else ""
    text = f"lr {lrs[0]:.3g}{by_peak} → {lrs[-1]:.3g}, {facts.train.epochs:,} epochs, {len(lrs):,} steps"
    if curve.momenta is not None:
        text += f", momentum {curve.momenta.max():.3g} to {curve.momenta.min():.3g}"
    return text


def _scaled(spec: ScheduleSpec, ratio: float) -> ScheduleSpec:
    try:
        return spec.scaled(ratio)
    except SpecError:
        return spec
