"""What stands before the curve of a schedule: where each scheduler begins, its code, its preview on given scores."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schedules import SPECS, torch_schedulers
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from convlab.limits import SpecError
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.history import EpochRecord, History
from convlab.training.schedule_code import schedule_code
from convlab.training.schedule_defaults import calls_of, defaults, fitted, refitted, with_parts
from convlab.training.schedule_preview import (
    Scores,
    at_calls,
    corners,
    example_scores,
    preview,
    redrawn,
    scores_of,
)
from convlab.training.schedules import Overtaken, curve_of, simulate

S = ScheduleSpec
EPOCHS, PER_EPOCH = 10, 20
STEPS = EPOCHS * PER_EPOCH
TRAIN = TrainSpec(lr=0.1, epochs=EPOCHS)
ALL = sorted(torch_schedulers())
CADENCES = ("step", "epoch")


def begun(name: str, cadence: Any = "step", steps: int = STEPS, epochs: int = EPOCHS) -> ScheduleSpec:
    return fitted(name, cadence=cadence, steps=steps, epochs=epochs, lr=0.1)


def scores_for(spec: ScheduleSpec, calls: int) -> Scores:
    return Scores("a test", at_calls(example_scores("min"), calls))


# -- where a scheduler begins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("name", ALL)
def test_every_scheduler_of_torch_begins_where_it_fits(name: str, cadence: Any) -> None:
    spec = begun(name, cadence)
    assert (spec.scheduler, spec.cadence) == (name, cadence)
    curve = preview(spec, TRAIN, PER_EPOCH, scores=scores_for(spec, calls_of(cadence, STEPS, EPOCHS)))
    assert curve.notes == ()
    assert len(curve) == STEPS
    assert 0.085 < curve.lrs.max() < 0.1 + 1e-9
    assert np.ptp(curve.lrs) > 0.05, "a curve that shows something"
    if name not in ("ConstantLR", "CyclicLR", "LambdaLR", "CosineAnnealingWarmRestarts"):
        assert curve.lrs[-1] <= 0.1 * 0.3, "small at the end"


def test_a_new_scheduler_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_scheduler, "NewLR", type("NewLR", (LRScheduler,), {}), raising=False)
    assert "NewLR" in torch_schedulers()
    with pytest.raises(SpecError, match="scheduler must be one of"):
        begun("NewLR")


@given(st.sampled_from(ALL), st.sampled_from(CADENCES), st.integers(1, 3000), st.integers(1, 40))
@settings(deadline=None, max_examples=150)
def test_it_begins_in_a_training_of_any_length(name: str, cadence: Any, per_epoch: int, epochs: int) -> None:
    spec = begun(name, cadence, per_epoch * epochs, epochs)
    assert ScheduleSpec.from_json(spec.to_json()) == spec
    assert refitted(spec, steps=per_epoch * epochs, epochs=epochs) == spec
    calls = calls_of(cadence, per_epoch * epochs, epochs)
    if calls < 400:
        curve = curve_of(spec, calls, train=TRAIN, metrics=[1.0] * calls if name == "ReduceLROnPlateau" else None)
        assert len(curve) == calls
        assert np.isfinite(curve.lrs).all()
        if calls > 2 and name != "ReduceLROnPlateau":
            assert curve.notes == ()


def test_the_numbers_themselves() -> None:
    found = {name: begun(name, steps=450, epochs=10).arguments for name in ALL}
    assert found["CosineAnnealingLR"] == {"T_max": 450}
    assert found["OneCycleLR"] == {"max_lr": 0.1, "total_steps": 450}
    assert found["StepLR"] == {"step_size": 150, "gamma": 0.1}
    assert found["MultiStepLR"]["milestones"] == (225, 338)
    assert found["CyclicLR"] == {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 56}
    assert found["ExponentialLR"]["gamma"] ** 450 == pytest.approx(0.01, rel=0.02)
    warmup, cosine = found["SequentialLR"]["schedulers"]
    assert (warmup.arguments["total_iters"], cosine.arguments["T_max"]) == (45, 405)
    assert found["SequentialLR"]["milestones"] == (45,)


@pytest.mark.parametrize("name", ALL)
def test_another_training_moves_the_lengths_and_nothing_else(name: str) -> None:
    spec = begun(name)
    longer = refitted(spec, steps=10 * STEPS, epochs=EPOCHS)
    if name not in ("LambdaLR", "MultiplicativeLR"):  # a person's own formula stays
        assert longer == begun(name, steps=10 * STEPS)
    own = {"StepLR": {"gamma": 0.7}, "CosineAnnealingLR": {"eta_min": 0.01}, "OneCycleLR": {"max_lr": 0.7}}
    changed = refitted(spec.replace(**own.get(name, {})), steps=7, epochs=7)
    assert own.get(name, {}).items() <= changed.arguments.items()


def test_a_mismatch_of_the_cadence_is_mended() -> None:
    wrong = S("CosineAnnealingLR", T_max=STEPS, cadence="epoch", eta_min=0.001)
    assert "cadence='step'" in preview(wrong, TRAIN, PER_EPOCH).notes[0]
    right = refitted(wrong, steps=STEPS, epochs=EPOCHS)
    assert right == S("CosineAnnealingLR", T_max=EPOCHS, cadence="epoch", eta_min=0.001)
    own = S("OneCycleLR", max_lr=0.3, epochs=3, steps_per_epoch=5)
    assert refitted(own, steps=STEPS, epochs=EPOCHS).arguments == {"max_lr": 0.3, "total_steps": STEPS}


def test_parts_come_and_go() -> None:
    lengths = {"steps": 100, "epochs": 10}
    spec = begun("SequentialLR", **lengths)
    warmup, cosine = spec.arguments["schedulers"]
    three = with_parts(spec, [warmup, S("StepLR", step_size=1), cosine], **lengths)
    assert three.arguments["milestones"] == (10, 55)
    assert three.arguments["schedulers"][2].arguments["T_max"] == 45
    assert curve_of(three, 100).notes == ()
    assert with_parts(three, [warmup, cosine], **lengths) == spec
    with pytest.raises(SpecError, match="milestones must be"):
        with_parts(spec, [warmup], **lengths)
    chained = begun("ChainedScheduler", **lengths)
    assert len(with_parts(chained, [cosine], **lengths).arguments["schedulers"]) == 1


def test_defaults_are_those_of_torch() -> None:
    assert defaults("CosineAnnealingLR") == {"eta_min": 0.0}
    assert defaults("OneCycleLR")["div_factor"] == 25.0
    assert defaults("LambdaLR") == {}


# -- what torch would divide by ---------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 60), st.booleans())
@settings(deadline=None, max_examples=200)
def test_a_one_cycle_is_refused_where_torch_would_divide_by_zero(total: int, at: int, three: bool) -> None:
    arguments = {"total_steps": total, "pct_start": min(1.0, at / total), "three_phase": three}
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    try:
        made = lr_scheduler.OneCycleLR(optimizer, 0.1, **arguments)
        for _ in range(total):
            optimizer.step()
            made.step()
    except ZeroDivisionError:
        with pytest.raises(SpecError, match="pct_start must leave every phase"):
            S("OneCycleLR", max_lr=0.1, **arguments)
    else:
        assert len(curve_of(S("OneCycleLR", max_lr=0.1, **arguments), total)) == total


def test_what_a_float_does_not_hold_ends_the_curve_with_a_sentence() -> None:
    wild = S("CyclicLR", base_lr=0, max_lr=1, step_size_up=1, mode="exp_range", gamma=10.0)
    curve = curve_of(wild, 1000)
    assert 300 < len(curve) < 320
    assert curve.notes[0].startswith(f"training would stop with an error after step {len(curve)}")
    note = curve_of(S("ExponentialLR", gamma=10.0), 1000).notes
    assert len(note) == 1
    assert "the lr is infinite" in note[0]
    with pytest.raises(SpecError, match="factor must be a number above 0"):
        S("ConstantLR", factor=0)


# -- the code ---------------------------------------------------------------------------------------------------------


class Loader:
    """Batches, with a look at the optimizer before each."""

    def __init__(self, namespace: dict[str, Any], steps: int) -> None:
        self.namespace, self.steps = namespace, steps
        self.lrs: list[float] = []

    def __iter__(self) -> Any:
        for _ in range(self.steps):
            self.lrs.append(float(self.namespace["optimizer"].param_groups[0]["lr"]))
            yield torch.randn(8, 3), torch.randn(8, 1)

    def __len__(self) -> int:
        return self.steps


@pytest.mark.parametrize("cadence", CADENCES)
@pytest.mark.parametrize("spec", [*SPECS, None, *map(begun, ALL)], ids=lambda spec: spec and spec.scheduler)
@pytest.mark.filterwarnings("error")
def test_the_code_runs_and_has_the_simulated_lrs(spec: ScheduleSpec | None, cadence: Any) -> None:
    spec = spec and spec.replace(cadence=cadence)
    torch.manual_seed(0)
    scores: list[float] = []

    def criterion(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.mse_loss(output, target)
        if cadence == "step" or not torch.is_grad_enabled():
            scores.append(loss.item())
        return loss

    namespace: dict[str, Any] = {"model": nn.Linear(3, 1), "criterion": criterion, "valid_loader": []}
    namespace["train_loader"] = loader = Loader(namespace, PER_EPOCH)
    namespace["valid_loader"] = [(torch.randn(8, 3), torch.randn(8, 1))]
    exec(schedule_code(spec, TRAIN), namespace)
    if spec is None:
        assert loader.lrs == [0.1] * STEPS
        return
    plateau = spec.scheduler == "ReduceLROnPlateau"
    curve = curve_of(spec, STEPS, train=TRAIN, steps_per_epoch=PER_EPOCH, metrics=scores if plateau else None)
    assert loader.lrs == curve.lrs.tolist()


@pytest.mark.parametrize(
    "train",
    [
        TrainSpec(optimizer="adamw", lr=0.01),
        TrainSpec(optimizer="adam", betas=(0.8, 0.9), weight_decay=0.1),
        TrainSpec(optimizer="rmsprop", momentum=0.5),
        TrainSpec(momentum=0.0, weight_decay=0.01),
    ],
)
def test_its_optimizer_is_the_recipe_s(train: TrainSpec) -> None:
    from convlab.training.optimizers import build_optimizer

    model = nn.Linear(3, 1)
    namespace: dict[str, Any] = {"model": model, "train_loader": [], "criterion": None}
    exec(schedule_code(None, train), namespace)
    ours = build_optimizer(model.parameters(), train)
    assert type(namespace["optimizer"]) is type(ours)
    names = ("lr", "momentum", "betas", "weight_decay")
    theirs = namespace["optimizer"].param_groups[0]
    assert {n: theirs.get(n) for n in names} == {n: ours.param_groups[0].get(n) for n in names}


def test_mode_max_is_given_an_accuracy() -> None:
    spec = S("ReduceLROnPlateau", mode="max", cadence="epoch")
    x = torch.eye(3)
    namespace = {
        "model": nn.Linear(3, 3),
        "criterion": nn.functional.cross_entropy,
        "train_loader": [(x, torch.arange(3))],
        "valid_loader": [(x, torch.arange(3))],
    }
    exec(schedule_code(spec, TRAIN), namespace)
    assert 0 <= float(namespace["valid_accuracy"]) <= 1


# -- the preview ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.scheduler)
@pytest.mark.filterwarnings("ignore::convlab.training.schedules.ScheduleWarning")
def test_a_preview_is_what_simulate_says_without_a_warning(spec: ScheduleSpec) -> None:
    scores = scores_for(spec, STEPS)
    metrics = scores.values.tolist() if spec.scheduler == "ReduceLROnPlateau" else None
    expected = simulate(spec, STEPS, train=TRAIN, steps_per_epoch=PER_EPOCH, metrics=metrics)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = preview(spec, TRAIN, PER_EPOCH, scores=scores)
    assert curve.lrs.tolist() == expected.lrs.tolist()
    assert curve.notes == expected.notes


def test_without_a_scheduler_the_lr_stays() -> None:
    assert preview(None, TRAIN, PER_EPOCH).lrs.tolist() == [0.1] * STEPS


def test_an_endless_training_is_drawn_as_far_as_one_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convlab.training.schedule_preview.MOST_STEPS", 150)
    curve = preview(begun("StepLR"), TRAIN, PER_EPOCH)
    assert len(curve) == 150
    assert curve.notes == ("Drawn for the first 150 of 200 steps.",)


def test_a_curve_that_is_overtaken_is_left() -> None:
    asked = []
    with pytest.raises(Overtaken):
        preview(S("CosineAnnealingLR", T_max=10**6), TRAIN, 10**5, go_on=lambda: asked.append(1) or len(asked) < 3)
    assert len(asked) == 3


def history(epochs: int, valid: bool = True) -> History:
    made = History()
    for epoch in range(1, epochs + 1):
        for _ in range(PER_EPOCH):
            made.add_step(1 / epoch, 0.1)
        score = (2 / epoch, 1 - 1 / (epoch + 1)) if valid else (None, None)
        made.add_epoch(EpochRecord(epoch, epoch * PER_EPOCH, 1 / epoch, 0.5, *score, 0.1, 1.0))
    return made


def test_a_plateau_is_watched_on_the_scores_of_a_run() -> None:
    assert scores_of(None, "run 1", "epoch", "min") is None
    assert scores_of(History(), "run 1", "epoch", "min") is None
    run = history(4)
    assert scores_of(run, "run 1", "epoch", "min").values.tolist() == [2, 1, 2 / 3, 0.5]
    assert scores_of(run, "run 1", "epoch", "max").values == pytest.approx([1 / 2, 2 / 3, 3 / 4, 4 / 5])
    assert scores_of(history(2, valid=False), "run 1", "epoch", "min").values.tolist() == [1, 0.5]
    assert len(scores_of(run, "run 1", "step", "min").values) == 4 * PER_EPOCH
    spec = S("ReduceLROnPlateau", patience=0, threshold=0.9, cadence="epoch")
    curve = preview(spec, TRAIN, PER_EPOCH, scores=scores_of(run, "run 1", "epoch", "min"))
    # The lr of the fifth epoch is known, too; that of the sixth is not.
    assert len(curve) == 5 * PER_EPOCH - 1
    assert curve.lrs[::PER_EPOCH] == pytest.approx([0.1, 0.1, 0.01, 0.001, 1e-4])
    assert curve.notes[-1].startswith("Drawn as far as the 4 scores of run 1 reach")
    assert len(preview(spec, TRAIN, PER_EPOCH)) == PER_EPOCH - 1


def test_a_hand_draws_over_a_part_of_the_scores() -> None:
    trace = np.ones(11)
    now = redrawn(trace, np.array([4.0, 2.0, 3.0]), np.array([0.4, 0.2, 0.3]), (0, 10))
    assert now.tolist() == pytest.approx([1, 1, 0.2, 0.3, 0.4, 1, 1, 1, 1, 1, 1])
    assert redrawn(trace, np.array([3.1]), np.array([5.0]), (0, 10))[3] == 5
    assert redrawn(trace, np.array([math.nan]), np.array([5.0]), (0, 10)).tolist() == trace.tolist()
    assert at_calls(np.array([0.0, 1.0]), 3).tolist() == [0, 0.5, 1]
    assert at_calls(trace, 1).tolist() == [1]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300),
    st.sampled_from([8, 20, 100]),
)
@settings(max_examples=200)
def test_corners_keep_ends_and_extremes(values: list[float], most: int) -> None:
    y = np.array(values)
    chosen = corners(y, most)
    assert len(chosen) <= most
    assert {0, len(y) - 1} <= set(chosen.tolist())
    assert (np.diff(chosen) > 0).all()
    assert (y[chosen].min(), y[chosen].max()) == (y.min(), y.max())


def test_corners_keep_the_shape_of_long_curves() -> None:
    for name in set(ALL) - {"ReduceLROnPlateau"}:
        y = curve_of(begun(name, steps=9000), 9000, train=TRAIN).lrs
        chosen = corners(y, 2000)
        assert len(chosen) <= 2000
        drawn = np.interp(np.arange(len(y)), chosen, y[chosen])
        assert np.abs(drawn - y).max() < 1e-4, name
