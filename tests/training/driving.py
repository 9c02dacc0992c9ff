"""Watching a live run from a test."""

import os
import time
from pathlib import Path

import torch
from waiting import until

from convlab.spec import TrainSpec
from convlab.training.run import Run

HERE = Path(__file__).parent
# Of a process that imports what these tests do.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, *HERE.parents[:2])))}
LONG = TrainSpec(epochs=100_000, batch_size=20)


def stands_still(run: Run) -> int:
    """Assert that nothing moves for a while; the steps done."""
    steps, weights = run.history.num_steps, [p.detach().clone() for p in run.model.parameters()]
    time.sleep(0.15)
    assert run.history.num_steps == steps
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), weights, strict=True))
    return steps


def goes_on(run: Run) -> None:
    """Wait for some more steps."""
    steps = run.history.num_steps
    until(lambda: run.history.num_steps > steps + 2)
