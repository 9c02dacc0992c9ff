"""Each rule on curves with a planted fault, on their healthy neighbours, and on whatever numbers there are."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convlab
from convlab.diagnosis.curve import RULES, Curve
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec

torch.set_num_threads(1)
GUESSING = math.log(10)
DOWN = GUESSING * 0.7 ** np.arange(12)


def seen(train, valid=None, *, failed=False, **spec):
    train = np.asarray(train, dtype=float)
    valid = train * 1.1 if valid is None else np.asarray(valid, dtype=float)
    return Curve(TrainSpec(**spec), train, valid, np.full(len(train), 0.5), GUESSING, failed, 45 * len(train))


def rules(evidence):
    return {found.rule for rule in RULES if (found := rule(evidence)) is not None}


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (seen(DOWN, failed=True), "diverged"),
        (seen([], failed=True), "diverged"),
        (seen([2.4] * 8), "diverged"),
        (seen(DOWN + 0.3 * (np.arange(12) % 2)), "oscillating"),
        (seen(DOWN, DOWN + 0.4 * (np.arange(12) % 2)), "oscillating"),
        (seen(GUESSING * 0.999 ** np.arange(12)), "too_slow"),
        (seen(GUESSING * 0.95 ** np.arange(12)), "too_slow"),
        (seen([2.0] * 12, weight_decay=0.3), "decayed_away"),
        (seen(GUESSING * 0.95 ** np.arange(12), [2.31] * 12), "at_chance"),
        (seen([2.303, 2.302, 2.304, 2.303] * 3, [2.303] * 12), "stuck"),
        (seen(DOWN, np.r_[DOWN[:6], DOWN[5] * 1.2 ** np.arange(1, 7)]), "overfitting"),
        (seen([1.2] * 12, [1.25] * 12), "underfitting"),
    ],
)
def test_a_planted_fault_is_found(evidence, rule):
    assert rule in rules(evidence)


@pytest.mark.parametrize(
    "evidence",
    [
        seen(DOWN),
        seen(DOWN, DOWN + 0.05),
        seen(DOWN + 0.01 * (np.arange(12) % 2)),
        seen(DOWN, weight_decay=0.3),
        seen(DOWN, np.maximum(DOWN, 0.15)),  # a plateau of validation is no rise
        seen(GUESSING * 0.95 ** np.arange(3)),  # too few epochs
        seen([]),
    ],
)
def test_a_healthy_curve_is_left_alone(evidence):
    assert not rules(evidence)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(0, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=30),
    st.lists(st.floats(0, 1e6) | st.just(math.nan), max_size=30),
    st.booleans(),
    st.sampled_from([GUESSING, math.nan]),
)
def test_no_curve_is_too_odd(train, valid, failed, guessing):
    count = min(len(train), len(valid))
    evidence = Curve(
        TrainSpec(), np.array(train[:count]), np.array(valid[:count]), np.full(count, np.nan), guessing, failed, count
    )
    with np.errstate(all="ignore"):
        for rule in RULES:
            found = rule(evidence)
            assert found is None or (found.seen and found.why and str(found))
            if found is not None and found.remedy.changes:
                assert found.remedy.applied(evidence.spec) != evidence.spec


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("make", [lenet, perceptron])
@pytest.mark.parametrize(("lr", "rule"), [(20.0, "diverged"), (1e-5, "too_slow"), (0.02, None)])
def test_real_runs_and_what_the_remedy_does(make, lr, rule):
    spec = TrainSpec(epochs=6, lr=lr)
    run = convlab.fit(make(), "digits", spec)
    found = convlab.diagnose(run)
    assert [one.rule for one in found] == ([rule] if rule else [])
    if rule:
        better = convlab.fit(make(), "digits", found[0].remedy.applied(spec))
        assert better.history.epochs
        assert run.state == "failed" or better.history.epochs[-1].valid_loss < run.history.epochs[-1].valid_loss


def test_of_several_tales_of_one_curve_the_first_is_told():
    run = convlab.fit(perceptron(), "digits", TrainSpec(epochs=5, lr=1e-5, weight_decay=0.3))
    assert [one.rule for one in convlab.diagnose(run)] == ["decayed_away"]
