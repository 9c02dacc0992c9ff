"""The script of a run whose network was edited in flight gives its losses and weights bit for bit."""

import subprocess
import sys

import pytest
import torch
from edited import changed_at_random, same_from
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn

from convlab.models.gallery import lenet
from convlab.models.live import Edit, bind
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.journal import Change
from convlab.training.run import Run
from convlab.training.script import save_start, script_for
from convlab.training.script_indices import indices

DATA = some_digits(100)
SPEC = TrainSpec(epochs=2, batch_size=20, lr=0.02)
FEW = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def torch_left_as_it_was():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


# -- any journal ------------------------------------------------------------------------------------------------------


LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet", "inception", "own resnet", "own unet")]


@pytest.mark.parametrize("name", ["lenet", "own", "own excited", *LARGE])
@FEW
@given(data=st.data())
def test_any_edits_and_settings(name, data, tmp_path_factory):
    run = changed_at_random(name, data)
    if run.state == "finished":  # an edit may have made it fail, as where a class has no output any more
        same_from(run, tmp_path_factory.mktemp("weights"))


def test_a_layer_that_was_frozen_before_joins_the_optimizer_when_it_is_thawed(tmp_path):
    model = made(Regularised)
    model.conv.requires_grad_(False)
    run = Run(model, DATA, SPEC).step(3)
    run.apply(Edit("conv", action="thaw")).step(3).apply("undo").step(1)
    run.apply("redo").resume().wait()
    assert "follow()" in run.code()
    same_from(run, tmp_path)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_an_edit_of_before_momentum_is_undone_with_momentum(optimizer, tmp_path):
    run = Run(lenet(), DATA, SPEC.replace(optimizer=optimizer, momentum=0.0, lr=0.001)).step(2)
    run.edit("conv2", out_channels=40)
    run.step(2).set(momentum=0.9)
    run.step(1).apply("undo").step(1).apply("redo").resume().wait()
    assert run.state == "finished", run.traceback
    same_from(run, tmp_path)


# -- each action ------------------------------------------------------------------------------------------------------

ACTIONS = [
    (Edit("conv2", {"out_channels": 40}), ["replace(", "follow()"]),
    (Edit("conv2", {"out_channels": 10}), ["nn.Linear(40, 64), columns=range(40)"]),
    (Edit("conv1", {"kernel_size": 5, "padding": 2}), ["nn.functional.pad("]),
    (Edit("relu1", {"activation": "Tanh"}), ["model.relu1 = nn.Tanh()"]),
    (Edit("relu1", {"layer": "BatchNorm2d"}, "insert_after"), ['insert(model, 2, "batchnorm2d", nn.BatchNorm2d(16))']),
    (Edit("pool1", {"layer": "AvgPool2d", "kernel_size": 2}, "replace"), ["model.pool1 = nn.AvgPool2d(2)"]),
    (Edit("relu2", action="remove"), ["del model.relu2"]),
    (Edit("conv1", action="freeze"), ["model.conv1.requires_grad_(False)"]),
    (Edit("fc1", {"scheme": "default"}, "redraw", 3), ["model.fc1.reset_parameters()", "forget(model.fc1)"]),
    (Edit("fc2", {"scheme": "orthogonal"}, "redraw", 3), ["nn.init.orthogonal_(drawn)"]),
]


@pytest.mark.parametrize(("edit", "said"), ACTIONS, ids=[str(edit) for edit, _ in ACTIONS])
def test_an_edit_is_said_and_undone(edit, said, tmp_path):
    run = Run(lenet(), DATA, SPEC.replace(optimizer="adam", lr=0.002)).step(3)
    run.apply(edit).step(2).set(lr=0.001).apply("undo").step(2).apply("redo").resume().wait()
    text = same_from(run, tmp_path)
    for line in said:
        assert line in text
    assert text.count("keep(") == text.count("put_back(") == 3  # with the functions


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("begins", ["in train mode", "frozen, in eval mode", "with one layer in eval mode"])
def test_modes_frozen_layers_and_a_remainder_of_one(optimizer, begins, tmp_path):
    def build():
        layers = [nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8)]
        return nn.Sequential(*layers, nn.Linear(8, 10))

    model = made(build)
    if begins == "frozen, in eval mode":
        model.eval()[2].requires_grad_(False)
    elif begins == "with one layer in eval mode":
        model[5].eval()
    edits = [
        (0, Edit("2", action="freeze")),
        (3, Edit("4", {"out_features": 6})),
        (5, Edit("2", action="thaw")),
        (7, Edit("1", {"bias": False})),
        (8, Edit("1", {"bias": True})),
        *((9, "undo"), (9, "undo"), (10, "redo")),
        (12, Edit("5", action="remove")),
        (12, Edit("2", action="remove")),
        (15, Edit("3", {"layer": "BatchNorm1d"}, "insert")),
    ]
    spec = SPEC.replace(epochs=4, batch_size=8, optimizer=optimizer, lr=0.01 if optimizer == "sgd" else 0.001)
    run = fit(model, some_digits(33), spec, journal=[Change(step, "edit", None, edit) for step, edit in edits])
    assert len(run.journal) == len(edits)
    same_from(run, tmp_path)


def test_a_layer_that_is_thawed_late_gets_a_velocity(tmp_path):
    edits = [(0, Edit("conv1", action="freeze")), (4, Edit("conv1", action="thaw"))]
    run = fit(lenet(), DATA, SPEC, journal=[Change(step, "edit", None, edit) for step, edit in edits])
    same_from(run, tmp_path)


def test_early_stopping_forgets_the_best_of_another_structure(tmp_path):
    run = Run(lenet(), DATA, SPEC.replace(patience=8, epochs=40)).step(31)
    best = run.best.epoch
    run.apply(Edit("fc2", {"scheme": "xavier_normal"}, "redraw")).resume().wait()
    assert best + 8 < run.history.num_epochs
    same_from(run, tmp_path)


def test_channels_last_stay_so(tmp_path):
    run = Run(lenet(), DATA, SPEC.replace(channels_last=True)).step(3)
    run.edit("conv2", out_channels=40).edit("conv2", kernel_size=5, padding=2)
    run.apply(Edit("conv1", {"scheme": "xavier_normal"}, "redraw")).resume().wait()
    same_from(run, tmp_path)


def test_a_layer_in_two_places_stays_one(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Conv2d(1, 1, 3, padding=1)
            self.listed = [self.first]
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            return self.head(self.listed[0](self.second(self.first(x))).flatten(1))

    run = Run(made(Twice), DATA, SPEC).step(3)
    run.edit("first", kernel_size=5, padding=2).resume().wait()
    same_from(run, tmp_path, Twice=Twice)


# -- the start --------------------------------------------------------------------------------------------------------


def test_the_script_describes_the_start_whatever_was_done_since(tmp_path):
    run = Run(lenet(), DATA, SPEC).step(2)
    head = run.code().partition("losses = []")[0]
    run.edit("conv2", out_channels=40).resume().wait()
    assert "conv2=nn.Conv2d(16, 32, kernel_size=3, padding=1)" in run.code()
    before = run.code()
    bind(run.model, (1, 1, 8, 8)).edit("fc1", out_features=7)
    assert run.code() == before
    unedited = fit(lenet(), DATA, SPEC).code()
    assert unedited.startswith(head)
    assert not any(word in unedited for word in ("replace(", "follow", "keep(", "group", "model.zero_grad"))
    save_start(run, tmp_path / "weights.pt")
    assert same(list(torch.load(tmp_path / "weights.pt").values()), state_of(lenet()))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_undo_of_an_edit_that_is_older_than_the_run(optimizer, tmp_path):
    model = lenet()
    live = bind(model, (1, 1, 8, 8))
    first = Run(model, DATA, SPEC).step(2)
    first.apply(Edit("conv1", {"out_channels": 8}), live).step(1).stop()
    run = Run(model, DATA, SPEC.replace(optimizer=optimizer, lr=0.01 if optimizer == "sgd" else 0.002)).step(2)
    run.apply("undo", live).step(1).apply("redo", live).step(1).apply("undo", live).resume().wait()
    text = same_from(run, tmp_path)
    assert "torch.load(" in text[text.index("case 2") :]


def test_what_a_seed_tells_needs_no_file(tmp_path):
    model = lenet(seed=3)
    live = bind(model, (1, 1, 8, 8))
    live.edit("conv2", out_channels=40)
    run = Run(model, DATA, SPEC).step(2).apply("undo", live).resume().wait()
    text = same_from(run, tmp_path)
    assert "torch.manual_seed(3)" in text[text.index("case 2") :]


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_a_fork_is_said_from_its_parents_start(optimizer, tmp_path):
    spec = SPEC.replace(epochs=3, optimizer=optimizer, lr=0.02 if optimizer == "sgd" else 0.001)
    run = Run(lenet(), DATA, spec).step(2)
    run.edit("conv2", out_channels=40).step(4).edit("fc1", out_features=20).step(2)
    run.rewind(5)
    assert "case 6" in run.code()
    run.rewind(None)
    fork = run.fork(5, lr=0.003)
    fork.step(2).apply("undo").step(1).edit("relu1", activation="Tanh").resume().wait()
    assert [change.step for change in fork.journal] == [2, 5, 7, 8]
    assert "put_back(0)" in same_from(fork, tmp_path)


def test_a_run_from_disk_is_said_whole(tmp_path):
    run = Run(lenet(), DATA, SPEC.replace(epochs=3)).step(2)
    run.edit("conv2", out_channels=40).step(1).edit("conv1", kernel_size=5, padding=2).step(1).apply("undo").step(2)
    run.save(tmp_path / "run.safetensors")
    run.stop()
    again = Run.load(tmp_path / "run.safetensors", data=DATA)
    again.step(1).edit("conv2", out_channels=20).resume().wait()
    text = same_from(again, tmp_path)
    assert text.count("follow()") == 4  # with its definition; the second edit is undone
    assert [change.step for change in again.journal] == [2, 3, 4, 7]


# -- a script of a training that has not begun ------------------------------------------------------------------------


def test_a_journal_with_edits_is_said_before_it_is_run():
    journal = [
        Change(2, "edit", None, Edit("conv", {"out_channels": 12})),
        Change(3, "dropout", None, 0.2),
        Change(4, "edit", None, "undo"),
    ]
    model = made(Regularised)
    before = state_of(model)
    text = script_for(model, DATA, SPEC, journal)
    assert same(before, state_of(model))
    assert fit(model, DATA, SPEC, journal=journal).code() == text


# -- how it is written ------------------------------------------------------------------------------------------------


def test_edited_scripts_are_formatted(tmp_path):
    run = Run(made(Regularised), DATA, SPEC.replace(channels_last=True)).step(2)
    run.edit("conv", out_channels=12).edit("conv", kernel_size=5, padding=2).set(dropout=0.2)
    run.apply(Edit("bn", action="freeze")).apply("undo").apply("undo").apply("redo")
    run.apply(Edit("fc2", {"scheme": "kaiming_uniform"}, "redraw")).edit("bn", norm="layer").edit("conv", padding=1)
    (tmp_path / "own.py").write_text(run.stop().code())
    run = Run(lenet(), DATA, SPEC.replace(patience=2)).step(2)
    run.edit("pool2", kernel_size=3, stride=1).edit("conv2", out_channels=8).edit("conv2", groups=2)
    run.apply(Edit("relu1", {"layer": "BatchNorm2d"}, "insert")).apply(Edit("relu1", action="remove"))
    run.edit("pool1", kernel_size=2, stride=1)
    (tmp_path / "lenet.py").write_text(run.stop().code())
    assert not any("convlab" in path.read_text() for path in tmp_path.glob("*.py"))
    for command in (["format", "--diff"], ["check", "--extend-select", "I", "--ignore", "E402"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@settings(deadline=None)
@given(
    st.lists(st.integers(-1, 9), min_size=1)
    | st.builds(
        lambda pattern, step, times, fresh: (
            [p + step * i if p >= 0 else p for i in range(times) for p in pattern] + [-1] * fresh
        ),
        st.lists(st.integers(-1, 20), min_size=2, max_size=12),
        st.integers(0, 30),
        st.integers(1, 12),
        st.integers(0, 20),
    )
)
def test_indices_are_said_in_full(values):
    assert list(eval(indices(values))) == values
    table = [values, values, values[::-1]]
    assert [list(row) for row in eval(indices(table))] == table
