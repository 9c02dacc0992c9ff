"""A `TrainerState` as tensors and plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlab.limits import check_choice, short
from convlab.models._edit.history import capture as structure_of
from convlab.models.borrow import Snapshot, snapshot
from convlab.models.live import Edit, Place
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import LIMITS, SCHEDULE_MODES, TrainSpec
from convlab.training.checkpoint import from_plain, to_plain
from convlab.training.history import Bookmark
from convlab.training.journal import LIVE_SETTINGS, Change
from convlab.training.saved_checks import (
    MOST_EDITS,
    MOST_STEPS,
    change,
    epoch_record,
    group,
    moments,
    number,
    numpy_state,
    own_state,
    python_state,
    scores,
    torch_state,
    whole,
    yes_no,
)
from convlab.training.state import TrainerState
from convlab.training.streams import Streams
from convlab.training.trainer import Trainer

Tensors = dict[str, Tensor]
Plain = dict[str, Any]


def names_of(model: nn.Module) -> dict[int, str]:
    """The name of each parameter and buffer, by identity; one that stands in several places has the first."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {id(tensor): name for name, tensor in reversed(named)}


def values_of(saved: Snapshot, names: Mapping[int, str], prefix: str) -> Tensors:
    """The values in a snapshot by name."""
    return {f"{prefix}.{names[id(tensor)]}": was for tensor, was in saved.tensors if id(tensor) in names}


# -- to plain values --------------------------------------------------------------------------------------------------


def pack(state: TrainerState, model: nn.Module) -> tuple[Tensors, Plain]:
    """`state` of `model`, which has the structure that it had then."""
    names = names_of(model)
    tensors = values_of(state.structure.weights, names, "model")
    if state.best is not None:
        tensors |= values_of(state.best[1], names, "best")
    if state.order is not None:
        tensors["order"] = state.order
    moments: Plain = {}
    for param, values in state.moments.items():
        name = names[id(param)]
        moments[name] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{name}.{key}"] = value
            else:
                moments[name][key] = to_plain(value)
    modules = {id(module): name for name, module in model.named_modules()}
    plain = {
        "settings": state.settings.to_dict(),
        "epoch": state.epoch,
        "position": state.position,
        "within_epoch": state.within_epoch,
        "exhausted": state.exhausted,
        "seconds": state.seconds,
        "scores": list(state.scores),
        "last_lr": state.last_lr,
        "scheduled": state.scheduled,
        "groups": [
            {
                **{key: to_plain(value) for key, value in one.items() if key != "params"},
                "params": [names[id(param)] for param in one["params"]],
            }
            for one in state.groups
        ],
        "moments": moments,
        "frozen": [names[id(param)] for param, requires, _ in state.structure.weights.grads if not requires],
        "eval": [modules[id(module)] for module, training in state.structure.weights.modes if not training],
        "dropouts": {modules[id(layer)]: [own, layer.p] for layer, own in state.dropouts.items()},
        "streams": _pack_streams(state.streams, "stream", tensors),
        "epoch_streams": state.epoch_streams and _pack_streams(state.epoch_streams, "epoch_stream", tensors),
        "best": state.best and asdict(state.best[0]),
        "journal": [pack_change(one) for one in state.journal],
    }
    return tensors, plain


def _pack_streams(streams: Streams, prefix: str, tensors: Tensors) -> Plain:
    tensors |= {f"{prefix}.{device}": state for device, state in streams.torch.items()}
    return {
        "python": to_plain(streams.python),
        "numpy": to_plain(streams.numpy),
        "own": [[type(generator).__name__, to_plain(was)] for generator, was in streams.own],
    }


def pack_change(one: Change) -> Plain:
    """A change in the journal."""
    return {"step": one.step, "name": one.name, "old": _pack_value(one.old), "new": _pack_value(one.new)}


def _pack_value(value: object) -> Any:
    if isinstance(value, ScheduleSpec):
        return {"schedule": value.to_dict()}
    if isinstance(value, Edit):
        return {"edit": value.to_json()}
    return list(value) if isinstance(value, tuple) else value


# -- from plain values ------------------------------------------------------------------------------------------------


def unpack(
    trainer: Trainer, tensors: Tensors, plain: Plain, mark: Bookmark, journal: tuple[Change, ...]
) -> TrainerState:
    """The state for `trainer`, whose model must have the structure by now; its values are put there."""
    model = trainer.model
    put_values(model, tensors, "model")
    frozen, still = set(map(str, plain["frozen"])), set(map(str, plain["eval"]))
    for name, param in model.named_parameters():
        param.requires_grad_(name not in frozen)
    if not any(param.requires_grad for param in model.parameters()):
        raise ValueError("all its weights are frozen")
    for name, module in model.named_modules():
        module.training = name not in still
    dropouts = _dropouts(model, plain["dropouts"])
    params = dict(model.named_parameters())
    best = None
    if plain["best"] is not None:
        best = epoch_record(plain["best"]), _snapshot_with(model, tensors, "best")
    settings = TrainSpec(**plain["settings"])
    if fixed := trainer.spec.changes_to(settings).keys() - set(LIVE_SETTINGS):
        raise ValueError(f"{', '.join(sorted(fixed))} changed in the run, which cannot be")
    num_samples = trainer.data.train.num_samples
    return TrainerState(
        settings=settings,
        epoch=whole("epoch", plain["epoch"], int(LIMITS["epochs"].high)),
        position=whole("position", plain["position"], num_samples if num_samples >= 0 else MOST_STEPS),
        within_epoch=yes_no("within_epoch", plain["within_epoch"]),
        exhausted=yes_no("exhausted", plain["exhausted"]),
        order=_order(tensors.get("order"), trainer),
        seconds=number("seconds", plain["seconds"]),
        scores=scores(plain["scores"]),
        last_lr=number("lr", plain["last_lr"]),
        scheduled=_scheduled(plain["scheduled"]),
        groups=_groups(trainer, params, plain["groups"]),
        moments=_moments(trainer, params, tensors, plain["moments"]),
        structure=structure_of(model),
        dropouts=dropouts,
        streams=_streams(trainer, plain["streams"], "stream", tensors),
        epoch_streams=plain["epoch_streams"] and _streams(trainer, plain["epoch_streams"], "epoch_stream", tensors),
        best=best,
        mark=mark,
        journal=journal,
        live=trainer.live,
        place=None if trainer.live is None else Place(journal=trainer.live.journal),
    )


def put_values(model: nn.Module, tensors: Tensors, prefix: str) -> None:
    """Write the values under `prefix` into the model's own tensors."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.detach().copy_(tensors[f"{prefix}.{name}"])


def misfit(model: nn.Module, tensors: Tensors, prefix: str) -> str:
    """Where the names, shapes or types of the values under `prefix` are not those of the model's, else empty."""
    named = {f"{prefix}.{name}": one for name, one in (*model.named_parameters(), *model.named_buffers())}
    there = {name: one for name, one in tensors.items() if name.startswith(f"{prefix}.")}
    for name in sorted(named.keys() ^ there.keys()):
        where, other = ("model", "file") if name in named else ("file", "model")
        return f"{name.removeprefix(f'{prefix}.')} is in the {where} and not in the {other}"
    for name, one in named.items():
        saved = there[name]
        if one.shape != saved.shape or one.dtype != saved.dtype:
            return (
                f"{name.removeprefix(f'{prefix}.')} is {tuple(saved.shape)} {saved.dtype} in the file and "
                f"{tuple(one.shape)} {one.dtype} in the model"
            )
    return ""


def _snapshot_with(model: nn.Module, tensors: Tensors, prefix: str) -> Snapshot:
    names = names_of(model)
    saved = snapshot(model)
    values = [(tensor, tensors[f"{prefix}.{names[id(tensor)]}"].to(tensor)) for tensor, _ in saved.tensors]
    if any(tensor.shape != was.shape for tensor, was in values):
        raise ValueError("the best weights are not of this network")
    return Snapshot(values, saved.buffers, saved.modes, saved.grads)


def _groups(trainer: Trainer, params: Mapping[str, nn.Parameter], plain: list[Plain]) -> list[Plain]:
    fresh = trainer.optimizer.param_groups
    return [
        {
            **group({key: from_plain(value) for key, value in one.items() if key != "params"}, _settings_of(like)),
            "params": [params[name] for name in one["params"]],
        }
        for one, like in zip(plain, fresh, strict=True)
    ]


def _settings_of(group: Plain) -> Plain:
    return {key: value for key, value in group.items() if key != "params"}


def _scheduled(plain: Plain) -> Plain:
    check_choice("schedule_mode", plain["mode"], SCHEDULE_MODES)
    number("lr", plain["base"])
    for own in plain["own"]:
        for name, value in own.items():
            for one in value if name == "betas" else [value]:
                number(name, one)
    return {**plain, "over": str(plain["over"])[:300]}


def _dropouts(model: nn.Module, plain: Plain) -> dict[nn.modules.dropout._DropoutNd, float]:
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.modules.dropout._DropoutNd)}
    if set(layers) != set(plain):
        raise ValueError(f"its dropout layers are {short(sorted(plain))}")
    for name, (own, p) in plain.items():
        number("dropout", own, 0, 1)
        layers[name].p = number("dropout", p, 0, 1)
    return {layers[name]: float(own) for name, (own, _) in plain.items()}


def _order(order: Tensor | None, trainer: Trainer) -> Tensor | None:
    if order is None:
        return None
    count = trainer.data.train.num_samples
    if order.dtype != torch.int64 or not torch.equal(order.sort().values, torch.arange(count)):
        raise ValueError("the order of samples is not one of these data")
    return order


def _moments(
    trainer: Trainer, params: dict[str, nn.Parameter], tensors: Tensors, plain: Plain
) -> dict[Any, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = {
        name: {key: from_plain(value) for key, value in values.items()} for name, values in plain.items()
    }
    for full, value in tensors.items():
        kind, _, rest = full.partition(".")
        name, _, key = rest.rpartition(".")
        if kind == "optimizer":
            kept[name][key] = value
    for name, values in kept.items():
        param = params[name]
        moments(type(trainer.optimizer), param, values)
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == param.shape and key != "step":
                # Like the parameter in memory, too: a kernel goes over both at once.
                values[key] = torch.empty_like(param).copy_(value)
    return {params[name]: values for name, values in kept.items()}


def _streams(trainer: Trainer, plain: Plain, prefix: str, tensors: Tensors) -> Streams:
    now = trainer.streams()
    kinds = [type(generator).__name__ for generator, _ in now.own]
    if kinds != [kind for kind, _ in plain["own"]]:
        raise ValueError(
            f"the data and the model have other random generators of their own than those saved: {kinds}, not "
            f"{[kind for kind, _ in plain['own']]}"
        )
    own = tuple((now.own[i][0], own_state(now.own[i][0], from_plain(was))) for i, (_, was) in enumerate(plain["own"]))
    found: dict[torch.device, Tensor] = {}
    for name, state in tensors.items():
        kind, _, place = name.partition(".")
        if kind == prefix:
            found[torch.device(place)] = torch_state(torch.device(place), state)
    if torch.device("cpu") not in found:
        raise ValueError("the random numbers are missing")
    return Streams(
        found,
        python_state(from_plain(plain["python"])),
        numpy_state(np.random.MT19937(0), from_plain(plain["numpy"])),
        own,
    )


def unpack_journal(plain: list[Plain], num_steps: int) -> tuple[Change, ...]:
    """The changes of a run of so many steps."""
    made = tuple(
        change(Change(one["step"], str(one["name"]), _unpack_value(one["old"]), _unpack_value(one["new"])))
        for one in plain
    )
    steps = [one.step for one in made]
    if steps != sorted(steps) or (steps and steps[-1] > num_steps):
        raise ValueError("the journal is not in order")
    if (edits := sum(one.name == "edit" for one in made)) > MOST_EDITS:
        raise ValueError(f"the network was edited {edits} times, more than {MOST_EDITS}")
    return made


def _unpack_value(value: Any) -> Any:
    if isinstance(value, dict):
        if "schedule" in value:
            return ScheduleSpec.from_dict(value["schedule"])
        return Edit.from_json(value["edit"])
    return tuple(value) if isinstance(value, list) else value
