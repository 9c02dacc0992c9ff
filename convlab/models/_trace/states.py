"""How one tensor depends on every tracked axis of every input, and what operations do to that.

A state holds one `Axis` for each tracked axis of the inputs, in a fixed order, ``None`` where the tensor does not
depend on it. The state of a constant is ``None``. Dimensions are those of the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch

from convlab.models._trace.axis import (
    Axis,
    Concatenation,
    counting,
    everything,
    is_monotone,
    lifted,
    merged,
    moved,
    reduced,
    same_places,
    spread,
    through,
    varying_dim,
)
from convlab.models._trace.table import NONE, IntArray, Table

State: TypeAlias = tuple[Axis | None, ...] | None
Shape: TypeAlias = Sequence[int]


def union(states: Iterable[State], ndim: int) -> State:
    """Return the state of an elementwise combination of tensors, broadcast to ``ndim`` dimensions."""
    known = [state for state in states if state is not None]
    if not known:
        return None
    total = known[0]
    for state in known[1:]:
        if state is not total:
            total = tuple(merged(a, b, ndim) for a, b in zip(total, state, strict=True))
    if all(axis is None or axis.lo.ndim == ndim for axis in total):
        return total
    return tuple(axis and lifted(axis, ndim) for axis in total)


def read(state: State, tables: Iterable[tuple[int, Table]], ndim: int) -> State:
    """Return the state behind an operation that reads along each dimension as its table says."""
    if state is None:
        return None
    tables = list(tables)
    return tuple(axis and _through_all(axis, tables, ndim) for axis in state)


def _through_all(axis: Axis, tables: list[tuple[int, Table]], ndim: int) -> Axis:
    for dim, table in tables:
        axis = through(axis, dim, table, ndim)
    return axis


def reduce(state: State, dims: Iterable[int], ndim: int, keepdim: bool = True) -> State:
    """Return the state behind a reduction over ``dims``."""
    if state is None:
        return None
    dims = [dim % ndim for dim in dims] if ndim else []
    return tuple(axis and reduced(axis, dims, keepdim) for axis in state)


def mix_channels(state: State, dim: int, groups: int, in_channels: int, out_channels: int) -> State:
    """Return the state behind a convolution's sum over the channels of each group."""
    if state is None:
        return None
    if groups == 1:
        return tuple(axis and (reduced(axis, [dim]) if axis.varies_along(dim) else axis) for axis in state)
    return tuple(axis and _mix_groups(axis, dim, groups, in_channels, out_channels) for axis in state)


def _mix_groups(axis: Axis, dim: int, groups: int, in_channels: int, out_channels: int) -> Axis:
    if not axis.varies_along(dim):
        return axis
    if axis.lo.shape[dim] > 1:
        shape = axis.lo.shape
        split = (*shape[:dim], groups, in_channels // groups, *shape[dim + 1 :])
        lo = np.repeat(axis.lo.reshape(split).min(dim + 1), out_channels // groups, dim)
        hi = np.repeat(axis.hi.reshape(split).max(dim + 1), out_channels // groups, dim)
        lo, hi, _ = spread(lo, hi, axis.line_dim)
        varying = varying_dim(lo.shape)
        axis = axis.but(lo=lo, hi=hi, dim=varying, is_monotone=is_monotone(lo, hi, varying))
    if axis.place is not None and axis.place.shape[dim] > 1:
        axis = axis.without_line(irregular=True)
    return axis


def without_lines_across(state: State, other: State, ndim: int) -> State:
    """Drop lines that run along another dimension than ``other``'s, as keys do against queries: they mix the axis."""
    if state is None or other is None:
        return state
    return tuple(
        axis.without_line(irregular=False).but(is_global=True)
        if axis and beside and axis.line and beside.line and not same_places(lifted(axis, ndim), lifted(beside, ndim))
        else axis
        for axis, beside in zip(state, other, strict=True)
    )


def depends_on_all(state: State, ndim: int) -> State:
    """Return the state of a tensor of which each element may depend on all that ``state`` depends on."""
    return None if state is None else tuple(axis and everything(axis, ndim) for axis in state)


def rearrange(state: State, array_function: Callable[[IntArray], IntArray]) -> State:
    """Move data as a numpy function does that copes with dimensions of extent 1 (where nothing varies)."""
    if state is None:
        return None
    return tuple(
        axis
        and moved(
            array_function(axis.lo),
            array_function(axis.hi),
            None if axis.place is None else array_function(axis.place),
            axis,
        )
        for axis in state
    )


TensorFunction: TypeAlias = Callable[[torch.Tensor, int], Any]


def move(state: State, shape: Shape, tensor_function: TensorFunction) -> State:
    """Move data as any torch function does, by running it on the exact arrays expanded to ``shape``.

    ``tensor_function(tensor, nothing)`` gets an integer tensor and the value that stands for "depends on nothing".
    """
    if state is None:
        return None
    return tuple(axis and _moved_parts(axis, shape, lambda t, n: [tensor_function(t, n)])[0] for axis in state)


def move_to_many(state: State, shape: Shape, tensor_function: TensorFunction, count: int) -> list[State]:
    """Like `move`, for a function that returns ``count`` tensors."""
    if state is None:
        return [None] * count
    columns = [[None] * count if axis is None else _moved_parts(axis, shape, tensor_function) for axis in state]
    return [tuple(parts) for parts in zip(*columns, strict=True)]


def _moved_parts(axis: Axis, shape: Shape, tensor_function: TensorFunction) -> list[Axis]:
    with torch._C.DisableTorchFunction():
        los = tensor_function(_expanded(axis.lo, shape), NONE)
        his = tensor_function(_expanded(axis.hi, shape), -NONE)
        places = [None] * len(los) if axis.place is None else tensor_function(_expanded(axis.place, shape), -1)
        parts = []
        for low, high, place in zip(los, his, places, strict=True):
            lo, hi = np.broadcast_arrays(_shrunk(low), _shrunk(high))
            parts.append(moved(lo, hi, None if place is None else _shrunk(place), axis))
    return parts


def _expanded(array: IntArray, shape: Shape) -> torch.Tensor:
    return _as_tensor(array).expand(tuple(shape))


def _as_tensor(array: IntArray) -> torch.Tensor:
    if any(stride < 0 for stride in array.strides):  # flipped; torch knows no such strides
        array = array.copy()
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _shrunk(tensor: torch.Tensor) -> IntArray:
    for dim in range(tensor.dim()):
        if tensor.size(dim) > 1 and tensor.stride(dim) == 0:
            tensor = tensor.narrow(dim, 0, 1)
    array: IntArray = tensor.numpy()
    return array


def reshape(state: State, old: Shape, new: Shape) -> State:
    """Return the state behind a reshape; dimensions along which nothing varies stay compressed."""
    old, new = tuple(old), tuple(new)
    if state is None or old == new:
        return state
    groups = _reshape_groups(old, new)

    def regroup(array: IntArray) -> IntArray:
        wide: list[int] = []
        final: list[int] = []
        for before, after in groups:
            varies = any(array.shape[dim] != 1 for dim in before)
            wide += [old[dim] if varies else 1 for dim in before]
            final += [new[dim] if varies else 1 for dim in after]
        return np.broadcast_to(array, wide).reshape(final)

    return rearrange(state, regroup)


@lru_cache(8192)
def _reshape_groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Split both shapes into the shortest runs of dimensions that hold the same number of elements."""
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = list(range(i, min(i + 1, len(old)))), list(range(j, min(j + 1, len(new))))
        i, j = i + len(before), j + len(after)
        while (held := prod(old[d] for d in before)) != (wanted := prod(new[d] for d in after)):
            if held < wanted:
                before.append(i)
                i += 1
            else:
                after.append(j)
                j += 1
        while i < len(old) and old[i] == 1 and not (j < len(new) and new[j] == 1):
            before.append(i)
            i += 1
        while j < len(new) and new[j] == 1 and not (i < len(old) and old[i] == 1):
            after.append(j)
            j += 1
        groups.append((before, after))
    return groups


def concatenate(states: Sequence[State], shapes: Sequence[Shape], dim: int, ndim: int) -> State:
    """Return the state of tensors of these shapes, concatenated along ``dim``."""
    # torch lets an empty tensor of one dimension take part in any concatenation; one without extent adds nothing.
    pairs = [
        (state, shape)
        for state, shape in zip(states, shapes, strict=True)
        if tuple(shape) != (0,) and (len(shape) != ndim or shape[dim])
    ]
    known = [state for state, _ in pairs if state is not None]
    if not known:
        return None
    return tuple(
        _concatenated(
            [None if state is None else state[i] for state, _ in pairs], [shape[dim] for _, shape in pairs], dim, ndim
        )
        for i in range(len(known[0]))
    )


def _concatenated(axes: list[Axis | None], counts: list[int], dim: int, ndim: int) -> Axis | None:
    known = [axis for axis in axes if axis is not None]
    if not known:
        return None
    head = known[0]
    if all(axis is head for axis in axes) and not isinstance(head, Concatenation) and not head.varies_along(dim):
        return head
    parts: list[tuple[int, IntArray, IntArray]] = []
    for axis, count in zip(axes, counts, strict=True):
        if isinstance(axis, Concatenation) and axis.cat_dim == dim:
            parts += axis.parts
        elif axis is None:
            nothing = np.full([1] * ndim, NONE, np.int32)
            parts.append((count, nothing, -nothing))
        else:
            parts.append((count, axis.lo, axis.hi))
    like = _shared_line(axes, counts, dim)
    _, lo, hi = parts[0]
    flat = all(low.shape[dim] == 1 and high.shape[dim] == 1 for _, low, high in parts)
    if flat and all(_same(low, lo) and _same(high, hi) for _, low, high in parts[1:]):
        return like.but(lo=lo, hi=hi, dim=varying_dim(lo.shape), is_monotone=head.is_monotone)
    whole = Concatenation(parts, dim, like)
    if flat:
        return whole
    lo, hi, widened = spread(whole.lo, whole.hi, like.line_dim)
    varying = varying_dim(lo.shape)
    return like.but(
        lo=lo, hi=hi, dim=varying, is_monotone=is_monotone(lo, hi, varying), is_irregular=like.is_irregular or widened
    )


def _same(a: IntArray, b: IntArray) -> bool:
    return a is b or np.array_equal(a, b)


def _shared_line(axes: Sequence[Axis | None], counts: list[int], dim: int) -> Axis:
    """Return the first axis with the line of all: their union, if every part counts its units alike."""
    known = [axis for axis in axes if axis is not None]
    head = known[0]
    irregular = any(axis.is_irregular for axis in known)
    is_global = any(axis.is_global for axis in known)
    regular = [axis for axis in known if axis.line is not None]
    local = next((axis.line or axis.local for axis in known if axis.line or axis.local), None)
    if not regular or irregular:
        return head.but(line=None, place=None, line_dim=-1, is_global=is_global, is_irregular=irregular, local=local)
    first = regular[0]
    line, place, line_dim = first.line, first.place, first.line_dim
    if any(axis.place is None or axis.place.shape[dim] > 1 for axis in regular):
        if any(axis.line != line for axis in regular):
            line = None
        place, line_dim = _concatenated_places(axes, counts, dim), -1
    else:
        for axis in regular[1:]:
            line = line.union(axis.line) if line and axis.line and same_places(axis, first) else None
    if line is None:
        return head.but(line=None, place=None, line_dim=-1, is_global=is_global, is_irregular=True, local=local)
    return head.but(line=line, place=place, line_dim=line_dim, is_global=is_global, is_irregular=False)


def _concatenated_places(axes: Sequence[Axis | None], counts: list[int], dim: int) -> IntArray:
    """Return which unit each element is, -1 for elements that are none: a class token in front of patches."""
    places = [None if axis is None or axis.line is None else axis.place for axis in axes]
    shape = np.broadcast_shapes(
        *([1 if d == dim else n for d, n in enumerate(p.shape)] for p in places if p is not None)
    )
    parts = []
    for place, count in zip(places, counts, strict=True):
        part = (*shape[:dim], count, *shape[dim + 1 :])
        parts.append(np.broadcast_to(np.int32(-1) if place is None else place, part))
    return np.concatenate(parts, dim)


def accumulate(state: State, dim: int) -> State:
    """Return the state behind a running sum (a recurrent layer): each element depends on all before it."""
    if state is None:
        return None
    return tuple(axis and (_accumulated(axis, dim) if axis.varies_along(dim) else axis) for axis in state)


def _accumulated(axis: Axis, dim: int) -> Axis:
    lo, hi = np.minimum.accumulate(axis.lo, dim), np.maximum.accumulate(axis.hi, dim)
    varying = varying_dim(lo.shape)
    return axis.without_line(irregular=False).but(
        lo=lo, hi=hi, dim=varying, is_monotone=is_monotone(lo, hi, varying), is_global=True
    )


View: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


def write_into(base: State, shape: Shape, written: State, view: View) -> State:
    """Return the state of a tensor of ``shape`` after a write into a view of it."""
    if base is None and written is None:
        return None
    count = len(base or written or ())
    old = base or (None,) * count
    new = written or (None,) * count
    return tuple(_written_into(a, shape, b, view) for a, b in zip(old, new, strict=True))


def _written_into(base: Axis | None, shape: Shape, written: Axis | None, view: View) -> Axis | None:
    like = written or base
    if like is None:
        return None
    lo = _overwritten(base.lo if base else None, shape, written.lo if written else None, view, NONE)
    hi = _overwritten(base.hi if base else None, shape, written.hi if written else None, view, -NONE)
    lo, hi, _ = spread(lo, hi, -1)
    dim = varying_dim(lo.shape)
    is_global = any(axis is not None and axis.is_global for axis in (base, written))
    local = like.line or like.local
    axis = Axis(lo, hi, dim, is_monotone(lo, hi, dim), None, None, -1, is_global, like.home, True, local)
    return _with_written_line(axis, base, shape, written, view)


def _overwritten(base: IntArray | None, shape: Shape, written: IntArray | None, view: View, nothing: int) -> IntArray:
    with torch._C.DisableTorchFunction():
        whole = _writable(base, shape, nothing)
        target = view(whole)
        target.copy_(_writable(written, target.shape, nothing))
    array: IntArray = whole.numpy()
    return array


def _writable(array: IntArray | None, shape: Shape, fill: int) -> torch.Tensor:
    if array is None:
        return torch.full(tuple(shape), fill, dtype=torch.int32)
    return _as_tensor(array).expand(tuple(shape)).clone()


def _with_written_line(axis: Axis, base: Axis | None, shape: Shape, written: Axis | None, view: View) -> Axis:
    """Keep the line only where lines were overwritten as a whole, as in ``out[:, :channels] = y``."""
    lines = [part.line for part in (base, written) if part is not None]
    line = lines[0]
    if line is not None and len(lines) == 2:
        line = line.union(lines[1]) if lines[1] is not None else None
    if line is None:
        return axis
    place = _overwritten(base.place if base else None, shape, written.place if written else None, view, -1)
    touched = _overwritten(np.zeros([1] * len(shape), np.int32), shape, np.ones((), np.int32), view, 0)
    for dim, size in enumerate(shape):
        if size != line.units or not (touched == touched.take([0], dim)).all():
            continue
        units = counting(size, dim, len(shape))
        if ((place == -1) | (place == units)).all():
            return axis.but(line=line, place=units, line_dim=dim, is_irregular=False, local=None)
    return axis


def shifts(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Return (start, stop) of consecutive pieces of these sizes."""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return list(pairwise(ends))
