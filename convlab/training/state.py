"""A training's whole state as a value: from it the training goes on as it would have, bit for bit.

It is taken between two steps. What it holds of the model are the very modules and parameters, with copies of all
values, so that a network that was edited since gets its old structure back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convlab.models._edit.history import State as Structure
from convlab.models._edit.history import capture as structure_of
from convlab.models._edit.history import copied
from convlab.models._edit.history import put_back as put_structure_back
from convlab.models.borrow import Snapshot
from convlab.models.live import LiveModel, Place
from convlab.spec import TrainSpec
from convlab.training.edit_log import Record
from convlab.training.history import Bookmark, EpochRecord
from convlab.training.journal import Change
from convlab.training.streams import Streams
from convlab.training.trainer import Trainer

_Dropout = nn.modules.dropout._DropoutNd


@dataclass(frozen=True, eq=False)
class TrainerState:
    """Everything that decides how a training goes on.

    Attributes:
        settings: the recipe with the changes up to here.
        epoch: the epoch that is going on, or went last.
        position: samples of it that were seen.
        within_epoch: whether its end is still to come.
        exhausted: whether all its batches were trained on.
        order: the order of its samples.
        seconds: how long it has taken so far.
        scores: losses and hits summed over it.
        last_lr: the lr of the last step.
        scheduled: the schedule, as plain values.
        groups: the optimizer's settings, and the parameters of each group.
        moments: what the optimizer keeps for each parameter.
        structure: the model.
        dropouts: each dropout layer's own probability.
        streams: the random numbers.
        epoch_streams: the same at the beginning of the epoch, where the data's order cannot be told otherwise.
        best: the best epoch and its weights.
        mark: how far the records had got.
        journal: what was changed by then.
        edits: what those of the network did to it; None where nobody knows.
        place: of the live model's edits, what can be undone and redone.
    """

    settings: TrainSpec
    epoch: int
    position: int
    within_epoch: bool
    exhausted: bool
    order: Tensor | None
    seconds: float
    scores: tuple[float, int, int, int]
    last_lr: float
    scheduled: dict[str, Any]
    groups: list[dict[str, Any]]
    moments: dict[Any, dict[str, Any]]
    structure: Structure
    dropouts: dict[_Dropout, float]
    streams: Streams
    epoch_streams: Streams | None
    best: tuple[EpochRecord, Snapshot] | None
    mark: Bookmark
    journal: tuple[Change, ...]
    live: LiveModel | None
    place: Place | None
    edits: tuple[Record, ...] | None = None

    @property
    def step(self) -> int:
        """Steps done."""
        return self.mark.num_steps

    @property
    def num_bytes(self) -> int:
        """Memory of the copies, in bytes."""
        return self.structure.num_bytes + sum(
            _bytes(value) for kept in self.moments.values() for value in kept.values()
        )


def size_of(trainer: Trainer) -> int:
    """Bytes that a state of `trainer` would take, without taking it."""
    tensors = [*trainer.model.parameters(), *trainer.model.buffers()]
    kept = [value for values in trainer.optimizer.state.values() for value in values.values()]
    return sum(map(_bytes, (*tensors, *kept)))


def capture(trainer: Trainer) -> TrainerState:
    """The state of `trainer`, which must be between two steps."""
    optimizer = trainer.optimizer
    live = trainer.live
    return TrainerState(
        settings=trainer.settings,
        epoch=trainer.epoch,
        position=trainer.position,
        within_epoch=trainer.within_epoch,
        exhausted=trainer.exhausted,
        order=trainer.order,
        seconds=trainer.seconds,
        scores=trainer.scores.sums(),
        last_lr=trainer.last_lr,
        scheduled=trainer.scheduled.state(),
        groups=[{**group, "params": list(group["params"])} for group in optimizer.param_groups],
        moments={param: copied(values) for param, values in optimizer.state.items()},
        structure=structure_of(trainer.model),
        dropouts=dict(trainer.dropouts),
        streams=trainer.streams(),
        epoch_streams=trainer.epoch_streams,
        best=trainer.best,
        mark=trainer.history.bookmark(),
        journal=tuple(trainer.journal),
        live=live,
        place=live.place() if live is not None else None,
        edits=tuple(trainer.edits.records),
    )


def put_back(trainer: Trainer, state: TrainerState) -> None:
    """Make `trainer` go on from `state`; its records stay, and are the caller's to cut."""
    optimizer = trainer.optimizer
    put_model_back(trainer.model, state, trainer.live)
    for group, was in zip(optimizer.param_groups, state.groups, strict=True):
        group.clear()
        group.update(was, params=list(was["params"]))
    optimizer.state.clear()
    for param, values in state.moments.items():
        optimizer.state[param] = copied(values)
    trainer.settings, trainer.last_lr = state.settings, state.last_lr
    trainer.scheduled.put_back(state.scheduled)
    trainer.epoch, trainer.position, trainer.order = state.epoch, state.position, state.order
    trainer.within_epoch, trainer.exhausted = state.within_epoch, state.exhausted
    trainer.seconds = state.seconds
    trainer.scores.put(state.scores)
    trainer.best = state.best
    trainer.journal[:] = state.journal
    trainer.edits.records[:] = state.edits or ()
    trainer.live = state.live or trainer.live
    trainer.structure_changed(dict(state.dropouts))
    trainer.epoch_streams = state.epoch_streams
    trainer.put_streams_back(state.streams)


def put_model_back(model: nn.Module, state: TrainerState, live: LiveModel | None) -> None:
    """The model as it was: structure, weights, buffers; modes stay. `live` is what edits were made with since."""
    put_structure_back(model, state.structure)
    if (live := state.live or live) is not None:
        live.move_to(state.place or Place())


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
