"""`convlab.Sweep`: many trainings in search of good settings, on as many processes as there are."""

from __future__ import annotations

import functools
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, final

from convlab.data.resolve import resolve
from convlab.limits import SpecError, check_choice, short
from convlab.net_spec import NetSpec
from convlab.search.attempts import Counts, Trial, trials_of
from convlab.search.directory import (
    MANIFEST,
    Budget,
    Directory,
    SweepError,
    Worker,
    described,
    in_memory,
    log_of,
    note_worker,
    workers_of,
)
from convlab.search.recipe import Model, Recipe
from convlab.search.space import Space, Values
from convlab.search.study import PRUNERS, SAMPLERS, make_study, quiet
from convlab.search.worker import Work, hopeless, work
from convlab.spec import TrainSpec
from convlab.training.threads import AVAILABLE

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from matplotlib.figure import Figure

    from convlab.training.run import Run
    from convlab.training.trainer import Criterion

SweepState = Literal["pending", "running", "paused", "stopped", "interrupted", "finished"]
LOOK_SECONDS: Final = 0.2
HEARTBEAT: Final = 5
"""Seconds between two signs of life of a worker; after four that are missed its trial is tried again."""

_children: Final[list[subprocess.Popen[bytes]]] = []


@final
class Sweep:
    """Trainings with different settings, each a trial of a study of Optuna, in processes that outlive the notebook.

    All of it is kept in a directory: `Sweep` with the same arguments, or `Sweep.open`, takes it up again after a
    restart of the kernel; trials that had finished stay, one that was interrupted is tried again.

    Args:
        model: a name of `GALLERY`, a `NetSpec`, an `nn.Module` of which each trial trains a copy, or a function that
            builds one and takes by name what the space has of it.
        data: what `convlab.data.resolve` takes: ``"digits"``, ``(X, y)``, ``(train, valid)`` data sets or loaders.
        spec: the settings that are not tried; `TrainSpec()` if left out.
        space: what is tried of each setting: ``(low, high)``, ``(low, high, "log")`` or a list of values. Settings are
            the arguments of `TrainSpec` (a schedule as a `ScheduleSpec`, or by its name: as long as the training); for
            a name of the gallery and a `NetSpec` also ``filters`` of the first block, the others in proportion,
            ``depth`` in blocks, ``init``, and the arguments of `Block`, for every block.
        directory: where it is kept; made if it is not there.
        sampler: what proposes values: ``"tpe"`` (Bergstra et al. 2011), ``"random"``, or ``"grid"``: all combinations.
        pruner: what ends a hopeless trial after an epoch, by its validation loss: ``"median"``: worse than the median
            of the trials before it; ``"hyperband"`` (Li et al. 2018); ``"none"``.
        storage: a database for workers on several machines, ``"postgresql+psycopg://user@host/database"``; a SQLite
            file in the directory if left out. A password belongs into ``~/.pgpass``.
        seed: seeds what is proposed.
        criterion: as for `convlab.fit`.
        heartbeat: seconds between two signs of life of a worker; one that misses four is taken for dead.

    Raises:
        SpecError: the space has a setting or a value that there is not; the message says what would work.
        SweepError: the directory holds another sweep.

    Example:
        >>> import tempfile
        >>> space = {"lr": (0.01, 0.2, "log"), "optimizer": ["sgd", "adamw"]}
        >>> sweep = Sweep("single_conv", "digits", TrainSpec(epochs=2), space, directory=tempfile.mkdtemp())
        >>> sweep.run(trials=2, workers=0)
        Sweep(finished: 2 of 2 trials)
        >>> sorted(sweep.best.values)
        ['lr', 'optimizer']
    """

    def __init__(
        self,
        model: Model,
        data: object,
        spec: TrainSpec | None = None,
        space: Mapping[str, Any] | None = None,
        *,
        directory: str | Path = "sweep",
        sampler: str = "tpe",
        pruner: str = "median",
        storage: str | None = None,
        seed: int = 0,
        criterion: Criterion | None = None,
        heartbeat: int = HEARTBEAT,
    ) -> None:
        check_choice("sampler", sampler, SAMPLERS)
        check_choice("pruner", pruner, PRUNERS)
        _check_storage(storage)
        found = resolve(data)
        recipe = Recipe(model, found, spec or TrainSpec(), Space.of(space or {}))
        if sampler == "grid":
            recipe.space.combinations()
        rest = {"sampler": sampler, "pruner": pruner, "storage": storage, "seed": seed, "heartbeat": heartbeat}
        told = described(recipe, data, criterion, rest)
        self.directory = Directory(Path(directory))
        self._take_up(told) if self.directory.exists else self._begin(told, recipe)
        given = {"model": recipe.model, "data": data, "criterion": criterion}
        pickled = {name: given[name] for name in told["pickled"]}
        self._trusted = self.directory.pickle(pickled) if pickled else None
        self._recipe: Recipe | None = recipe
        self._criterion = criterion
        self._look()

    def _begin(self, told: dict[str, Any], recipe: Recipe) -> None:
        self.directory.path.mkdir(parents=True, exist_ok=True)
        if "built_in" not in told["data"] and in_memory(recipe.data):
            self.directory.keep_data(recipe.data)
        self.directory.write(MANIFEST, {**told, "study": f"convlab-{secrets.token_hex(6)}"})

    def _take_up(self, told: dict[str, Any]) -> None:
        there = self.directory.manifest
        for name, value in told.items():
            if name != "written_by" and there.get(name) != value:
                raise SweepError(
                    f"directory {str(self.directory.path)!r} holds another sweep, whose {name} is "
                    f"{short(there.get(name))}; try directory={_free(self.directory.path)!r}."
                )

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """The sweep in a directory, to be looked at, and to go on where its model and data are no code of yours.

        Nothing in it is unpickled: `run` asks for the model then.

        Raises:
            SweepError: there is none.
        """
        made = cls.__new__(cls)
        made.directory = Directory(Path(directory))
        made._trusted, made._criterion = None, None
        made._recipe = None if made.directory.manifest["pickled"] else made.directory.recipe(None)[0]
        made._look()
        return made

    def _look(self) -> None:
        self.futures: list[Any] = []
        self.study: optuna.Study = make_study(self.directory)
        self.space = Space.of(self.directory.manifest["space"])

    # -- controls -----------------------------------------------------------------------------------------------------

    def run(
        self,
        trials: int | None = None,
        *,
        minutes: float | None = None,
        workers: int = 1,
        submit: Callable[..., Any] | None = None,
    ) -> Self:
        """Let it go on until there are so many trials in all; returns at once.

        Args:
            trials: in all; those that were skipped are not counted. Left out: as before, all of a grid, or no end.
            minutes: no trial begins after so many, and one in progress ends with its epoch.
            workers: processes of this machine that work on it, those that do already among them; 0 trains here, in this
                process, and returns when all is done.
            submit: sends a function to a cluster: ``client.submit`` of Dask. `workers` are sent.

        Raises:
            ValueError: a number is impossible, or there is no budget.
            SweepError: the model would have to be unpickled.
        """
        budget = self._budget(trials, minutes)
        if not isinstance(workers, int) or not 0 <= workers <= 4096:
            raise ValueError(f"workers must be a whole number from 0 to 4096, got {short(workers)}; try workers=2.")
        recipe = self._recipe
        if recipe is None or (self.directory.manifest["pickled"] and self._trusted is None):
            self.directory.recipe(None)  # says what is missing
            raise SweepError("this sweep cannot go on")
        if self.directory.manifest["sampler"] == "grid":
            self._queue_grid()
        self.directory.set_budget(budget)
        self.directory.set_wish("run")
        if self.state == "finished":
            return self
        if submit is not None:
            self._submit(submit, workers)
        elif workers == 0:
            Work(self.directory, recipe, self._criterion).until_done()
        else:
            for _ in range(workers - len(self.workers)):
                self._start_worker(max(1, AVAILABLE // workers))
        return self

    def _budget(self, trials: int | None, minutes: float | None) -> Budget:
        before = self.directory.budget
        if trials is not None and (not isinstance(trials, int) or trials < 1):
            raise ValueError(f"trials must be a whole number of at least 1, got {short(trials)}; try trials=20.")
        if minutes is not None and not minutes > 0:
            raise ValueError(f"minutes must be above 0, got {short(minutes)}; try minutes=10.")
        is_grid = self.directory.manifest["sampler"] == "grid"
        if is_grid and trials is not None and trials != (count := sum(1 for _ in self.space.combinations())):
            raise ValueError(f"a grid has all of its {count} combinations, got trials={trials}; leave trials out.")
        if trials is None and minutes is None and not is_grid and before.trials == 0:
            raise ValueError("a sweep needs a budget; try sweep.run(trials=20), or minutes=10.")
        deadline = None if minutes is None else time.time() + 60 * minutes
        since = len(self.study.get_trials(deepcopy=False))
        return Budget(trials if trials is not None else before.trials or None, deadline, since)

    def _queue_grid(self) -> None:
        queued = [one.system_attrs.get("fixed_params") for one in self.study.get_trials(deepcopy=False)]
        for values in self.space.combinations():
            if values not in queued:
                self.study.enqueue_trial(values)

    def _submit(self, submit: Callable[..., Any], workers: int) -> None:
        first, path = len(self.futures), str(self.directory.path.resolve())
        for number in range(first, first + workers):
            self.futures.append(submit(work, path, self._trusted, number, secrets.token_hex(4)))

    def _start_worker(self, threads: int) -> None:
        folder = self.directory.path / "workers"
        folder.mkdir(exist_ok=True)
        number = len(list(folder.glob("*.log")))
        command = [sys.executable, "-m", "convlab.search.worker", str(self.directory.path.resolve())]
        command += ["--number", str(number), *(["--trusted", self._trusted] if self._trusted else [])]
        # Functions are found where this process finds them.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
        with log_of(self.directory, number).open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,  # a kernel takes its children along
            )
        _children.append(process)
        note_worker(self.directory, process.pid, number)

    def pause(self) -> Self:
        """Let all workers stand still after their epoch."""
        self.directory.set_wish("pause")
        return self

    def resume(self) -> Self:
        """Go on after a pause; after a stop, or where no worker is left, with one worker and the budget as it was."""
        self.directory.set_wish("run")
        return self if self.workers or self._futures_pending() else self.run()

    def stop(self) -> Self:
        """Let all workers end after their epoch; what they train is begun again when the sweep goes on."""
        self.directory.set_wish("stop")
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the budget is met, or for `timeout` seconds. Ctrl-C ends the waiting, not the sweep.

        Raises:
            SweepError: no worker is left, or it makes no sense to go on; the message says why.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            # In this order: a worker ends after it has told so.
            left = bool(self.workers) or self._futures_pending()
            trials = self.trials
            if not left and (reason := hopeless(trials, self.directory.budget.since)):
                raise SweepError(f"{reason}")
            state = self._state(trials, left)
            if state == "finished" or (state in ("stopped", "pending") and not left):
                return self
            if state == "interrupted":
                raise SweepError(f"no worker is left; sweep.resume() goes on. {self._last_words()}".strip())
            if until is not None and time.monotonic() >= until:
                return self
            time.sleep(LOOK_SECONDS)

    def _futures_pending(self) -> bool:
        return any(not one.done() for one in self.futures if hasattr(one, "done"))

    def _last_words(self) -> str:
        logs = sorted((self.directory.path / "workers").glob("*.log"), key=lambda path: path.stat().st_mtime)
        lines = logs[-1].read_text("utf-8", errors="replace").splitlines() if logs else []
        errors = [str(one.exception()) for one in self.futures if hasattr(one, "exception") and one.done()]
        return next((f"The last one said: {line}" for line in [*reversed(lines), *errors] if line.strip()), "")

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> list[Worker]:
        """The processes of this machine that work on it."""
        for process in _children:
            process.poll()
        return workers_of(self.directory)

    @property
    def trials(self) -> list[Trial]:
        """Its trials by number."""
        return trials_of(self.study.get_trials(deepcopy=False), self.space)

    @property
    def counts(self) -> Counts:
        """How many trials are in each state."""
        return Counts.of(self.trials)

    @property
    def state(self) -> SweepState:
        """What it is doing: see `SweepState`; ``"interrupted"``: no worker is left though the budget is not met."""
        left = bool(self.workers) or self._futures_pending()
        return self._state(self.trials, left)

    def _state(self, trials: list[Trial], left: bool) -> SweepState:
        budget, counts, wish = self.directory.budget, Counts.of(trials), self.directory.wish
        if budget.trials == 0:
            return "pending"
        is_over = budget.deadline is not None and time.time() >= budget.deadline
        if hopeless(trials, budget.since) or (is_over and not left):
            return "finished"
        is_grid = self.directory.manifest["sampler"] == "grid"
        is_met = bool(trials) if is_grid else budget.trials is not None and counts.trained >= budget.trials
        if is_met and not counts.running and not counts.waiting:
            return "finished"
        if wish == "stop":
            return "stopped"
        if not left and (not counts.running or self._is_local):
            return "interrupted"
        return "paused" if wish == "pause" else "running"

    @property
    def _is_local(self) -> bool:
        """Whether all workers that may be are of this machine."""
        return self.directory.manifest["storage"] is None and not self.futures

    @property
    def total(self) -> int | None:
        """Trials that its budget allows; None where only time ends it."""
        if self.directory.manifest["sampler"] == "grid":
            return sum(1 for _ in self.space.combinations())
        return self.directory.budget.trials

    @property
    def seconds_left(self) -> float | None:
        """How long it will take yet, by the trials so far; None before the first."""
        budget, trials = self.directory.budget, self.trials
        ends = [] if budget.deadline is None else [max(0.0, budget.deadline - time.time())]
        took = [one.seconds for one in trials if one.seconds is not None]
        if took and self.total is not None:
            left = max(0, self.total - Counts.of(trials).trained)
            ends.append(left * sum(took) / len(took) / max(1, len(self.workers), len(self.futures)))
        return min(ends, default=None)

    @property
    def best(self) -> Trial | None:
        """The finished trial with the lowest value."""
        finished = [one for one in self.trials if one.state == "finished" and one.value is not None]
        return min(finished, key=lambda one: (one.value, one.number), default=None)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """Model, data, settings and space.

        Raises:
            SweepError: it would have to be unpickled.
        """
        return self._recipe or self.directory.recipe(None)[0]

    def spec(self, trial: int | Trial) -> TrainSpec:
        """The settings of a trial: with them, and its network, `convlab.fit` does the same training."""
        return self.recipe.train_spec(self._values(trial))

    def net(self, trial: int | Trial) -> NetSpec | None:
        """The network of a trial; None where the model is none that a `NetSpec` tells."""
        return self.recipe.net_spec(self._values(trial))

    def load(self, trial: int | Trial) -> Run:
        """The run of a trial that has finished or was pruned, with its curve and its weights.

        Raises:
            LookupError: there is no such trial, or it has no run.
            CheckpointError: its file is damaged.
        """
        from convlab.training.run import Run

        number = trial.number if isinstance(trial, Trial) else trial
        values, path = self._values(trial), self.directory.run_file(number)
        if not path.exists():
            raise LookupError(f"trial {number} has no run; those that have finished have one.")
        recipe = self.recipe
        model = None if recipe.net is not None else recipe.build(values, self.spec(trial).seed)
        return Run.load(path, model, recipe.data, criterion=self._criterion)

    def _values(self, trial: int | Trial) -> Values:
        if isinstance(trial, Trial):
            return trial.values
        for one in self.trials:
            if one.number == trial:
                return one.values
        raise LookupError(f"there is no trial {trial!r}; there are {len(self.trials)}, the first is 0.")

    def importances(self) -> dict[str, float]:
        """What share of the differences between values each setting explains, the most important first.

        By fANOVA (Hutter et al. 2014), as Optuna computes it; empty before there are two finished trials that differ.
        """
        import optuna

        finished = [one for one in self.trials if one.state == "finished"]
        if len({one.value for one in finished}) < 2:
            return {}
        with quiet():
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each trial: trial, state, value, accuracy, epochs, seconds, retries, reason, and what it tried."""
        import pandas as pd

        rows = [
            {
                "trial": one.number,
                "state": one.state,
                "value": one.value,
                "accuracy": one.accuracy,
                "epochs": len(one.losses),
                "seconds": one.seconds,
                "retries": one.retries,
                "reason": one.reason,
                **one.values,
            }
            for one in self.trials
        ]
        names = ["trial", "state", "value", "accuracy", "epochs", "seconds", "retries", "reason", *self.space.entries]
        return pd.DataFrame(rows, columns=names)

    def plot(self) -> Figure:
        """A figure of the trials' curves, of what each tried, and of how much each setting matters."""
        from convlab.plots.sweep import plot_sweep

        return plot_sweep(self)

    def __repr__(self) -> str:
        counts = self.counts
        of = f"{counts.trained}{'' if self.total is None else f' of {self.total}'} trials"
        more = [f"{getattr(counts, name)} {name}" for name in ("skipped", "failed", "lost") if getattr(counts, name)]
        return f"Sweep({', '.join([f'{self.state}: {of}', *more])})"


def _free(path: Path) -> str:
    number = 2
    while (found := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return str(found)


def _check_storage(storage: str | None) -> None:
    if storage is None:
        return
    scheme, _, rest = storage.partition("://")
    if not scheme.startswith("postgresql") or not rest:
        raise SpecError(
            f"storage must name a PostgreSQL database, got {short(storage)}; "
            "try storage='postgresql+psycopg://user@host/database'."
        )
    if ":" in rest.partition("@")[0] and "@" in rest:
        raise SpecError(
            "storage holds a password, which would be written down in the directory; put it into ~/.pgpass and leave "
            "it out: storage='postgresql+psycopg://user@host/database'."
        )
