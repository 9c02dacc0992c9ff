"""Recipes as frozen values: what to train with, free of torch, so that a panel, a file and a script share one check.

A specification validates itself when it is made: an impossible value never exists. The error is a `SpecError` whose one
sentence names the argument, its value and a value that would work; panels show that sentence as it stands.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from convlab.limits import Limits as Limits
from convlab.limits import SpecError as SpecError
from convlab.limits import check_choice, check_names, short
from convlab.schedule_spec import ScheduleSpec

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]
OPTIMIZERS: Final[tuple[OptimizerName, ...]] = ("sgd", "adam", "adamw", "rmsprop")
_BETA: Final = Limits(0, 1, 0.9)
DEVICES: Final = ("auto", "cpu", "cuda", "mps")
ScheduleMode = Literal["scale", "hold", "release"]
SCHEDULE_MODES: Final[tuple[ScheduleMode, ...]] = ("scale", "hold", "release")


LIMITS: Final[Mapping[str, Limits]] = {
    "lr": Limits(0, 1e3, 0.05, above=True),
    "momentum": Limits(0, 0.9999, 0.9),
    "weight_decay": Limits(0, 10, 1e-4),
    "batch_size": Limits(1, 2**20, 32, whole=True),
    "micro_batch_size": Limits(1, 2**20, 16, whole=True, optional=True),
    "epochs": Limits(1, 10**7, 10, whole=True),
    "label_smoothing": Limits(0, 0.999, 0.1),
    "clip_grad_norm": Limits(0, 1e9, 1.0, above=True, optional=True),
    "dropout": Limits(0, 0.99, 0.2, optional=True),
    "patience": Limits(1, 10**6, 5, whole=True, optional=True),
    "seed": Limits(0, 2**63 - 1, 0, whole=True),
    "threads": Limits(1, 1024, 1, whole=True, optional=True),
}


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How to train: everything that decides a curve besides the model, the data and what a person changes on the way.

    Args:
        optimizer: ``"sgd"``, ``"adam"``, ``"adamw"`` or ``"rmsprop"``.
        lr: learning rate, above 0.
        momentum: of SGD and RMSprop, in [0, 1).
        betas: of Adam and AdamW: decay rates of the two running averages, each in [0, 1).
        weight_decay: L2 penalty (decoupled from the gradient for AdamW), at least 0.
        batch_size: samples per step. Ignored where the user's own `DataLoader` makes the batches.
        micro_batch_size: samples that go through the network at once, where a whole batch does not fit into memory:
            the gradients of the parts are added up to the batch's. BatchNorm then sees the parts. None: the batch.
        epochs: passes over the training data.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1); cross-entropy only.
        clip_grad_norm: longest gradient allowed, or None for no clipping.
        dropout: probability set on every dropout layer of the model, or None to leave them as they are.
        patience: stop after so many epochs without a lower validation loss, or None to train all epochs.
        restore_best: with `patience`, end with the weights of the best epoch.
        seed: decides the order of samples and every random number the model draws.
        device: ``"auto"`` (CUDA, else Apple's MPS, else CPU), ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"cuda:1"``.
        channels_last: lay images out as NHWC in memory; often faster for 3x3 convolutions, same shapes.
        bf16: run the forward pass in bfloat16 autocast; helps large nets, slows tiny ones.
        threads: CPU threads, or None to derive the number from the work in one step.
        schedule: how the lr moves during the training, beginning at `lr`; None keeps it.
        schedule_mode: what a change of `lr` in flight means under a schedule. ``"scale"``: its rest is multiplied by
            new / old. ``"hold"``: it stands still and the lr is the one that is set, until ``"scale"`` takes it up
            again from there. ``"release"``: the lr is the one that is set while the schedule's clock runs on, until
            ``"scale"`` joins it again where it has got to.

    Raises:
        SpecError: a value is impossible; the message names it and one that would work.

    Example:
        >>> TrainSpec(lr=0.1, epochs=3).lr
        0.1
    """

    optimizer: OptimizerName = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    batch_size: int = 32
    micro_batch_size: int | None = None
    epochs: int = 10
    label_smoothing: float = 0.0
    clip_grad_norm: float | None = None
    dropout: float | None = None
    patience: int | None = None
    restore_best: bool = True
    seed: int = 0
    device: str = "auto"
    channels_last: bool = False
    bf16: bool = False
    threads: int | None = None
    schedule: ScheduleSpec | None = None
    schedule_mode: ScheduleMode = "scale"

    def __post_init__(self) -> None:
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("device", self.device, DEVICES, numbered=("cuda",))
        for name, limits in LIMITS.items():
            object.__setattr__(self, name, limits.checked(name, getattr(self, name)))
        for name in ("restore_best", "channels_last", "bf16"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be True or False, got {short(getattr(self, name))}; try {name}=False.")
        object.__setattr__(self, "betas", _checked_betas(self.betas))
        _check_choice("schedule_mode", self.schedule_mode, SCHEDULE_MODES)
        object.__setattr__(self, "schedule", _checked_schedule(self.schedule))

    if not TYPE_CHECKING:  # a type checker reads the fields themselves

        def __new__(cls, **values: object) -> Self:  # noqa: D102
            check_names(cls, values)
            return super().__new__(cls)

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`; an unknown name is an error that suggests the nearest known one."""
        check_names(type(self), changes)
        return replace(self, **changes)  # type: ignore[arg-type]  # the values are checked as they are set

    def with_lr(self, lr: float) -> Self:
        """A copy with another lr, and the schedule's own rates (max_lr, eta_min, …) scaled along where they follow it.

        Example:
            >>> TrainSpec(lr=0.1, schedule=ScheduleSpec("CyclicLR", base_lr=0.01, max_lr=0.1)).with_lr(0.2).schedule
            ScheduleSpec('CyclicLR', base_lr=0.02, max_lr=0.2, cadence='step')
        """
        changed = self.replace(lr=lr)
        if self.schedule is None or self.schedule_mode != "scale":
            return changed
        return changed.replace(schedule=self.schedule.scaled(changed.lr / self.lr))

    def changed(self, **changes: object) -> Self:
        """A copy as a change in flight makes it: `replace`, but where the lr alone moves, its schedule follows.

        Raises:
            SpecError: a name or a value cannot be.
        """
        if "lr" not in changes or "schedule" in changes:
            return self.replace(**changes)
        lr = changes.pop("lr")
        return self.replace(**changes).with_lr(lr)  # type: ignore[arg-type]  # checked as it is set

    def changes_to(self, other: "TrainSpec") -> dict[str, object]:
        """What turns this recipe into the other, by name; a schedule that only followed the lr is no change."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        changes = {name: new for name, (old, new) in pairs.items() if old != new}
        if {"lr", "schedule"} <= changes.keys() and self.with_lr(other.lr).schedule == other.schedule:
            del changes["schedule"]
        return changes

    def to_json(self) -> str:
        """The recipe as a JSON object, one key an argument."""
        return json.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain dicts, lists, text and numbers."""
        plain: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "betas": list(self.betas), "schedule": self.schedule and self.schedule.to_dict()}

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The recipe that `to_json` wrote; missing keys take their defaults, unknown ones are errors."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise SpecError(f'a TrainSpec in JSON must be an object such as {{"lr": 0.05}}, got {text[:40]!r}.')
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The recipe that `to_dict` wrote; missing keys take their defaults, unknown ones are errors."""
        check_names(cls, values)
        return cls(**values)


def _check_choice(name: str, value: object, choices: tuple[str, ...], numbered: tuple[str, ...] = ()) -> None:
    stem, _, number = value.partition(":") if isinstance(value, str) else ("", "", "")
    if stem not in numbered or number not in map(str, range(1024)):
        check_choice(name, value, choices)


def _checked_betas(value: Any) -> tuple[float, float]:
    try:
        first, second = (_BETA.checked("beta", beta) or 0.0 for beta in value)
    except (TypeError, ValueError):
        first = second = math.nan
    if not (0 <= first < 1 and 0 <= second < 1):
        raise SpecError(f"betas must be two numbers in [0, 1), got {short(value)}; try betas=(0.9, 0.999).")
    return first, second


def _checked_schedule(value: object) -> ScheduleSpec | None:
    if value is None or isinstance(value, ScheduleSpec):
        return value
    if isinstance(value, Mapping):
        return ScheduleSpec.from_dict(value)
    raise SpecError(
        f"schedule must be a ScheduleSpec or None, got {short(value)}; "
        'try schedule=ScheduleSpec("CosineAnnealingLR", T_max=10, cadence="epoch").'
    )
