"""Lists of indices as short Python expressions: which old channel each new one was."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

_SHORT: Final = 3
_LONG: Final = 60


def indices(values: Sequence[Any]) -> str:
    """An expression that gives the list; rows of a table may be lists themselves.

    Example:
        >>> indices([0, 1, 2, 3, -1, -1, -1, -1])
        '[*range(4), *[-1] * 4]'
        >>> indices([8 * c + p for c in range(16) for p in (0, 1, 3, 4)])
        '[8 * i + j for i in range(16) for j in [0, 1, 3, 4]]'
    """
    values = list(values)
    if values and isinstance(values[0], list):
        return _table(values)
    whole = _runs(values)
    if len(whole) <= _LONG:
        return whole
    return min((whole, *_repeating(values)), key=len)


def _runs(values: list[int]) -> str:
    """Numbers in a row as a range, the same one again and again as a product."""
    parts: list[str] = []
    start = 0
    while start < len(values):
        length = 1
        step = values[start + 1] - values[start] if start + 1 < len(values) else None
        while (
            step in (0, 1) and start + length < len(values) and values[start + length] == values[start] + step * length
        ):
            length += 1
        first, last = values[start], values[start] + length
        if length < _SHORT:
            parts.append(str(first))
            length = 1
        elif step == 0:
            parts.append(f"*[{first}] * {length}")
        else:
            parts.append(f"*range({f'{first}, ' if first else ''}{last})")
        start += length
    if len(parts) == 1 and parts[0].startswith("*"):
        return parts[0][1:]
    return f"[{', '.join(parts)}]"


def _repeating(values: list[int]) -> list[str]:
    """The same pattern again and again, each time so much further on, and at the end what is new."""
    known = max((i for i, value in enumerate(values) if value >= 0), default=-1) + 1
    found = []
    for size in range(1, len(values) // 2 + 1):
        times = -(-known // size)
        if times < 2 or times * size > len(values):
            continue
        table = np.array(values[: times * size]).reshape(times, size)
        kept = table[0] >= 0
        if not kept.any() or not ((table >= 0) == kept).all():
            continue
        step = int(table[1][kept][0] - table[0][kept][0])
        if step <= 0 or not (table[:, kept] == table[0][kept] + step * np.arange(times)[:, None]).all():
            continue
        pattern = _runs(table[0].tolist())
        term = f"{step} * i + j" if kept.all() else f"{step} * i + j if j >= 0 else -1"
        rest = len(values) - times * size
        listed = f"[{term} for i in range({times}) for j in {pattern}]"
        found.append(f"[*{listed}, *[-1] * {rest}]" if rest else listed)
    return found


def _table(rows: list[list[int]]) -> str:
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(rows), 1) if a != b), len(rows)]
    parts = []
    for start, stop in pairwise(starts):
        row = _runs(rows[start])
        row = row if row.startswith("[") and "*" not in row.partition("]")[2] else f"[*{row}]"
        parts.append(f"*[{row}] * {stop - start}" if stop - start > 1 else row)
    return f"[{', '.join(parts)}]"
