"""Carrying a plan out on the live model: everything is made first, then put in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convlab.models._edit.kinds import arguments_of
from convlab.models._edit.plan import EditPlan, Rebuilt
from convlab.models._edit.weights import Carry
from convlab.models.streams import own_stream

_MACHINERY = frozenset(vars(nn.Module()))
_HOOKS = tuple(name for name in _MACHINERY if "hook" in name)


@dataclass(frozen=True)
class Moved:
    """A parameter that another took the place of, and how its values went over; None where they did not."""

    old: nn.Parameter
    new: nn.Parameter
    carry: Carry | None


@dataclass
class _Made:
    """A layer with values, as it is to be: for a live one that stays, the source of its new contents."""

    rebuilt: Rebuilt | None
    module: nn.Module


def commit(model: nn.Module, plan: EditPlan) -> list[Moved]:
    """Do to the model what the plan did to its twin; returns the parameters that were replaced."""
    device, dtype = _home(model)
    made: dict[int, _Made] = {}
    moved: list[Moved] = []
    with own_stream(plan.edit.seed), torch.no_grad():
        rebuilt = {id(one.twin): one for one in plan.rebuilt}
        for module in plan.twin.model.modules():
            one = rebuilt.get(id(module))
            if one is not None:
                made[id(module)] = _Made(one, _with_weights(one, device, moved))
            elif id(module) not in plan.twin.stands_for:
                like = plan.twin.instead_of.get(id(module))
                made[id(module)] = _Made(None, _fresh(module, like, device, dtype))
    for part in made.values():
        if part.rebuilt is not None and not part.rebuilt.is_new:
            _put_into(part.rebuilt.live, part.module)
    _arrange(plan, made)
    return moved


def _home(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is None:
        return torch.device("cpu"), torch.get_default_dtype()
    return weight.device, weight.dtype


def _fresh(twin: nn.Module, like: nn.Module | None, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A layer such as the twin, as torch initialises it: on the CPU, so that every device gets the same values."""
    new: nn.Module = type(twin)(**arguments_of(twin))
    new.to(device=device, dtype=dtype)
    new.training = twin.training
    if like is not None:
        for name in _HOOKS:  # shared, so that a handle that a person keeps still takes its hook off
            new.__dict__[name] = like.__dict__[name]
    return new


def _with_weights(one: Rebuilt, device: torch.device, moved: list[Moved]) -> nn.Module:
    live = one.live
    weights = [tensor for tensor in live._parameters.values() if tensor is not None]
    home = (weights[0].device, weights[0].dtype) if weights else (device, _dtype_of(live))
    new = _fresh(one.twin, live if one.is_new else None, *home)
    for name, fresh in list(new._parameters.items()):
        old = live._parameters.get(name)
        if fresh is None:
            continue
        carry = one.carries.get(name)
        if old is None:
            if name == "bias" and carry is not None and not one.is_new:  # the same function until it is trained
                fresh[torch.from_numpy(carry.rows >= 0).to(fresh.device)] = 0
            fresh.requires_grad_(not weights or weights[0].requires_grad)
        elif carry is not None and carry.is_same and old.shape == fresh.shape:
            new._parameters[name] = old
        else:
            parameter = nn.Parameter(_carried(carry, old, fresh), old.requires_grad)
            new._parameters[name] = parameter
            moved.append(Moved(old, parameter, carry))
    if not one.is_new:
        _carry_buffers(live, new, one.carries)
    return new


def _carry_buffers(live: nn.Module, new: nn.Module, carries: Mapping[str, Carry]) -> None:
    for name, fresh in list(new._buffers.items()):
        kept, carry = live._buffers.get(name), carries.get(name)
        if fresh is None or kept is None:
            continue
        if carry is None or (carry.is_same and kept.shape == fresh.shape):
            new._buffers[name] = kept
        else:
            new._buffers[name] = carry(kept, fresh)


def _dtype_of(live: nn.Module) -> torch.dtype:
    floats = [b.dtype for b in live._buffers.values() if b is not None and b.is_floating_point()]
    return floats[0] if floats else torch.get_default_dtype()


def _carried(carry: Carry | None, old: Tensor, fresh: Tensor) -> Tensor:
    made = fresh.detach() if carry is None else carry(old, fresh)
    if old.dim() == 4 and made.dim() == 4 and not old.is_contiguous():
        return made.contiguous(memory_format=torch.channels_last)
    return made.contiguous()


def _put_into(live: nn.Module, new: nn.Module) -> None:
    """Give the live layer the new one's settings and weights; it stays the object that it is."""
    for name, value in vars(new).items():
        if name not in _MACHINERY:
            vars(live)[name] = value
    live._parameters.clear()
    live._parameters.update(new._parameters)
    live._buffers.clear()
    live._buffers.update(new._buffers)


def _arrange(plan: EditPlan, made: dict[int, _Made]) -> None:
    """Let every live container hold what its twin holds."""
    for container in plan.twin.model.modules():
        live = plan.twin.stands_for.get(id(container))
        if live is None:
            continue
        children = dict(_children(container, plan, made))
        if list(children.items()) != list(live._modules.items()):
            live._modules.clear()
            live._modules.update(children)


def _children(container: nn.Module, plan: EditPlan, made: dict[int, _Made]) -> Iterator[tuple[str, Any]]:
    for name, child in container._modules.items():
        stands_for = plan.twin.stands_for.get(id(child))
        yield name, child if child is None else stands_for or made[id(child)].module
