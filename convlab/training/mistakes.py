"""Which samples make up a cell of a confusion matrix, the most telling first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convlab.training.metrics import Metrics


@dataclass(frozen=True)
class Example:
    """One sample.

    Attributes:
        index: its place in the validation data.
        target, predicted: what it is, and what the model says; labels.
        confidence: the probability of what the model says.
    """

    index: int
    target: int
    predicted: int
    confidence: float


def examples(metrics: Metrics, target: int, predicted: int, most: int = 24) -> list[Example]:
    """The samples of class `target` that were taken for `predicted`.

    Of mistakes those come first that the model was surest of, of right answers those that it was least sure of.

    Raises:
        LookupError: the predictions were not kept, or there is no such class.

    Example:
        >>> import torch
        >>> from convlab.training.metrics import score
        >>> logits = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
        >>> found = examples(score(logits, torch.tensor([1, 1, 1]), ("cat", "dog")), 1, 0)
        >>> [(one.index, round(one.confidence, 2)) for one in found]
        [(1, 0.95), (0, 0.88)]
    """
    for name, label in (("target", target), ("predicted", predicted)):
        if not 0 <= label < len(metrics.classes):
            raise LookupError(f"{name} must be a label from 0 to {len(metrics.classes) - 1}, got {label!r}; try 0.")
    places = metrics.taken_for(target, predicted)
    assert metrics.confidence is not None
    sure = metrics.confidence[places]
    order = np.argsort(sure if target == predicted else -sure, kind="stable")[:most]
    return [Example(int(places[i]), target, predicted, float(sure[i])) for i in order]
