"""The input pixels that one unit depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A box of input pixels, borders considered.

    ``first`` and ``last`` are inclusive pixel indices, one for each spatial axis of the input. A unit that sees no
    pixel at all (one that lies wholly in padding) has an empty box.

    >>> Box((0, 2), (4, 6)).slices
    (slice(0, 5, None), slice(2, 7, None))
    >>> list(Box((0, 2), (4, 6)))
    [(0, 4), (2, 6)]
    """

    first: tuple[int, ...]
    last: tuple[int, ...]

    @classmethod
    def of(cls, intervals: Sequence[tuple[int, int]]) -> Box:
        """Make a box of ``(first, last)`` pairs; one empty interval makes the whole box empty."""
        if any(last < first for first, last in intervals):
            return cls.empty(len(intervals))
        return cls(tuple(first for first, _ in intervals), tuple(last for _, last in intervals))

    @classmethod
    def empty(cls, axes: int) -> Box:
        """Make the box that holds no pixel."""
        return cls((0,) * axes, (-1,) * axes)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel lies in the box."""
        return any(last < first for first, last in self)

    @property
    def size(self) -> tuple[int, ...]:
        """Number of pixels along each axis."""
        return tuple(last - first + 1 for first, last in self)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices which cut the box out of an image, one for each spatial axis."""
        return tuple(slice(first, last + 1) for first, last in self)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self.first, self.last, strict=True))
