"""What may stand in a saved run, which anybody may have written: values that a run could have left there, no others.

Each function gives back what it was given, or raises `ValueError` with what is wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn, optim

from convlab.limits import check_choice, short
from convlab.models.live import Edit
from convlab.spec import LIMITS, SCHEDULE_MODES, TrainSpec
from convlab.training.history import EpochRecord
from convlab.training.journal import LIVE_SETTINGS, Change

MOST_STEPS: Final = 10**15
MOST_EDITS: Final = 1000
"""Edits of the network in one run: each is made again on loading, which takes some 20 ms."""

MOST_CHANNELS: Final = 2**16
MOST_PIXELS: Final = 256

_LAST: Final = 253_402_300_799
"""Seconds since 1970 at the end of the year 9999."""

# Left in a group by schedules.
_RATES: Final = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum")
# How a step is computed: the machine's own choice.
_OWN: Final = ("foreach", "capturable", "differentiable", "fused")
_MOMENTS: Final[Mapping[type[optim.Optimizer], tuple[tuple[str, ...], tuple[str, ...]]]] = {
    optim.SGD: ((), ("momentum_buffer",)),
    optim.Adam: (("exp_avg", "exp_avg_sq", "step"), ("max_exp_avg_sq",)),
    optim.AdamW: (("exp_avg", "exp_avg_sq", "step"), ("max_exp_avg_sq",)),
    optim.RMSprop: (("square_avg", "step"), ("momentum_buffer", "grad_avg")),
}
"""What an optimizer keeps of a parameter: always, and at times."""


def whole(name: str, value: object, high: int = MOST_STEPS) -> int:
    """A whole number from 0 to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
        raise ValueError(f"{name} is {short(value)}, no whole number from 0 to {high}")
    return value


def number(name: str, value: object, low: float = 0.0, high: float = 1e15) -> float:
    """A number from `low` to `high`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} is {short(value)}, no number from {low:g} to {high:g}")
    return float(value)


def loss(name: str, value: object) -> float:
    """Any number, infinite or none."""
    return math.nan if isinstance(value, float) and math.isnan(value) else number(name, value, -math.inf, math.inf)


def yes_no(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {short(value)}, neither true nor false")
    return value


def moment(value: object) -> float:
    """Seconds since 1970."""
    return number("saved_at", value, 0, _LAST)


def scores(sums: Any) -> tuple[float, int, int, int]:
    """Losses and hits, summed."""
    total, seen, hits, judged = sums
    return loss("the loss", total), whole("seen", seen), whole("hits", hits), whole("judged", judged)


def epoch_record(plain: Mapping[str, Any]) -> EpochRecord:
    """The record of an epoch."""
    one = EpochRecord(**plain)
    whole("epoch", one.epoch)
    whole("step", one.step)
    loss("train_loss", one.train_loss)
    if one.valid_loss is not None:
        loss("valid_loss", one.valid_loss)
    for share in (one.train_accuracy, one.valid_accuracy):
        if share is not None:
            number("accuracy", share, 0, 1)
    number("lr", one.lr)
    number("seconds", one.seconds)
    return one


def change(one: Change) -> Change:
    """A change that a run could have had."""
    whole("step", one.step)
    if one.name == "edit":
        if not isinstance(one.new, Edit) and one.new not in ("undo", "redo"):
            raise ValueError(f"an edit is {short(one.new)}")
    elif one.name not in LIVE_SETTINGS:
        raise ValueError(f"{short(one.name)} is nothing that changes in a run")
    else:
        for value in (one.old, one.new):
            _setting(one.name, value)
    return one


def check_sizes(edit: Edit) -> None:
    """Refuse an edit whose very plan would take all memory: channels are counted one by one, and so are pixels."""
    for name, value in edit.settings.items():
        most = (
            MOST_CHANNELS if any(word in name for word in ("channels", "features", "num_", "groups")) else MOST_PIXELS
        )
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int | float) and not -most <= one <= most:
                raise ValueError(f"an edit sets {short(name)} to {short(value)}, beyond {most}")


def _setting(name: str, value: object) -> None:
    if name in LIMITS:
        LIMITS[name].checked(name, value)
    elif name == "schedule_mode":
        check_choice(name, value, SCHEDULE_MODES)
    else:
        TrainSpec(**{name: value})  # type: ignore[arg-type]  # checked there


# -- the optimizer ----------------------------------------------------------------------------------------------------


def group(plain: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group of parameters, which has what a fresh one has; how a step is computed is the latter's."""
    if not set(fresh) - set(_RATES) <= set(plain) <= {*fresh, *_RATES}:
        raise ValueError(f"the optimizer's settings are {short(sorted(plain))}")
    made: dict[str, Any] = {}
    for name, value in plain.items():
        if name in _OWN:
            made[name] = fresh[name]
        elif name == "betas":
            first, second = value
            made[name] = number(name, first, 0, 1), number(name, second, 0, 1)
        elif isinstance(fresh.get(name), bool):
            made[name] = yes_no(name, value)
        else:
            number(name, value)
            made[name] = value
    return made


def moments(kind: type[optim.Optimizer], param: nn.Parameter, kept: Mapping[str, Any]) -> None:
    """Of one parameter. The kernels that read them look at no size."""
    always, at_times = _MOMENTS[kind]
    if kept and not set(always) <= set(kept) <= {*always, *at_times}:
        raise ValueError(f"{kind.__name__} keeps {short(sorted(kept))}")
    for name, value in kept.items():
        if value is None and name in at_times:
            continue
        fits = isinstance(value, Tensor) and (
            (value.dim() == 0 and value.dtype in (torch.float32, torch.float64))
            if name == "step"
            else (value.shape == param.shape and value.dtype == param.dtype)
        )
        if not fits:
            raise ValueError(f"{name} of {kind.__name__} is not of its parameter's shape and type")


# -- random numbers ---------------------------------------------------------------------------------------------------


def torch_state(device: torch.device, state: Any) -> Any:
    """Where a generator of torch's stands."""
    torch.Generator(device).set_state(state)
    return state


def python_state(state: Any) -> Any:
    """Where one of Python's stands."""
    random.Random().setstate(state)
    if state[2] is not None:
        number("gauss_next", state[2], -1e3, 1e3)
    return state


def numpy_state(like: np.random.BitGenerator, state: Any) -> Any:
    """Where one of numpy's stands, which itself takes a position beyond the end of its memory."""
    inner = state["state"]
    if "pos" in inner:
        _legacy(inner["key"], inner["pos"])
    if "buffer_pos" in state:
        whole("buffer_pos", state["buffer_pos"], 4)
    type(like)().state = state
    return state


def own_state(generator: Any, state: Any) -> Any:
    """Where a generator of the user's own stands."""
    if isinstance(generator, torch.Generator):
        return torch_state(generator.device, state)
    if isinstance(generator, np.random.Generator):
        return numpy_state(generator.bit_generator, state)
    if isinstance(generator, np.random.RandomState):
        name, key, position, has_gauss, cached = state
        _legacy(key, position)
        np.random.RandomState(0).set_state((name, key, position, whole("has_gauss", has_gauss, 1), float(cached)))
        return state
    return python_state(state)


def _legacy(key: Any, position: object) -> None:
    whole("pos", position, 624)
    if not isinstance(key, np.ndarray) or key.shape != (624,) or key.dtype != np.uint32:
        raise ValueError("the numbers of numpy's generator are not whole")
