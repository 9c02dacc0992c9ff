"""How a grid of units sees an image: composition of operations and merging of branches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from convlab.geometry._numbers import sizes, whole
from convlab.geometry.box import Box
from convlab.geometry.interval_map import IntervalMap
from convlab.geometry.receptive_field import Reach, ReceptiveField
from convlab.geometry.stencil import Stencil

Operation: TypeAlias = tuple[Stencil, ...]
Interval: TypeAlias = tuple[int, int]

_EMPTY = (0, -1)


@dataclass(frozen=True, slots=True)
class Field:
    """How a grid of units sees an image, each axis by itself.

    ``maps`` describe the units away from borders (``None``: no regular pattern), ``intervals`` each unit of this
    input size exactly: first and last pixel, or (0, -1) for a unit in padding.
    """

    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    maps: tuple[IntervalMap | None, ...]
    intervals: tuple[tuple[Interval, ...], ...]

    @property
    def receptive_field(self) -> ReceptiveField:
        """The numbers: size, jump, start for each axis."""
        return describe(self.maps, tuple(max(b - a + 1 for a, b in axis) for axis in self.intervals))

    def box(self, unit: Sequence[int] | int) -> Box:
        """Return the input pixels that the unit at these indices depends on."""
        indices = (unit,) if isinstance(unit, int) else tuple(unit)
        if len(indices) != len(self.output_size):
            raise IndexError(
                f"unit {unit!r} has {len(indices)} indices, but the grid {self.output_size} takes "
                f"{len(self.output_size)}; {(0,) * len(self.output_size)} would work"
            )
        for index, size in zip(indices, self.output_size, strict=True):
            if not 0 <= whole(index, "unit", least=0) < size:
                raise IndexError(f"unit {unit!r} lies outside of the grid {self.output_size}; indices start at 0")
        return Box.of([axis[index] for axis, index in zip(self.intervals, indices, strict=True)])


def pixels(input_size: int | Sequence[int]) -> Field:
    """Return the field of the input itself: each pixel sees itself.

    >>> from convlab import geometry
    >>> image = geometry.pixels((224, 224))
    >>> stem = geometry.conv(image.output_size, kernel_size=7, stride=2, padding=3)
    >>> pool = geometry.max_pool((112, 112), kernel_size=3, stride=2, padding=1)
    >>> geometry.compose(image, stem, pool).receptive_field.size
    (11, 11)
    """
    extent = sizes(input_size)
    return Field(
        extent,
        extent,
        tuple(IntervalMap.pixels(size) for size in extent),
        tuple(tuple((i, i) for i in range(size)) for size in extent),
    )


def compose(field: Field, *operations: Operation) -> Field:
    """Return the field of the units behind the operations, applied in this order."""
    return reduce(_behind, operations, field)


def _behind(field: Field, operation: Operation) -> Field:
    expected = tuple(stencil.input_size for stencil in operation)
    if expected != field.output_size:
        raise ValueError(f"the operation expects an input of {expected}, but gets {field.output_size}")
    maps = tuple(m and m.through(s) for m, s in zip(field.maps, operation, strict=True))
    intervals = tuple(
        tuple(_hull(axis[tap] for tap in stencil.taps(i)) for i in range(stencil.output_size))
        for axis, stencil in zip(field.intervals, operation, strict=True)
    )
    return Field(field.input_size, tuple(s.output_size for s in operation), maps, intervals)


def merge(*branches: Field) -> Field:
    """Return the field of units that see what any branch sees (a sum, a concatenation).

    Where branches are misaligned the union of their intervals counts, and ``skew`` says by how much their centres
    differ; where their jumps differ the result is irregular.

    >>> from convlab import geometry
    >>> image = geometry.pixels(9)
    >>> left = geometry.compose(image, geometry.conv(9, 3, padding=((2, 0),)))
    >>> right = geometry.compose(image, geometry.conv(9, 3, padding=((0, 2),)))
    >>> geometry.merge(left, right).receptive_field.size
    (5,)
    """
    if not branches:
        raise ValueError("merge needs at least one branch; merge(branch) would work")
    return reduce(_union, branches)


def _union(a: Field, b: Field) -> Field:
    if (a.input_size, a.output_size) != (b.input_size, b.output_size):
        raise ValueError(
            f"branches must start from one input and end in one size; they go from {a.input_size} to {a.output_size} "
            f"and from {b.input_size} to {b.output_size}"
        )
    maps = tuple(m.union(n) if m and n else None for m, n in zip(a.maps, b.maps, strict=True))
    intervals = tuple(
        tuple(_hull(pair) for pair in zip(p, q, strict=True)) for p, q in zip(a.intervals, b.intervals, strict=True)
    )
    return Field(a.input_size, a.output_size, maps, intervals)


def _hull(intervals: Iterable[Interval]) -> Interval:
    seen = [interval for interval in intervals if interval[0] <= interval[1]]
    return (min(a for a, _ in seen), max(b for _, b in seen)) if seen else _EMPTY


def describe(
    maps: Sequence[IntervalMap | None], extents: Sequence[int], reach: Sequence[Reach] | None = None
) -> ReceptiveField:
    """Put maps into numbers; an axis without a map has but its ``extent``, and is irregular without ``reach``."""
    return ReceptiveField(
        size=tuple(m.size if m else extent for m, extent in zip(maps, extents, strict=True)),
        jump=tuple(m.jump if m else None for m in maps),
        start=tuple(m.start if m else None for m in maps),
        reach=tuple(reach) if reach else tuple("local" if m else "irregular" for m in maps),
        skew=tuple(m.skew if m else 0.0 for m in maps),
        phases=tuple(m.period if m else 1 for m in maps),
    )
