"""Those who watch single optimizer steps from within, in the training thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from convlab.training.trainer import Trainer


class StepWatcher(ABC):
    """Is told before and after each step of the trainers in whose `watchers` it is; one that raises is dropped."""

    @abstractmethod
    def before(self, trainer: Trainer, count: int) -> None:
        """A step on `count` samples comes next."""

    @abstractmethod
    def after(self, trainer: Trainer, loss: float | None) -> None:
        """It is done, with this loss and its gradients still there; None: it failed, and the weights are as before."""


def watched_update(trainer: Trainer, x: Tensor, y: Tensor) -> None:
    """`Trainer.update`, its watchers told."""
    watchers = tuple(trainer.watchers)
    for one in watchers:
        with _harmless(trainer, one):
            one.before(trainer, len(x))
    loss = None
    try:
        loss = trainer.update(x, y)
    finally:
        for one in watchers:
            with _harmless(trainer, one):
                one.after(trainer, loss)


@contextmanager
def _harmless(trainer: Trainer, watcher: StepWatcher) -> Iterator[None]:
    try:
        yield
    except Exception:  # who watches must not end a training
        with suppress(ValueError):  # gone already
            trainer.watchers.remove(watcher)
