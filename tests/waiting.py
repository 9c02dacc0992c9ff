"""Waiting for what others do."""

import time
from collections.abc import Callable


def until(happened: Callable[[], object], seconds: float = 60, every: float = 0.005) -> None:
    """Wait until it is so; fail where it never is."""
    last = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < last, f"not so after {seconds} s"
        time.sleep(every)
