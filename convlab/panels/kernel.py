"""What the bench needs to know of the kernel around it: is anyone there, which cell is this, and its stop button."""

import asyncio
import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

if TYPE_CHECKING:
    from convlab.panels.lab import Lab


def is_attended() -> bool:
    """Whether somebody sits before this kernel: a server started it for a page, not nbclient, papermill or a script."""
    # jupyter_server sets the first for its kernels, Visual Studio Code the second; executors of notebooks set neither.
    return get_ipython() is not None and any(name in os.environ for name in ("JPY_SESSION_NAME", "VSCODE_PID"))


_benches: "dict[str, tuple[str, weakref.WeakSet[Lab]]]" = {}


def take_cell(lab: "Lab") -> None:
    """Make `lab` a bench of the cell being executed; benches that its earlier execution made or showed are closed."""
    shell: Any = get_ipython()
    try:
        parent = shell.get_parent()
        cell, execution = parent["metadata"]["cellId"], parent["header"]["msg_id"]
    except (AttributeError, KeyError, TypeError):
        return  # a front end that does not say which cell it executes
    before, benches = _benches.get(cell, (execution, weakref.WeakSet()))
    if before != execution:
        earlier, benches = [bench for bench in benches if bench is not lab], weakref.WeakSet()
        for bench in earlier:
            bench.close()
    benches.add(lab)
    _benches[cell] = execution, benches


_on_interrupt: "weakref.WeakSet[Lab]" = weakref.WeakSet()


def stop_on_interrupt(lab: "Lab") -> None:
    """Let the kernel's stop button end `lab`'s run while no cell is being executed.

    While idle, ipykernel ignores the interrupt; its own handler is put back after each cell, so ours goes in once the
    present cell has ended.
    """
    _on_interrupt.add(lab)
    if get_ipython() is None or threading.current_thread() is not threading.main_thread():
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    loop.call_later(0.05, _install, loop)


class _Interrupt:
    def __init__(self, before: Callable[[int, FrameType | None], Any] | int | None) -> None:
        self.before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        running = [lab for lab in _on_interrupt if lab.current is not None and not lab.current.ended]
        for lab in running:
            lab.stop(wait=False)
        if not running and callable(self.before):
            self.before(number, frame)


def _install(loop: asyncio.AbstractEventLoop) -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # A cell is being executed (one with `await`, or the next one): what stood before it will be put back after it.
        loop.call_later(0.2, _install, loop)
    elif not isinstance(before, _Interrupt):
        signal.signal(signal.SIGINT, _Interrupt(before))
