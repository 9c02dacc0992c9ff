"""One number of every layer of a network: at one step, and over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes

from convlab.diagnosis.inside import NUMBERS, Of, courses
from convlab.diagnosis.layer_stats import HISTOGRAM_EDGES, PER_DECADE
from convlab.plots.figure import axes_or_new

if TYPE_CHECKING:
    from convlab.diagnosis.inside import Inside
    from convlab.diagnosis.inside_log import InsideLog

_LOGARITHMIC: Final = ("weight_norm", "gradient_norm", "gradient_to_weight", "update_to_weight")


def plot_inside(inside: Inside, ax: Axes | None = None, number: str = "std") -> Axes:
    """A bar for each layer, from the input down to the output.

    Args:
        inside: what was seen.
        ax: where to draw; axes of a new figure if left out.
        number: which one: a numeric field of `LayerInside`.

    Raises:
        ValueError: there is no such number.
    """
    _check(number)
    ax = axes_or_new(ax)
    values = [getattr(one, number) for one in inside.layers]
    places = range(len(values))
    ax.barh(places, values, color="#0072B2")
    ax.set_yticks(places, [f"{one.path} {one.kind}".strip() for one in inside.layers], fontsize="x-small")
    ax.invert_yaxis()
    if number in _LOGARITHMIC and any(value > 0 for value in values):
        ax.set_xscale("log")
    ax.set_xlabel(f"{number.replace('_', ' ')} at step {inside.step:,}")
    ax.grid(axis="x", alpha=0.25)
    return ax


def plot_inside_log(log: InsideLog, ax: Axes | None = None, number: str = "update_to_weight") -> Axes:
    """A line for each layer that has the number, over the steps.

    Args:
        log: what was seen.
        ax: where to draw; axes of a new figure if left out.
        number: which one: a numeric field of `LayerInside`.

    Raises:
        ValueError: there is no such number.
    """
    _check(number)
    ax = axes_or_new(ax)
    for path, (steps, values) in courses(log.looks, number).items():
        ax.plot(steps, values, label=path or "the model", marker=".", linewidth=1)
    if number in _LOGARITHMIC and ax.lines:
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel(number.replace("_", " "))
    if ax.lines:
        ax.legend(frameon=False, fontsize="x-small", ncols=2)
    ax.grid(alpha=0.25)
    return ax


def plot_histograms(log: InsideLog, path: str, ax: Axes | None = None, of: Of = "weight") -> Axes:
    """How a layer's weights or gradients are distributed, a column for each look, darker where there are more.

    Args:
        log: what was seen.
        path: the layer.
        ax: where to draw; axes of a new figure if left out.
        of: ``"weight"`` or ``"gradient"``.

    Raises:
        ValueError: `of` is something else, or the layer has none.
    """
    steps, counts = log.histograms(path, of)
    if not steps:
        raise ValueError(f"no {of}s of a layer {path!r} were seen; try one that has weights.")
    ax = axes_or_new(ax)
    shares = counts.T / counts.sum(1).clip(1)
    bins = np.arange(len(HISTOGRAM_EDGES))
    ax.pcolormesh(np.arange(len(steps) + 1), bins, shares, cmap="Blues", rasterized=True)
    shown = [at for at in bins[1:-1] if (at - 1) % (2 * PER_DECADE) == 0 or at == len(bins) // 2]
    ax.set_yticks(shown, [f"{HISTOGRAM_EDGES[at]:.0e}" for at in shown], fontsize="x-small")
    every = -(-len(steps) // 10)
    ax.set_xticks(np.arange(len(steps))[::every] + 0.5, [f"{step:,}" for step in steps[::every]], fontsize="x-small")
    ax.set_xlabel("step")
    ax.set_ylabel(f"{of}s of {path or 'the model'}")
    return ax


def _check(number: str) -> None:
    if number not in NUMBERS:
        raise ValueError(f"number must be one of {', '.join(NUMBERS)}, got {number!r}; try number='std'.")
