"""Short trainings of a live model from one and the same state, for a question about learning rates."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import numpy as np
from torch import Tensor, nn, optim
from torch.nn.parameter import is_lazy

from convlab.data.resolve import Data
from convlab.data.sources import TensorSource
from convlab.models.borrow import restore, snapshot
from convlab.spec import LIMITS, TrainSpec
from convlab.training.active import active_runs
from convlab.training.host_random import numpy_untouched
from convlab.training.lending import checksum, lent
from convlab.training.threads import own_threads
from convlab.training.trainer import Criterion, Trainer

Stopper = Callable[[], bool]
Result = TypeVar("Result")
Listener = Callable[[Result], None]

TICK_SECONDS: Final = 0.1
"""Shortest time between two calls of a listener."""

LOOK_AT: Final = 3
"""Steps whose losses tell how good the model was in the beginning."""


class Stopped(Exception):  # noqa: N818  # no error: somebody had seen enough
    """Somebody ended the trial: `should_stop` said so."""


class Trial:
    """A live model on loan: each `trainer` begins from the same weights, and everything is given back on leaving.

    Use it as a context. Inside, `step` is an optimizer step of the same `Trainer` that `fit` uses, on full batches.

    Attributes:
        checksum_before, checksum_after: `lending.checksum` around the loan.
        trained: a sentence where the model is found half-trained; known after the first steps.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        spec: TrainSpec,
        criterion: Criterion | None,
        optimizer: optim.Optimizer | None,
        should_stop: Stopper | None,
    ) -> None:
        # Neither early stopping nor an end of the planned epochs nor a schedule has a meaning for a trial.
        self.model, self.data = model, data
        self.spec = spec.replace(epochs=int(LIMITS["epochs"].high), patience=None, schedule=None)
        self.criterion = criterion
        self.should_stop = should_stop or (lambda: False)
        self.trained = ""
        self.checksum_before = self.checksum_after = ""
        self._optimizers = () if optimizer is None else (optimizer,)
        self._loan = contextlib.ExitStack()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since it was made."""
        return time.monotonic() - self._began

    def __enter__(self) -> "Trial":
        if any(is_lazy(param) for param in self.model.parameters()):
            # Their weights come to be with the first look at the data, here as in a training, and stay.
            with lent(self.model, self.data):
                Trainer(self.model, self.data, self.spec, self.criterion)
        self.checksum_before = self._checksum()
        with contextlib.ExitStack() as loan:
            loan.enter_context(lent(self.model, self.data))
            loan.enter_context(numpy_untouched())
            first = Trainer(self.model, self.data, self.spec, self.criterion)
            self.spec = self.spec.replace(threads=first.threads)
            loan.enter_context(own_threads(first.threads))
            self._start = snapshot(self.model)
            self._first: Trainer | None = first
            self._loan = loan.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._loan.close()
        self.checksum_after = self._checksum()

    def _checksum(self) -> str:
        return checksum(self.model, self.data, *self._optimizers)

    def trainer(self, seed: int, lr: float) -> Trainer:
        """A fresh trainer of the model as it was in the beginning, with fresh momentum and random numbers."""
        if self._first is not None and self._first.spec.seed == seed:
            trainer, self._first = self._first, None
        else:
            restore(self._start)
            trainer = Trainer(self.model, self.data, self.spec.replace(seed=seed), self.criterion)
        trainer.set("lr", lr)
        return trainer

    def losses(self, trainer: Trainer) -> Iterator[float]:
        """The loss of one step after another, for ever.

        Raises:
            NonFiniteError: the loss or a gradient is not finite.
            Stopped: somebody wants to stop.
        """
        for x, y in full_batches(trainer):
            if self.should_stop():
                raise Stopped
            yield trainer.update(x, y)

    def look(self, losses: list[float]) -> None:
        """Tell from the first losses, at an lr that changes nothing yet, whether the model is half-trained."""
        steps = max((run.history.num_steps for run in active_runs(self.model)), default=0)
        chance = _chance(self.data) if self.criterion is None else None
        start = float(np.median(losses))
        if chance is not None and start < 0.75 * chance:
            self.trained = (
                f"The model is half-trained: its loss begins at {start:.3g}, where guessing has {chance:.3g}; "
                "the answer is for training on from here."
            )
        elif steps:
            self.trained = (
                f"The model is half-trained: a paused run has done {steps} steps on it; "
                "the answer is for training on from here."
            )


def full_batches(trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end, the smaller last one of an epoch left out, unless the data hold no full one."""
    size = trainer.data.train.batch_size or trainer.settings.batch_size
    while trainer.begin_epoch():
        first = True
        with contextlib.closing(trainer.batches()) as batches:  # type: ignore[type-var]  # it is a generator
            for x, y in batches:
                if first or len(x) >= size:
                    yield x, y
                first = False
        if first:
            raise ValueError("the training data have no batch; pass at least one sample.")


def _chance(data: Data) -> float | None:
    """The loss of a model that knows nothing but how frequent each class is, or the mean."""
    if data.num_classes is not None:
        return math.log(data.num_classes)
    if isinstance(data.train, TensorSource) and len(data.train.y) > 1:
        return float(data.train.y.double().var())
    return None


def has_diverged(losses: list[float], smoothed: float, best: float, factor: float, floor: float) -> bool:
    """Whether the smoothed loss and the last three raw ones are so many times the best: one spike is no divergence.

    Args:
        losses: raw losses so far.
        smoothed: the smoothed loss now.
        best: the lowest smoothed loss so far.
        factor: how many times the best, above 1.
        floor: a loss below which `best` counts as this much: near 0 noise alone makes any multiple.
    """
    limit = best + (factor - 1) * max(abs(best), floor)
    return smoothed > limit and min(losses[-3:]) > limit


class Teller(Generic[Result]):
    """Tells a listener of the result so far, ten times a second at most; one that raises is dropped."""

    def __init__(self, listener: Listener[Result] | None) -> None:
        self._listener = listener
        self._next = 0.0

    def tell(self, result: Callable[[], Result]) -> None:
        """Call the listener with ``result()`` if it is time to."""
        if self._listener is None or (now := time.monotonic()) < self._next:
            return
        self._next = now + TICK_SECONDS
        try:
            self._listener(result())
        except Exception:  # a broken display must not end a trial
            self._listener = None
