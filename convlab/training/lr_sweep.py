"""What a sweep over learning rates found: its curve, and what can be read off it."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from convlab.spec import TrainSpec
from convlab.training import lr_rules
from convlab.training.lr_rules import Array, LRSuggestion, NoSuggestionError, Rule, smooth

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

RULES: Final[tuple[Rule, ...]] = ("mean", "valley", "steepest", "minimum")
Ending = Literal["end", "diverged", "stopped"]


@dataclass(frozen=True, eq=False)
class LRSweep:
    """The curve of a range test: the loss while the lr grows with every step.

    Attributes:
        lrs: the lr of each step, shape (steps,); only steps that every seed did.
        seed_losses: raw training losses, one row a seed, each as long as its sweep was.
        spec: the recipe that was tried.
        ending: ``"end"``, ``"diverged"`` (loss not finite or far above the best) or ``"stopped"`` (by somebody).
        smoothing: weight of a direct neighbour in the smoothed curve, in [0, 1): `lr_rules.smooth`.
        trained: a sentence where the model was found half-trained, else empty.
        checksum_before: of weights, buffers, modes, gradients, optimizers, random generators, before the sweep.
        checksum_after: the same, after all was given back.
        seconds: how long it took.
    """

    lrs: Array
    seed_losses: tuple[Array, ...]
    spec: TrainSpec
    ending: Ending
    smoothing: float
    trained: str = ""
    checksum_before: str = ""
    checksum_after: str = ""
    seconds: float = 0.0

    @cached_property
    def losses(self) -> Array:
        """Raw training loss of each step, the mean over the seeds, shape (steps,)."""
        rows = [row[: len(self.lrs)] for row in self.seed_losses]
        return np.mean(rows, axis=0) if rows else np.empty(0)

    @cached_property
    def smoothed(self) -> Array:
        """The smoothed loss of each step, the mean over the seeds, shape (steps,)."""
        rows = [smooth(row[: len(self.lrs)], self.smoothing) for row in self.seed_losses]
        return np.mean(rows, axis=0) if rows else np.empty(0)

    @cached_property
    def band(self) -> tuple[Array, Array]:
        """Lowest and highest smoothed loss over the seeds, each of shape (steps,); both the curve itself for one."""
        rows = [smooth(row[: len(self.lrs)], self.smoothing) for row in self.seed_losses]
        return np.min(rows, axis=0), np.max(rows, axis=0)

    @property
    def span(self) -> tuple[float, float]:
        """The losses worth looking at: an explosion at the end would press the rest flat.

        Raises:
            ValueError: there is no step yet.
        """
        fallen = self.smoothed[: int(self.smoothed.argmin()) + 1]
        top = float(max(fallen.max(), self.losses[: max(3, len(self.lrs) // 10)].max()))
        low = float(min(self.smoothed.min(), self.losses.min()))
        return low - 0.05 * (top - low), top + 0.25 * (top - low)

    @property
    def given_back(self) -> bool:
        """Whether everything was as before when the sweep was over, bit for bit."""
        return bool(self.checksum_before) and self.checksum_before == self.checksum_after

    @cached_property
    def refusal(self) -> str | None:
        """Why no lr can be read off this curve, in one sentence; None where one can."""
        return lr_rules.refusal(self.lrs, self.losses, self.smoothed, self.smoothing, self.ending == "diverged")

    def suggestion(self, rule: Rule = "mean") -> LRSuggestion:
        """The lr that a rule reads off the curve, with the reason and how sure it is.

        Args:
            rule: ``"valley"``: the middle, in log lr, of the fall to the lowest point. ``"minimum"``: a tenth of the lr
                at the lowest point. ``"steepest"``: where the loss falls fastest against log10 lr. ``"mean"``, the
                default: the geometric mean of valley and minimum, ``sqrt(valley * minimum)``; see
                `benchmarks/lr_finder.py` for what each is worth.

        Raises:
            NoSuggestionError: the curve is flat, only rises, or is not finite: `refusal`.
            ValueError: there is no such rule.
        """
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}; try rule='valley'.")
        if self.refusal is not None:
            raise NoSuggestionError(self.refusal)
        lr, reason = _read(rule, self.lrs, self.losses, self.smoothed)
        found = [_read(name, self.lrs, self.losses, self.smoothed)[0] for name in ("valley", "minimum")]
        level, why = lr_rules.confidence(
            found,
            self.lrs,
            self.losses,
            self.smoothed,
            self.smoothing,
            self._spread(rule),
            self.ending == "stopped",
        )
        return LRSuggestion(rule, lr, reason, level, why)

    def _spread(self, rule: Rule) -> list[float]:
        rows = [row[: len(self.lrs)] for row in self.seed_losses]
        return [_read(rule, self.lrs, row, smooth(row, self.smoothing))[0] for row in rows]

    def to_dataframe(self) -> "pd.DataFrame":
        """A pandas table: columns step, lr, loss, smoothed, and low and high of the band over the seeds."""
        import pandas as pd

        low, high = self.band
        steps = np.arange(1, len(self.lrs) + 1)
        columns = {"step": steps, "lr": self.lrs, "loss": self.losses, "smoothed": self.smoothed}
        return pd.DataFrame({**columns, "low": low, "high": high})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve and its suggestions on `ax`, or on a figure of its own, and return the axes."""
        from convlab.plots.lr import plot_sweep

        return plot_sweep(self, ax)

    def __repr__(self) -> str:
        text = f"LRSweep({len(self.lrs)} steps"
        if len(self.lrs):
            text += f", lr {self.lrs[0]:.2g} → {self.lrs[-1]:.2g}, {_ENDINGS[self.ending]}"
        if len(self.seed_losses) > 1:
            text += f", {len(self.seed_losses)} seeds"
        if self.trained:
            text += ", from a half-trained model"
        if self.refusal is not None:
            return f"{text}; no suggestion: {self.refusal})"
        found = self.suggestion()
        return f"{text}; suggestion {found.lr:.2g}, confidence {found.confidence})"


_ENDINGS: Final = {"end": "to the end", "diverged": "until it diverged", "stopped": "until it was stopped"}


def _read(rule: Rule, lrs: Array, losses: Array, smoothed: Array) -> tuple[float, str]:
    if rule == "steepest":
        return lr_rules.steepest(lrs, losses, smoothed)
    if rule == "minimum":
        return lr_rules.minimum(lrs, smoothed)
    valley, reason = lr_rules.valley(lrs, losses, smoothed)
    if rule == "valley":
        return valley, reason
    tenth, _ = lr_rules.minimum(lrs, smoothed)
    return math.sqrt(valley * tenth), (
        f"the geometric mean of the valley, {valley:.2g}, and a tenth of the lr at the minimum, {tenth:.2g}."
    )
