"""Which runs are training now: one at a time on any set of weights."""

import atexit
import threading
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from convlab.training.run import Run

_lock = threading.Lock()
_active: "dict[Run, frozenset[int]]" = {}


def claim(run: "Run", model: nn.Module) -> None:
    """Take `model`'s weights for `run`.

    Raises:
        RuntimeError: another run is training some of them: two trainers on one model break autograd.
    """
    weights = frozenset(id(param) for param in model.parameters())
    with _lock:
        for other, taken in _active.items():
            if taken & weights:
                raise RuntimeError(busy(model, other))
        _active[run] = weights


def busy(model: nn.Module, other: "Run") -> str:
    """The sentence that refuses a second run."""
    return (
        f"{type(model).__name__} is already being trained by another run, which is {other.state}; "
        "stop that one first: run.stop()."
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
