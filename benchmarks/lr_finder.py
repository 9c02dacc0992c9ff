"""What learning-rate finders cost, and what their suggestions are worth.

``python benchmarks/lr_finder.py [--rounds 5] [--quality] [--fresh] [--seeds 2] [--pairs "conv_bn, adamw"]``

Cost: 100 sweep steps of LeNet on digits, one thread, against 100 bare steps of the same training; all take turns, times
are of the processor. With ``--quality``: the validation loss after two and after six epochs at each suggestion,
relative to the best of a brute-force grid (three lrs a decade, mean over seeds, interpolated between), as geometric
mean, median and worst over model/optimizer pairs. A suggestion that is refused is left out, and counted. With
``--fresh`` only over pairs that no rule was chosen by.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from contenders.lr_finders import FINDERS, convlab_probe
from torch import nn

from convlab.data import Data, resolve
from convlab.models.gallery import lenet, net
from convlab.spec import TrainSpec
from convlab.training.trainer import NonFiniteError, Trainer
from convlab.training.trial import full_batches

GRID = [10 ** (-4 + i / 3) for i in range(13)]
EPOCHS = (2, 6)
WORST = 10.0
Outcome = list[tuple[float, float]]


def conv_bn(seed: int = 1) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, 10)),
        )


def perceptron(seed: int = 1) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 10)),
        )


def deep(seed: int = 1) -> nn.Module:
    """Five convolutions with global pooling and dropout."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for width, out in ((1, 16), (16, 16), (16, 32), (32, 32), (32, 32)):
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.GroupNorm(4, out), nn.GELU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10))


def shapes_lenet() -> nn.Module:
    return lenet(in_channels=3, input_size=32)


PAIRS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "perceptron, sgd": (perceptron, "digits", "sgd"),
    "perceptron, adam": (perceptron, "digits", "adam"),
    "conv_bn, adamw": (conv_bn, "digits", "adamw"),
    "conv_bn, rmsprop": (conv_bn, "digits", "rmsprop"),
    "deep, sgd": (deep, "digits", "sgd"),
    "deep, adam": (deep, "digits", "adam"),
    "lenet on shapes, adam": (shapes_lenet, "shapes", "adam"),
    "lenet on shapes, rmsprop": (shapes_lenet, "shapes", "rmsprop"),
}


def relu_perceptron(seed: int = 1) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def of_gallery(name: str) -> Callable[[], nn.Module]:
    return lambda: net(name, input_size=(1, 8, 8), num_classes=10)


FRESH = {
    f"{name}, {optimizer}": (make, "digits", optimizer)
    for name, make in (
        ("relu perceptron", relu_perceptron),
        ("lenet", lenet),
        ("vgg", of_gallery("vgg")),
        ("resnet", of_gallery("resnet")),
    )
    for optimizer in ("sgd", "adamw", "rmsprop")
}
"""Pairs that no rule was chosen by."""

PAIRS |= FRESH


def trained(make: Callable[[], nn.Module], data: Data, spec: TrainSpec) -> Outcome:
    """Validation loss and accuracy after each of `EPOCHS`."""
    trainer = Trainer(make(), data, spec)
    found: Outcome = []
    try:
        while trainer.begin_epoch():
            for x, y in trainer.batches():
                trainer.update(x, y)
            if trainer.epoch in EPOCHS:
                loss, accuracy = trainer.validate()
                good = loss is not None and math.isfinite(loss)
                found.append((min(loss, WORST) if good else WORST, accuracy or 0.0))
    except NonFiniteError:
        pass
    return found + [(WORST, 0.0)] * (len(EPOCHS) - len(found))


class Table:
    """Loss relative to the best, and accuracy behind the best, of each rule after each of `EPOCHS`."""

    def __init__(self) -> None:
        self.ratios: dict[str, list[list[float]]] = {}
        self.gaps: dict[str, list[list[float]]] = {}
        self.refused: dict[str, int] = {}

    def add(self, rule: str, at: int, lr: float | None, truth: np.ndarray) -> None:
        """Judge `lr` by the grid's outcomes, shape (lrs, epochs, loss and accuracy)."""
        ratios = self.ratios.setdefault(rule, [[] for _ in EPOCHS])
        gaps = self.gaps.setdefault(rule, [[] for _ in EPOCHS])
        if lr is None:
            self.refused[rule] = self.refused.get(rule, 0) + (at == 0)
            return
        x, losses, accuracies = np.log10(GRID), truth[:, at, 0], truth[:, at, 1]
        loss = math.exp(np.interp(math.log10(lr), x, np.log(losses)))
        ratios[at].append(loss / losses.min())
        gaps[at].append(float(accuracies.max() - np.interp(math.log10(lr), x, accuracies)))

    def __str__(self) -> str:
        head = "   ".join(f"{f'{epochs} epochs: loss':>15} {'median':>6} {'worst':>6} {'gap':>5}" for epochs in EPOCHS)
        lines = [f"{'':<26} {head}"]
        for rule, columns in sorted(self.ratios.items(), key=lambda item: _mean(item[1][0])):
            cells = [
                f"{_mean(some):15.2f} {_median(some):6.2f} {max(some, default=math.nan):6.1f} "
                f"{max(gap, default=math.nan):5.2f}"
                for some, gap in zip(columns, self.gaps[rule], strict=True)
            ]
            left_out = f"   ({self.refused[rule]} refused)" if self.refused.get(rule) else ""
            lines.append(f"{rule:<26} {'   '.join(cells)}{left_out}")
        return "\n".join(lines)


def _mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else math.nan


def _median(ratios: list[float]) -> float:
    return statistics.median(ratios) if ratios else math.nan


def quality(names: list[str], seeds: int) -> None:
    table = Table()
    for number, name in enumerate(names, 1):
        make, source, optimizer = PAIRS[name]
        data = resolve(source)
        spec = TrainSpec(optimizer=optimizer, epochs=max(EPOCHS), threads=1)
        outcomes = [[trained(make, data, spec.replace(lr=lr, seed=seed)) for seed in range(seeds)] for lr in GRID]
        truth = np.array(outcomes).mean(axis=1)
        # Seeds that the grid has not seen: a suggestion is for a training whose order of data is not known yet.
        for finder, find in FINDERS.items():
            for rule, lr in find(make(), data, spec.replace(seed=100)).items():
                for at in range(len(EPOCHS)):
                    table.add(f"{finder} {rule}", at, lr, truth)
        for at, epochs in enumerate(EPOCHS):
            probe = convlab_probe(make(), data, spec.replace(seed=100, epochs=epochs))
            table.add("convlab probe", at, probe["probe"], truth)
        best = " and ".join(f"{GRID[int(truth[:, at, 0].argmin())]:.2g}" for at in range(len(EPOCHS)))
        print(f"\n{number}/{len(names)} {name}: best lr {best} for {EPOCHS} epochs; with it\n{table}", flush=True)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def bare(data: Data, spec: TrainSpec) -> None:
    """A hundred steps of convlab's own training, and nothing else."""
    trainer = Trainer(lenet(), data, spec)
    for done, (x, y) in enumerate(full_batches(trainer), 1):
        trainer.update(x, y)
        if done == 100:
            return


def cost(rounds: int) -> None:
    data, spec = resolve("digits"), TrainSpec(threads=1, epochs=100, optimizer="adam", lr=1e-7)
    ways: dict[str, Callable[[], object]] = {"100 bare steps": lambda: bare(data, spec)}
    for name, find in FINDERS.items():
        ways[name] = lambda find=find: find(lenet(), data, spec)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            took = seconds(way)
            # The first round warms up.
            if number:
                times[name].append(took)
    print(f"{'':<18} {'ms':>8} {'to bare':>8}")
    for name, some in times.items():
        ratio = statistics.median(a / b for a, b in zip(some, times["100 bare steps"], strict=True))
        print(f"{name:<18} {1000 * statistics.median(some):8.1f} {ratio:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="pairs that no rule was chosen by")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--pairs", nargs="*", choices=PAIRS, default=[name for name in PAIRS if name not in FRESH], help="names"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {options.rounds} rounds, 1 thread")
    cost(options.rounds)
    if options.quality:
        quality(list(FRESH) if options.fresh else options.pairs, options.seeds)


if __name__ == "__main__":
    main()
