"""A live run kept on disk, epoch by epoch, by a thread of its own: a slow or full disk never holds up training."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from convlab.training.checkpoint import CheckpointError, clear_temporaries, write
from convlab.training.saved_run import SavedRun, about, packed
from convlab.training.saved_state import Plain, Tensors
from convlab.training.state import TrainerState, capture

if TYPE_CHECKING:
    from convlab.training.run import Run

SUFFIX = ".safetensors"
_BEFORE = f".before{SUFFIX}"


class Autosave:
    """Writes a run's last epoch into a directory, and keeps the one before it until the new one is whole.

    Attributes:
        path: the file.
        note: what became of the last attempt, in a sentence; empty before the first.
        failed: whether that says that it could not be written.
    """

    def __init__(self, directory: str | Path, name: str, path: Path | None = None) -> None:
        self.directory = Path(directory)
        self.note, self.failed = "", False
        self._changed = threading.Condition()
        self._waiting: tuple[Tensors, Plain, int] | None = None
        self._over = False
        self._thread: threading.Thread | None = None
        self._stem = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:60].removesuffix(".before") or "run"
        self.path = self.directory / f"{self._stem}{SUFFIX}"
        goes_on = path is not None and path.parent.resolve() == self.directory.resolve()
        if path is not None and goes_on:
            self.path = path.with_name(path.name.removesuffix(SUFFIX).removesuffix(".before") + SUFFIX)
        # Taken up from the one before it, the file is damaged, and must not take that one's place.
        self._is_whole = goes_on and self.path == path
        self._is_new = not goes_on
        self._choose()
        self._probe()

    def _choose(self) -> None:
        """The first name that is not in use, for a new run."""
        number = 1
        while self._is_new and any(map(os.path.lexists, (self.path, _before(self.path)))):
            number += 1
            self.path = self.directory / f"{self._stem}-{number}{SUFFIX}"

    def _probe(self) -> None:
        """Find out now, and not after the first epoch, whether there is a place to write to."""
        trial = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.trial.tmp")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            clear_temporaries(self.path)
            trial.touch()
            trial.unlink(missing_ok=True)
        except OSError as error:
            self._say(error)

    def _say(self, error: Exception) -> None:
        self.failed = True
        why = getattr(error, "strerror", None) or error
        self.note = f"Not saved in {self.directory}: {why}. Training goes on; it is tried again after each epoch."

    def epoch_done(self, run: Run) -> None:
        """In the training thread, after an epoch's last step."""
        try:
            kept = run.snapshots[-1].state if len(run.snapshots) else None
            state = kept if kept is not None and kept.step == run.history.num_steps else capture(run._trainer)
            # Scoring an epoch may take longer than it did; at the end there is time.
            tensors, record = packed(run, state, every_score=False)
        except Exception as error:  # saving must not end a training
            self._say(error)
        else:
            self._hand_over(tensors, record, run.history.num_steps)

    def end(self, run: Run, at: TrainerState, state: str) -> None:
        """The same at the end of the run; returns when it is written."""
        try:
            tensors, record = packed(run, at)
        except Exception as error:  # nor keep one from ending
            self._say(error)
        else:
            self._hand_over(tensors, {**record, "state": state}, run.history.num_steps)
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _hand_over(self, tensors: Tensors, record: Plain, step: int) -> None:
        with self._changed:
            self._waiting = tensors, record, step  # one that waits still is overtaken
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="convlab-autosave", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _write_on(self) -> None:
        while True:
            with self._changed:
                while self._waiting is None and not self._over:
                    self._changed.wait()
                work, self._waiting = self._waiting, None
            if work is None:
                return
            self._write(*work)

    def _write(self, tensors: Tensors, record: Plain, step: int) -> None:
        try:
            while self._is_new:
                with contextlib.suppress(FileExistsError):  # a run of the same name began beside this one
                    write(self.path, tensors, record, is_new=True)
                    break
                self._choose()
            else:
                write(self.path, tensors, record, before=_before(self.path) if self._is_whole else None)
        except Exception as error:  # the disk's, or no memory for a copy: the thread must outlive it
            self._say(error)
        else:
            self._is_new, self._is_whole, self.failed = False, True, False
            self.note = f"Saved at step {step:,} in {self.path}."


def _before(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(SUFFIX) + _BEFORE)


def saved_runs(directory: str | Path) -> list[SavedRun]:
    """The runs in a directory, the latest first; where a file is not whole, the one before it stands for it.

    Example:
        >>> import tempfile
        >>> saved_runs(tempfile.mkdtemp())
        []
    """
    directory = Path(directory)
    stems = {path.name.removesuffix(SUFFIX).removesuffix(".before") for path in directory.glob(f"*{SUFFIX}")}
    found = [_latest(directory / f"{stem}{SUFFIX}") for stem in stems]
    return sorted((one for one in found if one is not None), key=lambda one: one.saved_at, reverse=True)


def _latest(path: Path) -> SavedRun | None:
    for tried in (path, _before(path)):
        try:
            return about(tried)
        except (CheckpointError, OSError):
            continue
    return None
