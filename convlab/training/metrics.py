"""How good outputs are: the scores of one pass over data, with scikit-learn's definitions and to its last digits.

For classes they are made of the confusion matrix and of ranks: scikit-learn's own functions take longer than an epoch
of a small network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Task = Literal["classes", "two classes", "numbers"]
Score = Callable[[Tensor, Tensor], float]

BINS: Final = 10
"""Of confidence, for the calibration."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often the model is right, by how sure it says it is.

    Attributes:
        confidence: mean probability of the predicted class in each bin, shape (10,); NaN in an empty one.
        accuracy: share of right predictions in each bin, shape (10,).
        count: samples in each bin, shape (10,).
        error: expected calibration error: mean distance of the two, weighted by count.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
    """

    confidence: Floats
    accuracy: Floats
    count: Ints
    error: float


@dataclass(frozen=True, eq=False)
class Metrics:
    """Scores of a model on data. What has no meaning for the task is None.

    Attributes:
        task: ``"classes"``, ``"two classes"`` (also with one output for both), or ``"numbers"``.
        count: samples.
        classes: their names, in the order of their labels.
        scores: by name: accuracy, precision, recall, f1 (the mean over classes, "macro"), roc_auc (one against the
            rest, mean over classes), calibration_error; or mae, rmse, r2; and the user's own.
        per_class: for each class precision, recall, f1 and support, shape (classes, 4).
        confusion: how many samples of class i were taken for class j, shape (classes, classes).
        calibration: of the probabilities.
        predicted, targets: class by class, or number by number, shape (count,) or the output's own; None where only the
            sums were kept, as of most epochs of a run.
        confidence: the probability of what was predicted, shape (count,).
    """

    task: Task
    count: int
    classes: tuple[str, ...]
    scores: Mapping[str, float]
    per_class: Floats | None
    confusion: Ints | None
    calibration: Calibration | None
    predicted: npt.NDArray[Any] | None
    targets: npt.NDArray[Any] | None
    confidence: Floats | None = None

    def taken_for(self, target: int, predicted: int) -> Ints:
        """Which samples of class `target` were taken for class `predicted`: their places in the data, rising.

        Raises:
            LookupError: the predictions were not kept.
        """
        if self.predicted is None or self.targets is None:
            raise LookupError("the predictions were not kept; those of the last and of the best epoch are.")
        found: Ints = np.flatnonzero((self.targets == target) & (self.predicted == predicted))
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """For classes a row each, with precision, recall, f1 and support; for numbers one row with the scores."""
        import pandas as pd

        if self.per_class is None:
            return pd.DataFrame([dict(self.scores)])
        table = pd.DataFrame(self.per_class, columns=["precision", "recall", "f1", "support"])
        table.insert(0, "class", list(self.classes))
        return table.astype({"support": int})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the confusion matrix, or predictions against targets, on `ax` or on a figure of its own."""
        from convlab.plots.metrics import plot_metrics

        return plot_metrics(self, ax)

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.scores.items())
        return f"Metrics({self.count} samples, {told})"


def score(
    outputs: Tensor, targets: Tensor, classes: tuple[str, ...] = (), *, own: Mapping[str, Score] | None = None
) -> Metrics:
    """Score outputs: logits ``(N, classes)``, ``(N,)`` or ``(N, 1)`` for two classes; numbers where there are none.

    Example:
        >>> metrics = score(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]]), torch.tensor([0, 1, 1]), ("cat", "dog"))
        >>> metrics.confusion.tolist()
        [[1, 0], [1, 1]]
    """
    found = _numbers(outputs, targets) if not classes else _classes(outputs, targets, classes)
    scores = dict(found.scores)
    for name, function in (own or {}).items():
        scores[name] = float(function(outputs, targets))
    return Metrics(**{**vars(found), "scores": scores})


def _numbers(outputs: Tensor, targets: Tensor) -> Metrics:
    from sklearn import metrics

    said = outputs.reshape(targets.shape).double().numpy()
    wanted = targets.double().numpy()
    flat = said.reshape(len(said), -1), wanted.reshape(len(wanted), -1)
    if not np.isfinite(flat[0]).all():
        raise ValueError("an output is infinite or NaN, so there is nothing to score.")
    scores = {
        "mae": float(metrics.mean_absolute_error(flat[1], flat[0])),
        "rmse": float(metrics.root_mean_squared_error(flat[1], flat[0])),
        "r2": float(metrics.r2_score(flat[1], flat[0])) if len(wanted) > 1 else float("nan"),
    }
    return Metrics("numbers", len(wanted), (), scores, None, None, None, said, wanted)


def _classes(outputs: Tensor, targets: Tensor, classes: tuple[str, ...]) -> Metrics:
    shares = _shares(outputs, len(classes))
    wanted = targets.numpy()
    if wanted.ndim != 1 or len(wanted) != len(shares):
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} do not go together; scores are for one "
            "label a sample."
        )
    if not np.isfinite(shares).all():
        raise ValueError("an output is infinite or NaN, so there is nothing to score.")
    predicted = shares.argmax(1)
    count = len(classes)
    confusion = np.bincount(wanted * count + predicted, minlength=count * count).reshape(count, count)
    per_class = _per_class(confusion)
    calibration = _calibration(shares, wanted)
    precision, recall, f1, _ = per_class.mean(0)
    scores = {
        "accuracy": float((predicted == wanted).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": _auc(shares, wanted),
        "calibration_error": calibration.error,
    }
    return Metrics(
        task="two classes" if count == 2 else "classes",
        count=len(wanted),
        classes=classes,
        scores=scores,
        per_class=per_class,
        confusion=confusion,
        calibration=calibration,
        predicted=predicted,
        targets=wanted,
        confidence=shares.max(1),
    )


def _per_class(confusion: Ints) -> Floats:
    """Precision, recall, f1 and support of each class; 0 where there is nothing to divide by."""
    right, said, support = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(said + support, 1)
    return np.stack([precision, recall, f1, support], axis=1)


def _shares(outputs: Tensor, count: int) -> Floats:
    """Probabilities, shape (N, classes)."""
    flat = outputs.double()
    if flat.dim() == 2 and flat.shape[1] == count:
        return flat.softmax(1).numpy()
    if count == 2 and flat.numel() == len(flat):
        second = flat.reshape(-1).sigmoid()
        return torch.stack([1 - second, second], 1).numpy()
    raise ValueError(
        f"outputs of shape {tuple(outputs.shape)} are no logits for {count} classes; they would have shape "
        f"({len(outputs)}, {count})."
    )


def _auc(shares: Floats, wanted: Ints) -> float:
    """One class against the rest, the mean over those classes that are there and are not all.

    By ranks (Mann and Whitney, 1947): for all classes at once a hundred times as fast as a call for each.
    """
    from scipy.stats import rankdata

    hot = wanted[:, None] == np.arange(shares.shape[1])
    if shares.shape[1] == 2:
        shares, hot = shares[:, 1:], hot[:, 1:]
    own = hot.sum(0)
    others = len(wanted) - own
    there = (own > 0) & (others > 0)
    if not there.any():
        return float("nan")
    own, others = own[there], others[there]
    above = (rankdata(shares[:, there], axis=0) * hot[:, there]).sum(0) - own * (own + 1) / 2
    return float((above / (own * others)).mean())


def _calibration(shares: Floats, wanted: Ints) -> Calibration:
    sure, right = shares.max(1), shares.argmax(1) == wanted
    place = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, sure, BINS) / count
        accuracy = np.bincount(place, right, BINS) / count
    error = float(np.nansum(np.abs(confidence - accuracy) * count) / count.sum())
    return Calibration(confidence, accuracy, count, error)
