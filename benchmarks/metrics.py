"""What it costs a training that its epochs can be scored: with outputs kept, without, and with every score asked for.

``python benchmarks/metrics.py [--rounds 9] [--epochs 30]``

LeNet on digits, the smallest data that there is, so that an epoch is short and its end counts most. In each round every
contender trains once, in turn; ratios are medians over rounds of the ratio within a round.
"""

import argparse
import statistics
import time
from unittest import mock

import torch

from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.epoch_metrics import EpochScores, Outputs, Scoring
from convlab.training.run import Run

CONTENDERS = ("without", "kept", "asked for after each epoch")


def seconds(how: str, epochs: int) -> float:
    """CPU seconds of this process for one training."""
    torch.manual_seed(0)
    run = Run(lenet(), "digits", TrainSpec(epochs=epochs, threads=1))
    if how == CONTENDERS[2]:
        run.watch(lambda run: run.metrics[-1:])
    began = time.process_time()
    if how == CONTENDERS[0]:
        with mock.patch.object(Outputs, "add"), mock.patch.object(EpochScores, "add"):
            run.start().wait()
    else:
        run.start().wait()
    return time.process_time() - began


def main() -> None:
    """Train in turn and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    for how in CONTENDERS:
        seconds(how, 2)
    times: dict[str, list[float]] = {how: [] for how in CONTENDERS}
    for number in range(given.rounds):
        at = number % len(CONTENDERS)
        for how in CONTENDERS[at:] + CONTENDERS[:at]:
            times[how].append(seconds(how, given.epochs))
    for how, mine in times.items():
        ratio = statistics.median(a / b for a, b in zip(mine, times[CONTENDERS[0]], strict=True))
        print(f"{how:28} {1000 * statistics.median(mine) / given.epochs:7.2f} ms an epoch  x {ratio:.3f}")
    scores, scoring = EpochScores(), Scoring(tuple("0123456789"))
    logits, labels = torch.randn(360, 10).split(128), (torch.arange(360) % 10).split(128)
    began = time.process_time()
    for epoch in range(1000):
        kept = Outputs()
        for output, target in zip(logits, labels, strict=True):
            kept.add(output, target)
        scores.add(epoch, epoch, kept, scoring, is_best=False)
    print(f"keeping alone: {1e6 * (time.process_time() - began) / 1000:.0f} microseconds an epoch")
    run = Run(lenet(), "digits", TrainSpec(epochs=given.epochs)).start().wait()
    began = time.perf_counter()
    count = len(run.metrics[:])
    print(f"scores on demand: {1000 * (time.perf_counter() - began) / count:.2f} ms an epoch")


if __name__ == "__main__":
    main()
