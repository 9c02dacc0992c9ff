"""A run trained again: the same bit for bit, or the first step that is not."""

import pytest
import torch
from test_rewind import SCHEDULES, droppy, noisy_loaders
from textbook import same, some_digits, state_of
from torch import nn

from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.replay import replay
from convlab.training.run import Run

DATA = some_digits(200)
SPEC = TrainSpec(epochs=3, batch_size=24, lr=0.01)


def test_a_run_with_edits_and_changes_is_repeated_and_the_model_is_left_alone():
    run = Run(lenet(), DATA, SPEC.replace(schedule=SCHEDULES[1], optimizer="adamw")).step(4)
    run.edit("conv2", out_channels=40)
    run.step(3).set(lr=0.02)
    run.step(3)
    before = state_of(run.model)
    again = replay(run)
    assert again.is_same, str(again)
    assert (again.steps, again.first_difference) == (10, None)
    assert same(before, state_of(run.model))
    assert same(before, state_of(again.run.model))
    run.resume().wait()
    assert str(replay(run)) == "All 27 steps are repeated bit for bit."


def test_loaders_with_generators_and_forks_and_files_are_repeated(tmp_path):
    run = fit(droppy(), noisy_loaders(), SPEC)
    assert replay(run).is_same
    fork = run.fork(18, lr=0.1).start().wait()
    assert replay(fork).is_same
    run = fit(droppy(), DATA, SPEC)
    run.save(tmp_path / "run")
    assert replay(Run.load(tmp_path / "run", data=DATA)).is_same


def test_the_first_step_that_differs_is_told():
    class Moody(nn.CrossEntropyLoss):
        calls = 0

        def forward(self, output, target):
            Moody.calls += 1
            loss = super().forward(output, target)
            return loss * 1.001 if Moody.calls == 60 else loss  # in the repetition, as a run of 27 has 27 + 3 calls

    run = fit(droppy(), DATA, SPEC, criterion=Moody())
    Moody.calls = 60 - 13 - 1  # the thirteenth training step of the repetition, after the validation of epoch 1
    found = replay(run)
    assert found.first_difference == 13
    assert found.then != found.now
    assert "part in step 13 of 27" in str(found)
    assert not found.is_same


def test_other_versions_are_named_and_what_cannot_be_repeated_is_refused():
    run = fit(droppy(), DATA, SPEC)
    run.machine = run.machine | {"torch": "1.0"}
    assert f"torch: 1.0 then, {torch.__version__} now." in str(replay(run))
    running = Run(droppy(), DATA, SPEC.replace(epochs=100_000)).start()
    with pytest.raises(RuntimeError, match=r"run.pause\(\)"):
        replay(running)
    running.stop()
    with pytest.raises(RuntimeError, match="No snapshots: one takes"):
        replay(Run(droppy(), DATA, SPEC, snapshot_bytes=10).start().wait())
