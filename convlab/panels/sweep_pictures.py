"""What a sweep shows beside its controls: curves, parallel coordinates, importances, a table, in the page's colours."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

from convlab.frontend.curves import Line
from convlab.search.attempts import Counts, Trial
from convlab.search.space import Choices, Entry

MOST_CURVES: Final = 12
MOST_ROWS: Final = 10
_HEIGHT: Final = 190
_STEP: Final = 104
_LEFT, _TOP = 12, 14


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Finished trials, the best first."""
    finished = [one for one in trials if one.state == "finished" and one.value is not None]
    return sorted(finished, key=lambda one: (one.value, one.number))


def curve_lines(trials: Sequence[Trial]) -> list[Line]:
    """The best trial's curve, those that run, and the latest of the others."""
    best = ranked(trials)[:1]
    running = [one for one in trials if one.state == "running"]
    others = [one for one in reversed(trials) if one not in best and one not in running]
    lines = []
    for one in [one for one in (*best, *running, *others) if one.losses][:MOST_CURVES]:
        is_best = one in best
        style: Any = "solid" if is_best else "dash" if one.state == "running" else "faint"
        name = f"{one.number}, best" if is_best else f"{one.number}, {one.state}"
        colour = 1 if is_best else 0
        lines.append(Line(name, [*one.losses], [*one.losses.values()], colour=colour, style=style))
    return lines


def state_line(state: str, counts: Counts, total: int | None, best: Trial | None, seconds: float | None) -> str:
    """What it is doing and how far it has got."""
    of = "" if total is None else f" of {total:,}"
    parts = [f"{state}: {counts.trained:,}{of} trials"]
    parts += [
        f"{count:,} {name}"
        for name in ("pruned", "skipped", "diverged", "failed", "lost", "retried")
        if (count := getattr(counts, name))
    ]
    if best is not None and best.value is not None:
        parts.append(f"best {best.value:.4g} (trial {best.number})")
    if seconds is not None and state == "running":
        parts.append(f"about {seconds:,.0f} s left" if seconds < 120 else f"about {seconds / 60:,.0f} min left")
    return ", ".join(parts) + "."


def table(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """The best trials, and the last of those that have no result, as HTML."""
    best = ranked(trials)[:MOST_ROWS]
    if not best:
        return ""
    heads = ["Trial", "Loss", "Accuracy", "Epochs", "Time, s", *names]
    rows = []
    for one in best:
        accuracy = "-" if one.accuracy is None else f"{one.accuracy:.1%}"
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        cells = [str(one.number), f"{one.value:.4g}", accuracy, str(len(one.losses)), seconds]
        cells += [_text(one.values.get(name)) for name in names]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    return (
        '<div class="convlab-sweep-scroll" role="region" tabindex="0" aria-label="Best trials">'
        '<table class="convlab-sweep-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def parallel(trials: Sequence[Trial], entries: Mapping[str, Entry]) -> str:
    """Parallel coordinates as SVG: an axis for each setting and one for the loss, a line for each finished trial."""
    shown = ranked(trials)
    if not shown:
        return ""
    names = [*entries]
    values = [one.value or 0.0 for one in shown]
    low, high = min(values), max(values)
    width = _LEFT * 2 + _STEP * len(names) + 74
    marks = [_axis(i, name, _ticks(entries[name])) for i, name in enumerate(names)]
    ends = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.0, f"{low:.3g}")]
    marks.append(_axis(len(names), "loss", ends))
    lines = []
    for rank in range(len(shown) - 1, -1, -1):
        one = shown[rank]
        heights = [entries[name].height(one.values[name]) for name in names]
        heights.append((values[rank] - low) / (high - low) if high > low else 0.0)
        points = " ".join(f"{_x(i):.1f},{_y(height):.1f}" for i, height in enumerate(heights))
        kind = "is-best" if rank == 0 else "is-good" if rank < max(2, len(shown) // 4) else ""
        lines.append(
            f'<polyline class="{kind}" points="{points}"><title>trial {one.number}: {one.value:.4g}</title></polyline>'
        )
    best = ", ".join(f"{name} {_text(value)}" for name, value in shown[0].values.items())
    words = html.escape(f"What {len(shown)} finished trials tried; the best, trial {shown[0].number}: {best}.")
    return (
        f'<div class="convlab-sweep-scroll" role="region" tabindex="0" aria-label="Parallel coordinates">'
        f'<svg class="convlab-parallel" role="img" aria-label="{words}" width="{width}" height="{_HEIGHT + 40}" '
        f'viewBox="0 0 {width} {_HEIGHT + 40}">{"".join(lines)}{"".join(marks)}</svg></div>'
    )


def importances(shares: Mapping[str, float]) -> str:
    """A bar for each setting, as HTML."""
    if not shares:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{share:.0%}</td>'
        f'<td><div class="convlab-importance-bar" style="width: {share * 100:.1f}%"></div></td></tr>'
        for name, share in shares.items()
    )
    title = "Share of the differences between losses that a setting explains, by fANOVA over the finished trials."
    return (
        f'<table class="convlab-importances" title="{title}"><caption>Importance</caption><tbody>{rows}</tbody></table>'
    )


def _x(position: int) -> float:
    return _LEFT + _STEP * position


def _y(height: float) -> float:
    return _TOP + (1 - height) * _HEIGHT


def _axis(position: int, name: str, ticks: Sequence[tuple[float, str]]) -> str:
    x = _x(position)
    texts = "".join(
        f'<text x="{x + 5:.1f}" y="{_y(height) + 4:.1f}">{html.escape(text)}</text>' for height, text in ticks
    )
    return (
        f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{_TOP + _HEIGHT}"/>{texts}'
        f'<text class="is-name" x="{x}" y="{_TOP + _HEIGHT + 20}">{html.escape(name)}</text>'
    )


def _ticks(entry: Entry) -> list[tuple[float, str]]:
    if isinstance(entry, Choices):
        return [(entry.height(value), _text(value)[:16]) for value in entry.values]
    return [(0.0, f"{entry.low:g}"), (1.0, f"{entry.high:g}")]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
