"""One training in several processes of this machine: what `convlab.fit` does with `processes` above 1."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import nn

from convlab.data.sources import LoaderSource
from convlab.limits import Limits, SpecError
from convlab.spec import TrainSpec
from convlab.training.active import on_loan
from convlab.training.autosave import saved_runs
from convlab.training.job import Failure, Given, Job
from convlab.training.journal import Change
from convlab.training.lifeline import end, kin_of
from convlab.training.metrics import Score
from convlab.training.run import Run
from convlab.training.threads import AVAILABLE
from convlab.training.trainer import Criterion

PROCESSES: Final = Limits(1, 64, 2, whole=True)

_LOOK_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 5.0
"""For the others to end after one has failed."""
_STOP_SECONDS: Final = 15.0
"""For a step to end after Ctrl-C; then the last whole epoch counts."""


class ProcessesError(RuntimeError):
    """The processes were killed more often than they are begun anew."""


def fit_in_processes(
    model: nn.Module,
    data: object,
    spec: TrainSpec | None,
    criterion: Criterion | None,
    metrics: Mapping[str, Score] | None,
    journal: Sequence[Change],
    processes: int,
) -> Run:
    """Train in `processes` processes and wait; the run as it ended, its error not raised yet. See `convlab.fit`."""
    run = Run(model, data, spec, criterion=criterion, metrics=metrics, journal=journal)
    _check(run, processes)
    run._trainer.threads = run.spec.threads or min(run.threads, _threads(processes))
    run.keep_start()
    # Readable for nobody else, by `tempfile`'s own rule.
    with tempfile.TemporaryDirectory(prefix="convlab-", ignore_cleanup_errors=True) as folder:
        job = Job(Path(folder))
        run.save(job.start)
        digest = job.write(Given(model, run.data, criterion, journal, run._trainer.scoring.own))
        with on_loan(model):
            interrupted, code = _wait(job, _begin(job, digest, processes))
        return _outcome(run, job, interrupted, code, criterion)


def _threads(processes: int) -> int:
    return max(1, AVAILABLE // processes)


def _check(run: Run, processes: int) -> None:
    if any(isinstance(source, LoaderSource) for source in (run.data.train, run.data.valid)):
        raise SpecError(
            f"processes={processes} needs data whose batches can be parted, not a DataLoader, which makes them itself; "
            "try its data set: (train_loader.dataset, valid_loader.dataset)."
        )
    device = run.device
    if device.type == "mps" or device.index is not None:
        raise SpecError(
            f"device={run.spec.device!r} is one device, which processes={processes} cannot share; "
            "try device='cpu', or processes=1."
        )
    if device.type == "cuda" and (there := torch.cuda.device_count()) < processes:
        raise SpecError(
            f"processes={processes} needs a GPU for each and there {'is' if there == 1 else 'are'} {there}; "
            f"try processes={there}, or device='cpu'."
        )


def _begin(job: Job, digest: str, processes: int) -> subprocess.Popen[bytes]:
    pid, began = kin_of(os.getpid())
    command = [sys.executable, "-m", "convlab.training.rank", "agent", str(job.path), digest, str(processes)]
    # Classes of modules are found where this process finds them.
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(_threads(processes))}
    with job.log.open("wb") as log:
        return subprocess.Popen(
            [*command, str(pid), str(began)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which tells the others
        )


def _wait(job: Job, agent: subprocess.Popen[bytes]) -> tuple[bool, int | None]:
    """Until all have ended; whether by Ctrl-C, and the agent's exit code."""
    interrupted = False
    try:
        try:
            _until_ended(job, agent, None)
        except KeyboardInterrupt:
            interrupted = True
            job.stop.touch()
            _until_ended(job, agent, time.monotonic() + _STOP_SECONDS)
        return interrupted, agent.poll()
    finally:
        end(agent.pid)
        agent.wait()


def _until_ended(job: Job, agent: subprocess.Popen[bytes], until: float | None) -> None:
    while agent.poll() is None and (until is None or time.monotonic() < until):
        if until is None and job.failed:
            until = time.monotonic() + _GRACE_SECONDS
        time.sleep(_LOOK_SECONDS)


def _outcome(run: Run, job: Job, interrupted: bool, code: int | None, criterion: Criterion | None) -> Run:
    found = saved_runs(job.saved) if job.saved.exists() else []
    failure = job.failure
    if found:
        scoring = run._trainer.scoring
        run = Run.load(found[0].path, run.model, run.data, criterion=criterion)
        run._trainer.scoring = scoring
        run.history.scores = job.scores or run.history.scores
    if run.ended and failure is None:
        return run
    if failure is None and not interrupted:
        failure = Failure(0, ProcessesError(_last_words(job, code)), "")
    run.taken_up(None, ended="stopped" if failure is None else "failed")
    if failure is not None:
        run.error, run.traceback = failure.error, failure.traceback
        if failure.traceback:
            run.error.add_note(f"In process {failure.rank}:\n{failure.traceback}")
    return run


def _last_words(job: Job, code: int | None) -> str:
    lines = [line for line in job.log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return (
        f"the processes ended again and again (exit code {code}), often for lack of memory; try fewer processes, or "
        f"processes=1. The last lines they wrote:\n{chr(10).join(lines[-20:])}"
    )
