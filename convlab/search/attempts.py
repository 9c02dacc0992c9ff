"""What became of each trial, read from the study: a trial that was interrupted and tried again is one trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast, final

from convlab.search.space import Space, Values

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

State = Literal["waiting", "running", "finished", "pruned", "diverged", "failed", "skipped", "lost"]
TRAINED: Final = ("finished", "pruned", "diverged", "failed", "lost")
"""States of trials that a budget counts."""

MOST_RETRIES: Final = 5
"""How often a trial is tried again whose worker died: it may be the trial that kills it."""

BEGUN, RESULT = "begun", "result"
"""Attributes of an Optuna trial: the number of the attempt that has reached the training; what came of it."""


@final
@dataclass(frozen=True)
class Trial:
    """One trial of a sweep.

    Attributes:
        number: its number, that of its first attempt.
        attempt: the number of its last attempt in the study.
        state: ``"waiting"``, ``"running"``, ``"finished"``, ``"pruned"`` (hopeless, so ended early), ``"diverged"``
            (the loss became infinite or NaN), ``"failed"`` (an exception), ``"skipped"`` (values that do not go
            together) or ``"lost"`` (its worker died each time).
        values: what it tried.
        value: the lowest validation loss of its epochs (training loss without validation data), or None.
        losses: that loss after each epoch.
        accuracy: validation accuracy of the best epoch, 0..1, or None.
        seconds: how long its training took, or None.
        retries: how often it was tried again because its worker died.
        reason: why it was skipped or failed.
    """

    number: int
    attempt: int
    state: State
    values: Values
    value: float | None
    losses: Mapping[int, float]
    accuracy: float | None
    seconds: float | None
    retries: int
    reason: str

    def __repr__(self) -> str:
        tried = ", ".join(f"{name}={_short(value)}" for name, value in self.values.items())
        result = "" if self.value is None else f", {self.value:.4g}"
        return f"Trial({self.number}: {self.state}{result}, {tried})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@final
@dataclass(frozen=True)
class Counts:
    """How many trials of a sweep are in each state, and how often one was tried again because its worker died."""

    finished: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    skipped: int = 0
    lost: int = 0
    running: int = 0
    waiting: int = 0
    retried: int = 0

    @property
    def trained(self) -> int:
        """What a budget counts: all that have ended but those that were skipped."""
        return self.finished + self.pruned + self.diverged + self.failed + self.lost

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> Counts:
        """Of these trials."""
        trials = list(trials)
        return cls(**Counter[str](one.state for one in trials), retried=sum(one.retries for one in trials))


def root(trial: FrozenTrial) -> int:
    """The number of the first attempt."""
    history = trial.system_attrs.get("retry_history") or [trial.number]
    return int(history[0])


def outcome(trial: FrozenTrial) -> dict[str, Any]:
    """What this very attempt has told of its end; nothing where it told none."""
    told = trial.user_attrs.get(RESULT) or {}
    return cast(dict[str, Any], told) if told.get("attempt") == trial.number else {}


def state_of(trial: FrozenTrial) -> State | Literal["surplus", "handed back"]:
    """What became of an attempt."""
    name = trial.state.name
    if name in ("WAITING", "RUNNING"):
        return cast(State, name.lower())
    told = outcome(trial).get("outcome")
    if told in ("skipped", "diverged", "failed", "surplus", "handed back"):
        return cast(State, told)
    return "finished" if name == "COMPLETE" else "pruned" if name == "PRUNED" else "lost"


def is_pending(trial: FrozenTrial) -> bool:
    """Whether an attempt whose worker died is to be tried again."""
    return state_of(trial) == "lost" and len(trial.system_attrs.get("retry_history", ())) < MOST_RETRIES


def attempts_by_root(trials: Iterable[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """The attempts at each trial, oldest first; without those that came too many."""
    found: dict[int, list[FrozenTrial]] = {}
    for one in trials:
        if state_of(one) != "surplus":
            found.setdefault(root(one), []).append(one)
    return found


def trials_of(study_trials: Iterable[FrozenTrial], space: Space) -> list[Trial]:
    """The trials of a study, by number."""
    return [_trial(number, some, space) for number, some in sorted(attempts_by_root(study_trials).items())]


def _trial(number: int, attempts: list[FrozenTrial], space: Space) -> Trial:
    ended = [one for one in attempts if state_of(one) in ("finished", "pruned", "diverged", "failed", "skipped")]
    last = (ended or attempts)[-1]
    told, state = outcome(last), state_of(last)
    if state == "handed back":  # not yet queued again
        state = "waiting"
    deaths = sum(state_of(one) == "lost" for one in attempts) - (state == "lost")
    if state == "lost" and is_pending(last):
        state = "running"
    losses = dict(sorted(last.intermediate_values.items()))
    value = last.value if state == "finished" else min(losses.values(), default=None)
    given = last.params or last.system_attrs.get("fixed_params", {})
    return Trial(
        number=number,
        attempt=last.number,
        state=cast(State, state),
        values=space.values(given),
        value=value,
        losses=losses,
        accuracy=told.get("accuracy"),
        seconds=told.get("seconds"),
        retries=deaths,
        reason=str(told.get("reason", "")),
    )
