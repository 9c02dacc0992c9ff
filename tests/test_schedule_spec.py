import math

import pytest

from convlab.formula import Formula
from convlab.schedule_spec import SCHEDULERS, Function, Limits, ScheduleSpec, Steps
from convlab.spec import SpecError


def warmup_then_cosine() -> ScheduleSpec:
    return ScheduleSpec(
        "SequentialLR",
        schedulers=[
            ScheduleSpec("LinearLR", start_factor=0.1, total_iters=20),
            ScheduleSpec("CosineAnnealingLR", T_max=80),
        ],
        milestones=[20],
        cadence="epoch",
    )


def test_a_schedule_survives_json_equal_and_hashable() -> None:
    for spec in (
        warmup_then_cosine(),
        ScheduleSpec("LambdaLR", lr_lambda="0.95 ** epoch"),
        ScheduleSpec("CyclicLR", base_lr=0.01, max_lr=0.1, cycle_momentum=False, scale_fn="1 / x"),
    ):
        assert ScheduleSpec.from_json(spec.to_json()) == spec
        assert hash(ScheduleSpec.from_json(spec.to_json())) == hash(spec)


def test_repr_is_the_call_that_makes_it() -> None:
    for spec in (warmup_then_cosine(), ScheduleSpec("MultiStepLR", milestones=[3, 5], gamma=0.5)):
        assert eval(repr(spec)) == spec


def test_replace_keeps_the_rest() -> None:
    spec = ScheduleSpec("CosineAnnealingLR", T_max=80, eta_min=0.001, cadence="epoch")
    assert spec.replace(T_max=40) == ScheduleSpec("CosineAnnealingLR", T_max=40, eta_min=0.001, cadence="epoch")


@pytest.mark.parametrize(
    ("scheduler", "arguments", "sentence"),
    [
        ("CosineLR", {}, r"scheduler must be one of .*, got 'CosineLR'; try '\w+'"),
        ("StepLR", {"step_sise": 3}, "StepLR has no argument 'step_sise'; did you mean step_size"),
        ("StepLR", {}, "StepLR needs step_size; try step_size=30"),
        ("StepLR", {"step_size": 0}, "step_size must be a whole number from 1 .* got 0; try step_size=30"),
        ("StepLR", {"step_size": 2.5}, "step_size must be a whole number"),
        ("StepLR", {"step_size": 2, "cadence": "batch"}, "cadence must be 'step' or 'epoch', got 'batch'"),
        ("MultiStepLR", {"milestones": [20, 10]}, r"rising order, got \[20, 10\]; try milestones=\[30, 60\]"),
        ("MultiStepLR", {"milestones": 5}, "rising order, got 5"),
        ("ExponentialLR", {"gamma": float("nan")}, "gamma must be a number above 0"),
        ("CyclicLR", {"base_lr": 1, "max_lr": 0.1}, "base_lr must be at most max_lr=0.1, got 1; try base_lr=0.01"),
        (
            "CyclicLR",
            {"base_lr": 0.1, "max_lr": 1, "mode": "square"},
            "mode must be one of 'triangular'.* got 'square'",
        ),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "cycle_momentum": 1}, "cycle_momentum must be one of True, False"),
        ("OneCycleLR", {"max_lr": 0.1}, "OneCycleLR needs total_steps, or epochs and steps_per_epoch"),
        ("OneCycleLR", {"max_lr": 0.1, "epochs": 3}, "OneCycleLR needs total_steps"),
        ("LambdaLR", {"lr_lambda": abs}, "lr_lambda must be a formula of epoch as text"),
        ("LambdaLR", {"lr_lambda": "0.9 ** step"}, "holds 'step', which is no arithmetic with epoch; try lr_lambda="),
        ("LambdaLR", {"lr_lambda": "1 / epoch"}, "has no value at epoch=0"),
        ("ChainedScheduler", {"schedulers": ["StepLR"]}, "schedulers must be a list of ScheduleSpec"),
        ("ChainedScheduler", {"schedulers": [ScheduleSpec("ReduceLROnPlateau")]}, "cannot hold ReduceLROnPlateau"),
        (
            "SequentialLR",
            {"schedulers": [ScheduleSpec("ExponentialLR", gamma=0.9)], "milestones": [5]},
            "milestones must be one fewer than schedulers, got 1 for 1",
        ),
    ],
)
def test_the_impossible_is_refused_in_a_sentence(scheduler: str, arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        ScheduleSpec(scheduler, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("floor(9e9) ** floor(9e9)", "has no value"),
        ("ceil(9e9) ** ceil(9e9)", "has no value"),
        (" ** ".join(["((1 < 2) + (1 < 2))"] * 8), "has no value"),
        (" ** ".join(["((not 0) + (not 0))"] * 8), "has no value"),
        ("floor(9e9) << floor(9e9)", "no arithmetic"),
        ("1" * 400, "holds a number that is too large"),
        ("1 + " * 200 + "1", "longer than 500 characters"),
        ("-" * 400 + "1 is 1", "no arithmetic|is no formula"),
        ("(" * 300 + "1" + ")" * 100, "is no formula"),
    ],
)
def test_a_formula_ends_at_once_whatever_is_typed(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Formula(text, "epoch")(0)


def test_truth_counts_as_one() -> None:
    formula = Formula("(epoch >= 5) + 2 * (1 < epoch < 9 and not epoch < 3) + floor(epoch / 2)", "epoch")
    for epoch in range(10):
        assert formula(epoch) == (epoch >= 5) + 2 * (1 < epoch < 9 and not epoch < 3) + epoch // 2
        assert eval(formula.source(), {"math": math})(epoch) == formula(epoch)


def test_from_dict_refuses_unknown_keys() -> None:
    with pytest.raises(SpecError, match="keys scheduler, cadence and arguments"):
        ScheduleSpec.from_dict({"scheduler": "ExponentialLR", "gamma": 0.9})


def test_every_example_in_the_table_is_accepted() -> None:
    for name, scheduler in SCHEDULERS.items():
        for argument, check in scheduler.arguments.items():
            if isinstance(check, Limits | Steps | Function):
                assert check.checked(argument, check.example) is not None, (name, argument)


def test_a_formula_is_the_function_that_it_says() -> None:
    formula = Formula("0.5 * (1 + cos(pi * min(epoch, 100) / 100)) if epoch >= 5 else epoch / 5", "epoch")
    for epoch in range(120):
        expected = 0.5 * (1 + math.cos(math.pi * min(epoch, 100) / 100)) if epoch >= 5 else epoch / 5
        assert formula(epoch) == expected
        assert eval(formula.source(), {"math": math})(epoch) == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "epoch.__class__",
        "[epoch]",
        "lambda: 1",
        "open",
        "min",
        "epoch if",
        "'a'",
        "pi()",
        "9**9**9",
    ],
)
def test_a_formula_is_arithmetic_only_and_ends(text: str) -> None:
    with pytest.raises(ValueError, match=r"formula|arithmetic|no value"):
        Formula(text, "epoch")(1)
