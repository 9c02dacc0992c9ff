"""The scores that ReduceLROnPlateau watches: those of the current run, or a curve that a hand draws."""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np

from convlab.frontend.curves import Curves, Line
from convlab.schedule_spec import ScheduleSpec
from convlab.training.history import History
from convlab.training.schedule_preview import MOST_STEPS, Scores, at_calls, corners, example_scores, redrawn, scores_of

RUN, HAND = "run", "hand"
POINTS = 1000


class ScoreTrace(widgets.VBox):
    """A small chart that one draws into, and the choice between it and the run; hidden for other schedulers.

    Args:
        changed: called after other scores were chosen or drawn.

    Attributes:
        scores: what the scheduler is given, or None where it is given nothing.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._following = changed, False
        self._mode = ""
        self.scores: Scores | None = None
        self.source = widgets.ToggleButtons(
            options=[("The current run", RUN), ("Drawn by hand", HAND)],
            value=HAND,
            tooltips=["The scores of the current run so far.", "Draw into the chart with the mouse."],
            description="Scores of",
            style={"button_width": "auto"},
        )
        self.hint = widgets.HTML()
        self.curves = Curves(height=130, drawable=True).add_class("convlab-schedule-scores")
        self.curves.on_draw(self._on_draw)
        row = widgets.HBox([self.source, self.hint]).add_class("convlab-schedule-acts")
        super().__init__([row, self.curves])
        self.layout.display = "none"
        self.source.observe(lambda _: None if self._following else self._on_source(), "value")
        self._run: Scores | None = None
        self._touched = False

    def follow(self, spec: ScheduleSpec | None, calls: int, history: History | None) -> None:
        """Show what the scheduler would be given, were it called so often."""
        shown = spec is not None and spec.scheduler == "ReduceLROnPlateau"
        self.layout.display = None if shown else "none"
        if spec is None or not shown:
            self.scores = None
            return
        mode = spec.arguments.get("mode", "min")
        if mode != self._mode:
            self._mode, self._trace = mode, example_scores(mode)
        self._calls = min(calls, MOST_STEPS)
        self._run = scores_of(history, "the current run", spec.cadence, mode)
        if not self._touched:
            self._put_source(RUN if self._run else HAND)
        of_steps = spec.cadence == "step"
        kind = "accuracy" if mode == "max" and not of_steps else "loss"
        self.curves.x_label = spec.cadence
        self.curves.y_label = f"{'training' if of_steps else 'validation'} {kind}"
        self._draw()

    def _draw(self) -> None:
        if self.source.value == RUN and self._run is None:
            self.hint.value = "<span>No run has got so far yet.</span>"
            self.scores = None
            self.curves.show([])
            return
        by_hand = self.source.value == HAND
        self.hint.value = f"<span>{'Draw with the mouse what the scheduler is to watch.' if by_hand else ''}</span>"
        drawn = Scores("the drawing", at_calls(self._trace, self._calls))
        self.scores = drawn if by_hand or self._run is None else self._run
        values = self.scores.values
        chosen = corners(values, POINTS)
        self.curves.show([Line(self.scores.name, (chosen + 1).astype(np.float64), values[chosen], colour=1)])

    def _put_source(self, source: str) -> None:
        self._following = True
        try:
            self.source.value = source
        finally:
            self._following = False

    def _on_source(self) -> None:
        self._touched = True
        self._changed()

    def _on_draw(self, xs: Any, ys: Any) -> None:
        span = (1.0, float(max(2, self._calls)))
        self._trace = redrawn(self._trace, np.asarray(xs, float), np.asarray(ys, float), span)
        self._touched = True
        self._put_source(HAND)
        self._changed()
