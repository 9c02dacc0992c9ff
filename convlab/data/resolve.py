"""From what a user hands over to ``Data``: two sources, their sizes, their classes, and one sentence on the split."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convlab.data.sources import Source, TensorSource


@dataclass(frozen=True, repr=False)
class Data:
    """Data ready for training."""

    name: str
    train: Source
    valid: Source | None
    input_size: tuple[int, ...]
    num_classes: int | None
    classes: tuple[str, ...]
    split: str
    fingerprint: str
    notes: tuple[str, ...] = ()


def resolve(data: object, *, valid_fraction: float = 0.2, seed: int = 0) -> Data:
    """Data from what a user hands over."""
    if isinstance(data, Data):
        return data
    if isinstance(data, str) and data == "digits":
        from sklearn.datasets import load_digits

        images, y = load_digits(return_X_y=True)
        X = torch.from_numpy(images.reshape(-1, 1, 8, 8) / 16).float()
        return _split("digits", X, torch.from_numpy(y).long(), valid_fraction, seed)
    if isinstance(data, tuple) and len(data) == 2:
        X, y = (torch.as_tensor(np.asarray(part)) for part in data)
        return _split("your data", X.float(), y, valid_fraction, seed)
    raise TypeError(f"data must be a name or (X, y), got {type(data).__name__}")


def _split(name: str, X: Tensor, y: Tensor, valid_fraction: float, seed: int) -> Data:
    from sklearn.model_selection import train_test_split

    index = np.arange(len(X))
    a, b = train_test_split(index, test_size=valid_fraction, stratify=y.numpy(), random_state=seed)
    classes = tuple(str(c) for c in range(int(y.max()) + 1))
    return Data(
        name=name,
        train=TensorSource(X[a], y[a]),
        valid=TensorSource(X[b], y[b]),
        input_size=tuple(X.shape[1:]),
        num_classes=len(classes),
        classes=classes,
        split=f"{len(a):,} samples for training and {len(b):,} for validation, stratified by class, seed {seed}.",
        fingerprint=hashlib.sha256(X.numpy().tobytes() + y.numpy().tobytes()).hexdigest(),
    )
