"""Train a run again, and find the first step at which it differs, if any."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from convlab.models._edit.history import capture as structure_of
from convlab.models._edit.history import put_back as put_structure_back
from convlab.training.lending import put_generator_back, state_of_generator
from convlab.training.rewind import come_back, refuse_others
from convlab.training.state import TrainerState

if TYPE_CHECKING:
    from convlab.training.run import Run


@dataclass(frozen=True, eq=False)
class Replay:
    """What became of a repetition.

    Attributes:
        run: the second run, on a copy of the model.
        steps: how many were compared.
        first_difference: the first step whose loss differs in any bit, or None.
        then, now: that step's training loss in the two runs; None without a difference.
        epoch: the first epoch whose validation differs where no step does, or None.
        notes: what else was different when the run was made: versions, machine, threads.
    """

    run: Run
    steps: int
    first_difference: int | None
    then: float | None
    now: float | None
    epoch: int | None
    notes: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether the two runs are the same bit for bit, as far as their curves tell."""
        return self.first_difference is None and self.epoch is None

    def __str__(self) -> str:
        if self.is_same:
            text = f"All {self.steps:,} steps are repeated bit for bit."
        elif self.first_difference is None:
            text = f"All {self.steps:,} steps are repeated bit for bit; the validation of epoch {self.epoch} is not."
        else:
            text = (
                f"The runs part in step {self.first_difference:,} of {self.steps:,}: the loss was {self.then!r} and is "
                f"{self.now!r} now."
            )
        return " ".join((text, *self.notes))


def replay(run: Run) -> Replay:
    """Train a run again from its beginning, on a copy of the model: same weights, recipe, journal and data.

    Args:
        run: paused or ended, or loaded from a file.

    Raises:
        RuntimeError: it has not begun, it or another run is training, or its beginning is not known any more.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.spec import TrainSpec
        >>> from convlab.training.fit import fit
        >>> print(replay(fit(lenet(), "digits", TrainSpec(epochs=1))))
        All 45 steps are repeated bit for bit.
    """
    from convlab.training.run import Run

    if not run.ended and not run.standing:
        raise RuntimeError(f"this run is {run.state}; run.pause() or run.stop() it first, then convlab.replay(run).")
    refuse_others(run)
    if not len(run.snapshots) or run.snapshots[0].step:
        raise RuntimeError(
            f"the beginning of this run is not known any more. {run.snapshots.note or 'It was loaded without it.'}"
        )
    come_back(run)
    began = run.snapshots[0].state
    own = [(generator, state_of_generator(generator)) for generator, _ in began.streams.own]
    try:
        for generator, state in began.streams.own:
            put_generator_back(generator, state)
        spec = run.spec.replace(threads=run.threads, device=str(run.device))
        again = Run(
            _copy_of_beginning(run.model, began),
            run.data,
            spec,
            criterion=run._trainer._own_criterion,
            journal=run.journal,
            name=f"{run.name or 'run'}, again",
            snapshot_bytes=0,
        )
        if run.state in ("finished", "failed"):
            again.start().wait()
        elif steps := run.history.num_steps:
            again.step(steps).stop()
    finally:
        for generator, state in own:
            put_generator_back(generator, state)
    return _compared(run, again)


def _copy_of_beginning(model: nn.Module, began: TrainerState) -> nn.Module:
    now = structure_of(model)
    put_structure_back(model, began.structure)
    try:
        modes = dict(began.structure.weights.modes)
        trains = {id(param): requires for param, requires, _ in began.structure.weights.grads}
        twin = copy.deepcopy(model)
        for module, like in zip(twin.modules(), model.modules(), strict=True):
            module.training = modes[like]
        for param, original in zip(twin.parameters(), model.parameters(), strict=True):
            param.requires_grad_(trains[id(original)])
            param.grad = None
    finally:
        put_structure_back(model, now)
    return twin


def _compared(run: Run, again: Run) -> Replay:
    then, now = run.history, again.history
    count = min(len(then.train_loss), len(now.train_loss))
    equal = np.equal(then.train_loss[:count], now.train_loss[:count])
    equal |= np.isnan(then.train_loss[:count]) & np.isnan(now.train_loss[:count])
    row = int(np.argmin(equal)) if not equal.all() else None
    if row is None and then.num_steps != now.num_steps:
        row = count
    first = None if row is None else row * then.stride + 1
    epochs = [
        a.epoch for a, b in zip(then.epochs, now.epochs, strict=False) if repr(a.valid_loss) != repr(b.valid_loss)
    ]
    return Replay(
        run=again,
        steps=min(then.num_steps, now.num_steps),
        first_difference=first,
        then=None if row is None or row >= len(then.train_loss) else float(then.train_loss[row]),
        now=None if row is None or row >= len(now.train_loss) else float(now.train_loss[row]),
        epoch=None if first is not None or not epochs else epochs[0],
        notes=tuple(
            f"{name}: {run.machine.get(name, 'unknown')} then, {now_is} now."
            for name, now_is in again.machine.items()
            if run.machine.get(name) != now_is
        ),
    )
