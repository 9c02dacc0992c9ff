"""The part of a script that changes settings in flight: a journal, and no more machinery than it needs."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.journal import Change
from convlab.training.script_edits import Edits
from convlab.training.script_text import statement, text

_SCALE: Final = '''\
def scale_schedule(ratio):
    """Multiply the lr, and all that the schedule computes it from."""
    for name in ("lr", "initial_lr", "max_lr", "min_lr"):
        if name in group:
            group[name] *= ratio
    for part in parts(scheduler):
        for name in ("base_lrs", "max_lrs", "min_lrs", "_last_lr"):
            if hasattr(part, name):
                setattr(part, name, [rate * ratio for rate in getattr(part, name)])
        for name in ("eta_min", "eps"):
            if hasattr(part, name):
                setattr(part, name, getattr(part, name) * ratio)'''

_PARTS: Final = '''\
def parts(scheduler):
    """A scheduler and those that it is made of."""
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from parts(part)'''

_MOMENTUM: Final = '''\
def set_momentum(momentum):
    """From 0 on, a velocity of before is stale."""
    if not group["momentum"]:
        for {state}:
            {fresh}
    group["momentum"] = momentum'''

_CYCLED: Final = '''\
def scale_momentum(top{beta2}):
    """The most that a schedule cycles the momentum to, and the rest along with it."""
    ratio = top / group["max_momentum"] if group["max_momentum"] else 1.0
    group["base_momentum"] *= ratio
    group["max_momentum"] = top
    {put}
    for part in parts(scheduler):
        if hasattr(part, "max_momentums"):
            part.max_momentums = [group["max_momentum"]]
            part.base_momentums = [group["base_momentum"]]'''

_STEERING: Final = '''\
class Steering:
    """The lr under a schedule, and the hand that scales it, holds it or releases it."""

    def __init__(self, lr):
        self.scheduler, self.cadence, self.over = None, "step", False
        self.base, self.mode = lr, "scale"
        self.own = self.hand = self.values()

    def values(self):
        names = ("lr", "momentum", "betas")
        return {name: group[name] for name in names if name in group}

    def clear(self):
        """End the present schedule, with the lr that the hand set last."""
        self.hand = self.values()
        if self.mode != "scale" and group["lr"]:
            self.base = group["lr"]
        for name in ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"):
            group.pop(name, None)
        group["lr"] = self.base
        self.scheduler, self.over = None, False

    def start(self, scheduler, cadence):
        self.scheduler, self.cadence = scheduler, cadence
        self.own = self.values()
        if self.mode != "scale":
            group.update(self.hand)

    def step(self, cadence, loss, accuracy=None):
        """After each step and after each epoch; only one of them moves the schedule."""
        if self.scheduler is None or self.cadence != cadence:
            return
        if self.mode == "hold" or self.over:
            return
        hand = self.values()
        if self.mode == "release":
            group.update(self.own)
        try:
            if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                wants_most = self.scheduler.mode == "max" and accuracy is not None
                self.scheduler.step(accuracy if wants_most else loss)
            else:
                self.scheduler.step()
        except ValueError:  # a schedule of fixed length is at its end; the lr stays
            self.over = True
        if self.mode == "release":
            self.own = self.values()
            group.update(hand)

    def set_lr(self, lr):
        if self.scheduler is not None and self.mode == "scale":
            self.scale(lr / self.base)
            self.base = lr
            return
        group["lr"] = lr
        if self.scheduler is None:
            self.base = lr

    def set_mode(self, mode):
        """Taken up again, a held schedule goes on from the lr in force."""
        before, self.mode = self.mode, mode
        if self.scheduler is None or before == mode:
            return
        if before == "scale":
            self.own = self.values()
        elif mode == "scale":
            held = group["lr"]
            group.update(self.own)
            if before == "hold" and group["lr"]:
                ratio = held / group["lr"]
                if 0 < self.base * ratio <= 1000:
                    self.scale(ratio)

    def scale(self, ratio):
        """Multiply the lr, and all that the schedule computes it from."""
        self.base *= ratio
        for name in ("lr", "initial_lr", "max_lr", "min_lr"):
            if name in group:
                group[name] *= ratio
        for part in parts(self.scheduler):
            for name in ("base_lrs", "max_lrs", "min_lrs", "_last_lr"):
                if hasattr(part, name):
                    setattr(part, name, [rate * ratio for rate in getattr(part, name)])
            for name in ("eta_min", "eps"):
                if hasattr(part, name):
                    setattr(part, name, getattr(part, name) * ratio)'''


class Changes:
    """What a journal asks of a script: helpers, and the function `change_settings` with a case for each step."""

    def __init__(self, spec: TrainSpec, journal: Iterable[Change], edits: Edits, *, overruns: bool) -> None:
        self.spec = spec
        self.journal = sorted(journal, key=lambda change: change.step)
        self.edits = edits
        schedules = [spec.schedule, *(one.new for one in self.journal if one.name == "schedule")]
        self.schedules = [one for one in schedules if isinstance(one, ScheduleSpec)]
        modes = {spec.schedule_mode, *(one.new for one in self.journal if one.name == "schedule_mode")}
        self.steered = bool(self.schedules) and (len(schedules) > 1 or modes != {"scale"} or overruns)
        self._needs: set[str] = set()
        self._globals: set[str] = set()
        self._cases = self._written()

    def changes(self, name: str) -> bool:
        """Whether the journal has a change of this setting."""
        return any(change.name == name for change in self.journal)

    @property
    def steps(self) -> list[int]:
        """After how many steps `change_settings` has something to do."""
        return list(self._cases)

    def helpers(self) -> list[str]:
        """Definitions that stand before the optimizer is stepped, each a block; empty for most scripts."""
        blocks = []
        if self.steered or self._needs & {"scale_schedule", "scale_momentum"}:
            blocks.append(_PARTS)
        if "scale_schedule" in self._needs:
            blocks.append(_SCALE)
        if self.steered:
            blocks.append(_STEERING)
        if "set_momentum" in self._needs:
            zeros = self.spec.optimizer == "rmsprop"
            state = "parameter, state in optimizer.state.items()" if zeros else "state in optimizer.state.values()"
            fresh = 'state["momentum_buffer"] = torch.zeros_like(parameter)' if zeros else ""
            fresh = fresh or 'state.pop("momentum_buffer", None)'
            blocks.append(_MOMENTUM.format(state=state, fresh=fresh))
        if "scale_momentum" in self._needs:
            adam = self.spec.optimizer in ("adam", "adamw")
            put = 'group["betas"] = (group["betas"][0] * ratio, beta2)'
            put = put if adam else 'set_momentum(group["momentum"] * ratio)'
            cycled = _CYCLED.format(beta2=", beta2" if adam else "", put=put)
            blocks.append(cycled.replace("parts(scheduler)", "parts(steering.scheduler)") if self.steered else cycled)
        return [*blocks, *self.edits.helpers()]

    def function(self) -> list[str]:
        """The function `change_settings`, called before the first step and after every one."""
        if not self._cases:
            return []
        lines = ["def change_settings(step):", '    """What was changed by hand, each after so many steps."""']
        if names := self._globals | self.edits.globals:
            lines.append(f"    global {', '.join(sorted(names))}")
        lines.append("    match step:")
        for step, body in self._cases.items():
            lines += [f"        case {step}:", *body]
        return ["\n".join(lines)]

    def start(self) -> list[str]:
        """Lines that begin the schedule of the recipe."""
        schedule = self.spec.schedule
        if self.steered:
            lines = [f"steering = Steering(lr={self.spec.lr!r})"]
            if schedule is not None:
                lines.append(_start(schedule, 0))
            if self.spec.schedule_mode != "scale":
                lines.append(f'steering.set_mode("{self.spec.schedule_mode}")')
            return lines
        return [statement("scheduler = ", schedule.code())] if schedule is not None else []

    @property
    def uses_group(self) -> bool:
        """Whether something speaks of `group`, the optimizer's settings."""
        return (
            self.steered
            or any("group" in line for body in self._cases.values() for line in body)
            or bool(self._needs)
            or bool(self.edits.records)
        )

    def _written(self) -> dict[int, list[str]]:
        cases: dict[int, list[str]] = {}
        settings = self.spec
        numbers = itertools.count()
        for change in self.journal:
            if change.name == "edit":
                cases.setdefault(change.step, []).extend(self.edits.lines(next(numbers)))
                continue
            lines = list(self._lines(settings, change.name, change.new))
            settings = settings.changed(**{change.name: change.new})
            cases.setdefault(change.step, []).extend(f"{' ' * 12}{line}" if line[0] != " " else line for line in lines)
        return {step: lines for step, lines in cases.items() if lines}

    def _lines(self, settings: TrainSpec, name: str, value: Any) -> Iterator[str]:
        cycles = _cycles(settings.schedule)
        if name == "lr":
            if self.steered:
                yield f"steering.set_lr({value!r})"
            elif settings.schedule is not None:
                self._needs.add("scale_schedule")
                yield f"scale_schedule({value!r} / {settings.lr!r})"
            else:
                yield f'group["lr"] = {value!r}'
        elif name == "weight_decay":
            yield f'group["weight_decay"] = {value!r}'
        elif name in ("momentum", "betas"):
            yield from self._momentum(settings, name, value, cycles and settings.schedule_mode == "scale")
        elif name == "dropout":
            yield from _dropout(value)
        elif name == "label_smoothing":
            yield f"criterion.label_smoothing = {value!r}"
        elif name == "schedule_mode" and self.steered:
            yield f"steering.set_mode({text(value)})"
        elif name == "schedule":
            before = "betas" if settings.optimizer in ("adam", "adamw") else "momentum"
            if cycles or not settings.momentum:
                yield from self._momentum(settings, before, getattr(settings, before), False)
            if self.steered:
                yield "steering.clear()"
                yield _start(value, 12)
        elif name in ("batch_size", "micro_batch_size", "epochs", "clip_grad_norm"):
            self._globals.add("max_norm" if name == "clip_grad_norm" else name)
            yield f"{'max_norm' if name == 'clip_grad_norm' else name} = {value!r}"

    def _momentum(self, settings: TrainSpec, name: str, value: Any, scaled: bool) -> Iterator[str]:
        if name == "betas" and settings.optimizer in ("adam", "adamw"):
            if scaled:
                self._needs.add("scale_momentum")
                yield f"scale_momentum({value[0]!r}, {value[1]!r})"
            else:
                yield f'group["betas"] = {value!r}'
        elif name == "momentum" and settings.optimizer in ("sgd", "rmsprop"):
            self._needs.add("set_momentum")
            if scaled:
                self._needs.add("scale_momentum")
            yield f"scale_momentum({value!r})" if scaled else f"set_momentum({value!r})"


def _dropout(value: object) -> Sequence[str]:
    if value is None:
        return ["for layer, p in own_dropout.items():", f"{' ' * 16}layer.p = p"]
    return ["for layer in own_dropout:", f"{' ' * 16}layer.p = {value!r}"]


def _start(schedule: object, indent: int) -> str:
    if not isinstance(schedule, ScheduleSpec):
        return 'steering.start(None, "step")'
    line = statement("", f"steering.start({schedule.code()}, {schedule.cadence!r})", indent)
    return line if indent else line.lstrip()


def _cycles(schedule: ScheduleSpec | None) -> bool:
    """Whether a schedule moves momentum, too."""
    if schedule is None:
        return False
    arguments = schedule.arguments
    if schedule.scheduler in ("OneCycleLR", "CyclicLR"):
        return bool(arguments.get("cycle_momentum", True))
    return any(_cycles(one) for one in arguments.get("schedulers", ()))
