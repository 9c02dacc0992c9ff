"""What convlab adds to a kernel before its first use, and how long the bench takes to open and to begin.

Each round is a fresh kernel, as JupyterLab starts it; medians of all rounds. The aim is less than 50 ms for
`%load_ext convlab`. Run: python benchmarks/startup.py [rounds]
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kernel"))

from kernelspecs import write_kernelspec
from live_kernel import LiveKernel

ROUNDS = 5

CELLS = {
    "%load_ext convlab": "%load_ext convlab",
    "import torch, which a user's notebook does anyway": "import torch",
    "open the bench (%convlab), torch being there": "import convlab\nlab = convlab.Lab()\ndisplay(lab)",
    "first press of Run to the end of the first step": (
        "lab.transport.buttons['run'].click()\nwhile not lab.current.history.num_steps:\n    time.sleep(0.0005)"
    ),
}
HEAVY = "[name for name in ('torch', 'matplotlib', 'sklearn', 'ipywidgets') if name in __import__('sys').modules]"
TIMED = """
import time
begun = time.perf_counter()
{cell}
seconds = time.perf_counter() - begun
"""


def measure(folder: Path) -> tuple[dict[str, float], list[str]]:
    """Milliseconds of each cell in a fresh kernel, and which heavy modules `%load_ext` brought in."""
    times: dict[str, float] = {}
    heavy: list[str] = []
    with LiveKernel(folder, [str(folder / "kernels")]) as kernel:
        for name, cell in CELLS.items():
            kernel.execute(TIMED.format(cell=cell), timeout=300)
            times[name] = 1000 * kernel.eval("seconds")
            if not heavy and name == "%load_ext convlab":
                heavy = kernel.eval(HEAVY)
            if name.startswith("open"):
                kernel.execute("time.sleep(3)  # a person looks at it first")
        kernel.execute("lab.stop()")
    return times, heavy


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_kernelspec(folder)
        results = [measure(folder) for _ in range(rounds)]
    print(f"milliseconds in a fresh kernel, median of {rounds}")
    for cell in CELLS:
        print(f"  {cell:<52} {statistics.median(times[cell] for times, _ in results):8.1f}")
    print(f"heavy modules after %load_ext convlab: {json.dumps(results[0][1])}")


if __name__ == "__main__":
    main()
