"""The Optuna study of a sweep: a database with heartbeat and retry, what proposes values, what ends hopeless trials."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from convlab.search.attempts import BEGUN, MOST_RETRIES, is_pending
from convlab.search.directory import STUDY, Directory

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SAMPLERS: Final = ("tpe", "random", "grid")
PRUNERS: Final = ("median", "hyperband", "none")
GRACE: Final = 4
"""Heartbeats that may be missed."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log, and without its notes that the heartbeat is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def storage_of(directory: Directory) -> optuna.storages.RDBStorage:
    """The database. A worker that misses `GRACE` heartbeats is dead, and what it trained is tried again."""
    import optuna

    told = directory.manifest
    with quiet():
        return optuna.storages.RDBStorage(
            directory.storage,
            engine_kwargs={"connect_args": {"timeout": 60}} if told["storage"] is None else {"pool_pre_ping": True},
            heartbeat_interval=told["heartbeat"],
            grace_period=GRACE * told["heartbeat"],
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(MOST_RETRIES),
        )


def make_study(directory: Directory) -> optuna.Study:
    """The study, made if there is none."""
    import optuna

    told = directory.manifest
    if told["storage"] is None:
        # A reader does not wait for a writer then, nor a writer for a reader.
        with contextlib.closing(sqlite3.connect(directory.path / STUDY)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    storage = storage_of(directory)
    with quiet():
        return optuna.create_study(
            storage=storage, study_name=told["study"], direction="minimize", load_if_exists=True, sampler=_random(0)
        )


def open_study(directory: Directory, number: int) -> optuna.Study:
    """The study as worker `number` uses it."""
    import optuna

    told = directory.manifest
    with quiet():
        study = optuna.load_study(
            study_name=told["study"], storage=storage_of(directory), sampler=_random(0), pruner=_pruner(told)
        )
        # Two workers must not draw the same numbers, nor one the same after it has begun again.
        seeds = np.random.SeedSequence([told["seed"], number, len(study.get_trials(deepcopy=False))])
        study.sampler = _sampler(told["sampler"], int(seeds.generate_state(1)[0]))
    return study


def _random(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.RandomSampler(seed)


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    # A grid is queued as a whole; nothing is proposed.
    return optuna.samplers.TPESampler(seed=seed) if name == "tpe" else _random(seed)


def _pruner(told: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    import optuna

    if told["pruner"] == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(2, told["spec"]["epochs"]))
    return optuna.pruners.MedianPruner() if told["pruner"] == "median" else optuna.pruners.NopPruner()


def try_again(study: optuna.Study, trial: FrozenTrial, most: int | None = MOST_RETRIES) -> None:
    """Queue an attempt that ended without a result once more."""
    import optuna

    with quiet():
        optuna.storages.RetryHeartbeatStaleTrialCallback(most)(study, trial)


class Mender:
    """What the heartbeat leaves: a trial whose worker died before the first beat, or between failing it and its retry.

    Each is taken for dead only after it has been seen so for the whole grace period, by this process's clock.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._seen: dict[int, float] = {}

    def mend(self, study: optuna.Study, now: float) -> None:
        """Let dead trials be tried again.

        Args:
            study: where they are.
            now: seconds, by a clock that never goes back.
        """
        import optuna

        with quiet():
            optuna.storages.fail_stale_trials(study)
        trials = study.get_trials(deepcopy=False)
        followed = {number for one in trials for number in one.system_attrs.get("retry_history", ())}
        suspects = {one.number: one for one in trials if _is_suspect(one) and one.number not in followed}
        self._seen = {number: self._seen.get(number, now) for number in suspects}
        for number, since in self._seen.items():
            if now - since <= self._grace:
                continue
            trial = suspects[number]
            if trial.state.name == "RUNNING":
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                    study.tell(number, state=optuna.trial.TrialState.FAIL)
            else:
                try_again(study, trial)


def _is_suspect(trial: FrozenTrial) -> bool:
    if trial.state.name == "RUNNING":
        return bool(trial.user_attrs.get(BEGUN) != trial.number)
    return is_pending(trial)
