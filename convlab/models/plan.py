"""From a `NetSpec` to one tree of calls, free of torch: `build` makes the network of it, and `code` its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import gcd
from typing import Any, Final, NamedTuple, Self

from convlab.limits import SpecError
from convlab.net_spec import Block, NetSpec, Padding, Size, block_sizes, conv_pads, pooled, unit_size

_ACTIVATIONS: Final = {
    "relu": "nn.ReLU",
    "leaky_relu": "nn.LeakyReLU",
    "prelu": "nn.PReLU",
    "elu": "nn.ELU",
    "selu": "nn.SELU",
    "gelu": "nn.GELU",
    "silu": "nn.SiLU",
    "sigmoid": "nn.Sigmoid",
    "tanh": "nn.Tanh",
}
_MOST_GROUPS: Final = 8


@dataclass(frozen=True)
class Call:
    """A call as it stands in the source: ``nn.Conv2d(1, 16, kernel_size=3)``; arguments may be calls themselves."""

    function: str
    args: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


class Weighted(NamedTuple):
    """What the drawing of a layer's weights depends on: the activation that follows, and whether it has a bias."""

    activation: str
    bias: bool = True


@dataclass(frozen=True)
class Plan:
    """The call that makes a network, and its convolutions and linear layers by path."""

    network: Call
    weights: Mapping[str, Weighted]


def plan(spec: NetSpec) -> Plan:
    """The calls that make the network of a spec.

    Example:
        >>> list(plan(NetSpec()).weights)
        ['conv1', 'conv2', 'fc1']
    """
    planner = _Planner(spec)
    layers = planner.body() | planner.head()
    return Plan(_sequential(layers), planner.weights)


MOST_PARAMS: Final = 2**27
"""Of a network that somebody else sends: half a gigabyte of weights, three times that in training."""

MOST_UNITS: Final = 512
MOST_VALUES: Final = 2**26
"""In the feature maps of one picture, all together."""


def num_params(spec: NetSpec) -> int:
    """How many weights the network of a spec has, without making any.

    Example:
        >>> num_params(NetSpec(input_size=(1, 8, 8), blocks=(), num_classes=10))
        650
    """
    return _num_params(plan(spec).network)


def check_size(spec: NetSpec) -> None:
    """`SpecError` where the network would take more memory than a stranger's may."""
    units = sum(block.repeat for block in spec.blocks)
    if units > MOST_UNITS:
        raise SpecError(f"net must repeat its blocks at most {MOST_UNITS} times in all, got {units:,}; try repeat=1.")
    params = num_params(spec)
    if params > MOST_PARAMS:
        raise SpecError(
            f"net must have at most {MOST_PARAMS:,} parameters, got {params:,}; try fewer filters or head=Head('avg')."
        )
    # Before its pooling a map is larger; paddings may even let it grow within a block.
    values = sum(
        block.repeat * block.out_channels * (height + 1) * (width + 1) * (block.pool_size**2) ** (block.pool != "none")
        for block, (height, width) in zip(spec.blocks, block_sizes(spec), strict=True)
    )
    if values > MOST_VALUES:
        raise SpecError(
            f"net must have at most {MOST_VALUES:,} values in its feature maps, got some {values:,}; "
            "try fewer filters, more pooling or padding='same'."
        )


def _num_params(call: Call) -> int:
    inner = [one for one in (*call.args, *call.keywords.values()) if isinstance(one, Call)]
    if inner:
        return sum(map(_num_params, inner))
    numbers: list[int] = [one for one in call.args if isinstance(one, int)] or [0]
    takes, gives = numbers[0], numbers[-1]
    taps: int
    groups: int
    bias: int
    taps, groups, bias = (call.keywords.get(name, 1) for name in ("kernel_size", "groups", "bias"))
    own = {
        "nn.Conv2d": takes // groups * gives * taps**2 + bias * gives,
        "nn.ConvTranspose2d": takes * gives * taps**2 + gives,
        "nn.Linear": takes * gives + gives,
        "nn.BatchNorm2d": 2 * gives,
        "nn.GroupNorm": 2 * gives,
        "nn.PReLU": 1,
    }
    return own.get(call.function, 0)


Layers = dict[str, Call]


class _Conv(NamedTuple):
    """A convolution with what follows it; a `Block` has the same fields, within limits that do not bind its parts."""

    out_channels: int
    kernel_size: int
    stride: int
    padding: Padding
    norm: str
    activation: str
    bias: bool

    @classmethod
    def of(cls, block: Block) -> Self:
        return cls(*(getattr(block, name) for name in cls._fields))


def _call(function: str, *args: Any, **keywords: Any) -> Call:
    return Call(function, args, keywords)


def _sequential(layers: Layers) -> Call:
    return _call("nn.Sequential", Call("OrderedDict", keywords=layers))


class _Planner:
    """Walks through a spec; `channels` and `size` are those of the layer where it stands."""

    def __init__(self, spec: NetSpec) -> None:
        self.spec = spec
        self.channels, height, width = spec.input_size
        self.size: Size = (height, width)
        self.convs = self.branchings = 0
        self.weights: dict[str, Weighted] = {}
        self._path = ""

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        outer, self._path = self._path, f"{self._path}{name}."
        yield
        self._path = outer

    # -- the blocks ---------------------------------------------------------------------------------------------------

    def body(self) -> Layers:
        """All blocks."""
        if self.spec.form == "unet":
            return self._level(1)
        layers: Layers = {}
        for number, block in enumerate(self.spec.blocks, 1):
            layers |= self._units(block)
            layers |= self._end(number, block)
        return layers

    def _level(self, number: int) -> Layers:
        """A U-Net from this level down and up again to it."""
        block = self.spec.blocks[number - 1]
        layers = self._units(block)
        if number == len(self.spec.blocks):
            return layers | self._end(number, block)
        channels, size = self.channels, self.size
        with self._inside(f"skip{number}"), self._inside("below"):
            below = self._end(number, block) | self._level(number + 1)
            below[f"up{number}"] = self._up(block, channels, size)
        layers[f"skip{number}"] = _call("Concat", across=_call("nn.Identity"), below=_sequential(below))
        self.channels, self.size = 2 * channels, size
        return layers | self._units(block)

    def _up(self, block: Block, channels: int, size: Size) -> Call:
        """Twice the size; a row or column that the pooling left out comes back too."""
        left_out = tuple(side % block.pool_size for side in size)
        more = {"output_padding": left_out} if any(left_out) else {}
        sides = {"kernel_size": block.pool_size, "stride": block.pool_size}
        return _call("nn.ConvTranspose2d", self.channels, channels, **sides, **more)

    def _units(self, block: Block) -> Layers:
        units = {"conv": self._conv, "residual": self._residual, "inception": self._inception}
        unit = units.get(block.kind, self._separable)
        layers: Layers = {}
        for repetition in range(block.repeat):
            stride = 1 if repetition else block.stride
            after = unit_size(block, self.size, stride)
            layers |= unit(_Conv.of(block)._replace(stride=stride))
            self.channels, self.size = block.out_channels, after
        return layers

    def _end(self, number: int, block: Block) -> Layers:
        layers: Layers = {}
        if block.pool != "none":
            kind = {"max": "nn.MaxPool2d", "avg": "nn.AvgPool2d"}[block.pool]
            layers[f"pool{number}"] = _call(kind, block.pool_size)
            self.size = pooled(block, self.size)
        if block.dropout:
            layers[f"dropout{number}"] = _call("nn.Dropout", block.dropout)
        return layers

    # -- one unit of a block ------------------------------------------------------------------------------------------

    def _conv(self, conv: _Conv) -> Layers:
        return self._convolved(conv) | self._activated(conv)

    def _residual(self, conv: _Conv) -> Layers:
        self.branchings += 1
        name, channels = f"residual{self.branchings}", self.channels
        with self._inside(name), self._inside("body"):
            body = self._conv(conv)
            self.channels = conv.out_channels
            # Its padding does not depend on the size, as its stride is 1.
            body |= self._convolved(conv._replace(stride=1))
        self.channels = channels
        with self._inside(name), self._inside("shortcut"):
            shortcut = self._shortcut(conv)
        return {name: _call("Add", body=_sequential(body), shortcut=shortcut)} | self._activated(conv)

    def _shortcut(self, conv: _Conv) -> Call:
        if conv.stride == 1 and conv.out_channels == self.channels:
            return _call("nn.Identity")
        point = conv._replace(kernel_size=1, padding="valid")
        return _sequential(self._convolved(point, numbered=False))

    def _inception(self, conv: _Conv) -> Layers:
        self.branchings += 1
        name, channels, width = f"inception{self.branchings}", self.channels, conv.out_channels
        # Filters and kernels of each branch, which share the width as GoogLeNet's 3a shares its 256.
        branches = [
            [(width // 4, 1)],
            [(3 * width // 8, 1), (width // 2, conv.kernel_size)],
            [(max(1, width // 16), 1), (width // 8, conv.kernel_size + 2)],
            [(width // 8, 1)],
        ]
        made: Layers = {}
        for number, convs in enumerate(branches, 1):
            layers: Layers = {}
            if number == len(branches):
                layers["pool"] = _call("nn.MaxPool2d", 3, stride=1, padding=1)
            self.channels = channels
            with self._inside(name), self._inside(f"branch{number}"):
                for filters, kernel_size in convs:
                    layers |= self._conv(conv._replace(out_channels=filters, kernel_size=kernel_size))
                    self.channels = filters
            made[f"branch{number}"] = _sequential(layers)
        return {name: Call("Concat", keywords=made)}

    def _separable(self, conv: _Conv) -> Layers:
        layers = self._convolved(conv._replace(out_channels=self.channels), "depthwise", groups=self.channels)
        layers |= self._activated(conv)
        pointwise = conv._replace(kernel_size=1, stride=1, padding="valid")
        return layers | self._convolved(pointwise, "pointwise") | self._activated(pointwise)

    # -- layers -------------------------------------------------------------------------------------------------------

    def _convolved(self, conv: _Conv, name: str = "conv", *, groups: int = 1, numbered: bool = True) -> Layers:
        """A convolution with the padding before it, where that needs a layer, and the normalisation after it."""
        self.convs += numbered
        number = str(self.convs) if numbered else ""
        layers: Layers = {}
        keywords: dict[str, Any] = {"kernel_size": conv.kernel_size}
        padding = _padding_argument(conv, self.size)
        if conv.stride > 1:
            keywords["stride"] = conv.stride
        if isinstance(padding, list):
            layers[f"pad{number}"] = _call("nn.ZeroPad2d", tuple(padding))
        elif padding:
            keywords["padding"] = padding
        if groups > 1:
            keywords["groups"] = groups
        if not conv.bias:
            keywords["bias"] = False
        layers[f"{name}{number}"] = _call("nn.Conv2d", self.channels, conv.out_channels, **keywords)
        self.weights[f"{self._path}{name}{number}"] = Weighted(conv.activation, conv.bias)
        return layers | _normalised(conv, number)

    def _activated(self, conv: _Conv) -> Layers:
        if conv.activation == "none":
            return {}
        return {f"{conv.activation}{self.convs}": _call(_ACTIVATIONS[conv.activation])}

    # -- the head -----------------------------------------------------------------------------------------------------

    def head(self) -> Layers:
        """From feature maps to classes."""
        head, num_classes = self.spec.head, self.spec.num_classes
        dropouts = len(self.spec.blocks)
        if head.kind == "pixels":
            layers: Layers = {f"dropout{dropouts + 1}": _call("nn.Dropout", head.dropout)} if head.dropout else {}
            return layers | self._convolved(_Conv(num_classes, 1, 1, "valid", "none", "none", bias=True))
        layers = {"flatten": _call("nn.Flatten")}
        features = self.channels * self.size[0] * self.size[1]
        if head.kind == "avg":
            layers = {"avgpool": _call("nn.AdaptiveAvgPool2d", 1)} | layers
            features = self.channels
        for number, width in enumerate((*head.hidden, num_classes), 1):
            is_last = number > len(head.hidden)
            if head.dropout and (number > 1 or is_last):
                layers[f"dropout{dropouts + max(1, number - 1)}"] = _call("nn.Dropout", head.dropout)
            layers[f"fc{number}"] = _call("nn.Linear", features, width)
            self.weights[f"fc{number}"] = Weighted("none" if is_last else head.activation)
            if not is_last and head.activation != "none":
                layers[f"{head.activation}{self.convs + number}"] = _call(_ACTIVATIONS[head.activation])
            features = width
        return layers


def _padding_argument(conv: _Conv, size: Size) -> Any:
    """What ``padding=`` of the convolution takes; a list for a layer that pads (left, right, top, bottom) before it."""
    if conv.padding == "valid" or (conv.kernel_size == 1 and isinstance(conv.padding, str)):
        return 0
    if conv.padding != "keras_same":
        return conv.padding
    if conv.stride == 1 and conv.kernel_size % 2:
        return "same"
    rows, columns = conv_pads(conv.padding, conv.kernel_size, conv.stride, size)
    if rows[0] != rows[1] or columns[0] != columns[1]:
        return [*columns, *rows]
    return rows[0] if rows == columns else (rows[0], columns[0])


def _normalised(conv: _Conv, number: str) -> Layers:
    channels = conv.out_channels
    made = {
        "batch": ("bn", _call("nn.BatchNorm2d", channels)),
        "group": ("gn", _call("nn.GroupNorm", gcd(_MOST_GROUPS, channels), channels)),
        "layer": ("ln", _call("nn.GroupNorm", 1, channels)),
        "instance": ("inst", _call("nn.InstanceNorm2d", channels)),
    }
    if conv.norm not in made:
        return {}
    name, layer = made[conv.norm]
    return {f"{name}{number}": layer}
