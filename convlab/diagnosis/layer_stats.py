"""What a layer's outputs, weights and gradients look like, in a few numbers, gathered by hooks in a forward pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convlab.models.borrow import hooking

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

PER_DECADE: Final = 4
_LOWEST, _HIGHEST = -8, 2
_SIDE: Final = PER_DECADE * (_HIGHEST - _LOWEST)
_MAGNITUDES: Final = 10 ** np.linspace(_LOWEST, _HIGHEST, _SIDE + 1)

HISTOGRAM_EDGES: Final[Floats] = np.concatenate([[-math.inf], -_MAGNITUDES[-2::-1], _MAGNITUDES[:-1], [math.inf]])
"""Of every histogram, shape (82,): a quarter of a decade each from 1e-8 on, with its sign; the middle bin is what is
smaller, the outer ones reach to infinity. Fixed, so that histograms of different steps lie side by side."""

MOST_VALUES: Final = 2**13
"""Of a larger layer a histogram counts so many values, evenly taken."""

TANH, SIGMOID = 0.97, 0.03
"""Beyond these an output counts as saturated: the slope there is 6 % of that of tanh at 0, 12 % of that of sigmoid."""

# Their last dimension holds the features; that of all others is dimension 1, as torch lays out (N, C, ...).
_FEATURES_LAST: Final = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.MultiheadAttention)


def histogram(values: Tensor) -> Ints:
    """How many values lie in each bin of `HISTOGRAM_EDGES`, shape (81,); NaN is not counted.

    Example:
        >>> counts = histogram(torch.tensor([0.0, 0.5, 0.5, -3e5]))
        >>> int(counts[40]), int(counts[0]), int(counts.max())
        (1, 1, 2)
    """
    flat = values.detach().flatten()
    if len(flat) > MOST_VALUES:
        flat = flat[:: -(-len(flat) // MOST_VALUES)]
    x = flat.float().cpu().numpy()
    x = x[~np.isnan(x)]
    return np.bincount(np.searchsorted(HISTOGRAM_EDGES[1:-1], x, side="right"), minlength=len(HISTOGRAM_EDGES) - 1)


@dataclass
class _Part:
    """Of one call: how many values, mean, variance, the values that are not zero in each channel, saturated ones."""

    count: int
    mean: Tensor
    var: Tensor
    nonzero: Tensor
    saturated: Tensor | None


@dataclass
class _Calls:
    path: str
    module: nn.Module
    parts: list[_Part] = field(default_factory=list)


@dataclass(frozen=True)
class Activation:
    """Of all outputs of a layer: see `LayerInside`."""

    mean: float
    std: float
    zeros: float
    channels: int
    dead: int
    saturated: float


class Gathering:
    """What hooks on a model's layers saw, in the order of the first call of each.

    Attributes:
        seconds: what the looking itself took so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._calls: dict[nn.Module, _Calls] = {}

    def see(self, path: str, module: nn.Module, output: object) -> None:
        """Take one output into account; one that is no tensor of real numbers, or empty, is passed over."""
        if not isinstance(output, Tensor) or not output.is_floating_point() or not output.numel() or not output.dim():
            return
        calls = self._calls.setdefault(module, _Calls(path, module))
        calls.parts.append(_part(module, output.detach()))

    def layers(self) -> Iterator[tuple[str, nn.Module, Activation]]:
        """Each layer that was called, with its numbers."""
        for calls in tuple(self._calls.values()):
            yield calls.path, calls.module, _merged(calls.parts)


def _part(module: nn.Module, output: Tensor) -> _Part:
    values = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
    channel = values.dim() - 1 if isinstance(module, _FEATURES_LAST) or values.dim() < 2 else 1
    others = [dim for dim in range(values.dim()) if dim != channel]
    var, mean = torch.var_mean(values, correction=0)
    nonzero = torch.count_nonzero(values, others) if others else (values != 0).long()
    saturated = None
    if isinstance(module, nn.Tanh):
        saturated = torch.count_nonzero(values.abs() > TANH)
    elif isinstance(module, nn.Sigmoid):
        saturated = torch.count_nonzero((values < SIGMOID) | (values > 1 - SIGMOID))
    return _Part(values.numel(), mean, var, nonzero, saturated)


def _merged(parts: list[_Part]) -> Activation:
    """The calls of one layer as one: means and variances add up by their counts."""
    counts = np.array([part.count for part in parts], dtype=np.float64)
    means = np.array([float(part.mean) for part in parts])
    shares = counts / counts.sum()
    mean = float(shares @ means)
    var = float(shares @ (np.array([float(part.var) for part in parts]) + (means - mean) ** 2))
    channels = max(len(part.nonzero) for part in parts)
    nonzero = np.zeros(channels, np.int64)
    for part in parts:
        nonzero[: len(part.nonzero)] += part.nonzero.cpu().numpy()
    saturated = math.nan
    if parts[0].saturated is not None:
        saturated = sum(int(part.saturated) for part in parts if part.saturated is not None) / counts.sum()
    zeros = float(1 - nonzero.sum() / counts.sum())
    return Activation(mean, math.sqrt(var), zeros, channels, int((nonzero == 0).sum()), float(saturated))


def own_params(module: nn.Module) -> list[nn.Parameter]:
    """A layer's own parameters, those behind a parametrization (such as weight norm) among them."""
    behind = module._modules.get("parametrizations")
    return [*module.parameters(recurse=False), *(() if behind is None else behind.parameters())]


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that are looked at: modules without parts, and those with weights of their own."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if "parametrizations" not in path.split(".")
        and (not set(module._modules) - {"parametrizations"} or own_params(module))
    ]


@contextmanager
def gathered(model: nn.Module, on_error: Callable[[Exception], None] | None = None) -> Iterator[Gathering]:
    """Inside, what each layer of `model` returns is seen; after, no hook is left, also after an exception.

    Args:
        model: the network.
        on_error: what becomes of an exception in the looking itself; raised in the forward if left out.
    """
    found = Gathering()
    handles = []

    def hook(path: str, expected: nn.Module) -> Callable[[nn.Module, Any, Any], None]:
        def see(module: nn.Module, _: Any, output: Any) -> None:
            if module is not expected:  # of a copy, made meanwhile
                return
            began = time.perf_counter()
            try:
                found.see(path, module, output)
            except Exception as error:
                if on_error is None:
                    raise
                on_error(error)
            found.seconds += time.perf_counter() - began

        return see

    try:
        with hooking:
            for path, module in layers_of(model):
                handles.append(module.register_forward_hook(hook(path, module)))
        yield found
    finally:
        with hooking:
            for handle in handles:
                handle.remove()
