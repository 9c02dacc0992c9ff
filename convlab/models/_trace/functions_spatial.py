"""Rules for torch's spatial functions: convolution, pooling, resampling, padding. Sizes and reads are geometry's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F

from convlab.models._trace import states, table
from convlab.models._trace.errors import Misfit
from convlab.models._trace.registry import PASS_ON, Arguments, Keywords, bind, rule
from convlab.models._trace.states import State
from convlab.models._trace.table import Table, frozen
from convlab.models._trace.tracer import Tracer


def fitted(tables: Callable[..., tuple[Table, ...]], size: Sequence[int], *arguments: Any) -> tuple[Table, ...]:
    """Look up an operation's tables; geometry's refusal becomes a misfit of the layer that runs."""
    try:
        return tables(tuple(size), *map(frozen, arguments))
    except (ValueError, TypeError) as refusal:
        raise Misfit(None, tuple(size), "{of}" + str(refusal)) from None


def read_spatial(state: State, ndim: int, tables: Sequence[Table]) -> State:
    """Read along the last dimensions, one for each table."""
    first = ndim - len(tables)
    return states.read(state, [(first + i, t) for i, t in enumerate(tables)], ndim)


def _with_sizes(shape: Sequence[int], tables: Sequence[Table]) -> list[int]:
    return [*shape[: len(shape) - len(tables)], *(t.output_size for t in tables)]


# --- convolution ----------------------------------------------------------------------------------------------


def _conv(axes: int) -> Callable[..., Any]:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")

    def conv(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
        v = bind(names, args, keywords)
        x, weight, groups = v["input"], v["weight"], v.get("groups", 1)
        first = x.dim() - axes
        if first not in (1, 2) or tracer.state(weight) is not None:
            return PASS_ON
        tracer.check_batch(x, first)
        _check_channels(x.shape, first - 1, weight.shape[1] * groups)
        tables = fitted(
            table.conv,
            x.shape[first:],
            tuple(weight.shape[2:]),
            v.get("stride", 1),
            v.get("padding", 0),
            v.get("dilation", 1),
        )
        shape = _with_sizes(x.shape, tables)
        shape[first - 1] = weight.shape[0]
        count_conv(tracer, shape, first - 1, weight, v.get("bias"))
        state = states.mix_channels(tracer.state(x), first - 1, groups, x.shape[first - 1], weight.shape[0])
        return tracer.tensor(shape, x, read_spatial(state, x.dim(), tables))

    return conv


def _check_channels(shape: Sequence[int], dim: int, expected: int) -> None:
    if shape[dim] != expected:
        raise Misfit(
            f"{expected} channels",
            f"{shape[dim]} in an input of {tuple(shape)}",
            f"{{of}}in_channels should be {shape[dim]}, is {expected}",
        )


def count_conv(tracer: Tracer, shape: Sequence[int], dim: int, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Count as torchinfo does: each weight and bias once for each position, the channels left aside."""
    positions = prod(shape[:dim]) * prod(shape[dim + 1 :])
    tracer.mult_adds(positions * (weight.numel() + (0 if bias is None else bias.numel())))


def count_conv_transpose(
    tracer: Tracer,
    shape: Sequence[int],
    made: Sequence[int],
    dim: int,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
) -> None:
    """Count each weight once for each input position, where torchinfo counts output positions; biases as it does."""
    count_conv(tracer, shape, dim, weight, None)
    if bias is not None:
        count_conv(tracer, made, dim, bias, None)


def _conv_transpose(axes: int) -> Callable[..., Any]:
    names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")

    def conv_transpose(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
        v = bind(names, args, keywords)
        x, weight, groups = v["input"], v["weight"], v.get("groups", 1)
        first = x.dim() - axes
        if first not in (1, 2) or tracer.state(weight) is not None:
            return PASS_ON
        tracer.check_batch(x, first)
        _check_channels(x.shape, first - 1, weight.shape[0])
        tables = fitted(
            table.conv_transpose,
            x.shape[first:],
            tuple(weight.shape[2:]),
            v.get("stride", 1),
            v.get("padding", 0),
            v.get("output_padding", 0),
            v.get("dilation", 1),
        )
        shape = _with_sizes(x.shape, tables)
        shape[first - 1] = weight.shape[1] * groups
        count_conv_transpose(tracer, x.shape, shape, first - 1, weight, v.get("bias"))
        state = states.mix_channels(tracer.state(x), first - 1, groups, x.shape[first - 1], shape[first - 1])
        return tracer.tensor(shape, x, read_spatial(state, x.dim(), tables))

    return conv_transpose


# --- pooling --------------------------------------------------------------------------------------------------


def _pool(axes: int, names: Sequence[str]) -> Callable[..., Any]:
    dilated = "dilation" in names

    def pool(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
        v = bind(names, args, keywords)
        x = v["input"]
        if v.get("return_indices") or x.dim() - axes not in (1, 2):
            return PASS_ON
        tracer.check_batch(x, x.dim() - axes)
        stride = v.get("stride")
        stride = None if stride is None or stride == [] or stride == () else stride
        more = (v.get("dilation", 1),) if dilated else ()
        tables = fitted(
            table.max_pool if dilated else table.avg_pool,
            x.shape[x.dim() - axes :],
            v["kernel_size"],
            stride,
            v.get("padding", 0),
            *more,
            bool(v.get("ceil_mode", False)),
        )
        state = read_spatial(tracer.state(x), x.dim(), tables)
        return tracer.tensor(_with_sizes(x.shape, tables), x, state)

    return pool


def pool_adaptively(state: State, tables: Sequence[Table], ndim: int) -> State:
    """Read as adaptive pooling does; an axis pooled to a single value is global."""
    first = ndim - len(tables)
    state = states.reduce(state, [first + i for i, t in enumerate(tables) if t.output_size == 1], ndim)
    return states.read(state, [(first + i, t) for i, t in enumerate(tables) if t.output_size != 1], ndim)


def _adaptive(axes: int) -> Callable[..., Any]:
    def adaptive_pool(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
        v = bind(("input", "output_size", "return_indices"), args, keywords)
        x = v["input"]
        if v.get("return_indices"):
            return PASS_ON
        tables = fitted(table.adaptive_pool, x.shape[x.dim() - axes :], v["output_size"])
        return tracer.tensor(_with_sizes(x.shape, tables), x, pool_adaptively(tracer.state(x), tables, x.dim()))

    return adaptive_pool


_MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVG_POOL = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

for _axes in (1, 2, 3):
    rule(getattr(F, f"conv{_axes}d"))(_conv(_axes))
    rule(getattr(F, f"conv_transpose{_axes}d"))(_conv_transpose(_axes))
    rule(getattr(F, f"max_pool{_axes}d"), getattr(torch, f"max_pool{_axes}d"))(_pool(_axes, _MAX_POOL))
    rule(getattr(F, f"avg_pool{_axes}d"))(_pool(_axes, _AVG_POOL))
    rule(getattr(F, f"adaptive_avg_pool{_axes}d"), getattr(F, f"adaptive_max_pool{_axes}d"))(_adaptive(_axes))


def _unpool(axes: int) -> Callable[..., Any]:
    names = ("input", "indices", "kernel_size", "stride", "padding", "output_size")

    def max_unpool(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
        """Undo a max pooling of the same arguments: a cell may get the value of any window that covers it."""
        v = bind(names, args, keywords)
        x, kernel = v["input"], v["kernel_size"]
        first = x.dim() - axes
        usual = fitted(
            table.conv_transpose, x.shape[first:], kernel, v.get("stride") or kernel, v.get("padding", 0), 0, 1
        )
        wanted = [int(n) for n in v.get("output_size") or [t.output_size for t in usual]][-axes:]
        tables = [table.stretched(t, n) for t, n in zip(usual, wanted, strict=True)]
        state = states.union((tracer.state(x), tracer.state(v["indices"])), x.dim())
        return tracer.tensor(_with_sizes(x.shape, tables), x, read_spatial(state, x.dim(), tables))

    return max_unpool


for _axes in (1, 2, 3):
    rule(getattr(F, f"max_unpool{_axes}d"))(_unpool(_axes))


# --- resampling, padding --------------------------------------------------------------------------------------


def resample(
    state: State,
    shape: Sequence[int],
    size: Any,
    scale: Any,
    mode: str,
    align: Any,
    recompute: Any = None,
    smooth: Any = False,
) -> tuple[State, Sequence[Table]]:
    """Read as ``F.interpolate`` does; ``mode="area"`` is adaptive pooling."""
    tables = fitted(table.upsample, shape[2:], size, scale, mode, align, recompute, bool(smooth))
    if mode == "area":
        return pool_adaptively(state, tables, len(shape)), tables
    return read_spatial(state, len(shape), tables), tables


@rule(F.interpolate)
def _interpolate(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    names = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
    v = bind(names, args, keywords)
    x, size, scale = v["input"], v.get("size"), v.get("scale_factor")
    if x.dim() < 3 or any(isinstance(n, torch.Tensor) for n in (size, scale)):
        return PASS_ON
    state, tables = resample(
        tracer.state(x),
        x.shape,
        tuple(size) if isinstance(size, (list, tuple)) else size,
        scale,
        v.get("mode", "nearest"),
        v.get("align_corners"),
        v.get("recompute_scale_factor"),
        v.get("antialias", False),
    )
    return tracer.tensor(_with_sizes(x.shape, tables), x, state)


def pad_with(state: State, shape: Sequence[int], padding: Sequence[int], mode: str) -> tuple[State, list[int]]:
    """Read as ``F.pad`` does: pairs of (before, after) from the last dimension backwards."""
    axes = len(padding) // 2
    pairs = tuple((int(padding[2 * i]), int(padding[2 * i + 1])) for i in reversed(range(axes)))
    first = len(shape) - axes
    padded = [i for i, pair in enumerate(pairs) if pair != (0, 0)]
    tables = [fitted(table.pad, (shape[first + i],), (pairs[i],), mode)[0] for i in padded]
    sizes = list(shape)
    for i, t in zip(padded, tables, strict=True):
        sizes[first + i] = t.output_size
    return states.read(state, [(first + i, t) for i, t in zip(padded, tables, strict=True)], len(shape)), sizes


@rule(F.pad)
def _pad(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "pad", "mode", "value"), args, keywords)
    x = v["input"]
    state, shape = pad_with(tracer.state(x), x.shape, v["pad"], v.get("mode", "constant"))
    return tracer.tensor(shape, x, state)


# --- normalisation --------------------------------------------------------------------------------------------


def normalised(state: State, dims: Sequence[int], ndim: int) -> State:
    """Couple everything that shares statistics; the line keeps describing the local path."""
    return state if state is None else states.union([state, states.reduce(state, dims, ndim)], ndim)


def _count_scale(tracer: Tracer, x: torch.Tensor, *scales: torch.Tensor | None) -> None:
    tracer.mult_adds(x.shape[0] * sum(s.numel() for s in scales if s is not None))


def _check_features(x: torch.Tensor, *held: torch.Tensor | None, name: str) -> None:
    for tensor in held:
        if tensor is not None and x.dim() > 1 and tensor.numel() != x.shape[1]:
            raise Misfit(
                f"{tensor.numel()} channels",
                f"{x.shape[1]} in an input of {tuple(x.shape)}",
                f"{{of}}{name} should be {x.shape[1]}, is {tensor.numel()}",
            )


@rule(F.batch_norm)
def _batch_norm(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "running_mean", "running_var", "weight", "bias"), args[:5], keywords)
    x, weight, bias = v["input"], v.get("weight"), v.get("bias")
    _check_features(x, v.get("running_mean"), weight, name="num_features")
    _count_scale(tracer, x, weight, bias)
    state = tracer.state(x)
    if v.get("running_mean") is None:
        state = normalised(state, [0, *range(2, x.dim())], x.dim())
    # Else as in evaluation mode: or every field of a freshly built network were global.
    return tracer.tensor(x.shape, x, state)


@rule(F.layer_norm)
def _layer_norm(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "normalized_shape", "weight", "bias"), args[:4], keywords)
    x, expected = v["input"], tuple(v["normalized_shape"])
    got = tuple(x.shape[x.dim() - len(expected) :])
    if got != expected:
        raise Misfit(
            expected, f"an input of {tuple(x.shape)}", f"{{of}}normalized_shape should be {got}, is {expected}"
        )
    _count_scale(tracer, x, v.get("weight"), v.get("bias"))
    return tracer.tensor(x.shape, x, normalised(tracer.state(x), range(x.dim() - len(expected), x.dim()), x.dim()))


@rule(F.group_norm)
def _group_norm(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "num_groups", "weight", "bias"), args[:4], keywords)
    x = v["input"]
    _check_features(x, v.get("weight"), name="num_channels")
    if x.shape[1] % v["num_groups"]:
        raise Misfit(
            f"channels in groups of {v['num_groups']}",
            x.shape[1],
            f"{{of}}num_groups should divide {x.shape[1]}, 1 would work",
        )
    _count_scale(tracer, x, v.get("weight"), v.get("bias"))
    return tracer.tensor(x.shape, x, normalised(tracer.state(x), range(1, x.dim()), x.dim()))


@rule(F.instance_norm)
def _instance_norm(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "running_mean", "running_var", "weight", "bias", "use_input_stats"), args[:6], keywords)
    x = v["input"]
    _check_features(x, v.get("running_mean"), v.get("weight"), name="num_features")
    _count_scale(tracer, x, v.get("weight"), v.get("bias"))
    if not v.get("use_input_stats", True):
        return tracer.tensor(x.shape, x, tracer.state(x))
    return tracer.tensor(x.shape, x, normalised(tracer.state(x), range(2, x.dim()), x.dim()))
