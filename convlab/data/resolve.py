"""From what a user hands over to ``Data``: two sources, their sizes, their classes, and one sentence on the split."""

from typing import Any, TypeGuard

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from convlab.data.arrays import as_pictures, as_targets, check_lengths, is_array
from convlab.data.data import Data as Data
from convlab.data.data import digest, split_sentence
from convlab.data.datasets import Opened, class_names, is_dataset, open_dataset
from convlab.data.digits import digits
from convlab.data.shapes import SCALES, shapes
from convlab.data.sources import TensorSource
from convlab.data.split import check_fraction, memory_data, split_arrays, split_indices

Given = Dataset[Any] | DataLoader[Any]
_ACCEPTED = (
    '"digits", "shapes:7", (X, y), ((X_train, y_train), (X_valid, y_valid)), '
    "or (train, valid) of data sets or data loaders"
)


def resolve(data: object, *, valid_fraction: float = 0.2, seed: int = 0) -> Data:
    """Data ready for training, from what a user hands over.

    Args:
        data: one of

            - a built-in: ``"digits"``, ``"shapes"``, ``"shapes:9"`` (a scale from 2 to 10);
            - ``(X, y)``: numpy, torch, pandas or lists, which are prepared and split here;
            - ``((X_train, y_train), (X_valid, y_valid))``: the same, already split;
            - ``(train, valid)``: data sets or data loaders, used as they are;
            - one data set, which is split here, or one data loader, which leaves no validation;
            - a ``Data``, which comes back as it is.
        valid_fraction: the share that validates where the split is made here; 0 is none.
        seed: seeds that split.

    Raises:
        TypeError: something else was handed over.
        ValueError: the content cannot be used, or could be read in two ways; the message holds the fix.

    >>> resolve("digits").split
    '1,437 samples train and 360 validate, stratified by class, seed 0.'
    """
    check_fraction(valid_fraction)
    if isinstance(data, Data):
        return data
    if isinstance(data, str):
        return _built_in(data, valid_fraction, seed)
    if is_dataset(data):
        return _one_dataset(data, valid_fraction, seed)
    if _is_pair(data):
        first, second = data
        if is_dataset(first) and (is_dataset(second) or second is None):
            return _datasets(first, second)
        if _is_arrays(first) and _is_arrays(second):
            return _split_already(first, second)
        if is_array(first) and is_array(second):
            return _arrays(first, second, valid_fraction, seed)
    raise TypeError(f"data is {_described(data)}; pass {_ACCEPTED}.")


def _built_in(name: str, valid_fraction: float, seed: int) -> Data:
    if name == "digits":
        return digits(valid_fraction=valid_fraction, seed=seed)
    kind, _, scale = name.partition(":")
    if kind == "shapes" and (scale in map(str, SCALES) or name == "shapes"):
        return shapes(int(scale or 7), valid_fraction=valid_fraction, split_seed=seed)
    raise ValueError(
        f'data={name!r} is no built-in; they are "digits", and "shapes" with a scale from "shapes:{SCALES[0]}" to '
        f'"shapes:{SCALES[-1]}".'
    )


def _arrays(X: object, y: object, valid_fraction: float, seed: int) -> Data:
    pictures, notes = as_pictures(X, "X")
    targets = as_targets([y], ["y"])
    check_lengths(pictures, targets.parts[0], "X", "y")
    notes += targets.notes
    return split_arrays("arrays", pictures, targets.parts[0], targets.classes, valid_fraction, seed, notes)


def _split_already(train: tuple[Any, Any], valid: tuple[Any, Any]) -> Data:
    x_train, notes = as_pictures(train[0], "X_train")
    x_valid, more_notes = as_pictures(valid[0], "X_valid")
    _check_sizes(tuple(x_train.shape[1:]), tuple(x_valid.shape[1:]), "X_train", "X_valid")
    targets = as_targets([train[1], valid[1]], ["y_train", "y_valid"])
    y_train, y_valid = targets.parts
    check_lengths(x_train, y_train, "X_train", "y_train")
    check_lengths(x_valid, y_valid, "X_valid", "y_valid")
    return memory_data(
        "arrays",
        TensorSource(x_train, y_train),
        TensorSource(x_valid, y_valid),
        targets.classes,
        "as handed over",
        notes + more_notes + targets.notes,
    )


def _one_dataset(data: Given, valid_fraction: float, seed: int) -> Data:
    whole = open_dataset(data, "data")
    if isinstance(data, DataLoader):
        return _opened([whole], ["data"], _kind(data), "as handed over; pass (train, valid) for validation")
    labels = whole.labels
    train, valid, how = split_indices(whole.source.num_samples, labels, valid_fraction, seed)
    parts = [
        open_dataset(Subset(data, some.tolist()), "data", None if labels is None else labels[some])
        for some in (train, valid)
        if some is not None
    ]
    return _opened(parts, ["data"], _kind(data), how)


def _datasets(train: Given, valid: Given | None) -> Data:
    if valid is None:
        return _opened([open_dataset(train, "train")], ["train"], _kind(train), "as handed over")
    parts = [open_dataset(train, "train"), open_dataset(valid, "valid")]
    _check_sizes(parts[0].source.input_size, parts[1].source.input_size, "train", "valid")
    return _opened(parts, ["train", "valid"], _kind(train), "as handed over")


def _opened(parts: list[Opened], names: list[str], name: str, how: str) -> Data:
    classes, notes = class_names(parts, names)
    train, valid = parts[0].source, parts[1].source if len(parts) == 2 else None
    return Data(
        name=name,
        train=train,
        valid=valid,
        input_size=train.input_size,
        num_classes=len(classes) or None,
        classes=classes,
        split=split_sentence(train.num_samples, valid.num_samples if valid is not None else None, how),
        fingerprint=digest(*(part.fingerprint for part in parts)),
        notes=notes,
    )


def _check_sizes(train: tuple[int, ...], valid: tuple[int, ...], name: str, valid_name: str) -> None:
    if train != valid:
        raise ValueError(
            f"data: samples of {name} have size {train} and those of {valid_name} {valid}; pass both in one size, "
            f"for example {train}."
        )


def _is_pair(data: object) -> TypeGuard[tuple[Any, Any]]:
    return isinstance(data, tuple | list) and len(data) == 2


def _is_arrays(value: object) -> TypeGuard[tuple[Any, Any]]:
    """Whether a value is ``(X, y)`` itself: two arrays, not two rows of numbers."""
    return _is_pair(value) and all(is_array(part) and not _is_number(part) for part in value)


def _is_number(part: object) -> bool:
    return getattr(part, "ndim", 1) == 0


def _kind(data: object) -> str:
    dataset = getattr(data, "dataset", data)
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return type(dataset).__name__


def _described(data: object) -> str:
    if isinstance(data, tuple | list):
        return f"a {type(data).__name__} of {len(data)}: {', '.join(type(part).__name__ for part in data[:4])}"
    if isinstance(data, Tensor) or hasattr(data, "shape"):
        return f"one {type(data).__name__} of shape {tuple(data.shape)} without targets"
    return f"a {type(data).__name__}"
