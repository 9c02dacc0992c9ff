"""Rules that read a run's curve, each a function from evidence to a finding or None.

Losses are held against that of guessing: the natural logarithm of the number of classes for cross-entropy. A rule is
silent where it has no evidence; its thresholds are those that `benchmarks/advice.py` judges by planted faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from convlab.diagnosis.finding import Exhibit, Finding, Floats, Remedy
from convlab.limits import SpecError
from convlab.spec import LIMITS, TrainSpec
from convlab.training.run import Run
from convlab.training.trainer import NonFiniteError

FEWEST: Final = 4
"""Epochs without which a curve has no shape."""

PRACTICE: Final = "Goodfellow et al., Deep Learning (2016), section 11.4"
PLAYBOOK: Final = "Godbole et al., Deep Learning Tuning Playbook (2023)"


@dataclass(frozen=True, eq=False)
class Curve:
    """A run's curve.

    Attributes:
        spec: the recipe as it stood at the end.
        train, valid: mean loss of each epoch, shape (epochs,); NaN where there is no validation.
        train_accuracy: share of right predictions in each epoch, NaN for numbers.
        guessing: the loss of guessing, NaN where nobody knows it, as with a criterion of one's own.
        failed: whether the loss or a gradient became infinite or NaN.
        step: steps done.
    """

    spec: TrainSpec
    train: Floats
    valid: Floats
    train_accuracy: Floats
    guessing: float
    failed: bool
    step: int

    @classmethod
    def none(cls, spec: TrainSpec, guessing: float) -> Curve:
        """Of a training that has not begun."""
        return cls(spec, np.empty(0), np.empty(0), np.empty(0), guessing, failed=False, step=0)

    @classmethod
    def of(cls, run: Run) -> Curve:
        """The curve of a run as it stands."""
        epochs = run.history.epochs
        classes = run.data.num_classes
        known = classes is not None and run._trainer.criterion_name is None and not run.settings.label_smoothing
        return cls(
            spec=run.settings,
            train=np.array([one.train_loss for one in epochs]),
            valid=np.array([math.nan if one.valid_loss is None else one.valid_loss for one in epochs]),
            train_accuracy=np.array([math.nan if one.train_accuracy is None else one.train_accuracy for one in epochs]),
            guessing=math.log(classes) if known and classes else math.nan,
            failed=isinstance(run.error, NonFiniteError),
            step=run.history.num_steps,
        )

    @property
    def late(self) -> slice:
        """The last third of the epochs."""
        return slice(-max(2, len(self.train) // 3), None)

    @property
    def level(self) -> float:
        """The training loss at the end as a share of that of guessing."""
        return float(self.train[self.late].mean() / self.guessing) if len(self.train) else math.nan

    @property
    def is_long(self) -> bool:
        """Whether there are epochs enough for a curve to have a shape."""
        return len(self.train) >= FEWEST

    @property
    def jumps(self) -> bool:
        """Whether the loss goes up and down by much of what guessing costs."""
        if not self.is_long or math.isnan(self.guessing):
            return False
        return rises(self.train) / self.guessing > 0.015 or rises(self.valid) / self.guessing > 0.035

    @property
    def strong(self) -> bool:
        """Whether each gradient moves the weights by a large lr in the end."""
        spec = self.spec
        if spec.optimizer == "sgd":
            return spec.lr / (1 - spec.momentum) >= 0.5
        return spec.lr >= 0.005

    @property
    def told(self) -> str:
        """The curve in a few words."""
        if self.failed:
            return f"the loss stopped being a number after step {self.step:,}"
        if not self.is_long:
            return f"{len(self.train)} epochs were trained"
        return (
            f"the training loss stands at {100 * self.level:.0f} % of that of guessing, and rose by "
            f"{100 * rises(self.train) / self.guessing:.2g} % of it from epoch to epoch on average"
        )


Rule = Callable[[Curve], Finding | None]


def diverged(seen: Curve) -> Finding | None:
    """The loss went to infinity, or ended above that of guessing."""
    remedy = _lr(seen.spec, 0.1, "a tenth of the learning rate")
    why = "Each step overshoots, so that the weights run away from any minimum."
    if seen.failed:
        said = f"The loss or a gradient stopped being a number after step {seen.step:,}, at lr {seen.spec.lr:.3g}."
        return Finding(
            "diverged",
            said,
            why,
            remedy,
            "sure",
            PRACTICE,
            {"step": seen.step, "lr": seen.spec.lr},
            curve_picture(seen),
        )
    collapsed = seen.level > 1.003 and is_flat(seen.train) and seen.strong
    # First weights that are too sure begin above guessing, too.
    falls = _steady(seen.train) >= 0.8 and not seen.strong
    if not seen.is_long or falls or not (seen.level > 1.015 or collapsed):
        return None
    said = (
        f"The training loss ends at {seen.train[-1]:.3g}, above the {seen.guessing:.3g} of guessing, "
        f"at lr {seen.spec.lr:.3g}."
    )
    return Finding(
        "diverged", said, why, remedy, "sure", PRACTICE, {"level": seen.level, "lr": seen.spec.lr}, curve_picture(seen)
    )


def oscillating(seen: Curve) -> Finding | None:
    """The loss goes up and down by much of what guessing costs."""
    if not seen.jumps:
        return None
    train, valid = rises(seen.train) / seen.guessing, rises(seen.valid) / seen.guessing
    said = (
        f"The loss goes up and down: from epoch to epoch it rises by {100 * max(train, valid):.2g} % of the loss of "
        "guessing on average, between its falls."
    )
    why = "Steps that are too large jump across the valley instead of going down in it."
    remedy = _lr(seen.spec, 1 / 3, "a third of the learning rate")
    return Finding(
        "oscillating", said, why, remedy, "likely", PRACTICE, {"train": train, "valid": valid}, curve_picture(seen)
    )


def too_slow(seen: Curve) -> Finding | None:
    """The loss falls steadily, and is high still at the end."""
    if len(seen.train) < FEWEST or not seen.level > 0.25:
        return None
    late = seen.train[-max(3, len(seen.train) // 2) :]
    drop = float((late[0] - late[-1]) / late[0] / (len(late) - 1))
    held = seen.valid[-1] > 1.05 * seen.valid.min()  # larger steps would only overfit sooner
    if held or _steady(seen.train) < 0.8 or drop < (1e-6 if seen.level > 0.9 else 0.003):
        return None
    factor = 10 if drop < 0.02 else 3
    said = (
        f"The training loss is still falling steadily at the end, by {100 * drop:.2g} % an epoch, and stands at "
        f"{100 * seen.level:.0f} % of the loss of guessing."
    )
    why = "With larger steps the same epochs would have got further."
    word = {10: "ten times", 3: "three times"}[factor]
    remedy = _lr(seen.spec, factor, f"{word} the learning rate")
    return Finding(
        "too_slow", said, why, remedy, "likely", PLAYBOOK, {"drop": drop, "level": seen.level}, curve_picture(seen)
    )


def decayed_away(seen: Curve) -> Finding | None:
    """A strong weight decay holds the loss up."""
    decay = seen.spec.weight_decay
    if len(seen.train) < FEWEST or not 0.25 < seen.level <= 1.015 or decay < 0.01:
        return None
    said = f"The training loss stays at {100 * seen.level:.0f} % of that of guessing, with a weight decay of {decay:g}."
    why = "The decay pulls the weights to zero faster than the gradient can move them away."
    remedy = Remedy(f"a hundredth of the weight decay, {decay / 100:.2g}", {"weight_decay": decay / 100})
    return Finding(
        "decayed_away",
        said,
        why,
        remedy,
        "likely",
        PLAYBOOK,
        {"level": seen.level, "decay": decay},
        curve_picture(seen),
    )


def at_chance(seen: Curve) -> Finding | None:
    """Validation never beats guessing: labels and pictures do not go together."""
    if len(seen.train) < FEWEST or math.isnan(seen.guessing) or np.isnan(seen.valid).any():
        return None
    best, level = float(seen.valid.min() / seen.guessing), seen.level
    by_heart = level < 0.97 or seen.valid[seen.late].mean() > seen.valid.min() + 0.004 * seen.guessing
    if best < 0.985 or level > 1.003 or not by_heart:
        return None
    said = (
        f"After {len(seen.valid)} epochs the validation loss has not been below {100 * best:.0f} % of that of guessing "
        f"({seen.guessing:.3g}); training stands at {100 * level:.0f} %."
    )
    why = "What is learned does not carry over at all, as where labels are shuffled, or inputs tell nothing of them."
    remedy = Remedy("looking at some pictures with their labels, in training and in validation data")
    return Finding(
        "at_chance", said, why, remedy, "likely", PRACTICE, {"best": best, "level": level}, curve_picture(seen)
    )


def stuck(seen: Curve) -> Finding | None:
    """Nothing is learned, not even by heart."""
    if not seen.is_long or not 0.985 <= seen.level <= 1.015 or not is_flat(seen.train):
        return None
    said = (
        f"After {len(seen.train)} epochs the training loss stands at {100 * seen.level:.1f} % of that of guessing "
        f"({seen.guessing:.3g}), and does not move."
    )
    why = "Either nothing of the input gets through the network, or nothing in it tells of the labels."
    remedy = Remedy("looking inside, at activations and gradients, and at some pictures with their labels")
    if (clip := seen.spec.clip_grad_norm) is not None and clip < 0.01:
        said += f" Gradients are clipped to a length of {clip:g}."
        remedy = Remedy("gradients clipped to length 1: clip_grad_norm=1.0", {"clip_grad_norm": 1.0})
    return Finding("stuck", said, why, remedy, "possible", PRACTICE, {"level": seen.level}, curve_picture(seen))


def plateau(seen: Curve) -> Finding | None:
    """The loss stands still, and trembles."""
    if not seen.is_long or len(seen.train) < 2 * FEWEST or not 0.05 < seen.level < 0.985 or not is_flat(seen.train):
        return None
    noise = rises(seen.train) / seen.train[seen.late].mean()
    if noise < 0.001 or seen.spec.schedule is not None:
        return None
    said = (
        f"The training loss has stood at {seen.train[seen.late].mean():.3g} in the later half of the epochs, and goes "
        f"up and down by {100 * noise:.2g} %, at an lr that stays {seen.spec.lr:.3g}."
    )
    why = "At this lr the steps jump about a minimum instead of going down into it."
    remedy = _lr(seen.spec, 0.1, "a tenth of the learning rate")
    return Finding("plateau", said, why, remedy, "likely", PRACTICE, {"noise": noise}, curve_picture(seen))


def overfitting(seen: Curve) -> Finding | None:
    """Validation gets worse while training gets better."""
    if len(seen.train) < 2 * FEWEST or np.isnan(seen.valid).any():
        return None
    best = int(seen.valid.argmin())
    end, gap = float(seen.valid[-3:].mean()), float(seen.valid[-3:].mean() - seen.train[-3:].mean())
    worse = end / float(seen.valid[best]) - 1
    scale = seen.guessing if math.isfinite(seen.guessing) else float(seen.valid[0])
    if worse < 0.1 or end - float(seen.valid[best]) < 0.03 * scale:  # less is noise
        return None
    if best >= len(seen.valid) - 3 or seen.train[-3:].mean() > seen.train[best] or gap < 0.5 * end:
        return None
    said = (
        f"The validation loss was lowest in epoch {best + 1} ({seen.valid[best]:.3g}) and is {100 * worse:.0f} % "
        f"higher at the end, while the training loss fell from {seen.train[best]:.3g} to {seen.train[-1]:.3g}."
    )
    why = "The network learns the training pictures by heart."
    remedy = Remedy("stopping early, with the weights of the best epoch: patience=5", {"patience": 5})
    evidence = {"best_epoch": best + 1, "worse": worse, "gap": gap}
    return Finding(
        "overfitting",
        said,
        why,
        remedy,
        "sure",
        "Prechelt, Early Stopping - But When? (1998)",
        evidence,
        curve_picture(seen),
    )


def underfitting(seen: Curve) -> Finding | None:
    """Training and validation stand still, both high."""
    if len(seen.train) < 2 * FEWEST or not 0.25 < seen.level <= 1.015 or np.isnan(seen.valid).any():
        return None
    late = seen.train[seen.late]
    drop = float((late[0] - late[-1]) / late[0] / (len(late) - 1))
    if abs(drop) > 0.01 or seen.valid[-1] > 1.25 * seen.train[-1] or seen.level >= 0.985:
        return None
    said = (
        f"Training and validation loss stand still at {seen.train[-1]:.3g} and {seen.valid[-1]:.3g}, "
        f"{100 * seen.level:.0f} % of the loss of guessing."
    )
    why = "The network has no room, or no way, to fit even what it is shown."
    remedy = Remedy("more filters in the first layers, or a further layer")
    return Finding(
        "underfitting",
        said,
        why,
        remedy,
        "possible",
        PRACTICE,
        {"level": seen.level, "drop": drop},
        curve_picture(seen),
    )


def curve_picture(seen: Curve) -> Exhibit | None:
    """The losses by epoch; None before there are any."""
    if not len(seen.train):
        return None
    series = {"training": seen.train}
    if not np.isnan(seen.valid).all():
        series["validation"] = seen.valid
    level = None if math.isnan(seen.guessing) else ("guessing", seen.guessing)
    return Exhibit("Loss", np.arange(1, len(seen.train) + 1, dtype=float), series, "epoch", "loss", level)


def _steady(losses: Floats) -> float:
    """Share of the epochs in the later half in which the loss fell."""
    if len(losses) < 2:
        return 0.0
    return float((np.diff(losses[-max(3, len(losses) // 2) :]) < 0).mean())


def is_flat(losses: Floats) -> bool:
    """Whether the later half of the epochs has brought less than three per cent."""
    half = losses[len(losses) // 2 :]
    middle = len(half) // 2
    if middle < 1:
        return False
    return bool(abs(half[middle:].mean() / half[:middle].mean() - 1) < 0.03)


def rises(losses: Floats) -> float:
    """Mean rise from one epoch to the next, falls counted as none; the first epoch is left out."""
    return float(np.maximum(np.diff(losses[1:]), 0).mean()) if len(losses) > 2 else 0.0


def _lr(spec: TrainSpec, factor: float, words: str) -> Remedy:
    lr = spec.lr * factor
    try:
        LIMITS["lr"].checked("lr", lr)
    except SpecError:
        return Remedy(words)
    return Remedy(f"{words}, {lr:.2g}", {"lr": lr})


RULES: Final[tuple[Rule, ...]] = (
    *(diverged, oscillating, decayed_away, at_chance, too_slow, plateau, stuck),
    *(overfitting, underfitting),
)
"""In the order of looking: learning rate first, then what holds it back, then the data, then epochs, then size."""

ONE_OF: Final = (
    *("diverged", "oscillating", "decayed_away", "at_chance", "too_slow", "plateau", "stuck", "underfitting"),
)
"""Of these the first that is found stands for all: the others would tell the same curve again."""
