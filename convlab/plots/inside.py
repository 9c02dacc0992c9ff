"""One number of every layer of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes

from convlab.diagnosis.inside import NUMBERS
from convlab.plots.figure import axes_or_new

if TYPE_CHECKING:
    from convlab.diagnosis.inside import Inside

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
    if number not in NUMBERS:
        raise ValueError(f"number must be one of {', '.join(NUMBERS)}, got {number!r}; try number='std'.")
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
