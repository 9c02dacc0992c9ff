"""`convlab.fit`: train and wait."""

import warnings
from collections.abc import Mapping, Sequence

from torch import nn

from convlab.spec import TrainSpec
from convlab.training.journal import Change
from convlab.training.metrics import Score
from convlab.training.processes import PROCESSES, fit_in_processes
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
    processes: int = 1,
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
        processes: from 1 to 64 processes of this machine, each with its part of every batch: on the CPU with its share
            of the cores, else with a GPU of its own. See below.

    Returns:
        The run: `finished`; `stopped` after Ctrl-C; `failed`, with a warning, where the loss became infinite or NaN.

    Raises:
        SpecError: `processes` cannot be, with these data or on this machine.
        TypeError: with several processes: model, data, criterion or metrics cannot be pickled.
        ProcessesError: the processes were killed, from outside or for lack of memory, more than three times.
        Exception: what the model, the data or the criterion raised, with the run up to there as its attribute ``run``.

    With several processes the gradients of the parts are added up, weighed by their samples, before each step, so
    that curve and weights are those of one process but for the order of sums: within 1e-5 of one another after
    three epochs on digits. That takes a criterion that is a mean over samples. Where a layer looks at its whole
    batch or draws, they differ: BatchNorm sees a part (a last batch of one sample for a process is left out), and
    keeps the statistics of the first process; each process draws its own dropout. Data are pairs of arrays, a
    built-in, or data sets, of whose batches each process reads its part; not loaders. Model, data, criterion and
    metrics are pickled into a private temporary directory, a notebook's own classes with them.

    A process that is killed takes the training back to its last whole epoch, from which it goes on; they all end
    within seconds when this one does, however it ends. They take some ten seconds to begin. Of the run's
    `snapshots` the last stays. Where a process was killed, `Run.metrics` of the epochs before have numbers alone, or
    are missing.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> run = fit(lenet(), "digits", TrainSpec(epochs=4))
        >>> run.history.epochs[-1].valid_accuracy > 0.5
        True
        >>> run = fit(lenet(), "digits", TrainSpec(epochs=4), processes=2)  # doctest: +SKIP
    """
    if PROCESSES.checked("processes", processes) == 1:
        run = Run(model, data, spec, criterion=criterion, metrics=metrics, journal=journal).start().wait()
    else:
        run = fit_in_processes(model, data, spec, criterion, metrics, journal, processes)
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
