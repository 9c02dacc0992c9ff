"""A trace as a table: the same cells in text, HTML and a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from convlab.geometry import ReceptiveField
from convlab.models._trace.record import Record

if TYPE_CHECKING:
    from convlab.models.trace import Trace

_NUMBERS = ("num_params", "mult_adds")


def headings(names: Sequence[str]) -> list[str]:
    """Return the column names of a table: two for the field in each input."""
    columns = ["layer", "kind", "input_size", "output_size", *_NUMBERS]
    for name in names:
        of = "" if len(names) == 1 else f"[{name}]"
        columns += [f"receptive_field{of}", f"jump{of}"]
    return columns


def cells(record: Record, names: Sequence[str]) -> list[str]:
    """Return the cells of a record's row, in words."""
    row = [
        _label(record),
        record.kind,
        str(record.input_size),
        str(record.output_size),
        f"{record.num_params:,}" if record.num_params else "-",
        f"{record.mult_adds:,}" if record.mult_adds else "-",
    ]
    for name in names:
        row += _field_cells(record.receptive_fields.get(name))
    return row


def _label(record: Record) -> str:
    name = record.path.rpartition(".")[2] or record.kind
    again = f" ({record.call + 1})" if record.call else ""
    return "  " * record.depth + name + again


def _field_cells(field: ReceptiveField | None) -> list[str]:
    if field is None:
        return ["-", "-"]
    jumps = [_number(jump) for jump in field.jump]
    return [str(field), jumps[0] if len(set(jumps)) == 1 else " x ".join(jumps)]


def _number(value: Any) -> str:
    return "-" if value is None else str(value)


def text_table(trace: Trace) -> str:
    """Return the trace as a table in plain text, containers included, totals below."""
    names = list(trace.input_sizes)
    rows = [headings(names), *(cells(record, names) for record in trace.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], rule, *_below(trace)])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if i in (4, 5) else cell.ljust(width)


def _below(trace: Trace) -> list[str]:
    sizes = ", ".join(f"{name} {size}" for name, size in trace.input_sizes.items())
    lines = [
        f"input: {sizes}",
        f"total_params: {trace.total_params:,} ({trace.trainable_params:,} trainable)",
        f"total_mult_adds: {trace.total_mult_adds:,}",
    ]
    lines += [f"note: {note}" for note in trace.notes]
    if trace.error is not None:
        lines.append(f"stopped: {trace.error}")
    return lines


def html_table(trace: Trace) -> str:
    """Return the trace as an HTML table without scripts; every name in it is escaped."""
    names = list(trace.input_sizes)
    head = "".join(f"<th>{escape(name)}</th>" for name in headings(names))
    body = []
    for record in trace.rows:
        first, *rest = cells(record, names)
        indent = f' style="padding-left:{0.5 + 1.2 * record.depth}em;text-align:left"'
        row = f'<td{indent} title="{escape(record.path)}">{escape(first.strip())}</td>'
        weight = "" if record.is_leaf else ' style="font-weight:600"'
        body.append(f"<tr{weight}>{row}{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>")
    below = "".join(f"<div>{escape(line)}</div>" for line in _below(trace))
    return (
        f'<div class="convlab-trace"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
        f"{below}</div>"
    )


def columns(records: Iterable[Record], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row of plain values for each record, for a data frame."""
    rows = []
    for record in records:
        row: dict[str, Any] = {
            name: getattr(record, name)
            for name in ("path", "kind", "call", "depth", "input_size", "output_size", *_NUMBERS, "trainable", "memory")
        }
        for name in names:
            field = record.receptive_fields.get(name)
            of = "" if len(names) == 1 else f"[{name}]"
            row[f"receptive_field{of}"] = field and field.size
            for fact in ("jump", "start", "reach", "skew", "phases"):
                row[f"{fact}{of}"] = field and getattr(field, fact)
        rows.append(row)
    return rows
