"""What a number in a specification may be, and the one error that says so; free of torch."""

import difflib
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


class SpecError(ValueError):
    """A value that a specification cannot hold; the message says what it can hold."""


@dataclass(frozen=True)
class Limits:
    """The numbers an argument may take, the bounds included unless `above` is set, and one that works."""

    low: float
    high: float
    example: float
    whole: bool = False
    above: bool = False
    optional: bool = False

    def checked(self, name: str, value: object) -> float | None:
        """`value` as Python's own int or float, numpy's numbers included; `SpecError` when it is outside the limits."""
        if value is None and self.optional:
            return None
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, kind) and not isinstance(value, bool):
            number: Any = value
            # Compared before it is converted: a huge int has no float. NaN compares false.
            if (self.low < number if self.above else self.low <= number) and number <= self.high:
                return int(number) if self.whole else float(number)
        low, high = _plain(self.low), _plain(self.high)
        span = f"above {low} and at most {high}" if self.above else f"from {low} to {high}"
        raise SpecError(
            f"{name} must be {'a whole number' if self.whole else 'a number'} {span}{' or None' * self.optional}, "
            f"got {short(value)}; try {name}={_plain(self.example)}."
        )


def _plain(number: float) -> str:
    """A bound as a person would type it: all digits of a whole number."""
    return str(int(number)) if number == int(number) else f"{number:g}"


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """`SpecError`, with the nearest of `choices`, where `value` is none of them."""
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(str(value).lower(), choices, 1)
        raise SpecError(
            f"{name} must be one of {', '.join(choices)}, got {short(value)}; try {name}={(near or choices)[0]!r}."
        )


def check_names(cls: type[Any], values: Mapping[str, object]) -> None:
    """`SpecError`, with the nearest, where a name in `values` is no field of the dataclass `cls`."""
    check_known(cls.__name__, [field.name for field in fields(cls)], values)


def check_known(owner: str, known: Sequence[str], values: Mapping[str, object]) -> None:
    """`SpecError`, with the nearest, where a name in `values` is none of the arguments of `owner`."""
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise SpecError(f"{owner} has no argument {short(name)}; {hint}")


def short(value: object) -> str:
    """A value's repr, cut where it would fill the message."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
