"""The tables of the *Scores* tab, as HTML, and what each score means in plain words."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

from convlab.training.epoch_metrics import EpochMetrics
from convlab.training.metrics import Metrics
from convlab.training.mistakes import Example

LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "accuracy": ("Accuracy", "Share of the samples that are right. Misleading where one class is much the commonest."),
    "precision": (
        "Precision",
        "Of the samples taken for a class, the share that are of it; the mean over classes. Low: many false alarms.",
    ),
    "recall": (
        "Recall",
        "Of the samples of a class, the share that were found; the mean over classes. Low: many were missed.",
    ),
    "f1": ("F1", "Harmonic mean of precision and recall, from 0 to 1; the mean over classes, each counting alike."),
    "roc_auc": (
        "ROC AUC",
        "How often a sample of a class gets a higher probability for it than one of another class: 0.5 is chance, "
        "1 is perfect. The mean over classes.",
    ),
    "calibration_error": (
        "Calibration error",
        "How far the model's confidence is from how often it is right, on average: 0 is honest.",
    ),
    "mae": ("MAE", "Mean absolute error, in units of the target."),
    "rmse": ("RMSE", "Root of the mean squared error, in units of the target. Large errors count most."),
    "r2": ("R\N{SUPERSCRIPT TWO}", "Share of the targets' variance that is explained: 1 is perfect, 0 is a constant."),
}

_PER_CLASS: Final = (
    ("Class", "The class's name."),
    ("Precision", "Of the samples taken for this class, the share that are of it."),
    ("Recall", "Of this class's samples, the share that were found."),
    ("F1", "Harmonic mean of precision and recall."),
    ("Samples", "Samples of this class in the validation data."),
)


def label(name: str) -> str:
    """What stands for a score: its name, if it is a person's own."""
    return LABELS.get(name, (name, ""))[0]


def number(value: float | None) -> str:
    """Four decimals, or four digits of what is large or tiny; a dash for what is not known.

    >>> number(0.5), number(1234.567), number(float("nan"))
    ('0.5000', '1235', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"


def scores_table(last: EpochMetrics, best: EpochMetrics | None, last_title: str) -> str:
    """All scores, of the epoch that is shown and of the best."""
    titles = [("Score", "What is measured, on the validation data."), (last_title, "The epoch that is shown.")]
    if best is not None:
        titles.append((f"Best: epoch {best.epoch}", "The epoch with the lowest validation loss."))
    names = dict.fromkeys((*last.scores, *(best.scores if best is not None else ())))
    rows = []
    for name in names:
        tooltip = LABELS.get(name, ("", "Your own score."))[1]
        values = [last.scores.get(name), *([best.scores.get(name)] if best is not None else [])]
        rows.append(((label(name), tooltip), [number(value) for value in values]))
    return _table(titles, rows)


def per_class_table(metrics: Metrics) -> str:
    """Precision, recall, F1 and samples of each class."""
    assert metrics.per_class is not None
    rows = []
    for name, (precision, recall, f1, support) in zip(metrics.classes, metrics.per_class.tolist(), strict=True):
        rows.append(((name, ""), [number(precision), number(recall), number(f1), f"{support:,.0f}"]))
    return _table(_PER_CLASS, rows)


def _table(titles: Sequence[tuple[str, str]], rows: Sequence[tuple[tuple[str, str], Sequence[str]]]) -> str:
    head = "".join(f'<th scope="col" title="{html.escape(why)}">{html.escape(title)}</th>' for title, why in titles)
    body = "".join(
        f'<tr><th scope="row" title="{html.escape(why)}">{html.escape(name)}</th>'
        + "".join(f"<td>{html.escape(value)}</td>" for value in values)
        + "</tr>"
        for (name, why), values in rows
    )
    return (
        '<div class="convlab-scores-scroll"><table class="convlab-scores-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def gallery(
    found: Sequence[Example], names: tuple[str, str], total: int, images: Sequence[str] = (), note: str = ""
) -> str:
    """Samples of one cell, `names` its classes, with their pictures' addresses, if there are any."""
    target, predicted = names
    is_right = target == predicted
    if not found:
        why = f"No {target} was recognised." if is_right else f"No {target} was taken for {predicted}."
        return f"<p>{html.escape(why)}</p>"
    what = (
        f"{target}, right: the least sure first"
        if is_right
        else f"{target} taken for {predicted}: the surest mistakes first"
    )
    cards = []
    for place, one in enumerate(found):
        words = f"{target} \N{RIGHTWARDS ARROW} {predicted}"
        told = f"sample {one.index} of the validation data: {target}, taken for {predicted}"
        image = f'<img src="{images[place]}" alt="{html.escape(told)}">' if images else ""
        cards.append(
            f'<figure title="{html.escape(told)}">{image}<figcaption><span>#{one.index}</span>'
            f"<span>{html.escape(words)}</span><span>{one.confidence:.1%} sure</span></figcaption></figure>"
        )
    more = f"<p>and {total - len(found):,} more</p>" if total > len(found) else ""
    note = f"<p>{html.escape(note)}</p>" if note else ""
    return f'<p>{html.escape(what)}</p>{note}<div class="convlab-gallery">{"".join(cards)}</div>{more}'
