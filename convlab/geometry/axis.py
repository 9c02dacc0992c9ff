"""The stencils of the operations, along one axis: each output-size formula of torch stands here, once.

The formulas are those of torch's documentation of ``Conv2d``, ``ConvTranspose2d``, ``MaxPool2d``,
``AdaptiveAvgPool2d`` and ``Upsample``; where each output reads is Araujo, Norris & Sim's (Distill 2019). All return a
`Stencil` and are cached, as a network asks for the same few again and again.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, gcd
from struct import pack, unpack

from convlab.geometry.stencil import Border, Stencil

_MOST_PHASES = 512


@lru_cache(8192)
def conv_axis(
    input_size: int, kernel_size: int, stride: int = 1, padding: tuple[int, int] = (0, 0), dilation: int = 1
) -> Stencil:
    """Return a convolution's stencil; ``padding`` is (before, after), and negative padding crops."""
    before, after = padding
    reach = dilation * (kernel_size - 1) + 1
    padded = input_size + before + after
    if reach > padded:
        raise ValueError(_too_large(kernel_size, dilation, padded, before + after))
    offsets = tuple(range(-before, reach - before, dilation))
    return Stencil(input_size, (padded - reach) // stride + 1, (offsets,), stride)


def _too_large(kernel_size: int, dilation: int, padded: int, padding: int) -> str:
    if dilation == 1:
        kernel, most = f"kernel_size {kernel_size}", max(padded, 1)
    else:
        kernel = f"kernel_size {kernel_size} with dilation {dilation} (it spans {dilation * (kernel_size - 1) + 1})"
        most = max(padded - 1, 0) // dilation + 1
    where = f"the input of {padded}" if not padding else f"the padded input of {padded}"
    return f"{kernel} is larger than {where}; kernel_size {most} would work"


def same_padding(kernel_size: int, dilation: int = 1) -> tuple[int, int]:
    """Return the (before, after) of torch's ``padding="same"``: the odd pixel goes after."""
    total = dilation * (kernel_size - 1)
    return total // 2, total - total // 2


def keras_same_padding(input_size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Return the (before, after) of Keras' ``padding="same"``, which depends on the stride and on the input's size.

    >>> keras_same_padding(224, kernel_size=3, stride=2)  # where torch users write padding=1
    (0, 1)
    """
    output_size = -(-input_size // stride)
    total = max((output_size - 1) * stride + dilation * (kernel_size - 1) + 1 - input_size, 0)
    return total // 2, total - total // 2


@lru_cache(8192)
def pool_axis(
    input_size: int,
    kernel_size: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Stencil:
    """Return a pooling's stencil; with ``ceil_mode`` the last window may hang over the end, but not start beyond it."""
    if 2 * padding > kernel_size:
        works = kernel_size // 2
        raise ValueError(f"padding {padding} is more than half of kernel_size {kernel_size}; {works} would work")
    reach = dilation * (kernel_size - 1) + 1
    room = input_size + 2 * padding - reach
    if room < 0 and not (ceil_mode and room > -stride):
        raise ValueError(_too_large(kernel_size, dilation, input_size + 2 * padding, padding))
    output_size = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (output_size - 1) * stride >= input_size + padding:
        output_size -= 1
    offsets = tuple(range(-padding, reach - padding, dilation))
    return Stencil(input_size, output_size, (offsets,), stride)


@lru_cache(8192)
def conv_transpose_axis(
    input_size: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> Stencil:
    """Return a transposed convolution's stencil: output ``i`` reads ``(i + padding - k dilation) / stride``."""
    output_size = (input_size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1
    if output_size < 1:
        works = (output_size + 2 * padding - 1) // 2
        raise ValueError(f"padding {padding} crops the whole output away; {max(works, 0)} would work")
    offsets = tuple(
        tuple(
            (phase + padding - k * dilation) // stride
            for k in reversed(range(kernel_size))
            if (phase + padding - k * dilation) % stride == 0
        )
        for phase in range(stride)
    )
    return Stencil(input_size, output_size, offsets, 1)


@lru_cache(4096)
def adaptive_pool_axis(input_size: int, output_size: int) -> Stencil:
    """Return adaptive pooling's stencil: output ``i`` reads ``floor(i n / m)`` to ``ceil((i + 1) n / m) - 1``."""
    common = gcd(input_size, output_size)
    period = output_size // common
    offsets = tuple(
        tuple(range(i * input_size // output_size, -(-(i + 1) * input_size // output_size))) for i in range(period)
    )
    return Stencil(input_size, output_size, offsets, input_size // common)


@lru_cache(4096)
def upsample_axis(
    input_size: int,
    output_size: int,
    mode: str = "nearest",
    align_corners: bool = False,
    scale_factor: float | None = None,
    antialias: bool = False,
) -> Stencil:
    """Return the stencil of resampling by any ratio; ``mode`` is nearest, nearest-exact, linear or bicubic.

    Only neighbours of non-zero weight count. Where a ``scale_factor`` was given, torch steps by its inverse and not by
    the ratio of the sizes. The nearest neighbour is found in single precision, as torch does: at some odd ratios that
    is another one than in exact arithmetic, and the stencil then lists every output.
    """
    nearest = mode.startswith("nearest")
    if align_corners and not nearest:
        ratio = Fraction(input_size - 1, output_size - 1) if output_size > 1 else Fraction(0)
    elif scale_factor:
        ratio = 1 / Fraction(scale_factor).limit_denominator(1000)
    else:
        ratio = Fraction(input_size, output_size)
    smooth = antialias and ratio > 1 and not nearest
    regular = ratio.numerator > 0 and ratio.denominator <= _MOST_PHASES

    def reads(output: int) -> tuple[int, ...]:
        if smooth:
            return _antialiased(output, ratio, mode)
        return _neighbours(output, ratio, mode, align_corners and not nearest)

    if nearest:
        step = _single(1 / scale_factor if scale_factor else input_size / output_size)
        rounded = tuple((_nearest(i, step, mode),) for i in range(output_size))
        if not regular or any(rounded[i] != reads(i) for i in range(output_size)):
            return Stencil(input_size, output_size, rounded, 0, "replicate", regular=False)
    offsets = tuple(map(reads, range(ratio.denominator if regular else output_size)))
    border: Border = "zeros" if smooth else "replicate"
    return Stencil(input_size, output_size, offsets, ratio.numerator if regular else 0, border, regular)


def _single(value: float) -> float:
    """Round to single precision."""
    return float(unpack("f", pack("f", value))[0])


def _nearest(output: int, step: float, mode: str) -> int:
    return floor(_single((output + 0.5 if mode == "nearest-exact" else output) * step))


def _neighbours(output: int, ratio: Fraction, mode: str, aligned: bool) -> tuple[int, ...]:
    half = Fraction(1, 2)
    if mode == "nearest":
        return (floor(output * ratio),)
    if mode == "nearest-exact":
        return (floor((output + half) * ratio),)
    source = output * ratio if aligned else (output + half) * ratio - half
    left = floor(source)
    if source == left:
        return (left,)
    return (left - 1, left, left + 1, left + 2) if mode == "bicubic" else (left, left + 1)


def _antialiased(output: int, ratio: Fraction, mode: str) -> tuple[int, ...]:
    """Return the taps of a filter widened by the ratio, where its weight is not 0 (a cubic one is 0 at 1 and 2)."""
    half = Fraction(1, 2)
    centre, support = (output + half) * ratio, (2 if mode == "bicubic" else 1) * ratio
    taps = range(floor(centre - support + half), floor(centre + support + half))
    zeros = (1, 2) if mode == "bicubic" else (1,)
    return tuple(tap for tap in taps if abs(tap + half - centre) / ratio not in zeros)


@lru_cache(4096)
def pad_axis(input_size: int, before: int, after: int, mode: str = "constant") -> Stencil:
    """Return padding's stencil; ``mode`` is constant, reflect, replicate or circular, and negative padding crops."""
    if input_size + before + after < 1:
        raise ValueError(f"padding ({before}, {after}) crops the input of {input_size} away; (0, 0) would work")
    most = {"reflect": input_size - 1, "circular": input_size}.get(mode, before + after + input_size)
    if max(before, after) > most:
        raise ValueError(
            f"padding ({before}, {after}) is too large for mode {mode!r} on an input of {input_size}; {most} would work"
        )
    borders: dict[str, Border] = {"reflect": "reflect", "replicate": "replicate", "circular": "circular"}
    return Stencil(input_size, input_size + before + after, ((-before,),), 1, borders.get(mode, "zeros"))


@lru_cache(4096)
def slice_axis(input_size: int, start: int, stop: int, step: int = 1) -> Stencil:
    """Return the stencil of ``x[start:stop:step]`` with the bounds already inside of the input."""
    return Stencil(input_size, max(0, ceil(Fraction(stop - start, step))), ((start,),), step)


@lru_cache(1024)
def fractional_pool_axis(input_size: int, output_size: int, kernel_size: int) -> Stencil:
    """Return what fractional max pooling may read, wherever its random windows fall (Graham 2014)."""
    spread = Fraction(input_size - kernel_size, output_size - 1) if output_size > 1 else Fraction(0)
    windows = [
        tuple(range(floor(i * spread), min(ceil(i * spread) + kernel_size, input_size))) for i in range(output_size - 1)
    ]
    windows.append(tuple(range(input_size - kernel_size, input_size)))
    return Stencil(input_size, output_size, tuple(windows), 0, regular=False)
