"""Which runs are training now, and which models are on loan: one trainer at a time on any set of weights."""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from convlab.training.run import Run

_lock = threading.Lock()
_active: "dict[Run, frozenset[int]]" = {}
_lent: list[frozenset[int]] = []


def _weights(model: nn.Module) -> frozenset[int]:
    return frozenset(id(param) for param in model.parameters())


def claim(run: "Run", model: nn.Module) -> None:
    """Take `model`'s weights for `run`.

    Raises:
        RuntimeError: another run is training some of them: two trainers on one model break autograd.
    """
    weights = _weights(model)
    with _lock:
        _refuse_lent(model, weights)
        for other, taken in _active.items():
            if taken & weights:
                raise RuntimeError(busy(model, other))
        _active[run] = weights


def claim_again(run: "Run", model: nn.Module) -> None:
    """The model of `run` has other weights now, after an edit."""
    with _lock:
        if run in _active:
            _active[run] = _weights(model)


def busy(model: nn.Module, other: "Run") -> str:
    """The sentence that refuses a second run."""
    return (
        f"{type(model).__name__} is already being trained by another run, which is {other.state}; "
        "stop that one first: run.stop()."
    )


@contextmanager
def on_loan(model: nn.Module) -> Iterator[None]:
    """Inside, nobody but the caller trains `model`: runs on it must be paused, and cannot be resumed or begun.

    Raises:
        RuntimeError: a run is training it, or it is on loan already.
    """
    weights = _weights(model)
    with _lock:
        _refuse_lent(model, weights)
        for run, taken in _active.items():
            if taken & weights and not run.standing:
                raise RuntimeError(busy(model, run))
        _lent.append(weights)
    try:
        yield
    finally:
        with _lock:
            _lent.remove(weights)


def refuse_lent(model: nn.Module) -> None:
    """Raise a RuntimeError where `model` is on loan."""
    with _lock:
        _refuse_lent(model, _weights(model))


def _refuse_lent(model: nn.Module, weights: frozenset[int]) -> None:
    if any(weights & lent for lent in _lent):
        raise RuntimeError(
            f"{type(model).__name__} is on loan to a learning-rate test or an edit, which will give it back; "
            "stop that one first, or wait for its end."
        )


@atexit.register
def _stop_all() -> None:
    """Let every run reach a step boundary: torch aborts the process that exits under a thread in one of its kernels."""
    with _lock:
        runs = list(_active)
    for run in runs:
        run.stop(wait=False)
    for run in runs:
        run.wait(10)


def release(run: "Run") -> None:
    """Give the weights back."""
    with _lock:
        _active.pop(run, None)


def active_runs(model: nn.Module) -> "list[Run]":
    """The runs that are training some of `model`'s weights right now."""
    weights = {id(param) for param in model.parameters()}
    with _lock:
        return [run for run, taken in _active.items() if taken & weights]
