"""`convlab.range_test`: the loss while the lr grows with every step, after Smith (2017), arXiv:1506.01186."""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from torch import nn, optim

from convlab.data.resolve import resolve
from convlab.spec import Limits, SpecError, TrainSpec
from convlab.training.lr_rules import Array
from convlab.training.lr_sweep import Ending, LRSweep
from convlab.training.optimizers import apply_setting
from convlab.training.trainer import Criterion, NonFiniteError
from convlab.training.trial import LOOK_AT, Listener, Stopped, Stopper, Teller, Trial, has_diverged

_LR: Final = Limits(0, 1e3, 1e-7, above=True)
_STEPS: Final = Limits(12, 10**6, 100, whole=True)
_SEEDS: Final = Limits(1, 100, 3, whole=True)
_SMOOTHING: Final = Limits(0, 0.999, 0.7)
_FACTOR: Final = Limits(1, 1e6, 4.0, above=True)
# A best loss counts as at least this share of the first one when divergence is judged.
_FLOOR_SHARE: Final = 0.05
# Share of the past in the running average that is watched for divergence.
_WATCHED: Final = 0.9


def range_test(
    model: nn.Module,
    data: object,
    spec: TrainSpec | None = None,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_steps: int = 100,
    *,
    seeds: int = 1,
    criterion: Criterion | None = None,
    smoothing: float = 0.7,
    diverge_factor: float = 4.0,
    optimizer: optim.Optimizer | None = None,
    should_stop: Stopper | None = None,
    listener: Listener[LRSweep] | None = None,
) -> LRSweep:
    """Train a live model for some steps while the lr grows exponentially, then give everything back bit for bit.

    The steps are those of `fit`, with the recipe's optimizer, weight decay, momentum, precision and layout. Given back,
    after success, stop and exception alike: weights, buffers, each module's mode, `requires_grad`, gradients, the
    optimizers of paused runs, all random generators, the order of data. The result holds checksums that prove it. What
    stays is only the weights of lazy layers, which had none before.

    Args:
        model: any `nn.Module`; a run that trains it must be paused.
        data: what `fit` takes.
        spec: the recipe; its lr is not used.
        start_lr: the first lr, above 0.
        end_lr: the last lr, above `start_lr`.
        num_steps: steps from one to the other, evenly spaced in log lr.
        seeds: sweeps with different data orders and random numbers, averaged; their spread is the result's `band`.
        criterion: as for `fit`.
        smoothing: weight of a direct neighbour in the smoothed curve, in [0, 1).
        diverge_factor: stop when the smoothed loss is so many times its best.
        optimizer: one of your own to be proved untouched as well; it is not used.
        should_stop: asked before every step; True ends the sweep. Ctrl-C does too.
        listener: called with the sweep so far, at most ten times a second; dropped if it raises.

    Returns:
        The sweep: curve, suggestions, proof.

    Raises:
        SpecError: an argument cannot be.
        RuntimeError: a run is training the model right now.
        Exception: what the model, the data or the criterion raised, the sweep up to there as its attribute ``sweep``.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> sweep = range_test(lenet(), "digits")
        >>> sweep.given_back, 0.001 < sweep.suggestion().lr < 1
        (True, True)
    """
    spec = spec or TrainSpec()
    lrs = _spaced(start_lr, end_lr, num_steps)
    seeds = _checked("seeds", seeds, _SEEDS)
    trial = Trial(model, resolve(data), spec, criterion, optimizer, should_stop)
    sweeping = _Sweeping(
        trial, lrs, _checked("smoothing", smoothing, _SMOOTHING), _checked("diverge_factor", diverge_factor, _FACTOR)
    )
    teller = Teller(listener)
    try:
        with trial:
            try:
                for number in range(seeds):
                    for _ in sweeping.steps(spec.seed + number):
                        teller.tell(lambda: sweeping.result(spec))
            except (Stopped, KeyboardInterrupt):
                sweeping.ending = "stopped"
    except BaseException as error:
        with contextlib.suppress(AttributeError):
            error.sweep = sweeping.result(spec)  # type: ignore[attr-defined]  # a Python exception carries any attribute
        raise
    return sweeping.result(spec)


class _Sweeping:
    """A range test under way: one row of losses for each seed."""

    def __init__(self, trial: Trial, lrs: Array, smoothing: float, factor: float) -> None:
        self.trial, self.lrs, self.smoothing, self.factor = trial, lrs, smoothing, factor
        self.rows: list[list[float]] = []
        self.complete = 0
        self.ending: Ending = "end"

    def steps(self, seed: int) -> Iterator[None]:
        """One sweep, step by step; it ends early where the loss diverges or somebody stops it."""
        losses: list[float] = []
        self.rows.append(losses)
        try:
            yield from self._steps(seed, losses)
        except NonFiniteError:
            self.ending = "diverged"
        self.complete += 1

    def _steps(self, seed: int, losses: list[float]) -> Iterator[None]:
        trainer = self.trial.trainer(seed, float(self.lrs[0]))
        steps = self.trial.losses(trainer)
        average, best = 0.0, np.inf
        for done, lr in enumerate(self.lrs, 1):
            # Past the checks and the journal of a setting changed by hand: `lrs` are checked, and it is every step.
            apply_setting(trainer.optimizer, "lr", float(lr))
            losses.append(next(steps))
            if done == LOOK_AT:
                self.trial.look(losses)
            # Adam's bias correction: without it the average would begin at 0 and not at the first loss.
            average = _WATCHED * average + (1 - _WATCHED) * losses[-1]
            smoothed = average / (1 - _WATCHED**done)
            best = min(best, smoothed)
            yield
            if has_diverged(losses, smoothed, best, self.factor, _FLOOR_SHARE * abs(losses[0])):
                self.ending = "diverged"
                return

    def result(self, spec: TrainSpec) -> LRSweep:
        """The sweep so far. A row under way counts only while it is the only one: averages need whole ones."""
        rows = self.rows[: max(1, self.complete)]
        return LRSweep(
            lrs=self.lrs[: min(map(len, rows), default=0)],
            seed_losses=tuple(np.array(row) for row in rows),
            spec=spec,
            ending=self.ending,
            smoothing=self.smoothing,
            trained=self.trial.trained,
            checksum_before=self.trial.checksum_before,
            checksum_after=self.trial.checksum_after,
            seconds=self.trial.seconds,
        )


def _spaced(start_lr: float, end_lr: float, num_steps: int) -> Array:
    start, end = _checked("start_lr", start_lr, _LR), _checked("end_lr", end_lr, _LR)
    if start >= end:
        raise SpecError(f"end_lr must be above start_lr={start:g}, got {end:g}; try end_lr={min(1e3, start * 1e6):g}.")
    return np.geomspace(start, end, _checked("num_steps", num_steps, _STEPS))


def _checked(name: str, value: Any, limits: Limits) -> Any:
    return limits.checked(name, value)
