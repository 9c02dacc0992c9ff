"""What the bench says when a run has failed, and the button that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlab.training.memory import is_out_of_memory, smaller_parts
from convlab.training.run import Point, Run
from convlab.training.trainer import NonFiniteError

if TYPE_CHECKING:
    from convlab.panels.lab import Lab


def tell_failure(lab: Lab, run: Run, error: BaseException) -> None:
    """Say what ended `run`, and offer a remedy where there is one."""
    step = run.history.num_steps + 1
    if is_out_of_memory(error):
        lab.messages.error(f"There was no memory for step {step:,}: {error}", run.traceback)
        if (parts := smaller_parts(run)) is not None:
            lab.messages.offer(
                f"Go on, {parts} at a time",
                f"Take up the batch again in parts of at most {parts} samples, whose gradients are added up, so that "
                f"the step is that of the whole batch; in Python: lab.fork(micro_batch_size={parts}).",
                lab.guarded(lambda: lab.fork(micro_batch_size=parts)),
            )
        return
    if not isinstance(error, NonFiniteError):
        lab.messages.error(f"Training stopped in step {step:,}: {type(error).__name__}: {error}", run.traceback)
        return
    text = f"{error}. Training has stopped; the model keeps the weights of step {run.history.num_steps:,}."
    lab.messages.error(f"{text[0].upper()}{text[1:]} A lower learning rate often helps.")
    point: Point = "start" if run.best is None else "best"
    which = "that this run began with" if run.best is None else f"of epoch {run.best.epoch}, the best so far"
    lab.messages.offer(
        f"Restore {point} weights",
        f'Put back the weights {which}; in Python: lab.current.restore("{point}").',
        lab.guarded(lambda: _put_back(lab, run, point, which)),
    )


def _put_back(lab: Lab, run: Run, point: Point, which: str) -> None:
    with lab.hand:
        if run is lab.current and run.ended:
            run.restore(point)
            lab.messages.note(f"The weights {which}, are back; Run trains on from there.")
