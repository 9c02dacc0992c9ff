"""A stencil as arrays: which input indices each output index reads, border included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from convlab import geometry
from convlab.geometry import axis as stencils

IntArray: TypeAlias = npt.NDArray[np.int32]
NONE = 1 << 30  # "no pixel": lo = NONE, hi = -NONE


class Table:
    """Which input indices each output index reads along one dimension.

    ``index`` has a row for each output, with ``input_size`` standing for "nothing is read here"; ``first`` and
    ``last`` are the smallest and largest entry of a row.
    """

    __slots__ = (
        "first",
        "has_holes",
        "index",
        "input_size",
        "is_identity",
        "is_monotone",
        "last",
        "output_size",
        "stencil",
    )

    def __init__(self, stencil: geometry.Stencil) -> None:
        self.stencil = stencil
        self.input_size, self.output_size = stencil.input_size, stencil.output_size
        self.is_identity = stencil.is_identity
        self.index = _index(stencil)
        inside = self.index < self.input_size
        first = np.where(inside, self.index, NONE).min(1)
        last = np.where(inside, self.index, -1).max(1)
        holes = last < 0
        self.has_holes = bool(holes.any())
        self.is_monotone = not self.has_holes and bool((np.diff(first) >= 0).all() and (np.diff(last) >= 0).all())
        self.first = np.where(holes, self.input_size, first)
        self.last = np.where(holes, self.input_size, last)


def _index(stencil: geometry.Stencil) -> IntArray:
    if stencil.border != "zeros":
        rows = [stencil.taps(i) for i in range(stencil.output_size)]
        return _rectangle(rows, stencil.input_size)
    n = stencil.input_size
    far = -(1 << 28)
    offsets = _rectangle(stencil.offsets, far)
    turn, phase = np.divmod(np.arange(stencil.output_size, dtype=np.int32), stencil.period)
    index = offsets[phase] + (turn * stencil.step)[:, None]
    return np.where((index < 0) | (index >= n), n, index).astype(np.int32)


def _rectangle(rows: Any, fill: int) -> IntArray:
    width = max(1, *map(len, rows)) if rows else 1
    return np.array([(*row, *[fill] * (width - len(row))) for row in rows], np.int32).reshape(len(rows), width)


Size: TypeAlias = tuple[int, ...]


@lru_cache(8192)
def table_of(stencil: geometry.Stencil) -> Table:
    """Return the arrays of a stencil, made once."""
    return Table(stencil)


def _cached(operation: Callable[..., geometry.field.Operation]) -> Callable[..., tuple[Table, ...]]:
    """Return the tables of an operation; arguments must be hashable (see `frozen`)."""
    return lru_cache(8192)(lambda *arguments: tuple(map(table_of, operation(*arguments))))


conv = _cached(geometry.conv)
conv_transpose = _cached(geometry.conv_transpose)
max_pool = _cached(geometry.max_pool)
avg_pool = _cached(geometry.avg_pool)
adaptive_pool = _cached(geometry.adaptive_pool)
upsample = _cached(geometry.upsample)
pad = _cached(geometry.pad)


def part(size: int, start: int, stop: int, step: int = 1) -> Table:
    """Return the table of a slice along one dimension."""
    return table_of(stencils.slice_axis(size, start, stop, step))


def fractional_pool(input_size: int, output_size: int, kernel_size: int) -> Table:
    """Return what fractional max pooling may read along one dimension."""
    return table_of(stencils.fractional_pool_axis(input_size, output_size, kernel_size))


def frozen(value: Any) -> Any:
    """Return lists as tuples, so that arguments can be looked up."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(4096)
def upsampled(input_size: int, output_size: int, mode: str, align: bool, scale: float | None, smooth: bool) -> Table:
    """Return the table of resampling along one dimension to a size that is settled."""
    return table_of(stencils.upsample_axis(input_size, output_size, mode, align, scale, smooth))


def stretched(table: Table, output_size: int) -> Table:
    """Return the table with another number of outputs."""
    return table_of(replace(table.stencil, output_size=output_size))
