"""The curve of 10,000 steps of each scheduler, drawn by stepping the real class: `convlab.simulate`.

``python benchmarks/schedules.py [--steps 10000] [--rounds 5]``

Beside it the barest loop that does the same, taking turns; and the panel that shows the curve: `move` from a control
that moved to the points handed to the page, `held` the part of it that keeps the thread on which the move came,
`choose` from a scheduler that was chosen, whose controls are made first. Times are of the processor, not of the clock
on the wall: what else a busy machine does is not in them.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn, optim

from convlab.panels.schedule import SchedulePreview
from convlab.schedule_spec import ScheduleSpec as S
from convlab.spec import TrainSpec
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


def previewer(steps: int) -> SchedulePreview:
    """The panel before a training of so many steps."""
    epochs = 10
    train = TrainSpec(epochs=epochs)
    return SchedulePreview(train=lambda: train, steps_per_epoch=lambda: steps // epochs, apply=lambda _: None)


def shown(panel: SchedulePreview, spec: S | None) -> None:
    panel.show(spec)
    panel.settle()


def held(panel: SchedulePreview, spec: S) -> float:
    """Seconds of this thread until the panel has taken the wish."""
    start = time.thread_time()
    panel.show(spec)
    end = time.thread_time()
    panel.settle()
    return end - start


def panel_times(panel: SchedulePreview, spec: S, rounds: int) -> list[float]:
    """Milliseconds: after a move, held up by it, after a choice; the median of each."""
    columns: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        shown(panel, None)
        columns[2].append(seconds(lambda: shown(panel, spec)))
        columns[0].append(seconds(lambda: shown(panel, spec)))
        columns[1].append(held(panel, spec))
    return [1000 * statistics.median(column) for column in columns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {options.steps:,} steps, {options.rounds} rounds")
    print(f"{'milliseconds':<28} {'simulate':>9} {'bare':>7} {'ratio':>6} {'move':>7} {'held':>7} {'choose':>7}")
    panel = previewer(options.steps)
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
        move, hold, choose = panel_times(panel, spec, options.rounds)
        print(f"{spec.scheduler:<28} {ours:9.1f} {theirs:7.1f} {ratio:6.2f} {move:7.1f} {hold:7.1f} {choose:7.1f}")


if __name__ == "__main__":
    main()
