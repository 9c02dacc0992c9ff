"""One run of a model under watch: patched calls, three tiers, and everything given back afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from convlab.models._trace.errors import Leak, Misfit, NeedsValues, NoBatch, TraceError
from convlab.models._trace.give_back import given_back
from convlab.models._trace.inputs import Inputs, with_values, without_storage
from convlab.models._trace.modes import FunctionMode, OperatorMode
from convlab.models._trace.recorder import call_module
from convlab.models._trace.tracer import Tag, Tracer, put_tag

_lock = threading.Lock()
_active: dict[int, Tracer] = {}  # by thread: a training thread may run the same modules meanwhile
_original: dict[str, Callable[..., Any]] = {}  # what `nn.Module` had; kept, as a call may outlast the patch
_patched: set[str] = set()


def _watched_call_impl(module: nn.Module, *args: Any, **keywords: Any) -> Any:
    tracer = _active.get(threading.get_ident())
    if tracer is None:
        return _original["_call_impl"](module, *args, **keywords)
    return call_module(tracer, _original["_call_impl"], module, args, keywords)


def _uncompiled_call(module: nn.Module, *args: Any, **keywords: Any) -> Any:
    if threading.get_ident() in _active:  # what module.compile() made would be compiled for tensors without storage
        return module._call_impl(*args, **keywords)
    return _original["__call__"](module, *args, **keywords)


def _patch(name: str, replacement: Callable[..., Any]) -> None:
    if name not in _patched:
        _original[name] = getattr(nn.Module, name)
        _patched.add(name)
        setattr(nn.Module, name, replacement)


@contextmanager
def _watching(tracer: Tracer) -> Iterator[None]:
    """See the calls of this thread's modules.

    The patch is process-wide and lasts as long as any trace does. It replaces ``_call_impl`` and not ``__call__``, as
    changing a slot makes Python update every subclass, which takes longer than a small model's trace.
    """
    me = threading.get_ident()
    with _lock:
        outer = _active.get(me)
        _patch("_call_impl", _watched_call_impl)
        if tracer.has_compiled:
            _patch("__call__", _uncompiled_call)
        _active[me] = tracer
    try:
        yield
    finally:
        with _lock:
            if outer is None:
                del _active[me]
            else:
                _active[me] = outer
            if not _active:
                while _patched:
                    name = _patched.pop()
                    setattr(nn.Module, name, _original[name])


def run(model: nn.Module, inputs: Inputs) -> tuple[Tracer, TraceError | None]:
    """Run the model under watch: functions first, all operators if something leaked, for real if values are asked."""
    with given_back(model):
        watch_all = is_real = False
        while True:
            try:
                if is_real:
                    return _run_for_real(model, inputs)
                return _attempt(model, inputs, is_real=False, watch_all=watch_all)
            except NoBatch:
                inputs.has_batch = False
            except Leak:
                watch_all = True
            except NeedsValues:
                is_real = True


def _run_for_real(model: nn.Module, inputs: Inputs) -> tuple[Tracer, TraceError | None]:
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        sentence = (
            "the forward asks for the value of an activation, which a model on meta cannot tell; "
            "model.to_empty(device='cpu') would work"
        )
        return Tracer(model, is_real=True, watch_all=True), TraceError("", sentence)
    with given_back(model, torch_stream=True):
        return _attempt(model, inputs, is_real=True, watch_all=True, device=device)


def _attempt(
    model: nn.Module, inputs: Inputs, *, is_real: bool, watch_all: bool, device: torch.device | None = None
) -> tuple[Tracer, TraceError | None]:
    tracer = Tracer(model, is_real=is_real, watch_all=watch_all)
    fed = with_values(inputs, device or torch.device("cpu")) if is_real else without_storage(inputs)
    tracer.input_states, tracer.has_batch = fed.states(), fed.has_batch
    tracer.input_ndims = tuple(tensor.dim() for tensor in fed.named.values())
    for tensor, state in zip(fed.named.values(), tracer.input_states, strict=True):
        put_tag(tensor, Tag(state))
    try:
        _forward(model, fed, tracer)
    except (Leak, NeedsValues, NoBatch):
        raise
    except Exception as failure:
        if not is_real and _smells_of_meta(failure):
            raise NeedsValues(str(failure)) from failure
        return tracer, _told(tracer, failure, inputs)
    if not inputs.has_batch:
        tracer.note(_without_batch(inputs))
    return tracer, None


def _forward(model: nn.Module, fed: Inputs, tracer: Tracer) -> None:
    operators = OperatorMode(tracer)
    functions = FunctionMode(tracer, operators)
    try:
        with _watching(tracer), torch.inference_mode(), operators if tracer.watch_all else nullcontext(), functions:
            model(*fed.args, **fed.keywords)
    finally:
        tracer.operators = None  # the mode holds the tracer: without the cycle both are freed at once


def _smells_of_meta(failure: Exception) -> bool:
    text = str(failure)
    return not isinstance(failure, Misfit) and ("meta" in text or "inference tensor" in text.lower())


def _without_batch(inputs: Inputs) -> str:
    size = next(tuple(tensor.shape) for tensor in inputs.named.values())
    return f"the input has no batch dimension; input_size={(1, *size)} would add one"


def _told(tracer: Tracer, failure: Exception, inputs: Inputs) -> TraceError:
    path, kind, of = tracer.failed or ("", "", "")
    hint = "" if inputs.has_batch else f"; {_without_batch(inputs)}"
    if isinstance(failure, Misfit):
        repair = failure.repair.replace("{of}", of) + hint
        return TraceError(path, repair, expected=failure.expected, got=failure.got, kind=kind)
    first_line = str(failure).strip().partition("\n")[0]
    told = TraceError(path, f"{type(failure).__name__}: {first_line}{hint}", kind=kind)
    told.__cause__ = failure
    return told
