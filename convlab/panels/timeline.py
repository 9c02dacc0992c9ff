"""The slider over a run's past: the model as it was, and a new run from there."""

from collections.abc import Callable
from typing import Any, Final

import ipywidgets as widgets

from convlab.training.run import Run

NOW: Final = -1
"""The slider's last place: for a slider of ipywidgets None is no place."""


class Timeline(widgets.HBox):
    """A slider over a run's snapshots, its last place the present; and the button that starts another run from one.

    Args:
        look: puts the model as it was after so many steps, or (None) back to the present.
        fork: starts a new run from where the slider is.

    Attributes:
        slider: places in the run's past.
    """

    def __init__(self, look: Callable[[int | None], object], fork: Callable[[], object]) -> None:
        self._look = look
        self._moving = False
        self.slider = widgets.SelectionSlider(
            options=[("now", NOW)],
            description="Look back",
            continuous_update=False,
            readout=False,
            tooltip="The model as it was; the other tabs and run.predictions() follow. Nothing is lost.",
        )
        self.slider.observe(self._on_slider, "value")
        self.fork_button = widgets.Button(
            description="Fork here",
            icon="code-fork",
            tooltip="Start a new run from this very state, with the settings as they stand; this one keeps its curve.",
        )
        self.fork_button.on_click(lambda _: fork())
        self.line = widgets.Label()
        self.line.add_class("convlab-says")
        super().__init__([self.slider, self.fork_button, self.line])
        self.add_class("convlab-timeline")
        self.show(None)

    def show(self, run: Run | None) -> None:
        """Show the snapshots of a run; while it trains there is nothing to be moved."""
        still = run is not None and run.state not in ("pending", "running") and len(run.snapshots) > 0
        self.slider.disabled = not still or run is None
        self.fork_button.disabled = not still
        self.line.value = told(run)
        if run is None or not still:
            return
        self._moving = True
        try:
            with self.slider.hold_sync():
                self.slider.options = [*((str(one), one.step) for one in run.snapshots), ("now", NOW)]
                self.slider.value = NOW if run.shown_step is None else run.shown_step
        finally:
            self._moving = False

    def _on_slider(self, change: Any) -> None:
        if not self._moving:
            self._look(None if change["new"] == NOW else change["new"])


def told(run: Run | None) -> str:
    """Where in its past a run is shown, and what can be done there.

    Example:
        >>> told(None)
        'Nothing to look back on yet: press Run.'
    """
    if run is None or run.state == "pending":
        return "Nothing to look back on yet: press Run."
    note = f" {run.snapshots.note}" if run.snapshots.note else ""
    if not len(run.snapshots):
        return note.strip()
    if run.state == "running":
        return "Pause or stop the training to look back."
    found = next((one for one in run.snapshots if one.step == run.shown_step), None)
    if found is None:
        return f"This is the present, after step {run.history.num_steps:,}. Drag to the left to look back.{note}"
    present = "" if run.ended else " Resume goes on from the present."
    return (
        f"Looking back at {found}. Weights and settings are those of then: change a setting and press Fork here to "
        f"see what it would have led to.{present}{note}"
    )
