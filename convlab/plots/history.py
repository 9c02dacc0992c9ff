"""The curve of a run."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from convlab.plots.figure import axes_or_new, new_figure
from convlab.training.history import History
from convlab.training.journal import Change

if TYPE_CHECKING:
    from convlab.training.run import Run

# Okabe and Ito's palette: told apart by the colour-blind, and by their dashes in grey print.
TRAIN: Final = "#0072B2"
VALID: Final = "#D55E00"


def plot_history(history: History, ax: Axes | None = None, *, journal: Iterable[Change] = ()) -> Axes:
    """Training loss per step (range shaded where rows are merged) and validation loss per epoch.

    Args:
        history: the records.
        ax: where to draw; axes of a new figure if left out.
        journal: changes to mark on the curve.
    """
    ax = axes_or_new(ax)
    rows = history.since(0)
    ax.plot(rows["step"], rows["train_loss"], color=TRAIN, linewidth=0.8, alpha=0.55, label="train, per step")
    if history.stride > 1:
        low, high = rows["train_loss_min"], rows["train_loss_max"]
        ax.fill_between(rows["step"], low, high, color=TRAIN, alpha=0.15, linewidth=0)
    epochs = [(record.step, record.valid_loss) for record in history.epochs if record.valid_loss is not None]
    if epochs:
        ax.plot(*zip(*epochs, strict=True), color=VALID, linestyle="--", marker="o", markersize=3, label="validation")
    _mark(ax, journal)
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.grid(alpha=0.25)
    if rows["step"].size or epochs:
        ax.legend(frameon=False, fontsize="small")
    return ax


def plot_accuracy(history: History, ax: Axes | None = None, *, journal: Iterable[Change] = ()) -> Axes:
    """Training and validation accuracy per epoch, in percent."""
    ax = axes_or_new(ax)
    for name, label, color, line in (
        ("train_accuracy", "train", TRAIN, "-"),
        ("valid_accuracy", "validation", VALID, "--"),
    ):
        points = [(r.step, getattr(r, name)) for r in history.epochs if getattr(r, name) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            ax.plot(steps, values, color=color, linestyle=line, marker="o", markersize=3, label=label)
    _mark(ax, journal)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))
    ax.set_xlabel("step")
    ax.set_ylabel("accuracy")
    ax.grid(alpha=0.25)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small")
    return ax


def plot_rate(history: History, ax: Axes | None = None, *, journal: Iterable[Change] = ()) -> Axes:
    """The learning rate of every step."""
    ax = axes_or_new(ax)
    rows = history.since(0)
    ax.plot(rows["step"], rows["lr"], color=TRAIN)
    _mark(ax, journal)
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
    ax.grid(alpha=0.25)
    return ax


def plot_run(run: "Run") -> Figure:
    """Loss, accuracy and, under a schedule, lr of a run side by side, its changes marked; what a notebook keeps."""
    scheduled = run.spec.schedule is not None or any(change.name == "schedule" for change in run.journal)
    figure = new_figure(12.0 if scheduled else 9.0, 3.2)
    axes = figure.subplots(1, 3 if scheduled else 2)
    plot_history(run.history, axes[0], journal=run.journal)
    plot_accuracy(run.history, axes[1], journal=run.journal)
    if scheduled:
        plot_rate(run.history, axes[2], journal=run.journal)
    return figure


def _mark(ax: Axes, journal: Iterable[Change]) -> None:
    for step, changes in groupby(list(journal)[-20:], lambda change: change.step):
        ax.axvline(step, color="0.5", linewidth=0.8, linestyle=":")
        # User text never meets the mathematics parser: a name such as `$\foo$` would raise.
        ax.annotate(
            ", ".join(map(str, changes)),
            (step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -2),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize="x-small",
            color="0.35",
            parse_math=False,
        )
