"""Where one split's batches come from: tensors in memory, a data set read item by item, or a user's own loader.

A source is asked for one epoch's order and then for its batches, from any sample on, so that a loop can stop in the
middle of an epoch, change its batch size and go on with the samples that it has not seen.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from typing_extensions import override

from convlab.models.streams import drawing

# Gathering many batches at once is what makes indexing cheap. On the CPU memory must stay small enough to be taken from
# what the last chunk freed: fresh pages cost more than the copy (benchmarks/feeding.py).
_CHUNK_BYTES = {"cpu": 2**20}
_OTHER_CHUNK_BYTES = 64 * 2**20
# A copy in another layout or on another device is kept between epochs up to this size.
_RESIDENT_BYTES = 2**30


class Source(ABC):
    """One split's samples, in batches. Abstract; its subclasses are final.

    Attributes:
        num_samples: how many samples one epoch has, or -1 where that is unknown (a loader over an iterable data set).
        input_size: the size of one sample, ``(C, H, W)``.
        resizable: whether the batch size can change. It cannot for a user's ``DataLoader``.
        batch_size: the loader's own batch size, or None where the caller chooses it.
    """

    num_samples: int
    input_size: tuple[int, ...]
    resizable: bool = True
    batch_size: int | None = None

    def order(self, generator: torch.Generator | None) -> Tensor | None:
        """One epoch's order: indices, shape ``(num_samples,)``; None is sequential, or the loader's own choice.

        Drawn exactly as ``DataLoader(shuffle=True)`` draws it from a default generator in the same state: one number
        for the workers' base seed, which goes unused, then one that seeds the generator of the permutation. The same
        state therefore gives the textbook loop's batches, bit for bit.
        """
        if generator is None:
            return None
        torch.empty((), dtype=torch.int64).random_(generator=generator)
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())
        return torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(seed))

    @abstractmethod
    def batches(
        self,
        order: Tensor | None,
        start: int,
        batch_size: int,
        device: torch.device,
        memory_format: torch.memory_format,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ``(x, y)`` on ``device``, from sample ``start`` of ``order`` on.

        Args:
            order: what ``order`` returned; None reads sequentially.
            start: how many samples of this epoch have been seen.
            batch_size: samples in one batch; a source that is not ``resizable`` keeps its own.
            device: where the batches go.
            memory_format: layout of x; it applies to pictures, ``(N, C, H, W)``.
            drop_last: leave out a last batch that is smaller than ``batch_size``.
        """


@final
class TensorSource(Source):
    """Samples in memory: gathered many batches at a time and cut into views, never item by item.

    Args:
        x: float inputs, ``(N, C, H, W)``.
        y: targets, ``(N, ...)``.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.num_samples = len(x)
        self.input_size = tuple(x.shape[1:])
        self._placed: tuple[torch.device, torch.memory_format, Tensor, Tensor] | None = None

    @override
    def batches(
        self,
        order: Tensor | None,
        start: int,
        batch_size: int,
        device: torch.device,
        memory_format: torch.memory_format,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self._place_all(device, memory_format)
        stop = _stop(start, self.num_samples, batch_size, drop_last)
        bytes_per_batch = batch_size * max(1, x[:1].numel() * x.element_size())
        chunk = batch_size * max(1, _CHUNK_BYTES.get(x.device.type, _OTHER_CHUNK_BYTES) // bytes_per_batch)
        for first in range(start, stop, chunk):
            last = min(first + chunk, stop)
            if order is None:
                some_x, some_y = x[first:last], y[first:last]
            else:
                index = order[first:last].to(x.device)
                some_x, some_y = _gather(x, index), y.index_select(0, index)
            some_x, some_y = _place(some_x, device, memory_format), some_y.to(device)
            yield from zip(torch.split(some_x, batch_size), torch.split(some_y, batch_size), strict=True)

    def _place_all(self, device: torch.device, memory_format: torch.memory_format) -> tuple[Tensor, Tensor]:
        """The whole split on the device in the layout, kept for the next epoch; a large one stays where it is."""
        if self._placed is None or self._placed[:2] != (device, memory_format):
            x, y = self.x, self.y
            if x.numel() * x.element_size() <= _RESIDENT_BYTES:
                x, y = _place(x, device, memory_format), y.to(device)
            self._placed = (device, memory_format, x, y)
        return self._placed[2:]


@final
class DatasetSource(Source):
    """A map-style data set, read item by item and stacked by torch's own ``default_collate``.

    Args:
        dataset: its items are ``(x, y)``, x a float tensor ``(C, H, W)``.
        input_size: the size of one x; read from item 0 when left out.
    """

    def __init__(self, dataset: Dataset[Any], input_size: tuple[int, ...] | None = None) -> None:
        self.dataset = dataset
        self.num_samples = len(cast(Any, dataset))
        self.input_size = input_size or tuple(cast(Tensor, dataset[0][0]).shape)

    @override
    def batches(
        self,
        order: Tensor | None,
        start: int,
        batch_size: int,
        device: torch.device,
        memory_format: torch.memory_format,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        stop = _stop(start, self.num_samples, batch_size, drop_last)
        for first in range(start, stop, batch_size):
            last = min(first + batch_size, stop)
            index = range(first, last) if order is None else order[first:last].tolist()
            x, y = default_collate(_fetch(self.dataset, list(index)))
            yield _place(x, device, memory_format), as_target(y).to(device)


@final
class LoaderSource(Source):
    """A user's ``DataLoader``, iterated as it is: its own batch size, order, workers and collation.

    Args:
        loader: its batches are ``(x, y)``.
        input_size: the size of one x, ``(C, H, W)``; read from the first batch when left out.
    """

    resizable = False

    def __init__(self, loader: DataLoader[Any], input_size: tuple[int, ...] | None = None) -> None:
        self.loader = loader
        self.batch_size = loader.batch_size
        self.num_samples = _loader_length(loader)
        self.input_size = input_size or tuple(next(iter(loader))[0].shape[1:])

    @override
    def order(self, generator: torch.Generator | None) -> None:
        """None: the loader decides, and draws from whatever generator it has."""

    @override
    def batches(
        self,
        order: Tensor | None,
        start: int,
        batch_size: int,
        device: torch.device,
        memory_format: torch.memory_format,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        seen = 0
        for x, y in self._loaded():
            skipped, seen = max(0, start - seen), seen + len(x)
            if skipped >= len(x) or (drop_last and self.batch_size and len(x) < self.batch_size):
                continue
            yield _place(x[skipped:], device, memory_format), as_target(y[skipped:]).to(device)

    def _loaded(self) -> Iterator[Any]:
        """The loader's batches; one that a dying worker was sending breaks off in a pipe, which tells nobody why."""
        try:
            yield from self.loader
        except (ConnectionError, EOFError) as error:
            if not self.loader.num_workers:
                raise
            raise RuntimeError(
                f"a DataLoader worker was killed or crashed ({type(error).__name__}), often for lack of memory; "
                "num_workers=0 reads the samples in this process and shows what happens."
            ) from error


@contextmanager
def generators_untouched(loader: DataLoader[Any] | None = None) -> Iterator[None]:
    """Look at samples with fixed seeds, then put every generator back: a look must not change what is drawn later.

    Covers Python's, numpy's and torch's own (on the CPU), and the loader's, if it has one.
    """
    own = loader.generator if loader is not None else None
    with drawing:
        yield from _untouched(own)


def _untouched(own: torch.Generator | None) -> Iterator[None]:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state(), None if own is None else own.get_state()
    try:
        random.seed(0)
        np.random.seed(0)
        for generator in (torch.default_generator, own):
            if generator is not None:
                generator.manual_seed(0)
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        if own is not None and before[3] is not None:
            own.set_state(before[3])


def as_target(y: Tensor) -> Tensor:
    """Targets in the type that torch's criteria take: int64 for labels, float32 for numbers."""
    if y.is_floating_point():
        return y.float()
    return y.long()


def _stop(start: int, num_samples: int, batch_size: int, drop_last: bool) -> int:
    left = num_samples - start
    return start + left // batch_size * batch_size if drop_last else num_samples


def _place(x: Tensor, device: torch.device, memory_format: torch.memory_format) -> Tensor:
    if x.dim() != 4:
        return x.to(device)
    return x.to(device).contiguous(memory_format=memory_format)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """``x.index_select(0, index)`` that keeps a channels_last layout, which torch's own loses."""
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return x.index_select(0, index)


def _fetch(dataset: Dataset[Any], index: list[int]) -> list[Any]:
    many = getattr(dataset, "__getitems__", None)
    return cast(list[Any], many(index)) if many else [dataset[i] for i in index]


def _loader_length(loader: DataLoader[Any]) -> int:
    """Samples in one epoch; -1 where only iterating would tell."""
    if isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
        return -1
    num_samples = len(cast(Any, loader.sampler))
    return num_samples // loader.batch_size * loader.batch_size if loader.drop_last else num_samples
