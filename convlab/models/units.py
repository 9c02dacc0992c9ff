"""From a pixel to the unit that looks at it."""

from collections.abc import Sequence

from convlab.models.trace import Record


def unit_at(record: Record, pixel: Sequence[int], picture: Sequence[int]) -> tuple[int, ...]:
    """The unit of `record` whose field is centred nearest to `pixel` (row, column) of a picture of so many pixels.

    By `start` and `jump` where the units lie at a constant distance, else in proportion to the picture.

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
    unit = []
    for axis, (dim, at) in enumerate(zip(dims, pixel, strict=True)):
        count = record.output_size[dim]
        jump, start = field.jump[axis], field.start[axis]
        if jump and start is not None:
            nearest = round((at + 0.5 - start) / float(jump))
        else:
            nearest = at * count // max(picture[axis], 1)
        unit.append(min(max(nearest, 0), count - 1))
    return tuple(unit)
