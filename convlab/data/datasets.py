"""Data sets and loaders, used as they are: the source that they make, their labels, and what no model could take."""

from collections.abc import Sized
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from convlab.data.data import digest
from convlab.data.sources import DatasetSource, LoaderSource, Source, TensorSource, as_target, generators_untouched

# A loader that cannot be indexed may be endless: this many samples tell its labels.
_LABELS_READ = 2048


@dataclass(frozen=True)
class Opened:
    """A data set or loader, opened.

    Attributes:
        source: where its batches come from.
        labels: every sample's class, int64 ``(N,)``; of the first samples only for a loader that cannot be indexed;
            None where the targets are numbers.
        classes: the classes' names, where the data set has them.
        fingerprint: SHA-256 of the content in memory, else of the first batch and the length.
    """

    source: Source
    labels: Tensor | None
    classes: tuple[str, ...]
    fingerprint: str


def is_dataset(value: object) -> TypeGuard[Dataset[Any] | DataLoader[Any]]:
    """Whether a value is a data set or a loader."""
    return isinstance(value, Dataset | DataLoader)


def open_dataset(value: Dataset[Any] | DataLoader[Any], name: str, labels: Tensor | None = None) -> Opened:
    """A data set's or loader's source, labels, class names and fingerprint; every generator is left as it was.

    Args:
        value: the data set or loader.
        name: what messages call it.
        labels: every sample's class, where the caller knows them.

    Raises:
        TypeError: an iterable data set without a loader, or samples that are no pair of tensors.
        ValueError: a sample that a network could not take; the message holds the fix.
    """
    loader = value if isinstance(value, DataLoader) else None
    dataset: Dataset[Any] = value.dataset if isinstance(value, DataLoader) else value
    if loader is None and isinstance(dataset, IterableDataset):
        raise TypeError(
            f"data: {name} is the iterable data set {type(dataset).__name__}, which has no batches of its own; "
            f"pass torch.utils.data.DataLoader({name}, batch_size=32)."
        )
    if not isinstance(dataset, IterableDataset) and _length(dataset) == 0:
        raise ValueError(f"data: {name} is a {type(dataset).__name__} with no samples; pass at least a few.")
    memory = None if loader is not None else _in_memory(dataset)
    # Tensors draw nothing, and another thread may be training.
    with nullcontext() if memory else generators_untouched(loader):
        x, y = _first_batch(dataset, loader, name)
        _check_batch(x, y, name)
        if labels is None and not y.is_floating_point():
            labels = _labels(dataset, loader, y)
    size = tuple(x.shape[1:])
    source: Source
    if memory:
        source = TensorSource(memory[0], as_target(memory[1]))
        fingerprint = digest(source.x, source.y)
    else:
        source = LoaderSource(loader, size) if loader is not None else DatasetSource(dataset, size)
        fingerprint = digest(x, y, f"{source.num_samples}")
    return Opened(source, labels, _listed_classes(dataset), fingerprint)


def class_names(parts: list[Opened], names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes of the splits together, and notes; both empty for regression.

    Raises:
        ValueError: one split has labels and the other numbers, or a label lies outside the classes.
    """
    if all(part.labels is None for part in parts):
        return (), ()
    if any(part.labels is None for part in parts):
        raise ValueError(f"data: one of {' and '.join(names)} has labels and the other numbers; pass the same in both.")
    labels = torch.cat([part.labels for part in parts if part.labels is not None])
    low, high = int(labels.min()), int(labels.max())
    name = " and ".join(names)
    if low < 0:
        raise ValueError(f"data: {name} holds the label {low}, and labels are 0, 1, 2, ...; leave these samples out.")
    classes = next((part.classes for part in parts if part.classes), tuple(map(str, range(high + 1))))
    if high >= len(classes):
        raise ValueError(
            f"data: {name} has {len(classes)} classes and the label {high}, and labels run from 0 to "
            f"{len(classes) - 1}; if they start at 1, give the data set target_transform=lambda label: label - 1."
        )
    missing = sorted(set(range(len(classes))) - set(labels.unique().tolist()))
    if missing:
        return classes, (
            f"No sample was seen of {len(missing)} of {len(classes)} classes, first {classes[missing[0]]!r}.",
        )
    return classes, ()


def _length(dataset: Dataset[Any]) -> int:
    return len(cast(Sized, dataset))


def _indexable(dataset: Dataset[Any], loader: DataLoader[Any] | None) -> bool:
    """Whether samples can be looked at one by one, without drawing an order or starting a worker."""
    return not isinstance(dataset, IterableDataset) and (loader is None or loader.batch_sampler is not None)


def _first_batch(dataset: Dataset[Any], loader: DataLoader[Any] | None, name: str) -> tuple[Tensor, Tensor]:
    """A few samples, stacked as they will be."""
    if loader is not None and not _indexable(dataset, loader):
        batch = next(iter(loader), None)
    else:
        items = [dataset[i] for i in range(min(_length(dataset), 32))]
        batch = loader.collate_fn(items) if loader is not None else _collate(items, name)
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        raise TypeError(
            f"data: {name} gives {_what(batch)}, and training needs pairs (x, y); "
            "return for example (picture, label) from __getitem__."
        )
    x, y = batch
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise TypeError(
            f"data: {name} gives a pair of {_what(x)} and {_what(y)}, and training needs tensors; "
            "return for example (torch.rand(3, 32, 32), 7) from __getitem__."
        )
    return x, y


def _collate(items: list[object], name: str) -> object:
    try:
        return default_collate(items)
    except (TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise TypeError(
            f"data: the samples of {name} do not stack into a batch ({reason}); return tensors of one size, "
            "for example with transform=torchvision.transforms.ToTensor()."
        ) from error


def _what(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def _check_batch(x: Tensor, y: Tensor, name: str) -> None:
    if x.dim() != 4:
        raise ValueError(
            f"data: {name} gives samples of shape {tuple(x.shape[1:])}, and pictures have (C, H, W); "
            "return for example x.reshape(1, 28, 28)."
        )
    if not x.is_floating_point():
        raise ValueError(f"data: {name} gives pictures of type {x.dtype}; return x.float() / 255 for pixels up to 255.")
    if x.dtype == torch.float64:
        raise ValueError(f"data: {name} gives pictures of type {x.dtype}, and weights are float32; return x.float().")
    if not x.isfinite().all():
        raise ValueError(f"data: {name} gives NaN or infinity among its first samples; leave these samples out.")
    if y.is_floating_point() and y.dim() == 1 and len(y) > 1 and bool((y == y.round()).all()):
        raise ValueError(
            f"data: {name} gives whole numbers as {y.dtype} for y, which may be classes or quantities; "
            "return int(y) for classes, or a tensor of shape (1,) for regression."
        )
    if not y.is_floating_point() and y.dim() != 1:
        raise ValueError(
            f"data: {name} gives labels of shape {tuple(y.shape[1:])}, and convlab takes one label for each picture; "
            "return one whole number, for example y.argmax() for a one-hot row."
        )


def _in_memory(dataset: Dataset[Any]) -> tuple[Tensor, Tensor] | None:
    """The tensors of a TensorDataset, also of a subset of one."""
    if isinstance(dataset, Subset):
        tensors = _in_memory(dataset.dataset)
        return tensors and (tensors[0][list(dataset.indices)], tensors[1][list(dataset.indices)])
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        return dataset.tensors[0], dataset.tensors[1]
    return None


def _listed_classes(dataset: Dataset[Any]) -> tuple[str, ...]:
    """The names in ``classes``, as torchvision's data sets have them, also of a subset."""
    while isinstance(dataset, Subset) and not hasattr(dataset, "classes"):
        dataset = dataset.dataset
    classes = getattr(dataset, "classes", ())
    return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()


def _labels(dataset: Dataset[Any], loader: DataLoader[Any] | None, first: Tensor) -> Tensor:
    if loader is not None and not _indexable(dataset, loader):
        return _labels_of_loader(loader)
    known = _known_labels(dataset)
    # A target_transform may part what the data set lists from what it gives.
    if known is not None and len(known) == _length(dataset) and torch.equal(known[: len(first)], first.long()):
        return known
    return torch.tensor([int(dataset[i][1]) for i in range(_length(dataset))])


def _known_labels(dataset: Dataset[Any]) -> Tensor | None:
    """Every label without reading a picture: from tensors, or from torchvision's ``targets`` or ``labels``."""
    if isinstance(dataset, Subset):
        labels = _known_labels(dataset.dataset)
        return None if labels is None else labels[list(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [_known_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1].long()
    listed = getattr(dataset, "targets", getattr(dataset, "labels", None))
    try:
        labels = torch.as_tensor(listed)
    except (TypeError, ValueError, RuntimeError):
        return None
    return labels.long() if labels.dim() == 1 and not labels.is_floating_point() else None


def _labels_of_loader(loader: DataLoader[Any]) -> Tensor:
    labels: list[Tensor] = []
    seen = 0
    for _, y in loader:
        labels.append(y.long())
        seen += len(y)
        if seen >= _LABELS_READ:
            break
    return torch.cat(labels)
