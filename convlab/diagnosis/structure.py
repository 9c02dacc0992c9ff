"""Rules that read a network's shapes: what its layers see, what they read, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from convlab.diagnosis.finding import Exhibit, Finding, Remedy, named
from convlab.models.live import Edit
from convlab.models.trace import Record, Trace

_LUO: Final = "Luo et al., Understanding the effective receptive field (2016)"
_CONVS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS: Final = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


@dataclass(frozen=True, eq=False)
class Shape:
    """A network and its trace on one sample of the data."""

    model: nn.Module
    trace: Trace

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width of the input."""
        return tuple(self.trace.input_size[2:])

    def layers(self, *kinds: type[nn.Module]) -> Iterator[tuple[Record, Any]]:
        """The records of layers of these classes, each with its layer, in order of the forward."""
        modules = dict(self.model.named_modules())
        for record in self.trace.records:
            if isinstance(layer := modules.get(record.path), kinds):
                yield record, layer

    def spatial(self) -> list[Record]:
        """Records whose output still has the dimensions of the picture."""
        return [record for record in self.trace.records if len(record.output_size) == len(self.trace.input_size)]


def skips_pixels(seen: Shape) -> Finding | None:
    """A first layer that passes over pixels, or leaves few numbers of a picture."""
    found = next(iter(seen.layers(*_CONVS)), None)
    if found is None or min(seen.sides, default=0) < 8:
        return None
    record, layer = found
    reach = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    skipped = 1.0
    for stride, size in zip(layer.stride, reach, strict=True):
        skipped *= min(1.0, size / stride)
    kept = float(np.prod(record.output_size[1:]) / np.prod(record.input_size[1:]))
    if max(layer.stride) < 3 or not (skipped < 1 or kept < 0.5):
        return None
    said = f"{named(record.path)} has kernel_size={_one(layer.kernel_size)} and stride={_one(layer.stride)}: "
    if skipped < 1:
        said += f"{100 * (1 - skipped):.0f} % of the pixels are never read. "
    said += f"Of {_by(record.input_size[1:])} numbers it leaves {_by(record.output_size[1:])}, {100 * kept:.0f} %."
    why = "What the first layer throws away, no later layer can bring back."
    stride = 1 if max(seen.sides) <= 64 else 2
    remedy = Remedy(f"stride={stride} in {named(record.path)}", edits=(Edit(record.path, {"stride": stride}),))
    values = np.array([float(np.prod(one.output_size[1:])) for one in seen.spatial()])
    names = tuple(one.path for one in seen.spatial())
    level = ("the picture", float(np.prod(record.input_size[1:])))
    picture = Exhibit("What is left of a picture", names, {"numbers": values}, "layer", "numbers", level, True)
    source = "Springenberg et al., Striving for simplicity (2015)"
    return Finding("skips_pixels", said, why, remedy, "likely", source, {"kept": kept}, picture)


def field_too_small(seen: Shape) -> Finding | None:
    """Units that see little of the picture, averaged over all places: no unit can know the whole."""
    found = _before_average(seen)
    field = found.receptive_field if found is not None else None
    if found is None or field is None or not all(isinstance(size, int) for size in field.size):
        return None
    share = min(size / side for size, side in zip(field.size, seen.sides, strict=True))
    if share > 0.4:
        return None
    said = (
        f"A unit of {named(found.path)}, the last before the average over all places, sees {_by(field.size)} of "
        f"{_by(seen.sides)} pixels."
    )
    why = "A pattern that is larger than what a unit sees can be told by its details only."
    edits = _dilated(seen, field.size, found)
    text = "a larger kernel_size, a dilation, or a pooling between the convolutions"
    if edits:
        text = "dilations that grow from layer to layer: " + "; ".join(map(str, edits))
    picture = _fields(seen)
    source = "Yu, Koltun, Multi-scale context aggregation by dilated convolutions (2016)"
    remedy = Remedy(text, edits=edits)
    return Finding("field_too_small", said, why, remedy, "likely", source, {"share": share}, picture)


def field_beyond_input(seen: Shape) -> Finding | None:
    """Units that see many times the picture: most of it is padding."""
    for record, layer in seen.layers(*_CONVS):
        share = padding_share(record, layer)
        if share >= 0.6 and max(layer.dilation) > 1:
            kernel, dilation = layer.kernel_size, layer.dilation
            said = (
                f"{named(record.path)} has kernel_size={_one(kernel)} and dilation={_one(dilation)} on a map of "
                f"{_by(record.input_size[2:])}: {100 * share:.0f} % of what its kernel reads is padding."
            )
            settings: dict[str, Any] = {"dilation": 1}
            if not isinstance(layer.padding, str):
                settings["padding"] = tuple((k - 1) // 2 for k in kernel)
            return _mostly_padding("field_beyond_input", said, record, settings, share, seen)
    fields = [(one, one.receptive_field) for one, _ in seen.layers(*_CONVS) if one.receptive_field]
    if not fields:
        return None
    record, field = fields[-1]
    sizes = field.size if field is not None else ()
    strided = next((one for one in seen.layers(*_CONVS, *_POOLS) if _strides(one[1])), None)
    if strided is None or not all(isinstance(size, int) for size in sizes):
        return None
    ratio = max(size / side for size, side in zip(sizes, seen.sides, strict=True))
    if ratio <= 12:
        return None
    said = f"A unit of {named(record.path)} sees {_by(sizes)} pixels where the picture has {_by(seen.sides)}."
    return _mostly_padding("field_beyond_input", said, strided[0], {"stride": 1}, 1 - 1 / ratio, seen)


def padding_dominates(seen: Shape) -> Finding | None:
    """A convolution on a map so small that most of what it reads is padding."""
    for record, layer in seen.layers(*_CONVS):
        share = padding_share(record, layer)
        if share < 0.6 or max(layer.dilation) > 1:
            continue
        said = (
            f"{named(record.path)} has kernel_size={_one(layer.kernel_size)} on a map of {_by(record.input_size[2:])}: "
            f"{100 * share:.0f} % of what its kernel reads is padding."
        )
        before = [
            (one, other)
            for one, other in seen.layers(*_CONVS, *_POOLS)
            if _strides(other) and _began(seen, one, record)
        ]
        if not before:
            return _mostly_padding("padding_dominates", said, record, {"kernel_size": 1, "padding": 0}, share, seen)
        last, pool = before[-1]
        settings: dict[str, Any] = {"stride": 1}
        if isinstance(pool, _POOLS):
            return _mostly_padding("padding_dominates", said, last, {}, share, seen)
        return _mostly_padding("padding_dominates", said, last, settings, share, seen)
    return None


def one_layer_holds_most(seen: Shape) -> Finding | None:
    """A linear layer behind the flattened maps that holds nearly all parameters."""
    total = seen.trace.total_params
    if total < 100_000 or not any(True for _ in seen.layers(*_CONVS)):
        return None
    records = list(seen.trace.records)
    for record, layer in seen.layers(nn.Linear):
        before = records[: records.index(record)]
        maps = [one for one in before if len(one.output_size) > 2]
        size = maps[-1].output_size if maps else ()
        share = record.num_params / total
        if share < 0.9 or not size or int(np.prod(size[2:])) < 16 or layer.in_features != int(np.prod(size[1:])):
            continue
        said = (
            f"{named(record.path)} holds {record.num_params:,} of {total:,} parameters, {100 * share:.0f} %: it reads "
            f"a map of {_by(size[1:])} laid out flat."
        )
        why = "It learns each place by itself, with little data for each weight, and what it learns is by heart."
        flat = next((one for one in before if one.kind == "Flatten"), None)
        edits: tuple[Edit, ...] = ()
        if flat is not None:
            kind = f"AdaptiveAvgPool{len(size) - 2}d"
            edits = (Edit(flat.path, {"layer": kind, "output_size": 2}, "insert"),)
        text = f"an average over each quarter of the map before it: nn.AdaptiveAvgPool{len(size) - 2}d(2)"
        paths = tuple(one.path for one in records if one.num_params)
        values = np.array([float(one.num_params) for one in records if one.num_params])
        picture = Exhibit("Parameters", paths, {"parameters": values}, "layer", "parameters")
        source = "Lin, Chen, Yan, Network in network (2014)"
        remedy = Remedy(text, edits=edits)
        return Finding("one_layer_holds_most", said, why, remedy, "possible", source, {"share": share}, picture)
    return None


def padding_share(record: Record, layer: Any) -> float:
    """The share of a convolution's taps that lie outside of the map, counted over all its outputs.

    Args:
        record: of the call.
        layer: the convolution; ``padding="same"`` is torch's, the odd one behind.

    Example:
        >>> from convlab.models.trace import trace
        >>> conv = nn.Conv2d(1, 1, 3, padding=1)
        >>> round(padding_share(trace(conv, (1, 1, 1, 1)).records[0], conv), 3)
        0.889
    """
    inside = 1.0
    for axis, kernel in enumerate(layer.kernel_size):
        size, out = record.input_size[2 + axis], record.output_size[2 + axis]
        stride, dilation = layer.stride[axis], layer.dilation[axis]
        left = dilation * (kernel - 1) // 2 if layer.padding == "same" else 0
        before = left if isinstance(layer.padding, str) else layer.padding[axis]
        taps = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - before
        inside *= float(((taps >= 0) & (taps < size)).mean())
    return 1 - inside


def _mostly_padding(
    rule: str, said: str, record: Record, settings: dict[str, Any], share: float, seen: Shape
) -> Finding:
    why = "Its weights beside the centre hardly ever meet a picture, so that it computes little with much."
    if settings:
        told = ", ".join(f"{name}={_one(value)}" for name, value in settings.items())
        remedy = Remedy(f"{told} in {named(record.path)}", edits=(Edit(record.path, settings),))
    else:
        remedy = Remedy(f"the network without {named(record.path)}", edits=(Edit(record.path, {}, "remove"),))
    return Finding(rule, said, why, remedy, "likely", _LUO, {"share": share}, _fields(seen))


def _fields(seen: Shape) -> Exhibit:
    told = [(one.path, one.receptive_field) for one in seen.spatial() if one.num_params or "ool" in one.kind]
    names = tuple(path for path, field in told if field is not None)
    sizes = [float(max((s for s in field.size if isinstance(s, int)), default=0)) for _, field in told if field]
    level = ("the picture", float(max(seen.sides, default=1)))
    return Exhibit("Receptive field", names, {"field": np.array(sizes)}, "layer", "pixels", level)


def _before_average(seen: Shape) -> Record | None:
    """The last map before all places are averaged; None where they are not, or the map has one place only."""
    spatial = seen.spatial()
    for record in seen.trace.records:
        places = int(np.prod(record.input_size[2:])) if len(record.input_size) == len(seen.trace.input_size) else 0
        left = int(np.prod(record.output_size[2:])) if len(record.output_size) > 2 else 1
        if places > 1 and left == 1 and (record.kind == "mean" or "Avg" in record.kind or "avg" in record.kind):
            before = [one for one in spatial if one.output_size == record.input_size and _began(seen, one, record)]
            fields = [one for one in before if one.receptive_field is not None]
            return fields[-1] if fields else None
    return None


def _dilated(seen: Shape, size: tuple[int, ...], last: Record) -> tuple[Edit, ...]:
    """Dilations 2, 4, 8, … of the convolutions behind the first, until a unit sees six tenths of the picture."""
    edits: list[Edit] = []
    grown = list(size)
    wanted = [0.6 * side for side in seen.sides]
    plain = [
        (record, layer)
        for record, layer in seen.layers(*_CONVS)
        if min(layer.kernel_size) > 1 and max(layer.stride) == max(layer.dilation) == 1
    ]
    jump = last.receptive_field.jump if last.receptive_field is not None else ()
    for step, (record, layer) in enumerate(plain[1:] or plain, start=1):
        if all(have >= want for have, want in zip(grown, wanted, strict=True)):
            break
        dilation = 2**step
        settings: dict[str, Any] = {"dilation": dilation}
        if not isinstance(layer.padding, str):
            settings["padding"] = tuple(dilation * (k - 1) // 2 for k in layer.kernel_size)
        if any(dilation * (k - 1) >= n for k, n in zip(layer.kernel_size, record.input_size[2:], strict=True)):
            break
        own = record.receptive_field.jump if record.receptive_field is not None else jump
        for axis, kernel in enumerate(layer.kernel_size):
            grown[axis] += (dilation - 1) * (kernel - 1) * (own[axis] if isinstance(own[axis], int) else 1)
        edits.append(Edit(record.path, settings))
    return tuple(edits)


def _began(seen: Shape, one: Record, other: Record) -> bool:
    records = list(seen.trace.records)
    return records.index(one) < records.index(other)


def _strides(layer: Any) -> bool:
    stride = layer.stride if isinstance(layer.stride, tuple) else (layer.stride or layer.kernel_size,)
    return max(one if isinstance(one, int) else max(one) for one in stride) > 1


def _one(values: Any) -> Any:
    """One number where all are the same."""
    return values[0] if isinstance(values, tuple) and len(set(values)) == 1 else values


def _by(sizes: tuple[Any, ...]) -> str:
    return " x ".join(map(str, sizes))


RULES: Final = (skips_pixels, field_too_small, field_beyond_input, padding_dominates, one_layer_holds_most)
