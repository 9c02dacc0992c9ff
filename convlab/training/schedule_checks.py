"""Whether a scheduler's plan fits the number of its steps: the commonest mistake with schedules, found beforehand."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from convlab.schedule_spec import Cadence

NEGLIGIBLE: Final = 1e-6
"""An lr so many times smaller than its peak moves nothing that matters in float32."""


@dataclass(frozen=True)
class _Plan:
    """A length that a scheduler was built for, in calls of its `step`."""

    name: str
    length: int
    ends: bool = False
    climbs: bool = False


def _plan(scheduler: Any) -> _Plan | None:
    """`ends`: the plan should be complete at the end. `climbs`: past it the lr rises again."""
    match scheduler:
        case lr_scheduler.OneCycleLR():
            return _Plan("total_steps", scheduler.total_steps, ends=True)
        case lr_scheduler.CosineAnnealingLR():
            return _Plan("T_max", scheduler.T_max, ends=True, climbs=True)
        case lr_scheduler.PolynomialLR() | lr_scheduler.LinearLR() | lr_scheduler.ConstantLR():
            return _Plan("total_iters", scheduler.total_iters)
        case lr_scheduler.CosineAnnealingWarmRestarts():
            return _Plan("T_0", scheduler.T_0)
        case lr_scheduler.CyclicLR():
            return _Plan("step_size_up", round(scheduler.total_size * scheduler.step_ratio))
        case lr_scheduler.StepLR():
            return _Plan("step_size", scheduler.step_size)
        case lr_scheduler.MultiStepLR():
            return _Plan("the first of milestones", min(scheduler.milestones))
        case _:
            return None


def cadence_notes(scheduler: LRScheduler, calls: int, cadence: Cadence, steps_per_epoch: int | None) -> list[str]:
    """Sentences on every part of `scheduler` whose plan and number of calls differ.

    Args:
        scheduler: before its first step, or live, `last_epoch` steps on.
        calls: how often its `step` will be called.
        cadence: when it is called.
        steps_per_epoch: optimizer steps in an epoch, if known.
    """
    if isinstance(scheduler, lr_scheduler.SequentialLR):
        starts = [0, *scheduler._milestones]
        ends = [*scheduler._milestones, max(calls + scheduler.last_epoch, starts[-1])]
        if starts[-1] >= calls + scheduler.last_epoch:
            return [_too_long("the last of milestones", starts[-1], scheduler, calls, cadence, steps_per_epoch)]
        parts = zip(scheduler._schedulers, starts, ends, strict=True)
        return [
            note
            for part, start, end in parts
            for note in cadence_notes(part, end - start - max(part.last_epoch, 0), cadence, steps_per_epoch)
        ]
    if isinstance(scheduler, lr_scheduler.ChainedScheduler):
        return [n for part in scheduler._schedulers for n in cadence_notes(part, calls, cadence, steps_per_epoch)]
    plan = _plan(scheduler)
    if plan is None:
        return []
    total = calls + max(scheduler.last_epoch, 0)
    # One call is no matter: the last lr is that of the last but one call, and T_max is often set to steps - 1.
    if total < plan.length - 1 and (not plan.ends or total < 0.95 * plan.length):
        return [_too_long(plan.name, plan.length, scheduler, total, cadence, steps_per_epoch)]
    if plan.climbs and total > plan.length + 1:
        return [_too_short(plan, scheduler, total, cadence, steps_per_epoch)]
    return []


def _too_long(
    name: str, length: int, scheduler: LRScheduler, calls: int, cadence: Cadence, steps_per_epoch: int | None
) -> str:
    text = (
        f"{type(scheduler).__name__} has {name}={length} but steps only {_times(calls, cadence)}, "
        f"so that it gets {calls / length:.0%} of the way"
    )
    if cadence == "epoch":
        if steps_per_epoch and _near(length, calls * steps_per_epoch):
            return f"{text}: {length} is the number of optimizer steps; use cadence='step', or {name}={calls}."
        return f"{text}; use {name}={calls}, or cadence='step' if it counts steps."
    return f"{text}; use {name}={calls}, or train longer."


def _too_short(plan: _Plan, scheduler: LRScheduler, calls: int, cadence: Cadence, steps_per_epoch: int | None) -> str:
    text = (
        f"{type(scheduler).__name__} has {plan.name}={plan.length} but steps {_times(calls, cadence)}: "
        f"past {plan.length} the lr climbs back"
    )
    if cadence == "step":
        if steps_per_epoch and _near(plan.length, calls / steps_per_epoch):
            return f"{text}; {plan.length} is the number of epochs: use cadence='epoch', or {plan.name}={calls}."
        return f"{text}; use {plan.name}={calls}, or cadence='epoch' if it counts epochs."
    return f"{text}; use {plan.name}={calls}."


def _times(calls: int, cadence: Cadence) -> str:
    return f"{calls} times" if cadence == "step" else f"{calls} times, once an epoch"


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= max(1.0, 0.05 * b)


def endless_note(lrs: npt.NDArray[np.float64]) -> str | None:
    """A sentence where the lr outgrows all numbers."""
    beyond = np.flatnonzero(~np.isfinite(lrs).all(axis=1))
    if not beyond.size:
        return None
    return f"from step {beyond[0] + 1} on the lr is infinite and the training fails; it must not grow with every call."


def flat_end_note(lrs: npt.NDArray[np.float64], cadence: Cadence, stride: int) -> str | None:
    """A sentence where the lr is next to nothing for more than the last tenth of the steps."""
    largest = lrs.max(axis=1)
    moving = np.flatnonzero(largest > NEGLIGIBLE * largest.max())
    last = int(moving[-1]) + 1 if moving.size else 0
    idle = len(largest) - last
    if idle <= max(1, stride, 0.1 * len(largest)):
        return None
    text = (
        f"after step {last} of {len(largest)} the lr is below a millionth of its peak and nothing is learned any more"
    )
    return text + ("; is it meant to step once an epoch? Use cadence='epoch'." if cadence == "step" else ".")
