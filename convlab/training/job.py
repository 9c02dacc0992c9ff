"""What several processes need in order to train one network, as files in a directory.

Model, data and criterion may be of anybody's classes, of a notebook's own too, and are handed over as a pickle, which
runs code when it is opened. So it lies in a directory that nobody else can read, and is opened only by a process that
was told its SHA-256 by the one that wrote it.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import cloudpickle
import torch
from torch import nn

from convlab.data.data import Data
from convlab.data.sources import Source, TensorSource
from convlab.training.epoch_metrics import EpochMetrics, EpochScores
from convlab.training.journal import Change
from convlab.training.metrics import Score
from convlab.training.trainer import Criterion

_NAMES: Final = ("model", "data", "criterion", "journal", "metrics")


@final
@dataclass(frozen=True)
class Given:
    """What is trained: see `convlab.fit`."""

    model: nn.Module
    data: Data
    criterion: Criterion | None
    journal: Sequence[Change]
    metrics: Mapping[str, Score]


@final
@dataclass(frozen=True)
class Failure:
    """What was raised in a process."""

    rank: int
    error: BaseException
    traceback: str


@final
@dataclass(frozen=True)
class Job:
    """The directory of a training."""

    path: Path

    @property
    def start(self) -> Path:
        """The run as it begins."""
        return self.path / "start.safetensors"

    @property
    def saved(self) -> Path:
        """Where the run is kept after each epoch."""
        return self.path / "saved"

    @property
    def stop(self) -> Path:
        """A file that is there when the training shall end."""
        return self.path / "stop"

    @property
    def log(self) -> Path:
        """What the processes say."""
        return self.path / "log"

    def write(self, given: Given) -> str:
        """Write what is trained; returns the SHA-256.

        Raises:
            TypeError: it cannot be pickled.
        """
        parts = {name: getattr(given, name) for name in _NAMES}
        parts["data"] = replace(
            given.data, train=_bare(given.data.train), valid=given.data.valid and _bare(given.data.valid)
        )
        try:
            torch.save(parts, self._given, pickle_module=cloudpickle)
        except Exception as error:  # a class's own __reduce__ may raise anything
            raise TypeError(
                f"processes above 1 hands the {_culprit(parts)} to other processes, which needs it to be picklable: "
                f"{error}; leave out what cannot be pickled, such as an open file or a lock, or try processes=1."
            ) from error
        return _digest(self._given)

    def read(self, digest: str) -> Given:
        """What `write` wrote, if it is that.

        Raises:
            ValueError: it is something else.
        """
        if _digest(self._given) != digest:
            raise ValueError(f"{self._given} is not what was written.")
        # Mapped into memory: all processes share what none of them changes.
        return Given(**torch.load(self._given, map_location="cpu", weights_only=False, mmap=True))

    @property
    def _given(self) -> Path:
        return self.path / "given.pt"

    def fail(self, rank: int, error: BaseException) -> None:
        """Tell what was raised in a process."""
        told = "".join(traceback.format_exception(error))
        try:
            content = cloudpickle.dumps(Failure(rank, error, told))
            cloudpickle.loads(content)  # some that can be written cannot be read
        except Exception:
            plain = RuntimeError(f"{type(error).__name__}: {error}")
            content = cloudpickle.dumps(Failure(rank, plain, told))
        temporary = self.path / f"failure-{rank}.tmp"
        temporary.write_bytes(content)
        temporary.replace(self.path / f"failure-{rank}")

    def keep_scores(self, scores: EpochScores) -> None:
        """Hand the scores of all epochs back, with all that a saved run leaves out."""
        best = scores.best
        content = cloudpickle.dumps((list(scores), None if best is None else best.epoch))
        temporary = self._scores.with_suffix(".tmp")
        temporary.write_bytes(content)
        temporary.replace(self._scores)

    @property
    def scores(self) -> EpochScores | None:
        """What `keep_scores` was given; None before."""
        if not self._scores.exists():
            return None
        found: tuple[list[EpochMetrics], int | None] = cloudpickle.loads(self._scores.read_bytes())
        return EpochScores.of(*found)

    @property
    def _scores(self) -> Path:
        return self.path / "scores"

    @property
    def failed(self) -> bool:
        """Whether something was raised."""
        return any(self._failures)

    @property
    def failure(self) -> Failure | None:
        """What was raised first."""
        first = min(self._failures, key=lambda path: path.stat().st_mtime_ns, default=None)
        if first is None:
            return None
        found: Failure = cloudpickle.loads(first.read_bytes())
        return found

    @property
    def _failures(self) -> list[Path]:
        return [path for path in self.path.glob("failure-*") if path.suffix != ".tmp"]


def _bare(source: Source) -> Source:
    """Without what it keeps on a device."""
    return TensorSource(source.x, source.y) if isinstance(source, TensorSource) else source


def _culprit(parts: dict[str, object]) -> str:
    for name, one in parts.items():
        try:
            cloudpickle.dumps(one)
        except Exception:
            return name
    return "model"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
