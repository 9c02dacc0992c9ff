"""Reading a learning rate off a sweep's curve: the rules, when they may not be used, and how far to trust them."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rule = Literal["valley", "steepest", "minimum", "mean"]
Confidence = Literal["high", "fair", "low"]

MINIMUM_DIVISOR: Final = 10.0
FALLEN: Final = 0.1
MIN_POINTS: Final = 12
SLOPE_WINDOW: Final = 0.1
"""Share of the points in the window in which a slope is fitted."""


class NoSuggestionError(ValueError):
    """The curve holds no answer; the message says why and what to do."""


@dataclass(frozen=True)
class LRSuggestion:
    """A learning rate read off a curve.

    Attributes:
        rule: how it was read.
        lr: the learning rate.
        reason: one sentence on where on the curve it lies.
        confidence: ``"high"``, ``"fair"`` or ``"low"``.
        why: one sentence on that confidence.
    """

    rule: str
    lr: float
    reason: str
    confidence: Confidence
    why: str

    def __float__(self) -> float:
        return self.lr

    def __str__(self) -> str:
        return f"lr {self.lr:.2g}: {self.reason} Confidence {self.confidence}: {self.why}"


def smooth(losses: Array, smoothing: float) -> Array:
    """The losses without their noise, and without the lag of a running average.

    A mean over the neighbours on both sides, each weighted ``smoothing ** distance`` and divided by the sum of the
    weights, so that the ends are not biased. Before it, the running median of three removes single odd batches, and an
    explosion is cut off so that it does not hide the low point beside it.

    Args:
        losses: shape (steps,).
        smoothing: weight of a direct neighbour, in [0, 1).
    """
    if not len(losses):
        return losses
    start = start_level(losses)
    clean = despiked(losses)
    clean = np.minimum(clean, start + max(0.5 * abs(start), start - float(clean.min())))
    step = np.arange(len(losses))
    weights = float(smoothing) ** np.abs(step[:, None] - step)
    smoothed: Array = weights @ clean / weights.sum(axis=1)
    return smoothed


def despiked(losses: Array) -> Array:
    """The running median of three: one odd batch leaves no trace, a rise or fall stays where it is."""
    if len(losses) < 3:
        return losses
    middle = np.median(np.lib.stride_tricks.sliding_window_view(losses, 3), axis=1)
    # The end stays raw: it may be the beginning of an explosion.
    return np.concatenate([middle[:1], middle, losses[-1:]])


def start_level(losses: Array) -> float:
    """The loss before anything was learned: the median of the first tenth, deaf to a single spike."""
    return float(np.median(losses[: max(3, len(losses) // 10)]))


def lowest(smoothed: Array) -> int:
    """Where the smoothed loss is lowest, past its first values, which have few neighbours."""
    first = min(len(smoothed) - 1, 3)
    return first + int(np.argmin(smoothed[first:]))


def refusal(lrs: Array, losses: Array, smoothed: Array, smoothing: float, diverged: bool) -> str | None:
    """The sentence that says why nothing can be read off the curve, or None.

    Args:
        lrs, losses, smoothed: shape (steps,), the finite part of the sweep.
        smoothing: what `smoothed` was made with.
        diverged: whether the sweep ended because the loss exploded or was not finite.
    """
    if not len(losses):
        return (
            "the loss was infinite or NaN in the very first step, so there is no curve; look for NaN in the data, "
            "or for a model that is broken already."
        )
    if len(losses) < MIN_POINTS:
        if diverged:
            return (
                f"the loss exploded after {len(losses)} steps, at lr {lrs[-1]:.2g}, before a curve could form; "
                f"begin lower, with start_lr={lrs[0] / 1000:.1g}."
            )
        return f"only {len(losses)} steps were done and a curve needs {MIN_POINTS}; let it run on."
    start, noise = start_level(losses), _noise(losses, smoothed, smoothing)
    bottom = float(smoothed[lowest(smoothed)])
    drop = start - bottom
    if drop > max(4 * noise, 0.02 * abs(start)):
        return None
    rise = float(smoothed[-1]) - start
    if rise > max(4 * noise, 0.02 * abs(start)):
        return (
            f"the loss never fell below its start of {start:.3g} and only rose from there, so no lr of this sweep was "
            "seen to help; the model may be trained already, or may need more steps at one lr: use the careful mode, "
            "convlab.probe_lr."
        )
    return (
        f"the curve is flat: its lowest point, {bottom:.3g}, is no further below its start, {start:.3g}, "
        "than noise would be; sweep further up with a larger end_lr, or use the careful mode, convlab.probe_lr."
    )


def _noise(losses: Array, smoothed: Array, smoothing: float) -> float:
    """Standard deviation of the smoothed curve from chance alone, told from neighbouring losses before the lowest."""
    last = max(MIN_POINTS, lowest(smoothed) + 1)
    steps = np.abs(np.diff(losses[:last]))
    # The median of |a - b| of two normal numbers is 0.954 standard deviations of one.
    raw = float(np.median(steps)) / 0.954
    weight = (1 - smoothing) / (1 + smoothing)
    return raw * weight * math.sqrt((1 + smoothing**2) / (1 - smoothing**2))


def minimum(lrs: Array, smoothed: Array) -> tuple[float, str]:
    """A tenth of the lr at the lowest smoothed loss."""
    at = float(lrs[lowest(smoothed)])
    return at / MINIMUM_DIVISOR, (
        f"a tenth of {at:.2g}, where the smoothed loss is lowest: there itself, training is about to diverge."
    )


def valley(lrs: Array, losses: Array, smoothed: Array) -> tuple[float, str]:
    """The middle, in log lr, of the last fall: from where a tenth of the drop is done down to the lowest point."""
    end = lowest(smoothed)
    start = start_level(losses)
    level = start - FALLEN * (start - float(smoothed[end]))
    above = np.flatnonzero(smoothed[:end] >= level)
    first = int(above[-1]) + 1 if above.size else 0
    return math.sqrt(lrs[first] * lrs[end]), (
        f"the middle of the fall of the smoothed loss, from lr {lrs[first]:.2g} to {lrs[end]:.2g}."
    )


def steepest(lrs: Array, losses: Array, smoothed: Array) -> tuple[float, str]:
    """The lr at which the loss falls fastest against log10 lr, before its lowest point.

    The slope is that of a line through the losses around each point: an average of the past would lag, and put the
    steepest place several times too far up.
    """
    losses = despiked(losses)
    half = max(2, round(len(losses) * SLOPE_WINDOW / 2))
    x = np.log10(lrs)
    last = max(half + 1, min(lowest(smoothed) + 1, len(losses) - half))
    slopes = [_slope(x[i - half : i + half + 1], losses[i - half : i + half + 1]) for i in range(half, last)]
    at = half + int(np.argmin(slopes))
    return float(lrs[at]), f"the loss falls fastest there, by {-min(slopes):.2g} for each tenfold lr."


def _slope(x: Array, y: Array) -> float:
    x = x - x.mean()
    return float(x @ (y - y.mean()) / (x @ x))


def confidence(
    found: list[float], lrs: Array, losses: Array, smoothed: Array, smoothing: float, spread: list[float], stopped: bool
) -> tuple[Confidence, str]:
    """How far to trust a suggestion, and one sentence why.

    Args:
        found: the lr by different rules.
        lrs, losses, smoothed: the curve, shape (steps,).
        smoothing: what `smoothed` was made with.
        spread: the lr that the rule gives on each seed's own curve.
        stopped: whether someone ended the sweep before its end.
    """
    bottom = lowest(smoothed)
    if bottom >= len(smoothed) - 3:
        what = "it was stopped" if stopped else f"the sweep ended at {lrs[-1]:.2g}"
        return "low", f"the loss was still falling when {what}, so a larger lr may be better."
    if (ratio := max(found) / min(found)) > 10:
        return "low", f"the rules disagree by a factor of {ratio:.0f}; the careful mode, convlab.probe_lr, would tell."
    if len(spread) > 1 and (between := max(spread) / min(spread)) > 3:
        return "low", f"seeds differ by a factor of {between:.1f}."
    clear = (start_level(losses) - float(smoothed[bottom])) / max(_noise(losses, smoothed, smoothing), 1e-12)
    why = f"the fall is {min(clear, 1000):.0f} times the noise and the rules agree within a factor of {ratio:.1f}."
    if clear < 8:
        return "low", why
    return ("high" if clear >= 20 and ratio <= 5 else "fair"), why
