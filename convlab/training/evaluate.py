"""How good a model is on data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convlab.data.resolve import Data, resolve
from convlab.models.borrow import borrowed
from convlab.training.metrics import Metrics, Score, score
from convlab.training.rewind import as_it_is
from convlab.training.run import Run
from convlab.training.trainer import VALID_BATCH


def evaluate(
    model: nn.Module | Run, data: object = None, *, own: Mapping[str, Score] | None = None, part: str = "valid"
) -> Metrics:
    """Score a model on data, in eval mode; it is given back as it was.

    Args:
        model: a network, or a run, whose weights are those that it ended with.
        data: what `convlab.fit` takes; the run's own if left out.
        own: further scores by name, each ``score(outputs, targets) -> number``.
        part: ``"valid"``, or ``"train"``; without validation data, the training data.

    Raises:
        ValueError, TypeError: an argument cannot be, or the outputs are none that can be scored; the message says why.
        RuntimeError: the run is training right now.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.spec import TrainSpec
        >>> from convlab.training.fit import fit
        >>> metrics = evaluate(fit(lenet(), "digits", TrainSpec(epochs=10)))
        >>> metrics.scores["f1"] > 0.8, metrics.confusion.shape
        (True, (10, 10))
    """
    if part not in ("valid", "train"):
        raise ValueError(f"part must be 'valid' or 'train', got {part!r}; try part='valid'.")
    if isinstance(model, Run):
        found = model.data if data is None else resolve(data)
        with as_it_is(model):
            outputs, targets = outputs_of(model.model, found, part)
    else:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module or a Run, got {type(model).__name__}; try evaluate(run).")
        if data is None:
            raise ValueError("data is missing; try evaluate(model, (X, y)), or evaluate(run).")
        found = resolve(data)
        outputs, targets = outputs_of(model, found, part)
    return score(outputs, targets, found.classes, own=own)


def outputs_of(model: nn.Module, data: Data, part: str = "valid") -> tuple[Tensor, Tensor]:
    """What the model says of every sample, and what it should: on the CPU, in the data's order."""
    source = data.train if part == "train" or data.valid is None else data.valid
    device = next((param.device for param in model.parameters()), torch.device("cpu"))
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    with borrowed(model), torch.no_grad():
        model.eval()
        for x, y in source.batches(None, 0, VALID_BATCH, device, torch.contiguous_format):
            output = model(x)
            if not isinstance(output, Tensor):
                raise TypeError(f"the model returned a {type(output).__name__}, which has no scores; return a tensor.")
            outputs.append(output.float().cpu())
            targets.append(y.cpu())
    return torch.cat(outputs), torch.cat(targets)
