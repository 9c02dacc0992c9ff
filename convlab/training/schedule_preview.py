"""What a schedule will do to a training that has not begun: its curve over all steps, and what cannot be known yet."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from convlab.schedule_spec import Cadence, ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.history import History
from convlab.training.schedules import ScheduleCurve, curve_of

Array = npt.NDArray[np.float64]
Mode = Literal["min", "max"]

MOST_STEPS: Final = 1_000_000
"""How far a schedule is stepped: some seconds' work."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What `ReduceLROnPlateau` is given: a number a call of its `step`, and where they come from."""

    name: str
    values: Array


def preview(
    spec: ScheduleSpec | None,
    train: TrainSpec,
    steps_per_epoch: int,
    *,
    scores: Scores | None = None,
    go_on: Callable[[], bool] | None = None,
) -> ScheduleCurve:
    """The lr of every step of the training that `train` describes, were it under this schedule.

    Args:
        spec: the schedule; None for an lr that stays.
        train: epochs, optimizer, lr and momentum.
        steps_per_epoch: optimizer steps in an epoch.
        scores: for `ReduceLROnPlateau`. Where there are fewer than calls, the curve ends with them, and a note says so.
        go_on: asked now and then whether the curve is still wanted.

    Raises:
        ValueError: the scheduler's class refuses its arguments.
        Overtaken: `go_on` said no.

    Example:
        >>> preview(ScheduleSpec("CosineAnnealingLR", T_max=90), TrainSpec(lr=0.1, epochs=2), 45)
        ScheduleCurve(CosineAnnealingLR, 90 steps, lr 0.1 → 3.05e-05)
    """
    planned = train.epochs * steps_per_epoch
    steps = min(planned, MOST_STEPS)
    notes = [f"Drawn for the first {steps:,} of {planned:,} steps."] if steps < planned else []
    if spec is None:
        lrs = np.full(steps, train.lr)
        return ScheduleCurve("constant", lrs, None, "step", steps_per_epoch, tuple(notes))
    metrics: list[float] | None = None
    if spec.scheduler == "ReduceLROnPlateau":
        metrics = [] if scores is None else scores.values.tolist()
        known = (len(metrics) + 1) * (1 if spec.cadence == "step" else steps_per_epoch) - 1
        if known < steps:
            steps = max(1, known)
            source = scores.name if scores else "no training"
            notes.append(
                f"Drawn as far as the {len(metrics):,} scores of {source} reach; the lr after them is not known."
            )
    curve = curve_of(spec, steps, train=train, metrics=metrics, steps_per_epoch=steps_per_epoch, go_on=go_on)
    return replace(curve, notes=(*curve.notes, *notes))


def scores_of(history: History | None, name: str, cadence: Cadence, mode: Mode) -> Scores | None:
    """What a run gave, or would have given, a `ReduceLROnPlateau`; None where it has not come so far.

    Per epoch the validation loss, or with mode ``"max"`` the accuracy, and those of training where nothing was
    validated; per step the training loss.
    """
    if history is None:
        return None
    if cadence == "step":
        values = np.repeat(history.since(0)["train_loss"], history.stride)
    else:
        epochs = history.epochs
        losses = [e.train_loss if e.valid_loss is None else e.valid_loss for e in epochs]
        shares = [e.train_accuracy if e.valid_accuracy is None else e.valid_accuracy for e in epochs]
        known = [share for share in shares if share is not None]
        values = np.array(known if mode == "max" and len(known) == len(epochs) else losses, dtype=np.float64)
    return Scores(name, values) if len(values) else None


def example_scores(mode: Mode, count: int = 200) -> Array:
    """A loss (mode ``"max"``: an accuracy) that falls in the first third and then stays, at `count` even moments."""
    fallen = 1 - np.exp(-15 * np.linspace(0, 1, count))
    fallen = np.where(np.arange(count) < count / 3, fallen, fallen[count // 3])
    return 0.1 + 0.85 * fallen if mode == "max" else 2.3 - 1.9 * fallen


def redrawn(trace: Array, xs: Array, ys: Array, span: tuple[float, float]) -> Array:
    """`trace`, at even moments from `span[0]` to `span[1]`, with the part that a hand drew over replaced.

    Args:
        trace: the scores so far, shape (moments,).
        xs: where the hand was, in the units of `span`, shape (points,); it may have gone back and forth.
        ys: the scores that it drew, shape (points,).
        span: the x of the first and of the last moment.
    """
    finite = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[finite], ys[finite]
    if not len(xs):
        return trace
    order = np.argsort(xs, kind="stable")
    moments = np.linspace(*span, len(trace))
    reach = (span[1] - span[0]) / max(1, len(trace) - 1) / 2
    under = (moments >= xs.min() - reach) & (moments <= xs.max() + reach)
    drawn = np.interp(moments, xs[order], ys[order])
    return np.where(under, drawn, trace)


def at_calls(trace: Array, calls: int) -> Array:
    """A trace of even moments as a score for each of so many calls."""
    return np.interp(np.linspace(0, 1, max(1, calls)), np.linspace(0, 1, len(trace)), trace)


def corners(values: Array, most: int) -> npt.NDArray[np.int64]:
    """Which of `values` to draw so that the line through at most `most` of them looks as the line through all.

    Half of them are where the line bends most, so that jumps stay upright; the rest are the extremes of even stretches.

    Example:
        >>> corners(np.array([1.0] * 500 + [0.1] * 500), 8).tolist()
        [0, 499, 500, 999]
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    bend = np.zeros(count)
    bend[1:-1] = np.abs(np.diff(values, 2))
    sharpest = np.argpartition(bend, -(most // 2))[-(most // 2) :]
    stretches = np.array_split(np.arange(count), max(1, most // 4 - 1))
    extremes = [at for part in stretches for at in (part[values[part].argmin()], part[values[part].argmax()])]
    chosen = np.unique([0, *sharpest[bend[sharpest] > 0], *extremes, count - 1])
    return chosen.astype(np.int64)
