"""A process that ends when those end for which it works, however they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import psutil

LOOK_SECONDS: Final = 0.5
"""How often it looks: a killed process tells nobody, and only Linux would send a signal."""

_CLOCK_SECONDS: Final = 60.0

Kin = tuple[int, float]
"""A process, by its number and when it began: a number may belong to another one since."""


def kin_of(pid: int) -> Kin:
    """The process of that number, as others may watch it."""
    return pid, psutil.Process(pid).create_time()


def follow(kin: Sequence[Kin], at_end: Callable[[], object]) -> None:
    """Call `at_end` in a thread as soon as one of the processes is there no more; at once where it is gone already."""
    threading.Thread(target=_watch, args=(list(kin), at_end), name="convlab-lifeline", daemon=True).start()


def _watch(kin: Sequence[Kin], at_end: Callable[[], object]) -> None:
    try:
        processes = [psutil.Process(pid) for pid, _ in kin]
        # Loosely: the system's clock may have been set meanwhile.
        alive = all(
            abs(one.create_time() - began) < _CLOCK_SECONDS for one, (_, began) in zip(processes, kin, strict=True)
        )
        while alive:
            time.sleep(LOOK_SECONDS)
            # One that was killed and that nobody has asked after is there still, as a zombie.
            alive = all(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)
    except psutil.Error:
        pass
    at_end()


def end(pid: int) -> None:
    """Kill a process and all that it began, and wait until they are gone."""
    try:
        process = psutil.Process(pid)
        all_of_them = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in all_of_them:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(all_of_them, timeout=10)
