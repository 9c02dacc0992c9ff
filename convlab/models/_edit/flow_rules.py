"""How labels pass through torch's operators."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from convlab.models._edit import labels as names
from convlab.models._edit.flow import Flow, labels_of
from convlab.models._edit.labels import CONSTANT
from convlab.models._trace.recorder import spoken
from convlab.models._trace.registry import words
from convlab.models._trace.tracer import META, tensors_in

_MOVES = words(
    "view _unsafe_view reshape permute transpose t unsqueeze squeeze expand cat stack split split_with_sizes chunk "
    "slice select narrow flip roll repeat clone alias detach lift_fresh contiguous _to_copy unbind diagonal "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle movedim unfold index index_select copy "
    "repeat_interleave _reshape_alias view_as_real tile lift narrow_copy squeeze_ unsqueeze_ transpose_ t_"
)
_ELEMENTWISE = words(
    "native_dropout bernoulli bernoulli_ _softmax _log_softmax cumsum cumprod cummax cummin where masked_fill lerp "
    "gelu prelu _prelu_kernel rrelu_with_noise _safe_softmax zeros_like ones_like full_like rand_like randn_like "
    "empty_like native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training _batch_norm_no_update logcumsumexp sort copy_ fill_ zero_ normal_ uniform_"
)
_REDUCES = words(
    "mean sum amax amin max min var std prod logsumexp linalg_vector_norm norm argmax argmin any all nansum nanmean "
    "median var_mean std_mean"
)
_WINDOWS = re.compile(
    r"_?(max_pool|avg_pool|adaptive_avg_pool|adaptive_max_pool|fractional_max_pool|max_unpool|upsample_\w*?"
    r"|reflection_pad|replication_pad|lp_pool)(\d)d.*"
)
_PICKS = words("index index_select repeat_interleave")  # the elements that other arguments tell
_VIEWS = words("view _unsafe_view reshape _reshape_alias")
_MADE_LIKE = words("new_zeros new_ones new_full new_empty new_empty_strided")
_STORAGE = words("dtype layout device pin_memory memory_format non_blocking")
_VALUES = words("_local_scalar_dense item is_nonzero equal")


class AsksForValues(Exception):  # noqa: N818
    """The forward asks for the value of an activation, so that labels cannot tell what it would do."""


def hand_on(flow: Flow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator on tensors without storage, and its rule on the labels."""
    if flow.running:
        return _run(func, args, kwargs)
    given = list(tensors_in((args, kwargs)))
    followed = [tensor for tensor in given if labels_of(tensor) is not None]
    if not followed:
        return _run(func, args, kwargs)
    name = func._schema.name.partition("::")[2]
    if name in _VALUES:
        raise AsksForValues
    output = _run(func, args, kwargs)
    if func._schema.is_mutable and labels_of(given[0]) is None:
        output = given[0]  # a constant that is written to: its values are of no interest, itself is
    outputs = list(tensors_in(output))
    if not _followed(flow, func, name, args, kwargs, outputs):
        what = flow.place_of(spoken(name))
        flow.lose([tensor for tensor in outputs if labels_of(tensor) is None], followed, what)
    return output


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not any(tensor.device.type == "meta" for tensor in tensors_in((args, kwargs))):
        return func(*args, **kwargs)
    args, kwargs = tree_map(_as_meta, (args, kwargs))
    if kwargs.get("device") is not None:
        kwargs["device"] = META
    return func(*args, **kwargs)


def _as_meta(value: Any) -> Any:
    if isinstance(value, Tensor) and value.device.type != "meta":
        return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=META)
    return META if isinstance(value, torch.device) else value


def _followed(
    flow: Flow, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[Tensor]
) -> bool:
    if name in _MOVES:
        return _move(flow, func, name, args, kwargs, outputs)
    if name in _MADE_LIKE:
        return _like(flow, args[0], outputs[0])
    if name == "constant_pad_nd":
        return _pad(flow, args, outputs[0])
    if found := _WINDOWS.fullmatch(name):
        return window(flow, args[0], outputs, int(found[2]))
    plain = name.removesuffix("_")
    if plain in _REDUCES and not (plain in ("max", "min") and len(list(tensors_in(args))) > 1):
        return _reduce(flow, func, args, kwargs, outputs)
    if torch.Tag.pointwise in func.tags or name in _ELEMENTWISE or plain in _ELEMENTWISE or _has_pointwise_twin(plain):
        return _pointwise(flow, name, args, kwargs, outputs)
    return False


def _has_pointwise_twin(name: str) -> bool:
    twin = getattr(torch.ops.aten, name, None)
    return twin is not None and any(torch.Tag.pointwise in getattr(twin, o).tags for o in twin.overloads())


# -- moves -------------------------------------------------------------------------------------------------------


def _move(
    flow: Flow, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[Tensor]
) -> bool:
    """Labels move as their elements do: the very operator moves them."""
    keywords = {name: value for name, value in kwargs.items() if name not in _STORAGE}
    if name in _PICKS and any(labels_of(t) is not None or t.device.type == "meta" for t in tensors_in(args[1:])):
        return False  # which elements is not known here

    def moved(part: str) -> list[Tensor]:
        def of(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            found = labels_of(value)
            if found is None:
                return torch.zeros(value.shape, dtype=torch.int64)
            labels: Tensor = getattr(found, part)
            return labels

        if name in _VIEWS:  # labels are expanded where activations are not: they may need a copy
            return [of(args[0]).reshape(outputs[0].shape)]
        picks = args[1:] if name in _PICKS else tree_map(of, args[1:])
        return list(tensors_in(func(tree_map(of, args[0]), *picks, **tree_map(of, keywords))))

    channels, places = moved("channel"), moved("place")
    if len(channels) != len(outputs):
        return False
    for tensor, channel, place in zip(outputs, channels, places, strict=True):
        flow.put(tensor, channel, place)
    return True


def _like(flow: Flow, given: Tensor, output: Tensor) -> bool:
    """A tensor made to the size of an activation, or to be spread over it, has its channels."""
    found = labels_of(given)
    if found is None or output.dim() != given.dim():
        return True
    channel, place = found.channel, found.place
    for dim, size in enumerate(output.shape):
        if size not in (1, given.shape[dim]):
            return True
        if size == 1:
            channel, place = channel.narrow(dim, 0, 1), place.narrow(dim, 0, 1)
    flow.put(output, channel, place)
    return True


def _pad(flow: Flow, args: tuple[Any, ...], output: Tensor) -> bool:
    """A margin belongs to the channel that it surrounds; channels that are put beside others are constants."""
    given, margins = args[0], args[1]
    found = labels_of(given)
    if found is None:
        return False
    channel, place = found.channel, found.place
    padded = []
    for i in range(len(margins) // 2):
        dim, low, high = given.dim() - 1 - i, margins[2 * i], margins[2 * i + 1]
        size = channel.shape[dim]
        index = torch.arange(-low, size + high)
        differ = names.varies(channel, dim)
        channel, place = (labels.index_select(dim, index.clamp(0, size - 1)) for labels in (channel, place))
        if differ:
            outside = (index < 0) | (index >= size)
            channel = torch.where(names.along(outside, dim, channel.shape), CONSTANT, channel)
        elif low or high:
            padded.append(dim)
    if padded:
        place = names.grid(tuple(output.shape), [dim for dim in range(output.dim()) if names.varies(place, dim)])
    flow.put(output, channel, place)
    return True


# -- windows, reductions -----------------------------------------------------------------------------------------


def window(flow: Flow, given: Tensor, outputs: list[Tensor], count: int) -> bool:
    """What slides over the last dimensions keeps every channel to itself."""
    found = labels_of(given)
    if found is None:
        return False
    spatial = range(given.dim() - count, given.dim())
    if any(names.varies(found.channel, dim) for dim in spatial):
        return False
    channel = found.channel
    for dim in spatial:
        channel = channel.narrow(dim, 0, 1)
    for output in outputs:
        if output.dim() != given.dim():
            return False
        shape = tuple(output.shape)
        flow.put(output, channel.expand(shape), names.grid(shape, spatial))
    return True


def _reduce(flow: Flow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[Tensor]) -> bool:
    """A mean over positions is still its channel's; one over channels is nobody's, and does not care how many."""
    bound = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    given = args[0]
    found = labels_of(given)
    if found is None:
        return False
    dims = bound.get("dim")
    dims = list(range(given.dim())) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    keep = bool(bound.get("keepdim", False))
    low = found.channel.amin(dims, keepdim=keep)
    high = found.channel.amax(dims, keepdim=keep)
    place = found.place.amin(dims, keepdim=keep)
    if not torch.equal(low, high):
        flow.unknown += 1
        label = flow.labels.one(("reduced", flow.unknown))
        low = torch.where(low == high, low, label)
    for output in outputs:
        if output.shape != low.shape:
            return False
        flow.put(output, low, place)
    return True


# -- element by element ------------------------------------------------------------------------------------------


def _pointwise(flow: Flow, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[Tensor]) -> bool:
    given = list(tensors_in((args, kwargs)))
    shape = tuple(outputs[0].shape)
    followed = [(tensor, found) for tensor in given if (found := labels_of(tensor)) is not None]
    if any(len(tensor.shape) > len(shape) for tensor, _ in followed):
        return False
    what = flow.place_of(spoken(name))
    tensor, first = next(((t, f) for t, f in followed if tuple(t.shape) == shape), followed[0])
    channel, place = _spread(first.channel, shape), _spread(first.place, shape)
    for other, found in followed:
        if other is not tensor:
            _tie(flow, channel, tensor, found.channel, other, what)
    for other in given:
        if labels_of(other) is None and other.dim() <= len(shape):
            _pin(flow, channel, other, what)
    for output in outputs:
        if tuple(output.shape) == shape:
            flow.put(output, channel, place)
        else:  # statistics beside the result
            flow.lose([output], [], what)
    return True


def _spread(labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    return labels.expand(shape)


def _tie(flow: Flow, channel: Tensor, tensor: Tensor, other: Tensor, given: Tensor, what: str) -> None:
    """Two activations meet where neither is spread over the other."""
    ndim = channel.dim()
    mine = (1,) * (ndim - tensor.dim()) + tuple(tensor.shape)
    theirs = (1,) * (ndim - given.dim()) + tuple(given.shape)
    other = other.reshape(theirs)
    for dim in range(ndim):
        if mine[dim] != theirs[dim]:
            # Spread along this dimension: any number of channels would do.
            if names.varies(channel, dim) or names.varies(other, dim):
                return
            channel, other = channel.narrow(dim, 0, 1), other.narrow(dim, 0, 1)
        elif names.varies(channel, dim) != names.varies(other, dim):
            spread = other if names.varies(channel, dim) else channel
            if all(flow.is_spread(label) for label in names.compact(spread).unique().tolist()):
                return  # by expand
    flow.tie(channel, other, what)


def _pin(flow: Flow, channel: Tensor, constant: Tensor, what: str) -> None:
    offset = channel.dim() - constant.dim()
    for dim in range(constant.dim()):
        size = constant.shape[dim]
        if size > 1 and names.varies(channel, dim + offset):
            flow.pin(channel, f"meets a tensor with {size} entries of its own in {what}")
            return
