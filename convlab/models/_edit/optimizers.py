"""An optimizer follows its model: new parameters in place of old ones, their state carried as their values were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from convlab.models._edit.commit import Moved


def follow(
    optimizer: optim.Optimizer, before: Sequence[nn.Parameter], model: nn.Module, moved: Sequence[Moved]
) -> None:
    """Let `optimizer` train the model as it is after an edit.

    Every group keeps its settings and holds the model's parameters in the model's order; a new layer's go to the group
    of the parameter before them. State is kept for the tensors that survive, and carried over as the values were, with
    zeros in what is new, for those that changed their shape.

    Args:
        optimizer: over some or all of the model's parameters.
        before: the model's parameters before the edit, in order.
        model: as it is now.
        moved: what the edit put in the place of others.
    """
    group_of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    by_new = {id(move.new): move for move in moved}
    for move in moved:
        if id(move.old) in group_of:
            group_of[id(move.new)] = group_of[id(move.old)]
            _carry_state(optimizer, move)
    known = {id(p) for p in before}
    groups: list[list[nn.Parameter]] = [[] for _ in optimizer.param_groups]
    last = 0
    for param in model.parameters():
        is_new = id(param) not in known and id(param) not in by_new
        index = group_of.get(id(param), last if is_new and param.requires_grad else None)
        if index is not None:
            groups[index].append(param)
            last = index
    ours = {id(p) for p in before} | {id(p) for p in model.parameters()}
    for group, params in zip(optimizer.param_groups, groups, strict=True):
        # What is not the model's, such as a learned weight of the loss, stays.
        group["params"] = [*params, *(p for p in group["params"] if id(p) not in ours)]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for gone in [p for p in optimizer.state if id(p) not in held]:
        del optimizer.state[gone]
    complete(optimizer)


def admit(optimizer: optim.Optimizer, model: nn.Module, params: Sequence[nn.Parameter]) -> None:
    """Train these, too, from now on: they were frozen when the optimizer was made."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    fresh = {id(p) for p in params} - held
    if fresh:
        follow(optimizer, [p for p in model.parameters() if id(p) not in fresh], model, [])


def _carry_state(optimizer: optim.Optimizer, move: Moved) -> None:
    if move.old not in optimizer.state:
        return
    state: dict[str, Any] = optimizer.state.pop(move.old)
    carried: dict[str, Any] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.numel() == 1 != move.old.numel():
            carried[name] = value
        elif value.shape == move.old.shape and move.carry is not None:
            carried[name] = move.carry(value, torch.zeros_like(move.new, dtype=value.dtype, device=value.device))
        elif value.dim() == 0:
            carried[name] = value
        else:
            return  # a state of another shape, or of what has no place any more: it begins afresh
    optimizer.state[move.new] = carried


def complete(optimizer: optim.Optimizer) -> None:
    """Torch's fused SGD takes velocities for all of its parameters or for none, RMSprop for all that have a state."""
    if isinstance(optimizer, optim.RMSprop):
        for group in optimizer.param_groups:
            for param in group["params"] if group["momentum"] else ():
                if optimizer.state.get(param):
                    optimizer.state[param].setdefault("momentum_buffer", torch.zeros_like(param))
    if not isinstance(optimizer, optim.SGD):
        return
    for group in optimizer.param_groups:
        states = [optimizer.state[p] for p in group["params"] if p in optimizer.state]
        if group["momentum"] and any(state.get("momentum_buffer") is not None for state in states):
            for param in group["params"]:
                if optimizer.state[param].get("momentum_buffer") is None:
                    optimizer.state[param]["momentum_buffer"] = torch.zeros_like(param)


def forget(optimizer: optim.Optimizer, params: Sequence[nn.Parameter]) -> None:
    """Begin afresh for parameters whose values were drawn anew."""
    for param in params:
        optimizer.state.pop(param, None)
    complete(optimizer)
