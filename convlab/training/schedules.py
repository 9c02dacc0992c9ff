"""The curve that a scheduler will draw, had by stepping the real class on a throwaway optimizer."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from convlab.schedule_spec import CADENCES, Cadence, ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.optimizers import build_optimizer
from convlab.training.schedule_checks import cadence_notes, endless_note, flat_end_note

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Array = npt.NDArray[np.float64]
Maker = Callable[[optim.Optimizer], LRScheduler]

_ASK_EVERY: Final = 1024

# Left in the groups by a scheduler, where the next one on the same optimizer would take them for its own.
_LEFTOVERS: Final = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum")


class ScheduleWarning(UserWarning):
    """A scheduler and the number of its steps do not fit together."""


class Overtaken(Exception):  # noqa: N818  # nothing went wrong
    """A curve that nobody waits for any more."""


@dataclass(frozen=True, eq=False)
class ScheduleCurve:
    """The learning rates that a scheduler gives to the optimizer steps of a training.

    Attributes:
        name: the scheduler's class.
        lrs: the lr of each optimizer step, shape (steps,), or (steps, groups) for an optimizer with several groups.
            Shorter than asked for where training would stop with an error: `notes` says so.
        momenta: momentum (Adam's beta1) of each step, shape (steps,), where the scheduler changes it; else None.
        cadence: whether ``scheduler.step()`` comes after each optimizer step or after each epoch.
        steps_per_epoch: optimizer steps in an epoch, or None where it was not said.
        notes: sentences on what does not fit, such as a `T_max` in steps with a cadence in epochs.
    """

    name: str
    lrs: Array
    momenta: Array | None
    cadence: Cadence
    steps_per_epoch: int | None
    notes: tuple[str, ...]

    @property
    def counts_epochs(self) -> bool:
        """Whether one entry stands for an epoch: a cadence per epoch with nothing said about its steps."""
        return self.cadence == "epoch" and self.steps_per_epoch is None

    @property
    def step(self) -> npt.NDArray[np.int64]:
        """Number of each step, from 1, as in `History`; of each epoch where `counts_epochs`."""
        return np.arange(1, len(self.lrs) + 1)

    def to_dataframe(self) -> "pd.DataFrame":
        """A pandas table: columns step (or epoch), lr (lr_0, lr_1, … with several groups) and, if cycled, momentum."""
        import pandas as pd

        table = pd.DataFrame({"epoch" if self.counts_epochs else "step": self.step})
        if self.lrs.ndim == 1:
            table["lr"] = self.lrs
        else:
            for group, lrs in enumerate(self.lrs.T):
                table[f"lr_{group}"] = lrs
        if self.momenta is not None:
            table["momentum"] = self.momenta
        return table

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve on `ax`, or on a figure of its own, and return the axes."""
        from convlab.plots.lr import plot_schedule

        return plot_schedule(self, ax)

    def __len__(self) -> int:
        return len(self.lrs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.lrs, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        lrs = self.lrs if self.lrs.ndim == 1 else self.lrs[:, 0]
        peak = int(np.argmax(lrs))
        unit = "epochs" if self.counts_epochs else "steps"
        text = f"ScheduleCurve({self.name}, {len(lrs)} {unit}, lr {lrs[0]:.3g}"
        if 0 < peak < len(lrs) - 1:
            text += f" → {lrs[peak]:.3g} (step {peak + 1})"
        text += f" → {lrs[-1]:.3g}"
        if self.momenta is not None:
            text += f", momentum {self.momenta.min():.3g} to {self.momenta.max():.3g}"
        return text + "".join(f"; {note}" for note in self.notes) + ")"


def simulate(
    scheduler: ScheduleSpec | LRScheduler | Maker,
    steps: int,
    *,
    train: TrainSpec | None = None,
    metrics: Sequence[float] | None = None,
    cadence: Cadence | None = None,
    steps_per_epoch: int | None = None,
) -> ScheduleCurve:
    """The curve that `scheduler` will draw over so many optimizer steps.

    The real class is stepped, on a throwaway optimizer: what is drawn is what will be. A live scheduler is copied and
    continued from where it stands; it and its optimizer are not touched.

    Args:
        scheduler: a `ScheduleSpec`; a live scheduler of any class; or a function from an optimizer to a scheduler,
            such as ``lambda optimizer: StepLR(optimizer, 30)``.
        steps: optimizer steps. With a cadence per epoch and no `steps_per_epoch`, epochs.
        train: optimizer, lr and momentum to begin with; `TrainSpec()` if left out. Not for a live scheduler, which
            has its own.
        metrics: for `ReduceLROnPlateau`: what its `step` is given, one number a call, such as validation losses.
        cadence: ``"step"`` or ``"epoch"``: when ``scheduler.step()`` is called; that of the `ScheduleSpec` if left
            out, else ``"step"``.
        steps_per_epoch: optimizer steps in an epoch.

    Returns:
        The curve. What does not fit, such as a `T_max` in steps with a cadence in epochs, is in its `notes` and is
        warned of as a `ScheduleWarning`.

    Raises:
        ValueError, TypeError: an argument cannot be, or the scheduler's class refuses its own.

    Example:
        >>> simulate(ScheduleSpec("StepLR", step_size=2, gamma=0.1), 5, train=TrainSpec(lr=1.0)).lrs.round(3).tolist()
        [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    curve = curve_of(scheduler, steps, train=train, metrics=metrics, cadence=cadence, steps_per_epoch=steps_per_epoch)
    for note in curve.notes:
        warnings.warn(note, ScheduleWarning, stacklevel=2)
    return curve


def curve_of(
    scheduler: ScheduleSpec | LRScheduler | Maker,
    steps: int,
    *,
    train: TrainSpec | None = None,
    metrics: Sequence[float] | None = None,
    cadence: Cadence | None = None,
    steps_per_epoch: int | None = None,
    go_on: Callable[[], bool] | None = None,
) -> ScheduleCurve:
    """`simulate` without its warnings, for whoever shows `ScheduleCurve.notes` and may be overtaken by a newer wish.

    Args:
        scheduler, steps, train, metrics, cadence, steps_per_epoch: as for `simulate`.
        go_on: asked now and then whether the curve is still wanted.

    Raises:
        ValueError, TypeError: as `simulate`.
        Overtaken: `go_on` said no.
    """
    _check_count("steps", steps, 100)
    if steps_per_epoch is not None:
        _check_count("steps_per_epoch", steps_per_epoch, 45)
    if cadence is None:
        cadence = scheduler.cadence if isinstance(scheduler, ScheduleSpec) else "step"
    elif cadence not in CADENCES:
        raise ValueError(f"cadence must be 'step' or 'epoch', got {cadence!r}; try cadence='step'.")
    made = throwaway(scheduler, train)
    stride = 1 if cadence == "step" else steps_per_epoch or 1
    calls = steps // stride
    _check_metrics(made, metrics, calls)
    notes = cadence_notes(made, calls, cadence, steps_per_epoch)
    lrs, momenta, stopped = _stepped(made, steps, stride, metrics, go_on)
    if stopped is not None:
        notes.insert(0, stopped)
    elif note := endless_note(lrs) or flat_end_note(lrs, cadence, stride):
        notes.append(note)
    return ScheduleCurve(
        name=type(made).__name__,
        lrs=lrs[:, 0] if lrs.shape[1] == 1 else lrs,
        momenta=momenta if momenta is not None and np.ptp(momenta) else None,
        cadence=cadence,
        steps_per_epoch=steps_per_epoch,
        notes=tuple(notes),
    )


def build_scheduler(spec: ScheduleSpec, optimizer: optim.Optimizer) -> LRScheduler:
    """The real scheduler that `spec` names, on `optimizer` from its present lr on.

    What an earlier scheduler left in the optimizer's groups is removed first: torch would silently start from the lr
    that the earlier one began with.
    """
    for group in optimizer.param_groups:
        for name in _LEFTOVERS:
            group.pop(name, None)
    return _built(spec, optimizer)


def _built(spec: ScheduleSpec, optimizer: optim.Optimizer) -> LRScheduler:
    arguments = spec.arguments
    if "schedulers" in arguments:
        arguments["schedulers"] = [_built(inner, optimizer) for inner in arguments["schedulers"]]
    if "milestones" in arguments:
        arguments["milestones"] = list(arguments["milestones"])
    cls: Callable[..., LRScheduler] = getattr(lr_scheduler, spec.scheduler)
    # It finds its optimizer in the schedulers that it chains.
    return cls(**arguments) if spec.scheduler == "ChainedScheduler" else cls(optimizer, **arguments)


# -- the throwaway ----------------------------------------------------------------------------------------------------


class _Standstill(optim.Optimizer):
    """An optimizer with the settings of another one and nothing to optimize."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing."""


def throwaway(scheduler: ScheduleSpec | LRScheduler | Maker, train: TrainSpec | None) -> LRScheduler:
    """A scheduler to be stepped without harm, as `simulate` does."""
    if isinstance(scheduler, LRScheduler):
        if train is not None:
            raise ValueError("train is for a ScheduleSpec; a live scheduler has its optimizer: leave train out.")
        return copied(scheduler)
    optimizer = build_optimizer([_nothing()], train or TrainSpec())
    if isinstance(scheduler, ScheduleSpec):
        return build_scheduler(scheduler, optimizer)
    made = scheduler(optimizer) if callable(scheduler) else scheduler
    if not isinstance(made, LRScheduler) or isinstance(scheduler, type):
        raise TypeError(
            "scheduler must be a ScheduleSpec, a scheduler of torch.optim.lr_scheduler or a function from an optimizer "
            f"to one, got {scheduler!r}; try ScheduleSpec('CosineAnnealingLR', T_max=200)."
        )
    return made


def copied(scheduler: LRScheduler) -> LRScheduler:
    """A copy of a live scheduler, to be stepped, on an optimizer of its own with copies of its settings."""
    live = scheduler.optimizer
    groups = [
        {name: [_nothing()] if name == "params" else copy.deepcopy(value) for name, value in group.items()}
        for group in live.param_groups
    ]
    throwaway = _Standstill(groups, copy.deepcopy(live.defaults))
    throwaway.step()  # torch warns of a scheduler that steps before its optimizer, and marks the latter's step
    memo: dict[int, Any] = {id(live): throwaway}
    ahead = copy.deepcopy(scheduler, memo)
    if hasattr(live.step, "_wrapped_by_lr_sched"):
        wrapper: Any = throwaway.step
        throwaway.step = _marked(wrapper)  # type: ignore[method-assign]
    throwaway._opt_called = True  # type: ignore[attr-defined]
    return ahead


def _marked(step: Callable[[], None]) -> Any:
    def marked() -> None:
        step()

    marked._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    return marked


def _nothing() -> nn.Parameter:
    return nn.Parameter(torch.zeros(1))


def _stepped(
    scheduler: LRScheduler,
    steps: int,
    stride: int,
    metrics: Sequence[float] | None,
    go_on: Callable[[], bool] | None,
) -> tuple[Array, Array | None, str | None]:
    """The lrs, shape (steps, groups), the momenta, and the sentence on the error that would end the training."""
    optimizer = scheduler.optimizer
    optimizer.step()
    groups = optimizer.param_groups
    momentum_of = _momentum_reader(groups[0])
    lrs: list[float] = []
    momenta, stopped, calls = [], None, 0
    for done in range(1, steps + 1):
        for group in groups:
            lrs.append(float(group["lr"]))  # a tensor would change with the next step
        momenta.append(momentum_of())
        if done % _ASK_EVERY == 0 and go_on is not None and not go_on():
            raise Overtaken
        if done % stride:
            continue
        try:
            if metrics is None:
                scheduler.step()
            else:
                scheduler.step(metrics[calls])  # type: ignore[arg-type]  # Plateau's own argument
        except (ValueError, ArithmeticError) as error:  # at the end of a fixed length, or of what a float holds
            stopped = f"training would stop with an error after step {done}: {type(scheduler).__name__} says {error}"
            break
        calls += 1
    return np.reshape(lrs, (-1, len(groups))), None if momenta[0] is None else np.array(momenta), stopped


def _momentum_reader(group: dict[str, Any]) -> Callable[[], float | None]:
    if "betas" in group:
        return lambda: float(group["betas"][0])
    if "momentum" in group:
        return lambda: float(group["momentum"])
    return lambda: None


# -- checks -----------------------------------------------------------------------------------------------------------


def _check_count(name: str, value: object, example: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}; try {name}={example}.")


def _check_metrics(scheduler: LRScheduler, metrics: Sequence[float] | None, calls: int) -> None:
    name = type(scheduler).__name__
    if isinstance(scheduler, ReduceLROnPlateau):
        given = 0 if metrics is None else len(metrics)
        if given < calls:
            raise ValueError(
                f"metrics must hold a number for each of the {calls} calls of {name}.step, got {given}; "
                f"pass as many validation losses, or ask for fewer steps."
            )
    elif metrics is not None:
        raise ValueError(f"metrics is for ReduceLROnPlateau; the step of {name} takes none: leave metrics out.")
