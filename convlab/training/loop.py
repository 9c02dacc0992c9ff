"""The training loop."""

from collections.abc import Callable

from convlab.training.step_watch import watched_update
from convlab.training.trainer import Trainer

Boundary = Callable[[], bool]


def train(
    trainer: Trainer, at_boundary: Boundary, last_step_done: Callable[[], None], epoch_done: Boundary = lambda: True
) -> bool:
    """Train until all epochs are done or patience runs out; False if `at_boundary`, called between steps, ended it.

    `last_step_done` is called in each epoch before its validation, `epoch_done` after it; that may end it, too.
    """
    if not at_boundary():
        return False
    while trainer.within_epoch or trainer.begin_epoch():
        for x, y in trainer.batches():
            watched_update(trainer, x, y)
            if not at_boundary():
                return False
        last_step_done()
        trainer.end_epoch()
        if not epoch_done():
            return False
    trainer.finish()
    return True
