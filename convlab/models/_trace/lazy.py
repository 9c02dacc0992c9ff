"""Lazy modules are traced through a stand-in, so that they stay lazy."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes

from convlab.models._trace.tracer import Tracer


def initialised(tracer: Tracer, module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> nn.Module:
    """Return the module, or for an uninitialised lazy one a copy without storage, initialised for these inputs."""
    if not isinstance(module, LazyModuleMixin) or not module.has_uninitialized_params():
        return module
    known = tracer.stand_ins.get(id(module))
    if known is None:
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            tensors = (*module.parameters(), *module.buffers())
            known = deepcopy(module, {id(tensor): tensor_without_storage(tensor) for tensor in tensors})
            known._infer_parameters(known, args, keywords)
        tracer.stand_ins[id(module)] = known
    return known


def tensor_without_storage(tensor: torch.Tensor) -> torch.Tensor:
    """Return a parameter's or buffer's twin on meta; one that is lazy stays lazy."""
    if is_lazy(tensor):
        lazy: Any = type(tensor)
        bare: torch.Tensor = lazy(tensor.requires_grad, device="meta", dtype=tensor.data.dtype)
        return bare
    bare = torch.empty_like(tensor, device="meta")
    return nn.Parameter(bare, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare
