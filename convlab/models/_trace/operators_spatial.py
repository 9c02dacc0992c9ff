"""Rules for operators that read along spatial axes, multiply matrices or share statistics."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch

from convlab.models._trace import states, table
from convlab.models._trace.axis import Axis, is_monotone, spread, varying_dim
from convlab.models._trace.functions import attend, product
from convlab.models._trace.functions_spatial import (
    count_conv,
    count_conv_transpose,
    fitted,
    normalised,
    pad_with,
    pool_adaptively,
    read_spatial,
    resample,
)
from convlab.models._trace.operator import Operator, OperatorRule, operators
from convlab.models._trace.states import State
from convlab.models._trace.table import NONE, IntArray


@operators("convolution", "_convolution", "convolution_overrideable")
def _convolution(op: Operator) -> State:
    x, weight, groups = op.args[0], op.args[1], op["groups"]
    ndim, axes = x.dim(), weight.dim() - 2
    first = ndim - axes
    if op["transposed"]:
        channels = weight.shape[1] * groups
        more = (op["stride"], op["padding"], op["output_padding"], op["dilation"])
        tables = fitted(table.conv_transpose, x.shape[first:], tuple(weight.shape[2:]), *more)
    else:
        channels = weight.shape[0]
        tables = fitted(
            table.conv, x.shape[first:], tuple(weight.shape[2:]), op["stride"], op["padding"], op["dilation"]
        )
    if op["transposed"]:
        count_conv_transpose(op.tracer, x.shape, op.made.shape, first - 1, weight, op["bias"])
    else:
        count_conv(op.tracer, op.made.shape, first - 1, weight, op["bias"])
    state = states.mix_channels(op.tracer.state(x), first - 1, groups, x.shape[first - 1], channels)
    state = read_spatial(state, ndim, tables)
    by_input = op.tracer.state(weight)  # a hyper-network's weights depend on the input as a whole
    return states.union((state, states.depends_on_all(by_input, ndim)), ndim) if by_input else state


def _pool(axes: int, *, is_max: bool) -> OperatorRule:
    def pool(op: Operator) -> State:
        stride = op["stride"] or None
        if is_max:
            more: tuple[Any, ...] = (op["kernel_size"], stride, op["padding"], op["dilation"], op["ceil_mode"])
            tables = fitted(table.max_pool, op.x.shape[op.x.dim() - axes :], *more)
        else:
            more = (op["kernel_size"], stride, op["padding"], op["ceil_mode"])
            tables = fitted(table.avg_pool, op.x.shape[op.x.dim() - axes :], *more)
        return read_spatial(op.state, op.x.dim(), tables)

    return pool


def _adaptive(axes: int) -> OperatorRule:
    def adaptive(op: Operator) -> State:
        first = op.x.dim() - axes
        tables = fitted(table.adaptive_pool, op.x.shape[first:], tuple(op.made.shape[first:]))
        return pool_adaptively(op.state, tables, op.x.dim())

    return adaptive


def _fractional(axes: int) -> OperatorRule:
    def fractional(op: Operator) -> State:
        first = op.x.dim() - axes
        sizes = zip(op.x.shape[first:], op.made.shape[first:], op["kernel_size"], strict=True)
        return read_spatial(op.state, op.x.dim(), [table.fractional_pool(*size) for size in sizes])

    return fractional


def _upsample(mode: str, *, smooth: bool = False) -> OperatorRule:
    def upsample(op: Operator) -> State:
        axes = op.x.dim() - 2
        scales = op["scale_factors"]
        if scales is None:
            names = ("scales_d", "scales_h", "scales_w")[3 - axes :] if axes > 1 else ("scales",)
            scales = [op[name] for name in names]
        size = tuple(op.made.shape[2:])
        if all(scales):  # torch steps by the inverse of the scale, and has settled the size already
            return read_spatial(op.state, op.x.dim(), _scaled(op, mode, scales, size, smooth))
        return resample(op.state, op.x.shape, size, None, mode, op["align_corners"], smooth=smooth)[0]

    return upsample


def _scaled(op: Operator, mode: str, scales: Any, size: tuple[int, ...], smooth: bool) -> list[table.Table]:
    align = bool(op["align_corners"])
    parts = zip(op.x.shape[2:], size, scales, strict=True)
    return [table.upsampled(n, m, mode, align, float(scale), smooth) for n, m, scale in parts]


for _axes in (1, 2, 3):
    operators(f"max_pool{_axes}d", f"max_pool{_axes}d_with_indices")(_pool(_axes, is_max=True))
    operators(f"avg_pool{_axes}d")(_pool(_axes, is_max=False))
    _names = (f"adaptive_avg_pool{_axes}d", f"_adaptive_avg_pool{_axes}d", f"adaptive_max_pool{_axes}d")
    operators(*_names)(_adaptive(_axes))
    operators(f"upsample_nearest{_axes}d")(_upsample("nearest"))
    operators(f"_upsample_nearest_exact{_axes}d")(_upsample("nearest-exact"))
operators("fractional_max_pool2d")(_fractional(2))
operators("fractional_max_pool3d")(_fractional(3))
operators("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")(_upsample("linear"))
operators("upsample_bicubic2d")(_upsample("bicubic"))
operators("_upsample_bilinear2d_aa")(_upsample("linear", smooth=True))
operators("_upsample_bicubic2d_aa")(_upsample("bicubic", smooth=True))


def _pad(mode: str) -> OperatorRule:
    def pad(op: Operator) -> State:
        return pad_with(op.state, op.x.shape, op.args[1], mode)[0]

    return pad


operators("constant_pad_nd")(_pad("constant"))
operators("_pad_circular")(_pad("circular"))
operators("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")(_pad("reflect"))
operators("replication_pad1d", "replication_pad2d", "replication_pad3d")(_pad("replicate"))


# --- matrices -------------------------------------------------------------------------------------------------


@operators("mm", "bmm", "addmm", "baddbmm", "matmul", "mv", "addmv", "dot")
def _matrix_product(op: Operator) -> State:
    added = op.args[0] if op.name in ("addmm", "baddbmm", "addmv") else None
    a, b = op.args[1:3] if added is not None else op.args[:2]
    op.tracer.mult_adds(op.made.numel() * a.shape[-1])
    ndim = op.made.dim()
    if a.dim() < 2 or b.dim() < 2:
        return states.depends_on_all(_of_all(op), ndim)
    state = product(op.tracer.state(a), op.tracer.state(b), a.dim(), b.dim(), ndim)
    return state if added is None else states.union((state, op.tracer.state(added)), ndim)


def _of_all(op: Operator) -> State:
    return states.union((states.depends_on_all(state, 1) for state in op.states), 1)


@operators("linear")
def _linear(op: Operator) -> State:
    x, weight = op.args[:2]
    bias = op["bias"]
    op.tracer.mult_adds(prod(x.shape[:-1]) * (weight.numel() + (0 if bias is None else bias.numel())))
    state = states.reduce(op.tracer.state(x), [-1], x.dim())
    by_input = op.tracer.state(weight)
    ndim = op.made.dim()
    return states.union((state, states.depends_on_all(by_input, ndim)), ndim) if by_input else state


@operators(
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_fused_attention_overrideable",
)
def _attention(op: Operator) -> State:
    q, k, value = op.args[:3]
    op.tracer.mult_adds(prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + value.shape[-1]))
    return attend(op.tracer.state(q), op.tracer.state(k), op.tracer.state(value), q.dim())


# --- statistics -----------------------------------------------------------------------------------------------


def _count_scale(op: Operator, *names: str) -> None:
    op.tracer.mult_adds(op.x.shape[0] * sum(op[name].numel() for name in names if op[name] is not None))


@operators("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(op: Operator) -> State:
    ndim = op.x.dim()
    return normalised(op.state, range(ndim - len(op["normalized_shape"]), ndim), ndim)


@operators("native_group_norm", "group_norm")
def _group_norm(op: Operator) -> State:
    return normalised(op.state, range(1, op.x.dim()), op.x.dim())


@operators(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
    "cudnn_batch_norm",
    "batch_norm",
)
def _batch_norm(op: Operator) -> State:
    _count_scale(op, "weight", "bias")
    if op["running_mean"] is None and op.name != "_native_batch_norm_legit_no_training":
        return normalised(op.state, [0, *range(2, op.x.dim())], op.x.dim())
    return op.state


@operators("instance_norm")
def _instance_norm(op: Operator) -> State:
    return normalised(op.state, range(2, op.x.dim()), op.x.dim())


# --- sampling and unfolding -----------------------------------------------------------------------------------


@operators("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def _grid_sample(op: Operator) -> State:
    x, grid = op.args[:2]
    ndim = x.dim()
    image = states.reduce(op.tracer.state(x), range(2, ndim), ndim)
    by_grid = states.reduce(op.tracer.state(grid), [-1], ndim)
    order = (0, ndim - 1, *range(1, ndim - 1))
    return states.union((image, states.rearrange(by_grid, lambda a: a.transpose(order))), ndim)


@operators("im2col")
def _unfold(op: Operator) -> State:
    kernel, dilation, padding, stride = (op[name] for name in ("kernel_size", "dilation", "padding", "stride"))

    def unfold(t: torch.Tensor, nothing: int) -> torch.Tensor:
        sides = (padding[1], padding[1], padding[0], padding[0])
        padded = torch.nn.functional.pad(t.double(), sides, value=float(nothing))
        columns: torch.Tensor = op.function(padded, kernel, dilation, (0, 0), stride)
        return columns.to(torch.int32)

    return states.move(op.state, op.x.shape, unfold)


@operators("col2im")
def _fold(op: Operator) -> State:
    return None if op.state is None else tuple(axis and _folded(axis, op) for axis in op.state)


def _folded(axis: Axis, op: Operator) -> Axis:
    lo, hi = _fold_array(axis.lo, op, NONE, np.minimum), _fold_array(axis.hi, op, -NONE, np.maximum)
    lo, hi, _ = spread(lo, hi, -1)
    dim = varying_dim(lo.shape)
    return axis.without_line(irregular=True).but(lo=lo, hi=hi, dim=dim, is_monotone=is_monotone(lo, hi, dim))


def _fold_array(array: IntArray, op: Operator, nothing: int, closer: Any) -> IntArray:
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    size, kernel, dilation, padding, stride = (op[name] for name in names)
    rows, columns = ((size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    wide = np.broadcast_to(array, tuple(op.x.shape))
    lead = wide.shape[:-2]
    channels = wide.shape[-2] // (kernel[0] * kernel[1])
    blocks = wide.reshape(*lead, channels, kernel[0], kernel[1], rows, columns)
    image = np.full((*lead, channels, size[0] + 2 * padding[0], size[1] + 2 * padding[1]), nothing, np.int32)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            target = image[
                ...,
                top : top + stride[0] * (rows - 1) + 1 : stride[0],
                left : left + stride[1] * (columns - 1) + 1 : stride[1],
            ]
            closer(target, blocks[..., i, j, :, :], out=target)
    folded: IntArray = image[..., padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    return folded
