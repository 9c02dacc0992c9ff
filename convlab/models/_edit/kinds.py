"""Which layers can be edited, the arguments that make them, and which of these a person may set."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Final, Literal

from torch import nn
from torch.nn.parameter import is_lazy

Family = Literal["conv", "linear", "pool", "activation", "norm", "dropout", "other"]


@dataclass(frozen=True)
class Kind:
    """A class of layers.

    ``arguments``
        What its constructor takes, which the layer keeps under the same names.
    ``fixed``
        Those among them that follow from where the layer stands.
    ``choice``
        The setting that changes the class itself, such as ``activation``; empty where there is none.
    """

    family: Family
    arguments: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    choice: str = ""

    @property
    def settings(self) -> tuple[str, ...]:
        """What a person may set."""
        own = tuple(name for name in self.arguments if name not in self.fixed)
        return (self.choice, *own) if self.choice else own


_SPATIAL: Final = ("kernel_size", "stride", "padding")
_CONV = Kind(
    "conv",
    ("in_channels", "out_channels", *_SPATIAL, "dilation", "groups", "bias", "padding_mode"),
    ("in_channels",),
)
_TRANSPOSED = Kind(
    "conv",
    ("in_channels", "out_channels", *_SPATIAL, "output_padding", "groups", "bias", "dilation", "padding_mode"),
    ("in_channels", "padding_mode"),
)
_MAX = Kind("pool", (*_SPATIAL, "dilation", "return_indices", "ceil_mode"), ("return_indices",), "pool")
_AVG = Kind("pool", (*_SPATIAL, "ceil_mode", "count_include_pad"), (), "pool")
_AVG_OF_AREA = Kind("pool", (*_AVG.arguments, "divisor_override"), ("divisor_override",), "pool")
# In newer versions of torch all normalisations can do without a bias, as LayerNorm could.
_BIAS: Final = ("bias",) if "bias" in inspect.signature(nn.BatchNorm2d).parameters else ()
_BATCH = Kind(
    "norm",
    ("num_features", "eps", "momentum", "affine", "track_running_stats", *_BIAS),
    ("num_features",),
    choice="norm",
)


def _activation(*arguments: str) -> Kind:
    return Kind("activation", arguments, choice="activation")


KINDS: Final[dict[type[nn.Module], Kind]] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _CONV),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _TRANSPOSED),
    nn.Linear: Kind("linear", ("in_features", "out_features", "bias"), ("in_features",)),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _MAX),
    nn.AvgPool1d: _AVG,
    **dict.fromkeys((nn.AvgPool2d, nn.AvgPool3d), _AVG_OF_AREA),
    **dict.fromkeys(
        (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), Kind("pool", ("output_size",), (), "pool")
    ),
    **dict.fromkeys(
        (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
        Kind("pool", ("output_size", "return_indices"), ("return_indices",), "pool"),
    ),
    nn.ReLU: _activation("inplace"),
    nn.LeakyReLU: _activation("negative_slope", "inplace"),
    nn.PReLU: _activation("num_parameters"),
    nn.ELU: _activation("alpha", "inplace"),
    nn.SELU: _activation("inplace"),
    nn.GELU: _activation("approximate"),
    nn.SiLU: _activation("inplace"),
    nn.Sigmoid: _activation(),
    nn.Tanh: _activation(),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _BATCH),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _BATCH),
    nn.GroupNorm: Kind("norm", ("num_groups", "num_channels", "eps", "affine", *_BIAS), ("num_channels",), "norm"),
    nn.LayerNorm: Kind(
        "norm", ("normalized_shape", "eps", "elementwise_affine", "bias"), ("normalized_shape",), "norm"
    ),
    nn.Identity: Kind("norm", (), choice="norm"),
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), Kind("dropout", ("p", "inplace"))
    ),
}
"""By exact class: a subclass may mean something else by its arguments, and is left alone."""

ACTIVATIONS: Final = {
    kind.__name__: kind
    for kind in (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
}
NORMS: Final = ("batch", "group", "instance", "layer", "none")
POOLS: Final = ("max", "avg")


def kind_of(layer: nn.Module) -> Kind | None:
    """What is known about a layer's class."""
    return KINDS.get(type(layer))


def why_not_plain(layer: nn.Module) -> str:
    """Why the layer's weights must be left alone, in words that follow its name; empty where they need not be."""
    if "parametrizations" in layer._modules:
        return "has a weight that a parametrization makes; remove_parametrizations(layer, 'weight') would free it"
    if any(is_lazy(tensor) for tensor in (*layer._parameters.values(), *layer._buffers.values()) if tensor is not None):
        return "is lazy and has no shape yet; model(sample) once would give it one"
    expected = {"weight", "bias"}
    if kind_of(layer) is not None and not set(layer._parameters) <= expected:
        return "has weights that something else makes, such as weight_norm or pruning; remove that first"
    if (weight := getattr(layer, "weight", None)) is not None and layer._parameters.get("weight") is not weight:
        return "has a weight that is no parameter of its own; make it one first"
    return ""


def arguments_of(layer: nn.Module) -> dict[str, Any]:
    """What the constructor would have to be given to make such a layer."""
    kind = KINDS[type(layer)]
    return {name: _has_bias(layer, kind) if name == "bias" else getattr(layer, name) for name in kind.arguments}


def _has_bias(layer: nn.Module, kind: Kind) -> bool:
    """A normalisation without weights would have a bias as soon as it had any."""
    return layer.bias is not None or (kind.family == "norm" and layer.weight is None)


def dims_of(layer: nn.Module) -> int:
    """How many spatial dimensions a layer is made for; 0 where its class does not say."""
    return dims_of_class(type(layer))


def dims_of_class(kind: type[nn.Module]) -> int:
    """How many spatial dimensions the layers of a class are made for; 0 where its name does not say."""
    digit = kind.__name__[-2:-1]
    return int(digit) if digit in "123" and digit else 0


def choice_of(layer: nn.Module) -> str:
    """What the setting that changes the class stands at: ``"ReLU"``, ``"batch"``, ``"max"``."""
    name = type(layer).__name__
    kind = KINDS[type(layer)]
    if kind.choice == "norm":
        return next((norm for norm in NORMS if name.lower().startswith(norm)), "none")
    if kind.choice == "pool":
        return "max" if "Max" in name else "avg"
    return name


def settings_of(layer: nn.Module) -> dict[str, Any]:
    """A layer's settings as one value each: a number, a word, a tuple where axes differ."""
    kind = kind_of(layer)
    if kind is None:
        return {}
    values = arguments_of(layer)
    shown = {name: _one_value(values[name]) for name in kind.settings if name != kind.choice}
    return {kind.choice: choice_of(layer), **shown} if kind.choice else shown


def _one_value(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
