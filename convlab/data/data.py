"""The record of data that is ready for training."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import uint8 as as_bytes
from torch.utils.data import IterableDataset, SequentialSampler

from convlab.data.sources import DatasetSource, LoaderSource, Source, TensorSource, generators_untouched


@dataclass(frozen=True, repr=False)
class Data:
    """Data ready for training: two sources, what they hold, and how they were parted.

    Attributes:
        name: ``"digits"``, ``"shapes:7"``, or in words what was handed over.
        train: where training batches come from.
        valid: where validation batches come from; None without validation.
        input_size: the size of one sample, ``(C, H, W)``.
        num_classes: how many classes; None where the targets are numbers (regression).
        classes: the classes' names, in the order of their labels; empty for regression.
        split: one sentence on the split: how many samples on each side, how they were drawn, the seed.
        fingerprint: SHA-256 of the content of data in memory, else of the first samples and the lengths.
        notes: one sentence for each thing that was done to the data, or is worth knowing about them.
    """

    name: str
    train: Source
    valid: Source | None
    input_size: tuple[int, ...]
    num_classes: int | None
    classes: tuple[str, ...]
    split: str
    fingerprint: str
    notes: tuple[str, ...] = ()

    def pictures(self, count: int) -> Tensor:
        """The inputs of `samples`: shape ``(count, C, H, W)``."""
        return self.samples(count)[0]

    def samples(self, count: int) -> tuple[Tensor, Tensor]:
        """The first samples of the validation data (of the training data without any), at most ``count``: x and y.

        Looking changes nothing that is drawn later. Look at what is not in memory before a run and not during it: its
        items may draw from the generators that the run draws from.
        """
        source = self.train if self.valid is None else self.valid
        loader = source.loader if isinstance(source, LoaderSource) else None
        with nullcontext() if isinstance(source, TensorSource) else generators_untouched(loader):
            x, y = next(iter(source.batches(None, 0, count, torch.device("cpu"), torch.contiguous_format)))
            return x[:count], y[:count]

    def inputs_at(self, places: Sequence[int]) -> Tensor:
        """Inputs of the validation data (of the training data without any) by their places, ``(len(places), C, H, W)``.

        What is not in memory is read as `pictures` does, and not during a run either.

        Raises:
            LookupError: they come from a loader that gives no sample by its place.
        """
        source = self.train if self.valid is None else self.valid
        if isinstance(source, TensorSource):
            return source.x[list(places)].cpu()
        if isinstance(source, LoaderSource):
            loader = source.loader
            if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.sampler, SequentialSampler):
                raise LookupError(
                    "the validation data come from a loader that gives no sample by its place: it shuffles, or its "
                    "data set only iterates; pass the data set itself, or a loader with shuffle=False."
                )
            source = DatasetSource(loader.dataset, source.input_size)
        with generators_untouched():
            order = torch.tensor(list(places), dtype=torch.int64)
            return next(iter(source.batches(order, 0, len(order), torch.device("cpu"), torch.contiguous_format)))[0]

    @property
    def in_memory(self) -> bool:
        """Whether `inputs_at` reads from memory, and so may be asked for during a run."""
        return isinstance(self.train if self.valid is None else self.valid, TensorSource)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.input_size))
        target = "regression" if self.num_classes is None else f"{self.num_classes} classes"
        return " ".join((f"{self.name}: {size}, {target}. {self.split}", *self.notes))


def split_sentence(num_train: int, num_valid: int | None, how: str) -> str:
    """One sentence on a split; -1 is an unknown number of samples, None is no validation.

    >>> split_sentence(1437, 360, "stratified by class, seed 0")
    '1,437 samples train and 360 validate, stratified by class, seed 0.'
    """
    train = "An unknown number of samples" if num_train < 0 else f"{num_train:,} samples"
    if num_valid is None:
        return f"{train} train and none validate, {how}."
    return f"{train} train and {'an unknown number' if num_valid < 0 else f'{num_valid:,}'} validate, {how}."


def digest(*parts: Tensor | str) -> str:
    """SHA-256 of tensors, by type, shape and content, and of texts."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            sha.update(part.encode())
        else:
            sha.update(f"{part.dtype} {tuple(part.shape)}".encode())
            sha.update(part.detach().cpu().contiguous().view(as_bytes).numpy().data)
    return sha.hexdigest()
