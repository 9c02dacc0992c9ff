"""The mailbox between whoever holds the controls and the thread that trains.

Controls may be moved from any thread (a widget's callback runs on whichever thread the kernel's version picks), so they
only leave a command here; the training thread reads it at the next step boundary.
"""

import threading
from collections.abc import Callable, Mapping

Changes = Mapping[str, object]


class Control:
    """Pause, resume, step, stop, and settings to change, as wishes that `boundary` carries out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stop = False
        self._paused = False
        self._granted = 0
        self._changes: list[Changes] = []
        self._applying = False
        self.standing = False
        self.stepping = False
        # Read without the lock at every step: False means that there is nothing to do.
        self.attention = False

    def pause(self) -> None:
        """Stand still at the next step boundary."""
        self._wish(paused=True, granted=0)

    def resume(self) -> None:
        """Go on."""
        self._wish(paused=False, granted=0)

    def step(self, count: int) -> None:
        """Do `count` more steps, then stand still."""
        with self._changed:
            self._wish(paused=True, granted=self._granted + count)

    def stop(self) -> None:
        """End at the next step boundary."""
        with self._changed:
            self._stop = True
            self._wake()

    def change(self, changes: Changes) -> None:
        """Put settings in force at the next step boundary."""
        with self._changed:
            self._changes.append(dict(changes))
            self._wake()

    def _wish(self, *, paused: bool, granted: int) -> None:
        with self._changed:
            self._paused, self._granted, self.stepping = paused, granted, granted > 0
            # At once, not when the thread wakes: what stands still may be restored.
            self.standing = self.standing and paused and not granted
            self._wake()

    def _wake(self) -> None:
        self.attention = True
        self._changed.notify_all()

    def boundary(self, apply: Callable[[Changes], None], stands: Callable[[bool], None]) -> bool:
        """Called by the training thread between two steps: carry out the wishes, wait out a pause; False means stop.

        Args:
            apply: puts changed settings in force.
            stands: told True when the run stands still, False when it goes on (not when it is stopped).
        """
        stood = False
        while True:
            with self._changed:
                changes, self._changes = self._changes, []
                self._applying = bool(changes)
                waits = self._paused and not self._granted and not self._stop
                if not changes and not waits:
                    if self._granted:
                        self._granted -= 1
                    self.standing = False
                    self.attention = self._paused
                    going = not self._stop
                    break
            for change in changes:
                apply(change)
            if waits and not changes:
                if not stood:
                    stood = True
                    stands(True)
                with self._changed:
                    while self._paused and not self._granted and not self._stop and not self._changes:
                        # Each time: a resume and a pause may both have come since.
                        self.standing = True
                        self._changed.notify_all()
                        self._changed.wait()
        if stood and going:
            stands(False)
        return going

    def wait_until_standing(self, over: Callable[[], bool]) -> None:
        """Block until the run stands still with all changes made, or `over` says that it has ended."""
        with self._changed:
            while not (self.standing and not self._changes and not self._applying) and not over():
                self._changed.wait(0.2)

    def announce_end(self) -> None:
        """Wake whoever waits: the run has ended."""
        with self._changed:
            self._changed.notify_all()
