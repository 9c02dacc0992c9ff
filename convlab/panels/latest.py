"""Work for a panel, off the kernel's threads: the newest job wins, those it overtook are never begun."""

import threading
from collections.abc import Callable


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
        self._busy = False

    def __call__(self, job: Callable[[], None]) -> None:
        """Do `job` next, instead of what was to be next before."""
        with self._changed:
            self._next = job
            if not self._busy:
                self._busy = True
                # No daemon: torch aborts the process that exits under a thread in one of its kernels.
                threading.Thread(target=self._work, name="convlab-panel").start()

    def wait(self) -> None:
        """Block until nothing is left to do."""
        with self._changed:
            while self._busy:
                self._changed.wait()

    def _work(self) -> None:
        while True:
            with self._changed:
                job, self._next = self._next, None
                if job is None:
                    self._busy = False
                    self._changed.notify_all()
                    return
            try:
                job()
            # Shown in the panel: in this thread nobody would see it. A model's own SystemExit must not end the thread.
            except BaseException as error:
                self._tell(error)

    def _tell(self, error: BaseException) -> None:
        try:
            self._on_error(error)
        except Exception:
            # The panel itself is broken or closed; whoever waits must not wait for ever.
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
