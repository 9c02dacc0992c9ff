"""A recipe holds what it may hold, and its refusals tell what would work."""

import dataclasses
import json
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlab.limits import short
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import DEVICES, LIMITS, OPTIMIZERS, SpecError, TrainSpec

NAMES = sorted(LIMITS)


def allowed(name):
    limits = LIMITS[name]
    if limits.whole:
        values = st.integers(int(limits.low), int(limits.high))
    else:
        values = st.floats(limits.low, limits.high, exclude_min=limits.above)
    return values | st.none() if limits.optional else values


def forbidden(name):
    limits = LIMITS[name]
    junk = st.one_of(st.text(max_size=5), st.booleans(), st.just(math.nan), st.just(math.inf), st.lists(st.integers()))
    below = st.floats(max_value=float(limits.low), exclude_max=not limits.above, allow_nan=False)
    above = st.floats(min_value=float(limits.high), exclude_min=True, allow_nan=False)
    huge = st.integers(min_value=int(limits.high) + 1) | st.integers(max_value=int(limits.low) - 1)
    bad = junk | below | above | huge
    if limits.whole:
        bad |= st.floats(float(limits.low), float(limits.high))
    if not limits.optional:
        bad |= st.none()
    return bad


specs = st.builds(
    TrainSpec,
    optimizer=st.sampled_from(OPTIMIZERS),
    betas=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2),
    device=st.sampled_from((*DEVICES, "cuda:3")),
    restore_best=st.booleans(),
    channels_last=st.booleans(),
    bf16=st.booleans(),
    **{name: allowed(name) for name in NAMES},
)


@settings(deadline=None)
@given(specs)
def test_whatever_is_allowed_survives_json_pickle_and_replace(spec):
    assert TrainSpec.from_json(spec.to_json()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.replace() == spec


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(data=st.data())
def test_whatever_is_forbidden_is_refused_with_a_value_that_works(name, data):
    value = data.draw(forbidden(name))
    with pytest.raises(SpecError) as caught:
        TrainSpec(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} must be")
    assert short(value) in message
    assert_advice_works(message, name)


def assert_advice_works(message, name):
    advice = re.search(rf"try ({name}=.*)\.$", message)
    assert advice, message
    (worked,) = eval(f"dict({advice[1]})").values()
    assert getattr(TrainSpec(**{name: worked}), name) == worked


@pytest.mark.parametrize("name", NAMES)
def test_bounds_in_the_message_are_the_bounds(name):
    limits = LIMITS[name]
    with pytest.raises(SpecError) as caught:
        TrainSpec(**{name: "no number"})
    low, high = re.search(
        r"(?:from|above) (\S+) (?:to|and at most) (\S+?)(?: or None)?, got", str(caught.value)
    ).groups()
    kind = int if limits.whole else float
    assert getattr(TrainSpec(**{name: kind(high)}), name) == limits.high
    if limits.above:
        with pytest.raises(SpecError):
            TrainSpec(**{name: kind(low)})
    else:
        assert getattr(TrainSpec(**{name: kind(low)}), name) == limits.low
    assert ("or None" in str(caught.value)) == limits.optional


@settings(deadline=None)
@given(st.text(max_size=8) | st.integers() | st.none())
def test_optimizer_and_device_are_known_names(value):
    for name, known in (("optimizer", OPTIMIZERS), ("device", DEVICES)):
        if value in known:
            continue
        with pytest.raises(SpecError) as caught:
            TrainSpec(**{name: value})
        assert repr(value) in str(caught.value)
        assert_advice_works(str(caught.value), name)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("optimizer", "Adam", "try optimizer='adam'"),
        ("optimizer", "adamW", "try optimizer='adamw'"),
        ("device", "gpu", "try device='cpu'"),
        ("device", "cuda:x", "try device='cuda'"),
        ("device", "cuda:", "try device='cuda'"),
        ("device", "cpu:0", "try device='cpu'"),
    ],
)
def test_nearest_name_is_suggested(name, value, advice):
    with pytest.raises(SpecError, match=re.escape(advice)):
        TrainSpec(**{name: value})


@pytest.mark.parametrize(
    "value", [0.9, "ab", (0.9,), (0.9, 0.9, 0.9), (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.5), None, (10**400, 0)]
)
def test_betas_are_two_numbers_below_one(value):
    with pytest.raises(SpecError) as caught:
        TrainSpec(betas=value)
    assert short(value) in str(caught.value)
    assert_advice_works(str(caught.value), "betas")


@pytest.mark.parametrize("name", ["restore_best", "channels_last", "bf16"])
@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_switches_are_true_or_false(name, value):
    with pytest.raises(SpecError) as caught:
        TrainSpec(**{name: value})
    assert_advice_works(str(caught.value), name)


def test_numbers_of_numpy_become_pythons_own():
    spec = TrainSpec(lr=np.float32(0.5), batch_size=np.int64(8), epochs=np.uint8(3), clip_grad_norm=np.float64(2))
    assert (spec.lr, spec.batch_size, spec.epochs, spec.clip_grad_norm) == (0.5, 8, 3, 2.0)
    assert [type(v) for v in (spec.lr, spec.batch_size, spec.epochs, spec.clip_grad_norm)] == [float, int, int, float]
    assert json.loads(spec.to_json())["batch_size"] == 8
    with pytest.raises(SpecError):
        TrainSpec(batch_size=np.float64(8))
    with pytest.raises(SpecError):
        TrainSpec(epochs=np.bool_(True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainSpec(momentun=0.5),
        lambda: TrainSpec().replace(momentun=0.5),
        lambda: TrainSpec.from_json('{"momentun": 0.5}'),
    ],
    ids=["made", "replaced", "read"],
)
def test_unknown_argument_suggests_the_nearest(make):
    with pytest.raises(SpecError, match=r"no argument 'momentun'; did you mean momentum\?"):
        make()


def test_unknown_argument_like_no_other_lists_all():
    with pytest.raises(SpecError) as caught:
        TrainSpec(zzz=1)
    assert all(field.name in str(caught.value) for field in dataclasses.fields(TrainSpec))


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError):
        TrainSpec("adam")


def test_a_recipe_cannot_change():
    spec = TrainSpec()
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.lr = 1.0
    assert spec.replace(lr=1.0) != spec
    assert hash(spec) == hash(TrainSpec())


@pytest.mark.parametrize("text", ["[1]", "3", "null", '"lr"'])
def test_json_that_is_no_object(text):
    with pytest.raises(SpecError, match=re.escape(text)):
        TrainSpec.from_json(text)


def test_json_fills_in_defaults():
    assert TrainSpec.from_json('{"lr": 0.2}') == TrainSpec(lr=0.2)


def test_no_torch_no_numpy():
    code = "import sys, convlab.spec; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_schedule_that_follows_the_lr_is_no_change_of_its_own():
    schedule = ScheduleSpec("CyclicLR", base_lr=0.01, max_lr=0.1)
    spec = TrainSpec(lr=0.1, schedule=schedule)
    assert spec.changes_to(spec.with_lr(0.3)) == {"lr": 0.3}
    assert spec.changes_to(spec.replace(lr=0.3)) == {"lr": 0.3}
    other = spec.replace(lr=0.3, schedule=schedule.replace(max_lr=0.2))
    assert spec.changes_to(other) == {"lr": 0.3, "schedule": other.schedule}
    assert spec.changes_to(spec) == {}
    held = spec.replace(schedule_mode="hold")
    assert held.with_lr(0.3).schedule == schedule
    assert TrainSpec.from_json(spec.to_json()) == spec
