"""A model's whole state, structure and weights, to be put back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from convlab.models.borrow import Snapshot, restore, snapshot

_MACHINERY = frozenset(vars(nn.Module()))


@dataclass
class State:
    """Everything of a model that an edit may change, and of an optimizer that follows it."""

    modules: list[tuple[nn.Module, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]]
    weights: Snapshot
    optimizer: tuple[optim.Optimizer, list[list[Any]], dict[Any, dict[str, Any]]] | None

    @property
    def num_bytes(self) -> int:
        """Memory that it takes, in bytes."""
        kept = self.weights.num_bytes
        if self.optimizer is not None:
            tensors = (v for state in self.optimizer[2].values() for v in state.values() if isinstance(v, Tensor))
            kept += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return kept


def capture(model: nn.Module, optimizer: optim.Optimizer | None = None) -> State:
    """Keep a model as it is now: the very modules and parameters, and a copy of every value."""
    modules = [
        (
            module,
            {name: value for name, value in vars(module).items() if name not in _MACHINERY},
            dict(module._parameters),
            dict(module._buffers),
            dict(module._modules),
        )
        for module in model.modules()
    ]
    kept = None
    if optimizer is not None:
        state = {param: copied(values) for param, values in optimizer.state.items()}
        kept = optimizer, [list(group["params"]) for group in optimizer.param_groups], state
    return State(modules, snapshot(model), kept)


def put_back(model: nn.Module, state: State) -> None:
    """Make the model what it was; modes stay, but where a layer was frozen or thawed since."""
    frozen = {module: _is_frozen(module) for module, *_ in state.modules}
    modes = dict(state.weights.modes)
    present = {id(module) for module in model.modules()}
    for module, attributes, parameters, buffers, children in state.modules:
        own = vars(module)
        for name in [name for name in own if name not in _MACHINERY and name not in attributes]:
            del own[name]
        own.update(attributes)
        for held, kept in ((module._parameters, parameters), (module._buffers, buffers), (module._modules, children)):
            held.clear()
            held.update(kept)
    restore(state.weights, modes=False)
    with torch.no_grad():
        for param, requires_grad, grad in state.weights.grads:
            param.requires_grad_(requires_grad)
            param.grad = None if grad is None or grad.shape != param.shape else grad
    for module, was in frozen.items():
        if was != _is_frozen(module):
            module.training = modes[module]
        elif id(module) not in present:  # the model may have changed its mode while this one was out of it
            module.training = model.training if modes[module] == modes[model] else modes[module]
    if state.optimizer is not None:
        optimizer, groups, states = state.optimizer
        for group, params in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = list(params)
        optimizer.state.clear()
        for param, values in states.items():
            optimizer.state[param] = copied(values)


def copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimizer keeps for a parameter, its tensors copied."""
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in values.items()}


def _is_frozen(module: nn.Module) -> bool:
    weights = [p for p in module._parameters.values() if p is not None]
    return bool(weights) and not any(p.requires_grad for p in weights)
