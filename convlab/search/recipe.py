"""From the values of a trial to its network and its recipe."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, final

import torch
from torch import nn

from convlab.data.data import Data
from convlab.limits import SpecError, check_choice, check_known, short
from convlab.models.borrow import borrowed
from convlab.models.build import build
from convlab.models.gallery import GALLERY
from convlab.models.live import EditError
from convlab.models.streams import own_stream
from convlab.net_spec import Block, NetSpec
from convlab.schedule_spec import ScheduleSpec
from convlab.search.space import Space, Values
from convlab.spec import TrainSpec
from convlab.training.progress import steps_per_epoch
from convlab.training.schedule_defaults import fitted, refitted
from convlab.training.threads import own_threads

Model = str | NetSpec | nn.Module | Callable[..., nn.Module]

_TRAIN: Final = tuple(field.name for field in fields(TrainSpec))
_BLOCK: Final = tuple(field.name for field in fields(Block) if field.name != "out_channels")
_NET: Final = ("filters", "depth", "init", *_BLOCK)
_NOT_TRIED: Final = ("device", "threads", "schedule_mode", "seed")


class ImpossibleError(ValueError):
    """Values of a trial that do not go together: no network, or none that takes the pictures."""


@final
@dataclass(frozen=True)
class Recipe:
    """What all trials share: what builds the network, the data, the settings that are not tried.

    Args:
        model: a name of `GALLERY`, a `NetSpec`, an `nn.Module` of which each trial trains a copy, or a function that
            builds one and takes by name what the space has of it.
        data: ready for training.
        spec: the settings that the space does not have.
        space: what is tried.

    Raises:
        SpecError: the space has a setting or a value that there is not.
    """

    model: Model
    data: Data
    spec: TrainSpec
    space: Space

    def __post_init__(self) -> None:
        if not isinstance(self.model, NetSpec | nn.Module | str) and not callable(self.model):
            raise TypeError(
                f"model must be a name of the gallery, a NetSpec or a function that builds a network, got "
                f"{short(self.model)}; try model='lenet5'."
            )
        if isinstance(self.model, str):
            check_choice("model", self.model, tuple(GALLERY))
        known = self.names
        for name in self.space.entries:
            check_known("the space of this model", known, {name: None})
        self.space.check(self._check)
        if (net := self.net) is not None and net.input_size != tuple(self.data.input_size):
            raise SpecError(
                f"model takes pictures of {net.input_size} and those of {self.data.name} are "
                f"{tuple(self.data.input_size)}; try model.replace(input_size={tuple(self.data.input_size)})."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that a space may have."""
        train = tuple(name for name in _TRAIN if name not in _NOT_TRIED)
        return tuple(dict.fromkeys((*train, *self.structural)))

    @property
    def structural(self) -> tuple[str, ...]:
        """Those of them that go into the network."""
        if isinstance(self.model, NetSpec | str):
            return _NET
        return () if isinstance(self.model, nn.Module) else _parameters(self.model)

    @property
    def net(self) -> NetSpec | None:
        """The network with nothing tried, where it is a `NetSpec`."""
        if not isinstance(self.model, str):
            return self.model if isinstance(self.model, NetSpec) else None
        size: Any = tuple(self.data.input_size)
        return GALLERY[self.model].adapted(input_size=size, num_classes=self.data.num_classes or 1)

    def _check(self, name: str, value: Any) -> None:
        """Whether the value can be on its own."""
        if name in self.structural:
            if not isinstance(self.model, NetSpec | str):
                return
            if name == "filters":
                for one in value if isinstance(value, tuple) else (value,):
                    Block(one)
            elif name == "depth":
                if not isinstance(value, int) or value < 1:
                    raise SpecError(f"depth must be a whole number of blocks, got {short(value)}; try depth=(1, 3).")
            elif name == "init":
                NetSpec(init=value)
            else:
                Block(8).replace(**{name: value})
        elif name == "schedule":
            if not (value is None or isinstance(value, ScheduleSpec)):
                fitted(value, cadence="step", steps=100, epochs=10, lr=0.1)
        else:
            self.spec.replace(**{name: value})

    def train_spec(self, values: Values) -> TrainSpec:
        """The settings of a trial; a schedule that is told by its name is as long as the training.

        Raises:
            SpecError: they do not go together.
        """
        own = {name: value for name, value in values.items() if name not in self.structural}
        lr, schedule = own.pop("lr", None), own.pop("schedule", self.spec.schedule)
        spec = self.spec if lr is None else self.spec.with_lr(lr)
        if "schedule" not in values:
            schedule = spec.schedule
        spec = spec.replace(**own)
        per_epoch = steps_per_epoch(self.data, spec)
        epochs, steps = spec.epochs, spec.epochs * (per_epoch or 1)
        if isinstance(schedule, str):
            cadence: Any = "epoch" if schedule == "ReduceLROnPlateau" or per_epoch is None else "step"
            schedule = fitted(schedule, cadence=cadence, steps=steps, epochs=epochs, lr=spec.lr)
        elif schedule is not None and {"batch_size", "epochs"} & values.keys():
            schedule = refitted(schedule, steps=steps, epochs=epochs)
        return spec.replace(schedule=schedule)

    def net_spec(self, values: Values) -> NetSpec | None:
        """The network of a trial, where it is a `NetSpec`.

        Raises:
            SpecError: there is no such network.
        """
        spec = self.net
        return None if spec is None else structured(spec, {n: v for n, v in values.items() if n in self.structural})

    def build(self, values: Values, seed: int) -> nn.Module:
        """The network of a trial, which takes the pictures.

        Raises:
            ImpossibleError: there is no such network, or it takes no such pictures; its message is the reason.
        """
        try:
            model = self._built(values, seed)
        except (ValueError, EditError) as error:
            raise ImpossibleError(str(error)) from error
        # A `NetSpec` has checked itself.
        if self.net is not None or any(map(nn.parameter.is_lazy, model.parameters())):
            return model
        sample = torch.zeros(2, *self.data.input_size)
        try:
            with own_threads(1), borrowed(model), torch.no_grad():
                model.eval()
                device = next((param.device for param in model.parameters()), sample.device)
                model(sample.to(device))
        except (RuntimeError, ValueError) as error:
            raise ImpossibleError(str(error).splitlines()[0]) from error
        return model

    def _built(self, values: Values, seed: int) -> nn.Module:
        if (spec := self.net_spec(values)) is not None:
            return build(spec, seed)
        if isinstance(self.model, nn.Module):
            return copy.deepcopy(self.model)
        assert not isinstance(self.model, str | NetSpec)
        with own_stream(seed):
            made = self.model(**{name: value for name, value in values.items() if name in self.structural})
        if not isinstance(made, nn.Module):
            raise TypeError(f"model(...) returned a {type(made).__name__}, not a torch.nn.Module; let it return one.")
        return made


def structured(spec: NetSpec, values: Mapping[str, Any]) -> NetSpec:
    """The network with what a trial takes of its structure.

    Args:
        spec: the network.
        values: ``filters``: those of the first block, the others in proportion, or those of every block; ``depth``:
            so many blocks, the last one again where there are fewer; ``init``; and arguments of `Block`, for all.

    Raises:
        SpecError: there is no such network.

    Example:
        >>> spec = NetSpec((1, 16, 16), blocks=Block.ladder(8, 16))
        >>> [block.out_channels for block in structured(spec, {"filters": 12, "depth": 3}).blocks]
        [12, 24, 24]
    """
    shared = {name: value for name, value in values.items() if name in _BLOCK}
    blocks = list(spec.blocks)
    filters, depth = values.get("filters"), values.get("depth")
    if isinstance(filters, tuple):
        blocks = [blocks[min(i, len(blocks) - 1)].replace(out_channels=count) for i, count in enumerate(filters)]
    elif filters is not None and blocks:
        ratio = filters / blocks[0].out_channels
        blocks = [block.replace(out_channels=max(1, round(block.out_channels * ratio))) for block in blocks]
    if depth is not None and blocks:
        blocks = (blocks + blocks[-1:] * depth)[:depth]
    blocks = [block.replace(**shared) for block in blocks]
    head = spec.head.replace(**{name: value for name, value in shared.items() if name == "activation"})
    return spec.replace(blocks=tuple(blocks), head=head, init=values.get("init", spec.init))


def _parameters(function: Callable[..., nn.Module]) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(name for name, one in inspect.signature(function).parameters.items() if one.kind in kinds)
