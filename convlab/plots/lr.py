"""Curves of the learning rate: what a scheduler will do, and what a sweep over learning rates found."""

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes

from convlab.plots.figure import axes_or_new
from convlab.training.lr_rules import Rule

if TYPE_CHECKING:
    from convlab.training.lr_probe import LRProbe
    from convlab.training.lr_sweep import LRSweep
    from convlab.training.schedules import ScheduleCurve

# Okabe and Ito's palette, as in the curve of a run.
LR: Final = "#0072B2"
MOMENTUM: Final = "#009E73"
CHOSEN: Final = "#D55E00"

MARKERS: Final[dict[Rule, str]] = {"valley": "v", "minimum": "o", "steepest": "s"}


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


def plot_sweep(sweep: "LRSweep", ax: Axes | None = None) -> Axes:
    """Loss against lr: raw, smoothed, the band over several seeds, and where each rule reads the curve."""
    ax = axes_or_new(ax)
    lrs = sweep.lrs
    ax.set_xscale("log")
    ax.set_xlabel("lr")
    ax.set_ylabel("loss")
    ax.grid(alpha=0.25)
    if not len(lrs):
        ax.set_title(sweep.refusal or "", fontsize="small", wrap=True, parse_math=False)
        return ax
    ax.plot(lrs, sweep.losses, color=LR, linewidth=0.8, alpha=0.4, label="loss of each step")
    ax.plot(lrs, sweep.smoothed, color=LR, label="smoothed")
    if len(sweep.seed_losses) > 1:
        ax.fill_between(lrs, *sweep.band, color=LR, alpha=0.15, linewidth=0, label=f"{len(sweep.seed_losses)} seeds")
    ax.set_ylim(*sweep.span)
    if sweep.refusal is not None:
        ax.set_title(sweep.refusal, fontsize="small", wrap=True, parse_math=False)
    else:
        found = sweep.suggestion()
        ax.axvline(found.lr, color=CHOSEN, linestyle="--", label=f"suggestion {found.lr:.2g} ({found.confidence})")
        for rule, marker in MARKERS.items():
            at = sweep.suggestion(rule)
            nearest = int(abs(lrs - at.lr).argmin())
            ax.plot(at.lr, sweep.smoothed[nearest], marker, color=CHOSEN, markersize=6, label=f"{rule} {at.lr:.2g}")
    ax.legend(frameon=False, fontsize="small")
    return ax


def plot_probe(probe: "LRProbe", ax: Axes | None = None) -> Axes:
    """The score of each training against its lr, the parabola through the best three, and the answer."""
    ax = axes_or_new(ax)
    ax.set_xscale("log")
    ax.set_xlabel("lr")
    ax.set_ylabel("mean loss of the last quarter")
    ax.grid(alpha=0.25)
    if probe.refusal is not None:
        ax.set_title(probe.refusal, fontsize="small", wrap=True, parse_math=False)
        return ax
    finite = np.isfinite(probe.scores)
    ax.plot(probe.lrs[finite], probe.scores[finite], "o", color=LR, label=f"after {probe.num_steps} steps")
    if not finite.all():
        top = np.full((~finite).sum(), probe.scores[finite].max())
        ax.plot(probe.lrs[~finite], top, "x", color=LR, label="diverged")
    if probe.parabola is not None:
        best = int(np.argmin(probe.scores))
        x = np.linspace(np.log10(probe.lrs[best - 1]), np.log10(probe.lrs[best + 1]), 50)
        ax.plot(10**x, np.polyval(probe.parabola, x), color=LR, linewidth=0.8)
    found = probe.suggestion()
    ax.axvline(found.lr, color=CHOSEN, linestyle="--", label=f"suggestion {found.lr:.2g} ({found.confidence})")
    ax.legend(frameon=False, fontsize="small")
    return ax


def plot_probe_curves(probe: "LRProbe", ax: Axes | None = None) -> Axes:
    """The loss of each training step by step, the larger the lr the darker."""
    ax = axes_or_new(ax)
    starts = [curve[:1] for curve in probe.curves if len(curve)]
    for i, (lr, curve, diverged) in enumerate(zip(probe.lrs, probe.curves, probe.diverged, strict=True)):
        shade = 0.25 + 0.75 * i / max(1, len(probe.lrs) - 1)
        label = f"{lr:.2g}" + " diverged" * diverged
        ax.plot(np.arange(1, len(curve) + 1), curve, color=LR, alpha=shade, linewidth=0.5 + shade, label=label)
    if starts:
        ax.set_ylim(top=1.3 * float(np.mean(starts)))
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="x-small", title="lr")
    return ax
