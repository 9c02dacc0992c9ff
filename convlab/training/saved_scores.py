"""The scores of a run's epochs in its file: the numbers alone. A person's own functions cannot be written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convlab.training.epoch_metrics import EPOCHS, EpochMetrics, EpochScores
from convlab.training.saved_checks import whole

if TYPE_CHECKING:
    from convlab.training.history import History

_MOST_SCORES = 1000


def pack_scores(scores: EpochScores, everything: bool) -> list[dict[str, Any]]:
    """One plain value an epoch; without `everything`, only of those that are computed already."""
    return [
        {
            "epoch": one.epoch,
            "step": one.step,
            "count": one.count,
            "total": one.total,
            "scores": {name: value if math.isfinite(value) else None for name, value in one.scores.items()},
            "note": one.note,
        }
        for one in (scores if everything else scores.known())
    ]


def unpack_scores(plain: Sequence[dict[str, Any]], history: History) -> EpochScores:
    """The same again, without confusion and predictions.

    Raises:
        ValueError: it is not what `pack_scores` makes.
    """
    if len(plain) > EPOCHS:
        raise ValueError("the scores are not whole")
    best = history.best()
    return EpochScores.of(map(_epoch, plain), best.epoch if best is not None else None)


def _epoch(plain: dict[str, Any]) -> EpochMetrics:
    if len(plain["scores"]) > _MOST_SCORES:
        raise ValueError("the scores are not whole")
    scores = {str(name)[:80]: float("nan") if one is None else float(one) for name, one in plain["scores"].items()}
    return EpochMetrics(
        epoch=whole("epoch", plain["epoch"]),
        step=whole("step", plain["step"]),
        count=whole("count", plain["count"]),
        total=whole("total", plain["total"]),
        scores=scores,
        metrics=None,
        note=str(plain["note"])[:1000],
    )
