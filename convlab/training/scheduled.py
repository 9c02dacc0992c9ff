"""The learning rate of a live optimizer, under a schedule and under a hand.

The schedule is torch's own scheduler, stepped as a textbook loop would. A hand that moves the lr meanwhile scales the
rest of it, holds it, or releases the lr from it: see `TrainSpec.schedule_mode`.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from torch import optim
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from convlab.limits import SpecError
from convlab.schedule_spec import Cadence, ScheduleSpec
from convlab.spec import LIMITS, ScheduleMode
from convlab.training.optimizers import apply_setting
from convlab.training.schedules import build_scheduler, copied

# What a schedule writes into a parameter group.
_MOVED: Final = ("lr", "momentum", "betas")
# Where schedulers keep learning rates, besides the group's own lr: in the groups, and in themselves.
_RATES_OF_GROUP: Final = ("initial_lr", "max_lr", "min_lr")
_RATES_OF_SCHEDULER: Final = ("base_lrs", "max_lrs", "min_lrs", "eta_min", "_last_lr", "eps")

Values = list[dict[str, Any]]


class Scheduled:
    """An optimizer's lr (and momentum, where a schedule cycles it): whose it is, and what it is next.

    Attributes:
        spec: the schedule, or None for an lr that only a hand moves.
        base: the lr that the schedule began at, times what it was scaled by since; the lr itself without a schedule.
        over: a sentence once a schedule of fixed length has come to its end, else empty; the lr stays where it was.

    Example:
        >>> import torch
        >>> optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduled = Scheduled(optimizer, ScheduleSpec("ExponentialLR", gamma=0.5), 1.0)
        >>> scheduled.after_step(2.3)
        >>> scheduled.set_lr(2.0)
        >>> scheduled.lr
        1.0
    """

    def __init__(self, optimizer: optim.Optimizer, spec: ScheduleSpec | None, base: float) -> None:
        self.optimizer = optimizer
        self.base = base
        self.mode: ScheduleMode = "scale"
        # Panels ask for the plan from threads of their own.
        self._lock = threading.RLock()
        self._own: Values = []
        self.set_schedule(spec)

    @property
    def lr(self) -> float:
        """The lr of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def by_hand(self) -> bool:
        """Whether the schedule is held or released, so that the lr is the one that the hand set."""
        return self.scheduler is not None and self.mode != "scale"

    @property
    def setting(self) -> float:
        """What the lr setting of the recipe is: the lr itself, or that which a running schedule began at."""
        return self.lr if self.by_hand else self.base

    @property
    def cycles_momentum(self) -> bool:
        """Whether the schedule moves momentum (Adam's beta1), too."""
        return any(getattr(part, "cycle_momentum", False) for part in _parts(self.scheduler))

    # -- the clock ----------------------------------------------------------------------------------------------------

    def after_step(self, train_loss: float) -> None:
        """After each optimizer step."""
        if self.scheduler is not None and self.cadence == "step":
            self._advance(train_loss)

    def after_epoch(self, loss: float, accuracy: float | None) -> None:
        """After each epoch, with its validation loss and accuracy, or those of training where there is no other."""
        if self.scheduler is not None and self.cadence == "epoch":
            wants_most = getattr(self.scheduler, "mode", "min") == "max"
            self._advance(accuracy if wants_most and accuracy is not None else loss)

    def _advance(self, metric: float) -> None:
        if self.mode == "hold" or self.over:
            return
        with self._lock:
            if self.mode == "release":
                by_hand = self._values()
                self._put(self._own)
                self._step(metric)
                self._own = self._values()
                self._put(by_hand)
            else:
                self._step(metric)

    def _step(self, metric: float) -> None:
        scheduler: Any = self.scheduler
        try:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(metric)
            else:
                scheduler.step()
        except (ValueError, ArithmeticError) as error:  # at the end of a fixed length, or of what a float holds
            self.over = f"{type(scheduler).__name__} has come to its end, the lr stays at {self.lr:.3g}: {error}"

    # -- the hand -----------------------------------------------------------------------------------------------------

    def set_lr(self, lr: float) -> None:
        """A hand sets the lr: without a schedule, held or released, to `lr`; else the rest of it is scaled."""
        with self._lock:
            if self.scheduler is not None and self.mode == "scale":
                self._scale(lr / self.base)
                self.base = lr  # to the bit
                return
            apply_setting(self.optimizer, "lr", lr)
            if self.scheduler is None:
                self.base = lr

    def set_momentum(self, name: str, value: Any) -> None:
        """A hand sets momentum or betas: where the schedule cycles it, the most that it reaches."""
        with self._lock:
            if not self.cycles_momentum or self.mode != "scale":
                apply_setting(self.optimizer, name, value)
                return
            top = value[0] if name == "betas" else value
            for group in self.optimizer.param_groups:
                now = group["betas"][0] if name == "betas" else group["momentum"]
                ratio = top / group["max_momentum"] if group["max_momentum"] else 1.0
                group["base_momentum"], group["max_momentum"] = group["base_momentum"] * ratio, top
                apply_setting(self.optimizer, name, (now * ratio, value[1]) if name == "betas" else now * ratio)
            for part in _parts(self.scheduler):
                if hasattr(part, "max_momentums"):  # CyclicLR keeps its own beside the groups'
                    part.max_momentums = [group["max_momentum"] for group in self.optimizer.param_groups]
                    part.base_momentums = [group["base_momentum"] for group in self.optimizer.param_groups]

    def set_mode(self, mode: ScheduleMode) -> None:
        """Change what the hand does; held and taken up again, the schedule goes on from the lr in force."""
        with self._lock:
            before, self.mode = self.mode, mode
            if self.scheduler is None or before == mode:
                return
            if before == "scale":
                self._own = self._values()
            elif mode == "scale":
                held = self.lr
                self._put(self._own)
                if before == "hold" and self.lr and self._may_scale(held / self.lr):
                    self._scale(held / self.lr)

    def set_schedule(self, spec: ScheduleSpec | None) -> None:
        """Begin another schedule at the lr that the hand set last; None ends the present one, with the lr there."""
        with self._lock:
            by_hand = self._values()
            if self.mode != "scale" and self.lr:
                self.base = self.lr
            apply_setting(self.optimizer, "lr", self.base)
            self.spec, self.over = spec, ""
            self.cadence: Cadence = spec.cadence if spec else "step"
            self.scheduler: LRScheduler | None = None
            if spec is not None:
                self.scheduler = build_scheduler(spec, self.optimizer)
                # Else torch warns of a scheduler that steps before its optimizer: a fused step passes by its mark.
                self.optimizer._opt_called = True  # type: ignore[attr-defined]
            self._own = self._values()
            if self.mode != "scale":
                self._put(by_hand)

    def _scale(self, ratio: float) -> None:
        """The rest of the schedule times `ratio`, whatever the scheduler computes it from."""
        if ratio == 1:
            return
        self.base *= ratio
        self.spec = self.spec and self.spec.scaled(ratio)
        for group in self.optimizer.param_groups:
            group["lr"] *= ratio
            for name in _RATES_OF_GROUP:
                if name in group:
                    group[name] *= ratio
        for part in _parts(self.scheduler):
            for name in _RATES_OF_SCHEDULER:
                rates = getattr(part, name, None)
                if isinstance(rates, list):
                    setattr(part, name, [rate * ratio for rate in rates])
                elif rates is not None:
                    setattr(part, name, rates * ratio)

    def _may_scale(self, ratio: float) -> bool:
        """Whether the recipe would still hold its rates; after a schedule's end at next to nothing it may not."""
        try:
            LIMITS["lr"].checked("lr", self.base * ratio)
            return self.spec is not None and self.spec.scaled(ratio) is not None
        except SpecError:
            return False

    def _values(self) -> Values:
        return [{name: group[name] for name in _MOVED if name in group} for group in self.optimizer.param_groups]

    def _put(self, values: Iterable[Mapping[str, Any]]) -> None:
        for group, own in zip(self.optimizer.param_groups, values, strict=True):
            group.update(own)

    # -- as a value ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All but what stands in the optimizer's groups, as plain values."""
        with self._lock:
            return {
                "spec": self.spec and self.spec.to_dict(),
                "base": self.base,
                "mode": self.mode,
                "own": [dict(values) for values in self._own],
                "over": self.over,
                "schedulers": [_plain_parts(part) for part in _parts(self.scheduler)],
            }

    def put_back(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; the optimizer's groups must have been put back already."""
        with self._lock:
            kept = [dict(group) for group in self.optimizer.param_groups]
            self.mode, self.base = "scale", state["base"]
            self.set_schedule(ScheduleSpec.from_dict(state["spec"]) if state["spec"] else None)
            for part, values in zip(_parts(self.scheduler), state["schedulers"], strict=True):
                vars(part).update(_like(_plain_parts(part), values))
            for group, was in zip(self.optimizer.param_groups, kept, strict=True):
                group.clear()
                group.update(was)
            self.base, self.mode, self.over = state["base"], state["mode"], state["over"]
            # Betas that were in a file come as a list.
            self._own = [{k: tuple(v) if isinstance(v, list) else v for k, v in own.items()} for own in state["own"]]

    # -- looking ahead ------------------------------------------------------------------------------------------------

    def ahead(self) -> LRScheduler | None:
        """A copy of the scheduler as it stands, on a throwaway optimizer; None where the lr just stays."""
        with self._lock:
            if self.scheduler is None or self.mode == "hold" or self.over:
                return None
            ahead = copied(self.scheduler)
            if self.mode == "release":
                for group, own in zip(ahead.optimizer.param_groups, self._own, strict=True):
                    group.update(own)
            return ahead


def _plain_parts(scheduler: Any) -> dict[str, Any]:
    """What of a scheduler changes as it goes: numbers and lists of them; the rest follows from its arguments."""
    return {name: _plain_copy(value) for name, value in vars(scheduler).items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, bool | int | float) for one in value)
    return value is None or isinstance(value, bool | int | float)


def _like(known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, which may have been in a file: a scheduler has these names, and they are numbers or lists of them."""
    for name, value in values.items():
        lists = isinstance(value, list), isinstance(known.get(name), list)
        if name not in known or lists[0] != lists[1] or not _is_plain(value):
            raise ValueError(f"a scheduler has no {name!r:.40} that is {value!r:.40}")
    return {name: _plain_copy(value) for name, value in values.items()}


def _plain_copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _parts(scheduler: LRScheduler | None) -> Iterator[Any]:
    """A scheduler and all that it is made of."""
    if scheduler is not None:
        yield scheduler
        for part in getattr(scheduler, "_schedulers", ()):
            yield from _parts(part)
