"""What the learning rate of a live run will be, should nobody change anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from convlab.training.progress import StepsLeft, steps_left
from convlab.training.trainer import Trainer

MOST_STEPS: Final = 50_000
"""How far ahead a schedule is stepped: a third of a second's work, in a thread of its own."""

_TRIES: Final = 20


@dataclass(frozen=True, eq=False)
class Plan:
    """The lr of the steps to come.

    Attributes:
        steps: their numbers, from 1, rising, shape (steps,); where the lr only stays, the first and the last of them.
        lrs: the lr of each, shape (steps,).
        note: a sentence where the plan is not the whole truth, else empty.
    """

    steps: npt.NDArray[np.int64]
    lrs: npt.NDArray[np.float64]
    note: str = ""


def plan(trainer: Trainer) -> Plan:
    """The plan of a trainer as it stands; another thread may be training with it meanwhile."""
    scheduled = trainer.scheduled
    for _ in range(_TRIES):  # until no step came in between; where one did each time, the plan is a step off
        epoch_is_due = trainer.history.num_epochs < trainer.epoch
        done, lr = trainer.history.num_steps, scheduled.lr
        left, ahead = steps_left(trainer), scheduled.ahead()
        if done == trainer.history.num_steps:
            break
    by_hand = scheduled.by_hand
    count = left.steps if left else 0
    if left is None or not count:
        return Plan(np.empty(0, np.int64), np.empty(0))
    if ahead is None or by_hand:
        note = "The schedule waits while the lr is held or released." if by_hand else scheduled.over
        return Plan(np.array([done + 1, done + count])[: min(2, count)], np.full(min(2, count), lr), note)
    if isinstance(ahead, ReduceLROnPlateau):
        note = "ReduceLROnPlateau follows the validation loss, so only the present lr is known."
        return Plan(np.array([done + 1, done + count])[: min(2, count)], np.full(min(2, count), lr), note)
    if not left.present and epoch_is_due and scheduled.cadence == "epoch":
        ahead.step()  # the epoch's last step is done, its end is not
    lrs = np.fromiter(_lrs(ahead, left, scheduled.cadence == "step"), np.float64)
    note = "" if len(lrs) == count else f"The plan is drawn for the next {len(lrs):,} of {count:,} steps."
    return Plan(np.arange(done + 1, done + 1 + len(lrs)), lrs, note)


def _lrs(scheduler: LRScheduler, left: StepsLeft, each_step: bool) -> Iterator[float]:
    """The lr of every step, the scheduler stepped after each or after each epoch."""
    group = scheduler.optimizer.param_groups[0]
    over = False
    for step in range(1, min(left.steps, MOST_STEPS) + 1):
        yield float(group["lr"])
        ends_epoch = step >= left.present and (step - left.present) % left.per_epoch == 0
        if (each_step or ends_epoch) and not over:
            try:
                scheduler.step()
            except (ValueError, ArithmeticError):  # at its end, where the lr stays
                over = True
