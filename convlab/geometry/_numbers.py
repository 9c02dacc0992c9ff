"""Reading numbers that people type: one clear sentence for what cannot be meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import TypeAlias

PerAxis: TypeAlias = int | Sequence[int]


def whole(value: object, name: str, *, least: int, example: int | None = None) -> int:
    """Return ``value`` as an int of at least ``least``; the error says what would work."""
    works = max(least, 1) if example is None else example
    if type(value) is not int:
        if isinstance(value, (bool, str, float)):
            raise TypeError(f"{name} must be a whole number, got {value!r}; {works} would work")
        try:
            value = index(value)  # type: ignore[arg-type]  # numpy's and torch's integers
        except TypeError:
            raise TypeError(f"{name} must be a whole number, got {value!r}; {works} would work") from None
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}; {works} would work")
    return value


def sizes(value: object, name: str = "input_size") -> tuple[int, ...]:
    """Return an extent for each of one to three axes."""
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not 1 <= len(items) <= 3:
        raise ValueError(f"{name} must have one to three axes, got {value!r}; (32, 32) would work")
    return tuple(whole(item, name, least=1, example=32) for item in items)


def per_axis(value: object, axes: int, name: str, *, least: int) -> tuple[int, ...]:
    """Repeat one number for every axis, or check that there is one for each."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        items = tuple(value)
        if len(items) == 1:
            items *= axes
        if len(items) != axes:
            works = (max(least, 1),) * axes
            raise ValueError(
                f"{name} must be one number or one for each of {axes} axes, got {value!r}; {works} would work"
            )
        return tuple(whole(item, name, least=least) for item in items)
    return (whole(value, name, least=least),) * axes
