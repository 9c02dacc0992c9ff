"""From a pixel to the unit that looks at it."""

from collections.abc import Iterable, Sequence

from convlab.models.trace import Record


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
