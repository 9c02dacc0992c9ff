"""The two sides of an A/B as curves."""

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from convlab.plots.figure import axes_or_new
from convlab.plots.history import TRAIN, VALID

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from convlab.training.ab import ABResult


def plot_ab(result: "ABResult", ax: "Axes | None" = None) -> "Axes":
    """Validation loss by epoch, or training loss without validation; a line for each seed, a colour for each side."""
    ax = axes_or_new(ax)
    for label, runs, colour, line in (
        ("A: as it is", result.a, TRAIN, "-"),
        (f"B: {result.difference}", result.b, VALID, "--"),
    ):
        for number, run in enumerate(runs):
            epochs = run.history.epochs
            losses = [one.train_loss if one.valid_loss is None else one.valid_loss for one in epochs]
            named = None if number else label
            ax.plot([one.epoch for one in epochs], losses, line, color=colour, alpha=0.7, label=named)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    validated = all(one.valid_loss is not None for run in result.a for one in run.history.epochs)
    ax.set_ylabel("validation loss" if validated else "training loss")
    ax.grid(alpha=0.25)
    if result.a:
        for text in ax.legend(frameon=False, fontsize="small").get_texts():
            text.set_parse_math(False)  # a dollar in a name is a dollar
    return ax
