"""Whatever is simulated is what a real training loop gets, for every scheduler of the installed torch."""

import copy
import inspect
import math
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from convlab.schedule_spec import SCHEDULERS, ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.optimizers import build_optimizer
from convlab.training.schedules import ScheduleWarning, build_scheduler, simulate

STEPS = 200
S = ScheduleSpec
LOSSES = [1 / (1 + min(step, 40) / 10) + 0.01 * math.sin(step) for step in range(STEPS)]

SPECS = [
    S("LambdaLR", lr_lambda="0.99 ** epoch"),
    S("LambdaLR", lr_lambda="min(1, (epoch + 1) / 20) * 0.5 * (1 + cos(pi * epoch / 200))"),
    S("MultiplicativeLR", lr_lambda="0.98 if epoch < 50 else 1"),
    S("StepLR", step_size=30),
    S("MultiStepLR", milestones=[30, 80, 190], gamma=0.3),
    S("ConstantLR", factor=0.2, total_iters=15),
    S("LinearLR", start_factor=0.01, total_iters=50),
    S("ExponentialLR", gamma=0.98),
    S("CosineAnnealingLR", T_max=200, eta_min=1e-4),
    S("CosineAnnealingLR", T_max=60),
    S("CosineAnnealingWarmRestarts", T_0=20, T_mult=2, eta_min=1e-3),
    S("PolynomialLR", total_iters=190, power=2.0),
    S("CyclicLR", base_lr=0.001, max_lr=0.1, step_size_up=25, step_size_down=10),
    S("CyclicLR", base_lr=0.001, max_lr=0.1, step_size_up=25, mode="exp_range", gamma=0.99, base_momentum=0.7),
    S("CyclicLR", base_lr=0.001, max_lr=0.1, step_size_up=20, scale_fn="0.5 ** (x - 1)", cycle_momentum=False),
    S("OneCycleLR", max_lr=0.2, total_steps=200),
    S("OneCycleLR", max_lr=0.2, epochs=10, steps_per_epoch=20, three_phase=True, anneal_strategy="linear"),
    S("OneCycleLR", max_lr=0.2, total_steps=200, cycle_momentum=False),
    S("ReduceLROnPlateau", patience=3, factor=0.5, cooldown=2, min_lr=1e-3),
    S("SequentialLR", schedulers=[S("LinearLR", total_iters=20), S("CosineAnnealingLR", T_max=180)], milestones=[20]),
    S(
        "SequentialLR",
        schedulers=[
            S("ConstantLR", factor=0.1),
            S("OneCycleLR", max_lr=0.1, total_steps=150),
            S("StepLR", step_size=5),
        ],
        milestones=[40, 180],
    ),
    S("ChainedScheduler", schedulers=[S("LinearLR", total_iters=20), S("ExponentialLR", gamma=0.99)]),
    S(
        "ChainedScheduler",
        schedulers=[S("CosineAnnealingLR", T_max=200), S("MultiStepLR", milestones=[50]), S("LambdaLR", lr_lambda="1")],
    ),
]
NAMES = [f"{spec.scheduler}-{number}" for number, spec in enumerate(SPECS)]


def torch_schedulers() -> set[str]:
    """The schedulers that torch offers, but for their base class."""
    found = vars(lr_scheduler).items()
    return {
        name
        for name, value in found
        if isinstance(value, type) and issubclass(value, LRScheduler) and not name.startswith("_")
    } - {"LRScheduler"}


def test_every_scheduler_of_the_installed_torch_is_covered() -> None:
    assert set(SCHEDULERS) == torch_schedulers()
    assert {spec.scheduler for spec in SPECS} == torch_schedulers()


def test_a_new_scheduler_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_scheduler, "NewLR", type("NewLR", (LRScheduler,), {}), raising=False)
    assert set(SCHEDULERS) != torch_schedulers()


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_the_arguments_are_those_of_torch(name: str) -> None:
    signature = inspect.signature(getattr(lr_scheduler, name)).parameters
    own = {key: parameter for key, parameter in signature.items() if key not in ("optimizer", "last_epoch", "verbose")}
    assert set(SCHEDULERS[name].arguments) == set(own)
    required = {key for key, parameter in own.items() if parameter.default is inspect.Parameter.empty}
    assert set(SCHEDULERS[name].required) == required


def trained(
    spec: ScheduleSpec, train: TrainSpec, steps: int = STEPS, every: int = 1
) -> tuple[list[float], list[float]]:
    """lr and momentum of every step of a real loop, whose scheduler is made from the code that `spec` writes."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = build_optimizer(model.parameters(), train)
    scheduler = eval(spec.code(), {"torch": torch, "math": math, "optimizer": optimizer})
    x, y = torch.randn(8, 3), torch.randn(8, 1)
    lrs, momenta = [], []
    for step in range(steps):
        group = optimizer.param_groups[0]
        lrs.append(group["lr"])
        momenta.append(group["momentum"] if "momentum" in group else group["betas"][0])
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step(*([LOSSES[step]] if spec.scheduler == "ReduceLROnPlateau" else []))
    return lrs, momenta


def metrics_for(spec: ScheduleSpec, every: int = 1) -> list[float] | None:
    return LOSSES[every - 1 :: every] if spec.scheduler == "ReduceLROnPlateau" else None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
@pytest.mark.filterwarnings("ignore::convlab.training.schedules.ScheduleWarning")
def test_simulated_is_what_a_training_gets(spec: ScheduleSpec, optimizer: Any) -> None:
    train = TrainSpec(optimizer=optimizer, lr=0.1)
    lrs, momenta = trained(spec, train)
    curve = simulate(spec, STEPS, train=train, metrics=metrics_for(spec))
    assert curve.lrs.tolist() == lrs
    if len(set(momenta)) > 1:
        assert curve.momenta is not None
        assert curve.momenta.tolist() == momenta
    else:
        assert curve.momenta is None


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
@pytest.mark.filterwarnings("ignore::convlab.training.schedules.ScheduleWarning")
def test_simulated_per_epoch_is_what_a_training_gets(spec: ScheduleSpec) -> None:
    lrs, _ = trained(spec, TrainSpec(lr=0.1), every=7)
    per_epoch = spec.replace(cadence="epoch")
    curve = simulate(per_epoch, STEPS, train=TrainSpec(lr=0.1), steps_per_epoch=7, metrics=metrics_for(spec, 7))
    assert curve.lrs.tolist() == lrs


def live(spec: ScheduleSpec) -> tuple[optim.Optimizer, LRScheduler]:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer, build_scheduler(spec, optimizer)


def state(optimizer: optim.Optimizer, scheduler: LRScheduler) -> str:
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    own = {key: value for key, value in vars(scheduler).items() if key not in ("optimizer", "_schedulers")}
    inner = [sorted(map(str, vars(part).items())) for part in getattr(scheduler, "_schedulers", [])]
    return repr((groups, sorted(map(str, own.items())), inner, list(vars(optimizer))))


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
@pytest.mark.filterwarnings("ignore::convlab.training.schedules.ScheduleWarning")
@pytest.mark.filterwarnings("error::UserWarning:torch")
def test_a_live_scheduler_is_continued_and_not_touched(spec: ScheduleSpec) -> None:
    optimizer, scheduler = live(spec)
    step_of = vars(optimizer).get("step")
    metric = (lambda step: (LOSSES[step],)) if spec.scheduler == "ReduceLROnPlateau" else (lambda step: ())
    for step in range(33):
        optimizer.step()
        scheduler.step(*metric(step))
    before = state(optimizer, scheduler)
    curve = simulate(scheduler, 100, metrics=LOSSES[33:] if metrics_for(spec) else None)
    assert state(optimizer, scheduler) == before
    assert vars(optimizer).get("step") is step_of
    expected = []
    for step in range(33, 133):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*metric(step))
    assert curve.lrs.tolist() == expected


def test_a_function_that_makes_the_scheduler_will_do() -> None:
    curve = simulate(lambda optimizer: lr_scheduler.StepLR(optimizer, 2), 4, train=TrainSpec(lr=1.0))
    assert curve.lrs.tolist() == pytest.approx([1, 1, 0.1, 0.1])


def test_several_groups_have_a_column_each() -> None:
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = optim.AdamW([{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.01}])
    scheduler = lr_scheduler.OneCycleLR(optimizer, [0.1, 0.01], total_steps=50)
    curve = simulate(scheduler, 50)
    assert curve.lrs.shape == (50, 2)
    assert curve.lrs[:, 0] == pytest.approx(10 * curve.lrs[:, 1])
    assert list(curve.to_dataframe()) == ["step", "lr_0", "lr_1", "momentum"]


def test_a_live_lr_in_a_tensor_is_not_shared() -> None:
    optimizer = optim.Adam([nn.Parameter(torch.zeros(2))], lr=torch.tensor(0.1), capturable=False, foreach=False)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    curve = simulate(scheduler, 3)
    assert curve.lrs == pytest.approx([0.1, 0.05, 0.025])
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_nothing_is_drawn_from_any_random_generator() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    simulate(SPECS[0], 10)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_a_second_scheduler_starts_from_the_present_lr() -> None:
    optimizer, scheduler = live(S("OneCycleLR", max_lr=0.5, total_steps=10))
    optimizer.step()
    scheduler.step()
    optimizer.param_groups[0]["lr"] = 0.3
    second = build_scheduler(S("LambdaLR", lr_lambda="1"), optimizer)
    assert second.get_last_lr() == [0.3]


# -- cadence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "steps", "per_epoch", "sentence"),
    [
        (
            S("CosineAnnealingLR", T_max=200, cadence="epoch"),
            200,
            20,
            "T_max=200 but steps only 10 times.*cadence='step'",
        ),
        (S("CosineAnnealingLR", T_max=10), 200, 20, "T_max=10 but steps 200 times.*climbs back.*cadence='epoch'"),
        (S("CosineAnnealingLR", T_max=50), 200, None, "T_max=50 but steps 200 times.*use T_max=200"),
        (
            S("OneCycleLR", max_lr=0.1, total_steps=200, cadence="epoch"),
            200,
            20,
            "total_steps=200 but steps only 10 times",
        ),
        (S("OneCycleLR", max_lr=0.1, total_steps=400), 200, None, "total_steps=400 but steps only 200 times"),
        (S("OneCycleLR", max_lr=0.1, total_steps=100), 200, None, "training would stop with an error after step 101"),
        (S("StepLR", step_size=30, cadence="epoch"), 200, 20, "step_size=30 but steps only 10 times"),
        (S("MultiStepLR", milestones=[100, 150], cadence="epoch"), 200, 20, "milestones=100 but steps only 10"),
        (S("LinearLR", total_iters=100, cadence="epoch"), 200, 20, "total_iters=100 but steps only 10"),
        (S("CyclicLR", base_lr=0, max_lr=1, step_size_up=100, cadence="epoch"), 200, 20, "step_size_up=100 but"),
        (S("CosineAnnealingWarmRestarts", T_0=300), 200, None, "T_0=300 but steps only 200"),
        (S("ExponentialLR", gamma=0.9), 2000, None, "after step 132 of 2000 the lr is below a millionth"),
        (S("PolynomialLR", total_iters=10), 200, 20, "after step 10 of 200 the lr is below a millionth"),
        (
            S("SequentialLR", schedulers=[S("LinearLR"), S("CosineAnnealingLR", T_max=200)], milestones=[20]),
            200,
            20,
            "CosineAnnealingLR has T_max=200 but steps only 180 times",
        ),
        (
            S("SequentialLR", schedulers=[S("LinearLR"), S("StepLR", step_size=3)], milestones=[50], cadence="epoch"),
            200,
            20,
            "the last of milestones=50 but steps only 10 times",
        ),
        (S("ChainedScheduler", schedulers=[S("CosineAnnealingLR", T_max=20)]), 200, 10, "cadence='epoch'"),
    ],
)
def test_a_plan_that_does_not_fit_is_warned_of(spec: Any, steps: int, per_epoch: Any, sentence: str) -> None:
    with pytest.warns(ScheduleWarning, match=sentence):
        curve = simulate(spec, steps, steps_per_epoch=per_epoch)
    assert curve.notes


@pytest.mark.parametrize(
    ("spec", "steps", "per_epoch"),
    [
        (S("CosineAnnealingLR", T_max=200), 200, 20),
        (S("CosineAnnealingLR", T_max=199), 200, 20),
        (S("CosineAnnealingLR", T_max=10, cadence="epoch"), 200, 20),
        (S("OneCycleLR", max_lr=0.1, total_steps=200), 200, 20),
        (S("OneCycleLR", max_lr=0.1, total_steps=10, cadence="epoch"), 200, 20),
        (S("OneCycleLR", max_lr=0.1, total_steps=10, cadence="epoch"), 10, None),
        (S("StepLR", step_size=3, cadence="epoch"), 200, 20),
        (S("LinearLR", total_iters=20), 200, 20),
        (S("SequentialLR", schedulers=[S("LinearLR"), S("CosineAnnealingLR", T_max=180)], milestones=[20]), 200, 20),
    ],
)
def test_a_plan_that_fits_is_not(spec: ScheduleSpec, steps: int, per_epoch: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert simulate(spec, steps, steps_per_epoch=per_epoch).notes == ()


def test_the_rest_of_a_live_schedule_fits_too() -> None:
    optimizer, scheduler = live(S("CosineAnnealingLR", T_max=100))
    for _ in range(60):
        optimizer.step()
        scheduler.step()
    assert simulate(scheduler, 40).notes == ()
    with pytest.warns(ScheduleWarning, match="steps only 80 times"):
        simulate(scheduler, 20)


# -- the result and the refusals --------------------------------------------------------------------------------------


def test_the_result_as_table_array_picture_and_text() -> None:
    curve = simulate(SPECS[15], STEPS)
    table = curve.to_dataframe()
    assert list(table) == ["step", "lr", "momentum"]
    assert table.step.tolist() == list(range(1, STEPS + 1))
    assert np.array_equal(np.asarray(curve), curve.lrs)
    assert len(curve) == STEPS
    ax = curve.plot()
    assert ax.lines[0].get_ydata().tolist() == curve.lrs.tolist()
    assert repr(curve) == (
        "ScheduleCurve(OneCycleLR, 200 steps, lr 0.008 → 0.2 (step 60) → 8e-07, momentum 0.85 to 0.95)"
    )


def test_epochs_are_counted_where_their_steps_are_unknown() -> None:
    curve = simulate(S("StepLR", step_size=2, cadence="epoch"), 5)
    assert list(curve.to_dataframe()) == ["epoch", "lr"]
    assert curve.plot().get_xlabel() == "epoch"


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"steps": 0}, ValueError, "steps must be a whole number of at least 1, got 0; try steps=100"),
        ({"steps_per_epoch": 1.5}, ValueError, "steps_per_epoch must be a whole number"),
        ({"cadence": "batch"}, ValueError, "cadence must be 'step' or 'epoch', got 'batch'"),
        ({"metrics": [1.0]}, ValueError, "metrics is for ReduceLROnPlateau; the step of StepLR takes none"),
        ({"scheduler": S("ReduceLROnPlateau")}, ValueError, "each of the 10 calls of ReduceLROnPlateau.step, got 0"),
        ({"scheduler": "StepLR"}, TypeError, "scheduler must be a ScheduleSpec"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], error: type[Exception], sentence: str) -> None:
    given = {"scheduler": S("StepLR", step_size=2), "steps": 10, **arguments}
    with pytest.raises(error, match=sentence):
        simulate(**copy.copy(given))


def test_a_live_scheduler_brings_its_own_optimizer() -> None:
    _, scheduler = live(S("StepLR", step_size=2))
    with pytest.raises(ValueError, match="leave train out"):
        simulate(scheduler, 10, train=TrainSpec())
