"""Several processes at one training: each works on its part of every batch, and all make the same step.

Not torch's `DistributedDataParallel`: it wraps the model, whereas ours is the user's own object throughout, it averages
where parts of an uneven batch must be weighed, and it has no place for what goes along here, the loss and whether
somebody failed. One sum over one flat tensor a step does all of it.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, cast, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import Dataset

from convlab.training.host_random import HostRandom
from convlab.training.randomness import PrivateRandom
from convlab.training.scores import Scores

if TYPE_CHECKING:
    from convlab.training.trainer import Trainer

LOST: Final = 17
"""The exit code of a process whose peers are gone; all are begun again then."""

_SEEDS: Final = 2**62


class PeerError(RuntimeError):
    """Another process failed in this step; it tells why."""


@final
class Peers:
    """This process among those that train one network; its `rank` is from 0 to ``world - 1``.

    Args:
        device: where this process trains.
        wish: whether it was told to stop; asked before each step, and one process is enough.
        stop: called in all of them after the same step when one was.
    """

    def __init__(self, device: torch.device, wish: Callable[[], bool], stop: Callable[[], object]) -> None:
        self.rank, self.world, self.device = dist.get_rank(), dist.get_world_size(), device
        self._wish, self._stop = wish, stop
        self._stops = False

    def part(self, whole: Tensor) -> Tensor:
        """This process's part of a batch, as `Tensor.tensor_split` makes it; empty where there is none left for it."""
        return whole.tensor_split(self.world)[self.rank]

    def add_up(self, params: Sequence[nn.Parameter], work: Callable[[], tuple[Any, float]]) -> tuple[Any, float]:
        """Do `work`, which adds this part's gradients to `params` and returns a result and its share of the loss.

        After it, all processes have the gradients and the loss of the whole batch, in the same bits.

        Raises:
            Exception: what `work` raised here.
            PeerError: it raised in another process.
        """
        done, value, error = None, math.nan, None
        try:
            done, value = work()
        except Exception as failed:
            error = failed
        told = [value, float(error is not None), float(self._wish())]
        told += [float(param.grad is not None) for param in params]
        dtype = reduce(torch.promote_types, {param.dtype for param in params}, torch.float32)
        # One that failed half-way has some gradients, but nobody will use them.
        pieces = [torch.zeros_like(param) if param.grad is None else param.grad for param in params]
        flat = torch.cat(
            [*(one.reshape(-1).to(dtype) for one in pieces), torch.tensor(told, dtype=dtype).to(self.device)]
        )
        together(lambda: dist.all_reduce(flat))
        value, failures, wishes, *given = flat[-len(told) :].tolist()
        self._stops = wishes > 0
        if error is not None:
            raise error
        if failures:
            raise PeerError("another process failed in this step.")
        sums = flat[: -len(told)].split([one.numel() for one in pieces])
        for param, piece, count in zip(params, sums, given, strict=True):
            if count:  # where nobody has one, the optimizer leaves the weight alone
                param.grad = torch.empty_like(param) if param.grad is None else param.grad
                param.grad.copy_(piece.view(param.shape))
        return done, value

    def step_done(self, trainer: Trainer) -> None:
        """After a step: end where somebody wished it."""
        if self._stops:
            self.gather(trainer)
            self._stop()

    def gather(self, trainer: Trainer) -> None:
        """Give all the scores of the whole epoch so far, and the buffers of the first process, as DDP does."""
        self.gather_scores(trainer.scores)
        for buffer in trainer.model.buffers():
            whole = buffer.detach().contiguous()
            self._broadcast(whole)
            buffer.detach().copy_(whole)

    def gather_scores(self, scores: Scores) -> None:
        """Give all the sums over all processes."""
        sums = torch.tensor(scores.sums(), dtype=torch.float64).to(self.device)
        together(lambda: dist.all_reduce(sums))
        loss, *counts = sums.tolist()
        seen, hits, judged = map(int, counts)
        scores.put((loss, seen, hits, judged))

    def same(self, *values: float | None) -> tuple[float | None, ...]:
        """The first process's values: what is decided by them must be decided alike."""
        told = torch.tensor([math.nan if one is None else one for one in values], dtype=torch.float64).to(self.device)
        self._broadcast(told)
        return tuple(None if was is None else one for was, one in zip(values, told.tolist(), strict=True))

    def same_order(self, order: Tensor, random: PrivateRandom, host: HostRandom) -> Tensor:
        """The first process's order of samples. The others draw from here on from streams of their own.

        These begin anew with each epoch, so that a training that is taken up from a file draws what it would have.
        """
        state = torch.Generator()
        state.set_state(random.generator.get_state())
        number = torch.randint(_SEEDS, (1,), generator=state)
        told = torch.cat([order, number]).to(self.device)
        self._broadcast(told)
        *_, seed = told.tolist()
        if self.rank:
            random.restart(seed + self.rank)
            host.restart(seed + self.rank)
        return told[:-1].cpu()

    def _broadcast(self, tensor: Tensor) -> None:
        together(lambda: dist.broadcast(tensor, 0))


def world_of(peers: Peers | None) -> int:
    """How many processes there are."""
    return 1 if peers is None else peers.world


def parts_of(x: Tensor, y: Tensor, most: int | None, peers: Peers | None) -> list[tuple[Tensor, Tensor]]:
    """The batch, or this process's part, in parts of at most so many samples, of about one size for BatchNorm."""
    if peers is not None:
        x, y = peers.part(x), peers.part(y)
        if not len(x):
            return []
    if most is None or len(x) <= most:
        return [(x, y)]
    count = -(-len(x) // most)
    return list(zip(x.tensor_split(count), y.tensor_split(count), strict=True))


@final
class OwnPart(Dataset[Any]):
    """A data set of which this process reads only its own part of each batch; the rest of it is filled up.

    Args:
        whole: the data set.
        rank, world: as of `Peers`.
    """

    def __init__(self, whole: Dataset[Any], rank: int, world: int) -> None:
        self.whole, self.rank, self.world = whole, rank, world

    def __len__(self) -> int:
        return len(cast(Any, self.whole))

    def __getitem__(self, index: int) -> Any:
        return self.whole[index]

    def __getitems__(self, index: list[int]) -> list[Any]:
        """The items of a batch, those of other processes each a copy of another."""
        places = torch.arange(len(index)).tensor_split(self.world)[self.rank].tolist()
        many = getattr(self.whole, "__getitems__", None)
        wanted = [index[place] for place in places or [0]]
        read = many(wanted) if many else [self.whole[one] for one in wanted]
        items = [read[0]] * len(index)
        for place, item in zip(places, read, strict=bool(places)):
            items[place] = item
        return items


def together(work: Callable[[], object]) -> None:
    """What all processes do at once; where it fails, one is gone, and this one makes way for a new beginning."""
    try:
        work()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(LOST)
