"""`convlab.probe_lr`: short real trainings at a few learning rates, where reading one sweep is not enough."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from torch import nn, optim

from convlab.data.resolve import Data, resolve
from convlab.spec import Limits, SpecError, TrainSpec
from convlab.training.lr_finder import range_test
from convlab.training.lr_rules import Array, Confidence, LRSuggestion, NoSuggestionError
from convlab.training.lr_sweep import Ending, LRSweep
from convlab.training.trainer import Criterion, NonFiniteError
from convlab.training.trial import Listener, Stopped, Stopper, Teller, Trial, has_diverged

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

WIDE: Final = (1.8e-4, 2.2)
"""The lrs that are tried where the sweep shows no basin."""

SCORED_SHARE: Final = 0.25
"""The share of a training's steps, its last ones, whose mean loss is its score."""

LONG_BUDGET: Final = 2.0
"""A planned training longer than so many times a probe's takes half of its answer: short ones favour a large lr."""

_NUM_LRS: Final = Limits(3, 100, 7, whole=True)
_NUM_STEPS: Final = Limits(8, 10**6, 90, whole=True)
_LR: Final = Limits(0, 1e3, 0.01, above=True)
_FACTOR: Final = 4.0


@dataclass(frozen=True)
class ProbeCost:
    """What a probe will cost at most; trainings that diverge end early.

    Attributes:
        sweep_steps: steps of the sweep that it begins with, 0 where one is given.
        num_lrs, num_steps: so many trainings of so many steps.
        epochs: all of it in passes over the training data, or None where their number is unknown.
        share: all of it in terms of the training planned, or None likewise.
        seconds: by the speed of the sweep that was given, or None.
    """

    sweep_steps: int
    num_lrs: int
    num_steps: int
    epochs: float | None = None
    share: float | None = None
    seconds: float | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.sweep_steps + self.num_lrs * self.num_steps

    def __str__(self) -> str:
        text = f"at most {self.steps} steps: {self.num_lrs} trainings of {self.num_steps}"
        if self.sweep_steps:
            text += f" after a sweep of {self.sweep_steps}"
        if self.epochs is not None:
            text += f"; {self.epochs:.1f} epochs"
        if self.share is not None:
            text += f", {self.share:.0%} of the training planned"
        if self.seconds is not None:
            text += f"; about {self.seconds:.1f} s"
        return text + "."


def probe_cost(
    data: object,
    spec: TrainSpec | None = None,
    *,
    sweep: LRSweep | None = None,
    num_lrs: int = 7,
    num_steps: int = 90,
) -> ProbeCost:
    """What `probe_lr` with these arguments will cost; nothing is trained.

    Example:
        >>> print(probe_cost("digits", TrainSpec(epochs=10)))
        at most 730 steps: 7 trainings of 90 after a sweep of 100; 16.6 epochs, 166% of the training planned.
    """
    spec = spec or TrainSpec()
    num_lrs, num_steps = _checked("num_lrs", num_lrs, _NUM_LRS), _checked("num_steps", num_steps, _NUM_STEPS)
    cost = ProbeCost(0 if sweep else 100, num_lrs, num_steps)
    per_epoch = _steps_per_epoch(resolve(data), spec)
    epochs = cost.steps / per_epoch if per_epoch else None
    seconds = None
    if sweep is not None and len(sweep.lrs):
        seconds = sweep.seconds / sum(map(len, sweep.seed_losses)) * cost.steps
    return ProbeCost(cost.sweep_steps, num_lrs, num_steps, epochs, epochs and epochs / spec.epochs, seconds)


def _steps_per_epoch(data: Data, spec: TrainSpec) -> float | None:
    """Full batches in an epoch; None where the number of samples is unknown."""
    if data.train.num_samples < 1:
        return None
    return max(1.0, data.train.num_samples // (data.train.batch_size or spec.batch_size))


@dataclass(frozen=True, eq=False)
class LRProbe:
    """Short trainings from the same weights on the same batches, each at an lr of its own.

    Attributes:
        lrs: those that were tried to their end, rising, shape (tried,).
        curves: the loss of each step, one row an lr; shorter where it diverged.
        diverged: whether each diverged.
        spec: the recipe that was tried.
        num_steps: steps of a training that does not diverge.
        factor: what the best lr is multiplied by, as the training planned is longer than a probe's: 1 or 0.5.
        ending: ``"end"`` or ``"stopped"``.
        sweep: the sweep that told where to look.
        trained: a sentence where the model was found half-trained, else empty.
        checksum_before, checksum_after: of everything that was given back, as in `LRSweep`.
        seconds: how long it took, the sweep left out.
    """

    lrs: Array
    curves: tuple[Array, ...]
    diverged: tuple[bool, ...]
    spec: TrainSpec
    num_steps: int
    factor: float
    ending: Ending
    sweep: LRSweep
    trained: str = ""
    checksum_before: str = ""
    checksum_after: str = ""
    seconds: float = 0.0

    @property
    def given_back(self) -> bool:
        """Whether everything was as before when the probe was over, bit for bit."""
        return bool(self.checksum_before) and self.checksum_before == self.checksum_after

    @cached_property
    def scores(self) -> Array:
        """Mean loss over the last quarter of each training, shape (tried,); infinite where it diverged."""
        last = max(1, round(self.num_steps * SCORED_SHARE))
        pairs = zip(self.curves, self.diverged, strict=True)
        return np.array([math.inf if diverged else float(np.mean(curve[-last:])) for curve, diverged in pairs])

    @cached_property
    def refusal(self) -> str | None:
        """Why there is no answer, in one sentence; None where there is one."""
        if len(self.lrs) < 3:
            return f"only {len(self.lrs)} trainings were done and an answer needs 3; let it run on."
        if not np.isfinite(self.scores).any():
            return f"every training diverged, down to lr {self.lrs[0]:.2g}; try lower ones: lrs=[1e-6, 1e-5, 1e-4]."
        return None

    @cached_property
    def parabola(self) -> Array | None:
        """Coefficients of the score as a polynomial of log10 lr, highest power first, through the best three.

        None where the best lr has no finite neighbour on either side, or nothing bends.
        """
        if self.refusal is not None:
            return None
        best = int(np.argmin(self.scores))
        three = slice(best - 1, best + 2)
        if not 0 < best < len(self.lrs) - 1 or not np.isfinite(self.scores[three]).all():
            return None
        coefficients: Array = np.polyfit(np.log10(self.lrs[three]), self.scores[three], 2)
        return coefficients if coefficients[0] > 0 else None

    @cached_property
    def best_lr(self) -> float:
        """The lr with the lowest loss after a probe's steps: the lowest point of the parabola, or the best one tried.

        Raises:
            NoSuggestionError: `refusal`.
        """
        if self.refusal is not None:
            raise NoSuggestionError(self.refusal)
        if self.parabola is None:
            return float(self.lrs[int(np.argmin(self.scores))])
        return float(10 ** (-self.parabola[1] / (2 * self.parabola[0])))

    def suggestion(self) -> LRSuggestion:
        """The lr for the training planned, with the reason and how sure it is.

        Raises:
            NoSuggestionError: fewer than three trainings were done, or all of them diverged.
        """
        best = self.best_lr
        how = "the best one tried" if self.parabola is None else "the lowest point of the parabola"
        reason = f"{how} after {self.num_steps} real steps each, {min(self.scores):.3g}, is at {best:.2g}"
        if self.factor != 1:
            reason += f"; {'half' if self.factor == 0.5 else f'{self.factor:g}'} of it for the longer training planned"
        return LRSuggestion("probe", best * self.factor, reason + ".", *self._confidence())

    def _confidence(self) -> tuple[Confidence, str]:
        best = int(np.argmin(self.scores))
        if best in (0, len(self.lrs) - 1):
            side = "lower" if best == 0 else "higher"
            return "low", f"the best is the {'lowest' if best == 0 else 'highest'} lr tried; {side} ones may be better."
        if self.ending == "stopped":
            return "low", f"it was stopped after {len(self.lrs)} trainings."
        worse = (min(self.scores[best - 1], self.scores[best + 1]) - self.scores[best]) / abs(self.scores[best])
        if not math.isfinite(self.scores[best + 1]):
            return "fair", f"the next larger lr, {self.lrs[best + 1]:.2g}, diverged."
        return ("high" if worse > 0.05 else "fair"), f"its neighbours end at least {max(0.0, worse):.0%} worse."

    def to_dataframe(self) -> "pd.DataFrame":
        """A pandas table, one row a step of a training: columns lr, step, loss, diverged."""
        import pandas as pd

        rows = zip(self.lrs, self.curves, self.diverged, strict=True)
        parts = [
            pd.DataFrame({"lr": lr, "step": np.arange(1, len(curve) + 1), "loss": curve, "diverged": diverged})
            for lr, curve, diverged in rows
        ]
        return (
            pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["lr", "step", "loss", "diverged"])
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the score against lr with its parabola, and return the axes."""
        from convlab.plots.lr import plot_probe

        return plot_probe(self, ax)

    def plot_curves(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the loss of each training step by step, and return the axes."""
        from convlab.plots.lr import plot_probe_curves

        return plot_probe_curves(self, ax)

    def __repr__(self) -> str:
        text = f"LRProbe({len(self.lrs)} trainings of {self.num_steps} steps"
        if self.trained:
            text += ", from a half-trained model"
        if self.refusal is not None:
            return f"{text}; no suggestion: {self.refusal})"
        found = self.suggestion()
        return f"{text}; suggestion {found.lr:.2g}, confidence {found.confidence})"


def probe_lr(
    model: nn.Module,
    data: object,
    spec: TrainSpec | None = None,
    *,
    sweep: LRSweep | None = None,
    lrs: Sequence[float] | None = None,
    num_lrs: int = 7,
    num_steps: int = 90,
    criterion: Criterion | None = None,
    optimizer: optim.Optimizer | None = None,
    should_stop: Stopper | None = None,
    listener: Listener[LRProbe] | None = None,
) -> LRProbe:
    """Train a live model for a while at each of a few lrs, from the same weights; then give everything back.

    The careful mode of `range_test`, for when its rules disagree or refuse. What it costs is told by `probe_cost`. The
    lrs are spread evenly, in log, over the basin of a sweep. Each training is scored by the mean loss of its last
    quarter, one that diverges ends early, and the answer is the lowest point of a parabola in log lr through the best
    three; half of it where the training planned (`spec.epochs`) is much longer than a probe's.

    Args:
        model, data, spec, criterion, optimizer, should_stop: as for `range_test`.
        sweep: where to look; made here if left out.
        lrs: the lrs to try, in place of `num_lrs` of them from the sweep.
        num_lrs: how many, at least 3.
        num_steps: steps of each training, at least 8.
        listener: called with the probe so far, at most ten times a second; dropped if it raises.

    Returns:
        The probe: its curves, its suggestion, proof that all was given back.

    Raises:
        SpecError: an argument cannot be.
        RuntimeError: a run is training the model right now.
        Exception: what the model, the data or the criterion raised, the probe up to there as its attribute ``probe``.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> probe = probe_lr(lenet(), "digits", TrainSpec(epochs=2), lrs=[0.003, 0.03, 0.3], num_steps=30)
        >>> probe.given_back, len(probe.curves)
        (True, 3)
    """
    spec = spec or TrainSpec()
    num_lrs, num_steps = _checked("num_lrs", num_lrs, _NUM_LRS), _checked("num_steps", num_steps, _NUM_STEPS)
    chosen = None if lrs is None else _chosen(lrs)
    given = resolve(data)
    swept_here = sweep is None
    if sweep is None:
        common: dict[str, Any] = {"criterion": criterion, "optimizer": optimizer, "should_stop": should_stop}
        sweep = range_test(model, data, spec, **common)
    tried = chosen if chosen is not None else basin(sweep, num_lrs)
    trial = Trial(model, given, spec, criterion, optimizer, should_stop)
    probing = _Probing(trial, tried, num_steps, _factor(given, spec, num_steps), spec, sweep)
    teller = Teller(listener)
    try:
        with trial:
            try:
                if swept_here and sweep.ending == "stopped":
                    raise Stopped
                for lr in probing.order():
                    for _ in probing.steps(lr):
                        teller.tell(probing.result)
            except (Stopped, KeyboardInterrupt):
                probing.ending = "stopped"
    except BaseException as error:
        with contextlib.suppress(AttributeError):
            error.probe = probing.result()  # type: ignore[attr-defined]  # a Python exception carries any attribute
        raise
    return probing.result()


def basin(sweep: LRSweep, num_lrs: int) -> Array:
    """The lrs to try: from a hundredth of the lr at the sweep's lowest point up to it; `WIDE` where it shows none."""
    if sweep.refusal is not None:
        return np.geomspace(*WIDE, num_lrs)
    lowest = 10 * sweep.suggestion("minimum").lr
    return np.geomspace(max(1e-9, lowest / 100), min(1e3, lowest), num_lrs)


def _factor(data: Data, spec: TrainSpec, num_steps: int) -> float:
    per_epoch = _steps_per_epoch(data, spec) or 45.0
    return 0.5 if spec.epochs * per_epoch > LONG_BUDGET * num_steps else 1.0


class _Probing:
    """A probe under way."""

    def __init__(
        self, trial: Trial, lrs: Array, num_steps: int, factor: float, spec: TrainSpec, sweep: LRSweep
    ) -> None:
        self.trial, self.lrs, self.num_steps = trial, lrs, num_steps
        self.factor, self.spec, self.sweep = factor, spec, sweep
        self.done: dict[float, tuple[list[float], bool]] = {}
        self.ending: Ending = "end"

    def order(self) -> list[float]:
        """From the middle outwards: stopped early, it has tried what matters."""
        middle = (len(self.lrs) - 1) / 2
        return [float(self.lrs[i]) for i in sorted(range(len(self.lrs)), key=lambda i: (abs(i - middle), i))]

    def steps(self, lr: float) -> Iterator[None]:
        """One training, step by step; it counts once it is done or has diverged."""
        losses: list[float] = []
        trainer = self.trial.trainer(self.spec.seed, lr)
        average, best = 0.0, math.inf
        try:
            for loss in self.trial.losses(trainer):
                losses.append(loss)
                average = 0.9 * average + 0.1 * loss
                smoothed = average / (1 - 0.9 ** len(losses))
                best = min(best, smoothed)
                yield
                if has_diverged(losses, smoothed, best, _FACTOR, abs(losses[0])):
                    raise NonFiniteError
                if len(losses) == self.num_steps:
                    break
        except NonFiniteError:
            self.done[lr] = losses, True
        else:
            self.done[lr] = losses, False

    def result(self) -> LRProbe:
        """The probe so far: the trainings that are done."""
        lrs = sorted(self.done)
        return LRProbe(
            lrs=np.array(lrs),
            curves=tuple(np.array(self.done[lr][0]) for lr in lrs),
            diverged=tuple(self.done[lr][1] for lr in lrs),
            spec=self.spec,
            num_steps=self.num_steps,
            factor=self.factor,
            ending=self.ending,
            sweep=self.sweep,
            trained=self.sweep.trained,
            checksum_before=self.trial.checksum_before,
            checksum_after=self.trial.checksum_after,
            seconds=self.trial.seconds,
        )


def _chosen(lrs: Sequence[float]) -> Array:
    values = sorted({_checked("lrs", lr, _LR) for lr in lrs})
    if len(values) < 3:
        raise SpecError(
            f"lrs must hold at least three different numbers, got {list(lrs)!r}; try lrs=[1e-3, 1e-2, 0.1]."
        )
    return np.array(values)


def _checked(name: str, value: Any, limits: Limits) -> Any:
    return limits.checked(name, value)
