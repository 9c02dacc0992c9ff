"""The states of a run that it can go back to, within a budget of memory."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, overload

from convlab.training.state import TrainerState, capture, size_of
from convlab.training.trainer import Trainer

Reason = Literal["start", "epoch", "change", "end"]

SNAPSHOT_BYTES: Final = 2**29
"""Memory for the snapshots of one run, unless told otherwise."""

_REST: Final = 20
"""How many times as long as taking one after a change is waited before the next."""

MOST: Final = 256
"""Snapshots of one run: more positions than a slider has pixels to tell apart."""


@dataclass(frozen=True, eq=False)
class RunSnapshot:
    """A run as it was after `step` steps.

    Attributes:
        step: steps done.
        epoch: the epoch that the last of them was in.
        reason: ``"start"``, ``"epoch"`` (its last step was done), ``"change"`` (a person changed something), ``"end"``.
        state: from which the run can go on.
    """

    step: int
    epoch: int
    reason: Reason
    state: TrainerState

    @cached_property
    def num_bytes(self) -> int:
        """Memory of its copies."""
        return self.state.num_bytes

    def __str__(self) -> str:
        words = {
            "start": "the start",
            "epoch": f"the end of epoch {self.epoch}",
            "change": ", ".join(str(one) for one in self.state.journal if one.step == self.step)[:80],
            "end": f"the end, in epoch {self.epoch}",
        }
        return f"step {self.step:,}: {words[self.reason]}"


class Snapshots(Sequence[RunSnapshot]):
    """What a run can be rewound to, oldest first.

    Beyond its budget the snapshot that leaves the smallest gap goes, so that those that stay are spread evenly; the
    first and the latest stay.

    Args:
        budget: memory for all of them, in bytes.
        most: how many at most.
    """

    def __init__(self, budget: int = SNAPSHOT_BYTES, most: int = MOST) -> None:
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 0:
            raise ValueError(f"snapshot_bytes must be a whole number of at least 0, got {budget!r}; try 2**29.")
        self.budget, self.most = budget, most
        self.taken = 0
        self._next_change = 0.0
        self._waits = False
        self._kept: list[RunSnapshot] = []
        self._lock = threading.Lock()
        self._too_large = 0
        self._refused = ""

    def keep(self, trainer: Trainer, reason: Reason) -> None:
        """Take one now, between two steps; it takes the place of an earlier one of the same step."""
        if (size := size_of(trainer)) > self.budget:
            self._too_large = size
            return
        try:
            state = capture(trainer)
        except (MemoryError, RuntimeError) as error:  # no room: that is no reason to end a training
            self._refused = str(error)
            return
        self.add(RunSnapshot(trainer.history.num_steps, trainer.epoch, reason, state))

    def keep_change(self, trainer: Trainer) -> None:
        """Take one after a change, or soon: a hand that drags makes sixty a second, and this shall cost little."""
        began = time.monotonic()
        self._waits = began < self._next_change
        if not self._waits:
            self.keep(trainer, "change")
            now = time.monotonic()
            self._next_change = now + _REST * (now - began)

    def put_off(self) -> None:
        """Take one at the next step boundary."""
        self._waits = True

    def catch_up(self, trainer: Trainer) -> None:
        """Take the one that was put off, if it is time; at each step boundary."""
        if self._waits:
            self.keep_change(trainer)

    def add(self, snapshot: RunSnapshot) -> None:
        """Keep one more."""
        with self._lock:
            if self._kept and self._kept[-1].step == snapshot.step:
                self._kept.pop()
                self.taken -= 1
            self._kept.append(snapshot)
            self.taken += 1
            while len(self._kept) > 2 and (len(self._kept) > self.most or self._num_bytes() > self.budget):
                del self._kept[self._most_crowded()]

    def _most_crowded(self) -> int:
        steps = [one.step for one in self._kept]
        return min(range(1, len(steps) - 1), key=lambda i: steps[i + 1] - steps[i - 1])

    def at(self, step: int | None = None) -> RunSnapshot:
        """The latest one of `step` or before it; of all if left out.

        Raises:
            LookupError: there is none.
        """
        with self._lock:
            index = bisect.bisect_right(self._kept, step, key=lambda one: one.step) if step is not None else None
            found = self._kept[:index]
            if not found:
                raise LookupError(self.note or "this run has no snapshots; it has not begun.")
            return found[-1]

    @property
    def num_bytes(self) -> int:
        """Memory that they take, in bytes."""
        with self._lock:
            return self._num_bytes()

    def _num_bytes(self) -> int:
        return sum(one.num_bytes for one in self._kept)

    @property
    def note(self) -> str:
        """A sentence where the budget let some go, else empty."""
        if self._too_large:
            return (
                f"No snapshots: one takes {_megabytes(self._too_large)}, and the budget is {_megabytes(self.budget)}; "
                f"try snapshot_bytes={4 * self._too_large}."
            )
        if self._refused:
            return f"There was no memory for a snapshot: {self._refused[:100]}"
        if self.taken > len(self):
            return f"{len(self)} of {self.taken} snapshots kept, evenly spread, in {_megabytes(self.num_bytes)}."
        return ""

    @overload
    def __getitem__(self, index: int) -> RunSnapshot: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RunSnapshot]: ...
    def __getitem__(self, index: int | slice) -> RunSnapshot | Sequence[RunSnapshot]:
        with self._lock:
            return self._kept[index]

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[RunSnapshot]:
        with self._lock:
            return iter(tuple(self._kept))

    def __repr__(self) -> str:
        return f"Snapshots({len(self)} of {self.taken}, {_megabytes(self.num_bytes)})"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.3g} MiB"
