"""How the weights of a `NetSpec` are drawn where it is not torch's default: as calls that are made, and as source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn

from convlab.models.plan import Weighted

GAINS: Final[Mapping[str, float]] = {
    "gelu": 1.5335304,
    "silu": 1.6765325,
    "elu": 1.2452172,
}
"""Those that `torch.nn.init.calculate_gain` does not have: 1 / sqrt(E[f(z)^2]) for z ~ N(0, 1), by which it is
sqrt(2) for ReLU; after He et al., "Delving deep into rectifiers" (2015)."""

# What torch.nn.init calls the others where it does not by their own name, with torch's slopes.
_LEAKY: Final[Mapping[str, float]] = {"leaky_relu": 0.01, "prelu": 0.25}
_WIDTH: Final = 88


@dataclass(frozen=True)
class Drawing:
    """One function of `torch.nn.init` for the layers that need the same gain; their biases become 0."""

    init: str
    activation: str
    """Of those that the gain depends on; empty where there is no gain."""
    has_bias: Mapping[str, bool]
    """By the layer's path."""

    def draw(self, network: nn.Module) -> None:
        """Draw the weights anew, in place, from the global generator."""
        for path, has_bias in self.has_bias.items():
            layer: Any = network.get_submodule(path)
            self._draw(layer.weight)
            if has_bias:
                nn.init.zeros_(layer.bias)

    def _draw(self, weight: Tensor) -> None:
        gain = GAINS.get(self.activation)
        if gain is None:
            getattr(nn.init, f"{self.init}_")(weight, **self._keywords())
        elif self.init == "kaiming_normal":
            nn.init.normal_(weight, std=gain / weight[0].numel() ** 0.5)
        else:
            bound = gain * (3 / weight[0].numel()) ** 0.5
            nn.init.uniform_(weight, -bound, bound)

    def _keywords(self) -> dict[str, Any]:
        if not self.activation:
            return {}
        if self.activation in _LEAKY:
            return {"a": _LEAKY[self.activation], "nonlinearity": "leaky_relu"}
        return {"nonlinearity": "linear" if self.activation == "none" else self.activation}

    def source(self) -> str:
        """The same as lines of source for the layers of ``model``."""
        gain = GAINS.get(self.activation)
        if gain is None:
            words = {
                name: f'"{value}"' if isinstance(value, str) else value for name, value in self._keywords().items()
            }
            arguments = "".join(f", {name}={value}" for name, value in words.items())
            lines = [f"nn.init.{self.init}_(layer.weight{arguments})"]
        elif self.init == "kaiming_normal":
            lines = [f"std = {gain} / layer.weight[0].numel() ** 0.5  # {self.activation}'s gain"]
            lines += ["nn.init.normal_(layer.weight, std=std)"]
        else:
            lines = [f"bound = {gain} * (3 / layer.weight[0].numel()) ** 0.5  # {self.activation}'s gain"]
            lines += ["nn.init.uniform_(layer.weight, -bound, bound)"]
        if all(self.has_bias.values()):
            lines.append("nn.init.zeros_(layer.bias)")
        elif any(self.has_bias.values()):
            lines += ["if layer.bias is not None:", "    nn.init.zeros_(layer.bias)"]
        return "\n".join(self._loop(lines))

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
    gains = {path: layer.activation if init.startswith("kaiming") else "" for path, layer in weights.items()}
    for gain in dict.fromkeys(gains.values()):
        yield Drawing(init, gain, {path: weights[path].bias for path in weights if gains[path] == gain})
