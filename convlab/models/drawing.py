"""How the weights of a `NetSpec` are drawn where it is not torch's default: as calls that are made, and as source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from convlab.models.plan import Weighted

# What torch.nn.init calls the activation, and its slope. It knows no gain for the smooth relatives of ReLU: theirs is
# ReLU's here, which He et al. 2015 derive from the half of the inputs that is passed on.
_NONLINEARITY: Final[Mapping[str, tuple[str, float | None]]] = {
    "relu": ("relu", None),
    "leaky_relu": ("leaky_relu", 0.01),
    "prelu": ("leaky_relu", 0.25),
    "elu": ("relu", None),
    "selu": ("selu", None),
    "gelu": ("relu", None),
    "silu": ("relu", None),
    "sigmoid": ("sigmoid", None),
    "tanh": ("tanh", None),
    "none": ("linear", None),
}
_WIDTH: Final = 88


@dataclass(frozen=True)
class Drawing:
    """One function of `torch.nn.init` for the layers that need the same gain; their biases become 0."""

    init: str
    nonlinearity: str
    slope: float | None
    has_bias: Mapping[str, bool]
    """By the layer's path."""

    def draw(self, network: nn.Module) -> None:
        """Draw the weights anew, in place, from the global generator."""
        function = getattr(nn.init, f"{self.init}_")
        keywords: dict[str, Any] = {}
        if self.init.startswith("kaiming"):
            keywords = {"a": self.slope or 0, "nonlinearity": self.nonlinearity}
        elif self.init != "zeros":
            keywords = {"gain": nn.init.calculate_gain(self.nonlinearity, self.slope)}  # type: ignore[arg-type]
        for path, has_bias in self.has_bias.items():
            layer: Any = network.get_submodule(path)
            function(layer.weight, **keywords)
            if has_bias:
                nn.init.zeros_(layer.bias)

    def source(self) -> str:
        """The same as lines of source for the layers of ``model``."""
        before, argument = [], ""
        if self.init.startswith("kaiming"):
            argument = f'{"" if self.slope is None else f", a={self.slope}"}, nonlinearity="{self.nonlinearity}"'
        elif self.init != "zeros":
            of = f'"{self.nonlinearity}"' + ("" if self.slope is None else f", {self.slope}")
            before, argument = [f"gain = nn.init.calculate_gain({of})"], ", gain=gain"
        lines = [f"nn.init.{self.init}_(layer.weight{argument})"]
        if all(self.has_bias.values()):
            lines.append("nn.init.zeros_(layer.bias)")
        elif any(self.has_bias.values()):
            lines += ["if layer.bias is not None:", "    nn.init.zeros_(layer.bias)"]
        return "\n".join([*before, *self._loop(lines)])

    def _loop(self, lines: list[str]) -> list[str]:
        layers = [f"model.{path}" for path in self.has_bias]
        if len(layers) == 1:
            alone = [line.replace("layer", layers[0]) for line in lines]
            if max(map(len, alone)) <= _WIDTH:
                return alone
        head = f"for layer in ({', '.join(layers)}{',' * (len(layers) == 1)}):"
        loop = [head] if len(head) <= _WIDTH else ["for layer in (", *(f"    {layer}," for layer in layers), "):"]
        return [*loop, *(f"    {line}" for line in lines)]


def drawings(init: str, weights: Mapping[str, Weighted]) -> Iterator[Drawing]:
    """What is drawn anew after torch's default, in order; nothing where that stays."""
    if init == "default":
        return
    gains = {path: _NONLINEARITY[layer.activation] for path, layer in weights.items()}
    for gain in dict.fromkeys(gains.values()):
        yield Drawing(init, *gain, {path: weights[path].bias for path in weights if gains[path] == gain})
