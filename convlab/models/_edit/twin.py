"""A model's twin without values: to be changed and run on labels while the live one stays as it is."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlab.models._edit.flow import Flow, Following, begin, end
from convlab.models._edit.flow_layers import call_layer
from convlab.models._edit.kinds import kind_of
from convlab.models._edit.labels import Labels
from convlab.models._trace.give_back import streams_given_back
from convlab.models._trace.inputs import Inputs
from convlab.models._trace.lazy import tensor_without_storage
from convlab.models._trace.recorder import is_leaf
from convlab.models._trace.tracer import tensors_of


class Twin:
    """A copy of a model on meta, which knows for each of its modules the live one that it stands for."""

    def __init__(self, model: nn.Module) -> None:
        memo: dict[int, Any] = {}
        for tensor in model.parameters():
            memo[id(tensor)] = tensor_without_storage(tensor)
        memo |= {id(buffer): tensor_without_storage(buffer) for buffer in model.buffers() if is_lazy(buffer)}
        for module in model.modules():
            for value in vars(module).values():
                if isinstance(value, Tensor) and not value.is_leaf:  # a weight that pruning made; it cannot be copied
                    memo[id(value)] = tensor_without_storage(value)
        self.live = model
        live = list(model.modules())
        for module in live:
            if (known := _copied(module, memo)) is not None:
                memo[id(module)] = known
        self.model: nn.Module = copy.deepcopy(model, memo)
        self.stands_for: dict[int, nn.Module] = {id(memo[id(module)]): module for module in live}
        self.instead_of: dict[int, nn.Module] = {}
        """New modules by id, and the live ones whose places and weights they take."""
        self._of: dict[int, nn.Module] = {id(module): memo[id(module)] for module in live}

    def of(self, live: nn.Module) -> nn.Module:
        """The twin of a live module."""
        return self._of[id(live)]

    def token(self, module: nn.Module) -> int:
        """What a twin's labels are known by: the live module's id, its own where it is new."""
        return id(self.stands_for.get(id(module)) or self.instead_of.get(id(module), module))

    def run(self, inputs: Inputs, labels: Labels, *, known: Flow | None = None, is_trial: bool = False) -> Flow:
        """A forward on labels; layers with weights make themselves fit what they are given.

        Args:
            inputs: what the forward takes.
            labels: the names of all channels.
            known: the run through the model as it is, if this is another: what is as it was there is not done again,
                and what holds channels together is not looked at.
            is_trial: whether to find out if the layers themselves would run.

        Raises:
            Refusal: a layer cannot.
            Exception: what the forward raised.
        """
        flow = Flow(labels, known is None, known=known.calls if known is not None else {}, is_trial=is_trial)
        with streams_given_back(torch_stream=True), _watched(self, flow), torch.no_grad():
            fed = begin(flow, inputs)
            with Following(flow):
                output = self.model(*fed.args, **fed.keywords)
            end(flow, tensors_of(output))
        return flow


_PLAIN: Final = frozenset((int, float, bool, str, type(None)))
_HELD: Final = frozenset((dict, OrderedDict, set, list))


def _copied(module: nn.Module, memo: dict[int, Any]) -> nn.Module | None:
    """A copy of a layer of torch's own, sooner than by `copy.deepcopy`; None where it holds more than such a layer."""
    if kind_of(module) is None:
        return None
    state = {}
    for name, value in vars(module).items():
        if type(value) in _PLAIN or (type(value) is tuple and all(type(one) in _PLAIN for one in value)):
            state[name] = value
        elif name in ("_parameters", "_buffers"):
            state[name] = type(value)((key, _tensor(tensor, memo)) for key, tensor in value.items())
        elif type(value) in _HELD and all(type(one) in _PLAIN for one in value) and not isinstance(value, dict):
            state[name] = type(value)(value)
        elif type(value) in _HELD and not value:
            state[name] = type(value)()
        else:
            return None
    made = type(module).__new__(type(module))
    made.__dict__.update(state)
    return made


def _tensor(tensor: Tensor | None, memo: dict[int, Any]) -> Tensor | None:
    if tensor is None:
        return None
    if id(tensor) not in memo:
        memo[id(tensor)] = tensor_without_storage(tensor)
    known: Tensor = memo[id(tensor)]
    return known


@contextmanager
def _watched(twin: Twin, flow: Flow) -> Iterator[None]:
    """Put a forward on each module of the twin that tells the flow where it is, and labels what layers put out."""
    held = [(module, module.__dict__.get("forward")) for module in twin.model.modules()]
    for path, module in list(twin.model.named_modules()):
        module.__dict__["forward"] = _watching(twin, flow, path, module)
    try:
        yield
    finally:
        for module, forward in held:
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward


def _watching(twin: Twin, flow: Flow, path: str, module: nn.Module) -> Any:
    native = module.forward
    leaf, token = is_leaf(module), twin.token(module)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if flow.running:
            return native(*args, **kwargs)
        flow.where.append(path)
        try:
            if leaf:
                return call_layer(flow, module, token, native, args, kwargs)
            return native(*args, **kwargs)
        except Exception:
            flow.failed = path if flow.failed is None else flow.failed
            raise
        finally:
            flow.where.pop()

    return forward
