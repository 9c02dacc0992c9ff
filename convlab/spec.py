"""Recipes as frozen values: what to train with, free of torch, so that a panel, a file and a script share one check.

A specification validates itself when it is made: an impossible value never exists. The error is a `SpecError` whose one
sentence names the argument, its value and a value that would work; panels show that sentence as it stands.
"""

import difflib
import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]
OPTIMIZERS: Final[tuple[OptimizerName, ...]] = ("sgd", "adam", "adamw", "rmsprop")
DEVICES: Final = ("auto", "cpu", "cuda", "mps")


class SpecError(ValueError):
    """A value that a specification cannot hold; the message says what it can hold."""


@dataclass(frozen=True)
class Limits:
    """The numbers an argument may take, the bounds included unless `above` is set, and one that works."""

    low: float
    high: float
    example: float
    whole: bool = False
    above: bool = False
    optional: bool = False

    def checked(self, name: str, value: object) -> float | None:
        """`value` as Python's own int or float, numpy's numbers included; `SpecError` when it is outside the limits."""
        if value is None and self.optional:
            return None
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, kind) and not isinstance(value, bool):
            number: Any = value
            # Compared before it is converted: a huge int has no float. NaN compares false.
            if (self.low < number if self.above else self.low <= number) and number <= self.high:
                return int(number) if self.whole else float(number)
        low, high = _plain(self.low), _plain(self.high)
        span = f"above {low} and at most {high}" if self.above else f"from {low} to {high}"
        raise SpecError(
            f"{name} must be {'a whole number' if self.whole else 'a number'} {span}{' or None' * self.optional}, "
            f"got {value!r}; try {name}={_plain(self.example)}."
        )


def _plain(number: float) -> str:
    """A bound as a person would type it: all digits of a whole number."""
    return str(int(number)) if number == int(number) else f"{number:g}"


LIMITS: Final[Mapping[str, Limits]] = {
    "lr": Limits(0, 1e3, 0.05, above=True),
    "momentum": Limits(0, 0.9999, 0.9),
    "weight_decay": Limits(0, 10, 1e-4),
    "batch_size": Limits(1, 2**20, 32, whole=True),
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

    def __post_init__(self) -> None:
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("device", self.device, DEVICES, numbered=("cuda",))
        for name, limits in LIMITS.items():
            object.__setattr__(self, name, limits.checked(name, getattr(self, name)))
        for name in ("restore_best", "channels_last", "bf16"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be True or False, got {getattr(self, name)!r}; try {name}=False.")
        object.__setattr__(self, "betas", _checked_betas(self.betas))

    if not TYPE_CHECKING:  # a type checker reads the fields themselves

        def __new__(cls, **values: object) -> Self:  # noqa: D102
            _check_names(values)
            return super().__new__(cls)

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`; an unknown name is an error that suggests the nearest known one."""
        _check_names(changes)
        return replace(self, **changes)  # type: ignore[arg-type]  # the values are checked as they are set

    def to_json(self) -> str:
        """The recipe as a JSON object, one key an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The recipe that `to_json` wrote; missing keys take their defaults, unknown ones are errors."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise SpecError(f'a TrainSpec in JSON must be an object such as {{"lr": 0.05}}, got {text[:40]!r}.')
        _check_names(values)
        return cls(**values)


def _check_choice(name: str, value: object, choices: tuple[str, ...], numbered: tuple[str, ...] = ()) -> None:
    if isinstance(value, str):
        stem, _, number = value.partition(":")
        if value in choices or (stem in numbered and number in map(str, range(1024))):
            return
    near = difflib.get_close_matches(str(value).lower(), choices, 1)
    raise SpecError(f"{name} must be one of {', '.join(choices)}, got {value!r}; try {name}={(near or choices)[0]!r}.")


def _checked_betas(value: Any) -> tuple[float, float]:
    try:
        first, second = (float(beta) for beta in value)
    except (TypeError, ValueError, OverflowError):
        first = second = math.nan
    if not (0 <= first < 1 and 0 <= second < 1):
        raise SpecError(f"betas must be two numbers in [0, 1), got {value!r}; try betas=(0.9, 0.999).")
    return first, second


def _check_names(values: Mapping[str, object]) -> None:
    known = [field.name for field in fields(TrainSpec)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise SpecError(f"TrainSpec has no argument {name!r}; {hint}")
