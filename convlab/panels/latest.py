"""Work for a panel, off the kernel's threads: the newest job wins, those it overtook are never begun."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_IDLE_SECONDS: Final = 0.5
"""How long the thread waits for more: beside a run that trains, starting one anew takes longer than the job."""


class Latest:
    """Runs one job at a time in a thread of its own; of the jobs that arrive meanwhile only the last is kept.

    A slider sends sixty values a second: a panel that worked through them all would lag behind the hand.

    Args:
        on_error: what to do with what a job raised, in the job's thread.

    Example:
        >>> seen = []
        >>> latest = Latest(lambda error: seen.append(str(error)))
        >>> latest(lambda: seen.append("done"))
        >>> latest.wait()
        >>> seen
        ['done']
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._on_error = on_error
        self._changed = threading.Condition()
        self._next: Callable[[], None] | None = None
        self._due: deque[Callable[[], None]] = deque()
        self._busy = False
        self._alive = False

    def __call__(self, job: Callable[[], None]) -> None:
        """Do `job` next, instead of what was to be next before."""
        with self._changed:
            self._next = job
            self._wake()

    def also(self, job: Callable[[], None]) -> None:
        """Do `job` in its turn, before what is only looked at: a click is overtaken by none."""
        with self._changed:
            self._due.append(job)
            self._wake()

    def _wake(self) -> None:
        self._busy = True
        if self._alive:
            self._changed.notify_all()
        else:
            self._alive = True
            # No daemon: torch aborts the process that exits under a thread in one of its kernels.
            threading.Thread(target=self._work, name="convlab-panel").start()

    def wait(self) -> None:
        """Block until nothing is left to do."""
        with self._changed:
            while self._busy:
                self._changed.wait()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            try:
                job()
            # Shown in the panel: in this thread nobody would see it. A model's own SystemExit must not end the thread.
            except BaseException as error:
                self._tell(error)

    def _take(self) -> Callable[[], None] | None:
        """The next job; None once there was none for a while, and the thread is to end."""
        with self._changed:
            if self._next is None and not self._due:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._next is not None or self._due, _IDLE_SECONDS)
            if self._due:
                return self._due.popleft()
            job, self._next = self._next, None
            self._alive = job is not None
            return job

    def _tell(self, error: BaseException) -> None:
        try:
            self._on_error(error)
        except Exception:
            # The panel itself is broken or closed; whoever waits must not wait for ever.
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
