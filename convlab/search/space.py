"""What a sweep tries: for each setting the numbers between two, or a few values; checked before the first trial."""

from __future__ import annotations

import itertools
import json
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from convlab.limits import SpecError, short
from convlab.schedule_spec import ScheduleSpec

if TYPE_CHECKING:
    import optuna

MOST_COMBINATIONS: Final = 10_000
"""Of a grid."""

Values = dict[str, Any]


@final
@dataclass(frozen=True)
class Numbers:
    """The numbers from `low` to `high`, both included; whole ones where both are; with `log` even in the logarithm."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that must be possible if any between them is."""
        return (self.low, self.high)

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """What this trial takes."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def value(self, told: Any) -> Any:
        """The setting, from what Optuna keeps of it."""
        return told

    def height(self, value: float) -> float:
        """Where a value is between the ends, 0..1."""
        scale = math.log if self.log else float
        return (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))

    def grid(self, name: str) -> list[Any]:
        """All of them, as Optuna keeps them."""
        if not self.whole or self.log:
            raise SpecError(
                f"a grid takes a few values of {name}, got the range {self.to_plain()!r}; try "
                f"{name}={[self.low, self.high]}, or sampler='random'."
            )
        return list(range(int(self.low), int(self.high) + 1))

    def to_plain(self) -> Any:
        """What `as_entry` reads, as JSON."""
        return {"from": self.low, "to": self.high, "log": self.log}


@final
@dataclass(frozen=True)
class Choices:
    """A few values."""

    values: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that must be possible."""
        return self.values

    @property
    def labels(self) -> list[Any]:
        """What Optuna keeps of each: itself where it is a word or a number, else its text."""
        return [_label(value) for value in self.values]

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """What this trial takes."""
        return self.value(trial.suggest_categorical(name, self.labels))

    def value(self, told: Any) -> Any:
        """The setting, from what Optuna keeps of it."""
        return next(value for value, label in zip(self.values, self.labels, strict=True) if _same(label, told))

    def height(self, value: Any) -> float:
        """Where a value is between the first and the last, 0..1."""
        return self.values.index(value) / max(1, len(self.values) - 1)

    def grid(self, name: str) -> list[Any]:
        """All of them, as Optuna keeps them."""
        del name
        return self.labels

    def to_plain(self) -> Any:
        """What `as_entry` reads, as JSON."""
        return [{"schedule": one.to_dict()} if isinstance(one, ScheduleSpec) else one for one in self.values]


Entry = Numbers | Choices


def _label(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def as_entry(name: str, given: Any) -> Entry:
    """What is tried of one setting, from what a person wrote.

    Args:
        name: of the setting, for the message.
        given: ``(low, high)`` for the numbers between, ``(low, high, "log")`` for the same evenly in the logarithm, or
            a list of values.

    Raises:
        SpecError: it is neither.

    Example:
        >>> as_entry("lr", (1e-4, 1e-1, "log"))
        Numbers(low=0.0001, high=0.1, log=True)
        >>> as_entry("optimizer", ["sgd", "adamw"])
        Choices(values=('sgd', 'adamw'))
    """
    if isinstance(given, Numbers | Choices):
        return given
    if isinstance(given, Mapping) and set(given) == {"from", "to", "log"}:
        return as_entry(name, (given["from"], given["to"], "log") if given["log"] else (given["from"], given["to"]))
    if isinstance(given, list):
        return _choices(name, given)
    if isinstance(given, tuple) and len(given) in (2, 3) and all(map(_is_number, given[:2])):
        low, high = (_plain(one) for one in given[:2])
        if given[2:] not in ((), ("log",)):
            raise SpecError(f"{name}'s range may end with 'log' only, got {short(given)}; try ({low}, {high}, 'log').")
        log = bool(given[2:])
        if not low < high or (log and low <= 0):
            rises, works = ("rise, from above 0", "(0.001, 0.1, 'log')") if log else ("rise", "(0.001, 0.1)")
            raise SpecError(
                f"{name}'s range must {rises}, got {short(given)}; try {name}={works}, or a list for single values."
            )
        return Numbers(low, high, log)
    raise SpecError(
        f"{name} must be a range such as (0.001, 0.1, 'log') or a list of values, got {short(given)}; "
        f"try {name}=[{_example(given)}]."
    )


def _example(given: Any) -> str:
    return ", ".join(repr(one) for one in given) if isinstance(given, tuple | set) else repr(given)


def _choices(name: str, given: list[Any]) -> Choices:
    values = tuple(
        ScheduleSpec.from_dict(one["schedule"]) if isinstance(one, Mapping) and set(one) == {"schedule"} else one
        for one in given
    )
    values = tuple(tuple(one) if isinstance(one, list) else _plain(one) if _is_number(one) else one for one in values)
    for one in values:
        plain = one if isinstance(one, tuple) else (one,)
        if not all(part is None or isinstance(part, bool | int | float | str | ScheduleSpec) for part in plain):
            raise SpecError(f"{name} takes words and numbers, got {short(one)}; try {name}=[1, 2].")
    found = Choices(values)
    if not values or len({json.dumps(label) for label in found.labels}) < len(values):
        raise SpecError(f"{name} must be a list of different values, got {short(given)}; try {name}=[1, 2].")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(float(value))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, numbers.Integral) else float(value)


@final
@dataclass(frozen=True)
class Space:
    """What is tried of each setting, by its name.

    Example:
        >>> space = Space.of({"optimizer": ["sgd", "adamw"], "batch_size": (16, 18)})
        >>> len(list(space.combinations()))
        6
    """

    entries: Mapping[str, Entry]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Space:
        """From what a person wrote, or `to_plain`.

        Raises:
            SpecError: it is empty, or one of its settings is no range and no list.
        """
        if not isinstance(given, Mapping) or not given:
            raise SpecError(
                f"space must be a dict of what to try, got {short(given)}; try space={{'lr': (0.001, 0.1, 'log')}}."
            )
        return cls({str(name): as_entry(str(name), one) for name, one in given.items()})

    def check(self, possible: Callable[[str, Any], object]) -> None:
        """Call ``possible(name, value)`` for the ends of each range and for each choice; it raises on a wrong one."""
        for name, entry in self.entries.items():
            for value in entry.examples:
                possible(name, value)

    def suggest(self, trial: optuna.Trial) -> Values:
        """What this trial takes of each setting."""
        return {name: entry.suggest(trial, name) for name, entry in self.entries.items()}

    def values(self, told: Mapping[str, Any]) -> Values:
        """The settings, from what Optuna keeps of them."""
        return {name: entry.value(told[name]) for name, entry in self.entries.items() if name in told}

    def combinations(self) -> Iterator[Values]:
        """All of a grid, as Optuna keeps them.

        Raises:
            SpecError: a setting has a range that cannot be counted, or there are too many.
        """
        axes = {name: entry.grid(name) for name, entry in self.entries.items()}
        if (count := math.prod(map(len, axes.values()))) > MOST_COMBINATIONS:
            raise SpecError(f"the grid has {count:,} combinations; try fewer values, or sampler='random'.")
        return (dict(zip(axes, one, strict=True)) for one in itertools.product(*axes.values()))

    def to_plain(self) -> dict[str, Any]:
        """What `of` reads, as JSON."""
        return {name: entry.to_plain() for name, entry in self.entries.items()}
