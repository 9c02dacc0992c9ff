"""Epoch times with everything live, side by side with loops that people write and frameworks that they use.

``python benchmarks/training.py [--rounds 7] [--epochs 40]``

All run in one real Jupyter kernel, so that whatever a display sends is really serialised and sent; this process plays
the front end and reads it. LeNet on digits, SGD, one thread for everyone, a validation each epoch. In each round every
contender trains once, in turn, so that a busy machine disturbs all alike; ratios are medians over rounds of the ratio
within a round.
"""

import argparse
import json
import os
import statistics
import sys
import threading
from pathlib import Path
from queue import Empty

from contenders.loops import LIVE, LOADER, QUICK, SILENT
from jupyter_client.manager import KernelManager

HERE = Path(__file__).parent


class Kernel:
    """A kernel whose messages are read as they come, and counted."""

    def __init__(self) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.kernel_spec.argv[0] = sys.executable
        # JPY_SESSION_NAME is how a kernel knows that somebody sits before it.
        env = {**os.environ, "JPY_SESSION_NAME": "bench.ipynb", "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
        self._manager.start_kernel(env=env, cwd=str(HERE))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)
        self.messages = self.bytes = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._client.get_iopub_msg(timeout=0.5)
            except Empty:
                continue
            self.messages += message["msg_type"] in ("comm_msg", "display_data", "update_display_data", "stream")
            self.bytes += sum(len(buffer) for buffer in message["buffers"]) + len(str(message["content"]))
            if message["msg_type"] == "error":
                self.errors.append("\n".join(message["content"]["traceback"][-3:]))

    def value(self, expression: str) -> object:
        """Evaluate in a cell."""
        code = f"import json; from contenders import loops; _ = json.dumps({expression})"
        message = self._client.execute(code, user_expressions={"value": "_"})
        while True:
            reply = self._client.get_shell_msg(timeout=600)
            if reply["parent_header"].get("msg_id") == message:
                break
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"{expression}: {reply['content'].get('ename')}: {reply['content'].get('evalue')}")
        return json.loads(eval(reply["content"]["user_expressions"]["value"]["data"]["text/plain"]))

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._reader.join()
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


Times = dict[str, list[tuple[float, float]]]


def measure(kernel: Kernel, names: list[str], batch_size: int, rounds: int, epochs: int) -> Times:
    """Wall and CPU seconds an epoch of every contender in every round, and a line on what the live one sent."""
    times: Times = {name: [] for name in names}
    sent = 0
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            before = kernel.messages
            count = epochs * (1 + (batch_size > 64)) if name in QUICK else max(4, epochs // 8)
            times[name].append(kernel.value(f"loops.seconds_per_epoch({name!r}, {count}, {batch_size})"))
            sent += (kernel.messages - before) * (name == LIVE)
    print(f"\nbatch {batch_size}: one epoch, medians of {rounds} rounds; the live bench sent {sent // rounds} messages")
    return times


def report(times: Times) -> None:
    """Medians, and medians of ratios within rounds."""
    print(f"{'':28} {'wall: ms':>9} {'x DataLoader':>13} {'x no display':>13} {'CPU: ms':>9} {'x DL':>6} {'x n.d.':>6}")
    for name, values in times.items():
        line = f"{name:28}"
        for clock, widths in enumerate(((9, 13), (9, 6))):
            mine = [value[clock] for value in values]
            line += f" {1000 * statistics.median(mine):{widths[0]}.1f}"
            for base in (LOADER, SILENT):
                theirs = [value[clock] for value in times[base]]
                ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
                line += f" {ratio:{widths[1]}.2f}"
        print(line)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="the loops without frameworks only")
    options = parser.parse_args()
    kernel = Kernel()
    try:
        names = [name for name in kernel.value("loops.warm_up()") if name in QUICK or not options.quick]
        for batch_size in (32, 128):
            report(measure(kernel, names, batch_size, options.rounds, options.epochs))
    finally:
        kernel.close()
    print(f"\naims, wall time: live at most 1.00 of the {LOADER}, and at most 1.05 of no display.")
    print(f"1-minute load of this machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
