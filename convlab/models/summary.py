"""A trace as the rows of a table: a tree of containers and layers, with shares and what changed since another trace."""

from dataclasses import dataclass, fields
from typing import Final

from convlab.models.trace import Record, Trace


@dataclass(frozen=True)
class Row:
    """One line of a summary. Sizes include the batch; `memory` is in bytes; `*_share` is the part of the total."""

    path: str
    kind: str
    depth: int
    is_leaf: bool
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    num_params: int
    trainable: int
    mult_adds: int
    memory: int
    receptive_field: str
    jump: str
    params_share: float
    mult_adds_share: float
    memory_share: float
    before: dict[str, object]


COMPARED: Final = ("output_size", "num_params", "mult_adds", "memory", "receptive_field", "jump")


@dataclass(frozen=True)
class Summary:
    """Rows in call order, containers before what they hold; totals as torchinfo has them; why it ended early."""

    rows: tuple[Row, ...]
    total_params: int
    trainable_params: int
    total_mult_adds: int
    total_memory: int
    error: str


def summarize(trace: Trace, before: Trace | None = None) -> Summary:
    """The rows of `trace`; each row's `before` holds the values that differ from `before`'s row of the same path.

    Example:
        >>> from torch import nn
        >>> from convlab.models.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
        >>> [row.num_params for row in summarize(trace(net, (1, 1, 8, 8))).rows]
        [80, 0]
    """
    old = _rows(before, {}) if before is not None else {}
    rows = _rows(trace, old)
    return Summary(
        rows=tuple(rows.values()),
        total_params=trace.total_params,
        trainable_params=trace.trainable_params,
        total_mult_adds=trace.total_mult_adds,
        total_memory=sum(record.memory for record in trace.records),
        error=str(trace.error) if trace.error is not None else "",
    )


def _rows(trace: Trace, old: dict[tuple[str, int], Row]) -> dict[tuple[str, int], Row]:
    leaves = [record for record in trace.records if record.kind != "Identity" or record.num_params]
    totals = {
        "num_params": trace.total_params,
        "mult_adds": trace.total_mult_adds,
        "memory": sum(record.memory for record in leaves),
    }
    containers = {record.path: record for record in trace.containers if record.path and record.path[:1] != "["}
    rows: dict[tuple[str, int], Row] = {}
    for record in leaves:
        for above in _ancestors(record.path):
            if above in containers and (above, 0) not in rows:
                rows[above, 0] = _row(containers[above], totals, old, leaf=False)
        rows[record.path, record.call] = _row(record, totals, old, leaf=True)
    return rows


def _row(record: Record, totals: dict[str, int], old: dict[tuple[str, int], Row], *, leaf: bool) -> Row:
    field = record.receptive_field
    row = Row(
        path=record.path,
        kind=record.kind,
        depth=record.path.count("."),
        is_leaf=leaf,
        input_size=record.input_size,
        output_size=record.output_size,
        num_params=record.num_params,
        trainable=record.trainable,
        mult_adds=record.mult_adds,
        memory=record.memory,
        receptive_field=str(field) if field is not None else "none",
        jump=" x ".join(str(value) for value in field.jump) if field is not None else "",
        params_share=_share(record.num_params, totals["num_params"]),
        mult_adds_share=_share(record.mult_adds, totals["mult_adds"]),
        memory_share=_share(record.memory, totals["memory"]) if leaf else 0.0,
        before={},
    )
    was = old.get((record.path, record.call))
    if was is None:
        return row
    changed = {name: getattr(was, name) for name in COMPARED if getattr(was, name) != getattr(row, name)}
    return Row(**{f.name: getattr(row, f.name) for f in fields(row) if f.name != "before"}, before=changed)


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
