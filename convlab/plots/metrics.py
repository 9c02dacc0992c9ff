"""The scores of a model as a picture."""

from typing import TYPE_CHECKING

import numpy as np

from convlab.plots.figure import axes_or_new
from convlab.plots.history import TRAIN, VALID

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from convlab.training.metrics import Metrics


def plot_metrics(metrics: "Metrics", ax: "Axes | None" = None) -> "Axes":
    """The confusion matrix, shares of each row shaded; for numbers, what was said against what is so."""
    ax = axes_or_new(ax)
    if metrics.confusion is None:
        if metrics.targets is None or metrics.predicted is None:
            raise LookupError("the predictions were not kept; those of the last and of the best epoch are.")
        ax.scatter(metrics.targets.ravel(), metrics.predicted.ravel(), s=6, color=TRAIN, alpha=0.6)
        low, high = np.min(metrics.targets), np.max(metrics.targets)
        ax.plot([low, high], [low, high], color=VALID, linestyle="--")
        ax.set_xlabel("target")
        ax.set_ylabel("output")
        return ax
    counts = metrics.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(metrics.classes))
    if len(metrics.classes) <= 20:
        for row in places:
            for column in places:
                colour = "white" if shares[row, column] > 0.5 else "black"
                if counts[row, column]:
                    ax.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour, fontsize=7)
    for axis, set_ticks in ((ax.xaxis, ax.set_xticks), (ax.yaxis, ax.set_yticks)):
        set_ticks(list(places), list(metrics.classes), fontsize=7)
        for label in axis.get_ticklabels():
            label.set_parse_math(False)
    ax.set_xlabel("predicted")
    ax.set_ylabel("target")
    return ax
