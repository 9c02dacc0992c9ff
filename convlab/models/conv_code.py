"""Source code of one convolution in the four forms that people meet: text only, nothing is imported or run.

Every form is a complete program that ends in ``y``. The same layer with the same weights gives the same ``y`` in all
four (Keras puts the channels last), also where Keras has no argument for what torch does: the text then holds the steps
that make up for it.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

CodeForm = Literal["nn", "functional", "unfold", "keras"]
CODE_FORMS: Final[tuple[CodeForm, ...]] = get_args(CodeForm)


def conv_code(
    form: CodeForm,
    *,
    dims: int,
    input_size: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int | Literal["same", "valid"] = 0,
    dilation: int = 1,
    groups: int = 1,
    transposed: bool = False,
) -> str:
    """A runnable program that applies one convolution, every axis alike, to a random input.

    Args:
        form: ``"nn"`` (a module), ``"functional"`` (`F.conv2d` with its own weight and bias), ``"unfold"`` (windows and
            a sum of products; for a transposed one `F.fold`), or ``"keras"`` (Keras 3, channels last).
        dims: 1 or 2.
        input_size: pixels along every axis.
        in_channels: as in torch; likewise all arguments that follow.
        out_channels: as in torch.
        kernel_size: as in torch.
        stride: as in torch.
        padding: as in torch; a transposed convolution takes a number only.
        dilation: as in torch.
        groups: as in torch.
        transposed: `nn.ConvTranspose2d` instead of `nn.Conv2d`.

    Raises:
        ValueError: `form` is none of the four.

    Example:
        >>> print(conv_code("nn", dims=2, input_size=8, in_channels=1, out_channels=4, kernel_size=3))
        import torch
        from torch import nn
        <BLANKLINE>
        x = torch.randn(1, 1, 8, 8)  # batch, channels, height, width
        conv = nn.Conv2d(1, 4, kernel_size=3, stride=1, padding=0)
        y = conv(x)  # shape (1, 4, 6, 6)
    """
    layer = _Layer(
        dims=dims,
        input_size=input_size,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        transposed=transposed,
    )
    if form == "nn":
        return "\n".join(_nn(layer))
    if form == "functional":
        return "\n".join(_functional(layer))
    if form == "unfold":
        return "\n".join(_fold(layer) if transposed else _unfold(layer))
    if form == "keras":
        return "\n".join(_keras_transposed(layer) if transposed else _keras(layer))
    raise ValueError(f"form must be one of {', '.join(CODE_FORMS)}, got {form!r}; try form='nn'.")


@dataclass(frozen=True, kw_only=True)
class _Layer:
    dims: int
    input_size: int
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: int | str
    dilation: int
    groups: int
    transposed: bool

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel_size - 1) + 1

    @property
    def pads(self) -> tuple[int, int]:
        """Pixels added before and after, along each axis."""
        if self.padding == "same":
            return (self.span - 1) // 2, self.span // 2
        return (0, 0) if isinstance(self.padding, str) else (self.padding, self.padding)

    @property
    def output_size(self) -> int:
        before, after = self.pads
        if self.transposed:
            return (self.input_size - 1) * self.stride + self.span - before - after
        return (self.input_size + before + after - self.span) // self.stride + 1

    @property
    def output_shape(self) -> str:
        return _tuple([1, self.out_channels, *[self.output_size] * self.dims])

    def name(self, conv: str) -> str:
        """`conv` with the axes in it: ``Conv`` -> ``Conv2d``, ``ConvTranspose1d``, ``conv_transpose2d``."""
        transposed = {"Conv": "ConvTranspose", "conv": "conv_transpose"}[conv]
        return f"{transposed if self.transposed else conv}{self.dims}d"

    def arguments(self, *more: str) -> str:
        """Stride, padding, and the others where they are not torch's defaults."""
        parts = [*more, f"stride={self.stride}", f"padding={_quoted(self.padding)}"]
        parts += [f"dilation={self.dilation}"] if self.dilation > 1 else []
        parts += [f"groups={self.groups}"] if self.groups > 1 else []
        return ", ".join(parts)


def _tuple(numbers: list[int]) -> str:
    return f"({', '.join(map(str, numbers))})"


def _quoted(padding: int | str) -> str:
    return f'"{padding}"' if isinstance(padding, str) else str(padding)


def _axes(layer: _Layer) -> str:
    return "height, width" if layer.dims == 2 else "length"


def _input(layer: _Layer) -> str:
    shape = ", ".join(map(str, [1, layer.in_channels, *[layer.input_size] * layer.dims]))
    return f"x = torch.randn({shape})  # batch, channels, {_axes(layer)}"


def _weights(layer: _Layer) -> list[str]:
    kernel = [layer.kernel_size] * layer.dims
    if layer.transposed:
        shape = [layer.in_channels, layer.out_channels // layer.groups, *kernel]
        meaning = "in_channels, out_channels / groups"
    else:
        shape = [layer.out_channels, layer.in_channels // layer.groups, *kernel]
        meaning = "out_channels, in_channels / groups"
    return [
        f"weight = torch.randn{_tuple(shape)}  # {meaning}, {_axes(layer)}",
        f"bias = torch.randn({layer.out_channels})",
    ]


def _nn(layer: _Layer) -> list[str]:
    arguments = layer.arguments(f"{layer.in_channels}, {layer.out_channels}", f"kernel_size={layer.kernel_size}")
    return [
        "import torch",
        "from torch import nn",
        "",
        _input(layer),
        f"conv = nn.{layer.name('Conv')}({arguments})",
        f"y = conv(x)  # shape {layer.output_shape}",
    ]


def _functional_head(layer: _Layer) -> list[str]:
    return ["import torch", "import torch.nn.functional as F", "", _input(layer), *_weights(layer)]


def _functional(layer: _Layer) -> list[str]:
    call = f"F.{layer.name('conv')}({layer.arguments('x, weight, bias')})"
    return [*_functional_head(layer), f"y = {call}  # shape {layer.output_shape}"]


def _bias(layer: _Layer) -> str:
    return f"bias.view({', '.join(['-1', *['1'] * layer.dims])})"


def _unfold(layer: _Layer) -> list[str]:
    before, after = layer.pads
    lines = _functional_head(layer)
    source = "x"
    if before or after:
        lines.append(f"padded = F.pad(x, {_tuple([before, after] * layer.dims)})  # zeros before and after")
        source = "padded"
    step = f"[..., {', '.join([f'::{layer.dilation}'] * layer.dims)}]" if layer.dilation > 1 else ""
    cuts = "".join(f".unfold({2 + axis}, {layer.span}, {layer.stride})" for axis in range(layer.dims))
    lines.append(f"windows = {source}{cuts}{step}  # one window for each output pixel")
    image, kernel = ("hw", "ij") if layer.dims == 2 else ("l", "i")
    if layer.groups == 1:
        lines.append(f'sums = torch.einsum("bc{image}{kernel},oc{kernel}->bo{image}", windows, weight)')
    else:
        lines += [
            f"windows = windows.unflatten(1, ({layer.groups}, -1))  # channels by group",
            f"kernels = weight.unflatten(0, ({layer.groups}, -1))",
            f'sums = torch.einsum("bgc{image}{kernel},goc{kernel}->bgo{image}", windows, kernels).flatten(1, 2)',
        ]
    return [*lines, f"y = sums + {_bias(layer)}  # shape {layer.output_shape}"]


def _fold(layer: _Layer) -> list[str]:
    lines = _functional_head(layer)
    image, kernel = ("hw", "ij") if layer.dims == 2 else ("l", "i")
    if layer.groups == 1:
        products = f'torch.einsum("bc{image},co{kernel}->bo{kernel}{image}", x, weight)'
    else:
        lines += [
            f"parts = x.unflatten(1, ({layer.groups}, -1))  # channels by group",
            f"kernels = weight.unflatten(0, ({layer.groups}, -1))",
        ]
        products = f'torch.einsum("bgc{image},gco{kernel}->bgo{kernel}{image}", parts, kernels)'
    lines.append(f"patches = {products}  # what each input pixel paints")
    places = layer.input_size**layer.dims
    lines.append(f"patches = patches.reshape(1, -1, {places})")
    lead = [] if layer.dims == 2 else [1]
    nought = [] if layer.dims == 2 else [0]
    arguments = ", ".join(
        [
            f"output_size={_tuple([*lead, *[layer.output_size] * layer.dims])}",
            f"kernel_size={_tuple([*lead, *[layer.kernel_size] * layer.dims])}",
            f"dilation={_tuple([*lead, *[layer.dilation] * layer.dims])}",
            f"padding={_tuple([*nought, *[layer.pads[0]] * layer.dims])}",
            f"stride={_tuple([*lead, *[layer.stride] * layer.dims])}",
        ]
    )
    squeeze = "" if layer.dims == 2 else ".squeeze(2)"
    lines.append(f"sums = F.fold(patches, {arguments}){squeeze}  # overlaps add up")
    return [*lines, f"y = sums + {_bias(layer)}  # shape {layer.output_shape}"]


def _keras_input(layer: _Layer) -> list[str]:
    shape = _tuple([1, *[layer.input_size] * layer.dims, layer.in_channels])
    return [
        "import keras",
        "",
        f"x = keras.random.normal({shape})  # batch, {_axes(layer)}, channels",
    ]


def _keras_shape(layer: _Layer) -> str:
    return _tuple([1, *[layer.output_size] * layer.dims, layer.out_channels])


def _keras(layer: _Layer) -> list[str]:
    lines = _keras_input(layer)
    before, source = layer.pads[0], "x"
    same = layer.padding == "same"
    if before and not same:
        lines.append(f"padded = keras.layers.ZeroPadding{layer.dims}D({before})(x)")
        source = "padded"
    strides, step = layer.stride, ""
    if layer.stride > 1 and layer.dilation > 1:
        lines.append("# Keras refuses strides > 1 with dilation_rate > 1: convolve at every pixel, keep some.")
        strides, step = 1, f"[:, {', '.join([f'::{layer.stride}'] * layer.dims)}]"
    arguments = [f"{layer.out_channels}", f"kernel_size={layer.kernel_size}", f"strides={strides}"]
    arguments.append(f'padding="{"same" if same else "valid"}"')
    arguments += [f"dilation_rate={layer.dilation}"] if layer.dilation > 1 else []
    arguments += [f"groups={layer.groups}"] if layer.groups > 1 else []
    lines.append(f"conv = keras.layers.Conv{layer.dims}D({', '.join(arguments)})")
    lines.append(f"y = conv({source}){step}  # shape {_keras_shape(layer)}")
    return lines


def _keras_transposed(layer: _Layer) -> list[str]:
    lines = _keras_input(layer)
    size, strides, source = layer.input_size, layer.stride, "x"
    if layer.stride > 1 and layer.dilation > 1:
        gap = [0, layer.stride - 1]
        apart = [1, *[size, 1] * layer.dims, layer.in_channels]
        widths = [[0, 0], *[[0, 0], gap] * layer.dims, [0, 0]]
        spread = [1, *[size * layer.stride] * layer.dims, layer.in_channels]
        lines += [
            "# Keras refuses strides > 1 with dilation_rate > 1: put the stride's zeros between the pixels.",
            f"apart = keras.ops.pad(keras.ops.reshape(x, {_tuple(apart)}), {widths})",
            f"spread = keras.ops.reshape(apart, {_tuple(spread)})",
        ]
        strides, source = 1, "spread"
    arguments = [f"{layer.out_channels // layer.groups}", f"kernel_size={layer.kernel_size}"]
    arguments += [f"strides={strides}", 'padding="valid"']
    arguments += [f"dilation_rate={layer.dilation}"] if layer.dilation > 1 else []
    conv = f"keras.layers.Conv{layer.dims}DTranspose({', '.join(arguments)})"
    if layer.groups == 1:
        lines += [f"conv = {conv}", f"y = conv({source})"]
    else:
        lines += [
            "# Keras has no groups here: one layer for each group.",
            f"convs = [{conv} for _ in range({layer.groups})]",
            f"parts = keras.ops.split({source}, {layer.groups}, axis=-1)",
            "y = keras.ops.concatenate([conv(part) for conv, part in zip(convs, parts)], axis=-1)",
        ]
    start = layer.pads[0]
    window = ", ".join([f"{start}:{start + layer.output_size}"] * layer.dims)
    return [*lines, f"y = y[:, {window}]  # torch's padding={start} crops; shape {_keras_shape(layer)}"]
