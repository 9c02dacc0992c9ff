"""When a second CPU thread starts to pay, and so what `convlab.training.threads.WORK_PER_THREAD` should be.

``python benchmarks/threads.py [--rounds 9] [--threads 1 2]``

Times a whole training step (forward, backward, SGD) of nets with more and more work in a step, by turns at each number
of threads. Work is the multiply-adds of the batch's forward pass, the number that the rule looks at. Run it on a calm
machine: where another process holds the second core, two threads wait for each other and lose many times over, which
this prints too, as the worst round. The rule errs towards one thread: what it can lose there is a third, what it can
lose with two on a busy machine is a factor.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from convlab.models.gallery import lenet
from convlab.training.threads import WORK_PER_THREAD, mult_adds, num_threads


def vgg(width: int, size: int) -> nn.Sequential:
    """Two pairs of 3x3 convolutions with BatchNorm."""
    layers: list[nn.Module] = []
    for channels, filters in ((3, width), (width, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        if channels == filters:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * (size // 4) ** 2, 10))


# Net, shape of a sample, batch sizes.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "lenet 8x8": (lenet, (1, 8, 8), (32, 128, 512)),
    "lenet 28x28": (lambda: lenet(input_size=28), (1, 28, 28), (32, 128)),
    "lenet 32x32x3": (lambda: lenet(3, 10, 32), (3, 32, 32), (32, 128)),
    "vgg 8 wide 16x16": (lambda: vgg(8, 16), (3, 16, 16), (8, 32, 128)),
    "vgg 16 wide 32x32": (lambda: vgg(16, 32), (3, 32, 32), (8, 32)),
    "vgg 32 wide 32x32": (lambda: vgg(32, 32), (3, 32, 32), (32, 64)),
}


def stepper(model: nn.Module, shape: tuple[int, ...], batch_size: int) -> Callable[[], None]:
    """A whole training step on random pictures."""
    x, y = torch.randn(batch_size, *shape), torch.randint(10, (batch_size,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], threads: int, at_least: float) -> float:
    """Time of one step at so many threads, over enough steps to fill `at_least` seconds."""
    torch.set_num_threads(threads)
    step()
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < at_least:
        step()
        count += 1
    return (now - began) / count


def main() -> None:
    """Measure and print, least work first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.1, help="of steps in a round")
    options = parser.parse_args()
    base, *more = options.threads
    rows = []
    for name, (build, shape, batch_sizes) in NETS.items():
        for batch_size in batch_sizes:
            work = mult_adds(build(), torch.zeros(1, *shape)) * batch_size
            step = stepper(build(), shape, batch_size)
            times: dict[int, list[float]] = {threads: [] for threads in options.threads}
            for _ in range(options.rounds):
                for threads in options.threads:
                    times[threads].append(seconds(step, threads, options.seconds))
            rows.append((work, f"{name}, batch {batch_size}", times))
    print(f"{'million mult-adds a step':>25} {'ms at ' + str(base):>9}", end="")
    print("".join(f" {f'speed at {n}':>11} {'worst':>6}" for n in more), f"{'rule':>5}  net")
    for work, name, times in sorted(rows, key=lambda row: row[0]):
        line = f"{work / 1e6:25.1f} {1000 * statistics.median(times[base]):9.2f}"
        for n in more:
            ratios = [a / b for a, b in zip(times[base], times[n], strict=True)]
            line += f" {statistics.median(ratios):11.2f} {min(ratios):6.2f}"
        print(line, f"{num_threads(work, max(options.threads)):5}  {name}")
    print(f"\nthe rule: one more thread for every {WORK_PER_THREAD / 1e6:g} million")
    print(f"1-minute load of this machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
