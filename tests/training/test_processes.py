"""One training in several processes: the curve of one process, whatever is killed on the way."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from driving import ENVIRONMENT
from process_nets import Failing, PlantedError, Slow, Telling, plain
from textbook import some_digits
from torch.utils.data import DataLoader, TensorDataset
from waiting import until

from convlab.schedule_spec import ScheduleSpec
from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit
from convlab.training.journal import Change
from convlab.training.lifeline import end
from convlab.training.run import Run

HERE = Path(__file__).parent
slow = pytest.mark.slow


def ranks_of(pid=None):
    """The training processes that a process has begun, by rank."""
    found = {}
    for one in psutil.Process(pid or os.getpid()).children(recursive=True):
        try:
            if "convlab.training.rank rank" in " ".join(one.cmdline()):
                found[one.environ()["RANK"]] = one
        except psutil.Error:
            continue
    return found


def is_saved(rank):
    """Whether an epoch of the training that it works at has been kept."""
    return any(folder_of(rank).glob("saved/*.safetensors"))


def folder_of(rank):
    command = rank.cmdline()
    return Path(command[command.index("rank") + 1])


def once_it_trains(what):
    """Call `what` with the processes after the first epoch, in a thread."""

    def wait():
        until(lambda: len(ranks_of()) == 2, 60)
        ranks = ranks_of()
        until(lambda: is_saved(ranks["0"]), 60)
        what(ranks)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def curve(run):
    return [
        [one.train_loss, one.valid_loss, one.train_accuracy, one.valid_accuracy, one.lr] for one in run.history.epochs
    ]


def weights(run):
    return torch.cat([one.detach().flatten() for one in run.model.parameters()])


def assert_alike(run, single):
    assert run.state == single.state == "finished"
    assert run.history.num_steps == single.history.num_steps
    np.testing.assert_allclose(run.history.train_loss, single.history.train_loss, rtol=1e-5)
    np.testing.assert_array_equal(run.history.lr, single.history.lr)
    np.testing.assert_allclose(curve(run), curve(single), rtol=1e-5)
    torch.testing.assert_close(weights(run), weights(single), rtol=1e-5, atol=1e-6)
    assert run.journal == single.journal
    assert run.best.epoch == single.best.epoch


def assert_scored_alike(found, wanted):
    assert [one.epoch for one in found] == [one.epoch for one in wanted]
    assert found.best.epoch == wanted.best.epoch
    for one, other in zip(found, wanted, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-4)
        assert one.scores["size"] > 0
        np.testing.assert_array_equal(one.metrics.confusion, other.metrics.confusion)


def summed(output, target):
    """A criterion that no module has."""
    return ((output - torch.eye(10)[target]) ** 2).sum(1).mean()


def as_arrays(count):
    train = some_digits(count).train
    return (train.x, train.y), (train.x[:50], train.y[:50])


def as_datasets(count):
    return tuple(TensorDataset(x, y) for x, y in as_arrays(count))


CASES = {
    # A last batch of one sample leaves nothing for the second process.
    "sgd": (
        as_datasets(121),
        TrainSpec(
            lr=0.1,
            batch_size=40,
            epochs=4,
            clip_grad_norm=0.5,
            label_smoothing=0.1,
            schedule=ScheduleSpec("OneCycleLR", max_lr=0.2, total_steps=16),
        ),
        None,
        [Change(5, "momentum", 0.9, 0.5), Change(9, "batch_size", 40, 31)],
    ),
    "adamw": (
        as_arrays(103),
        TrainSpec(
            optimizer="adamw",
            lr=0.01,
            batch_size=25,
            micro_batch_size=5,
            epochs=6,
            weight_decay=0.1,
            schedule=ScheduleSpec("ReduceLROnPlateau", cadence="epoch", patience=0, threshold=0.2),
        ),
        summed,
        [],
    ),
}


@slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_curve_and_the_weights_of_one(case):
    data, spec, criterion, journal = CASES[case]
    if criterion is not None:
        criterion = lambda output, target, own=criterion: own(output, target)  # noqa: E731
    own = {"size": lambda outputs, targets, power=2: outputs.abs().pow(power).mean()}
    single = fit(plain(), data, spec, criterion=criterion, metrics=own, journal=journal)
    model = plain()
    run = fit(model, data, spec, criterion=criterion, metrics=own, journal=journal, processes=2)
    assert run.model is model
    assert_alike(run, single)
    assert_scored_alike(run.metrics, single.metrics)
    assert run.fork()._trainer.scoring.own == own
    assert len(set(single.history.lr.tolist())) > 1


@slow
def test_a_killed_process_changes_nothing_and_all_have_the_same_values(tmp_path):
    data, spec = some_digits(120), TrainSpec(optimizer="adam", lr=0.01, batch_size=24, epochs=20)
    runs, told = [], []
    for kill in (False, True):
        folder = tmp_path / str(kill)
        folder.mkdir()
        killed = []

        def strike(ranks, killed=killed):
            ranks["1"].kill()
            killed.append(ranks["1"])
            until(lambda: ranks_of().get("1", ranks["1"]) != ranks["1"], 30)

        thread = once_it_trains(strike) if kill else None
        runs.append(fit(Telling(folder), data, spec, processes=2))
        if thread is not None:
            thread.join()
            assert killed
        told.append({path.name: path.read_text().splitlines() for path in folder.iterdir()})
    undisturbed, disturbed = runs
    assert disturbed.state == "finished"
    assert curve(disturbed) == curve(undisturbed)
    assert disturbed.history.train_loss.tolist() == undisturbed.history.train_loss.tolist()
    assert torch.equal(weights(disturbed), weights(undisturbed))
    assert all(map(torch.equal, disturbed.model.buffers(), undisturbed.model.buffers()))
    first, second = told
    assert len(first["values-0"]) == 20
    assert first["values-0"] == first["values-1"]
    assert second["values-0"][-1] == second["values-1"][-1] == first["values-0"][-1]
    assert set(first["drawn-0"]).isdisjoint(first["drawn-1"])
    assert len(set(first["drawn-1"])) == len(first["drawn-1"]) == 100


@slow
def test_ctrl_c_ends_it_after_a_step_with_its_weights():
    data, spec = some_digits(96), TrainSpec(epochs=10_000)
    thread = once_it_trains(lambda _: os.kill(os.getpid(), signal.SIGINT))
    run = fit(Slow(), data, spec, processes=2)
    thread.join()
    assert run.state == "stopped"
    assert ranks_of() == {}
    steps = run.history.num_steps
    assert 3 <= steps < 20_000
    single = Run(Slow(), data, spec).step(steps)
    np.testing.assert_allclose(run.history.train_loss, single.history.train_loss, rtol=1e-4)
    torch.testing.assert_close(weights(run), weights(single), rtol=1e-4, atol=1e-5)
    single.stop()


@pytest.fixture
def parent():
    """A training in another process, which ends with the test at the latest."""
    begun = subprocess.Popen(
        [sys.executable, HERE / "process_nets.py"],
        env=ENVIRONMENT,
    )
    yield begun
    end(begun.pid)
    begun.wait()


@slow
def test_what_a_process_raises_is_raised_here_and_a_killed_parent_leaves_none(parent):
    with pytest.raises(PlantedError, match="planted in step 6") as caught:
        fit(Failing(), some_digits(96), TrainSpec(batch_size=24, epochs=3), processes=2)
    run = caught.value.run
    assert run.state == "failed"
    assert "In process 1" in caught.value.__notes__[0]
    assert "in forward" in run.traceback
    assert run.history.num_steps == 5
    single = Run(Failing(), some_digits(96), TrainSpec(batch_size=24)).step(5)
    torch.testing.assert_close(weights(run), weights(single))
    single.stop()

    until(lambda: len(ranks_of(parent.pid)) == 2, 60)
    family = psutil.Process(parent.pid).children(recursive=True)
    folder = folder_of(ranks_of(parent.pid)["0"])
    until(lambda: any(folder.glob("saved/*.safetensors")), 60)
    assert len(family) >= 3
    parent.kill()
    # Not waited for: as under a server that never asks after its kernel.
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family), 10)
    until(lambda: not folder.exists(), 10)


@pytest.mark.parametrize("processes", [0, 65, 2.5, True, "2", None])
def test_processes_is_a_whole_number(processes):
    with pytest.raises(SpecError, match=r"processes must be a whole number from 1 to 64, got .*; try processes=2"):
        fit(plain(), some_digits(40), TrainSpec(epochs=1), processes=processes)


def test_a_loader_is_refused():
    loader = DataLoader(as_datasets(40)[0], batch_size=10)
    with pytest.raises(SpecError, match=r"processes=2 needs .*not a DataLoader.*train_loader\.dataset"):
        fit(plain(), (loader, None), processes=2)


def test_metrics_that_cannot_be_pickled_are_named():
    held = threading.Lock()
    with pytest.raises(TypeError, match="hands the metrics to other processes"):
        fit(plain(), some_digits(40), metrics={"hits": lambda outputs, targets: held.locked()}, processes=2)


@pytest.mark.parametrize("what", ["model", "criterion"])
def test_what_cannot_be_pickled_is_named(what, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lock, model, criterion = threading.Lock(), plain(), None
    if what == "model":
        model.lock = lock
    else:
        criterion = lambda output, target: lock and summed(output, target)  # noqa: E731
    with pytest.raises(TypeError, match=rf"hands the {what} to other processes.*lock.*processes=1"):
        fit(model, some_digits(40), criterion=criterion, processes=2)
    assert list(tmp_path.iterdir()) == []
