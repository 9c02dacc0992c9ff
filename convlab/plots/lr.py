"""Curves of the learning rate: what a scheduler will do, and what a sweep over learning rates found."""

from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes

from convlab.plots.figure import axes_or_new

if TYPE_CHECKING:
    from convlab.training.schedules import ScheduleCurve

# Okabe and Ito's palette, as in the curve of a run.
LR: Final = "#0072B2"
MOMENTUM: Final = "#009E73"
CHOSEN: Final = "#D55E00"


def plot_schedule(curve: "ScheduleCurve", ax: Axes | None = None) -> Axes:
    """The lr of every optimizer step; where momentum is cycled, that too, on an axis of its own at the right."""
    ax = axes_or_new(ax)
    # A schedule per epoch is a staircase, and so is one that jumps.
    ax.plot(curve.step, curve.lrs, color=LR, drawstyle="steps-post", label="lr")
    ax.set_xlabel("epoch" if curve.counts_epochs else "step")
    ax.set_ylabel("lr")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    ax.set_title(curve.name, fontsize="medium", parse_math=False)
    if curve.momenta is not None:
        right = ax.twinx()
        right.plot(curve.step, curve.momenta, color=MOMENTUM, linestyle="--", drawstyle="steps-post")
        right.set_ylabel("momentum", color=MOMENTUM)
    return ax
