"""A training under a schedule is the textbook's, and a hand on its lr does what the switch says."""

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schedules import NAMES, SPECS
from textbook import made, same, some_digits, state_of, textbook_optimizer
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from waiting import until

from convlab.schedule_spec import ScheduleSpec
from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run
from convlab.training.scheduled import Scheduled

EPOCHS, PER_EPOCH = 20, 10
STEPS = EPOCHS * PER_EPOCH
DATA = some_digits(20 * PER_EPOCH)
SPEC = TrainSpec(lr=0.08, epochs=EPOCHS, batch_size=20)
S = ScheduleSpec

pytestmark = pytest.mark.filterwarnings("error:.*lr_scheduler.step")


def small() -> nn.Module:
    return made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def textbook(model: nn.Module, spec: TrainSpec) -> tuple[list[float], list[float], list[object]]:
    """Losses, lrs and momenta of the loop that torch's documentation teaches."""
    assert spec.schedule is not None
    names = {"torch": torch, "math": math, "optimizer": textbook_optimizer(list(model.parameters()), spec)}
    optimizer, scheduler = names["optimizer"], eval(spec.schedule.code(), names)
    plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
    torch.manual_seed(spec.seed)
    loader = DataLoader(TensorDataset(DATA.train.x, DATA.train.y), batch_size=spec.batch_size, shuffle=True)
    losses, lrs, momenta = [], [], []
    for _ in range(spec.epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            group = optimizer.param_groups[0]
            losses.append(loss.item())
            lrs.append(group["lr"])
            momenta.append(group["betas"] if "betas" in group else group["momentum"])
            optimizer.step()
            if spec.schedule.cadence == "step":
                scheduler.step(*[losses[-1]] * plateau)
        if spec.schedule.cadence == "epoch":
            model.eval()
            with torch.no_grad():
                valid = F.cross_entropy(model(DATA.valid.x), DATA.valid.y).item()
            scheduler.step(*[valid] * plateau)
    return losses, lrs, momenta


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_every_scheduler_gives_the_textbook_losses_and_lrs(spec, optimizer):
    spec = SPEC.replace(schedule=spec, optimizer=optimizer, lr=0.08 if optimizer == "sgd" else 0.003)
    model, other = small(), small()
    losses, lrs, momenta = textbook(other, spec)
    seen = []
    run = Run(model, DATA, spec)
    trainer = run._trainer
    update = trainer._apply_gradients
    group = run.optimizer.param_groups[0]
    trainer._apply_gradients = lambda: (seen.append(group.get("betas", group.get("momentum"))), update())
    run.start().wait()
    assert run.history.lr.tolist() == lrs
    assert run.history.train_loss.tolist() == losses
    assert seen == momenta
    assert same(state_of(model), state_of(other))
    assert [record.lr for record in run.history.epochs] == lrs[PER_EPOCH - 1 :: PER_EPOCH]


@pytest.mark.parametrize(
    "spec",
    [
        S("StepLR", step_size=3, cadence="epoch"),
        S("CosineAnnealingLR", T_max=20, cadence="epoch"),
        S("ReduceLROnPlateau", patience=0, factor=0.5, threshold=0.1, cadence="epoch"),
        S(
            "SequentialLR",
            schedulers=[S("LinearLR", total_iters=3), S("ExponentialLR", gamma=0.9)],
            milestones=[3],
            cadence="epoch",
        ),
    ],
    ids=lambda spec: spec.scheduler,
)
def test_a_schedule_may_step_once_an_epoch(spec):
    spec = SPEC.replace(schedule=spec)
    model, other = small(), small()
    losses, lrs, _ = textbook(other, spec)
    run = fit(model, DATA, spec)
    assert len(set(lrs)) > 2
    assert run.history.lr.tolist() == lrs
    assert run.history.train_loss.tolist() == losses


def test_plateau_of_a_maximum_follows_the_accuracy():
    schedule = S("ReduceLROnPlateau", mode="max", patience=1, factor=0.5, cadence="epoch")
    run = fit(small(), DATA, SPEC.replace(schedule=schedule))
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.08), mode="max", patience=1, factor=0.5
    )
    expected = []
    for record in run.history.epochs:
        expected += [scheduler.optimizer.param_groups[0]["lr"]] * PER_EPOCH
        scheduler.step(record.valid_accuracy)
    assert run.history.lr.tolist() == expected


# -- a hand on the lr -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_scaled_the_rest_of_the_curve_is_a_multiple(spec):
    if spec.scheduler == "ReduceLROnPlateau":
        spec = spec.replace(min_lr=0.0)
    lrs, scaled = [], []
    for record, factor in ((lrs, None), (scaled, 0.25)):
        optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.08, momentum=0.9)
        scheduled = Scheduled(optimizer, spec, 0.08)
        for step in range(STEPS):
            if step == 33 and factor:
                scheduled.set_lr(0.08 * factor)
            record.append(scheduled.lr)
            scheduled.after_step(1.0)
    assert scaled[:33] == lrs[:33]
    assert np.allclose(scaled[33:], 0.25 * np.array(lrs[33:]), rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("schedule", [SPECS[0], SPECS[8], SPECS[12], SPECS[15]], ids=lambda spec: spec.scheduler)
def test_a_scaled_run_is_described_by_its_settings(schedule):
    run = Run(small(), DATA, SPEC.replace(schedule=schedule))
    run.set(lr=0.02).start().wait()
    other = fit(small(), DATA, run.settings)
    assert np.allclose(run.history.lr, other.history.lr, rtol=1e-9)
    assert run.settings == run.spec.with_lr(0.02)


def paused_at(step: int, schedule: ScheduleSpec, **changes: object) -> Run:
    run = Run(small(), DATA, SPEC.replace(schedule=schedule, **changes))
    return run.step(step)


def test_held_the_schedule_stands_still_and_goes_on_from_there():
    free = fit(small(), DATA, SPEC.replace(schedule=SPECS[8])).history.lr
    run = paused_at(50, SPECS[8])
    run.set(schedule_mode="hold")
    run.step(30)
    run.set(schedule_mode="scale").resume().wait()
    lrs = run.history.lr
    assert np.array_equal(lrs[:50], free[:50])
    assert set(lrs[50:80]) == {free[50]}
    assert np.array_equal(lrs[80:], free[50:170])
    assert [(c.name, c.new) for c in run.journal] == [
        ("schedule_mode", "hold"),
        ("lr", free[50]),
        ("schedule_mode", "scale"),
        ("lr", 0.08),
    ]


def test_held_at_another_lr_the_rest_goes_on_from_that_lr():
    free = fit(small(), DATA, SPEC.replace(schedule=SPECS[8])).history.lr
    run = paused_at(50, SPECS[8])
    run.set(schedule_mode="hold", lr=0.01)
    run.step(30)
    run.set(schedule_mode="scale").resume().wait()
    lrs = run.history.lr
    assert set(lrs[50:80]) == {0.01}
    assert np.allclose(lrs[80:], free[50:170] * (0.01 / free[50]), rtol=1e-9)
    assert math.isclose(run.settings.lr, 0.08 * 0.01 / free[50])


def test_released_the_clock_runs_on_and_the_schedule_is_joined_again():
    for schedule in (SPECS[8], SPECS[7], SPECS[15]):
        free = fit(small(), DATA, SPEC.replace(schedule=schedule)).history.lr
        run = paused_at(50, schedule)
        run.set(schedule_mode="release")
        run.step(10)
        run.set(lr=0.001)
        run.step(20)
        run.set(schedule_mode="scale").resume().wait()
        lrs = run.history.lr
        assert set(lrs[50:60]) == {free[50]}
        assert set(lrs[60:80]) == {0.001}
        assert np.array_equal(lrs[80:], free[80:])


def test_held_at_the_end_of_a_schedule_an_lr_can_be_set():
    run = paused_at(190, S("CosineAnnealingLR", T_max=190))
    assert run._trainer.scheduled.lr == 0
    run.set(schedule_mode="hold")
    run.set(lr=0.08)
    run.step(2)
    assert run.history.lr[-2:].tolist() == [0.08, 0.08]
    run.set(schedule_mode="scale").resume().wait()
    assert run.state == "finished"


def test_a_curve_that_is_next_to_nothing_is_not_scaled_beyond_what_a_recipe_holds():
    run = paused_at(100, S("ExponentialLR", gamma=0.5))
    run.set(schedule_mode="hold", lr=0.1).step(2)
    run.set(schedule_mode="scale").resume().wait()
    assert (run.state, run.settings.lr) == ("finished", 0.08)


def test_another_schedule_begins_in_mid_run():
    run = paused_at(30, S("ExponentialLR", gamma=0.9))
    run.set(schedule=S("StepLR", step_size=10, gamma=0.5))
    run.step(30)
    assert np.allclose(run.history.lr[30:], [0.08] * 10 + [0.04] * 10 + [0.02] * 10)
    run.set(schedule=None).step(5)
    assert run.history.lr[-5:].tolist() == [0.08] * 5
    run.resume().wait()
    assert [c.name for c in run.journal] == ["schedule", "schedule"]


def test_momentum_that_a_schedule_cycled_is_the_hands_again_after_it():
    run = paused_at(30, SPECS[15])
    group = run.optimizer.param_groups[0]
    assert group["momentum"] != 0.9
    run.set(schedule=None).step()
    assert group["momentum"] == 0.9
    run.stop()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", [SPECS[12], SPECS[15]], ids=lambda spec: spec.scheduler)
def test_momentum_set_by_hand_is_the_top_of_the_cycle(schedule, optimizer):
    run = paused_at(7, schedule, optimizer=optimizer)
    run.set(**({"momentum": 0.5} if optimizer == "sgd" else {"betas": (0.5, 0.99)}))
    seen = []
    for _ in range(190):
        run.step()
        group = run.optimizer.param_groups[0]
        seen.append(group["betas"][0] if optimizer == "adam" else group["momentum"])
    run.stop()
    low = schedule.arguments.get("base_momentum", 0.8 if schedule.scheduler == "CyclicLR" else 0.85)
    high = 0.9 if schedule.scheduler == "CyclicLR" else 0.95
    assert math.isclose(max(seen), 0.5, abs_tol=2e-3)
    assert math.isclose(min(seen), 0.5 * low / high, abs_tol=2e-3)


def test_past_its_end_a_schedule_leaves_the_lr_where_it_is():
    run = fit(small(), DATA, SPEC.replace(schedule=S("OneCycleLR", max_lr=0.1, total_steps=50)))
    assert run.state == "finished"
    assert len(set(run.history.lr[50:])) == 1
    assert "OneCycleLR has come to its end" in run._trainer.scheduled.over


def test_a_schedule_that_cannot_be_is_refused_and_the_run_goes_on():
    run = paused_at(3, SPECS[0])
    with pytest.raises(SpecError, match="schedule must be a ScheduleSpec or None, got 'cosine'; try schedule="):
        run.set(schedule="cosine")
    with pytest.raises(SpecError, match="schedule_mode must be one of scale, hold, release"):
        run.set(schedule_mode="pause")
    run.resume().wait()
    assert (run.state, run.journal) == ("finished", ())


# -- replay, and looking ahead ----------------------------------------------------------------------------------------

hands = st.lists(
    st.tuples(
        st.integers(0, STEPS - 1),
        st.one_of(
            st.tuples(st.just("lr"), st.sampled_from([0.3, 0.05, 0.01])),
            st.tuples(st.just("schedule_mode"), st.sampled_from(["scale", "hold", "release"])),
            st.tuples(st.just("schedule"), st.sampled_from([None, *SPECS])),
            st.tuples(st.just("momentum"), st.sampled_from([0.0, 0.5])),
            st.tuples(st.just("batch_size"), st.sampled_from([10, 40])),
            st.tuples(st.just("epochs"), st.sampled_from([5, 8])),
        ),
    ),
    max_size=8,
)


def ran(schedule: ScheduleSpec, hands: list[tuple[int, tuple[str, object]]]) -> Run:
    """A run with changes made by hand while it stands at given steps."""
    run = Run(small(), DATA, SPEC.replace(schedule=schedule, epochs=6))
    for step, (name, value) in sorted(hands, key=lambda hand: hand[0]):
        if step > run.history.num_steps and not run.ended:
            run.step(step - run.history.num_steps)
        if run.ended:
            break
        run.set(**{name: value})
    if run.state == "pending":
        run.start()
    elif not run.ended:
        run.resume()
    return run.wait()


@settings(max_examples=40)
@given(schedule=st.sampled_from(SPECS), hands=hands, cadence=st.sampled_from(["step", "epoch"]))
def test_a_journal_replays_every_hand_bit_for_bit(schedule, hands, cadence):
    run = ran(schedule.replace(cadence=cadence), hands)
    assert run.state == "finished", run.traceback
    again = fit(small(), DATA, run.spec, journal=run.journal)
    assert again.history.lr.tolist() == run.history.lr.tolist()
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert again.journal == run.journal
    assert again.settings == run.settings
    assert same(state_of(run.model), state_of(again.model))


@settings(max_examples=40)
@given(
    schedule=st.sampled_from(SPECS), hands=hands, cadence=st.sampled_from(["step", "epoch"]), stop=st.integers(1, 59)
)
def test_what_is_planned_is_what_comes(schedule, hands, cadence, stop):
    run = Run(small(), DATA, SPEC.replace(schedule=schedule.replace(cadence=cadence), epochs=6))
    run.step(stop)
    for _, (name, value) in hands[:3]:
        if name not in ("epochs",):
            run.set(**{name: value})
    run.step()
    if run.ended:
        return
    plan = run.plan()
    follows = (run.settings.schedule or S("StepLR", step_size=1)).scheduler == "ReduceLROnPlateau"
    done = run.history.num_steps
    run.resume().wait()
    came = run.history.lr[done:]
    if follows and run.settings.schedule_mode == "scale":
        assert "follows the validation loss" in plan.note
    elif len(plan.steps) <= 2:
        assert set(came) == set(plan.lrs)
    else:
        assert plan.steps.tolist() == list(range(done + 1, done + 1 + len(came)))
        assert plan.lrs.tolist() == came.tolist()


def test_a_plan_can_be_asked_for_while_it_trains():
    schedule = S("CosineAnnealingLR", T_max=40_000)
    run = Run(small(), DATA, SPEC.replace(schedule=schedule, epochs=4_000)).start()
    until(lambda: run.history.num_steps > 5)
    plans = [run.plan() for _ in range(5)]
    lrs = run.stop().history.lr
    whole = np.concatenate([lrs, run.plan().lrs])
    assert len(whole) == 40_000
    for plan in plans:  # asked for in the middle of a step, it may be that step off
        first = int(plan.steps[0]) - 1
        assert plan.lrs[0] in whole[max(0, first - 1) : first + 2]
        assert abs(plan.steps[-1] - 40_000) <= 1


def test_a_long_plan_says_how_far_it_looks():
    run = Run(small(), DATA, SPEC.replace(schedule=SPECS[0], epochs=20_000))
    plan = run.plan()
    assert len(plan.steps) == 50_000
    assert plan.note == "The plan is drawn for the next 50,000 of 200,000 steps."


def test_random_generators_are_not_touched_by_a_plan():
    run = paused_at(5, SPECS[15])
    before = torch.get_rng_state(), random.getstate(), run.optimizer.state_dict()
    run.plan()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2]["param_groups"] == run.optimizer.state_dict()["param_groups"]
    run.stop()
