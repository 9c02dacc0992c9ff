"""A million steps with the bench open: what grows?

A real kernel trains a tiny network beneath a `Lab`, and a client takes every message as a page would. Prints the
kernel's memory after a tenth and at the end (aim: less than 5 % more), the time of a step in the first and the last
tenth (aim: no more; processor time of the whole kernel, as others may use the machine), and the size of the notebook
with its widgets saved (aim: less than 1 MB).

Run: python benchmarks/soak.py [--quick] [--short-epochs]
"""

import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS / "kernel"))

from kernelspecs import write_kernelspec  # noqa: E402
from live_kernel import LiveKernel  # noqa: E402

STEPS, QUICK = 1_000_000, 50_000
EPOCHS = 50
# A snapshot, a mark in the curve and a row of the records for each epoch: what could grow with them.
SHORT_EPOCHS = 10_000

LAB = """
import resource, time, torch
from torch import nn
import convlab

torch.manual_seed(0)
X = torch.randn({samples}, 1, 2, 2)
y = (X[:, 0, 0, 0] > X[:, 0, 1, 1]).long()
spec = convlab.TrainSpec(epochs={epochs}, batch_size=1, lr=0.01, threads=1)
lab = convlab.Lab(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), ((X, y), (X[:50], y[:50])), spec)

def look():
    pages = int(open("/proc/self/statm").read().split()[1])
    run = lab.current
    return [time.process_time(), run.history.num_steps, pages * resource.getpagesize(), run.state]

lab
"""
SAVED = "__import__('json').dumps(__import__('ipywidgets').Widget.get_manager_state())"


def soak(steps: int, epochs: int) -> None:
    """Train, watch, print."""
    with tempfile.TemporaryDirectory() as folder:
        write_kernelspec(Path(folder), "python3")
        with LiveKernel(Path(folder), [str(Path(folder) / "kernels")]) as kernel:
            cell = kernel.execute(LAB.format(samples=steps // epochs, epochs=epochs))
            kernel.execute("run = lab.run(wait=False)")
            seen = []
            while not seen or seen[-1][3] in ("running", "pending"):
                time.sleep(0.2)
                seen.append(kernel.eval("look()"))
            kernel.execute("run.wait()")
            state = kernel.eval("run.state")
            if state != "finished":
                raise SystemExit(f"the run is {state}: {kernel.eval('run.traceback')}")
            saved = kernel.eval(SAVED, timeout=60)
            rows = kernel.eval("[len(run.history.epochs), len(run.snapshots), run.snapshots.num_bytes]")
    _print_growth(seen, steps)
    size = len(saved) + len(json.dumps(cell.outputs))
    print(f"saved notebook       {size / 1e6:8.2f} MB")
    print(f"kept                 {rows[0]:,} epochs, {rows[1]} snapshots of {rows[2] / 1e6:.2f} MB in all")


def _print_growth(seen: list[list[float]], steps: int) -> None:
    early = next(one for one in seen if one[1] >= 0.1 * steps)
    late = seen[-1]
    growth = late[2] / early[2] - 1
    print(f"resident memory      {early[2] / 2**20:8.1f} MiB after {early[1]:,} steps")
    print(f"                     {late[2] / 2**20:8.1f} MiB after {late[1]:,} steps: {growth:+.1%}")
    first, last = _pace(seen, 0, 0.1 * steps), _pace(seen, 0.9 * steps, steps)
    print(
        f"a step               {first:8.1f} us in the first tenth, {last:.1f} us in the last: {last / first - 1:+.0%}"
    )


def _pace(seen: list[list[float]], begin: float, end: float) -> float:
    """Microseconds of a step: processor time, the median over the looks."""
    inside = [one for one in seen if begin <= one[1] <= end]
    pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(inside) if b[1] > a[1]]
    return 1e6 * statistics.median(seconds / count for seconds, count in pairs)


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    epochs = SHORT_EPOCHS if "--short-epochs" in sys.argv else EPOCHS
    steps = QUICK if quick else STEPS
    print(f"{steps:,} steps in {min(epochs, steps // 10):,} epochs")
    soak(steps, min(epochs, steps // 10))
