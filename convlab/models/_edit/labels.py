"""Names for channels: each element of an activation knows which channel of which layer it lies in, and where."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Keys = NDArray[np.int64]

CONSTANT: Final = 0
"""The label of what no input and no layer decides."""

_PLACES: Final = 38  # bits of a key that tell the place; the channel's label lies above
_COORDINATE: Final = 12
_COLUMNS: Final = 1 << (_PLACES - 1)  # places that are no coordinates lie from here on


class Labels:
    """A number for each key, the same in every run through the same model, so that two runs can be compared.

    Keys are ``("out", layer, i)`` for a layer's channel, ``("out", layer, (group, i))`` for one made in groups,
    ``("input", name)``, ``("depthwise", layer, label, i)`` for a channel that a depthwise layer makes of another,
    ``("reduced", n)`` for what is one for many channels, and ``("unknown", n)``.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {"constant": CONSTANT}
        self.keys: list[Hashable] = ["constant"]
        self._outputs: dict[int, Tensor] = {}

    def one(self, key: Hashable) -> int:
        """The number of a key."""
        number = self._numbers.setdefault(key, len(self.keys))
        if number == len(self.keys):
            self.keys.append(key)
        return number

    def many(self, keys: Iterable[Hashable]) -> Tensor:
        """The numbers of many keys."""
        return torch.tensor([self.one(key) for key in keys], dtype=torch.int64)

    def outputs(self, layer: int, count: int, groups: int = 1) -> Tensor:
        """The numbers of a layer's channels; in groups, a channel is known by its place in its group."""
        if groups > 1:
            each = count // groups
            return self.many(("out", layer, (i // each, i % each)) for i in range(count))
        known = self._outputs.get(layer)
        if known is None or len(known) < count:
            known = self._outputs[layer] = self.many(("out", layer, i) for i in range(count))
        return known[:count]


class Labelled:
    """For each element of an activation its channel's label and its place; both expanded where nothing varies."""

    __slots__ = ("channel", "place")

    def __init__(self, channel: Tensor, place: Tensor) -> None:
        self.channel, self.place = channel, place


def along(labels: Tensor, dim: int, shape: Sequence[int]) -> Tensor:
    """`labels` for the indices of one dimension, the same at all others of `shape`."""
    ones = [1] * len(shape)
    ones[dim] = shape[dim]
    return labels.reshape(ones).expand(tuple(shape))


def everywhere(label: int, shape: Sequence[int]) -> Tensor:
    """One label for all elements."""
    return torch.full((1,) * len(shape), label, dtype=torch.int64).expand(tuple(shape))


def grid(shape: Sequence[int], dims: Iterable[int]) -> Tensor:
    """Places counted from the centre along `dims` (at most three), so that those of two sizes can be compared."""
    return _grid(tuple(shape), tuple(dims))


@lru_cache(maxsize=512)
def _grid(shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    place = torch.zeros((1,) * len(shape), dtype=torch.int64)
    for i, dim in enumerate(dims[:3]):
        size = shape[dim]
        half = 1 << (_COORDINATE - 1)
        coordinate = (torch.arange(size) - size // 2 + half).clamp(0, 2 * half - 1)
        place = place + (along(coordinate, dim, _only(shape, dim)) << (i * _COORDINATE))
    return place.expand(shape)


def _only(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    return tuple(size if i == dim else 1 for i, size in enumerate(shape))


def columns(numbers: Tensor) -> Tensor:
    """Places that are a layer's own features and no positions."""
    return numbers + _COLUMNS


def compact(labels: Tensor) -> Tensor:
    """The same values, each once along the dimensions where they were expanded."""
    for dim, stride in enumerate(labels.stride()):
        if stride == 0 and labels.shape[dim] > 1:
            labels = labels.narrow(dim, 0, 1)
    return labels


def varies(labels: Tensor, dim: int) -> bool:
    """Whether the labels differ along a dimension."""
    labels = compact(labels)
    return labels.shape[dim] > 1 and bool((labels != labels.narrow(dim, 0, 1)).any())


def read_along(labels: Tensor, dim: int) -> Tensor | None:
    """The labels of the indices of `dim`, or None where they differ along another dimension too."""
    size = labels.shape[dim]
    if any(varies(labels, other) for other in range(labels.dim()) if other != dim):
        return None
    row = labels.movedim(dim, -1).reshape(-1, size) if labels.numel() else labels.new_zeros((1, size))
    return row[0].clone()


def keys_of(channel: Tensor, place: Tensor | None = None) -> Keys:
    """One number for a channel and a place in it; where all places are the same one, the channel alone says all."""
    keys = channel.numpy().astype(np.int64) << _PLACES
    if place is not None and (place != place[:1]).any():
        keys = keys + place.numpy()
    return keys


def channels_in(keys: Keys) -> Keys:
    """The labels in keys."""
    return keys >> _PLACES


def matched(old: Keys, new: Keys) -> NDArray[np.int64]:
    """For each of `new` the index of the same key in `old`, or -1; equal keys are matched in their order."""
    if len(old) == len(new) and (old == new).all():
        return np.arange(len(new))
    found = np.full(len(new), -1, dtype=np.int64)
    if not len(old) or not len(new):
        return found
    order = np.argsort(old, kind="stable")
    ordered = old[order]
    at = np.searchsorted(ordered, new, "left") + _occurrences(new)
    there = at < np.searchsorted(ordered, new, "right")
    found[there] = order[at[there]]
    return found


def _occurrences(keys: Keys) -> NDArray[np.int64]:
    """How often each key stood before."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
    counted = np.empty(len(keys), dtype=np.int64)
    counted[order] = np.arange(len(keys)) - first
    return counted
