"""One row of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import index as whole
from typing import Any, TypeAlias

import numpy as np
from torch import nn
from torch.nn.parameter import is_lazy

from convlab.geometry import Box, IntervalMap, ReceptiveField, describe
from convlab.geometry.receptive_field import Reach
from convlab.models._trace.axis import Axis, varying_dim, with_line_along
from convlab.models._trace.inputs import spatial_dims
from convlab.models._trace.states import State
from convlab.models._trace.table import IntArray
from convlab.models._trace.tracer import Call

Shared: TypeAlias = dict[tuple[int, bool], dict[str, ReceptiveField]]


@dataclass(frozen=True)
class Record:
    """One call of a module or function, and what its output sees of the input.

    Sizes include the batch; ``mult_adds`` counts as torchinfo does (weights and biases once for each position),
    matrix products of attention included; ``memory`` is the bytes of the output; ``call`` counts the calls of the
    same path.
    """

    path: str
    kind: str
    call: int
    depth: int
    is_leaf: bool
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    num_params: int
    trainable: int
    mult_adds: int
    memory: int
    input_sizes: tuple[tuple[int, ...], ...] = ()
    decided_by_data: bool = field(default=False, repr=False)
    _state: State = field(default=None, repr=False, compare=False)
    _axes: tuple[tuple[str, int, int], ...] = field(default=(), repr=False, compare=False)
    # Fields by state: an activation function hands on the very state of the layer before it.
    _shared: Shared = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """What a unit sees of each input, by the input's name; an input that it does not depend on is left out."""
        key = id(self._state), self.decided_by_data
        fields = self._shared.get(key)
        if fields is None:
            parts = {name: self._parts(name) for name in self._inputs}
            fields = {name: self._described(axes) for name, axes in parts.items() if any(axis for axis, _ in axes)}
            self._shared[key] = fields
        return fields

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """What a unit sees of the (first) input; ``None`` if it sees nothing of it."""
        return self.receptive_fields.get(self._inputs[0]) if self._inputs else None

    @cached_property
    def _inputs(self) -> list[str]:
        return list(dict.fromkeys(name for name, _, _ in self._axes))

    def _parts(self, name: str) -> list[tuple[Axis | None, int]]:
        state = self._state or (None,) * len(self._axes)
        return [(axis, size) for axis, (owner, _, size) in zip(state, self._axes, strict=True) if owner == name]

    def fields(self, input: str | None = None) -> list[tuple[IntArray, IntArray]]:
        """Return first and last pixel for each element of the output, for each spatial axis of the input.

        The arrays have the output's dimensions, with extent 1 along those where nothing varies; first > last where an
        element depends on nothing. Where a forward has decided on values, which path it took may hang on any pixel:
        only the whole input is sure to hold them all.
        """
        empty = np.zeros((1,) * len(self.output_size), np.int32)
        found = []
        for axis, size in self._parts(self._input_called(input)):
            if self.decided_by_data:
                found.append((empty, empty + size - 1))
            elif axis is None:
                found.append((empty, empty - 1))
            else:
                found.append((np.clip(axis.lo, 0, size), np.clip(axis.hi, -1, size - 1)))
        return found

    def _described(self, parts: Sequence[tuple[Axis | None, int]]) -> ReceptiveField:
        maps: list[IntervalMap | None] = []
        extents, reach = [], []
        for i, (own, _) in enumerate(parts):
            axis = _attached(own, [other for j, (other, _) in enumerate(parts) if j != i])
            maps.append(None if axis is None else axis.line or (axis.local if axis.is_global else None))
            extents.append(0 if axis is None or maps[-1] else int(max(0, (axis.hi - axis.lo).max() + 1)))
            reach.append(self._reach(axis))
        return describe(maps, extents, reach)

    def _reach(self, axis: Axis | None) -> Reach:
        if axis is None:
            return "local"
        if axis.is_global:
            return "global"
        return "irregular" if axis.line is None or self.decided_by_data else "local"

    @property
    def spatial_dims(self) -> tuple[int, ...]:
        """Dimensions of the output along which units lie: behind batch and channels, unless they were moved."""
        ndim = len(self.output_size)
        usual = tuple(spatial_dims(ndim)) if ndim > 2 else ()
        lines = [axis for axis in self._state or () if axis is not None and axis.line is not None]
        spread = {dim for axis in lines for dim, size in enumerate(axis.place.shape) if size > 1}  # type: ignore[union-attr]
        if spread <= set(usual):
            return usual
        if all(axis.line_dim >= 0 for axis in lines):
            return tuple(sorted({axis.line_dim for axis in lines} | (spread - {0})))
        return tuple(sorted(spread - {0})) if not spread & set(usual) else usual

    def field(self, unit: Sequence[int] | int, input: str | None = None) -> Box:
        """Return the exact box of input pixels that one unit depends on, borders considered.

        ``unit`` holds the unit's spatial indices, one for each of `spatial_dims`; with the channel in front (or batch
        and channel) the box is that of this element alone, else that of all channels together. ``input`` names one of
        several inputs. Raises ``IndexError`` for an index out of range.

        >>> import torch
        >>> from convlab.models.trace import trace
        >>> conv = trace(torch.nn.Conv2d(1, 1, 3, padding=1), (1, 1, 8, 8)).output
        >>> conv.field((0, 4)).slices
        (slice(0, 2, None), slice(3, 6, None))
        """
        name = self._input_called(input)
        chosen = self._indices(unit)
        intervals = []
        for axis, size in self._parts(name):
            if self.decided_by_data:
                intervals.append((0, size - 1))
            else:
                intervals.append((0, -1) if axis is None else _interval(axis, chosen, size))
        return Box.of(intervals)

    def _input_called(self, name: str | None) -> str:
        if name is None and self._inputs:
            return self._inputs[0]
        if name not in self._inputs:
            raise KeyError(f"there is no input {name!r}; the inputs are {', '.join(self._inputs) or 'none'}")
        return name

    def _indices(self, unit: Sequence[int] | int) -> dict[int, int]:
        indices = tuple(unit) if isinstance(unit, (tuple, list)) or hasattr(unit, "__iter__") else (unit,)
        ndim, spatial = len(self.output_size), self.spatial_dims
        by_count = {ndim: tuple(range(ndim)), ndim - 1: tuple(range(1, ndim)), len(spatial): spatial}
        dims = by_count.get(len(indices))
        if dims is None:
            raise IndexError(
                f"unit {unit!r} has {len(indices)} indices, "
                f"{self.path or 'the output'} of size {self.output_size} takes "
                f"{len(spatial)}, one for each of dimensions {spatial}"
            )
        chosen = {}
        for dim, value in zip(dims, indices, strict=True):
            size = self.output_size[dim]
            if isinstance(value, (bool, str, float)) or not hasattr(value, "__index__"):
                raise TypeError(f"unit {unit!r} must hold whole numbers; {(0,) * len(dims)} would work")
            if not 0 <= whole(value) < size:
                raise IndexError(
                    f"unit {unit!r} lies outside of {self.path or 'the output'}: "
                    f"dimension {dim} has {size} units, 0 to {size - 1}"
                )
            chosen[dim] = whole(value)
        return chosen


def _interval(axis: Axis, chosen: dict[int, int], size: int) -> tuple[int, int]:
    where: tuple[Any, ...] = tuple(
        slice(None) if dim not in chosen else (0 if extent == 1 else chosen[dim])
        for dim, extent in enumerate(axis.lo.shape)
    )
    first, last = int(np.min(axis.lo[where])), int(np.max(axis.hi[where]))
    return (max(first, 0), min(last, size - 1)) if first <= last else (0, -1)


def _attached(axis: Axis | None, others: Sequence[Axis | None]) -> Axis | None:
    """Attach a line that waits for a pattern (pixel shuffle), unless another axis shares its dimension (tokens)."""
    if axis is None or axis.line_dim >= 0 or axis.place is None:
        return axis
    dim = varying_dim(axis.place.shape)
    if dim is None or dim < 0 or any(other is not None and other.varies_along(dim) for other in others):
        return axis
    return with_line_along(axis, dim) or axis


def record_of(call: Call, number: int, axes: tuple[tuple[str, int, int], ...], shared: Shared) -> Record:
    """Return the public face of a call."""
    counted = [(p.numel(), p.requires_grad) for p in _parameters(call) if not is_lazy(p)]
    cells = 1
    for extent in call.output_size:
        cells *= extent
    return Record(
        path=call.path,
        kind=call.kind,
        call=number,
        depth=call.depth,
        is_leaf=call.is_leaf,
        input_size=call.input_sizes[0] if call.input_sizes else (),
        output_size=call.output_size,
        num_params=sum(count for count, _ in counted),
        trainable=sum(count for count, needs_grad in counted if needs_grad),
        mult_adds=call.mult_adds,
        memory=cells * call.itemsize,
        input_sizes=tuple(call.input_sizes),
        decided_by_data=call.decided_by_data,
        _state=call.state,
        _axes=axes,
        _shared=shared,
    )


def _parameters(call: Call) -> Iterable[nn.Parameter]:
    module = call.module
    if module is None:
        return call.used
    if module._modules:
        return module.parameters()
    return {id(p): p for p in module._parameters.values() if p is not None}.values()
