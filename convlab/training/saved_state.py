"""A `TrainerState` as tensors and plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from convlab.models._edit.history import capture as structure_of
from convlab.models.borrow import Snapshot, snapshot
from convlab.models.live import Edit, Place
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.checkpoint import from_plain, to_plain
from convlab.training.history import Bookmark, EpochRecord
from convlab.training.journal import Change
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
                **{key: to_plain(value) for key, value in group.items() if key != "params"},
                "params": [names[id(param)] for param in group["params"]],
            }
            for group in state.groups
        ],
        "moments": moments,
        "frozen": [names[id(param)] for param, requires, _ in state.structure.weights.grads if not requires],
        "eval": [modules[id(module)] for module, training in state.structure.weights.modes if not training],
        "dropouts": {modules[id(layer)]: [own, layer.p] for layer, own in state.dropouts.items()},
        "streams": _pack_streams(state.streams, "stream", tensors),
        "epoch_streams": state.epoch_streams and _pack_streams(state.epoch_streams, "epoch_stream", tensors),
        "best": state.best and asdict(state.best[0]),
        "journal": [pack_change(change) for change in state.journal],
    }
    return tensors, plain


def _pack_streams(streams: Streams, prefix: str, tensors: Tensors) -> Plain:
    tensors |= {f"{prefix}.{device}": state for device, state in streams.torch.items()}
    return {
        "python": to_plain(streams.python),
        "numpy": to_plain(streams.numpy),
        "own": [[type(generator).__name__, to_plain(was)] for generator, was in streams.own],
    }


def pack_change(change: Change) -> Plain:
    """A change in the journal."""
    return {"step": change.step, "name": change.name, "old": _pack_value(change.old), "new": _pack_value(change.new)}


def _pack_value(value: object) -> Any:
    if isinstance(value, ScheduleSpec):
        return {"schedule": value.to_dict()}
    if isinstance(value, Edit):
        return {"edit": value.to_json()}
    return list(value) if isinstance(value, tuple) else value


# -- from plain values ------------------------------------------------------------------------------------------------


def unpack(trainer: Trainer, tensors: Tensors, plain: Plain, mark: Bookmark) -> TrainerState:
    """The state for `trainer`, whose model must have the structure by now; its values are put there."""
    model = trainer.model
    put_values(model, tensors, "model")
    frozen, still = set(map(str, plain["frozen"])), set(map(str, plain["eval"]))
    for name, param in model.named_parameters():
        param.requires_grad_(name not in frozen)
    for name, module in model.named_modules():
        module.training = name not in still
    layers = dict(model.named_modules())
    dropouts: dict[nn.modules.dropout._DropoutNd, float] = {}
    for name, (own, p) in plain["dropouts"].items():
        layer = layers[name]
        if not isinstance(layer, nn.modules.dropout._DropoutNd):
            raise ValueError(f"{name} is no dropout layer")
        layer.p, dropouts[layer] = float(p), float(own)
    params = dict(model.named_parameters())
    groups = [
        {
            **{key: _group_value(value) for key, value in group.items() if key != "params"},
            "params": [params[name] for name in group["params"]],
        }
        for group in plain["groups"]
    ]
    best = None
    if plain["best"] is not None:
        best = EpochRecord(**plain["best"]), _snapshot_with(model, tensors, "best")
    return TrainerState(
        settings=TrainSpec(**plain["settings"]),
        epoch=int(plain["epoch"]),
        position=int(plain["position"]),
        within_epoch=bool(plain["within_epoch"]),
        exhausted=bool(plain["exhausted"]),
        order=_order(tensors.get("order"), trainer),
        seconds=float(plain["seconds"]),
        scores=_scores(plain["scores"]),
        last_lr=float(plain["last_lr"]),
        scheduled=plain["scheduled"],
        groups=groups,
        moments=_moments(params, tensors, plain["moments"]),
        structure=structure_of(model),
        dropouts=dropouts,
        streams=_streams(trainer, plain["streams"], "stream", tensors),
        epoch_streams=plain["epoch_streams"] and _streams(trainer, plain["epoch_streams"], "epoch_stream", tensors),
        best=best,
        mark=mark,
        journal=tuple(unpack_change(change) for change in plain["journal"]),
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


def _group_value(value: Any) -> Any:
    plain = from_plain(value)
    return tuple(plain) if isinstance(plain, list) else plain


def _order(order: Tensor | None, trainer: Trainer) -> Tensor | None:
    if order is None:
        return None
    count = trainer.data.train.num_samples
    if order.dtype != torch.int64 or not torch.equal(order.sort().values, torch.arange(count)):
        raise ValueError("the order of samples is not one of these data")
    return order


def _scores(sums: Any) -> tuple[float, int, int, int]:
    loss, seen, hits, judged = sums
    return float(loss), int(seen), int(hits), int(judged)


def _moments(params: dict[str, nn.Parameter], tensors: Tensors, plain: Plain) -> dict[Any, dict[str, Any]]:
    moments: dict[Any, dict[str, Any]] = {}
    for name, values in plain.items():
        param, prefix = params[name], f"optimizer.{name}."
        kept: dict[str, Any] = {key: from_plain(value) for key, value in values.items()}
        for full in [full for full in tensors if full.startswith(prefix) and "." not in full[len(prefix) :]]:
            value = tensors[full]
            # Like the parameter in memory, too: a kernel goes over both at once.
            kept[full[len(prefix) :]] = torch.empty_like(param).copy_(value) if value.shape == param.shape else value
        moments[param] = kept
    return moments


def _streams(trainer: Trainer, plain: Plain, prefix: str, tensors: Tensors) -> Streams:
    now = trainer.streams()
    kinds = [type(generator).__name__ for generator, _ in now.own]
    if kinds != [kind for kind, _ in plain["own"]]:
        raise ValueError(
            f"the data and the model have other random generators of their own than those saved: {kinds}, not "
            f"{[kind for kind, _ in plain['own']]}"
        )
    own = tuple((now.own[i][0], from_plain(was)) for i, (_, was) in enumerate(plain["own"]))
    found = {
        torch.device(name.partition(".")[2]): state
        for name, state in tensors.items()
        if name.partition(".")[0] == prefix
    }
    return Streams(found, from_plain(plain["python"]), from_plain(plain["numpy"]), own)


def unpack_change(plain: Plain) -> Change:
    """A change in the journal."""
    step = plain["step"]
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"a change stands at step {step!r}")
    return Change(step, str(plain["name"]), _unpack_value(plain["old"]), _unpack_value(plain["new"]))


def _unpack_value(value: Any) -> Any:
    if isinstance(value, dict):
        if "schedule" in value:
            return ScheduleSpec.from_dict(value["schedule"])
        return Edit.from_json(value["edit"])
    return tuple(value) if isinstance(value, list) else value
