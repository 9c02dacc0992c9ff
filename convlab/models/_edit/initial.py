"""Schemes that draw a layer's weights, and the spread that each gives."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import init

from convlab.models._edit.edits import Edit
from convlab.models._edit.errors import EditError
from convlab.models._edit.kinds import why_not_plain
from convlab.models._edit.plan import Base as Base
from convlab.models.drawing import GAINS
from convlab.models.streams import own_stream
from convlab.models.trace import Record, Trace

SCHEMES: Final = (
    *("default", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal", "orthogonal", "zeros"),
)

_SPOKEN: Final = {
    "relu": "relu",
    "leakyrelu": "leaky_relu",
    "prelu": "leaky_relu",
    "selu": "selu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "gelu": "gelu",
    "silu": "silu",
    "elu": "elu",
    "hardtanh": "relu",
    "relu6": "relu",
}


@dataclass(frozen=True)
class InitFacts:
    """What decides how a layer's weights are drawn.

    ``fan_in``, ``fan_out``
        As torch counts them (for a transposed convolution it takes them the other way round).
    ``activation``, ``gain``
        What follows the layer in the forward, ``"linear"`` if nothing does, and what it asks of the spread.
    ``std``
        Standard deviation of the weight now.
    ``stds``
        What each scheme would give, by scheme.
    """

    fan_in: int
    fan_out: int
    activation: str
    gain: float
    std: float
    stds: Mapping[str, float]


def init_facts(path: str, layer: nn.Module, found: Trace) -> InitFacts:
    """Fan, gain and spread of a convolution's or a linear layer's weight."""
    weight = _weight_of(path, layer)
    fan_in, fan_out = init._calculate_fan_in_and_fan_out(weight)
    activation, slope = _following(path, found)
    gain = _gain(activation, slope)
    rows, columns = weight.shape[0], weight[0].numel()
    stds = {
        "default": 1 / math.sqrt(3 * fan_in),  # kaiming_uniform_ with a=sqrt(5)
        "kaiming_uniform": gain / math.sqrt(fan_in),
        "kaiming_normal": gain / math.sqrt(fan_in),
        "xavier_uniform": math.sqrt(2 / (fan_in + fan_out)),
        "xavier_normal": math.sqrt(2 / (fan_in + fan_out)),
        "orthogonal": 1 / math.sqrt(max(rows, columns)),
        "zeros": 0.0,
    }
    return InitFacts(fan_in, fan_out, activation, gain, float(weight.detach().double().std(correction=0)), stds)


def _weight_of(path: str, layer: nn.Module) -> Tensor:
    if not isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
        raise EditError(path, f"a {type(layer).__name__} has no weight that is drawn from a fan; a convolution has")
    if reason := why_not_plain(layer):
        raise EditError(path, f"it {reason}")
    return layer.weight


def _following(path: str, found: Trace) -> tuple[str, float]:
    """The first activation that what comes out of a layer meets, and its negative slope."""
    start = [i for i, record in enumerate(found.records) if record.path == path]
    after: dict[int, list[int]] = {}
    for source, target in found.edges:
        after.setdefault(source, []).append(target)
    modules = dict(found.model.named_modules())
    waiting, seen = list(start), set(start)
    while waiting:
        index = waiting.pop(0)
        record = found.records[index]
        if index not in start:
            if word := _SPOKEN.get(record.kind.lower().replace("_", "")):
                return word, _slope(modules.get(record.path))
            if _has_own_weights(record, modules):
                continue
        for target in sorted(after.get(index, [])):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return "linear", 0.0


def _has_own_weights(record: Record, modules: dict[str, nn.Module]) -> bool:
    module = modules.get(record.path)
    return isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))


def _slope(module: nn.Module | None) -> float:
    if isinstance(module, nn.PReLU):
        return float(module.weight.detach().mean())
    return float(getattr(module, "negative_slope", 0.01))


def _gain(activation: str, slope: float) -> float:
    if activation in GAINS:
        return GAINS[activation]
    return float(init.calculate_gain(activation, slope if activation == "leaky_relu" else None))  # type: ignore[arg-type]


def check_scheme(path: str, layer: nn.Module, scheme: str) -> None:
    """Refuse a scheme that does not exist, or that has no meaning for the layer."""
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme, SCHEMES, 1)
        raise EditError(
            path, f"schemes are {', '.join(SCHEMES)}", {"scheme": scheme}, {"scheme": near[0] if near else "default"}
        )
    if scheme == "default":
        if not hasattr(layer, "reset_parameters"):
            raise EditError(path, f"a {type(layer).__name__} does not say how torch draws it")
        if reason := why_not_plain(layer):
            raise EditError(path, f"it {reason}")
    else:
        _weight_of(path, layer)


@torch.no_grad()
def redrawn(path: str, layer: Any, found: Trace, edit: Edit) -> list[nn.Parameter]:
    """Draw a layer's weights anew, in place; its biases are zero but in torch's default. Returns them."""
    scheme = str(edit.settings.get("scheme", "default"))
    facts = init_facts(path, layer, found) if scheme.startswith("kaiming") else None
    weights = [p for p in layer._parameters.values() if p is not None]
    with own_stream(edit.seed):
        if scheme == "default":
            _draw_default(layer)
            return weights
        drawn = torch.empty(layer.weight.shape)
        if facts is not None:
            std = facts.gain / math.sqrt(facts.fan_in)
            if scheme == "kaiming_normal":
                drawn.normal_(0, std)
            else:
                drawn.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std)
        else:
            _DRAW[scheme](drawn)
    layer.weight.copy_(drawn)
    if layer.bias is not None:
        layer.bias.zero_()
    return weights


_DRAW: Final[Mapping[str, Any]] = {
    "xavier_uniform": init.xavier_uniform_,
    "xavier_normal": init.xavier_normal_,
    "orthogonal": init.orthogonal_,
    "zeros": init.zeros_,
}


def _draw_default(layer: Any) -> None:
    """On the CPU, so that every device gets the same values."""
    device = next(iter(layer.parameters())).device
    if device.type == "cpu":
        layer.reset_parameters()
        return
    kept = {name: p for name, p in layer._parameters.items() if p is not None}
    for name, p in kept.items():
        layer._parameters[name] = nn.Parameter(torch.empty_like(p, device="cpu"), requires_grad=False)
    try:
        layer.reset_parameters()
        for name, p in kept.items():
            p.copy_(layer._parameters[name])
    finally:
        layer._parameters.update(kept)
