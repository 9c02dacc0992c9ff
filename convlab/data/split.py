"""Parting samples into training and validation: seeded, stratified by class, and said in words."""

import math

import numpy as np
import torch
from torch import Tensor

from convlab.data.data import Data, digest, split_sentence
from convlab.data.sources import TensorSource


def split_indices(
    num_samples: int, labels: Tensor | None, valid_fraction: float, seed: int
) -> tuple[Tensor, Tensor | None, str]:
    """Indices that train, indices that validate (None for a fraction of 0), and how they were drawn, in words.

    Args:
        num_samples: how many samples there are.
        labels: one class each, ``(num_samples,)``, to stratify by; None draws at random.
        valid_fraction: the share that validates, from 0 up to but not including 1.
        seed: scikit-learn's ``random_state``.

    Raises:
        ValueError: too few samples, in all or of one class, to part them.
    """
    check_fraction(valid_fraction)
    if valid_fraction == 0:
        return torch.arange(num_samples), None, "because valid_fraction is 0"
    _check_enough(num_samples, labels, valid_fraction)
    from sklearn.model_selection import train_test_split  # takes a second or more to import

    stratify = None if labels is None else labels.numpy()
    parts = train_test_split(np.arange(num_samples), test_size=valid_fraction, stratify=stratify, random_state=seed)
    train, valid = (torch.from_numpy(part) for part in parts)
    return train, valid, f"{'drawn at random' if labels is None else 'stratified by class'}, seed {seed}"


def split_arrays(
    name: str,
    x: Tensor,
    y: Tensor,
    classes: tuple[str, ...],
    valid_fraction: float,
    seed: int,
    notes: tuple[str, ...] = (),
) -> Data:
    """Data in memory, parted by ``split_indices``; without ``classes`` it is regression."""
    train, valid, how = split_indices(len(x), y if classes else None, valid_fraction, seed)
    return memory_data(
        name,
        TensorSource(x[train], y[train]),
        None if valid is None else TensorSource(x[valid], y[valid]),
        classes,
        how,
        notes,
    )


def memory_data(
    name: str,
    train: TensorSource,
    valid: TensorSource | None,
    classes: tuple[str, ...],
    how: str,
    notes: tuple[str, ...] = (),
) -> Data:
    """Data of two sources in memory; its fingerprint is that of all the content."""
    sources = [train] if valid is None else [train, valid]
    return Data(
        name=name,
        train=train,
        valid=valid,
        input_size=train.input_size,
        num_classes=len(classes) or None,
        classes=classes,
        split=split_sentence(train.num_samples, valid.num_samples if valid is not None else None, how),
        fingerprint=digest(*(part for source in sources for part in (source.x, source.y)), *classes),
        notes=notes,
    )


def check_fraction(valid_fraction: float) -> None:
    """Raise ValueError unless ``valid_fraction`` is from 0 up to but not including 1."""
    if not 0 <= valid_fraction < 1:
        raise ValueError(
            f"valid_fraction={valid_fraction!r} must be at least 0 and less than 1, for example 0.2 "
            "to validate on a fifth of the samples."
        )


def _check_enough(num_samples: int, labels: Tensor | None, valid_fraction: float) -> None:
    num_valid = math.ceil(valid_fraction * num_samples)
    num_train = num_samples - num_valid
    if labels is not None:
        counts = torch.bincount(labels)
        scarce = next((label for label, count in enumerate(counts.tolist()) if count == 1), None)
        if scarce is not None:
            raise ValueError(
                f"Class {scarce} of data has one sample, and a split needs one to train on and one to validate on; "
                "add samples, drop the class, or pass your own split as ((X_train, y_train), (X_valid, y_valid))."
            )
        needed = int((counts > 0).sum())
    else:
        needed = 1
    if min(num_valid, num_train) < needed:
        raise ValueError(
            f"valid_fraction={valid_fraction!r} parts {num_samples} samples into {num_train} and {num_valid}, and each "
            f"side needs at least {needed}, one for each class; " + _enough(num_samples, needed)
        )


def _enough(num_samples: int, needed: int) -> str:
    if num_samples < 2 * needed:
        return f"pass {2 * needed} samples or more, or valid_fraction=0 to train on all of them."
    lowest, highest = math.ceil(100 * needed / num_samples) / 100, math.floor(100 * (1 - needed / num_samples)) / 100
    return f"pass a fraction from {lowest} to {highest}."
