"""What holds for every test."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

# Where a shell began the tests in the background they would ignore Ctrl-C, and what they begin would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# If it can, jsonschema, which nbformat needs, compiles a grammar of international addresses for each worker.
sys.modules.setdefault("rfc3987_syntax", None)

# Workers share the processors, with what they begin, too: of two threads that wait for each other one waits for another
# worker's. Torch is imported by nearly every file of a worker's share anyway.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Iterator[None]:
    """End what a test left paused: it would hold the process's number of threads."""
    yield
    if "convlab.training.active" in sys.modules:
        from convlab.training import active

        for run in list(active._active):
            run.stop(wait=False)
