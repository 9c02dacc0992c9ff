"""`convlab.look_inside`: what every layer of a network puts out on some samples, its weights and its gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlab.data.data import Data
from convlab.data.resolve import resolve
from convlab.data.sources import Source
from convlab.diagnosis.layer_stats import HISTOGRAM_EDGES, Activation, Gathering, Ints, gathered, histogram, own_params
from convlab.training.lending import lent
from convlab.training.modes import enter_training
from convlab.training.rewind import as_it_is
from convlab.training.run import Run
from convlab.training.trainer import Criterion

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Of = Literal["weight", "gradient"]


@dataclass(frozen=True, eq=False)
class LayerInside:
    """One layer, in numbers. What it does not have is NaN, or None for a histogram.

    Attributes:
        path: its name in ``model.named_modules()``.
        kind: its class.
        mean, std: of all its outputs, over samples, channels and positions; std with correction 0.
        zeros: share of outputs that are exactly 0.
        channels: how many it has: dimension 1 of its output, the last one for `nn.Linear` and others that work there.
        dead: channels that are exactly 0 for every sample at every position; it means something behind a ReLU.
        saturated: share of outputs beyond 0.97 (either sign) for `nn.Tanh`, below 0.03 or above 0.97 for `nn.Sigmoid`.
        weight_norm: Euclidean norm of all its own parameters together.
        gradient_norm: the same of their gradients; 0 where none arrived, NaN where all are frozen.
        gradient_to_weight: the one over the other.
        weight_histogram, gradient_histogram: how many lie between `convlab.diagnosis.layer_stats.HISTOGRAM_EDGES`,
            shape (81,).
        update_to_weight: norm of what one optimizer step changed over that of the weights; NaN without a step.
    """

    path: str
    kind: str
    mean: float
    std: float
    zeros: float
    channels: int
    dead: int
    saturated: float
    weight_norm: float
    gradient_norm: float
    gradient_to_weight: float
    weight_histogram: Ints | None
    gradient_histogram: Ints | None
    update_to_weight: float = math.nan


NUMBERS: Final = tuple(
    one.name for one in fields(LayerInside) if one.name not in ("path", "kind") and not one.name.endswith("histogram")
)
"""What a `LayerInside` says in one number each."""

RECTIFIERS: Final = ("ReLU", "ReLU6", "Threshold", "Hardswish")
"""Kinds behind which a dead channel learns nothing any more; elsewhere, as behind a Flatten, it may be a dark pixel."""


@dataclass(frozen=True, eq=False)
class Inside:
    """All layers of a network at one step.

    Attributes:
        step: optimizer steps of the run; 0 for a model without one.
        loss: mean loss of the samples.
        layers: in the order of their first call in the forward; one that is called twice is there once.
        samples: how many were looked at.

    Example:
        >>> inside = look_inside(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits")
        >>> [layer.path for layer in inside.layers], inside.layer("1").channels
        (['0', '1'], 10)
    """

    step: int
    loss: float
    layers: tuple[LayerInside, ...]
    samples: int

    def layer(self, path: str) -> LayerInside:
        """The layer of this name.

        Raises:
            KeyError: it was not called, or its output is no tensor.
        """
        for one in self.layers:
            if one.path == path:
                return one
        raise KeyError(f"no layer {path!r} was seen; there are {', '.join(repr(one.path) for one in self.layers)}.")

    def to_dataframe(self) -> pd.DataFrame:
        """A row a layer, a column a number."""
        import pandas as pd

        names = ("path", "kind", *NUMBERS)
        return pd.DataFrame({name: [getattr(one, name) for one in self.layers] for name in names})

    def plot(self, ax: Axes | None = None, number: str = "std") -> Axes:
        """Draw one number of each layer, such as ``"gradient_norm"``, on `ax` or on a figure of its own.

        Raises:
            ValueError: there is no such number.
        """
        from convlab.plots.inside import plot_inside

        return plot_inside(self, ax, number)

    def __repr__(self) -> str:
        dead = sum(one.dead for one in self.layers if one.kind in RECTIFIERS)
        return f"Inside(step {self.step:,}, loss {self.loss:.4g}, {len(self.layers)} layers, {dead} dead ReLU channels)"


def look_inside(
    model: nn.Module | Run,
    data: object = None,
    *,
    criterion: Criterion | None = None,
    samples: int = 64,
    part: str = "train",
) -> Inside:
    """Put samples through a network and back, as a training step does, and tell what is seen in each layer.

    In train mode, BatchNorm on the statistics of these samples. No step is made, and everything is given back bit for
    bit: weights, buffers, modes, gradients, hooks and all random numbers. What a `forward` does by functions, such as
    `F.relu`, is no module and is not seen.

    Args:
        model: a network, or a run, whose weights are those that it ended with, or is paused with.
        data: what `convlab.fit` takes; the run's own if left out.
        criterion: ``criterion(output, target) -> scalar``; the run's, else cross-entropy for classes and mean squared
            error for numbers.
        samples: how many, at most; of a `DataLoader`, its first batch at most.
        part: ``"train"``, drawn always the same, or ``"valid"``, the first ones.

    Raises:
        ValueError, TypeError: an argument cannot be; the message says why.
        RuntimeError: the run is training right now.
        Exception: what the model or the criterion raised.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> relu = look_inside(model, "digits").layer("2")
        >>> relu.kind, relu.channels, 0 < relu.zeros < 1
        ('ReLU', 16, True)
    """
    _check(model, data, samples, part)
    run = model if isinstance(model, Run) else None
    network = run.model if run is not None else model
    assert isinstance(network, nn.Module)
    found = run.data if run is not None and data is None else resolve(data)
    if run is None:
        with lent(network, found):
            return _looked(network, found, _criterion(found, criterion), samples, part)
    step = run.history.num_steps if run.shown_step is None else run.shown_step
    with as_it_is(run), lent(network, found), run._trainer._autocast():
        return _looked(network, found, criterion or run._trainer.criterion, samples, part, step)


def _check(model: object, data: object, samples: object, part: str) -> None:
    if not isinstance(model, nn.Module | Run):
        raise TypeError(f"model must be an nn.Module or a Run, got {type(model).__name__}; try look_inside(run).")
    if data is None and not isinstance(model, Run):
        raise ValueError('data is missing; try look_inside(model, "digits"), or look_inside(run).')
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise ValueError(f"samples must be a whole number of at least 1, got {samples!r}; try samples=64.")
    if part not in ("train", "valid"):
        raise ValueError(f"part must be 'train' or 'valid', got {part!r}; try part='train'.")
    network = model.model if isinstance(model, Run) else model
    if any(is_lazy(p) for p in network.parameters()):
        raise ValueError("the model has lazy layers without weights yet; call it once on some input, model(x).")


def _criterion(data: Data, own: Criterion | None) -> Criterion:
    if own is not None:
        return own
    if data.num_classes is None:
        return lambda output, target: F.mse_loss(output.reshape(target.shape), target)
    return F.cross_entropy


def _looked(model: nn.Module, data: Data, criterion: Criterion, samples: int, part: str, step: int = 0) -> Inside:
    x, y = some_samples(data, samples, part, next((p.device for p in model.parameters()), torch.device("cpu")))
    enter_training(model)
    for param in model.parameters():
        param.grad = None
    with torch.enable_grad(), gathered(model) as seen:
        output = model(x)
        loss = criterion(output, y)
    if loss.requires_grad:
        loss.backward()
    return inside(seen, step, float(loss.detach()), len(x))


def some_samples(data: Data, count: int, part: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """At most `count` samples and their targets; of the training data always the same, whatever the run's seed."""
    source: Source = data.train if part == "train" or data.valid is None else data.valid
    order = source.order(torch.Generator().manual_seed(0)) if part == "train" else None
    x, y = next(iter(source.batches(order, 0, count, device, torch.contiguous_format)))
    return x[:count], y[:count]


def inside(seen: Gathering, step: int, loss: float, samples: int, updates: Mapping[str, float] | None = None) -> Inside:
    """What was gathered, with the weights and gradients as they stand now."""
    return Inside(
        step,
        loss,
        tuple(_layer(path, module, act, (updates or {}).get(path, math.nan)) for path, module, act in seen.layers()),
        samples,
    )


def courses(looks: Sequence[Inside], number: str) -> dict[str, tuple[list[int], list[float]]]:
    """One number over the steps, by the layer's path: steps and values; layers that never have it are left out."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for look in looks:
        for one in look.layers:
            steps, values = found.setdefault(one.path, ([], []))
            steps.append(look.step)
            values.append(float(getattr(one, number)))
    return {path: course for path, course in found.items() if not all(map(math.isnan, course[1]))}


def histograms(looks: Sequence[Inside], path: str, of: Of = "weight") -> tuple[list[int], Ints]:
    """The histograms of a layer, at each look that has one: steps, and counts of shape (looks, 81).

    Raises:
        ValueError: `of` is neither ``"weight"`` nor ``"gradient"``.
    """
    if of not in ("weight", "gradient"):
        raise ValueError(f"of must be 'weight' or 'gradient', got {of!r}; try of='weight'.")
    rows = [(look.step, getattr(one, f"{of}_histogram")) for look in looks for one in look.layers if one.path == path]
    found = [(step, counts) for step, counts in rows if counts is not None]
    empty = np.empty((0, len(HISTOGRAM_EDGES) - 1), np.int64)
    return [step for step, _ in found], np.stack([counts for _, counts in found]) if found else empty


def _layer(path: str, module: nn.Module, act: Activation, update: float) -> LayerInside:
    params = own_params(module)
    trained = [param for param in params if param.requires_grad]
    weight_norm = norm([param.detach() for param in params])
    grads = [param.grad for param in trained if param.grad is not None]
    gradient_norm = norm(grads) if grads else (0.0 if trained else math.nan)
    return LayerInside(
        path,
        type(module).__name__,
        *(act.mean, act.std, act.zeros, act.channels, act.dead, act.saturated),
        weight_norm=weight_norm,
        gradient_norm=gradient_norm,
        gradient_to_weight=over(gradient_norm, weight_norm),
        weight_histogram=_histogram([param.detach() for param in params]),
        gradient_histogram=_histogram(grads),
        update_to_weight=update,
    )


def norm(tensors: list[Tensor]) -> float:
    """Euclidean norm of all together; NaN of none."""
    if not tensors:
        return math.nan
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one.float()) for one in tensors])))


def over(part: float, whole: float) -> float:
    """The ratio, infinite over a norm of 0."""
    return part / whole if whole else (math.inf if part > 0 else math.nan)


def _histogram(tensors: list[Tensor]) -> Ints | None:
    if not tensors:
        return None
    total: Ints = sum(map(histogram, tensors[1:]), histogram(tensors[0]))
    return total
