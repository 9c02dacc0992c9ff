"""Borrow a live model, then give it back bit for bit, also when the borrower raises."""

import copy
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn.parameter import is_lazy

from convlab.models.streams import stream_given_back


@dataclass
class Snapshot:
    """A model's weights, buffers, modes, `requires_grad` and gradients, in memory."""

    tensors: list[tuple[Tensor, Tensor]]
    buffers: list[tuple[nn.Module, str, Tensor | None]]
    modes: list[tuple[nn.Module, bool]]
    grads: list[tuple[Tensor, bool, Tensor | None]]

    @property
    def num_bytes(self) -> int:
        """Memory that the copies take, in bytes."""
        return sum(was.numel() * was.element_size() for _, was in self.tensors)


def snapshot(model: nn.Module) -> Snapshot:
    """Copy what `restore` needs to put `model` back as it is now. Lazy parameters without data stay out."""
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if not is_lazy(tensor)]
    return Snapshot(
        tensors=[(tensor, tensor.detach().clone()) for tensor in tensors],
        # By name as well: a forward may put another tensor in a buffer's place.
        buffers=[(m, name, buffer) for m in model.modules() for name, buffer in m._buffers.items()],
        modes=[(module, module.training) for module in model.modules()],
        grads=[(p, p.requires_grad, p.grad) for p in model.parameters() if not is_lazy(p)],
    )


@torch.no_grad()
def restore(saved: Snapshot, *, modes: bool = True) -> None:
    """Write a snapshot back into the very tensors it was taken from; gradients and modes too unless told otherwise."""
    for module, name, buffer in saved.buffers:
        module._buffers[name] = buffer
    for tensor, was in saved.tensors:
        tensor.detach().copy_(was)
    if modes:
        # Per module: `model.train(mode)` recurses and would flip a frozen BatchNorm.
        for module, training in saved.modes:
            module.training = training
        for param, requires_grad, grad in saved.grads:
            param.requires_grad_(requires_grad)
            param.grad = grad


hooking: Final = threading.RLock()
"""Held while hooks are put on a model or taken off, and while one is copied: a copy must not come upon half of them."""


def private_copy(model: nn.Module, *, trainable: bool = False) -> nn.Module:
    """A copy with weights of its own, to be looked into while a run goes on training `model`.

    It needs no gradients, unless it is to be `trainable` where the model is.
    """
    memo: dict[int, object] = {id(buffer): buffer.detach().clone() for buffer in model.buffers()}
    for param in model.parameters():
        memo[id(param)] = nn.Parameter(param.detach().clone(), requires_grad=trainable and param.requires_grad)
    with hooking:
        return copy.deepcopy(model, memo)


@contextmanager
def borrowed(model: nn.Module, optimizer: optim.Optimizer | None = None) -> Iterator[None]:
    """Inside, do as you like with `model`; after, it is as it was.

    Given back bit for bit, also after an exception: weights, buffers, per-module train/eval mode, `requires_grad`,
    gradients, the optimizer's state, and the random numbers of torch, numpy and Python.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with borrowed(model):
        ...     _ = model(torch.ones(4, 2))
        >>> int(model.num_batches_tracked)
        0
    """
    saved = snapshot(model)
    kept = [(grad, grad.clone()) for _, _, grad in saved.grads if grad is not None]
    state = copy.deepcopy(optimizer.state_dict()) if optimizer is not None else None
    host = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with stream_given_back(devices):
        try:
            yield
        finally:
            restore(saved)
            with torch.no_grad():
                for grad, was in kept:
                    grad.copy_(was)
            if optimizer is not None and state is not None:
                optimizer.load_state_dict(state)
            random.setstate(host[0])
            np.random.set_state(host[1])


def has_own_code(module: nn.Module) -> bool:
    """Whether calling `module` runs code that is not torch's: another class, a hook, a forward of its own."""
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(hooked) or "forward" in vars(module) or not type(module).__module__.startswith("torch.nn.modules.")
