"""The units of a layer on a picture: which layers have them, which unit looks at a pixel, where a unit looks."""

from collections.abc import Iterable, Sequence

from convlab.models.trace import Record, Trace


def unit_at(record: Record, pixel: Sequence[int], picture: Sequence[int]) -> tuple[int, ...]:
    """The unit of `record` whose field is centred nearest to `pixel` (row, column) of a picture of so many pixels.

    By `start` and `jump` where the units lie at a constant distance; else, and between the phases of an upsampling, by
    looking at the boxes.

    Raises:
        ValueError: the record's output has no unit for each axis of the picture.

    Example:
        >>> from torch import nn
        >>> from convlab.models.trace import trace
        >>> unit_at(trace(nn.Conv2d(1, 1, 3, stride=2), (1, 1, 9, 9)).output, (8, 0), (9, 9))
        (3, 0)
    """
    field = record.receptive_field
    dims = record.spatial_dims
    if field is None or not len(dims) == len(pixel) == len(picture):
        raise ValueError(
            f"{record.path or 'the output'} has size {record.output_size}: no units along the picture's axes; "
            "try a convolution or a pooling."
        )
    counts = [record.output_size[dim] for dim in dims]
    unit = [at * count // max(size, 1) for at, count, size in zip(pixel, counts, picture, strict=True)]
    for axis, (at, count) in enumerate(zip(pixel, counts, strict=True)):
        jump, start, phases = field.jump[axis], field.start[axis], field.phases[axis]
        if not jump or start is None:
            unit[axis] = _nearest(record, unit, axis, at, range(count))
            continue
        unit[axis] = min(max(round((at + 0.5 - start) / float(jump)), 0), count - 1)
        if phases > 1:
            around = range(max(unit[axis] - phases, 0), min(unit[axis] + phases + 1, count))
            unit[axis] = _nearest(record, unit, axis, at, around)
    return tuple(unit)


def _nearest(record: Record, unit: list[int], axis: int, at: int, candidates: Iterable[int]) -> int:
    """The candidate along one axis whose box has its centre nearest to pixel `at`; of equals the middle one."""

    def distance(candidate: int) -> float:
        box = record.field((*unit[:axis], candidate, *unit[axis + 1 :]))
        return float("inf") if box.is_empty else abs((box.first[axis] + box.last[axis]) / 2 - at)

    distances = {candidate: distance(candidate) for candidate in candidates}
    equals = [candidate for candidate, found in distances.items() if found == min(distances.values())]
    return equals[len(equals) // 2]


def units_of(record: Record) -> tuple[int, ...]:
    """How many units there are along each of their axes.

    Example:
        >>> from torch import nn
        >>> from convlab.models.trace import trace
        >>> units_of(trace(nn.Conv2d(1, 4, 3), (1, 1, 9, 8)).output)
        (7, 6)
    """
    return tuple(record.output_size[dim] for dim in record.spatial_dims)


def centre_of(record: Record, unit: Sequence[int]) -> tuple[float, ...]:
    """Where a unit's field is centred, as a pixel's index; between two pixels for an even size.

    Borders aside where the units lie at a constant distance, else the middle of the unit's box.

    Example:
        >>> from torch import nn
        >>> from convlab.models.trace import trace
        >>> centre_of(trace(nn.Conv2d(1, 4, 2), (1, 1, 9, 9)).output, (0, 4))
        (0.5, 4.5)
    """
    field, box = record.receptive_field, record.field(tuple(unit))
    centre = []
    for axis, at in enumerate(unit):
        jump = field.jump[axis] if field is not None else None
        start = field.start[axis] if field is not None else None
        if field is None or jump is None or start is None or field.phases[axis] > 1:
            centre.append(0.0 if box.is_empty else (box.first[axis] + box.last[axis]) / 2)
        else:
            centre.append(start + at * float(jump) - 0.5)
    return tuple(centre)


def local_box(record: Record, unit: Sequence[int], picture: Sequence[int]) -> list[int]:
    """First and last pixel along each axis that a unit of a *global* field sees by its local path, borders considered.

    Empty where the field is not global, or the local path lies at no constant distance.
    """
    field = record.receptive_field
    if field is None or "global" not in field.reach:
        return []
    spans: list[int] = []
    for axis, (at, size) in enumerate(zip(unit, picture, strict=True)):
        jump, start = field.jump[axis], field.start[axis]
        if jump is None or start is None:
            return []
        first = round(start + at * float(jump) - field.size[axis] / 2)
        spans += [max(first, 0), min(first + field.size[axis], size) - 1]
    return spans


def layers_with_units(trace: Trace) -> dict[str, Record]:
    """The modules whose output is a map of units, (N, C, H, W), in the order in which they are done; their last calls.

    A container is among them only where a function ends it, as the addition of a residual block does: else its output
    is that of its last layer.

    Example:
        >>> from torch import nn
        >>> from convlab.models.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        >>> list(layers_with_units(trace(net, (1, 1, 9, 9))))
        ['0', '1']
    """
    modules = dict(trace.model.named_modules())
    ends: dict[str, int] = {}
    for index, record in enumerate(trace.records):
        parts = record.path.split(".")
        ends.update({".".join(parts[:count]): index for count in range(1, len(parts))})
    containers = {record.path: record for record in trace.containers if record.path in ends}
    found: dict[str, Record] = {}
    for index, record in enumerate(trace.records):
        done = record if record.path in modules else _innermost(containers, ends, index)
        if done is not None:
            found.pop(done.path, None)
            found[done.path] = done
    return {path: record for path, record in found.items() if _has_map(record)}


def _innermost(containers: dict[str, Record], ends: dict[str, int], index: int) -> Record | None:
    ended = [path for path, end in ends.items() if end == index and path in containers]
    return containers[max(ended, key=len)] if ended else None


def _has_map(record: Record) -> bool:
    is_map = len(record.output_size) == 4 and len(record.spatial_dims) == 2
    return is_map and record.receptive_field is not None
