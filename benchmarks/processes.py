"""What several processes gain, and what they take to begin.

``python benchmarks/processes.py [--processes 2] [--width 32] [--batch-size 64] [--steps 60]``

Trains a net of four 3x3 convolutions with BatchNorm on random 32x32 pictures with `convlab.fit`: in one process, with
as many threads as convlab gives it, and in several, each with its share of them, by turns. Prints how long a step
takes, told by the runs' own epochs, the first left out, and how long the several take before the first of them. On the
CPU a step of one process may use all cores already: what is told is what the processes gain beyond that, or lose.
"""

import argparse
import statistics
import time

import torch
from torch import nn

from convlab import TrainSpec, fit
from convlab.training.run import Run
from convlab.training.threads import AVAILABLE


def net(width: int) -> nn.Sequential:
    """Two pairs of convolutions, each followed by a pooling."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels, filters in ((3, width), (width, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        if channels == filters:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 64, 10))


def step_seconds(run: Run, per_epoch: int) -> float:
    """The median over its epochs but the first."""
    return statistics.median(record.seconds for record in run.history.epochs[1:]) / per_epoch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    epochs = 4
    per_epoch = max(1, options.steps // epochs)
    torch.manual_seed(1)
    x = torch.randn(per_epoch * options.batch_size, 3, 32, 32)
    y = torch.randint(10, (len(x),))
    data = ((x, y), (x[:2], y[:2]))
    spec = TrainSpec(batch_size=options.batch_size, epochs=epochs, device="cpu")
    ratios, starts = [], []
    for _ in range(options.rounds):
        seconds = {}
        for count in (1, options.processes):
            began = time.monotonic()
            run = fit(net(options.width), data, spec, processes=count)
            whole = time.monotonic() - began
            seconds[count] = step_seconds(run, per_epoch)
            if count > 1:
                starts.append(whole - sum(record.seconds for record in run.history.epochs))
            print(f"processes={count}: {1e3 * seconds[count]:7.1f} ms a step with {run.threads} threads each")
        ratios.append(seconds[1] / seconds[options.processes])
    print(f"{options.processes} processes on {AVAILABLE} cores: {statistics.median(ratios):.2f} times as fast a step")
    print(f"beginning and ending them: {statistics.median(starts):.1f} s, as much as the work of", end=" ")
    print(f"{statistics.median(starts) / seconds[1]:.0f} steps of one process")


if __name__ == "__main__":
    main()
