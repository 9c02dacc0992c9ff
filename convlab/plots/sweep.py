"""A sweep: the curves of its trials, what each of them tried, and how much each setting matters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from matplotlib import colormaps
from matplotlib.ticker import MaxNLocator

from convlab.plots.figure import Picture, axes_or_new, new_figure
from convlab.plots.history import VALID
from convlab.search.space import Choices, Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from convlab.search.attempts import Trial
    from convlab.search.sweep import Sweep

GREY: Final = "#9a9a9a"
_MAP: Final = colormaps["viridis_r"]


def plot_sweep(sweep: Sweep) -> Picture:
    """All three, one below the other."""
    figure = new_figure(8.0, 8.4)
    curves, lines, bars = figure.subplots(3, 1, height_ratios=[3, 3, 2])
    plot_curves(sweep.trials, curves)
    plot_parallel(sweep.trials, sweep.space.entries, lines)
    plot_importances(sweep.importances(), bars)
    return figure


def plot_curves(trials: Sequence[Trial], ax: Axes | None = None) -> Axes:
    """Validation loss by epoch, a line for each trial: the best in colour, what was ended early dashed."""
    ax = axes_or_new(ax)
    best = min((one for one in trials if one.state == "finished"), key=lambda one: one.value or 0.0, default=None)
    for one in trials:
        if not one.losses:
            continue
        is_best = best is not None and one.number == best.number
        style: dict[str, Any] = {"color": VALID, "lw": 2.2, "zorder": 3} if is_best else {"color": GREY, "lw": 1}
        ended = one.state in ("finished", "running")
        label = f"best: trial {one.number}" if is_best else None
        marker = "o" if len(one.losses) == 1 else None
        ax.plot(
            [*one.losses], [*one.losses.values()], "-" if ended else "--", marker=marker, ms=3, label=label, **style
        )
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("validation loss")
    values = [value for one in trials for value in one.losses.values()]
    if values and min(values) > 0 and max(values) > 5 * min(values):
        ax.set_yscale("log")
    ax.grid(alpha=0.25)
    if best is not None:
        ax.legend(frameon=False, fontsize="small")
    return ax


def plot_parallel(trials: Sequence[Trial], entries: dict[str, Entry] | Any, ax: Axes | None = None) -> Axes:
    """Parallel coordinates: an axis for each setting and one for the value, a line for each finished trial."""
    ax = axes_or_new(ax)
    shown = sorted((one for one in trials if one.state == "finished" and one.value is not None), key=_worst_first)
    names = [*entries]
    ax.set_xlim(-0.15, len(names) + 0.15)
    ax.set_ylim(-0.06, 1.06)
    ax.set_xticks(range(len(names) + 1), [*names, "loss"])
    for label in ax.get_xticklabels():
        label.set_parse_math(False)
    ax.set_yticks([])
    for side in ("top", "left", "right", "bottom"):
        ax.spines[side].set_visible(False)
    for position, name in enumerate(names):
        _axis(ax, position, _ticks(entries[name]))
    if not shown:
        return ax
    values = [one.value or 0.0 for one in shown]
    low, high = min(values), max(values)
    _axis(ax, len(names), [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.0, f"{low:.3g}")])
    for rank, one in enumerate(shown):
        height = (values[rank] - low) / (high - low) if high > low else 0.0
        heights = [entries[name].height(one.values[name]) for name in names if name in one.values]
        is_best = rank == len(shown) - 1
        colour = _MAP((rank + 1) / len(shown))
        ax.plot([*heights, height], color=colour, lw=2.4 if is_best else 1.1, alpha=1 if is_best else 0.65)
    return ax


def plot_importances(importances: dict[str, float], ax: Axes | None = None) -> Axes:
    """A bar for each setting: what share of the differences it explains."""
    ax = axes_or_new(ax)
    names = [*reversed(importances)]
    ax.barh(range(len(names)), [importances[name] for name in names], color=VALID, height=0.6)
    ax.set_yticks(range(len(names)), names)
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
    ax.set_xlim(0, 1)
    ax.set_xlabel("importance (share of the differences explained, fANOVA)")
    ax.grid(alpha=0.25, axis="x")
    if not names:
        ax.text(0.5, 0.5, "shown from two finished trials on", ha="center", va="center", color=GREY)
    return ax


def _worst_first(one: Trial) -> float:
    return -(one.value if one.value is not None else math.inf)


def _axis(ax: Axes, position: int, ticks: list[tuple[float, str]]) -> None:
    ax.axvline(position, color=GREY, lw=0.8, zorder=0)
    for height, text in ticks:
        ax.annotate(
            text,
            (position, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small",
            parse_math=False,
            bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5},
        )


def _ticks(entry: Entry) -> list[tuple[float, str]]:
    if isinstance(entry, Choices):
        texts = [str(label) for label in entry.labels]
        return [(entry.height(value), text[:24]) for value, text in zip(entry.values, texts, strict=True)]
    return [(0.0, f"{entry.low:g}"), (1.0, f"{entry.high:g}")]
