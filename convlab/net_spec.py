"""A convolutional network as a frozen value, free of torch: its blocks, its head, and the pictures that it takes.

A `NetSpec` checks itself when it is made, each number on its own and all of them together: a picture that is pooled
away, or a kernel that is larger than what is left of it, is refused with a sentence that says where and what would
work. `convlab.models.build` makes the network and its source code from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from convlab.geometry import keras_same_padding, same_padding
from convlab.limits import Limits, SpecError, check_choice, check_names, short

Size = tuple[int, int]
Padding = int | str

KINDS: Final = ("conv", "residual", "inception", "separable")
PADDINGS: Final = ("same", "valid", "keras_same")
NORMS: Final = ("none", "batch", "group", "layer", "instance")
ACTIVATIONS: Final = ("relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "none")
POOLS: Final = ("max", "avg", "none")
HEADS: Final = ("flatten", "avg", "pixels")
INITS: Final = (
    *("default", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "orthogonal"),
    "zeros",
)
FORMS: Final = ("chain", "unet")
CHOICES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "Block": {"kind": KINDS, "norm": NORMS, "activation": ACTIVATIONS, "pool": POOLS},
    "Head": {"kind": HEADS, "activation": ACTIVATIONS},
    "NetSpec": {"form": FORMS, "init": INITS},
}
"""The words that an argument may be, in the order of a menu."""

_DROPOUT: Final = Limits(0, 0.99, 0.5)
_WIDTH: Final = Limits(1, 2**16, 64, whole=True)
_CHANNELS: Final = Limits(1, 4096, 3, whole=True)
_SIDE: Final = Limits(1, 4096, 32, whole=True)
_PADDING: Final = Limits(0, 63, 1, whole=True)
NET_LIMITS: Final[Mapping[str, Mapping[str, Limits]]] = {
    "Block": {
        "out_channels": Limits(1, 4096, 32, whole=True),
        "repeat": Limits(1, 32, 2, whole=True),
        "kernel_size": Limits(1, 63, 3, whole=True),
        "stride": Limits(1, 16, 1, whole=True),
        "pool_size": Limits(2, 16, 2, whole=True),
        "dropout": _DROPOUT,
    },
    "Head": {"dropout": _DROPOUT},
    "NetSpec": {"num_classes": Limits(1, 2**16, 10, whole=True)},
}
"""The numbers that an argument may be."""
MOST_BLOCKS: Final = 64


def _checked_padding(value: object) -> Padding:
    if isinstance(value, str):
        check_choice("padding", value, PADDINGS)
        return value
    try:
        return int(_PADDING.checked("padding", value) or 0)
    except SpecError:
        raise SpecError(
            f"padding must be a whole number from 0 to {_PADDING.high:g} or one of {', '.join(PADDINGS)}, "
            f"got {short(value)}; try padding='same'."
        ) from None


def _numbers(
    name: str, value: object, limits: list[Limits], example: str, *, exact: bool = True
) -> tuple[float | None, ...]:
    """`value` as a tuple, each number within its limits; as many as limits, or at most as many."""
    try:
        given: tuple[Any, ...] = tuple(value)  # type: ignore[arg-type]  # what is no list raises
    except TypeError:
        given = (None,) * (len(limits) + 1)
    if len(given) > len(limits) or (exact and len(given) < len(limits)) or isinstance(value, str | Mapping):
        many = f"{len(limits)}" if exact else f"at most {len(limits)}"
        raise SpecError(f"{name} must be {many} whole numbers, got {short(value)}; try {name}={example}.")
    return tuple(limit.checked(f"{name}[{i}]", one) for i, (limit, one) in enumerate(zip(limits, given, strict=False)))


def _checked_blocks(value: object) -> tuple[Block, ...]:
    given = tuple(value) if isinstance(value, list | tuple) else (None,)
    if len(given) > MOST_BLOCKS:
        raise SpecError(f"blocks must be at most {MOST_BLOCKS}, got {len(given)}; try blocks=Block.ladder(16, 32).")
    made = []
    for number, one in enumerate(given, 1):
        try:
            made.append(Block.from_dict(one) if isinstance(one, Mapping) else one)
        except SpecError as error:
            raise SpecError(f"block {number}: {error}") from None
        if not isinstance(made[-1], Block):
            raise SpecError(f"blocks must be a list of Block, got {short(value)}; try blocks=Block.ladder(16, 32).")
    return tuple(made)


def _plain(value: Any) -> Any:
    if isinstance(value, _Recipe):
        return value.to_dict()
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _by(size: Size | list[int]) -> str:
    return "x".join(map(str, size))


@dataclass(frozen=True, repr=False)
class _Recipe:
    """What `Block`, `Head` and `NetSpec` share: checks, copies with changes, plain dicts, a repr of what was chosen."""

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name, words in CHOICES[kind].items():
            check_choice(name, getattr(self, name), words)
        for name, limits in NET_LIMITS[kind].items():
            object.__setattr__(self, name, limits.checked(name, getattr(self, name)))

    if not TYPE_CHECKING:  # a type checker reads the fields themselves

        def __new__(cls, *_: object, **values: object) -> Self:
            check_names(cls, values)
            return super().__new__(cls)

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`; an unknown name is an error that suggests the nearest known one."""
        check_names(type(self), changes)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads: plain dicts, lists, text and numbers."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote; missing keys take their defaults, unknown ones are errors."""
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise SpecError(f"a {cls.__name__} must be an object such as {cls._EXAMPLE}, got {short(values)}.")
        check_names(cls, values)
        required = [field.name for field in fields(cls) if field.default is MISSING]
        for name in required:
            if name not in values:
                raise SpecError(f"{cls.__name__} needs {name}; try {cls._EXAMPLE}.")
        return cls(**values)

    _EXAMPLE: ClassVar[str] = "{}"

    def __repr__(self) -> str:
        given = [(field, getattr(self, field.name)) for field in fields(self)]
        shown = [
            f"{value!r}" if field.default is MISSING else f"{field.name}={value!r}"
            for field, value in given
            if value != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Block(_Recipe):
    """Convolutions, each with its normalisation and activation, then pooling and dropout.

    Args:
        out_channels: filters, and so the channels that come out.
        kind: what stands between input and pooling, `repeat` times:

            - ``"conv"``: a convolution.
            - ``"residual"``: two convolutions whose output is added to their input (He et al. 2015).
            - ``"inception"``: 1x1, k x k and (k+2) x (k+2) convolutions and a pooling side by side, their outputs
              stacked: 1/4, 1/2, 1/8 and 1/8 of `out_channels`, as in GoogLeNet's first (Szegedy et al. 2014).
            - ``"separable"``: a convolution for each channel alone, then a 1x1 across channels (Howard et al. 2017).
        repeat: how many of them follow each other.
        kernel_size: side of the kernel, in pixels.
        stride: of the first of them; the others move by one pixel.
        padding: pixels on each side; ``"valid"`` is none; ``"same"`` is torch's, for stride 1 only; ``"keras_same"`` is
            Keras' and TensorFlow's, which depends on the picture's size and puts the odd pixel at the bottom and right.
        norm: ``"batch"``, ``"group"`` (8 groups, or what divides the channels), ``"layer"`` (one group),
            ``"instance"`` or ``"none"``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"prelu"``, ``"elu"``, ``"selu"``, ``"gelu"``, ``"silu"``,
            ``"sigmoid"``, ``"tanh"`` or ``"none"``; torch's own settings.
        pool: ``"max"``, ``"avg"`` or ``"none"``.
        pool_size: side of the pooling's window and its stride.
        dropout: probability that a value is set to 0 in training; 0 puts no layer there.
        bias: whether convolutions add a number to each channel.

    Raises:
        SpecError: a value is impossible; the message names it and one that would work.

    Example:
        >>> Block(32, kernel_size=5, dropout=0.2)
        Block(32, kernel_size=5, dropout=0.2)
    """

    out_channels: int
    _: KW_ONLY
    kind: str = "conv"
    repeat: int = 1
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "same"
    norm: str = "none"
    activation: str = "relu"
    pool: str = "max"
    pool_size: int = 2
    dropout: float = 0.0
    bias: bool = True

    _EXAMPLE: ClassVar[str] = '{"out_channels": 32}'

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "padding", _checked_padding(self.padding))
        if not isinstance(self.bias, bool):
            raise SpecError(f"bias must be True or False, got {self.bias!r}; try bias=True.")
        if self.kind == "inception":
            self._check_inception()
        elif self.padding == "same" and self.stride > 1:
            raise SpecError(
                f"padding='same' is for stride 1 only in torch, got stride={self.stride}; try padding='keras_same' "
                f"or padding={self.kernel_size // 2}."
            )

    def _check_inception(self) -> None:
        if self.stride > 1:
            raise SpecError(f"an inception block does not stride, got stride={self.stride}; try stride=1, and a pool.")
        if self.padding not in ("same", "keras_same"):
            raise SpecError(
                f"an inception block stacks branches of one size, got padding={self.padding!r}; try padding='same'."
            )
        if self.out_channels % 8:
            near = max(8, round(self.out_channels / 8) * 8)
            raise SpecError(
                "out_channels of an inception block must be a multiple of 8, as its branches share them, "
                f"got {self.out_channels}; try out_channels={near}."
            )

    @classmethod
    def ladder(cls, *out_channels: int, **settings: Any) -> tuple[Block, ...]:
        """A block for each number of filters, alike in everything else.

        Example:
            >>> Block.ladder(16, 32, 64, kernel_size=5)[2]
            Block(64, kernel_size=5)
        """
        return tuple(cls(filters, **settings) for filters in out_channels)


@dataclass(frozen=True, repr=False)
class Head(_Recipe):
    """What makes classes of the last block's feature maps.

    Args:
        kind: ``"flatten"``: every position has weights of its own; ``"avg"``: the average of each feature map;
            ``"pixels"``: a class for every pixel of the feature map, by a 1x1 convolution.
        hidden: units of the `nn.Linear` layers before the last; ``(120, 84)`` for two.
        activation: after each hidden layer; the words are those of `Block`.
        dropout: probability after each hidden layer, or before the last layer where there is none.
    """

    kind: str = "flatten"
    _: KW_ONLY
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", _numbers("hidden", self.hidden, [_WIDTH] * 16, "(64,)", exact=False))
        if self.kind == "pixels" and self.hidden:
            raise SpecError(f"a head of kind 'pixels' has no hidden layers, got hidden={self.hidden}; try hidden=().")


@dataclass(frozen=True, repr=False)
class NetSpec(_Recipe):
    """A network: pictures in, blocks, head, classes out.

    Args:
        input_size: channels, height and width of a picture, as in torch: 1 channel is grey, 3 are colour.
        num_classes: how many numbers come out (for each pixel, with a head of kind ``"pixels"``).
        blocks: in order; `Block.ladder` makes several.
        head: what follows the blocks.
        form: ``"chain"``: one block after the other. ``"unet"``: the blocks are the way down, the last of them the
            bottom; a mirror image leads up again, joined to its counterpart at each level (Ronneberger et al. 2015).
        init: how weights are drawn. ``"default"`` is torch's own, ``kaiming_uniform_`` with a=sqrt(5); the others are
            the functions of `torch.nn.init`, ``"kaiming_..."`` with the gain of the activation that follows
            (``"xavier_uniform"`` is Keras' default), and biases of 0.
            Transposed convolutions keep torch's default.

    Raises:
        SpecError: a value is impossible, or the values do not go together; the message says what would work.

    Example:
        >>> spec = NetSpec(input_size=(3, 32, 32), blocks=Block.ladder(16, 32, 64))
        >>> spec.replace(num_classes=5).everywhere(activation="elu").blocks[0]
        Block(16, activation='elu')
        >>> NetSpec(input_size=(1, 8, 8), blocks=Block.ladder(8, 16, 32, 64))
        Traceback (most recent call last):
        ...
        convlab.limits.SpecError: block 4 has an input of 1x1 and pools 2x2; use at most 3 blocks, or pool='none' there.
    """

    input_size: tuple[int, int, int] = (1, 28, 28)
    _: KW_ONLY
    num_classes: int = 10
    blocks: tuple[Block, ...] = (Block(16), Block(32))
    head: Head = Head()
    form: str = "chain"
    init: str = "default"

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = [_CHANNELS, _SIDE, _SIDE]
        object.__setattr__(self, "input_size", _numbers("input_size", self.input_size, limits, "(1, 28, 28)"))
        object.__setattr__(self, "blocks", _checked_blocks(self.blocks))
        if isinstance(self.head, Mapping):
            object.__setattr__(self, "head", Head.from_dict(self.head))
        if not isinstance(self.head, Head):
            raise SpecError(f"head must be a Head, got {short(self.head)}; try head=Head('avg').")
        for _ in block_sizes(self):
            pass

    def everywhere(self, **changes: object) -> Self:
        """A copy with `changes` in every block, and the activation in the head too.

        Example:
            >>> NetSpec().everywhere(activation="tanh", norm="batch").head
            Head(activation='tanh')
        """
        shared = {name: value for name, value in changes.items() if name == "activation"}
        blocks = tuple(block.replace(**changes) for block in self.blocks)
        return self.replace(blocks=blocks, head=self.head.replace(**shared))

    def with_block(self, number: int, **changes: object) -> Self:
        """A copy with `changes` in one block; the first is 1, as in the names of the layers."""
        if number not in range(1, len(self.blocks) + 1):
            raise SpecError(f"number must be from 1 to {len(self.blocks)}, the blocks, got {number!r}; try number=1.")
        blocks = list(self.blocks)
        blocks[number - 1] = blocks[number - 1].replace(**changes)
        return self.replace(blocks=tuple(blocks))

    def to_json(self) -> str:
        """The network as a JSON object."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The network that `to_json` wrote; missing keys take their defaults, unknown ones are errors."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise SpecError(
                f'a NetSpec in JSON must be an object such as {{"blocks": []}}, got {text[:40]!r}.'
            ) from None
        return cls.from_dict(values)

    _EXAMPLE: ClassVar[str] = '{"input_size": [1, 28, 28]}'


# -- sizes ------------------------------------------------------------------------------------------------------------


def conv_pads(padding: Padding, kernel_size: int, stride: int, size: Size) -> tuple[Size, Size]:
    """Pixels that a convolution adds to a picture of `size`: (top, bottom) and (left, right)."""
    if padding == "keras_same":
        rows, columns = (keras_same_padding(side, kernel_size, stride) for side in size)
        return rows, columns
    pads = same_padding(kernel_size) if padding == "same" else (0, 0) if padding == "valid" else (int(padding),) * 2
    return pads, pads


def conv_size(padding: Padding, kernel_size: int, stride: int, size: Size) -> Size:
    """The size of a convolution's output, by torch's formula; `SpecError` where the kernel does not fit."""
    pads = conv_pads(padding, kernel_size, stride, size)
    padded = [side + sum(pad) for side, pad in zip(size, pads, strict=True)]
    if min(padded) < kernel_size:
        raise SpecError(
            f"has an input of {_by(size)}{f' (padded: {_by(padded)})' if padded != list(size) else ''}, which does not "
            f"hold kernel_size={kernel_size}; try kernel_size={min(padded)} or padding='keras_same'."
        )
    height, width = ((side - kernel_size) // stride + 1 for side in padded)
    return height, width


def unit_size(block: Block, size: Size, stride: int) -> Size:
    """The size of what comes out of one of the `repeat` units of a block; `SpecError` where it does not fit."""
    if block.kind == "inception":
        return size
    after = conv_size(block.padding, block.kernel_size, stride, size)
    if block.kind == "residual":
        after = conv_size(block.padding, block.kernel_size, 1, after)
        beside = (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1
        if after != beside:
            works = "'same'" if stride == 1 else "'keras_same'"
            raise SpecError(
                f"is residual and adds its input of {_by(beside)} to an output of {_by(after)}, with "
                f"padding={block.padding!r} around kernel_size={block.kernel_size}; try padding={works}."
            )
    return after


def pooled(block: Block, size: Size) -> Size:
    """The size after a block's pooling, which leaves out the rows and columns at the end that fill no window."""
    return size if block.pool == "none" else (size[0] // block.pool_size, size[1] // block.pool_size)


def block_sizes(spec: NetSpec) -> Iterator[Size]:
    """Height and width after each block of a chain, or of a U-Net's way down; `SpecError` where something is amiss."""
    size: Size = spec.input_size[1:]
    for number, block in enumerate(spec.blocks, 1):
        try:
            before = size
            for unit in range(block.repeat):
                size = unit_size(block, size, 1 if unit else block.stride)
                _check_instance_norm(block, size)
            if spec.form == "unet":
                _check_unet(block, before, size, is_bottom=number == len(spec.blocks))
        except SpecError as error:
            raise SpecError(f"block {number} {error}") from None
        if block.pool != "none" and min(size) < block.pool_size:
            fewer = f"use at most {number - 1} block{'s' * (number > 2)}, or " if number > 1 else "try "
            raise SpecError(
                f"block {number} has an input of {_by(size)} and pools {_by([block.pool_size] * 2)}; "
                f"{fewer}pool='none' there."
            )
        size = pooled(block, size)
        yield size
    if spec.form == "unet" and len(spec.blocks) < 2:
        raise SpecError(
            f"a U-Net needs at least 2 blocks, one to go down and a bottom, got {len(spec.blocks)}; "
            "try blocks=(Block(16), Block(32, pool='none'))."
        )


def _check_instance_norm(block: Block, size: Size) -> None:
    if block.norm == "instance" and size == (1, 1):
        raise SpecError("has maps of 1x1, whose only value norm='instance' would subtract; try norm='group' there.")


def _check_unet(block: Block, before: Size, after: Size, *, is_bottom: bool) -> None:
    if before != after:
        raise SpecError(
            f"of a U-Net must keep its size, which goes from {_by(before)} to {_by(after)}; "
            "try stride=1 and padding='same'."
        )
    if is_bottom != (block.pool == "none"):
        where = "is a U-Net's bottom and" if is_bottom else "is on a U-Net's way down and"
        must, works = ("must not pool", "none") if is_bottom else ("must pool", "max")
        raise SpecError(f"{where} {must}, got pool={block.pool!r}; try pool={works!r}.")
