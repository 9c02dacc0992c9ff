"""How many CPU threads a step is worth: a rule on its work, never on the clock: timing would decide the last bit."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convlab.models.borrow import borrowed

WORK_PER_THREAD: Final = 20_000_000
"""Multiply-adds of one batch's forward pass that make another thread pay, by `benchmarks/threads.py`.

On two calm cores a second thread gained nothing at 5 million and half as much again at some 40 million; on busy ones
it lost 3 to 25 times at any size.
"""


def _available() -> int:
    """Not torch's own number: a cell may have changed that, and the same seed must not feel it."""
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        return max(1, int(told))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


AVAILABLE: Final = _available()
"""Processors that this process may use."""

_lock = threading.Lock()
_outside: list[int] = []


def mult_adds(model: nn.Module, sample: torch.Tensor) -> int:
    """Multiply-adds of a forward pass on `sample`, shape (N, ...), by torch's own flop counter; 0 if it cannot run."""
    with borrowed(model), torch.no_grad():
        model.eval()
        with FlopCounterMode(display=False) as counter:
            try:
                model(sample)
            except Exception:  # user code: the run itself meets the error again and reports it
                return 0
    return int(counter.get_total_flops()) // 2


def num_threads(mult_adds_per_step: int, available: int = AVAILABLE) -> int:
    """Threads for a step of so many multiply-adds: one for small nets, one more for each `WORK_PER_THREAD`.

    Example:
        >>> num_threads(1_000_000, available=8), num_threads(45_000_000, available=8)
        (1, 3)
    """
    return max(1, min(available, 1 + mult_adds_per_step // WORK_PER_THREAD))


@contextmanager
def own_threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads in the calling thread; the process's number is back after the last run."""
    # A thread that computes for the first time takes the process's number, another run's perhaps: let it do so now.
    here = torch.get_num_threads()
    with _lock:
        _outside.append(_outside[0] if _outside else here)
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _lock:
            outside = _outside.pop()
            if not _outside:
                torch.set_num_threads(outside)
