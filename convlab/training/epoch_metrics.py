"""The scores of a run's epochs: outputs are kept as they come, and scored when somebody asks.

An epoch of a small network takes less time than its scores, so that nothing is computed while it trains.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final, overload

import torch
from torch import Tensor
from typing_extensions import override

from convlab.training.metrics import Metrics, Score, score

MOST_VALUES: Final = 2**21
"""Output values kept of one epoch: 8 MiB of float32."""

MOST_SAMPLES: Final = 50_000
"""Samples kept of one epoch."""

KEPT_BYTES: Final = 2**25
"""Memory for outputs of epochs that nobody has asked for yet: 32 MiB."""

EPOCHS: Final = 2**12

_SHARE: Final = 0.01
"""Of a run's time that may go into scores which nobody has asked for, to make room."""

_LONGEST: Final = 300


@final
class Outputs:
    """What a model said in one pass, and what it should have: its first samples, as many as there is room for.

    Example:
        >>> kept = Outputs()
        >>> kept.add(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        >>> kept.total, len(kept.joined()[0])
        (3, 3)
    """

    def __init__(self, most_values: int = MOST_VALUES, most_samples: int = MOST_SAMPLES) -> None:
        self._most_values, self._most_samples = most_values, most_samples
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self.total = self.count = 0

    def add(self, output: object, target: Tensor) -> None:
        """One batch; what is no tensor has no scores."""
        before, self.total = self.total, self.total + len(target)
        if not isinstance(output, Tensor) or self.count < before or not len(target) or len(output) != len(target):
            return
        each = max(1, output.numel() // len(output), target.numel() // len(target))
        room = min(self._most_samples, self._most_values // each) - self.count
        if room > 0:
            self._outputs.append(output[:room].detach())
            self._targets.append(target[:room])
            self.count += len(self._targets[-1])

    def joined(self) -> tuple[Tensor, Tensor]:
        """Outputs, float32, and targets, on the CPU."""
        if not self._outputs:
            return torch.empty(0), torch.empty(0)
        return torch.cat(self._outputs).float().cpu(), torch.cat(self._targets).cpu()


@dataclass(frozen=True, eq=False)
class EpochMetrics:
    """The scores of one epoch, on the validation data.

    Attributes:
        epoch, step: when.
        count: samples scored; of large outputs the first ones, at most 50,000 samples and 2,097,152 values.
        total: samples that there are.
        scores: by name, those of `Metrics.scores` and the user's own.
        metrics: all the rest of what is known: per class, confusion, calibration. None where the outputs cannot be
            scored, and of a run that was loaded from a file. Its predictions are those of the last and of the best
            epoch alone.
        note: why something is missing; else empty.
    """

    epoch: int
    step: int
    count: int
    total: int
    scores: Mapping[str, float]
    metrics: Metrics | None
    note: str = ""

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.scores.items())
        return f"EpochMetrics(epoch {self.epoch}, {told or self.note})"


@dataclass(frozen=True, eq=False)
class Scoring:
    """How a run's outputs are scored: the classes, none for numbers, and the user's own functions by name.

    Raises:
        TypeError: a score is no function; the message says which.
    """

    classes: tuple[str, ...] = ()
    own: Mapping[str, Score] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.own, Mapping):
            raise TypeError(
                f"metrics must be functions by name, got {type(self.own).__name__}; try metrics={{'mine': f}}, "
                "f(outputs, targets) -> number."
            )
        for name, function in self.own.items():
            if not isinstance(name, str) or not name or not callable(function):
                raise TypeError(
                    f"metrics[{name!r}] must be a function f(outputs, targets) -> number under a name, got "
                    f"{type(function).__name__}; try metrics={{'mine': f}}."
                )

    def __call__(self, epoch: int, step: int, outputs: Tensor, targets: Tensor, total: int) -> EpochMetrics:
        """Score them; what raises is told in the note."""
        metrics: Metrics | None = None
        scores: dict[str, float] = {}
        notes: list[str] = []
        if not len(outputs):
            why = "The model's outputs are no tensors with a row for each sample."
            return EpochMetrics(epoch, step, 0, total, scores, metrics, why)
        try:
            metrics = score(outputs, targets, self.classes)
            scores.update(metrics.scores)
        except Exception as error:
            notes.append(_sentence(str(error) or type(error).__name__))
        for name, function in self.own.items():
            try:
                # A copy each: a function may write into what it is given.
                scores[name] = float(function(outputs.clone(), targets.clone()))
            except Exception as error:
                notes.append(_sentence(f"{name} raised {type(error).__name__}: {error}"))
        if len(outputs) < total:
            notes.append(f"Scored on the first {len(outputs):,} of {total:,} samples.")
        return EpochMetrics(epoch, step, len(outputs), total, scores, metrics, " ".join(notes))


def _sentence(text: str) -> str:
    text = " ".join(text.split())[:_LONGEST]
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


class _Epoch:
    """One epoch: its outputs until they are scored, its scores from then on."""

    def __init__(self, epoch: int, step: int) -> None:
        self.epoch, self.step = epoch, step
        self.kept: tuple[Scoring, Tensor, Tensor, int] | None = None
        self.scored: EpochMetrics | None = None

    @property
    def num_bytes(self) -> int:
        if self.kept is None:
            return 0
        return sum(tensor.numel() * tensor.element_size() for tensor in self.kept[1:3])

    def score(self) -> EpochMetrics:
        if self.kept is not None:
            scoring, outputs, targets, total = self.kept
            self.scored = scoring(self.epoch, self.step, outputs, targets, total)
            self.kept = None
        assert self.scored is not None
        return self.scored

    def without_predictions(self) -> EpochMetrics:
        found = self.score()
        if found.metrics is not None and found.metrics.predicted is not None:
            slim = replace(found.metrics, predicted=None, targets=None, confidence=None)
            self.scored = found = replace(found, metrics=slim)
        return found


@final
class EpochScores(Sequence[EpochMetrics]):
    """The scores of the epochs that have ended, oldest first; an epoch's are computed when it is first asked for.

    May be asked from any thread, while the run trains. Of very long runs every second of the older epochs goes.

    Example:
        >>> scores = EpochScores()
        >>> kept = Outputs()
        >>> kept.add(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
        >>> scores.add(1, 10, kept, Scoring(("cat", "dog")), is_best=True)
        >>> scores[-1].scores["f1"], scores.best.epoch
        (1.0, 1)
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._lock = threading.RLock()
        self._epochs: list[_Epoch] = []
        self._best: _Epoch | None = None
        self._began, self._spent = time.monotonic(), 0.0
        # At most so much is held; counted again when there seems to be too much.
        self._held = 0

    def add(self, epoch: int, step: int, outputs: Outputs, scoring: Scoring, *, is_best: bool) -> None:
        """One finished epoch."""
        one = _Epoch(epoch, step)
        one.kept = (scoring, *outputs.joined(), outputs.total)
        with self._lock:
            if not self._epochs:
                self._began = time.monotonic()
            self._epochs.append(one)
            if is_best:
                self._best = one
            self._held += one.num_bytes
            if self._held > self._kept_bytes:
                self._make_room()
                self._held = self._count()
            if len(self._epochs) > EPOCHS:
                self._epochs = self._epochs[:1] + self._epochs[2:-1:2] + self._epochs[-1:]

    def _make_room(self) -> None:
        if self._count() > self._kept_bytes:
            began = time.monotonic()
            for one in self._older():
                if self._spent > _SHARE * (began - self._began):
                    break
                one.without_predictions()
                self._spent += time.monotonic() - began
        while self._count() > self._kept_bytes and self._older():
            gone = set(self._older()[::2])
            self._epochs = [one for one in self._epochs if one not in gone]

    def _count(self) -> int:
        return sum(one.num_bytes for one in self._epochs)

    def _older(self) -> list[_Epoch]:
        """Those whose outputs are kept though they are neither the last nor the best."""
        return [one for one in self._epochs[:-1] if one.kept is not None and one is not self._best]

    def _shown(self, one: _Epoch) -> EpochMetrics:
        return one.score() if one is self._best or one is self._epochs[-1] else one.without_predictions()

    @overload
    def __getitem__(self, index: int) -> EpochMetrics: ...
    @overload
    def __getitem__(self, index: slice) -> list[EpochMetrics]: ...
    @override
    def __getitem__(self, index: int | slice) -> EpochMetrics | list[EpochMetrics]:
        with self._lock:
            if isinstance(index, slice):
                return [self._shown(one) for one in self._epochs[index]]
            return self._shown(self._epochs[index])

    @override
    def __iter__(self) -> Iterator[EpochMetrics]:
        return iter(self[:])

    @override
    def __len__(self) -> int:
        return len(self._epochs)

    @property
    def best(self) -> EpochMetrics | None:
        """The epoch with the lowest finite validation loss so far."""
        with self._lock:
            return None if self._best is None else self._shown(self._best)

    def at(self, step: int) -> EpochMetrics | None:
        """The last epoch that ended after at most `step` steps; None before the first."""
        with self._lock:
            found = [one for one in self._epochs if one.step <= step]
            return self._shown(found[-1]) if found else None

    def known(self) -> list[EpochMetrics]:
        """Those that are computed already."""
        with self._lock:
            return [one.scored for one in self._epochs if one.scored is not None]

    def until(self, num_epochs: int, best: int | None) -> EpochScores:
        """A copy of the first `num_epochs`; `best` is the number of the best of them."""
        copy = EpochScores(self._kept_bytes)
        with self._lock:
            copy._epochs = [_copied(one) for one in self._epochs if one.epoch <= num_epochs]
        copy._best = next((one for one in copy._epochs if one.epoch == best), None)
        copy._held = copy._count()
        return copy

    @classmethod
    def of(cls, scored: Iterable[EpochMetrics], best: int | None) -> EpochScores:
        """Those of a file."""
        made = cls()
        for found in scored:
            one = _Epoch(found.epoch, found.step)
            one.scored = found
            made._epochs.append(one)
            if found.epoch == best:
                made._best = one
        return made

    def __repr__(self) -> str:
        return f"EpochScores({len(self)} epochs)"


def _copied(one: _Epoch) -> _Epoch:
    copy = _Epoch(one.epoch, one.step)
    copy.kept, copy.scored = one.kept, one.scored
    return copy
