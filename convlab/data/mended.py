"""Data with a fault taken out: pictures on another scale, rare classes repeated, copies left out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from convlab.data.data import Data, digest, split_sentence
from convlab.data.sources import TensorSource


def standardised(data: Data) -> Data:
    """Each channel with mean 0 and deviation 1 over the training pictures; validation pictures by the same numbers.

    Raises:
        ValueError: the data are not in memory.

    Example:
        >>> from convlab.data.resolve import resolve
        >>> float(standardised(resolve("digits")).train.x.std().round(decimals=3))
        1.0
    """
    train, valid = _in_memory(data)
    channels = train.x.transpose(0, 1).flatten(1).double()
    shape = (1, -1) + (1,) * (train.x.dim() - 2)
    mean, std = channels.mean(1).view(shape), channels.std(1).view(shape)
    std = torch.where(std > 0, std, torch.ones_like(std))
    parts = [((x.double() - mean) / std).to(x.dtype) for x in (train.x, *([valid.x] if valid else []))]
    return _made(data, "standardised", parts, [train.y, *([valid.y] if valid else [])], data.split)


def balanced(data: Data) -> Data:
    """Samples of rarer classes repeated until each class has as many training samples as the most frequent one.

    Raises:
        ValueError: the data are not in memory, have no classes, or lack one of them.

    Example:
        >>> from convlab.data.resolve import resolve
        >>> balanced(resolve("digits")).train.y.bincount().tolist()
        [146, 146, 146, 146, 146, 146, 146, 146, 146, 146]
    """
    train, valid = _in_memory(data)
    counts = class_counts(data)
    if counts is None or not int(counts.min()):
        raise ValueError("data must hold each class at least once in training; add samples of those that are missing.")
    most = int(counts.max())
    chosen = [torch.arange(len(train.y))]
    for label, count in enumerate(counts.tolist()):
        places = torch.nonzero(train.y == label).flatten()
        chosen.append(places.repeat(-(-most // count))[count:most])
    order = torch.cat(chosen)
    split = split_sentence(len(order), valid.num_samples if valid else None, "samples of rarer classes repeated")
    inputs = [train.x[order], *([valid.x] if valid else [])]
    return _made(data, "balanced", inputs, [train.y[order], *([valid.y] if valid else [])], split)


def without_copies(data: Data) -> Data:
    """The training samples less those whose very picture is in the validation data, too.

    Raises:
        ValueError: the data are not in memory, have no validation, or nothing would be left.
    """
    train, valid = _in_memory(data)
    if valid is None:
        raise ValueError("data must have a validation part; pass (train, valid).")
    keep = ~copied(train.x, valid.x)
    if not bool(keep.any()):
        raise ValueError("every training picture is in the validation data, too; split the data anew.")
    split = split_sentence(int(keep.sum()), valid.num_samples, "copies of validation pictures left out")
    return _made(data, "without copies", [train.x[keep], valid.x], [train.y[keep], valid.y], split)


def copied(pictures: Tensor, others: Tensor) -> Tensor:
    """Which of the pictures is among the others, too, value by value: shape (N,), bool."""
    known = {one.tobytes() for one in others.contiguous().numpy()}
    return torch.tensor([one.tobytes() in known for one in pictures.contiguous().numpy()], dtype=torch.bool)


def class_counts(data: Data) -> Tensor | None:
    """Training samples of each class, shape (classes,); None where nobody can count them without reading all."""
    if not isinstance(data.train, TensorSource) or data.num_classes is None or data.train.y.dim() != 1:
        return None
    return torch.bincount(data.train.y.long(), minlength=data.num_classes)


def _in_memory(data: Data) -> tuple[TensorSource, TensorSource | None]:
    if not isinstance(data.train, TensorSource) or not isinstance(data.valid, TensorSource | None):
        raise ValueError(
            f"data must be in memory to be changed, and {data.name} is read as it is needed; pass (X, y), or change it "
            "where it is read."
        )
    return data.train, data.valid


def _made(data: Data, how: str, inputs: list[Tensor], targets: list[Tensor], split: str) -> Data:
    train, *valid = (TensorSource(x, y) for x, y in zip(inputs, targets, strict=True))
    return replace(
        data,
        name=f"{data.name}, {how}",
        train=train,
        valid=valid[0] if valid else None,
        split=split,
        fingerprint=digest(*inputs, *targets, how),
    )
