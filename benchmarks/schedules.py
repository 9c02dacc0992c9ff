"""The curve of 10,000 steps of each scheduler, drawn by stepping the real class: `convlab.simulate`.

``python benchmarks/schedules.py [--steps 10000] [--rounds 5]``

Beside it the barest loop that does the same, taking turns. Times are of the processor, not of the clock on the wall:
what else a busy machine does is not in them.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn, optim

from convlab.schedule_spec import ScheduleSpec as S
from convlab.training.schedules import build_scheduler, simulate


def specs(steps: int) -> list[S]:
    fifth = steps // 5
    return [
        S("LambdaLR", lr_lambda="0.9999 ** epoch"),
        S("MultiplicativeLR", lr_lambda="0.9999"),
        S("StepLR", step_size=fifth),
        S("MultiStepLR", milestones=[fifth, 3 * fifth]),
        S("ConstantLR", total_iters=fifth),
        S("LinearLR", total_iters=fifth),
        S("ExponentialLR", gamma=0.9999),
        S("CosineAnnealingLR", T_max=steps),
        S("CosineAnnealingWarmRestarts", T_0=fifth),
        S("PolynomialLR", total_iters=steps),
        S("CyclicLR", base_lr=0.01, max_lr=0.1, step_size_up=fifth),
        S("OneCycleLR", max_lr=0.1, total_steps=steps),
        S("ReduceLROnPlateau", patience=fifth),
        S(
            "SequentialLR",
            schedulers=[S("LinearLR", total_iters=fifth), S("CosineAnnealingLR", T_max=4 * fifth)],
            milestones=[fifth],
        ),
        S("ChainedScheduler", schedulers=[S("LinearLR", total_iters=fifth), S("ExponentialLR", gamma=0.9999)]),
    ]


def bare(spec: S, steps: int, metrics: list[float] | None) -> list[float]:
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05, momentum=0.9)
    scheduler = build_scheduler(spec, optimizer)
    optimizer.step()
    lrs = []
    for step in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        scheduler.step(*([] if metrics is None else [metrics[step]]))
    return lrs


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {options.steps:,} steps, {options.rounds} rounds")
    print(f"{'scheduler':<28} {'simulate ms':>11} {'bare ms':>8} {'ratio':>6}")
    for spec in specs(options.steps):
        metrics = [1.0] * options.steps if spec.scheduler == "ReduceLROnPlateau" else None
        bare(spec, 10, metrics)
        rounds = [
            (
                seconds(lambda s=spec, m=metrics: simulate(s, options.steps, metrics=m)),
                seconds(lambda s=spec, m=metrics: bare(s, options.steps, m)),
            )
            for _ in range(options.rounds)
        ]
        ours, theirs = (1000 * statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(a / b for a, b in rounds)
        print(f"{spec.scheduler:<28} {ours:11.1f} {theirs:8.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
