"""Putting back what a forward changes beside its result: attributes, and random streams."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import nn

# The mode is never changed by a trace, but a training thread may change it meanwhile: it must not be put back.
_NOT_OURS = frozenset(("training",))
# A forward does not touch a module's hooks, and there are many of those dicts.
_MACHINERY = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}


@contextmanager
def given_back(model: nn.Module, *, torch_stream: bool = False) -> Iterator[None]:
    """Put back attributes of modules (a cache, a counter, a replaced buffer) and Python's and NumPy's random streams.

    Unlike `borrowed`, this neither copies nor writes any tensor: a thread may be training the very model. Parameters
    and buffers need no copy, as `OperatorMode` never writes to them; torch's stream is drawn from in a real forward
    at most.
    """
    held = [(module.__dict__, module.__dict__.copy()) for module in model.modules()]
    inner: list[tuple[Any, Any]] = [
        (box, box.copy())
        for attributes, _ in held
        for name in attributes.keys() - _MACHINERY
        if type(box := attributes[name]) in (list, dict, set)
    ]
    draws = torch_stream or _may_draw(model)
    with streams_given_back(torch_stream=torch_stream) if draws else nullcontext():
        try:
            yield
        finally:
            for box, kept in (*inner, *held):
                _put_back(box, kept)


@contextmanager
def streams_given_back(*, torch_stream: bool = False) -> Iterator[None]:
    """Put back Python's and NumPy's random streams, and torch's if asked for."""
    streams = _streams(torch_stream)
    try:
        yield
    finally:
        _put_streams_back(streams)


def _may_draw(model: nn.Module) -> bool:
    """Whether code runs in the forward that is not torch's own, which draws neither from Python nor from NumPy."""
    return any(
        not type(module).__module__.startswith("torch.nn.") or module._forward_hooks or module._forward_pre_hooks
        for module in model.modules()
    )


def _put_back(box: Any, kept: Any) -> None:
    """Undo changes one by one: no reader in another thread may find the container empty."""
    if isinstance(box, dict):
        if len(box) == len(kept) and all(map(is_, box, kept)) and all(map(is_, box.values(), kept.values())):
            return
        for name in [name for name in box if name not in kept]:
            del box[name]
        for name, value in kept.items():
            if box.get(name, box) is not value and name not in _NOT_OURS:
                box[name] = value
    elif isinstance(box, list):
        if len(box) != len(kept) or not all(map(is_, box, kept)):
            box[:] = kept
    elif box != kept:
        box &= kept
        box |= kept


def _streams(torch_stream: bool) -> tuple[Any, Any, torch.Tensor | None]:
    return random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state() if torch_stream else None


def _put_streams_back(streams: tuple[Any, Any, torch.Tensor | None]) -> None:
    python, numpy, torch_state = streams
    if random.getstate() != python:
        random.setstate(python)
    now: Any = np.random.get_state(legacy=False)["state"]
    if now["pos"] != numpy["state"]["pos"] or not np.array_equal(now["key"], numpy["state"]["key"]):
        np.random.set_state(numpy)
    if torch_state is not None and not torch.equal(torch.get_rng_state(), torch_state):
        torch.set_rng_state(torch_state)
