"""Lazy modules are traced through a stand-in, so that they stay lazy."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from convlab.models._trace.tracer import Tracer


def initialised(tracer: Tracer, module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> nn.Module:
    """Return the module, or for an uninitialised lazy one a copy without storage, initialised for these inputs."""
    if not isinstance(module, LazyModuleMixin) or not module.has_uninitialized_params():
        return module
    known = tracer.stand_ins.get(id(module))
    if known is None:
        with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
            known = deepcopy(module).to("meta")
            known._infer_parameters(known, args, keywords)
        tracer.stand_ins[id(module)] = known
    return known
