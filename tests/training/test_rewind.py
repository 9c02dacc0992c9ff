"""Back to a snapshot: the model is as it was, and what goes on from there repeats the run bit for bit."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook import same, some_digits, state_of
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from waiting import until

from convlab.models.gallery import lenet
from convlab.models.live import Edit
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run
from convlab.training.snapshots import Snapshots

DATA = some_digits(200)
SPEC = TrainSpec(epochs=4, batch_size=24, lr=0.01)


def droppy() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(256, 10)
    )


def repeats(run: Run, step: int | None = None, whole: Run | None = None) -> None:
    """Assert that a fork with nothing changed, trained to its end, is what the run was (or another whole one)."""
    run, begun = whole or run, run
    if whole is None:
        run.rewind()
    end, curve, epochs = state_of(run.model), run.history.train_loss.tolist(), losses(run)
    fork = begun.fork(step, later_changes=True).start().wait()
    assert fork.state == run.state == "finished", fork.traceback
    assert fork.history.train_loss.tolist() == curve
    assert fork.history.lr.tolist() == run.history.lr.tolist()
    assert losses(fork) == epochs
    assert same(state_of(fork.model), end)
    assert fork.journal == run.journal
    assert fork.best == run.best or fork.best.valid_loss == run.best.valid_loss


def losses(run: Run) -> list[tuple[float, float | None, float | None]]:
    return [(one.train_loss, one.valid_loss, one.train_accuracy) for one in run.history.epochs]


SCHEDULES = [
    None,
    ScheduleSpec("OneCycleLR", max_lr=0.05, total_steps=36),
    ScheduleSpec("CyclicLR", base_lr=0.001, max_lr=0.02, step_size_up=7),
    ScheduleSpec("MultiStepLR", milestones=[5, 20]),
    ScheduleSpec("ReduceLROnPlateau", patience=0, factor=0.5, cadence="epoch"),
    ScheduleSpec("CosineAnnealingWarmRestarts", T_0=5),
    ScheduleSpec("LambdaLR", lr_lambda="1 / (1 + epoch)"),
    ScheduleSpec(
        "SequentialLR",
        schedulers=[ScheduleSpec("LinearLR", total_iters=10), ScheduleSpec("ExponentialLR", gamma=0.95)],
        milestones=[10],
    ),
]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("sgd", one) for one in SCHEDULES] + [(one, SCHEDULES[1]) for one in ("adam", "adamw", "rmsprop")],
    ids=lambda one: getattr(one, "scheduler", one),
)
def test_what_goes_on_from_any_snapshot_with_nothing_changed_repeats_the_run(optimizer, schedule):
    spec = SPEC.replace(optimizer=optimizer, schedule=schedule)
    run = fit(droppy(), DATA, spec)
    steps = [one.step for one in run.snapshots]
    assert steps == [0, *(epoch.step for epoch in run.history.epochs)]
    for step in (steps[2], steps[0]):
        repeats(run, step)


def test_changes_and_edits_on_the_way_are_part_of_what_is_gone_back_to():
    run = Run(lenet(), DATA, SPEC.replace(schedule=ScheduleSpec("ExponentialLR", gamma=0.99))).step(3)
    run.set(lr=0.02)
    run.step(4).edit("conv2", out_channels=40)
    run.step(3).set(batch_size=10)
    run.step(5).apply("undo")
    run.step(2).apply("redo")
    run.set(schedule_mode="hold", lr=0.005)
    run.resume().wait()
    assert [one.reason for one in run.snapshots].count("change") >= 5
    assert all(
        str(change) in " ".join(map(str, run.snapshots)) for change in run.journal if change.name in ("edit", "lr")
    )
    for snapshot in list(run.snapshots):
        repeats(run, snapshot.step)


class Noisy(Dataset):
    """Draws from all three global generators."""

    def __init__(self, own: bool = False):
        self.x, self.y = DATA.train.x, DATA.train.y
        self.rng = np.random.default_rng(0) if own else None

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        noise = 0.1 * torch.rand(1) + 0.1 * random.random() + 0.1 * np.random.rand()
        if self.rng is not None:
            noise = noise + 0.1 * self.rng.random()
        return self.x[i] + noise.float(), self.y[i]


def noisy_loaders() -> object:
    train, valid = Noisy(own=True), TensorDataset(DATA.valid.x, DATA.valid.y)
    own = torch.Generator().manual_seed(5)
    return DataLoader(train, batch_size=24, shuffle=True, generator=own), DataLoader(valid, batch_size=50)


def plain_loaders() -> object:
    return DataLoader(Noisy(), batch_size=24, shuffle=True), DataLoader(TensorDataset(DATA.valid.x, DATA.valid.y), 50)


@pytest.mark.parametrize(
    "data",
    [lambda: (Noisy(own=True), TensorDataset(DATA.valid.x, DATA.valid.y)), noisy_loaders, plain_loaders],
    ids=["data set", "loader with a generator", "loader"],
)
def test_data_that_draw_random_numbers_go_on_from_where_they_were(data):
    run = Run(droppy(), data(), SPEC).step(11)
    run.set(lr=0.02)  # in the middle of an epoch
    run.resume().wait()
    for snapshot in list(run.snapshots):
        repeats(run, snapshot.step)


@settings(max_examples=12, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_a_fork_of_a_fork_with_changes_is_told_by_its_recipe_and_its_journal(data):
    optimizer = data.draw(st.sampled_from(["sgd", "adamw"]))
    run = Run(droppy(), DATA, SPEC.replace(optimizer=optimizer)).start().wait()
    for _ in range(2):
        step = data.draw(st.integers(0, 36))
        changes = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "lr": st.sampled_from([0.003, 0.05]),
                    "batch_size": st.sampled_from([10, 31]),
                    "weight_decay": st.just(0.01),
                    "dropout": st.just(0.5),
                    "label_smoothing": st.just(0.1),
                },
            )
        )
        edit = data.draw(st.sampled_from([None, Edit("0", {"out_channels": 6}, seed=3)]))
        run = run.fork(step, edit=edit, **changes).start().wait()
        assert run.state == "finished", run.traceback
    again = fit(droppy(), DATA, run.spec, journal=run.journal)
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert losses(again) == losses(run)
    assert same(state_of(again.model), state_of(run.model))


def test_looking_back_changes_the_model_and_nothing_else():
    run = Run(lenet(), DATA, SPEC).step(5)
    then = state_of(run.model)
    run.set(lr=0.02)
    run.step(3).edit("conv2", out_channels=40)
    run.step(6)
    now, live = state_of(run.model), run._trainer.live
    assert run.rewind(7).step == 5
    assert run.shown_step == 5
    assert same(state_of(run.model), then)
    assert not live.journal
    assert run.rewind(8).step == 8
    assert run.model.conv2.out_channels == 40
    run.rewind(0)
    assert run.rewind() is None
    assert run.shown_step is None
    assert same(state_of(run.model), now)
    assert len(live.journal) == 1
    run.rewind(0)
    run.resume().wait()
    untouched = fit(lenet(), DATA, SPEC, journal=run.journal)
    assert untouched.history.train_loss.tolist() == run.history.train_loss.tolist()
    end = state_of(run.model)
    run.rewind(0)
    assert not same(state_of(run.model), end)
    run.rewind()
    assert same(state_of(run.model), end)


@pytest.mark.parametrize("act", [lambda run: run.step(), lambda run: run.edit("fc1", out_features=20), Run.stop])
def test_whatever_is_done_to_a_run_that_looks_back_is_done_in_its_present(act):
    run, other = Run(lenet(), DATA, SPEC).step(10), Run(lenet(), DATA, SPEC).step(10)
    run.rewind(0)
    act(run)
    act(other)
    assert same(state_of(run.model), state_of(other.model))
    run.stop()
    other.stop()


def test_the_best_weights_that_patience_put_back_are_the_end():
    run = fit(droppy(), DATA, SPEC.replace(lr=0.5, epochs=30, patience=2))
    assert run.history.num_epochs < 30
    end = state_of(run.model)
    run.rewind(0)
    run.rewind()
    assert same(state_of(run.model), end)


def test_a_stopped_and_a_failed_run_can_be_gone_on_with():
    whole = fit(droppy(), DATA, SPEC)
    run = Run(droppy(), DATA, SPEC).step(13).stop()
    assert run.snapshots[-1].reason == "end"
    repeats(run, whole=whole)

    calls = []

    class Failing(nn.CrossEntropyLoss):
        def forward(self, output, target):
            calls.append(0)
            if len(calls) == 14:
                raise RuntimeError("not today")
            return super().forward(output, target)

    run = Run(droppy(), DATA, SPEC, criterion=Failing()).start().wait()
    assert run.state == "failed"
    fork = run.fork().start().wait()
    assert fork.state == "finished"
    again = fit(droppy(), DATA, SPEC, criterion=nn.CrossEntropyLoss())
    assert fork.history.train_loss.tolist() == again.history.train_loss.tolist()


def test_what_cannot_be_is_refused_and_changes_nothing():
    run = Run(lenet(), DATA, SPEC)
    with pytest.raises(LookupError, match="not begun"):
        run.fork()
    run.start()
    with pytest.raises(RuntimeError, match=r"run.pause\(\)"):
        run.rewind(0)
    run.pause().rewind()
    for step in (-1, 1.5, True):
        with pytest.raises(ValueError, match=r"try run.rewind\(0\)"):
            run.rewind(step)
    with pytest.raises(ValueError, match="optimizer cannot change in a fork"):
        run.fork(0, optimizer="adam")
    with pytest.raises(ValueError, match="lr must be"):
        run.fork(0, lr=-1)
    assert run.state == "paused"
    fork = run.fork(0, lr=0.5)
    assert run.state == "stopped"
    fork.start()
    with pytest.raises(RuntimeError, match="already being trained by another run"):
        run.rewind(0)
    fork.stop()


def test_the_budget_thins_the_snapshots_evenly_and_says_so():
    run = Run(lenet(), DATA, SPEC.replace(epochs=40, batch_size=100), snapshot_bytes=2_000_000).start().wait()
    steps = [one.step for one in run.snapshots]
    gaps = np.diff(steps)
    assert run.snapshots.num_bytes <= 2_000_000
    assert steps[0] == 0
    assert steps[-1] == run.history.num_steps
    assert gaps.max() <= 3 * gaps.min()
    assert f"{len(steps)} of 41 snapshots kept" in run.snapshots.note
    none = Run(lenet(), DATA, SPEC.replace(epochs=1), snapshot_bytes=1000).start().wait()
    assert not len(none.snapshots)
    assert "No snapshots: one takes" in none.snapshots.note
    with pytest.raises(LookupError, match="snapshot_bytes="):
        none.rewind(0)
    with pytest.raises(ValueError, match=r"try 2\*\*29"):
        Snapshots(-1)


def test_a_hand_that_drags_is_kept_up_with():
    run = Run(lenet(), DATA, SPEC.replace(epochs=100_000)).start()
    for lr in np.linspace(0.01, 0.02, 30):
        run.set(lr=float(lr))
    until(lambda: len(run.journal) == 29 and not run.snapshots._waits)
    assert run.pause().snapshots[-1].state.settings.lr == 0.02
    run.stop()
