"""What looking inside a network costs: each diagnostic on and off, side by side.

``python benchmarks/inside.py [--rounds 9] [--epochs 40]``

LeNet on digits, and on larger pictures; SGD, one thread. In each round every contender trains the same network once,
in turn, so that a busy machine disturbs all alike. Ratios are medians over rounds of the ratio within a round: of wall
time, and of the process's CPU time, which a busy machine disturbs less. Then what each look takes by itself, over what
a training step takes.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from convlab.data.resolve import Data, resolve
from convlab.diagnosis.attribution import occlusion, saliency
from convlab.diagnosis.inside import look_inside
from convlab.diagnosis.inside_log import watch_inside
from convlab.diagnosis.maps import feature_maps
from convlab.models.gallery import lenet
from convlab.panels.inside import InsidePanel
from convlab.spec import TrainSpec
from convlab.training.run import Run

OFF = "off"


def watched(budget: float, run: Run) -> None:
    """Look inside within a budget."""
    watch_inside(run, budget)


def drawn(overlay: str, run: Run) -> None:
    """The whole tab of the bench, which is drawn in a thread of its own as the run goes."""
    panel = InsidePanel(run.model, run.data, lambda: run)
    panel.picture.overlay.value = overlay
    panel.settle()
    run.watch(lambda _: panel.follow())


CONTENDERS: dict[str, Callable[[Run], None]] = {
    OFF: lambda _: None,
    "watched, budget 0: one look": partial(watched, 0.0),
    "watched, budget 2 %": partial(watched, 0.02),
    "watched, every epoch": partial(watched, 1.0),
    "the tab open": partial(drawn, "none"),
    "the tab open, saliency": partial(drawn, "saliency"),
    "the tab open, occlusion": partial(drawn, "occlusion"),
}


def seconds(name: str, make: Callable[[], nn.Module], data: Data, epochs: int) -> tuple[float, float]:
    """Wall and CPU time of one run."""
    torch.manual_seed(0)
    model = make()
    run = Run(model, data, TrainSpec(epochs=epochs, threads=1))
    CONTENDERS[name](run)
    began = time.perf_counter(), time.process_time()
    run.start().wait()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def compare(title: str, make: Callable[[], nn.Module], data: Data, rounds: int, epochs: int) -> None:
    """Train with each diagnostic by turns, and print what it costs."""
    names = list(CONTENDERS)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for name in names:
        seconds(name, make, data, 2)
    for number in range(rounds):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            times[name].append(seconds(name, make, data, epochs))
    print(f"\n{title}, {epochs} epochs, medians of {rounds} rounds")
    print(f"{'':30} {'wall: s':>8} {'x off':>7} {'CPU: s':>8} {'x off':>7} {'least':>7} {'most':>7}")
    for name, own in times.items():
        line = f"{name:30}"
        for clock in (0, 1):
            ratios = [one[clock] / off[clock] for one, off in zip(own, times[OFF], strict=True)]
            line += f" {statistics.median(one[clock] for one in own):8.2f} {statistics.median(ratios):7.3f}"
        print(line, f"{min(ratios):7.3f} {max(ratios):7.3f}")


def single(make: Callable[[], nn.Module], data: Data, rounds: int) -> None:
    """What each function takes once, over a training step."""
    torch.manual_seed(0)
    model = make()
    x = data.pictures(1)[0]
    run = Run(model, data, TrainSpec(epochs=10_000, threads=1)).step(3)
    calls: dict[str, Callable[[], object]] = {
        "a training step": lambda: run.step(10),
        "look_inside, 64 samples": lambda: look_inside(run),
        "feature_maps": lambda: feature_maps(model, x),
        "saliency": lambda: saliency(model, x),
        "occlusion": lambda: occlusion(model, x),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(3 * rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - began) / (10 if name == "a training step" else 1))
    run.stop()
    print(f"{'':30} {'ms':>7} {'steps':>7}")
    for name, own in times.items():
        steps = [one / step for one, step in zip(own, times["a training step"], strict=True)]
        print(f"{name:30} {1000 * statistics.median(own):7.2f} {statistics.median(steps):7.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = resolve("digits")
    compare("LeNet on digits 8x8", lenet, digits, options.rounds, options.epochs)
    single(lenet, digits, options.rounds)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(640, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (640,), generator=generator)
    larger = resolve((pictures, labels))
    wide = partial(lenet, 3, 10, 32)
    compare("LeNet on pictures 32x32x3", wide, larger, options.rounds, max(2, options.epochs // 4))
    single(wide, larger, options.rounds)
    print(f"\naim: watched with a budget of 2 %, at most 1.02 of off. 1-minute load: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
