"""Operations on one, two or three spatial axes, with torch's own argument names.

Each function takes the size of the input (an int for one axis, a tuple for more) and returns one `Stencil` an axis.
Arguments are one number for all axes or one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from convlab.geometry import axis
from convlab.geometry._numbers import PerAxis, per_axis, sizes, whole
from convlab.geometry.field import Operation

Padding = PerAxis | str | Sequence[tuple[int, int]]


def output_size(operation: Operation) -> tuple[int, ...]:
    """Return the size of what an operation makes.

    >>> output_size(conv((32, 32), kernel_size=5, stride=2))
    (14, 14)
    """
    return tuple(stencil.output_size for stencil in operation)


def conv(
    input_size: PerAxis,
    kernel_size: PerAxis,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
) -> Operation:
    """Return a convolution.

    ``padding`` is a number, one for each axis, a (before, after) pair for each axis, ``"same"`` or ``"valid"``.

    Raises ``ValueError`` if the kernel is larger than the padded input, and for ``"same"`` with a stride.

    >>> [stencil.output_size for stencil in conv((28, 28), kernel_size=3, padding="same", dilation=2)]
    [28, 28]
    """
    extent = sizes(input_size)
    kernels = per_axis(kernel_size, len(extent), "kernel_size", least=1)
    strides = per_axis(stride, len(extent), "stride", least=1)
    dilations = per_axis(dilation, len(extent), "dilation", least=1)
    pads = _conv_padding(padding, kernels, strides, dilations)
    return tuple(map(axis.conv_axis, extent, kernels, strides, pads, dilations))


def _conv_padding(
    padding: Padding, kernels: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * len(kernels)
    if padding == "same":
        if max(strides) > 1:
            raise ValueError(
                f'padding="same" works with stride 1 only, got stride {strides}; padding="valid" would work'
            )
        return list(map(axis.same_padding, kernels, dilations))
    if isinstance(padding, str):
        raise ValueError(f'padding must be a number, "same" or "valid", got {padding!r}; "same" would work')
    if isinstance(padding, Sequence) and any(
        isinstance(pair, Sequence) and not isinstance(pair, str) for pair in padding
    ):
        pairs = [per_axis(pair, 2, "padding", least=-(1 << 30)) for pair in padding]
        if len(pairs) != len(kernels):
            raise ValueError(f"padding must hold one pair for each of {len(kernels)} axes, got {padding!r}")
        return [(before, after) for before, after in pairs]
    return [(p, p) for p in per_axis(padding, len(kernels), "padding", least=0)]


def conv_transpose(
    input_size: PerAxis,
    kernel_size: PerAxis,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
) -> Operation:
    """Return a transposed convolution; ``output_padding`` must be smaller than stride or dilation, as in torch."""
    extent = sizes(input_size)
    axes = len(extent)
    strides = per_axis(stride, axes, "stride", least=1)
    dilations = per_axis(dilation, axes, "dilation", least=1)
    extra = per_axis(output_padding, axes, "output_padding", least=0)
    for more, s, d in zip(extra, strides, dilations, strict=True):
        if more >= max(s, d):
            raise ValueError(
                f"output_padding {more} must be smaller than stride {s} or dilation {d}; {max(s, d) - 1} would work"
            )
    return tuple(
        map(
            axis.conv_transpose_axis,
            extent,
            per_axis(kernel_size, axes, "kernel_size", least=1),
            strides,
            per_axis(padding, axes, "padding", least=0),
            extra,
            dilations,
        )
    )


def max_pool(
    input_size: PerAxis,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Operation:
    """Return max pooling; ``stride`` is the kernel's size if it is left out."""
    extent = sizes(input_size)
    axes = len(extent)
    kernels = per_axis(kernel_size, axes, "kernel_size", least=1)
    return tuple(
        axis.pool_axis(n, k, s, p, d, bool(ceil_mode))
        for n, k, s, p, d in zip(
            extent,
            kernels,
            kernels if stride is None else per_axis(stride, axes, "stride", least=1),
            per_axis(padding, axes, "padding", least=0),
            per_axis(dilation, axes, "dilation", least=1),
            strict=True,
        )
    )


def avg_pool(
    input_size: PerAxis,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    ceil_mode: bool = False,
) -> Operation:
    """Return average pooling; ``stride`` is the kernel's size if it is left out."""
    return max_pool(input_size, kernel_size, stride, padding, ceil_mode=ceil_mode)


def lp_pool(
    input_size: PerAxis, kernel_size: PerAxis, stride: PerAxis | None = None, ceil_mode: bool = False
) -> Operation:
    """Return power-average pooling, which knows no padding."""
    return max_pool(input_size, kernel_size, stride, ceil_mode=ceil_mode)


def adaptive_pool(input_size: PerAxis, output_size: int | Sequence[int | None] | None) -> Operation:
    """Return adaptive pooling to ``output_size``, of whatever kind; ``None`` keeps an axis as it is."""
    extent = sizes(input_size)
    asked = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * len(extent)
    if len(asked) != len(extent):
        raise ValueError(f"output_size must be one number or one for each of {len(extent)} axes, got {output_size!r}")
    wanted = [n if m is None else whole(m, "output_size", least=1) for n, m in zip(extent, asked, strict=True)]
    return tuple(map(axis.adaptive_pool_axis, extent, wanted))


def upsample(
    input_size: PerAxis,
    size: PerAxis | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Operation:
    """Return resampling to ``size`` or by ``scale_factor``, with the arguments of ``torch.nn.functional.interpolate``.

    ``mode`` is nearest, nearest-exact, linear, bilinear, trilinear, bicubic or area.
    """
    extent = sizes(input_size)
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"give size or scale_factor, got size {size!r} and scale_factor {scale_factor!r}; 2 would work for either"
        )
    if mode not in _MODES:
        raise ValueError(f'mode must be one of {", ".join(_MODES)}, got {mode!r}; "nearest" would work')
    scales: Sequence[float | None] = (None,) * len(extent)
    if size is not None:
        wanted = per_axis(size, len(extent), "size", least=1)
    else:
        factors = _factors(scale_factor, len(extent))
        wanted = tuple(floor(n * factor) for n, factor in zip(extent, factors, strict=True))
        if min(wanted) < 1:
            raise ValueError(f"scale_factor {scale_factor!r} shrinks the input of {extent} to nothing; 1.0 would work")
        if not recompute_scale_factor:
            scales = _stepped(factors, extent, wanted, mode)
    if mode == "area":
        return tuple(map(axis.adaptive_pool_axis, extent, wanted))
    return tuple(
        axis.upsample_axis(n, m, _MODES[mode], bool(align_corners), scale, bool(antialias))
        for n, m, scale in zip(extent, wanted, scales, strict=True)
    )


_MODES = {
    "nearest": "nearest",
    "nearest-exact": "nearest-exact",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "bicubic",
    "area": "area",
}


def _stepped(
    factors: Sequence[float], extent: Sequence[int], wanted: Sequence[int], mode: str
) -> Sequence[float | None]:
    """Leave out a factor that torch does not step by: on two axes, its nearest neighbours copy or double a size."""
    if mode != "nearest" or len(extent) != 2:
        return factors
    return [None if m in (n, 2 * n) else factor for factor, n, m in zip(factors, extent, wanted, strict=True)]


def _factors(scale_factor: object, axes: int) -> tuple[float, ...]:
    items = (
        tuple(scale_factor)
        if isinstance(scale_factor, Sequence) and not isinstance(scale_factor, str)
        else (scale_factor,) * axes
    )
    if len(items) != axes or any(
        isinstance(f, (str, bool)) or not isinstance(f, (int, float)) or f <= 0 for f in items
    ):
        raise ValueError(
            f"scale_factor must be a positive number or {axes} of them, got {scale_factor!r}; 2.0 would work"
        )
    return tuple(float(str(factor)) for factor in items)


def pad(input_size: PerAxis, padding: int | Sequence[tuple[int, int]], mode: str = "constant") -> Operation:
    """Return padding by a number on all sides, or by a (before, after) pair for each axis; a negative number crops.

    ``mode`` is constant, reflect, replicate or circular, as in ``torch.nn.functional.pad``.
    """
    extent = sizes(input_size)
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f'mode must be constant, reflect, replicate or circular, got {mode!r}; "constant" would work')
    pairs = [(padding, padding)] * len(extent) if isinstance(padding, int) else [tuple(pair) for pair in padding]
    if len(pairs) != len(extent):
        raise ValueError(f"padding must hold one pair for each of {len(extent)} axes, got {padding!r}")
    return tuple(axis.pad_axis(n, before, after, mode) for n, (before, after) in zip(extent, pairs, strict=True))


def crop(input_size: PerAxis, start: PerAxis, stop: PerAxis, step: PerAxis = 1) -> Operation:
    """Return the slice ``[start:stop:step]`` of each axis, with Python's meaning of negative and large bounds."""
    extent = sizes(input_size)
    bounds = zip(
        extent,
        per_axis(start, len(extent), "start", least=-(1 << 30)),
        per_axis(stop, len(extent), "stop", least=-(1 << 30)),
        per_axis(step, len(extent), "step", least=1),
        strict=True,
    )
    parts = [(n, *slice(a, b, c).indices(n)) for n, a, b, c in bounds]
    if any(len(range(a, b, c)) == 0 for _, a, b, c in parts):
        raise ValueError(f"the slice from {start!r} to {stop!r} of an input of {extent} is empty")
    return tuple(axis.slice_axis(n, a, b, c) for n, a, b, c in parts)
