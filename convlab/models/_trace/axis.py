"""How one tensor depends on one spatial axis of one input.

Two descriptions travel together. The exact one, ``lo`` and ``hi``, holds for each element of the tensor the first and
last input index that can influence it, for this input size, borders included. The regular one, ``line``, is
geometry's `IntervalMap`, with ``place`` saying which unit of the line each element is, so that it survives
flattening, windows and space-to-depth. The line is dropped, never guessed, once the dependence stops being
stationary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from convlab.geometry import IntervalMap, Stencil
from convlab.geometry import axis as stencils
from convlab.models._trace.table import NONE, IntArray, Table

SEVERAL = -1  # lo and hi vary along more than one dimension
_MOST_CELLS = 1_000_000  # a larger exact array is replaced by its hull: two exotic models took 20 s otherwise


class Axis:
    """Dependence of a tensor on one input axis; treat it as immutable.

    ``lo`` and ``hi`` have as many dimensions as the tensor, with extent 1 wherever they do not vary. ``dim`` is the
    one dimension along which they vary (``None``: none, `SEVERAL`: more), ``line_dim`` the one along which ``place``
    simply counts (-1: it does not). ``local`` remembers the line that a global operation consumed. ``home`` is the
    axis' dimension in the input.
    """

    __slots__ = (
        "dim",
        "hi",
        "home",
        "is_global",
        "is_irregular",
        "is_monotone",
        "line",
        "line_dim",
        "lo",
        "local",
        "place",
    )

    def __init__(
        self,
        lo: IntArray,
        hi: IntArray,
        dim: int | None,
        is_monotone: bool,
        line: IntervalMap | None,
        place: IntArray | None,
        line_dim: int,
        is_global: bool,
        home: int,
        is_irregular: bool = False,
        local: IntervalMap | None = None,
    ) -> None:
        self.lo, self.hi, self.dim, self.is_monotone = lo, hi, dim, is_monotone
        self.line, self.place, self.line_dim = line, place, line_dim
        self.is_global, self.home, self.is_irregular, self.local = is_global, home, is_irregular, local

    @classmethod
    def of_input(cls, shape: Sequence[int], dim: int) -> Axis:
        """Return the dependence of an input on its own axis ``dim``: each index on itself."""
        size = shape[dim]
        counted = counting(size, dim, len(shape))
        return cls(
            counted, counted, dim if size > 1 else None, True, IntervalMap.pixels(size), counted, dim, False, dim
        )

    def but(self, **changed: Any) -> Axis:
        """Return a copy with some fields changed."""
        copy = Axis(
            self.lo,
            self.hi,
            self.dim,
            self.is_monotone,
            self.line,
            self.place,
            self.line_dim,
            self.is_global,
            self.home,
            self.is_irregular,
            self.local,
        )
        for name, value in changed.items():
            setattr(copy, name, value)
        return copy

    def without_line(self, *, irregular: bool) -> Axis:
        """Return a copy that keeps only the exact description."""
        return self.but(
            line=None,
            place=None,
            line_dim=-1,
            is_irregular=self.is_irregular or irregular,
            local=self.line or self.local,
        )

    def varies_along(self, dim: int) -> bool:
        """Whether elements along this dimension depend on different pixels."""
        return self.lo.shape[dim] > 1 or (self.place is not None and self.place.shape[dim] > 1)


class Concatenation(Axis):
    """Tensors with different dependence, concatenated; spelt out only if something looks inside of that dimension."""

    __slots__ = ("_hi", "_lo", "cat_dim", "parts")

    def __init__(self, parts: list[tuple[int, IntArray, IntArray]], cat_dim: int, like: Axis) -> None:
        self.parts, self.cat_dim = parts, cat_dim
        self._lo: IntArray | None = None
        self._hi: IntArray | None = None
        self.line, self.place, self.line_dim = like.line, like.place, like.line_dim
        self.is_global, self.home, self.is_irregular, self.local = (
            like.is_global,
            like.home,
            like.is_irregular,
            like.local,
        )
        self.dim, self.is_monotone = SEVERAL, False

    def _spell_out(self) -> tuple[IntArray, IntArray]:
        shape = [1] * self.parts[0][1].ndim
        for _, lo, hi in self.parts:
            shape = [max(sizes) for sizes in zip(shape, lo.shape, hi.shape, strict=True)]
        los, his = [], []
        for count, lo, hi in self.parts:
            shape[self.cat_dim] = count
            los.append(np.broadcast_to(lo, shape))
            his.append(np.broadcast_to(hi, shape))
        self._lo, self._hi = np.concatenate(los, self.cat_dim), np.concatenate(his, self.cat_dim)
        return self._lo, self._hi

    @property
    def lo(self) -> IntArray:  # type: ignore[override]
        """First index, spelt out on first use."""
        return self._spell_out()[0] if self._lo is None else self._lo

    @property
    def hi(self) -> IntArray:  # type: ignore[override]
        """Last index, spelt out on first use."""
        return self._spell_out()[1] if self._hi is None else self._hi

    def hull(self) -> Axis:
        """Return the union over the concatenated dimension."""
        _, lo, hi = self.parts[0]
        for _, low, high in self.parts[1:]:
            lo, hi = np.minimum(lo, low), np.maximum(hi, high)
        dim = varying_dim(lo.shape)
        return Axis(
            lo,
            hi,
            dim,
            is_monotone(lo, hi, dim),
            self.line,
            self.place,
            self.line_dim,
            self.is_global,
            self.home,
            self.is_irregular,
            self.local,
        )


@lru_cache(4096)
def counting(size: int, dim: int, ndim: int) -> IntArray:
    """Return 0, 1, 2, ... along one dimension of many."""
    shape = [1] * ndim
    shape[dim] = size
    return np.arange(size, dtype=np.int32).reshape(shape)


def varying_dim(shape: Sequence[int]) -> int | None:
    """Return the dimension of extent above 1: ``None`` if there is none, `SEVERAL` if there are more."""
    found = None
    for dim, size in enumerate(shape):
        if size != 1:
            if found is not None:
                return SEVERAL
            found = dim
    return found


def is_monotone(lo: IntArray, hi: IntArray, dim: int | None) -> bool:
    """Whether both ends never step back along the one dimension in which they vary."""
    if dim is None:
        return True
    if dim < 0:
        return False
    low, high = lo.ravel(), hi.ravel()
    return bool((low[1:] >= low[:-1]).all() and (high[1:] >= high[:-1]).all())


def _compress(*arrays: IntArray) -> tuple[IntArray, ...]:
    for dim in range(arrays[0].ndim):
        if arrays[0].shape[dim] > 1:
            heads = [array.take([0], dim) for array in arrays]
            if all((array == head).all() for array, head in zip(arrays, heads, strict=True)):
                arrays = tuple(heads)
    return arrays


def spread(lo: IntArray, hi: IntArray, line_dim: int) -> tuple[IntArray, IntArray, bool]:
    """Keep exact arrays small: return them compressed, and whether they had to be widened to a hull."""
    if lo.size > _MOST_CELLS:
        dims = tuple(d for d in range(lo.ndim) if d != line_dim)
        return lo.min(dims, keepdims=True), hi.max(dims, keepdims=True), True
    lo, hi = _compress(lo, hi)
    return lo, hi, False


def moved(lo: IntArray, hi: IntArray, place: IntArray | None, old: Axis) -> Axis:
    """Return the axis after data movement, its line attached again if it is intact, or a regular part of it."""
    lo, hi, widened = spread(lo, hi, -1)
    dim = varying_dim(lo.shape)
    line, line_dim, irregular, local = old.line, -1, old.is_irregular or widened, old.local
    if line is None or place is None:
        line = place = None
    else:
        (place,) = _compress(place)
        along = varying_dim(place.shape)
        if along is None:
            if line.units == 1:
                line_dim = old.home if old.home < place.ndim else -1
            else:  # a single unit of many was picked
                local, line, place, irregular = line, None, None, True
        elif along >= 0:
            line, place, line_dim = _picked_line(line, place, along)
            irregular = irregular or line is None
    monotone = is_monotone(lo, hi, dim)
    return Axis(lo, hi, dim, monotone, line, place, line_dim, old.is_global, old.home, irregular, local)


def _picked_line(line: IntervalMap, place: IntArray, along: int) -> tuple[IntervalMap | None, IntArray | None, int]:
    """Attach the line along the one dimension in which units follow each other at a constant step."""
    units = place.ravel()
    step = int(units[1] - units[0])
    if step <= 0 or units[0] < 0 or not (np.diff(units) == step).all():
        return line, place, -1
    if step == 1 and units[0] == 0 and len(units) == line.units:
        return line, place, along
    first = int(units[0])
    part = line.through(stencils.slice_axis(line.units, first, first + step * len(units), step))
    return part, None if part is None else counting(len(units), along, place.ndim), along if part else -1


def with_line_along(axis: Axis, dim: int) -> Axis | None:
    """Attach a line whose units repeat in a pattern along ``dim``, as after pixel shuffle (0, 0, 1, 1, 2, 2, ...)."""
    line, place = axis.line, axis.place
    if line is None or place is None or place.size != place.shape[dim]:
        return None
    units = place.ravel()
    count = len(units)
    if (units < 0).any():
        return None
    for period in range(1, count // 2 + 1):
        steps = units[period:] - units[:-period]
        if steps[0] > 0 and (steps == steps[0]).all():
            offsets = tuple((int(unit),) for unit in units[:period])
            behind = line.through(Stencil(line.units, count, offsets, int(steps[0])))
            if behind is None:
                return None
            return axis.but(line=behind, place=counting(count, dim, place.ndim), line_dim=dim)
    return None


def through(axis: Axis, dim: int, table: Table, ndim: int) -> Axis:
    """Return the axis behind an operation that reads along ``dim`` as ``table`` says."""
    if table.is_identity:
        return axis
    if axis.line_dim < 0 and axis.place is not None and axis.place.shape[dim] > 1:
        axis = with_line_along(axis, dim) or axis
    lo, hi, varying, monotone = _exact_through(axis, dim, table, ndim)
    line, place, line_dim, irregular, local = axis.line, axis.place, axis.line_dim, axis.is_irregular, axis.local
    if line is not None and place is not None:
        if line_dim == dim or (line.units == 1 and axis.home == dim):
            behind = line.through(table.stencil)
            if behind is None:
                local, line, place, line_dim, irregular = line, None, None, -1, True
            else:
                line, place, line_dim = behind, counting(table.output_size, dim, ndim), dim
        elif line_dim < 0 and place.shape[dim] > 1:
            local, line, place, line_dim, irregular = line, None, None, -1, True
    return Axis(lo, hi, varying, monotone, line, place, line_dim, axis.is_global, axis.home, irregular, local)


def _exact_through(axis: Axis, dim: int, table: Table, ndim: int) -> tuple[IntArray, IntArray, int | None, bool]:
    lo, hi, varying, monotone = axis.lo, axis.hi, axis.dim, axis.is_monotone
    if lo.shape[dim] == 1:
        if table.has_holes:
            shape = [1] * ndim
            shape[dim] = table.output_size
            hole = (table.first == table.input_size).reshape(shape)
            lo, hi = np.where(hole, NONE, lo), np.where(hole, -NONE, hi)
            varying, monotone = varying_dim(lo.shape), False
    elif varying == dim and monotone and not table.has_holes:
        shape = list(lo.shape)
        shape[dim] = table.output_size
        lo, hi = lo.ravel()[table.first].reshape(shape), hi.ravel()[table.last].reshape(shape)
        varying = None if table.output_size == 1 else dim
        monotone = table.is_monotone or varying is None or is_monotone(lo, hi, varying)
    else:
        lo, hi = _gathered(lo, dim, table, NONE).min(-1), _gathered(hi, dim, table, -NONE).max(-1)
        lo, hi = np.moveaxis(lo, -1, dim), np.moveaxis(hi, -1, dim)
        varying = varying_dim(lo.shape)
        monotone = is_monotone(lo, hi, varying)
    return lo, hi, varying, monotone


def _gathered(ends: IntArray, dim: int, table: Table, nothing: int) -> IntArray:
    ends = np.moveaxis(ends, dim, -1)
    ends = np.concatenate([ends, np.full((*ends.shape[:-1], 1), nothing, np.int32)], -1)
    return ends[..., table.index]


def reduced(axis: Axis, dims: Iterable[int], keepdim: bool = True) -> Axis:
    """Return the axis behind an operation in which each output depends on everything along ``dims``."""
    dims = list(dims)
    if isinstance(axis, Concatenation) and axis.cat_dim in dims and not _places_along(axis, axis.cat_dim):
        axis = axis.hull()
    hit = tuple(d for d in dims if axis.lo.shape[d] > 1)
    if hit:
        lo, hi = axis.lo.min(hit, keepdims=True), axis.hi.max(hit, keepdims=True)
        varying = varying_dim(lo.shape)
        mixed = axis.is_global or (axis.line is None and varying is None)
        axis = axis.but(lo=lo, hi=hi, dim=varying, is_monotone=is_monotone(lo, hi, varying), is_global=mixed)
    axis = _reduced_line(axis, dims)
    return axis if keepdim else _squeezed(axis, set(dims))


def _places_along(axis: Axis, dim: int) -> bool:
    return axis.place is not None and axis.place.shape[dim] > 1


def _reduced_line(axis: Axis, dims: list[int]) -> Axis:
    line, place = axis.line, axis.place
    if line is None or place is None:
        return axis
    if line.units == 1:
        return axis.without_line(irregular=False).but(is_global=True) if axis.home in dims else axis
    hit = [d for d in dims if place.shape[d] > 1]
    if not hit:
        return axis
    if place.size == prod(place.shape[d] for d in hit):
        return axis.without_line(irregular=False).but(is_global=True)
    return _windowed_line(axis, line, place, hit) or axis.without_line(irregular=True)


def _windowed_line(axis: Axis, line: IntervalMap, place: IntArray, hit: list[int]) -> Axis | None:
    """Attach the line of units that each read a window of the old line: unfolded patches, or space-to-depth, mixed.

    Works if all windows are one pattern of offsets, moved by a constant step; a unit of -1 stands for padding.
    """
    rest = [d for d in range(place.ndim) if d not in hit]
    windows = place.transpose(*hit, *rest).reshape(-1, *(place.shape[d] for d in rest))
    whole = [row for row in windows if (row >= 0).all()]
    if not whole:
        return None
    base = whole[0]
    offsets: set[int] = set()
    for row in windows:
        away = np.unique((row - base)[row >= 0])
        if len(away) > 1:
            return None
        offsets.update(int(offset) for offset in away)
    starts = np.unique(base)
    step = int(starts[1] - starts[0]) if len(starts) > 1 else 1
    if not (np.diff(starts) == step).all():
        return None
    first = int(starts[0])
    behind = line.through(Stencil(line.units, len(starts), (tuple(sorted(first + o for o in offsets)),), step))
    if behind is None:
        return None
    units = (
        ((base - first) // step)
        .astype(np.int32)
        .reshape([1 if d in hit else place.shape[d] for d in range(place.ndim)])
    )
    along = varying_dim(units.shape)
    if along is None or along < 0 or not np.array_equal(units.ravel(), np.arange(len(starts))):
        return axis.but(line=behind, place=units, line_dim=-1)
    return axis.but(line=behind, place=units, line_dim=along)


def _squeezed(axis: Axis, dims: set[int]) -> Axis:
    keep = [d for d in range(axis.lo.ndim) if d not in dims]
    shape = [axis.lo.shape[d] for d in keep]
    place = axis.place
    return axis.but(
        lo=axis.lo.reshape(shape),
        hi=axis.hi.reshape([axis.hi.shape[d] for d in keep]),
        dim=varying_dim(shape),
        place=None if place is None else place.reshape([place.shape[d] for d in keep]),
        line_dim=keep.index(axis.line_dim) if axis.line_dim in keep else -1,
    )


def lifted(axis: Axis, ndim: int) -> Axis:
    """Return the axis of the same tensor with dimensions of extent 1 in front, up to ``ndim``."""
    if isinstance(axis, Concatenation) and axis.parts[0][1].ndim == ndim:
        return axis
    more = ndim - axis.lo.ndim
    if more == 0:
        return axis
    ones = (1,) * more
    place = axis.place
    return axis.but(
        lo=axis.lo.reshape(ones + axis.lo.shape),
        hi=axis.hi.reshape(ones + axis.hi.shape),
        dim=axis.dim if axis.dim is None or axis.dim < 0 else axis.dim + more,
        place=None if place is None else place.reshape(ones + place.shape),
        line_dim=axis.line_dim if axis.line_dim < 0 else axis.line_dim + more,
    )


def same_places(a: Axis, b: Axis) -> bool:
    """Whether elements of both tensors are the same units of their lines."""
    if a.place is b.place:
        return True
    return a.place is not None and b.place is not None and np.array_equal(a.place, b.place)


def merged(a: Axis | None, b: Axis | None, ndim: int) -> Axis | None:
    """Return the axis of an elementwise combination: each element depends on what either depends on."""
    if a is b or b is None:
        return a
    if a is None:
        return b
    a, b = lifted(a, ndim), lifted(b, ndim)
    if a.lo is b.lo and a.hi is b.hi:
        lo, hi = a.lo, a.hi
    else:
        lo, hi = np.minimum(a.lo, b.lo), np.maximum(a.hi, b.hi)
    dim = varying_dim(lo.shape)
    monotone = a.is_monotone and b.is_monotone and (dim is None or dim >= 0)
    irregular = a.is_irregular or b.is_irregular
    line, place, line_dim = None, None, -1
    if a.line is not None and b.line is not None:
        if same_places(a, b):
            line, place, line_dim = a.line.union(b.line), a.place, a.line_dim
        if line is None:
            place, line_dim, irregular = None, -1, True
    elif a.line is not None and not b.is_irregular:
        line, place, line_dim = a.line, a.place, a.line_dim
    elif b.line is not None and not a.is_irregular:
        line, place, line_dim = b.line, b.place, b.line_dim
    local = None if line is not None else _larger(a.line or a.local, b.line or b.local)
    is_global = a.is_global or b.is_global
    return Axis(lo, hi, dim, monotone, line, place, line_dim, is_global, a.home, irregular, local)


def _larger(a: IntervalMap | None, b: IntervalMap | None) -> IntervalMap | None:
    if a is None or b is None:
        return a or b
    return a.union(b) or (a if a.size >= b.size else b)


def everything(axis: Axis, ndim: int) -> Axis:
    """Return the axis of a tensor in which each element may depend on all that ``axis`` depends on."""
    shape = (1,) * ndim
    lo, hi = np.full(shape, axis.lo.min(), np.int32), np.full(shape, axis.hi.max(), np.int32)
    local = axis.line or axis.local
    return Axis(lo, hi, None, True, None, None, -1, True, axis.home, axis.is_irregular, local)
