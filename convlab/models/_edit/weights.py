"""Where each weight of a layer goes when the layer's shape changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convlab.models._edit.errors import Refusal
from convlab.models._edit.flow import Use
from convlab.models._edit.labels import Keys, channels_in, matched

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Carry:
    """How a tensor's values go over into one of another shape.

    ``rows``
        For each new row the old one, or -1: then the row is fresh.
    ``columns``
        For each new column the old one, or -1: then it is zero; in groups, for each new row and column. None where
        columns stay as they are.
    ``offsets``
        For each axis of the kernel where the old one begins in the new one; negative where it is cut.
    ``groups``
        Old and new number of groups where the weight is a transposed convolution's.
    ``is_flat``
        Whether each element is a row of its own, whatever the tensor's shape.
    """

    rows: Index
    columns: Index | None = None
    offsets: tuple[int, ...] = ()
    groups: tuple[int, int] | None = None
    is_flat: bool = False

    def __call__(self, old: Tensor, fresh: Tensor) -> Tensor:
        """Values of `old` where they have a place in the shape of `fresh`, zero or `fresh` elsewhere."""
        was, new = old.detach(), fresh.detach()
        if self.groups is not None:
            was, new = _rows_first(was, self.groups[0]), _rows_first(new, self.groups[1])
        shape = new.shape
        if self.is_flat:
            was, new = was.reshape(-1), new.reshape(-1)
        made = self._placed(was, new)
        rows = torch.from_numpy(self.rows < 0).to(new.device)
        made[rows] = new[rows]
        made = made.reshape(shape)
        return made if self.groups is None else _columns_first(made, self.groups[1])

    def _placed(self, was: Tensor, new: Tensor) -> Tensor:
        rows = torch.from_numpy(self.rows).to(was.device)
        kept = was[rows.clamp(min=0)]
        if self.columns is not None:
            columns = torch.from_numpy(self.columns).to(was.device)
            index = columns.clamp(min=0)
            if columns.dim() == 1:
                kept = kept[:, index]
                kept[:, columns < 0] = 0
            else:
                index = index.reshape(*index.shape, *(1,) * (kept.dim() - 2)).expand(*index.shape, *kept.shape[2:])
                kept = kept.gather(1, index)
                kept[columns < 0] = 0
        made = torch.zeros_like(new)
        into, out_of = [], []
        for axis, offset in enumerate(self.offsets):
            before, after = was.shape[axis + 2], new.shape[axis + 2]
            start, stop = max(offset, 0), min(before + offset, after)
            into.append(slice(start, stop))
            out_of.append(slice(start - offset, stop - offset))
        made[(slice(None), slice(None), *into) if into else ...] = kept[
            (slice(None), slice(None), *out_of) if into else ...
        ]
        return made

    @property
    def is_same(self) -> bool:
        """Whether every value stays where it is."""
        return (self.rows == np.arange(len(self.rows))).all() and self.columns is None and not any(self.offsets)


def _rows_first(weight: Tensor, groups: int) -> Tensor:
    """A transposed convolution's weight with its outputs first, as other convolutions have it."""
    split = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    return split.reshape(-1, *split.shape[2:])


def _columns_first(weight: Tensor, groups: int) -> Tensor:
    split = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    return split.reshape(-1, *split.shape[2:]).contiguous()


def carries(old: nn.Module, new: nn.Module, before: Sequence[Use], after: Sequence[Use]) -> dict[str, Carry]:
    """How the parameters and buffers of `old` go over into those of `new`, by name; what is missing starts afresh.

    Raises:
        Refusal: the layer is called several times, and the calls do not agree.
    """
    found = [_carries(old, new, b, a) for b, a in zip(before, after, strict=False)]
    if not found:
        found = [_carries(old, new, Use(None, None), Use(None, None))]
    if len(before) != len(after) or not all(_agree(found[0], other) for other in found[1:]):
        raise Refusal(
            f"it is called {max(len(before), len(after))} times in a forward, on channels that no longer agree",
            never=True,
        )
    return found[0]


def _agree(one: dict[str, Carry], other: dict[str, Carry]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name].rows, other[name].rows)
        and np.array_equal(_or_empty(one[name].columns), _or_empty(other[name].columns))
        for name in one
    )


def _or_empty(index: Index | None) -> Index:
    return np.zeros(0, np.int64) if index is None else index


def _carries(old: Any, new: Any, before: Use, after: Use) -> dict[str, Carry]:
    if isinstance(old, nn.modules.conv._ConvNd) and type(old) is type(new):
        return _of_convolution(old, new, before, after)
    if isinstance(old, nn.Linear) and type(old) is type(new):
        rows = _matched(before.made, after.made, old.out_features, new.out_features)
        columns = _matched(before.taken, after.taken, old.in_features, new.in_features)
        return _with_bias(Carry(rows, _moved(columns, old.in_features)), rows)
    if isinstance(old, nn.PReLU) and isinstance(new, nn.PReLU):
        return {"weight": Carry(_per_channel(before, after, old.num_parameters, new.num_parameters))}
    return _of_norm(old, new, before, after)


def _with_bias(weight: Carry, rows: Index) -> dict[str, Carry]:
    return {"weight": weight, "bias": Carry(rows)}


def _matched(old: Keys | None, new: Keys | None, before: int, after: int) -> Index:
    """By key; where none is found again, by position."""
    if old is not None and new is not None and len(old) == before and len(new) == after:
        found = matched(old, new)
        if (found >= 0).any():
            return found
    position = np.arange(after)
    return np.where(position < before, position, -1)


def _moved(columns: Index, before: int) -> Index | None:
    return None if len(columns) == before and (columns == np.arange(before)).all() else columns


def _of_convolution(old: Any, new: Any, before: Use, after: Use) -> dict[str, Carry]:
    rows = _matched(before.made, after.made, old.out_channels, new.out_channels)
    columns = _matched(before.taken, after.taken, old.in_channels, new.in_channels)
    offsets = tuple((n - 1) // 2 - (o - 1) // 2 for o, n in zip(old.kernel_size, new.kernel_size, strict=True))
    groups = (old.groups, new.groups)
    whole = groups == (1, 1)
    local = _moved(columns, old.in_channels) if whole else _within_groups(rows, columns, old, new)
    weight = Carry(rows, local, offsets, groups if old.transposed else None)
    return _with_bias(weight, rows)


def _within_groups(rows: Index, columns: Index, old: Any, new: Any) -> Index | None:
    """For each row the old column, counted within the row's old group, of each column of its new group."""
    width, was = new.in_channels // new.groups, old.in_channels // old.groups
    group = np.arange(new.out_channels) // (new.out_channels // new.groups)
    whole = columns.reshape(new.groups, width)[group]
    old_group = rows // (old.out_channels // old.groups)
    local = np.where((whole >= 0) & (whole // was == old_group[:, None]), whole % was, -1)
    same = width == was and (local == np.arange(was))[rows >= 0].all()
    return None if same else local


def _per_channel(before: Use, after: Use, was: int, count: int) -> Index:
    if was == 1 or count == 1:
        return np.zeros(count, np.int64)
    return _matched(before.taken, after.taken, was, count)


def _of_norm(old: Any, new: Any, before: Use, after: Use) -> dict[str, Carry]:
    was, count = _size(old), _size(new)
    if not was or not count:
        return {}
    if (was > 1) and before.taken is not None and after.taken is not None and type(old) is not type(new):
        if isinstance(new, nn.LayerNorm):
            rows = _by_channel(before.taken, after.taken)
        elif isinstance(old, nn.LayerNorm):
            return {}
        else:
            rows = _matched(before.taken, after.taken, was, count)
    else:
        rows = _matched(before.taken, after.taken, was, count)
    names = ["weight", "bias"]
    if type(old) is type(new):
        names += ["running_mean", "running_var"]
    return {name: Carry(rows, is_flat=True) for name in names}


def _by_channel(old: Keys, new: Keys) -> Index:
    where = {label: i for i, label in enumerate(channels_in(old).tolist())}
    return np.array([where.get(label, -1) for label in channels_in(new).tolist()], dtype=np.int64)


def _size(norm: Any) -> int:
    """How many weights a normalisation has, or would have."""
    for name in ("num_features", "num_channels"):
        if hasattr(norm, name):
            return int(getattr(norm, name))
    return int(np.prod(norm.normalized_shape)) if isinstance(norm, nn.LayerNorm) else 0
