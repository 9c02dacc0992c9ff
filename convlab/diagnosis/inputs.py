"""Rules that read the data: their scale, their classes, and whether validation is told beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from convlab.data.data import Data
from convlab.data.mended import balanced, class_counts, copied, standardised, without_copies
from convlab.data.sources import TensorSource
from convlab.diagnosis.finding import Exhibit, Finding, Floats, Remedy

MOST_SAMPLES: Final = 20_000
"""Pictures that are looked at: more tell no more."""

_LECUN: Final = "LeCun et al., Efficient BackProp (1998), section 4.3"


@dataclass(frozen=True, eq=False)
class DataFacts:
    """What the data are like.

    Attributes:
        mean, std: of each input channel in training, shape (channels,).
        counts: training samples of each class, or None.
        classes: their names.
        copies, valid: validation samples whose very picture is a training sample, too; of so many.
        in_memory: whether they can be changed here.
    """

    mean: Floats
    std: Floats
    counts: Floats | None
    classes: tuple[str, ...]
    copies: int
    valid: int
    in_memory: bool

    @classmethod
    def of(cls, data: Data) -> DataFacts:
        """Of data in memory all is known; of other data the scale of the first pictures."""
        in_memory = isinstance(data.train, TensorSource)
        pictures = data.train.x if isinstance(data.train, TensorSource) else data.pictures(64)
        some = pictures[:: -(-len(pictures) // MOST_SAMPLES)]
        channels = some.transpose(0, 1).flatten(1).double()
        counts = class_counts(data)
        copies = valid = 0
        if isinstance(data.train, TensorSource) and isinstance(data.valid, TensorSource):
            held = data.valid.x[:MOST_SAMPLES]
            copies, valid = int(copied(held, data.train.x).sum()), len(held)
        return cls(
            mean=channels.mean(1).numpy(),
            std=channels.std(1).numpy() if channels.shape[1] > 1 else np.zeros(len(channels)),
            counts=None if counts is None else counts.to(torch.float64).numpy(),
            classes=data.classes,
            copies=copies,
            valid=valid,
            in_memory=in_memory,
        )


def unnormalised(seen: DataFacts) -> Finding | None:
    """Inputs whose values are far from having mean 0 and deviation 1."""
    size = np.sqrt(seen.mean**2 + seen.std**2)
    large, small = float(size.max()), float(size.max())
    off = float((np.abs(seen.mean) / np.maximum(seen.std, 1e-12)).max())
    if not np.isfinite(size).all() or not (large > 4 or small < 0.03 or off > 6) or large == 0:
        return None
    said = (
        f"The inputs have mean {_few(seen.mean)} and standard deviation {_few(seen.std)}"
        f"{' by channel' if len(seen.mean) > 1 else ''}, where 0 and 1 are what networks are initialised for."
    )
    why = (
        "The first layer's outputs, and its gradients, are larger or smaller by as much, and no one lr fits all layers."
    )
    text = "inputs of mean 0 and deviation 1: convlab.data.standardised(data), or (x - mean) / std where they are read"
    names = tuple(f"channel {i}" for i in range(len(seen.mean)))
    picture = Exhibit(
        "Inputs", names, {"mean": np.abs(seen.mean), "deviation": seen.std}, "", "size", ("wanted deviation", 1.0), True
    )
    remedy = Remedy(text, data=standardised if seen.in_memory else None)
    numbers = {"mean": float(seen.mean[0]), "std": float(seen.std[0])}
    return Finding("unnormalised", said, why, remedy, "sure", _LECUN, numbers, picture)


def unbalanced(seen: DataFacts) -> Finding | None:
    """Classes of which there are many times as many samples as of others."""
    if seen.counts is None or len(seen.counts) < 2 or not seen.counts.sum():
        return None
    rare, common = int(seen.counts.argmin()), int(seen.counts.argmax())
    ratio = seen.counts[common] / max(seen.counts[rare], 1)
    if ratio < 5:
        return None
    said = (
        f"Class {seen.classes[common]} has {int(seen.counts[common]):,} training samples, class {seen.classes[rare]} "
        f"has {int(seen.counts[rare]):,}."
    )
    why = "The loss is mostly about the frequent classes, and accuracy hides what the rare ones suffer; look at recall."
    can = bool(seen.in_memory and seen.counts.min() > 0)
    text = "repeating samples of rare classes: convlab.data.balanced(data), or a weighted sampler"
    if seen.counts.min() == 0:
        text = f"training samples of class {seen.classes[rare]}; without any it cannot be learned"
    picture = Exhibit("Training samples", seen.classes, {"samples": seen.counts}, "class", "samples")
    source = "Buda, Maki, Mazurowski, class imbalance in CNNs, Neural Networks 106 (2018)"
    remedy = Remedy(text, data=balanced if can else None)
    return Finding("unbalanced", said, why, remedy, "sure", source, {"ratio": float(ratio)}, picture)


def leaking(seen: DataFacts) -> Finding | None:
    """Validation pictures that are training pictures, too."""
    if not seen.valid or seen.copies < max(3, 0.03 * seen.valid):
        return None
    said = f"{seen.copies:,} of {seen.valid:,} validation pictures are training pictures, too, value by value."
    why = "What was learned by heart then counts as understood: the validation score is too good to be true."
    remedy = Remedy("training without them: convlab.data.without_copies(data)", data=without_copies)
    if seen.copies == seen.valid:
        remedy = Remedy("splitting the data anew: pass (X, y), and a fifth is kept for validation")
    values = np.array([seen.copies, seen.valid - seen.copies], float)
    picture = Exhibit("Validation", ("also in training", "new"), {"pictures": values}, "", "pictures")
    source = "Kapoor, Narayanan, Leakage and the reproducibility crisis, Patterns 4 (2023)"
    return Finding("leaking", said, why, remedy, "sure", source, {"share": seen.copies / seen.valid}, picture)


def _few(values: Floats) -> str:
    told = ", ".join(f"{value:.3g}" for value in values[:4])
    return f"{told}, …" if len(values) > 4 else told


RULES: Final = (unnormalised, unbalanced, leaking)
