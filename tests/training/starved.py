"""A training in too little memory, really refused by the system: ``python starved.py``."""

import resource
from pathlib import Path

import torch
from torch import nn

from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.memory import is_out_of_memory, smaller_parts
from convlab.training.run import Run

torch.set_num_threads(1)
torch.manual_seed(0)
X, y = torch.randn(512, 1, 32, 32), torch.arange(512) % 10
DATA = ((X, y), (X[:10], y[:10]))
SPEC = TrainSpec(epochs=1, batch_size=512, threads=1)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 256, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)
    )


fit(net(), ((X[:64], y[:64] % 2), (X[:2], torch.tensor([0, 1]))), SPEC)  # what torch loads when it first trains
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
# The first layer alone makes 512 MiB of the whole batch.
resource.setrlimit(resource.RLIMIT_AS, (now + 400 * 2**20,) * 2)
run = Run(net(), DATA, SPEC).start().wait()
assert run.state == "failed", run.state
assert is_out_of_memory(run.error), repr(run.error)
tried = []
while run.state == "failed":
    tried.append(smaller_parts(run))
    run = run.fork(micro_batch_size=tried[-1]).start().wait()
print(run.state, run.history.num_steps, tried[0], tried[-1] < 256)
