"""Rules that read the settings of a training against its curve and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from convlab.diagnosis.curve import PLAYBOOK, Curve, curve_picture, is_flat, rises
from convlab.diagnosis.finding import Exhibit, Finding, Remedy
from convlab.schedule_spec import Cadence, ScheduleSpec
from convlab.training.schedules import curve_of

_SMITH: Final = "Smith, Le, A Bayesian perspective on generalization and stochastic gradient descent (2018)"
_ADAPTIVE: Final = ("adam", "adamw", "rmsprop")


@dataclass(frozen=True, eq=False)
class Recipe:
    """A training: its settings, and what they are held against.

    Attributes:
        curve: losses, with the settings in force.
        batch_size: samples in a step.
        per_epoch: steps in an epoch; None where the number of samples is unknown.
        resizable: whether the batch size can be set.
        dropout: the highest probability of a dropout layer.
        sample_bytes: what all layers put out for one sample; 0 where unknown.
        weight_bytes: all weights.
        free_bytes: memory that is free on the device; 0 where unknown.
    """

    curve: Curve
    batch_size: int
    per_epoch: int | None
    resizable: bool = True
    dropout: float = 0.0
    sample_bytes: int = 0
    weight_bytes: int = 0
    free_bytes: int = 0

    @property
    def suffers(self) -> bool:
        """Whether the curve ran away, jumps, or stands still with noise."""
        seen = self.curve
        if seen.failed:
            return True
        return (
            seen.is_long
            and not np.isnan(seen.guessing)
            and (
                seen.level > 1.003
                or seen.jumps
                or (is_flat(seen.train) and rises(seen.train) > 0.001 and seen.level > 0.05)
            )
        )


def momentum_too_high(seen: Recipe) -> Finding | None:
    """A momentum that multiplies the lr by 30 and more."""
    spec = seen.curve.spec
    if spec.optimizer not in ("sgd", "rmsprop") or spec.momentum < 0.97 or not seen.suffers:
        return None
    longer = 1 / (1 - spec.momentum)
    said = (
        f"A momentum of {spec.momentum:g} adds up the last {longer:.0f} gradients, so that lr {spec.lr:.3g} works like "
        f"{spec.lr * longer:.3g}; {seen.curve.told}."
    )
    why = "Steps go on long after the gradient has turned; lr and momentum count together, as lr / (1 - momentum)."
    remedy = Remedy("momentum 0.9", {"momentum": 0.9})
    source = "Sutskever et al., On the importance of initialization and momentum (2013)"
    return Finding(
        "momentum_too_high", said, why, remedy, "likely", source, {"longer": longer}, curve_picture(seen.curve)
    )


def lr_of_another_optimizer(seen: Recipe) -> Finding | None:
    """An lr that suits SGD, with an optimizer that divides each gradient by its own size."""
    spec = seen.curve.spec
    high = spec.lr >= 0.05 and seen.curve.is_long and seen.curve.level > 0.25
    if spec.optimizer not in _ADAPTIVE or spec.lr < 0.01 or not (high or seen.suffers):
        return None
    said = f"{spec.optimizer} has lr {spec.lr:.3g}, as SGD would; {seen.curve.told}."
    why = "Adam and its kin move each weight by about the lr in every step, however small its gradient is."
    remedy = Remedy("lr 0.001", {"lr": 0.001})
    source = "Kingma, Ba, Adam (2015)"
    return Finding(
        "lr_of_another_optimizer", said, why, remedy, "likely", source, {"lr": spec.lr}, curve_picture(seen.curve)
    )


def batch_too_small(seen: Recipe) -> Finding | None:
    """Steps that follow a few samples, and a curve that suffers from it."""
    spec = seen.curve.spec
    if seen.batch_size > 8 or not seen.suffers or not seen.resizable or seen.curve.failed:
        return None
    said = f"A step follows {seen.batch_size} samples only, at lr {spec.lr:.3g}; {seen.curve.told}."
    why = "The noise of a step grows with lr / batch_size: the weights are shaken as much as they are led."
    remedy = Remedy("batch_size 32 at the same lr", {"batch_size": 32})
    numbers = {"batch_size": float(seen.batch_size)}
    return Finding("batch_too_small", said, why, remedy, "likely", _SMITH, numbers, curve_picture(seen.curve))


def batch_too_large(seen: Recipe) -> Finding | None:
    """Few steps an epoch, and a loss that is high still."""
    curve = seen.curve
    if seen.per_epoch is None or seen.per_epoch > 4 or seen.batch_size < 64 or not curve.is_long or not seen.resizable:
        return None
    if not 0.25 < curve.level <= 1.015 or curve.jumps:
        return None
    said = (
        f"With {seen.batch_size} samples in a step an epoch has {seen.per_epoch} "
        f"step{'s' if seen.per_epoch > 1 else ''}: {curve.step} steps so far, and the training loss stands at "
        f"{100 * curve.level:.0f} % of the loss of guessing."
    )
    why = "What counts is the number of steps; the same epochs in smaller batches make more of them."
    remedy = Remedy("batch_size 32", {"batch_size": 32})
    numbers = {"per_epoch": float(seen.per_epoch)}
    return Finding("batch_too_large", said, why, remedy, "likely", PLAYBOOK, numbers, curve_picture(curve))


def memory_short(seen: Recipe) -> Finding | None:
    """A batch whose activations will not fit into the memory that is free."""
    spec = seen.curve.spec
    parts = min(seen.batch_size, spec.micro_batch_size or seen.batch_size)
    states = {"sgd": 1 if spec.momentum else 0, "rmsprop": 2}.get(spec.optimizer, 2)
    needed = activation_bytes(seen.sample_bytes, parts) + seen.weight_bytes * (2 + states)
    if not seen.free_bytes or needed < 0.8 * seen.free_bytes or parts < 2:
        return None
    part = parts
    while part > 1 and activation_bytes(seen.sample_bytes, part) > 0.4 * seen.free_bytes:
        part //= 2
    said = (
        f"A step on {parts} samples takes about {needed / 2**30:.2g} GiB, and {seen.free_bytes / 2**30:.2g} are free."
    )
    why = "Training would stop for lack of memory, or crawl."
    remedy = Remedy(
        f"parts of {part} samples, whose gradients are added up: micro_batch_size={part}", {"micro_batch_size": part}
    )
    values = np.array([needed / 2**30, seen.free_bytes / 2**30])
    picture = Exhibit("Memory", ("needed", "free"), {"memory": values}, "", "GiB")
    source = "outputs of all layers, kept for the backward pass, and as much for their gradients"
    return Finding("memory_short", said, why, remedy, "likely", source, {"share": needed / seen.free_bytes}, picture)


def activation_bytes(sample_bytes: int, count: int) -> int:
    """What a step keeps of `count` samples: each layer's output, and its gradient."""
    return 2 * sample_bytes * count


def dropout_too_strong(seen: Recipe) -> Finding | None:
    """A dropout that leaves training far behind validation, with both high."""
    curve = seen.curve
    p = curve.spec.dropout if curve.spec.dropout is not None else seen.dropout
    if p < 0.5 or not curve.is_long or np.isnan(curve.valid).any() or not 0.25 < curve.level <= 1.015:
        return None
    train, valid = float(curve.train[curve.late].mean()), float(curve.valid[curve.late].mean())
    if train < 1.15 * valid and not curve.level > 0.9:
        return None
    said = (
        f"With a dropout of {p:g} the training loss ends at {train:.3g}, validation, where nothing is dropped, at "
        f"{valid:.3g}."
    )
    why = "So much is left out that the rest cannot learn the task; dropout helps where training fits too well."
    remedy = Remedy("dropout 0.2", {"dropout": 0.2})
    source = "Srivastava et al., Dropout (2014)"
    return Finding(
        "dropout_too_strong",
        said,
        why,
        remedy,
        "likely",
        source,
        {"p": p, "ratio": train / valid},
        curve_picture(curve),
    )


def cadence(seen: Recipe) -> Finding | None:
    """A schedule that is stepped as often as another unit would be."""
    spec = seen.curve.spec
    schedule = spec.schedule
    if schedule is None or seen.per_epoch is None or schedule.scheduler == "ReduceLROnPlateau":
        return None
    notes = _cadence_notes(schedule, seen)
    if not notes:
        return None
    remedy = Remedy("the change that is named")
    for other in _other_cadences(schedule, seen):
        if not _cadence_notes(other, seen):
            remedy = Remedy(str(other), {"schedule": other})
            break
    said = notes[0][0].upper() + notes[0][1:]
    why = "The lr then does something else than was meant: it stays high, or comes back."
    curve = curve_of(schedule, spec.epochs * seen.per_epoch, train=spec, steps_per_epoch=seen.per_epoch)
    lrs = np.asarray(curve.lrs, float)
    x = np.arange(1, len(lrs) + 1, dtype=float)
    picture = Exhibit("The lr that is planned", x, {"lr": lrs}, "step", "lr")
    source = "PyTorch: torch.optim.lr_scheduler, how to adjust learning rate"
    return Finding("cadence", said, why, remedy, "sure", source, {}, picture)


def _cadence_notes(schedule: ScheduleSpec, seen: Recipe) -> tuple[str, ...]:
    spec = seen.curve.spec
    steps = spec.epochs * (seen.per_epoch or 1)
    try:
        return tuple(curve_of(schedule, steps, train=spec, steps_per_epoch=seen.per_epoch).notes)
    except (ValueError, ArithmeticError):
        return ()


_LENGTHS: Final = ("T_max", "total_iters", "step_size", "total_steps")


def _other_cadences(schedule: ScheduleSpec, seen: Recipe) -> list[ScheduleSpec]:
    """The same schedule, stepped the other way, or as long as the training is."""
    found: list[ScheduleSpec] = []
    arguments: dict[str, Any] = dict(schedule.arguments)
    other: Cadence = "epoch" if schedule.cadence == "step" else "step"
    found.append(ScheduleSpec(schedule.scheduler, cadence=other, **arguments))
    calls = seen.curve.spec.epochs * (1 if schedule.cadence == "epoch" else seen.per_epoch or 1)
    for name in _LENGTHS:
        if name in arguments:
            length = max(1, calls // 3) if name == "step_size" else calls
            found.append(ScheduleSpec(schedule.scheduler, cadence=schedule.cadence, **{**arguments, name: length}))
    return found


def free_bytes(device: torch.device) -> int:
    """Memory that a training could take now, in bytes; 0 where nobody can say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil  # a dependency of every kernel

    return int(psutil.virtual_memory().available)


Rule = Callable[[Recipe], Finding | None]
RULES: Final[tuple[Rule, ...]] = (
    *(cadence, memory_short, momentum_too_high, lr_of_another_optimizer, batch_too_small, batch_too_large),
    dropout_too_strong,
)
