"""A worker of a sweep: it opens the study and trains until the budget is met. Any number may work on one directory.

``python -m convlab.search.worker DIRECTORY`` is a worker of this machine; `work` is what a cluster's engine runs.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from convlab.models.live import EditError
from convlab.search.attempts import (
    BEGUN,
    RESULT,
    Counts,
    Trial,
    attempts_by_root,
    state_of,
    trials_of,
)
from convlab.search.directory import Budget, Directory, forget_worker, note_worker
from convlab.search.recipe import ImpossibleError, Recipe
from convlab.search.study import GRACE, Mender, open_study, quiet, try_again
from convlab.spec import SpecError
from convlab.training.run import Run
from convlab.training.trainer import NonFiniteError

if TYPE_CHECKING:
    import optuna

    from convlab.training.trainer import Criterion

LOOK_SECONDS: Final = 0.2
"""How often an idle worker looks whether there is something to do."""
MOST_SKIPPED: Final = 50
"""Combinations in a row that may be impossible before the sweep gives up."""
MOST_FAILED: Final = 5
"""Trials that may fail before one has not."""


MOST_AWAY_SECONDS: Final = 600
"""How long a worker waits for a database that is gone."""


class _HandBackError(Exception):
    """The sweep was stopped in the middle of a trial: it is begun again when the sweep goes on."""


class _SurplusError(Exception):
    """Two workers began the last trial; this is the later one."""


class _FailedTrialError(Exception):
    """A trial without a result, whose reason is written down."""


def work(directory: str | Path, trusted: str | None = None, number: int = 0, token: str = "") -> int:
    """Train trials of the sweep in `directory` until its budget is met; returns how many this worker ended.

    Args:
        directory: of a `Sweep`; on a cluster, one that every machine sees.
        trusted: the SHA-256 of the pickle that may be opened, where model or data are no plain values.
        number: of this worker, so that no two draw the same numbers.
        token: anything; an engine takes two calls with the same arguments for one.

    Raises:
        SweepError: there is no sweep, or it needs a pickle that is not trusted.
    """
    del token
    folder = Directory(Path(directory))
    recipe, criterion = folder.recipe(trusted)
    return Work(folder, recipe, criterion, number).until_done()


def is_connection_lost(error: BaseException | None) -> bool:
    """Whether the database went away: Optuna tells so in several ways, one of them a slip of its own."""
    import optuna
    from sqlalchemy.exc import DBAPIError

    while error is not None:
        if isinstance(error, DBAPIError | optuna.exceptions.StorageInternalError):
            return True
        error = error.__cause__ or error.__context__
    return False


def hopeless(trials: list[Trial], since: int) -> str:
    """Why it makes no sense to go on; empty where it does.

    Args:
        trials: of the sweep.
        since: the first attempt that counts.
    """
    recent = [one for one in trials if one.attempt >= since]
    counts = Counts.of(recent)
    if counts.skipped >= MOST_SKIPPED and not counts.trained:
        reason = next(one.reason for one in reversed(recent) if one.state == "skipped")
        return f"all {counts.skipped} combinations that were tried are impossible, the last because {reason}"
    if counts.failed >= MOST_FAILED and counts.failed == counts.trained:
        reason = next(one.reason for one in reversed(recent) if one.state == "failed")
        return f"all {counts.failed} trials have failed, the last with {reason}"
    return ""


@final
class Work:
    """What a worker does; the recipe may hold anything when it works in the process of who made it."""

    def __init__(self, directory: Directory, recipe: Recipe, criterion: Criterion | None, number: int = 0) -> None:
        self.directory, self.recipe, self.criterion = directory, recipe, criterion
        self._worker = number
        self.study = open_study(directory, number)
        heartbeat = directory.manifest["heartbeat"]
        self._is_grid = directory.manifest["sampler"] == "grid"
        self._mender = Mender(GRACE * heartbeat)
        self._last_mend = -math.inf
        self._mend_seconds = heartbeat / 2
        self._number = self._attempt = 0
        self._ended = 0
        self._interrupted = False

    def until_done(self) -> int:
        """Train until the budget is met, or the sweep is stopped; how many trials were ended here."""
        with quiet():
            while not self._interrupted and self.directory.wish != "stop":
                try:
                    if not self._go_on():
                        break
                except Exception as error:
                    if not is_connection_lost(error):
                        raise
                    self._reconnect()
        if self._interrupted:
            raise KeyboardInterrupt
        return self._ended

    def _go_on(self) -> bool:
        """Train one trial, or wait a little; False at the end."""
        self._mend()
        step = "wait" if self.directory.wish == "pause" else self._next()
        if step == "wait":
            time.sleep(LOOK_SECONDS)
        elif step == "train":
            try:
                self.study.optimize(self._objective, n_trials=1, catch=(Exception,), callbacks=[self._after])
            except ValueError:  # so Optuna says that a trial has ended already
                if not self._was_given_up:
                    raise
        return step != "end"

    def _reconnect(self) -> None:
        """Wait until the database is back; what was trained meanwhile misses its heartbeat, and is tried again."""
        since = time.monotonic()
        while True:
            try:
                self.study = open_study(self.directory, self._worker)
            except Exception as error:
                if not is_connection_lost(error) or time.monotonic() - since > MOST_AWAY_SECONDS:
                    raise
                time.sleep(1)
            else:
                return

    @property
    def has_more(self) -> bool:
        """Whether there is something to do."""
        return self.directory.wish != "stop" and self._next() != "end"

    @property
    def _was_given_up(self) -> bool:
        """Whether this worker, alive but slow, was taken for dead: another one has its trial."""
        return state_of(self.study.trials[self._attempt]) == "lost"

    def _mend(self) -> None:
        if (now := time.monotonic()) - self._last_mend > self._mend_seconds:
            self._last_mend = now
            self._mender.mend(self.study, now)

    def _next(self) -> str:
        """``"train"``, ``"wait"`` for what others do, or ``"end"``."""
        budget = self.directory.budget
        trials = trials_of(self.study.get_trials(deepcopy=False), self.recipe.space)
        if _is_over(budget) or hopeless(trials, budget.since):
            return "end"
        counts = Counts.of(trials)
        if counts.waiting or (not self._is_grid and counts.trained + counts.running < _most(budget)):
            return "train"
        # Who waits here is there when another worker dies.
        return "wait" if counts.running else "end"

    # -- a trial ------------------------------------------------------------------------------------------------------

    def _objective(self, trial: optuna.Trial) -> float:
        self._attempt = trial.number
        self._number = self._claimed(trial)
        trial.set_user_attr(BEGUN, trial.number)
        try:
            values = self.recipe.space.suggest(trial)
            spec = self.recipe.train_spec(values)
            model = self.recipe.build(values, spec.seed)
            run = Run(model, self.recipe.data, spec, criterion=self.criterion, name=f"trial {self._number}")
        except (ImpossibleError, SpecError, EditError) as error:
            self._tell(trial, "skipped", reason=str(error))
            raise _FailedTrialError from None
        except Exception as error:
            self._tell_failed(trial, error)
            raise _FailedTrialError from error
        return self._train(trial, run)

    def _train(self, trial: optuna.Trial, run: Run) -> float:
        ending: list[str] = []
        run.each_epoch = lambda run: self._goes_on(trial, run, ending)
        began = time.monotonic()
        run.start().wait()
        seconds = time.monotonic() - began
        if isinstance(run.error, NonFiniteError):
            ending.append("diverged")
        elif run.error is not None:
            self._tell_failed(trial, run.error, run.traceback)
            raise _FailedTrialError from run.error
        elif run.state == "stopped" and not ending:
            self._interrupted = True
            ending.append("handed back")
        how = ending[-1] if ending else "finished"
        if how == "handed back":
            self._tell(trial, how)
            raise _HandBackError
        self._keep(trial, run, how, seconds)
        if how == "diverged":
            raise _FailedTrialError
        if how == "pruned":
            import optuna

            raise optuna.TrialPruned
        assert run.best is not None
        return _loss(run.best.valid_loss, run.best.train_loss)

    def _goes_on(self, trial: optuna.Trial, run: Run, ending: list[str]) -> bool:
        """After each epoch, in the training thread: report it, and look what is wished."""
        record = run.history.epochs[-1]
        loss = _loss(record.valid_loss, record.train_loss)
        if not math.isfinite(loss):
            ending.append("diverged")
            return False
        trial.report(loss, record.epoch)
        if record.epoch >= run.settings.epochs:
            return True
        while (wish := self.directory.wish) == "pause":
            time.sleep(LOOK_SECONDS)
        if wish == "stop" or _is_over(self.directory.budget):
            ending.append("handed back")
        elif trial.should_prune():
            ending.append("pruned")
        return not ending

    def _keep(self, trial: optuna.Trial, run: Run, how: str, seconds: float) -> None:
        reason = str(run.error) if run.error else ""
        try:
            path = self.directory.run_file(self._number)
            path.parent.mkdir(parents=True, exist_ok=True)
            run.save(path)
        except (OSError, ValueError) as error:  # its numbers are in the study all the same
            reason = f"{reason} its run could not be kept: {error}".strip()
        accuracy = run.best and (run.best.train_accuracy if run.best.valid_loss is None else run.best.valid_accuracy)
        self._tell(trial, how, reason=reason, seconds=seconds, accuracy=accuracy)

    def _tell_failed(self, trial: optuna.Trial, error: BaseException, trace: str = "") -> None:
        """The reason for the table, the rest for the log."""
        print(trace or "".join(traceback.format_exception(error)), file=sys.stderr, flush=True)  # noqa: T201
        self._tell(trial, "failed", reason=f"{type(error).__name__}: {error}")

    def _tell(self, trial: optuna.Trial, how: str, **more: object) -> None:
        trial.set_user_attr(RESULT, {"attempt": trial.number, "outcome": how, **more})

    def _claimed(self, trial: optuna.Trial) -> int:
        """The number of the trial that this is an attempt at. Of two that began the last one, only the first has it."""
        attempts = attempts_by_root(self.study.get_trials(deepcopy=False))
        mine = next(number for number, some in attempts.items() if trial.number in [one.number for one in some])
        earlier = [state_of(one) for one in attempts[mine] if one.number < trial.number]
        before = [some for number, some in attempts.items() if number < mine and state_of(some[-1]) != "skipped"]
        is_late = not self._is_grid and len(before) >= _most(self.directory.budget)
        if is_late or not {*earlier} <= {"lost", "handed back"}:
            self._tell(trial, "surplus")
            raise _SurplusError
        return mine

    def _after(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        how = state_of(trial)
        if how == "handed back":
            try_again(study, trial, None)
        elif how != "surplus":
            self._ended += how != "skipped"


def _loss(valid: float | None, train: float) -> float:
    return train if valid is None else valid


def _most(budget: Budget) -> float:
    return math.inf if budget.trials is None else budget.trials


def _is_over(budget: Budget) -> bool:
    """Whether its time is up, by the clock that all machines share."""
    return budget.deadline is not None and time.time() >= budget.deadline


def main() -> None:
    """A worker of this machine."""
    parser = argparse.ArgumentParser(prog="python -m convlab.search.worker", description=main.__doc__)
    parser.add_argument("directory")
    parser.add_argument("--trusted")
    parser.add_argument("--number", type=int, default=0)
    told = parser.parse_args()
    folder = Directory(Path(told.directory))
    with contextlib.suppress(KeyboardInterrupt):
        worker = Work(folder, *folder.recipe(told.trusted), told.number)
        while True:
            worker.until_done()
            # In this order: whoever gives more to do first writes it, then looks who is there.
            forget_worker(folder, os.getpid())
            if not worker.has_more:
                break
            note_worker(folder, os.getpid(), told.number)


if __name__ == "__main__":
    main()
