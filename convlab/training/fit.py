"""`convlab.fit`: train and wait."""

import warnings
from collections.abc import Mapping, Sequence

from torch import nn

from convlab.spec import TrainSpec
from convlab.training.journal import Change
from convlab.training.metrics import Score
from convlab.training.run import Run
from convlab.training.trainer import Criterion, NonFiniteError


def fit(
    model: nn.Module,
    data: object,
    spec: TrainSpec | None = None,
    *,
    criterion: Criterion | None = None,
    metrics: Mapping[str, Score] | None = None,
    journal: Sequence[Change] = (),
) -> Run:
    """Train `model` in place on `data` and return the finished `Run`; the same training as the bench's, blocking.

    Args:
        model: any `nn.Module`.
        data: ``"digits"``, ``"shapes"``, ``(X, y)``, ``(train, valid)`` data sets or loaders; X is (N, C, H, W).
        spec: the recipe; `TrainSpec()` if left out.
        criterion: ``criterion(output, target) -> scalar``; cross-entropy for classes, mean squared error for numbers.
        metrics: further scores of each epoch by name, each ``f(outputs, targets) -> number``; see `Run.metrics`.
        journal: changes to make in flight, each at its step: ``fit(model, data, run.spec, journal=run.journal)``
            repeats a run bit for bit from the same weights.

    Returns:
        The run: `finished`; `stopped` after Ctrl-C; `failed`, with a warning, where the loss became infinite or NaN.

    Raises:
        Exception: what the model, the data or the criterion raised, with the run up to there as its attribute ``run``.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> run = fit(lenet(), "digits", TrainSpec(epochs=4))
        >>> run.history.epochs[-1].valid_accuracy > 0.5
        True
    """
    run = Run(model, data, spec, criterion=criterion, metrics=metrics, journal=journal).start().wait()
    report_failure(run, stacklevel=3)
    return run


def report_failure(run: Run, stacklevel: int = 2) -> None:
    """Raise what ended a failed run, the run attached as ``error.run``; warn where the numbers were not finite."""
    if run.error is None:
        return
    if isinstance(run.error, NonFiniteError):
        warnings.warn(f"{run.error}; {run.advice()}", RuntimeWarning, stacklevel=stacklevel)
        return
    run.error.run = run  # type: ignore[attr-defined]  # a Python exception carries any attribute
    raise run.error
