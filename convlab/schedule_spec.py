"""A learning-rate schedule as a frozen value, free of torch: which scheduler, its arguments, how often it steps.

The table `SCHEDULERS` states for every class in ``torch.optim.lr_scheduler`` what each argument may be, so that a panel
can draw a slider for it and an impossible value never exists; a test holds the table to the signatures of the installed
torch. Arguments that are not given take torch's own defaults.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from convlab.formula import Formula
from convlab.limits import Limits, SpecError, short

Cadence = Literal["step", "epoch"]
MOST_PARTS: Final = 100
"""Schedules that a compound one is made of."""
CADENCES: Final[tuple[Cadence, ...]] = ("step", "epoch")


@dataclass(frozen=True)
class Choice:
    """One of a few values: torch's own words, or True and False."""

    values: tuple[str | bool, ...]

    def checked(self, name: str, value: object) -> str | bool:
        """`value`, or a `SpecError` that lists what it could be."""
        for choice in self.values:
            if type(value) is type(choice) and value == choice:
                return choice
        listed = ", ".join(map(repr, self.values))
        raise SpecError(f"{name} must be one of {listed}, got {short(value)}; try {name}={self.values[0]!r}.")


@dataclass(frozen=True)
class Steps:
    """Step numbers at which something changes, in rising order."""

    example: tuple[int, ...] = (30, 60)

    def checked(self, name: str, value: Any) -> tuple[int, ...]:
        """`value` as a tuple of whole numbers, or a `SpecError`."""
        try:
            numbers = tuple(Limits(1, 10**9, 30, whole=True).checked(name, number) for number in value)
        except (TypeError, SpecError):
            numbers = ()
        steps = tuple(int(number) for number in numbers if number is not None)
        if not steps or list(steps) != sorted(set(steps)):
            raise SpecError(
                f"{name} must be whole numbers of at least 1 in rising order, got {short(value)}; "
                f"try {name}={list(self.example)}."
            )
        return steps


@dataclass(frozen=True)
class Function:
    """A function of one number, typed as a formula; `first` is the first number that it is asked for."""

    variable: str
    example: str
    first: int = 0
    optional: bool = False

    def checked(self, name: str, value: object) -> Formula | None:
        """`value` as a `Formula`, or a `SpecError`."""
        if value is None and self.optional:
            return None
        text = value.text if isinstance(value, Formula) else value
        hint = f"try {name}={self.example!r}."
        if not isinstance(text, str):
            raise SpecError(f"{name} must be a formula of {self.variable} as text, got {short(value)}; {hint}")
        try:
            formula = Formula(text, self.variable)
            for number in (self.first, self.first + 1):
                formula(number)
        except ValueError as error:
            raise SpecError(f"{name}: {error}; {hint}") from None
        return formula


@dataclass(frozen=True)
class Schedules:
    """The schedules that a compound one is made of."""

    def checked(self, name: str, value: object) -> "tuple[ScheduleSpec, ...]":
        """`value` as a tuple of `ScheduleSpec`, or a `SpecError`."""
        given = tuple(value) if isinstance(value, list | tuple) and len(value) <= MOST_PARTS else ()
        specs = tuple(ScheduleSpec.from_dict(one) if isinstance(one, Mapping) else one for one in given)
        if not specs or not all(isinstance(spec, ScheduleSpec) for spec in specs):
            raise SpecError(
                f"{name} must be a list of ScheduleSpec, at most {MOST_PARTS}, got {short(value)}; "
                f'try {name}=[ScheduleSpec("LinearLR"), ScheduleSpec("ExponentialLR", gamma=0.9)].'
            )
        for spec in specs:
            if spec.scheduler == "ReduceLROnPlateau":
                raise SpecError(f"{name} cannot hold ReduceLROnPlateau: its step needs a metric; use it on its own.")
        return specs


Argument = Limits | Choice | Steps | Function | Schedules


@dataclass(frozen=True)
class Scheduler:
    """What one of torch's classes takes: its arguments by torch's own names, and which of them have no default."""

    arguments: Mapping[str, Argument]
    required: tuple[str, ...] = ()


_YES_NO: Final = Choice((True, False))
_LR: Final = Limits(0, 1e3, 0.1, above=True)
_FLOOR: Final = Limits(0, 1e3, 0.0)
_MOMENTUM: Final = Limits(0, 0.9999, 0.85)
_GAMMA: Final = Limits(0, 10, 0.1, above=True)
_COUNT: Final = Limits(1, 10**9, 30, whole=True)
_COUNT_OR_NONE: Final = Limits(1, 10**9, 1000, whole=True, optional=True)
_RATIO: Final = Limits(1, 1e12, 25.0)

SCHEDULERS: Final[Mapping[str, Scheduler]] = {
    "LambdaLR": Scheduler({"lr_lambda": Function("epoch", "0.95 ** epoch")}, ("lr_lambda",)),
    "MultiplicativeLR": Scheduler({"lr_lambda": Function("epoch", "0.95")}, ("lr_lambda",)),
    "StepLR": Scheduler({"step_size": _COUNT, "gamma": _GAMMA}, ("step_size",)),
    "MultiStepLR": Scheduler({"milestones": Steps(), "gamma": _GAMMA}, ("milestones",)),
    # torch takes a factor of 0 and then divides by it.
    "ConstantLR": Scheduler({"factor": Limits(0, 1, 0.3, above=True), "total_iters": _COUNT}),
    "LinearLR": Scheduler(
        {
            "start_factor": Limits(0, 1, 0.1, above=True),
            "end_factor": Limits(0, 1, 1.0),
            "total_iters": _COUNT,
        }
    ),
    "ExponentialLR": Scheduler({"gamma": Limits(0, 10, 0.95, above=True)}, ("gamma",)),
    "SequentialLR": Scheduler({"schedulers": Schedules(), "milestones": Steps()}, ("schedulers", "milestones")),
    "CosineAnnealingLR": Scheduler({"T_max": _COUNT, "eta_min": _FLOOR}, ("T_max",)),
    "ChainedScheduler": Scheduler({"schedulers": Schedules()}, ("schedulers",)),
    "ReduceLROnPlateau": Scheduler(
        {
            "mode": Choice(("min", "max")),
            "factor": Limits(0, 0.9999, 0.1),
            "patience": Limits(0, 10**9, 10, whole=True),
            "threshold": Limits(0, 1e9, 1e-4),
            "threshold_mode": Choice(("rel", "abs")),
            "cooldown": Limits(0, 10**9, 0, whole=True),
            "min_lr": _FLOOR,
            "eps": Limits(0, 1e3, 1e-8),
        }
    ),
    "CyclicLR": Scheduler(
        {
            "base_lr": _FLOOR,
            "max_lr": _LR,
            "step_size_up": _COUNT,
            "step_size_down": _COUNT_OR_NONE,
            "mode": Choice(("triangular", "triangular2", "exp_range")),
            "gamma": Limits(0, 10, 0.999, above=True),
            "scale_fn": Function("x", "0.5 ** (x - 1)", first=1, optional=True),
            "scale_mode": Choice(("cycle", "iterations")),
            "cycle_momentum": _YES_NO,
            "base_momentum": _MOMENTUM,
            "max_momentum": _MOMENTUM,
        },
        ("base_lr", "max_lr"),
    ),
    "CosineAnnealingWarmRestarts": Scheduler(
        {"T_0": _COUNT, "T_mult": Limits(1, 1000, 2, whole=True), "eta_min": _FLOOR}, ("T_0",)
    ),
    "OneCycleLR": Scheduler(
        {
            "max_lr": _LR,
            "total_steps": _COUNT_OR_NONE,
            "epochs": _COUNT_OR_NONE,
            "steps_per_epoch": _COUNT_OR_NONE,
            "pct_start": Limits(0, 1, 0.3),
            "anneal_strategy": Choice(("cos", "linear")),
            "cycle_momentum": _YES_NO,
            "base_momentum": _MOMENTUM,
            "max_momentum": _MOMENTUM,
            "div_factor": _RATIO,
            "final_div_factor": _RATIO,
            "three_phase": _YES_NO,
        },
        ("max_lr",),
    ),
    "PolynomialLR": Scheduler({"total_iters": _COUNT, "power": Limits(0, 100, 1.0)}),
}

_TAKEN: Final = {"self", "scheduler", "cadence"}

RATES: Final = ("max_lr", "base_lr", "eta_min", "min_lr")
"""Arguments that are learning rates."""


@dataclass(frozen=True, init=False, repr=False)
class ScheduleSpec:
    """A scheduler of ``torch.optim.lr_scheduler`` by name, its arguments by torch's names, and its cadence.

    Args:
        scheduler: the class, such as ``"CosineAnnealingLR"``.
        cadence: ``"step"``: ``scheduler.step()`` after every optimizer step; ``"epoch"``: after every epoch.
            The schedules inside a compound one step with it.
        arguments: the class's own arguments but `optimizer` and `last_epoch`. Functions are formulas as text
            (``lr_lambda="0.95 ** epoch"``), inner schedules are `ScheduleSpec` themselves.

    Raises:
        SpecError: a name or a value is impossible; the message names it and one that would work.

    Example:
        >>> ScheduleSpec("CosineAnnealingLR", T_max=200)
        ScheduleSpec('CosineAnnealingLR', T_max=200, cadence='step')
    """

    scheduler: str
    cadence: Cadence
    _given: tuple[tuple[str, Any], ...]

    def __init__(self, scheduler: str, *, cadence: Cadence = "step", **arguments: object) -> None:
        if not isinstance(scheduler, str) or scheduler not in SCHEDULERS:
            near = difflib.get_close_matches(str(scheduler), SCHEDULERS, 1, cutoff=0.4)
            raise SpecError(
                f"scheduler must be one of {', '.join(SCHEDULERS)}, got {short(scheduler)}; "
                f"try {(near or ['CosineAnnealingLR'])[0]!r}."
            )
        if cadence not in CADENCES:
            raise SpecError(f"cadence must be 'step' or 'epoch', got {short(cadence)}; try cadence='step'.")
        known = SCHEDULERS[scheduler].arguments
        for name in arguments:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
                raise SpecError(f"{scheduler} has no argument {short(name)}; {hint}")
        given = {name: known[name].checked(name, arguments[name]) for name in known if name in arguments}
        _check_together(scheduler, given)
        object.__setattr__(self, "scheduler", scheduler)
        object.__setattr__(self, "cadence", cadence)
        object.__setattr__(self, "_given", tuple(given.items()))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that were given, checked; the rest is left to torch's defaults."""
        return dict(self._given)

    def replace(self, **changes: object) -> Self:
        """A copy with `changes` to the cadence or the arguments."""
        return type(self)(self.scheduler, **{"cadence": self.cadence, **self.arguments, **changes})

    def scaled(self, ratio: float) -> Self:
        """The schedule with every learning rate that it names (max_lr, base_lr, eta_min, min_lr) times `ratio`.

        Raises:
            SpecError: a rate would leave its limits.
        """
        rates = {name: value * ratio for name, value in self._given if name in RATES}
        inner = {name: [one.scaled(ratio) for one in value] for name, value in self._given if name == "schedulers"}
        return self.replace(**rates, **inner) if rates or inner else self

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads: plain dicts, lists, text and numbers."""
        return {
            "scheduler": self.scheduler,
            "cadence": self.cadence,
            "arguments": {name: _plain(value) for name, value in self._given},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The schedule that `to_dict` wrote."""
        unknown = set(values) - {"scheduler", "cadence", "arguments"}
        arguments = values.get("arguments", {})
        if unknown or "scheduler" not in values or not _are_arguments(arguments):
            raise SpecError(
                "a ScheduleSpec as a dict has the keys scheduler, cadence and arguments (a dict), "
                f"got {short(dict(values))}."
            )
        return cls(values["scheduler"], cadence=values.get("cadence", "step"), **arguments)

    def to_json(self) -> str:
        """The schedule as a JSON object."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The schedule that `to_json` wrote."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise SpecError(f"a ScheduleSpec in JSON must be an object, got {text[:40]!r}.")
        return cls.from_dict(values)

    def code(self, optimizer: str = "optimizer") -> str:
        """The expression that makes the scheduler in plain PyTorch.

        Example:
            >>> print(ScheduleSpec("LambdaLR", lr_lambda="0.95 ** epoch").code())
            torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda epoch: 0.95 ** epoch)
        """
        arguments = [f"{name}={_source(value, optimizer)}" for name, value in self._given]
        first = [] if self.scheduler == "ChainedScheduler" else [optimizer]
        return f"torch.optim.lr_scheduler.{self.scheduler}({', '.join(first + arguments)})"

    def __repr__(self) -> str:
        values = [f"{name}={_plain(value) if isinstance(value, Formula) else value!r}" for name, value in self._given]
        return f"ScheduleSpec({', '.join([repr(self.scheduler), *values, f'cadence={self.cadence!r}'])})"


def _are_arguments(values: object) -> bool:
    """Whether they can be handed on by name, beside a scheduler's own name and its cadence."""
    return isinstance(values, Mapping) and all(isinstance(name, str) for name in values) and not values.keys() & _TAKEN


def _check_together(scheduler: str, given: Mapping[str, Any]) -> None:
    """What no argument can tell on its own."""
    for name in SCHEDULERS[scheduler].required:
        if name not in given:
            argument = SCHEDULERS[scheduler].arguments[name]
            example = getattr(argument, "example", None)
            hint = f"; try {name}={example!r}" if example is not None else ""
            raise SpecError(f"{scheduler} needs {name}{hint}.")
    if scheduler == "SequentialLR" and len(given["milestones"]) != len(given["schedulers"]) - 1:
        raise SpecError(
            f"milestones must be one fewer than schedulers, got {len(given['milestones'])} for "
            f"{len(given['schedulers'])}; try one step number for each change from a schedule to the next."
        )
    planned = given.get("total_steps") or (given.get("epochs") and given.get("steps_per_epoch"))
    if scheduler == "OneCycleLR" and not planned:
        raise SpecError("OneCycleLR needs total_steps, or epochs and steps_per_epoch; try total_steps=1000.")
    if scheduler == "OneCycleLR":
        _check_phases(given.get("total_steps") or given["epochs"] * given["steps_per_epoch"], given)
    if scheduler == "CyclicLR" and given["base_lr"] > given["max_lr"]:
        raise SpecError(
            f"base_lr must be at most max_lr={given['max_lr']:g}, got {given['base_lr']:g}; "
            f"try base_lr={given['max_lr'] / 10:g}."
        )


def _check_phases(total_steps: int, given: Mapping[str, Any]) -> None:
    """torch divides by the length of each phase, and takes one of no length without a word until then."""
    pct_start = given.get("pct_start", 0.3)
    ends = [pct_start * total_steps - 1, total_steps - 1]
    if given.get("three_phase"):
        ends.insert(1, 2 * pct_start * total_steps - 2)
    if any(start == end for start, end in zip([0, *ends], ends, strict=False)):
        raise SpecError(
            f"pct_start must leave every phase of the {total_steps} steps some length, got {pct_start:g}; "
            "try pct_start=0.3."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Formula):
        return value.text
    if isinstance(value, tuple):
        return [one.to_dict() if isinstance(one, ScheduleSpec) else one for one in value]
    return value


def _source(value: Any, optimizer: str) -> str:
    if isinstance(value, Formula):
        return value.source()
    if isinstance(value, tuple):
        parts = [one.code(optimizer) if isinstance(one, ScheduleSpec) else repr(one) for one in value]
        return f"[{', '.join(parts)}]"
    return repr(value)
