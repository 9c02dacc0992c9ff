"""A run on disk: loaded and gone on with it is what it would have been, bit for bit; what is wrong with it is said."""

import json
import os
import random
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from test_rewind import SCHEDULES, Noisy, droppy, losses, noisy_loaders, plain_loaders
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn
from waiting import until

from convlab.models.gallery import lenet, net
from convlab.models.live import Edit
from convlab.spec import TrainSpec
from convlab.training.autosave import saved_runs
from convlab.training.checkpoint import CheckpointError, from_plain, read, to_plain, write
from convlab.training.fit import fit
from convlab.training.run import Run
from convlab.training.saved_run import about

DATA = some_digits(200)
SPEC = TrainSpec(epochs=4, batch_size=24, lr=0.01)


def goes_on_from_disk(run, path, model=None, data=DATA, **given) -> Run:
    """Save `run`, let it finish, and assert that what was saved finishes the same way."""
    run.save(path)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    again = Run.load(path, model, data, **given)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert again.journal == run.journal
    run.resume().wait()
    again.start().wait()
    assert again.state == run.state == "finished", again.traceback
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert again.history.lr.tolist() == run.history.lr.tolist()
    assert losses(again) == losses(run)
    assert same(state_of(again.model), state_of(run.model))
    assert again.best.valid_loss == run.best.valid_loss
    for one in (run, again):
        one.restore("best")
    assert same(state_of(again.model), state_of(run.model))
    return again


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("sgd", one) for one in SCHEDULES] + [(one, SCHEDULES[1]) for one in ("adam", "adamw", "rmsprop")],
    ids=lambda one: getattr(one, "scheduler", one),
)
def test_a_saved_run_goes_on_bit_for_bit(tmp_path, optimizer, schedule):
    run = Run(droppy(), DATA, SPEC.replace(optimizer=optimizer, schedule=schedule), name="one").step(14)
    goes_on_from_disk(run, tmp_path / "run.safetensors")


@pytest.mark.parametrize("steps", [1, 8, 9, 10, 18, 35, 36])
def test_at_any_step(tmp_path, steps):
    goes_on_from_disk(Run(droppy(), DATA, SPEC).step(steps), tmp_path / "run")


@pytest.mark.parametrize("name", ["resnet", "inception", "mobilenet"])
def test_gallery_nets_need_no_model_to_be_loaded(tmp_path, name):
    run = Run(net(name, input_size=(1, 8, 8), num_classes=10), DATA, SPEC.replace(epochs=1)).step(3)
    again = goes_on_from_disk(run, tmp_path / "run")
    assert str(again.model) == str(run.model)


def test_changes_held_schedules_frozen_layers_and_modes_are_kept(tmp_path):
    model = droppy()
    model[0].requires_grad_(False)
    model[1].eval()
    run = Run(model, DATA, SPEC.replace(schedule=SCHEDULES[1], clip_grad_norm=1.0, optimizer="adamw")).step(3)
    run.set(lr=0.02, dropout=0.5)
    run.step(2).set(schedule_mode="release", lr=0.004)
    run.step(2).set(batch_size=10, betas=(0.8, 0.99))
    run.step(4)
    again = goes_on_from_disk(run, tmp_path / "run")
    assert not again.model[0].weight.requires_grad
    assert not again.model[1].training
    assert again.settings == run.settings


def test_a_network_that_was_edited_comes_back_edited(tmp_path):
    run = Run(lenet(), DATA, SPEC).step(3)
    run.edit("conv2", out_channels=40)
    run.step(2).apply(Edit("relu2", {"layer": "Dropout", "p": 0.2}, "insert_after", 1))
    run.step(2).apply("undo")
    run.step(2).apply("redo")
    run.step(2).edit("conv1", kernel_size=5, padding=2)
    run.step(1)
    again = goes_on_from_disk(run, tmp_path / "run")
    assert again.model.conv2.out_channels == 40
    assert len(again._trainer.live.journal) == 3
    replayed = fit(lenet(), DATA, again.spec, journal=again.journal)
    assert replayed.history.train_loss.tolist() == again.history.train_loss.tolist()
    again.rewind(0)
    assert again.model.conv2.out_channels == 32


def test_a_class_of_ones_own_is_passed_and_one_that_does_not_fit_is_left_alone(tmp_path):
    path = tmp_path / "run"
    run = Run(made(Regularised), DATA, SPEC).step(5)
    run.edit("conv", out_channels=10)
    run.step(5)
    goes_on_from_disk(run, path, made(Regularised, 7))
    with pytest.raises(CheckpointError, match=r"a class of your own; pass model=Regularised\(...\)"):
        Run.load(path, data=DATA)
    other = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    before = state_of(other)
    with pytest.raises(CheckpointError, match="is not the one that was saved: "):
        Run.load(path, other, DATA)
    assert same(before, state_of(other))


@pytest.mark.parametrize(
    "data", [lambda: (Noisy(own=True), None), noisy_loaders, plain_loaders], ids=["data set", "own generator", "loader"]
)
@pytest.mark.parametrize("steps", [11, 18])
def test_data_that_draw_random_numbers_go_on_from_where_they_were(tmp_path, data, steps):
    run = Run(droppy(), data(), SPEC).step(steps)
    goes_on_from_disk(run, tmp_path / "run", data=data())


def test_finished_and_stopped_runs_are_whole_whatever_became_of_the_model(tmp_path):
    run = fit(droppy(), DATA, SPEC.replace(epochs=2))
    end = state_of(run.model)
    fork = run.fork(0, lr=0.1).start().wait()
    run.save(tmp_path / "run")
    assert not same(state_of(fork.model), end)
    again = Run.load(tmp_path / "run", data=DATA)
    assert again.state == "finished"
    assert same(state_of(again.model), end)
    assert losses(again) == losses(run)
    longer = again.fork(epochs=4).start().wait()
    assert longer.history.train_loss.tolist() == fit(droppy(), DATA, SPEC).history.train_loss.tolist()
    assert same(state_of(longer.model), state_of(fit(droppy(), DATA, SPEC).model))
    fork.save(tmp_path / "fork")
    assert Run.load(tmp_path / "fork", data=DATA).parent == fork.parent
    stopped = Run(droppy(), DATA, SPEC, name="<b>").step(5).stop()
    stopped.save(tmp_path / "stopped")
    told = about(tmp_path / "stopped")
    assert (told.name, told.state, told.epoch, told.epochs, told.step) == ("<b>", "stopped", 1, 4, 5)
    assert not told.is_whole
    Run.load(tmp_path / "stopped", data=DATA).start().wait()


def test_a_running_run_is_saved_at_a_step_and_goes_on(tmp_path):
    run = Run(lenet(), DATA, SPEC.replace(epochs=100_000)).start()
    run.save(tmp_path / "run")
    assert run.state == "running"
    steps = Run.load(tmp_path / "run", data=DATA).history.num_steps
    assert steps <= run.history.num_steps
    run.stop()


def test_what_was_passed_must_be_what_it_was(tmp_path):
    path = tmp_path / "run"
    Run(droppy(), DATA, SPEC, criterion=nn.CrossEntropyLoss()).step(1).save(path)
    for given, match in [
        ({}, "pass data="),
        ({"data": "digits"}, "not those that run was trained on"),
        ({"data": DATA}, "its own criterion, CrossEntropyLoss; pass criterion="),
    ]:
        with pytest.raises(CheckpointError, match=match):
            Run.load(path, **given)
    Run.load(path, data=DATA, criterion=nn.CrossEntropyLoss())
    Run(droppy(), DATA, SPEC).step(1).save(path)
    with pytest.raises(CheckpointError, match="none; leave criterion out"):
        Run.load(path, data=DATA, criterion=nn.CrossEntropyLoss())


def test_every_flipped_bit_is_found_out(tmp_path):
    path = tmp_path / "run"
    Run(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), DATA, SPEC).step(1).save(path)
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with pytest.raises(CheckpointError):
            Run.load(path, data=DATA)
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            Run.load(path, data=DATA)
    path.write_bytes(whole)
    Run.load(path, data=DATA)


def test_foreign_files_are_told_from_runs(tmp_path):
    path = tmp_path / "file"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no run of convlab"):
        Run.load(path)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError):
        Run.load(path)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CheckpointError, match="cut off"):
        Run.load(path)
    write(path, {}, {"format": "convlab run", "version": 2, "written_by": "9.9"})
    with pytest.raises(CheckpointError, match=r"written by convlab 9.9, .* upgrade it"):
        Run.load(path)
    with pytest.raises(FileNotFoundError):
        Run.load(tmp_path / "none")


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "run"
    run = Run(droppy(), DATA, SPEC).step(1)
    run.save(path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run.step(1).save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["run"]
    run.stop()


def test_plain_values_come_back_as_what_they_were():
    state = np.random.PCG64(3).state
    value = {"a": (1, [2.5, None], "x"), "b": state, "c": random.Random(2).getstate(), "d": float("inf")}
    assert from_plain(json.loads(json.dumps(to_plain(value)))) == value
    legacy = np.random.RandomState(1).get_state()
    back = from_plain(json.loads(json.dumps(to_plain(legacy))))
    assert back[0] == legacy[0]
    assert (back[1] == legacy[1]).all()
    assert back[1].dtype == legacy[1].dtype


def test_the_weights_can_be_read_without_this_package(tmp_path):
    run = Run(droppy(), DATA, SPEC).step(2)
    run.save(tmp_path / "run")
    loaded = safetensors.torch.load_file(tmp_path / "run")
    weights = {name.removeprefix("model."): one for name, one in loaded.items() if name.startswith("model.")}
    other = droppy()
    other.load_state_dict(weights)
    assert same(state_of(other), state_of(run.model))
    _, record = read(tmp_path / "run")
    assert record["machine"]["torch"] == torch.__version__
    run.stop()


def test_a_run_is_kept_epoch_by_epoch_and_the_latest_is_found(tmp_path):
    home = tmp_path / "runs"
    run = Run(droppy(), DATA, SPEC, name="my run/1", autosave=home).step(20)
    until(lambda: [one.step for one in saved_runs(home)] == [18])
    (found,) = saved_runs(home)
    assert found.path.name == "my-run-1.safetensors"
    assert (found.step, found.epoch, found.state) == (18, 2, "running")
    again = Run.load(found.path, data=DATA).start().wait()
    run.resume().wait()
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert same(state_of(again.model), state_of(run.model))
    assert losses(again) == losses(run)
    (found,) = saved_runs(home)
    assert found.is_whole
    assert "Saved at step 36" in run.autosave.note
    other = Run(droppy(), DATA, SPEC.replace(epochs=1), name="my run/1", autosave=home).start().wait()
    assert other.autosave.path.name == "my-run-1-2.safetensors"
    assert [one.epoch for one in saved_runs(home)] == [1, 4]
    found.path.write_bytes(b"damaged")
    # The one before it: of the end, or of the last epoch that the writing thread came to before it.
    steps = {one.step for one in saved_runs(home)}
    assert 9 in steps
    assert steps - {9} <= {18, 27, 36}
    assert len(steps) == 2
    assert not [path.name for path in home.iterdir() if path.name.startswith(".")]


def test_where_nothing_can_be_written_training_goes_on_and_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = Run(droppy(), DATA, SPEC, autosave=tmp_path / "file" / "runs").start().wait()
    assert run.state == "finished"
    assert run.autosave.failed
    assert "Not saved in" in run.autosave.note
    assert "Not a directory" in run.autosave.note
