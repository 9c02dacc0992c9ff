"""One run of a model under watch: patched calls, three tiers, and everything given back afterwards."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import nn

from convlab.models._trace.errors import Leak, Misfit, NeedsValues, TraceError
from convlab.models._trace.inputs import Inputs, with_values, without_storage
from convlab.models._trace.modes import FunctionMode, OperatorMode
from convlab.models._trace.recorder import call_module
from convlab.models._trace.tracer import Tag, Tracer, put_tag

_lock = threading.Lock()
_active: dict[int, Tracer] = {}  # by thread: a training thread may run the same modules meanwhile
_original: Callable[..., Any] | None = None


def _watched_call(module: nn.Module, *args: Any, **keywords: Any) -> Any:
    tracer = _active.get(threading.get_ident())
    original = _original or nn.Module._call_impl
    if tracer is None:
        return original(module, *args, **keywords)
    return call_module(tracer, original, module, args, keywords)


@contextmanager
def _watching(tracer: Tracer) -> Iterator[None]:
    """See the calls of this thread's modules; the patch is process-wide, and lasts as long as any trace does."""
    global _original
    me = threading.get_ident()
    with _lock:
        outer = _active.get(me)
        if not _active:
            _original, nn.Module.__call__ = nn.Module.__call__, _watched_call
        _active[me] = tracer
    try:
        yield
    finally:
        with _lock:
            if outer is None:
                del _active[me]
            else:
                _active[me] = outer
            if not _active and _original is not None:
                nn.Module.__call__ = _original


@contextmanager
def _given_back(model: nn.Module) -> Iterator[None]:
    """Put back what a forward may have changed: attributes of modules, and Python's and NumPy's random streams.

    Parameters and buffers are never written to (`OperatorMode` sees to that), and torch's streams are never drawn from.
    """
    held = [(module, module.__dict__.copy()) for module in model.modules()]
    inner = [
        (box, box.copy())
        for module, attributes in held
        for name, box in attributes.items()
        if isinstance(box, (list, dict, set)) and (name in ("_buffers", "_modules", "_parameters") or name[:1] != "_" or box)
    ]
    stream, array_stream = random.getstate(), np.random.get_state()
    torch_stream = torch.random.get_rng_state()
    try:
        yield
    finally:
        for box, kept in inner:
            if not _unchanged(box, kept):
                box.clear()
                box.extend(kept) if isinstance(box, list) else box.update(kept)
        for module, kept in held:
            if not _unchanged(module.__dict__, kept):
                module.__dict__.clear()
                module.__dict__.update(kept)
        if random.getstate() != stream:
            random.setstate(stream)
        if not np.array_equal(np.random.get_state()[1], array_stream[1]) or np.random.get_state()[2] != array_stream[2]:
            np.random.set_state(array_stream)
        if not torch.equal(torch.random.get_rng_state(), torch_stream):
            torch.random.set_rng_state(torch_stream)


def _unchanged(box: Any, kept: Any) -> bool:
    if len(box) != len(kept):
        return False
    if isinstance(box, dict):
        return all(map(is_, box, kept)) and all(map(is_, box.values(), kept.values()))
    return isinstance(box, set) and box == kept or all(map(is_, box, kept))


def run(model: nn.Module, inputs: Inputs) -> tuple[Tracer, Any, TraceError | None]:
    """Run the model under watch: functions first, operators throughout if something leaked, for real if values are asked."""
    with _given_back(model):
        try:
            return _attempt(model, inputs, is_real=False, watch_all=False)
        except Leak:
            pass
        except NeedsValues:
            return _run_for_real(model, inputs)
        try:
            return _attempt(model, inputs, is_real=False, watch_all=True)
        except NeedsValues:
            return _run_for_real(model, inputs)


def _run_for_real(model: nn.Module, inputs: Inputs) -> tuple[Tracer, Any, TraceError | None]:
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        tracer = Tracer(model, is_real=True, watch_all=True)
        sentence = "the forward asks for the value of an activation, but the model is on meta; model.to_empty(device='cpu') would work"
        return tracer, None, TraceError("", sentence)
    return _attempt(model, inputs, is_real=True, watch_all=True, device=device)


def _attempt(
    model: nn.Module, inputs: Inputs, *, is_real: bool, watch_all: bool, device: torch.device | None = None
) -> tuple[Tracer, Any, TraceError | None]:
    tracer = Tracer(model, is_real=is_real, watch_all=watch_all)
    fed = with_values(inputs, device or torch.device("cpu")) if is_real else without_storage(inputs)
    tracer.input_states = fed.states()
    for tensor, state in zip(fed.named.values(), tracer.input_states, strict=True):
        put_tag(tensor, Tag(state))
    operators = OperatorMode(tracer)
    functions = FunctionMode(tracer, operators)
    output, error = None, None
    try:
        with _watching(tracer), torch.inference_mode():
            if watch_all:
                with operators, functions:
                    output = model(*fed.args, **fed.keywords)
            else:
                with functions:
                    output = model(*fed.args, **fed.keywords)
    except (Leak, NeedsValues):
        raise
    except Exception as failure:
        if not is_real and _smells_of_meta(failure):
            raise NeedsValues(str(failure)) from failure
        error = _told(tracer, failure)
    return tracer, output, error


def _smells_of_meta(failure: Exception) -> bool:
    text = str(failure)
    return not isinstance(failure, Misfit) and ("meta" in text or "inference tensor" in text.lower())


def _told(tracer: Tracer, failure: Exception) -> TraceError:
    path, kind = tracer.failed or ("", "")
    if isinstance(failure, Misfit):
        is_function = path.rpartition(".")[2] == kind or path not in tracer.names.values()
        of = f"{path}: " if is_function else f"{path}."
        repair = failure.repair.replace("{of}", of)
        return TraceError(path, repair, expected=failure.expected, got=failure.got, kind=kind)
    told = TraceError(path, f"{type(failure).__name__}: {failure}", kind=kind)
    told.__cause__ = failure
    return told
