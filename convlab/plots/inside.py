"""One number of every layer of a network: at one step, and over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes

from convlab.diagnosis.inside import NUMBERS, courses
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


def _check(number: str) -> None:
    if number not in NUMBERS:
        raise ValueError(f"number must be one of {', '.join(NUMBERS)}, got {number!r}; try number='std'.")
