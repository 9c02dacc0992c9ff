"""A model's twin without values: to be changed and run on labels while the live one stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlab.models._edit.flow import Flow, Following, begin, end
from convlab.models._edit.flow_layers import call_layer
from convlab.models._edit.labels import Labels
from convlab.models._trace.give_back import streams_given_back
from convlab.models._trace.inputs import Inputs
from convlab.models._trace.recorder import is_leaf
from convlab.models._trace.tracer import tensors_of


class Twin:
    """A copy of a model on meta, which knows for each of its modules the live one that it stands for."""

    def __init__(self, model: nn.Module) -> None:
        memo: dict[int, Any] = {}
        for tensor in model.parameters():
            memo[id(tensor)] = tensor if is_lazy(tensor) else _weightless(tensor)
        self.live = model
        live = list(model.modules())
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

    def run(self, inputs: Inputs, labels: Labels, *, is_binding: bool = True) -> Flow:
        """A forward on labels; layers with weights make themselves fit what they are given.

        Raises:
            Refusal: a layer cannot.
            Exception: what the forward raised.
        """
        flow = Flow(labels, is_binding)
        with streams_given_back(torch_stream=True), _watched(self, flow), torch.no_grad():
            fed = begin(flow, inputs)
            with Following(flow):
                output = self.model(*fed.args, **fed.keywords)
            end(flow, tensors_of(output))
        return flow


def _weightless(tensor: Tensor) -> Tensor:
    bare = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
    return nn.Parameter(bare, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare


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
