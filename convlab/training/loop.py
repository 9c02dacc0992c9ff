"""The training loop."""

from collections.abc import Callable

from convlab.training.trainer import Trainer

Boundary = Callable[[], bool]


def train(trainer: Trainer, at_boundary: Boundary) -> bool:
    """Train until all epochs are done or patience runs out; False if `at_boundary`, called between steps, ended it."""
    if not at_boundary():
        return False
    while trainer.begin_epoch():
        for x, y in trainer.batches():
            trainer.update(x, y)
            if not at_boundary():
                return False
        trainer.end_epoch()
    trainer.finish()
    return True
