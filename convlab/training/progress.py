"""How far a run is and how fast, for display only: no number here reaches the training."""

import time
from collections import deque
from dataclasses import dataclass

from convlab.data.resolve import Data
from convlab.spec import TrainSpec
from convlab.training.trainer import Trainer


@dataclass(frozen=True)
class Progress:
    """Where a run stands: epochs and steps begun and planned, samples per second, seconds left (None: unknown)."""

    epoch: int
    epochs: int
    step: int
    steps: int | None
    samples_per_second: float | None
    seconds_left: float | None


class Speedometer:
    """Speed over the last seconds of training, pauses left out."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=30)

    def restart(self) -> None:
        """Forget the past, after a pause."""
        self._points.clear()

    def note(self, now: float, trainer: Trainer) -> None:
        """Note the position at monotonic time `now`, in seconds."""
        self._points.append((now, _epochs_done(trainer)))

    def progress(self, trainer: Trainer) -> Progress:
        """The numbers as of the last notes."""
        samples = trainer.data.train.num_samples
        points = tuple(self._points)
        rate = seconds = None
        if len(points) > 1 and points[-1][0] > points[0][0]:
            per_second = (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
            if per_second > 0:
                rate = per_second * samples if samples > 0 else None
                since = time.monotonic() - points[-1][0]
                seconds = max(0.0, (trainer.settings.epochs - points[-1][1]) / per_second - since)
        left = steps_left(trainer)
        steps = None if left is None else trainer.history.num_steps + left.steps
        return Progress(trainer.epoch, trainer.settings.epochs, trainer.history.num_steps, steps, rate, seconds)


@dataclass(frozen=True)
class StepsLeft:
    """Optimizer steps to come: in the present epoch, and in so many later ones."""

    present: int
    per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """All of them."""
        return self.present + self.per_epoch * self.epochs


def batch_size(data: Data, spec: TrainSpec) -> int:
    """Samples in a step: the recipe's, or that of the user's own `DataLoader`."""
    return data.train.batch_size or spec.batch_size


def steps_per_epoch(data: Data, spec: TrainSpec) -> int | None:
    """Optimizer steps in an epoch; None where the number of samples is unknown."""
    samples = data.train.num_samples
    return None if samples < 1 else -(-samples // batch_size(data, spec))


def steps_left(trainer: Trainer) -> StepsLeft | None:
    """What is left to do; None where the number of samples is unknown."""
    per_epoch = steps_per_epoch(trainer.data, trainer.settings)
    if per_epoch is None:
        return None
    samples, size = trainer.data.train.num_samples, batch_size(trainer.data, trainer.settings)
    present = -(-(samples - trainer.stepped) // size) if trainer.epoch else per_epoch
    return StepsLeft(present, per_epoch, max(0, trainer.settings.epochs - max(trainer.epoch, 1)))


def _epochs_done(trainer: Trainer) -> float:
    if not trainer.epoch:
        return 0.0
    return trainer.epoch - 1 + trainer.position / max(trainer.data.train.num_samples, 1)
