"""Where each scheduler begins: the arguments with which it fits a training, and the ones that torch itself would take.

Free of torch but for `defaults`, which reads them off the signatures of the installed classes.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from convlab.schedule_spec import SCHEDULERS, Cadence, ScheduleSpec

LEFT: Final = 0.01
"""Share of the lr that a schedule without an end of its own keeps at the end of the training."""

_COMPOUND: Final = ("SequentialLR", "ChainedScheduler")


def fitted(scheduler: str, *, cadence: Cadence, steps: int, epochs: int, lr: float) -> ScheduleSpec:
    """The schedule with which `scheduler` makes sense of a training at once: as long as it is, from or up to its lr.

    Args:
        scheduler: a class of ``torch.optim.lr_scheduler`` by name.
        cadence: when its `step` is called.
        steps: optimizer steps of the whole training.
        epochs: its epochs.
        lr: its learning rate: what a schedule begins at, or, for CyclicLR and OneCycleLR, the most that it reaches.

    Raises:
        SpecError: there is no such scheduler.

    Example:
        >>> fitted("CosineAnnealingLR", cadence="step", steps=450, epochs=10, lr=0.05)
        ScheduleSpec('CosineAnnealingLR', T_max=450, cadence='step')
        >>> fitted("StepLR", cadence="epoch", steps=450, epochs=9, lr=0.05)
        ScheduleSpec('StepLR', step_size=3, gamma=0.1, cadence='epoch')
    """
    if scheduler not in SCHEDULERS:
        ScheduleSpec(scheduler)  # says so, and which there are
    return _fitted(scheduler, cadence, calls_of(cadence, steps, epochs), lr)


def refitted(spec: ScheduleSpec, *, steps: int, epochs: int) -> ScheduleSpec:
    """`spec` with its lengths (T_max, total_steps, milestones, …) those of the training; the rest stays as it is.

    Example:
        >>> long = ScheduleSpec("CosineAnnealingLR", T_max=450, eta_min=0.001, cadence="epoch")
        >>> refitted(long, steps=450, epochs=10)
        ScheduleSpec('CosineAnnealingLR', T_max=10, eta_min=0.001, cadence='epoch')
    """
    return _refitted(spec, calls_of(spec.cadence, steps, epochs))


def with_parts(spec: ScheduleSpec, parts: Sequence[ScheduleSpec], *, steps: int, epochs: int) -> ScheduleSpec:
    """A SequentialLR or ChainedScheduler made of other parts, over the length of the training.

    Raises:
        SpecError: too few parts, or one that cannot be.
    """
    calls = calls_of(spec.cadence, steps, epochs)
    return _compound(spec.scheduler, spec.cadence, parts, calls)


def calls_of(cadence: Cadence, steps: int, epochs: int) -> int:
    """How often a scheduler's `step` is called in a training of so many optimizer steps and epochs."""
    return max(1, steps if cadence == "step" else epochs)


@functools.cache
def defaults(scheduler: str) -> Mapping[str, Any]:
    """The arguments of a scheduler's class that have a default, and that default.

    Example:
        >>> defaults("StepLR")
        {'gamma': 0.1}
    """
    from torch.optim import lr_scheduler

    parameters = inspect.signature(getattr(lr_scheduler, scheduler)).parameters
    known = SCHEDULERS[scheduler].arguments
    return {name: parameters[name].default for name in known if parameters[name].default is not inspect.Parameter.empty}


# -- inside -----------------------------------------------------------------------------------------------------------

# What a scheduler begins with besides its lengths, where torch has no default or one that shows little.
_STARTS: Final[Mapping[str, Mapping[str, object]]] = {
    "StepLR": {"gamma": 0.1},
    "MultiStepLR": {"gamma": 0.1},
    "ConstantLR": {"factor": 0.1},
    "LinearLR": {"start_factor": 1.0, "end_factor": LEFT},
    "CosineAnnealingWarmRestarts": {"T_mult": 2},
    "PolynomialLR": {"power": 0.9},  # as DeepLab's "poly" (Chen et al. 2017)
    "ReduceLROnPlateau": {"factor": 0.1},
}


def _rates(scheduler: str, lr: float) -> Mapping[str, object]:
    """The arguments that are learning rates, in a training at `lr`."""
    return {"CyclicLR": {"base_lr": lr / 10, "max_lr": lr}, "OneCycleLR": {"max_lr": lr}}.get(scheduler, {})


def _lengths(scheduler: str, calls: int, given: Mapping[str, Any]) -> Mapping[str, object]:
    """The arguments that count calls of `step`, for so many of them, beside those that are `given` already."""
    match scheduler:
        case "LambdaLR" | "MultiplicativeLR" if "lr_lambda" in given:
            return {}  # a person's own formula
        case "LambdaLR":
            return {"lr_lambda": _inverse_square_root(_tenth(calls))}
        case "MultiplicativeLR":
            return {"lr_lambda": repr(_factor(calls))}
        case "ExponentialLR":
            return {"gamma": _factor(calls)}
        case "StepLR":
            return {"step_size": -(-calls // 3)}
        case "MultiStepLR":
            return {"milestones": _halving(calls, len(given.get("milestones", (1, 2))))}
        case "ConstantLR":
            return {"total_iters": _tenth(calls)}
        case "LinearLR":
            return {"total_iters": _tenth(calls) if _rises(given) else calls}
        case "PolynomialLR":
            return {"total_iters": calls}
        case "CosineAnnealingLR":
            return {"T_max": calls}
        case "CosineAnnealingWarmRestarts":
            return {"T_0": _first_cycle(calls, given.get("T_mult", 1))}
        case "CyclicLR":
            names = ["step_size_up", *(["step_size_down"] if given.get("step_size_down") else [])]
            return dict.fromkeys(names, max(1, calls // 8))
        case "OneCycleLR":
            return {"total_steps": calls}
        case "ReduceLROnPlateau":
            return {"patience": _tenth(calls)}
    raise NotImplementedError(f"nobody has said yet how {scheduler} fits a training")


def _fitted(scheduler: str, cadence: Cadence, calls: int, lr: float) -> ScheduleSpec:
    if scheduler in _COMPOUND:
        warmup = ScheduleSpec("LinearLR", cadence=cadence, start_factor=LEFT, total_iters=1)
        cosine = ScheduleSpec("CosineAnnealingLR", cadence=cadence, T_max=1)
        return _compound(scheduler, cadence, [warmup, cosine], calls)
    start = {**_rates(scheduler, lr), **_STARTS.get(scheduler, {})}
    return ScheduleSpec(scheduler, cadence=cadence, **{**start, **_lengths(scheduler, calls, start)})


def _refitted(spec: ScheduleSpec, calls: int) -> ScheduleSpec:
    given = spec.arguments
    if spec.scheduler in _COMPOUND:
        return _compound(spec.scheduler, spec.cadence, given["schedulers"], calls)
    if spec.scheduler == "OneCycleLR":
        given.pop("epochs", None)
        given.pop("steps_per_epoch", None)
    lengths = _lengths(spec.scheduler, calls, spec.arguments)
    return ScheduleSpec(spec.scheduler, cadence=spec.cadence, **{**given, **lengths})


def _compound(scheduler: str, cadence: Cadence, parts: Sequence[ScheduleSpec], calls: int) -> ScheduleSpec:
    parts = [part.replace(cadence=cadence) for part in parts]
    if scheduler == "ChainedScheduler":
        return ScheduleSpec(scheduler, cadence=cadence, schedulers=[_refitted(part, calls) for part in parts])
    starts = _starts(parts, calls)
    stretches = [max(1, end - start) for start, end in zip(starts, [*starts[1:], calls], strict=True)]
    fitting = [_to_stretch(part, stretch) for part, stretch in zip(parts, stretches, strict=True)]
    return ScheduleSpec(scheduler, cadence=cadence, schedulers=fitting, milestones=starts[1:])


def _starts(parts: Sequence[ScheduleSpec], calls: int) -> list[int]:
    """At which call each part begins: a warmup takes a tenth, the others share the rest."""
    warm = _tenth(calls) if parts and _warms_up(parts[0]) else 0
    others = len(parts) - bool(warm)
    starts = [0] if warm else []
    starts += [warm + index * (calls - warm) // max(1, others) for index in range(others)]
    for index in range(1, len(starts)):  # more parts than calls
        starts[index] = max(starts[index], starts[index - 1] + 1)
    return starts


def _to_stretch(part: ScheduleSpec, stretch: int) -> ScheduleSpec:
    """A part of a SequentialLR over its own stretch, which a warmup takes whole."""
    return part.replace(total_iters=stretch) if _warms_up(part) else _refitted(part, stretch)


def _warms_up(part: ScheduleSpec) -> bool:
    return part.scheduler == "ConstantLR" or (part.scheduler == "LinearLR" and _rises(part.arguments))


def _rises(linear: Mapping[str, Any]) -> bool:
    """Whether a LinearLR with these arguments warms up."""
    return float(linear.get("start_factor", 1 / 3)) < float(linear.get("end_factor", 1.0))


def _tenth(calls: int) -> int:
    return max(1, calls // 10)


def _factor(calls: int) -> float:
    """What to multiply by at each call so that `LEFT` is left after all of them, to three digits of its distance to 1.

    Rounded itself, it would be 1 for a long training.
    """
    loss = Decimal(f"{1 - LEFT ** (1 / calls):.2e}")
    return float(1 - loss)


def _halving(calls: int, count: int) -> list[int]:
    """At a half, three quarters, seven eighths, …"""
    milestones: list[int] = []
    for index in range(1, count + 1):
        at = calls - calls // 2**index
        milestones.append(max(at, milestones[-1] + 1 if milestones else 1))
    return [milestone for milestone in milestones if milestone < calls] or milestones[:1]


def _first_cycle(calls: int, ratio: int) -> int:
    """Length of the first of three cycles, each `ratio` times as long as the one before."""
    return max(1, -(-calls // (1 + ratio + ratio**2)))


def _inverse_square_root(warm: int) -> str:
    """A warmup, then 1 / sqrt(step), which none of torch's classes is (Vaswani et al. 2017, section 5.3)."""
    return f"min((epoch + 1) / {warm}, sqrt({warm} / (epoch + 1)))"
