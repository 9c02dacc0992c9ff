"""Workers of this machine: they are killed, the kernel that started them restarts, and no trial is lost."""

import os
import signal
import time
from pathlib import Path

import optuna
import pytest
import torch
from kernelspecs import write_kernelspec
from live_kernel import LiveKernel
from sweep_nets import slow
from torch import nn
from waiting import until

from convlab.search.attempts import state_of
from convlab.search.directory import SweepError
from convlab.search.study import Mender, open_study, try_again
from convlab.search.sweep import Sweep
from convlab.search.worker import Work
from convlab.spec import TrainSpec

X = torch.randn(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = ((X[:32], torch.arange(32) % 10), (X[32:], torch.arange(16) % 10))
SPEC = TrainSpec(epochs=4, batch_size=8, threads=1)
SPACE = {"lr": (1e-3, 0.1, "log")}


def _sweep(path: Path, **more) -> Sweep:
    return Sweep(slow, DATA, SPEC, SPACE, directory=path / "sweep", pruner="none", heartbeat=1, **more)


@pytest.fixture
def sweep(tmp_path):
    made = _sweep(tmp_path)
    yield made
    for worker in made.workers:
        os.kill(worker.pid, signal.SIGKILL)


def _finished(sweep: Sweep) -> dict[int, tuple[object, ...]]:
    return {one.number: (one.values, one.value, one.losses) for one in sweep.trials if one.state == "finished"}


def _under_way(sweep: Sweep) -> list[optuna.trial.FrozenTrial]:
    """The trials that run and have asked for their parameters."""
    return [one for one in sweep.study.trials if one.state.name == "RUNNING" and one.params]


@pytest.mark.slow
def test_a_killed_workers_trial_is_tried_again_and_none_is_lost(sweep) -> None:
    sweep.run(trials=8, workers=2)
    assert len(sweep.workers) == 2
    assert len(sweep.run(trials=8, workers=2).workers) == 2  # those that are there are enough
    until(lambda: sweep.counts.finished >= 2 and len(_under_way(sweep)) == 2)
    before = _finished(sweep)
    victim = sweep.workers[0]
    os.kill(victim.pid, signal.SIGKILL)
    until(lambda: len(sweep.workers) == 1)
    sweep.wait(90)
    counts = sweep.counts
    assert (counts.finished, counts.lost, counts.failed) == (8, 0, 0)
    assert counts.retried >= 1  # more where a starved machine lets a heartbeat wait
    assert {number: _finished(sweep)[number] for number in before} == before
    ended = [one for one in sweep.study.trials if one.state.name == "COMPLETE"]
    assert len(ended) == 8
    (again,) = [one for one in sweep.trials if one.retries]
    first = sweep.study.trials[again.number]
    assert first.state.name == "FAIL"
    assert first.params == sweep.study.trials[again.attempt].params
    # The last of a sweep's workers may die, too.
    sweep.run(trials=10)
    until(lambda: sweep.counts.running == 1)
    for worker in sweep.workers:
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(SweepError, match=r"no worker is left; sweep.resume\(\) goes on"):
        sweep.wait(30)
    assert sweep.state == "interrupted"
    assert sweep.resume().wait(60).counts.finished == 10
    assert len(sweep.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == 10


@pytest.mark.slow
def test_pause_stands_still_and_stop_loses_nothing(sweep) -> None:
    sweep.run(trials=3)
    until(lambda: any(one.losses for one in sweep.trials))
    sweep.pause()
    assert sweep.state == "paused"
    time.sleep(1)
    seen = [one.losses for one in sweep.trials]
    time.sleep(1)
    assert [one.losses for one in sweep.trials] == seen
    sweep.resume()
    until(lambda: [one.losses for one in sweep.trials] != seen)
    until(lambda: any(one.state == "running" and len(one.losses) == 1 for one in sweep.trials))
    sweep.stop()
    until(lambda: not sweep.workers)
    assert sweep.state == "stopped"
    assert sweep.wait() is sweep
    counts = sweep.counts
    assert counts.waiting == 1
    assert counts.running == 0
    sweep.resume().wait(60)
    assert sweep.counts.finished == 3
    assert sweep.counts.retried == 0


CELL = """
import sys
sys.path.insert(0, {tests!r})
import torch
from convlab import Sweep, TrainSpec
from torch import nn

class Net(nn.Module):  # a class of the notebook
    def __init__(self):
        super().__init__()
        from sweep_nets import Slow
        self.inner = Slow(0.05)
    def forward(self, x):
        return self.inner(x)

def make():
    return Net()

X = torch.zeros(32, 1, 8, 8)
y = torch.arange(32) % 10
sweep = Sweep(make, ((X, y), (X, y)), TrainSpec(epochs=4, batch_size=8, threads=1), {{"lr": (1e-3, 0.1, "log")}},
              directory="sweep", pruner="none", heartbeat=1)
sweep.run(trials=500)
"""


@pytest.fixture
def kernel(tmp_path):
    write_kernelspec(tmp_path, "python3")
    with LiveKernel(tmp_path, [str(tmp_path / "kernels")]) as started:
        yield started


@pytest.mark.slow
def test_a_sweep_outlives_the_kernel_that_started_it(kernel) -> None:
    cell = CELL.format(tests=str(Path(__file__).parent))
    kernel.execute(cell)
    until(lambda: kernel.eval("sweep.counts.finished") >= 1)
    worker, before = kernel.eval("[one.pid for one in sweep.workers]"), kernel.eval("sweep.trials[0].value")
    kernel.interrupt()
    kernel.restart()
    kernel.execute(cell)
    assert kernel.eval("[one.pid for one in sweep.workers]") == worker
    kernel.execute("total = sweep.counts.trained + 2\nsweep.run(total).wait(60)")
    assert kernel.eval("(sweep.counts.finished == total, sweep.counts.lost, sweep.state)") == [True, 0, "finished"]
    assert kernel.eval("sweep.trials[0].value") == before
    kernel.execute("sweep.run(total)")
    assert kernel.eval("sweep.workers == [] or sweep.workers[0].pid") in (True, *worker)  # done: nobody new


# -- what no process can be made to do on time ----------------------------------------------------------------------


def test_of_two_that_began_the_last_trial_one_lets_go(sweep) -> None:
    sweep.run(trials=1, workers=0)
    late = Work(sweep.directory, sweep.recipe, None)
    late.study.optimize(late._objective, n_trials=1, catch=(Exception,), callbacks=[late._after])
    assert [state_of(one) for one in sweep.study.trials] == ["finished", "surplus"]
    assert sweep.counts.trained == 1
    assert [one.number for one in sweep.trials] == [0]
    assert sweep.run(trials=2, workers=0).counts.finished == 2


@pytest.mark.slow
def test_a_worker_that_was_taken_for_dead_lets_go_and_works_on(tmp_path) -> None:
    seen = []

    def make() -> nn.Module:
        model = slow(0)
        if len(seen) == 1:  # in the second trial
            model.register_forward_hook(lambda *_: seen.append(2) or give_up() if len(seen) == 1 else None)
        else:
            seen.append(1)
        return model

    def give_up() -> None:
        other = open_study(sweep.directory, 9)
        other.tell(1, state=optuna.trial.TrialState.FAIL)
        try_again(other, other.trials[1])

    sweep = Sweep(make, DATA, SPEC, SPACE, directory=tmp_path / "sweep", pruner="none", heartbeat=1)
    counts = sweep.run(trials=3, workers=0).counts
    assert (counts.finished, counts.retried, counts.lost, counts.failed) == (3, 1, 0, 0)
    assert [one.state.name for one in sweep.study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("when", ["before the first heartbeat", "between failing and queueing"])
def test_a_trial_is_tried_again_whose_worker_died(sweep, when) -> None:
    study = open_study(sweep.directory, 0)
    trial = study.ask()
    trial.suggest_float("lr", 1e-3, 0.1, log=True)
    if when != "before the first heartbeat":
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    mender = Mender(grace=4)
    for now in (0.0, 3.9):
        mender.mend(study, now)
        assert len(study.trials) == 1
    assert sweep.counts.running == 1
    for now in (4.1, 4.2, 8.3, 8.4, 20):  # failed, then, after as long again, queued; once
        mender.mend(study, now)
    assert [one.state.name for one in study.trials] == ["FAIL", "WAITING"]
    assert sweep.run(trials=1, workers=0).counts.finished == 1
    assert sweep.counts.retried == 1
    assert len(study.trials) == 2


def test_a_trial_that_kills_its_workers_is_given_up(sweep) -> None:
    study = open_study(sweep.directory, 0)
    mender = Mender(grace=4)
    for death in range(6):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
        mender.mend(study, 10.0 * death)
        mender.mend(study, 10.0 * death + 5)
    assert [one.state.name for one in study.trials] == ["FAIL"] * 6
    (trial,) = sweep.trials
    assert trial.state == "lost"
    assert trial.retries == 5
