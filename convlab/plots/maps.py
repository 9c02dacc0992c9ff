"""Kernels, feature maps and attributions as pictures."""

from __future__ import annotations

import functools
import io
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import imsave
from torch import Tensor

from convlab.plots.figure import axes_or_new

if TYPE_CHECKING:
    from convlab.diagnosis.attribution import Attribution
    from convlab.diagnosis.maps import FeatureMaps, Kernels

Pixels = npt.NDArray[np.uint8]

_MOST_FEATURES, _FEATURES_A_ROW, _SQUARE = 256, 64, 10
_FOR: Final = np.array([213, 94, 0]) / 255
_AGAINST: Final = np.array([0, 114, 178]) / 255


def kernel_tiles(weights: Tensor, most: int = 64) -> list[Pixels]:
    """Each kernel as a picture, (rows, columns, 3): blue is negative, white 0, red positive, all on one scale.

    Those that read three channels are shown as red, green and blue, grey being 0; of those that read another number of
    channels the mean over them is shown.

    Args:
        weights: (out_channels, in_channels, rows, columns).
        most: how many.
    """
    shown = weights[:most].numpy().astype(np.float64)
    if weights.shape[1] == 3:
        return [_bytes(0.5 + 0.5 * one.transpose(1, 2, 0) / _largest(shown)) for one in shown]
    means = shown.mean(1)
    return [_coloured(0.5 + 0.5 * one / _largest(means), "bwr") for one in means]


def map_tiles(maps: Tensor, most: int = 64) -> list[Pixels]:
    """Each channel as a picture, (rows, columns, 3), from its own smallest value, dark, to its largest, bright."""
    return [_coloured(_stretched(one), "viridis") for one in maps[:most].numpy().astype(np.float64)]


def mosaic(tiles: list[Pixels], columns: int, scale: int = 1) -> Pixels:
    """Tiles of one size side by side, row by row, each pixel drawn `scale` times as large, grey between them."""
    height, width = (scale * side for side in tiles[0].shape[:2])
    columns, gap = min(columns, len(tiles)), 2
    rows = -(-len(tiles) // columns)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 128, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (at * (side + gap) for at, side in zip(divmod(place, columns), (height, width), strict=True))
        whole[top : top + height, left : left + width] = tile.repeat(scale, 0).repeat(scale, 1)
    return whole


def map_picture(maps: Tensor, side: int = 48, most: int = 16) -> Pixels:
    """The first channels in a row, about `side` pixels high each; a vector as a block of squares, one a feature.

    Args:
        maps: (channels, rows, columns), as `FeatureMaps` has them.
        side: of a channel, in pixels; a larger map is thinned out.
        most: how many channels.
    """
    if maps.shape[1:] == (1, 1) or maps.shape[:2] == (1, 1):
        (line,) = map_tiles(maps.reshape(1, 1, -1)[..., :_MOST_FEATURES])
        return mosaic([tile[None, None] for tile in line[0]], columns=_FEATURES_A_ROW, scale=_SQUARE)
    thin = -(-max(maps.shape[1:]) // (2 * side))
    tiles = map_tiles(maps[..., ::thin, ::thin], most)
    return mosaic(tiles, most, max(1, side // tiles[0].shape[0]))


def tinted(x: Tensor, found: Attribution | None = None, span: tuple[float, float] | None = None) -> Pixels:
    """A picture as pixels, (rows, columns, 3); orange where it speaks for the output, blue where against.

    Args:
        x: the picture, (C, H, W).
        found: how much each pixel matters; the bare picture without.
        span: values that are black and white; the picture's smallest and largest if left out.
    """
    values = x.detach().float().cpu()
    values = values if len(values) == 3 else values[:1].expand(3, -1, -1)
    shown = _stretched(values.numpy().astype(np.float64), span).transpose(1, 2, 0)
    if found is None:
        return _bytes(shown)
    share = np.nan_to_num(found.map.numpy().astype(np.float64)) / _largest(found.map.numpy())
    glow = 0.8 * np.abs(share)[..., None]
    colour = np.where(share[..., None] > 0, _FOR, _AGAINST)
    return _bytes((0.25 + 0.75 * shown) * (1 - glow) + colour * glow)


def as_png(pixels: Pixels) -> bytes:
    """Pixels, (rows, columns, 3), as a PNG file."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return buffer.getvalue()


def plot_kernels(found: Kernels, ax: Axes | None = None) -> Axes:
    """The first 64 kernels of a layer as one picture; see `kernel_tiles`."""
    return _show(kernel_tiles(found.weights), f"{found.path or 'the model'}: kernels", ax)


def plot_feature_maps(found: FeatureMaps, ax: Axes | None = None) -> Axes:
    """The first 64 channels of a layer as one picture; see `map_tiles`."""
    return _show(map_tiles(found.maps), f"{found.path or 'the model'}: {found.kind}", ax)


def plot_attribution(found: Attribution, x: Tensor, ax: Axes | None = None) -> Axes:
    """A picture in grey, (C, H, W), and on it, in colour, how much each pixel matters."""
    ax = axes_or_new(ax)
    ax.imshow(_stretched(x.detach().float().cpu().mean(0).numpy().astype(np.float64)), cmap="gray")
    values = found.map.numpy()
    largest = _largest(values)
    image = ax.imshow(values, cmap="bwr", vmin=-largest, vmax=largest, alpha=0.6)
    figure = ax.figure
    figure.colorbar(image, ax=ax, label=f"of output {found.target}")
    ax.set_axis_off()
    return ax


def _show(tiles: list[Pixels], title: str, ax: Axes | None) -> Axes:
    ax = axes_or_new(ax)
    ax.imshow(mosaic(tiles, math.ceil(math.sqrt(2 * len(tiles))), scale=8), interpolation="nearest")
    ax.set_title(title, fontsize="small")
    ax.set_axis_off()
    return ax


def _stretched(values: npt.NDArray[np.float64], span: tuple[float, float] | None = None) -> npt.NDArray[np.float64]:
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = span or (values.min(), values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _largest(values: npt.NDArray[Any]) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _coloured(share: npt.NDArray[np.float64], name: str) -> Pixels:
    return _table(name)[_bytes(share)]


@functools.cache
def _table(name: str) -> Pixels:
    """The 256 colours of a map: matplotlib makes a map anew each time that it is asked for one."""
    return _bytes(colormaps[name](np.arange(256))[:, :3])


def _bytes(share: npt.NDArray[np.float64]) -> Pixels:
    return np.rint(255 * np.clip(np.nan_to_num(share, nan=0.5), 0, 1)).astype(np.uint8)
