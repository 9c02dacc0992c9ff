"""Run, Pause, Step, Stop and Reset, and the line that says where the run is."""

from collections.abc import Callable, Mapping
from typing import Final

import ipywidgets as widgets

from convlab.training.progress import Progress

_BUTTONS: Final[Mapping[str, tuple[str, str, str]]] = {
    "run": ("Run", "play", "Train, from the weights as they are now (after a pause: go on)."),
    "pause": ("Pause", "pause", "Stand still after the present step; nothing is lost."),
    "step": ("Step", "step-forward", "Make exactly one optimizer step, then stand still."),
    "stop": ("Stop", "stop", "End this run, keeping its weights and its curve."),
    "reset": (
        "Reset",
        "undo",
        "Put back the weights that the bench was opened with; the curve stays as a faint line.",
    ),
}

_WORKS_IN: Final[Mapping[str, tuple[str, ...]]] = {
    # While it steps all is as in a pause: no button may go from under a hand for the length of a step.
    "run": ("pending", "stepping", "paused", "stopped", "finished", "failed"),
    "pause": ("running",),
    "step": ("pending", "running", "stepping", "paused", "stopped", "finished", "failed"),
    "stop": ("running", "stepping", "paused"),
    "reset": ("stepping", "paused", "stopped", "finished", "failed"),
}


class Transport(widgets.VBox):
    """The buttons in one row, and below them the state, a bar and the numbers."""

    def __init__(self, actions: Mapping[str, Callable[[], None]]) -> None:
        self.buttons: dict[str, widgets.Button] = {}
        for name, (text, icon, tooltip) in _BUTTONS.items():
            button = widgets.Button(description=text, icon=icon, tooltip=tooltip)
            button.add_class(f"convlab-{name}")
            button.on_click(lambda _, act=actions[name]: act())
            self.buttons[name] = button
        self.buttons["run"].button_style = "primary"
        self.bar = widgets.FloatProgress(min=0, max=1)
        self.bar.add_class("convlab-bar")
        self.line = widgets.Label()
        self.line.add_class("convlab-line")
        row = widgets.HBox(list(self.buttons.values()))
        row.add_class("convlab-buttons")
        where = widgets.HBox([self.bar, self.line])
        where.add_class("convlab-where")
        super().__init__([row, where])
        self.show("pending", None)

    def show(self, state: str, progress: Progress | None) -> None:
        """Set the buttons and the line to a run's state, or to ``"stepping"``."""
        for name, button in self.buttons.items():
            button.disabled = state not in _WORKS_IN[name]
        self.buttons["run"].description = "Resume" if state in ("stepping", "paused") else "Run"
        self.line.value = describe(state, progress)
        if progress is None:
            self.bar.value = 0.0
        elif progress.steps:
            self.bar.value = min(1.0, progress.step / progress.steps)
        elif progress.epochs:
            self.bar.value = progress.epoch / progress.epochs


def describe(state: str, progress: Progress | None) -> str:
    """State and progress as one line of text.

    Example:
        >>> describe("running", Progress(2, 10, 60, 450, 12000.0, 75.0))
        'running · epoch 2 of 10 · step 60 of 450 · 12,000 images/s · 1:15 left'
    """
    if progress is None:
        return "ready"
    parts = [state, f"epoch {progress.epoch:,} of {progress.epochs:,}", f"step {progress.step:,}"]
    if progress.steps:
        parts[-1] += f" of {progress.steps:,}"
    if state == "running":
        if progress.samples_per_second:
            parts.append(f"{_rounded(progress.samples_per_second):,} images/s")
        if progress.seconds_left is not None:
            parts.append(f"{_clock(progress.seconds_left)} left")
    return " · ".join(parts)


def _rounded(rate: float) -> int:
    digits = max(len(str(int(rate))) - 2, 0)
    return round(int(rate), -digits)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
