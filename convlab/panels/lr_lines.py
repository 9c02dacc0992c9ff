"""The lines that show a sweep over learning rates, and short trainings at some of them."""

import numpy as np

from convlab.frontend.curves import Line
from convlab.training.lr_probe import LRProbe
from convlab.training.lr_sweep import LRSweep


def sweep_lines(sweep: LRSweep) -> list[Line]:
    """Raw losses behind the smoothed ones, with the band over several seeds; what explodes leaves the picture."""
    if not len(sweep.lrs):
        return []
    top = sweep.span[1]
    raw, smoothed, low, high = (
        np.where(values > top, np.nan, values) for values in (sweep.losses, sweep.smoothed, *sweep.band)
    )
    band = (low, high) if len(sweep.seed_losses) > 1 else None
    return [
        Line("loss of each step", sweep.lrs, raw, style="faint"),
        Line("smoothed", sweep.lrs, smoothed, band=band),
    ]


def probe_lines(probe: LRProbe) -> list[Line]:
    """The score of each training, and the parabola through the best three; one that diverged has no point."""
    lines = [Line("mean loss of the last quarter", probe.lrs, probe.scores, style="points")]
    if probe.parabola is not None:
        best = int(np.argmin(probe.scores))
        x = np.linspace(np.log10(probe.lrs[best - 1]), np.log10(probe.lrs[best + 1]), 50)
        lines.append(Line("parabola", 10**x, np.polyval(probe.parabola, x), colour=1, style="dash"))
    return lines


def training_lines(probe: LRProbe) -> list[Line]:
    """The loss of each training, step by step."""
    starts = [curve[0] for curve in probe.curves if len(curve)]
    top = 1.3 * float(np.mean(starts)) if starts else np.inf
    return [
        Line(
            f"lr {lr:.2g}" + " diverged" * diverged,
            np.arange(1, len(curve) + 1),
            np.where(curve > top, np.nan, curve),
            colour=number,
            style="dash" if number % 2 else "solid",
        )
        for number, (lr, curve, diverged) in enumerate(zip(probe.lrs, probe.curves, probe.diverged, strict=True))
    ]
