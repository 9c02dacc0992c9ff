"""The network that a training began with, kept for a script that is asked for when edits have changed it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlab.models.borrow import Snapshot, private_copy
from convlab.models.streams import own_stream

_BatchNorm = nn.modules.batchnorm._BatchNorm
_Dropout = nn.modules.dropout._DropoutNd


@dataclass(frozen=True)
class Start:
    """A network as it once was.

    Attributes:
        model: its layers, their settings, modes and `requires_grad`; its weights have no values.
        values: of its parameters and buffers, in their order.
    """

    model: nn.Module
    values: tuple[Tensor, ...]

    @classmethod
    def of(
        cls, model: nn.Module, saved: Snapshot | None = None, dropouts: Mapping[_Dropout, float] | None = None
    ) -> "Start":
        """The network as it is, with the values of a snapshot, and the p that is each dropout layer's own."""
        tensors = (*model.parameters(), *model.buffers())
        values = [was for _, was in saved.tensors] if saved is not None else [t.detach() for t in tensors]
        try:
            bare = without_values(model)
        except Exception:  # whatever a person's own class says to being copied
            return cls(model, tuple(values))
        for live, one in zip(model.modules(), bare.modules(), strict=True):
            if isinstance(live, _Dropout) and isinstance(one, _Dropout):
                one.p = (dropouts or {}).get(live, live.p)
        return cls(bare, tuple(values))

    def with_values(self) -> nn.Module:
        """A network to be changed at will."""
        memo: dict[int, object] = {}
        tensors = (*self.model.parameters(), *self.model.buffers())
        for tensor, was in zip(tensors, self.values, strict=True):
            value = was.clone()
            memo[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
        return copy.deepcopy(self.model, memo)

    @property
    def frozen(self) -> list[str]:
        """Parameters that do not train."""
        return [name for name, param in self.model.named_parameters() if not param.requires_grad]

    def named(self) -> dict[str, Tensor]:
        """What `torch.save` would be given: the values by their names in the ``state_dict``."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        value_of = {id(tensor): was for tensor, was in zip(tensors, self.values, strict=True)}
        state = self.model.state_dict(keep_vars=True)
        return {name: value_of.get(id(tensor), tensor) for name, tensor in state.items()}

    def in_eval(self) -> list[str]:
        """Layers in eval mode while the rest trains: those that the user set so, or frozen BatchNorm."""
        named = [(name, module) for name, module in self.model.named_modules() if name]
        if self.model.training:
            return [name for name, module in named if not module.training]
        found = []
        for name, module in named:
            weights = list(module.parameters(recurse=False))
            if isinstance(module, _BatchNorm) and weights and not any(w.requires_grad for w in weights):
                found.append(name)
        return found


def without_values(model: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers lie on meta, where they take no memory."""
    memo: dict[int, object] = {}
    for buffer in model.buffers():
        memo[id(buffer)] = buffer if is_lazy(buffer) else torch.empty_like(buffer, device="meta")
    for param in model.parameters():
        bare = param if is_lazy(param) else nn.Parameter(torch.empty_like(param, device="meta"), param.requires_grad)
        memo[id(param)] = bare
    return copy.deepcopy(model, memo)


def refuses_one(model: nn.Module, input_size: tuple[int, ...]) -> bool:
    """Whether a network has BatchNorm that cannot train on a batch of one sample; nothing is changed by it."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return False
    try:
        tried = private_copy(model)
    except Exception:  # as in `Start.of`
        return False
    stay = Start(tried, ()).in_eval()
    tried.train()
    for name in stay:
        tried.get_submodule(name).eval()
    try:
        return _refuses(tried, input_size)
    except Exception:  # it asks for values, which meta has not
        return next(tried.parameters()).device.type != "meta" or _asked_again(tried, input_size)


def _refuses(model: nn.Module, input_size: tuple[int, ...]) -> bool:
    device = next(model.parameters()).device
    with own_stream(), torch.no_grad():
        try:
            model(torch.zeros(1, *input_size, device=device))
        except ValueError:  # what BatchNorm raises
            return True
    return False


def _asked_again(model: nn.Module, input_size: tuple[int, ...]) -> bool:
    """The same with values, which decide nothing but have to be there."""
    made = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            tensor.zero_()
    try:
        return _refuses(made, input_size)
    except Exception:
        return True
