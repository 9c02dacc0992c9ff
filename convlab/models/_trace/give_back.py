"""Putting back what a forward changes beside its result: attributes, and random streams."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import nn

from convlab.models.borrow import has_own_code
from convlab.models.streams import drawing

# The mode is never changed by a trace, but a training thread may change it meanwhile: it must not be put back.
_NOT_OURS = frozenset(("training",))
# A forward does not touch a module's hooks, and there are many of those dicts.
_NAMED = frozenset(("_parameters", "_buffers", "_modules"))
_MACHINERY = frozenset(vars(nn.Module())) - _NAMED


@contextmanager
def given_back(model: nn.Module, *, torch_stream: bool = False) -> Iterator[None]:
    """Put back attributes of modules (a cache, a counter, a replaced buffer) and Python's and NumPy's random streams.

    Unlike `borrowed`, this neither copies nor writes any tensor: a thread may be training the very model, or a cell
    setting an attribute of it, which stays set. Parameters and buffers need no copy, as `OperatorMode` never writes to
    them; torch's stream is drawn from in a real forward at most.
    """
    if not any(map(has_own_code, model.modules())):  # torch's own sets no attribute and draws from torch alone
        with streams_given_back(torch_stream=True) if torch_stream else nullcontext():
            yield
        return
    held = [(module, module.__dict__.copy()) for module in model.modules()]
    boxes: list[tuple[nn.Module | None, Any, Any]] = [
        (module if name in _NAMED else None, box, box.copy())
        for module, attributes in held
        for name in attributes.keys() - _MACHINERY
        if type(box := attributes[name]) in (list, dict, set)
    ]
    boxes += [(module, module.__dict__, attributes) for module, attributes in held]
    with streams_given_back(torch_stream=torch_stream), _noting_others() as others:
        try:
            yield
        finally:
            for module, box, kept in boxes:
                _put_back(box, _with_others(kept, box, others.get(id(module), {})))


@contextmanager
def streams_given_back(*, torch_stream: bool = False) -> Iterator[None]:
    """Put back Python's and NumPy's random streams, and torch's if asked for."""
    with drawing if torch_stream else nullcontext():
        streams = _streams(torch_stream)
        try:
            yield
        finally:
            _put_streams_back(streams)


# -- what other threads set meanwhile ---------------------------------------------------------------------------------

_lock = threading.Lock()
_set_plainly = nn.Module.__setattr__
_noting: list[tuple[int, dict[int, dict[str, Any]]]] = []


def _set_and_noted(module: nn.Module, name: str, value: Any) -> None:
    here = threading.get_ident()
    for thread, others in tuple(_noting):
        if thread != here:
            others.setdefault(id(module), {})[name] = value
    _set_plainly(module, name, value)


@contextmanager
def _noting_others() -> Iterator[dict[int, dict[str, Any]]]:
    """What other threads set in modules, by the module's id: a counter of a training, a switch set in a cell."""
    others: dict[int, dict[str, Any]] = {}
    mine = threading.get_ident(), others
    with _lock:
        _noting.append(mine)
        type.__setattr__(nn.Module, "__setattr__", _set_and_noted)
    try:
        yield others
    finally:
        with _lock:
            _noting[:] = [one for one in _noting if one is not mine]
            if not _noting:
                type.__setattr__(nn.Module, "__setattr__", _set_plainly)


def _with_others(kept: Any, box: Any, others: dict[str, Any]) -> Any:
    if not others:
        return kept
    return kept | {name: others[name] for name in others.keys() & box.keys()}


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
