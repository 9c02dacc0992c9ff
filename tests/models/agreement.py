"""Holds a trace against the oracle: every record, every unit, borders included. Returns what disagrees, in words."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from oracle import FAR, Hull, Key, Sweep, Truth


def disagreements(trace: Any, truth: Sweep, *, only_sound: bool = False) -> list[str]:
    """Compare sizes, fields and calls of all modules.

    Where NaN and numbers agree about a unit, the claim must equal them. Where they do not (a weight of exactly 0), it
    must lie between them. ``only_sound`` asks only that no pixel is missing: for networks that decide on values.
    """
    found = list(_calls(trace, truth))
    for key, fact in truth.truths.items():
        record = record_of(trace, key)
        if record is None or tuple(record.output_size) != fact.size:
            continue  # said by _calls
        for (which, axis), upper in fact.nan.items():
            claim = claimed(trace, record, which, axis, fact)
            found += _hulls(f"{key} input {which} axis {axis}", claim, fact.moved[which, axis], upper, only_sound)
    return found


def _calls(trace: Any, truth: Sweep) -> Iterator[str]:
    for key, size in truth.sizes.items():
        record = record_of(trace, key)
        if record is None:
            if not _inside_a_leaf(trace, key[0]):
                yield f"{key}: no record"
        elif tuple(record.output_size) != size:
            yield f"{key}: output_size {tuple(record.output_size)}, a real forward gives {size}"


def _inside_a_leaf(trace: Any, path: str) -> bool:
    """Whether a module is a part of one that the trace shows as a whole (parametrizations of a weight)."""
    parents = path.split(".")
    whole = {record.path for record in trace.records if record.is_leaf}
    return any(".".join(parents[:k]) in whole for k in range(1, len(parents)))


def record_of(trace: Any, key: Key) -> Any:
    """The record of the tensor at ``key`` = (path, call, position among the tensors of the output)."""
    path, call, position = key
    name = f"{path}[{position}]" if position else path
    try:
        return next((r for r in trace.calls(name) if r.call == call), None)
    except KeyError:
        return None


def lines_of(record: Any, name: str, size: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """First and last line that each unit sees, per axis of an input; a unit that sees no line of one axis sees none."""
    lines = [tuple(np.broadcast_to(a, size) for a in pair) for pair in record.fields(name)]
    empty = np.zeros(size, bool)
    for first, last in lines:
        empty |= first > last
    return [(np.where(empty, FAR, first), np.where(empty, -1, last)) for first, last in lines]


def claimed(trace: Any, record: Any, which: int, axis: int, fact: Truth) -> Hull:
    return Hull(*lines_of(record, list(trace.input_sizes)[which], fact.size)[axis - 2])


def _hulls(where: str, claim: Hull, lower: Hull, upper: Hull, only_sound: bool) -> Iterator[str]:
    missed = ~lower.within(claim)
    if not only_sound:
        missed |= upper.same(lower) & ~upper.within(claim)
    too_wide = np.zeros_like(missed) if only_sound else ~claim.within(upper)
    for word, wrong in (("misses pixels", missed), ("claims pixels that do not matter", too_wide)):
        if wrong.any():
            unit = tuple(int(k[0]) for k in np.nonzero(wrong))
            yield (
                f"{where}: {word} at {int(wrong.sum())} of {wrong.size} units, first {unit}: claimed "
                f"{claim.first[unit]}..{claim.last[unit]}, NaN {upper.first[unit]}..{upper.last[unit]}, "
                f"numbers {lower.first[unit]}..{lower.last[unit]}"
            )


def field_is_a_look_up(record: Any, fact: Truth, name: str) -> list[str]:
    """`record.field(unit)` for corner and middle units, in both spellings, against the arrays of all units."""
    wrong = []
    lines = lines_of(record, name, fact.size)
    for unit in itertools.product(*({0, n // 2, n - 1} for n in fact.size)):
        box = record.field(unit, input=name)
        intervals = [(int(first[unit]), int(last[unit])) for first, last in lines]
        if any(a > b for a, b in intervals):
            if not box.is_empty:
                wrong.append(f"field({unit}) = {box}, but the unit sees nothing")
        elif list(box) != intervals:
            wrong.append(f"field({unit}) = {box}, but fields() says {intervals}")
    return wrong


def nominal_is_right(trace: Any, axis: int) -> tuple[list[str], dict[tuple[int, ...], tuple[int, int]]]:
    """Hold size, jump and start of the output against the exact fields of its middle units.

    Returns what is wrong, and for the oracle the (first, last) pixels claimed for the units that were looked at. The
    input must be so long along ``axis`` that the middle units are far from its borders.
    """
    record = trace.output
    field = record.receptive_field
    k = axis - 2
    size, jump, start, phases = field.size[k], field.jump[k], field.start[k], field.phases[k]
    middle = [n // 2 // p * p for n, p in zip(record.output_size[2:], field.phases, strict=True)]
    base = middle[k]
    units = [tuple(base + i if d == k else m for d, m in enumerate(middle)) for i in range(phases + 1)]
    boxes = {unit: list(record.field(unit))[k] for unit in units}
    sizes = [last - first + 1 for first, last in boxes.values()]
    wrong = []
    if max(sizes) != size:
        wrong.append(f"axis {axis}: size {size}, middle units see {sizes}")
    centre = sum(boxes[units[0]]) / 2 + 0.5
    if not math.isclose(centre, start + jump * base):
        wrong.append(f"axis {axis}: unit {base} is centred at {centre}, start {start} and jump {jump} say otherwise")
    shift = [b - a for a, b in zip(boxes[units[0]], boxes[units[-1]], strict=True)]
    if shift != [jump * phases] * 2:
        wrong.append(f"axis {axis}: {phases} units further is {shift} pixels further, jump is {jump}")
    return wrong, boxes


def report(lines: Iterable[str]) -> str:
    return "\n".join(lines)
