"""What shows a finding, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlab.plots.figure import axes_or_new
from convlab.plots.history import TRAIN, VALID

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from convlab.diagnosis.finding import Exhibit, Finding

_COLOURS = (TRAIN, VALID, "#8250df", "#bf8700")


def plot_finding(finding: Finding, ax: Axes | None = None) -> Axes:
    """Lines or bars, with the value that they are held against.

    Raises:
        ValueError: the finding has no picture.
    """
    seen = finding.picture
    if seen is None:
        raise ValueError(f"{finding.rule} has no picture: {finding.seen}")
    ax = axes_or_new(ax)
    if isinstance(seen.x, tuple):
        width = 0.8 / len(seen.series)
        for i, (values, colour) in enumerate(zip(seen.series.values(), _COLOURS, strict=False)):
            ax.bar(np.arange(len(seen.x)) + i * width, values, width, color=colour)
        middle = np.arange(len(seen.x)) + 0.4 - width / 2
        many = len(seen.x) > 8
        ax.set_xticks(middle, seen.x, rotation=45 if many else 0, ha="right" if many else "center", fontsize=8)
    else:
        for values, colour in zip(seen.series.values(), _COLOURS, strict=False):
            ax.plot(seen.x, values, color=colour, marker="." if len(seen.x) < 30 else "")
    if seen.level is not None:
        ax.axhline(seen.level[1], color="#6e7781", linestyle="--", linewidth=1)
    if seen.log and _spread(seen) > 50:
        ax.set_yscale("log")
    names = [*seen.series, *([seen.level[0]] if seen.level else [])]
    handles = [*(ax.containers if isinstance(seen.x, tuple) else ax.lines[: len(seen.series)])]
    handles += ax.lines[-1:] if seen.level else []
    if len(names) > 1:
        ax.legend(handles, names, fontsize=8)
    ax.set_xlabel(seen.xlabel)
    ax.set_ylabel(seen.ylabel)
    ax.set_title(seen.title, fontsize=10, parse_math=False)
    for label in ax.get_xticklabels():
        label.set_parse_math(False)
    return ax


def _spread(seen: Exhibit) -> float:
    """The largest value over the smallest that is not 0."""
    values = np.concatenate([*seen.series.values(), [seen.level[1]] if seen.level else []])
    values = values[values > 0]
    return float(values.max() / values.min()) if len(values) else 1.0
