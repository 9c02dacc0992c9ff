"""What a sweep shall try, ticked and dragged: a row for each setting that the bench has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import ipywidgets as widgets

from convlab.net_spec import ACTIVATIONS, INITS
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import OPTIMIZERS

_SCHEDULES: Final = ("CosineAnnealingLR", "OneCycleLR", "StepLR", "ExponentialLR")


@final
@dataclass(frozen=True)
class Choice:
    """A setting of which a few values are ticked."""

    label: str
    tooltip: str
    values: Sequence[Any]
    ticked: Sequence[Any]


@final
@dataclass(frozen=True)
class Range:
    """A setting of which all numbers between two are tried; `stops` are what the slider stands on."""

    label: str
    tooltip: str
    stops: Sequence[float]
    first: tuple[float, float]
    log: bool = False


def _decades(first: int, last: int, digits: Sequence[float] = (1, 2, 5)) -> list[float]:
    return [*(float(f"{digit}e{power}") for power in range(first, last) for digit in digits), float(f"1e{last}")]


TRAINING: Final[Mapping[str, Choice | Range]] = {
    "lr": Range("Learning rate", "How far a step goes; evenly in the logarithm.", _decades(-5, 1), (1e-3, 0.2), True),
    "batch_size": Range(
        "Batch size",
        "Samples of a step; evenly in the logarithm.",
        [2**power for power in range(2, 11)],
        (16, 128),
        True,
    ),
    "optimizer": Choice("Optimizer", "The rule that turns gradients into steps.", OPTIMIZERS, ("sgd", "adamw")),
    "momentum": Range(
        "Momentum",
        "How much of the last step's direction carries over (SGD, RMSprop).",
        [*(tenth / 10 for tenth in range(10)), 0.95, 0.99],
        (0.5, 0.95),
    ),
    "weight_decay": Range(
        "Weight decay",
        "How strongly weights are pulled to zero; evenly in the logarithm.",
        _decades(-6, -1),
        (1e-5, 1e-2),
        True,
    ),
    "dropout": Range(
        "Dropout", "Share of values that are zeroed while training.", [tenth / 20 for tenth in range(19)], (0.0, 0.5)
    ),
    "schedule": Choice(
        "Schedule", "How the learning rate moves, over the whole training.", (None, *_SCHEDULES), (None, "OneCycleLR")
    ),
}
STRUCTURE: Final[Mapping[str, Choice | Range]] = {
    "kernel_size": Choice("Kernel size", "Side of every convolution's kernel, in pixels.", (1, 3, 5, 7), (3, 5)),
    "filters": Range(
        "Filters",
        "Of the first block; the other blocks' in proportion; evenly in the logarithm.",
        (2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
        (8, 32),
        True,
    ),
    "depth": Range("Depth", "Number of blocks; the last one again where there are more.", range(1, 9), (1, 3)),
    "activation": Choice("Activation", "What follows every convolution.", ACTIVATIONS, ("relu", "gelu")),
    "init": Choice("Initialisation", "How the first weights are drawn.", INITS, ("default", "kaiming_normal")),
}


class SpaceEditor(widgets.VBox):
    """A row for each setting: a box to try it, and what to try of it.

    Args:
        names: the settings that there are.
        changed: called when something was ticked or dragged.

    Example:
        >>> editor = SpaceEditor(["lr", "optimizer"], lambda: None)
        >>> editor.space
        {'lr': (0.001, 0.2, 'log')}
        >>> editor.rows["optimizer"].tried.value = True
        >>> editor.space["optimizer"]
        ['sgd', 'adamw']
    """

    def __init__(self, names: Sequence[str], changed: Callable[[], object]) -> None:
        known = {**TRAINING, **STRUCTURE}
        self.rows: dict[str, _Row] = {name: _Row(known[name], name == "lr", changed) for name in known if name in names}
        super().__init__([*self.rows.values()])
        self.add_class("convlab-space")

    @property
    def space(self) -> dict[str, Any]:
        """What `convlab.Sweep` takes."""
        return {name: row.entry for name, row in self.rows.items() if row.tried.value}

    def show(self, space: Mapping[str, Any]) -> None:
        """Tick and drag to what a sweep tries: as `Space.to_plain` tells it."""
        for name, row in self.rows.items():
            row.tried.value = name in space
            if name in space:
                row.show(space[name])

    def lock(self, locked: bool) -> None:
        """Let nothing be moved while a sweep is on."""
        for row in self.rows.values():
            row.lock(locked)


class _Row(widgets.HBox):
    """A box to try a setting, and a slider with two ends, or a box for each value."""

    def __init__(self, about: Choice | Range, tried: bool, changed: Callable[[], object]) -> None:
        self._about, self._locked = about, False
        self.tried = widgets.Checkbox(tried, description=about.label, indent=False)
        self.tried.tooltip = f"Try several. {about.tooltip}"
        self.tried.add_class("convlab-tried")
        if isinstance(about, Range):
            self.slider = widgets.SelectionRangeSlider(
                options=[(f"{stop:g}", stop) for stop in about.stops],
                index=(about.stops.index(about.first[0]), about.stops.index(about.first[1])),
                description=f"{about.label}, from and to",
            )
            self.slider.tooltip = f"From and to. {about.tooltip}"
            self.parts: list[Any] = [self.slider]
        else:
            self.parts = [
                widgets.Checkbox(value in about.ticked, description=_word(value), indent=False)
                for value in about.values
            ]
            for part in self.parts:
                part.tooltip = about.tooltip
        super().__init__([self.tried, *self.parts])
        self.add_class("convlab-space-row")
        for part in (self.tried, *self.parts):
            part.observe(lambda _: changed(), "value")
        self.tried.observe(lambda _: self._enable(), "value")
        self._enable()

    @property
    def entry(self) -> Any:
        """What `convlab.Sweep` takes of it."""
        if isinstance(self._about, Choice):
            return [value for value, part in zip(self._about.values, self.parts, strict=True) if part.value]
        low, high = self.slider.value
        if low == high:
            return [low]
        return (low, high, "log") if self._about.log else (low, high)

    def show(self, plain: Any) -> None:
        """Take what a sweep tries, as far as the row has it."""
        if isinstance(self._about, Choice):
            for value, part in zip(self._about.values, self.parts, strict=True):
                part.value = isinstance(plain, list) and value in plain
        elif isinstance(plain, Mapping) and {plain["from"], plain["to"]} <= {*self._about.stops}:
            self.slider.value = (plain["from"], plain["to"])

    def lock(self, locked: bool) -> None:
        """Let nothing be moved."""
        self._locked = locked
        self._enable()

    def _enable(self) -> None:
        self.tried.disabled = self._locked
        for part in self.parts:
            part.disabled = self._locked or not self.tried.value


def _word(value: Any) -> str:
    if isinstance(value, ScheduleSpec):
        return value.scheduler
    return "none" if value is None else str(value)
