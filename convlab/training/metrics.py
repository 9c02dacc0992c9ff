"""How good a model is on data: scikit-learn's scores on the outputs of one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convlab.data.resolve import Data, resolve
from convlab.models.borrow import borrowed
from convlab.training.rewind import as_it_is
from convlab.training.run import Run
from convlab.training.trainer import VALID_BATCH

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
        predicted, targets: class by class, or number by number, shape (count,) or the output's own.
    """

    task: Task
    count: int
    classes: tuple[str, ...]
    scores: Mapping[str, float]
    per_class: Floats | None
    confusion: Ints | None
    calibration: Calibration | None
    predicted: npt.NDArray[Any]
    targets: npt.NDArray[Any]

    def taken_for(self, target: int, predicted: int) -> Ints:
        """Which samples of class `target` were taken for class `predicted`: their places in the data, rising."""
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


@dataclass
class _Outputs:
    outputs: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)


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
    kept = _Outputs()
    with borrowed(model), torch.no_grad():
        model.eval()
        for x, y in source.batches(None, 0, VALID_BATCH, device, torch.contiguous_format):
            output = model(x)
            if not isinstance(output, Tensor):
                raise TypeError(f"the model returned a {type(output).__name__}, which has no scores; return a tensor.")
            kept.outputs.append(output.float().cpu())
            kept.targets.append(y.cpu())
    return torch.cat(kept.outputs), torch.cat(kept.targets)


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
    from sklearn import metrics

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
    labels = list(range(len(classes)))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        wanted, predicted, labels=labels, zero_division=0
    )
    calibration = _calibration(shares, wanted)
    scores = {
        "accuracy": float((predicted == wanted).mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1": float(f1.mean()),
        "roc_auc": _auc(shares, wanted),
        "calibration_error": calibration.error,
    }
    return Metrics(
        task="two classes" if len(classes) == 2 else "classes",
        count=len(wanted),
        classes=classes,
        scores=scores,
        per_class=np.stack([precision, recall, f1, support], axis=1),
        confusion=metrics.confusion_matrix(wanted, predicted, labels=labels),
        calibration=calibration,
        predicted=predicted,
        targets=wanted,
    )


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
    """One class against the rest, the mean over those classes that are there and are not all."""
    from sklearn.metrics import roc_auc_score

    if shares.shape[1] == 2:
        return float(roc_auc_score(wanted, shares[:, 1])) if len(np.unique(wanted)) == 2 else float("nan")
    areas = [
        float(roc_auc_score(wanted == label, shares[:, label]))
        for label in np.unique(wanted)
        if 0 < (wanted == label).sum() < len(wanted)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def _calibration(shares: Floats, wanted: Ints) -> Calibration:
    sure, right = shares.max(1), shares.argmax(1) == wanted
    place = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, sure, BINS) / count
        accuracy = np.bincount(place, right, BINS) / count
    error = float(np.nansum(np.abs(confidence - accuracy) * count) / count.sum())
    return Calibration(confidence, accuracy, count, error)
