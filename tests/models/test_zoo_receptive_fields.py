"""Every network of the zoo, traced and held against the oracle: all modules, all units, borders included."""

import functools
import math

import agreement
import pytest
import torch
import zoo
from oracle import Sweep, confirms, sweep
from torch.utils._pytree import tree_flatten

from convlab.models.trace import trace

ZOO = zoo.load()
FAMILIES = {
    "plain", "residual", "dense", "inception", "unet", "grouped", "dilated", "asymmetric", "same", "padding mode",
    "ceil_mode", "functional", "slicing", "space to depth", "windows", "se", "attention", "global", "adaptive",
    "pyramid", "deeplab", "mobile", "several inputs", "several outputs", "shared", "lazy", "parametrised", "conv1d",
    "conv3d", "precision", "meta", "undecided", "misaligned", "transposed", "einsum", "fold", "hypernetwork",
    "normalisation", "recurrent",
}  # fmt: skip


@functools.cache
def truth_of(name: str) -> Sweep:
    entry = ZOO[name]
    args, kwargs = entry.call()
    return sweep(
        entry.twin(),
        *args,
        kwargs=kwargs,
        independent="mixes batch" not in entry.flags,
        allow_swallowed="swallows" in entry.flags,
    )


@functools.cache
def trace_of(name: str):
    entry = ZOO[name]
    model = entry.model()
    if "float16" in entry.flags:
        model = model.half()
    if "meta" in entry.flags:
        model = model.to("meta")
    if entry.data is None:
        return trace(model, entry.inputs)
    args, kwargs = entry.cast_call()
    return trace(model, input_data=kwargs or args)


def test_the_zoo_has_every_family():
    assert {entry.family for entry in ZOO.values()} == FAMILIES
    assert len(ZOO) > 120


@pytest.mark.parametrize("name", ZOO)
def test_every_unit_of_every_module(name):
    traced, entry = trace_of(name), ZOO[name]
    assert traced.error is None
    wrong = agreement.disagreements(traced, truth_of(name), only_sound=bool({"swallows", "loose"} & entry.flags))
    assert not wrong, agreement.report(wrong)


@pytest.mark.parametrize("name", ZOO)
def test_reach_size_and_jump_of_the_output(name):
    entry, field = ZOO[name], trace_of(name).output.receptive_field
    for axis, (said, allowed) in enumerate(zip(field.reach, entry.reaches(len(field.reach)), strict=True)):
        assert said in allowed, f"axis {axis} reports {said}"
    if entry.size is not None:
        assert field.size == per_axis(entry.size, len(field.size))
    if entry.jump is not None:
        assert field.jump == per_axis(entry.jump, len(field.jump))


def per_axis(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


@pytest.mark.parametrize("name", ZOO)
def test_field_looks_up_what_fields_says(name):
    truth, traced = truth_of(name), trace_of(name)
    wrong = []
    for key, fact in list(truth.truths.items())[-3:]:
        record = agreement.record_of(traced, key)
        if record is None:
            continue  # the test of every module says so
        for which in {which for which, _ in fact.nan}:
            wrong += agreement.field_is_a_look_up(record, fact, list(traced.input_sizes)[which])
    assert not wrong, agreement.report(wrong)


# ------------------------------------------------------------------------------------------- far from the borders


def has_nominal(entry: zoo.Entry) -> bool:
    unsuited = {"no nominal", "meta", "float16", "swallows", "fixed size"}
    return not (unsuited & entry.flags) and isinstance(entry.inputs, (tuple, list))


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if has_nominal(entry)])
def test_size_jump_and_start_hold_far_from_the_borders(name):
    entry, small = ZOO[name], trace_of(name)
    sizes = entry.inputs if isinstance(entry.inputs, list) else [entry.inputs]
    local = [axis for axis, reach in enumerate(small.output.receptive_field.reach, 2) if reach == "local"]
    assert local or entry.reach != "local"
    for axis in local:
        field = small.output.receptive_field
        needed = field.size[axis - 2] + math.ceil(8 * field.jump[axis - 2]) * field.phases[axis - 2] + 24
        # Steps of 48 keep every remainder that pooling, windows and crops of the zoo look at.
        longer = [with_axis(size, axis, sizes[0][axis], 48 * math.ceil(needed / 48)) for size in sizes]
        traced = trace(entry.model(), longer if isinstance(entry.inputs, list) else longer[0])
        wrong, claims = agreement.nominal_is_right(traced, axis)
        assert not wrong, agreement.report(wrong)
        if "zero taps" in entry.flags:
            continue  # NaN sees taps of weight 0, so it proves nothing more here
        claims = {unit: pixels for unit, pixels in claims.items() if pixels[0] <= pixels[1]}
        proofs = confirms(entry.twin(), [torch.rand(size) for size in longer], axis, claims)
        assert all(proofs.values()), f"axis {axis}: {claims}, confirmed {proofs}"


def with_axis(size, axis, first_length, more):
    """Lengthen an axis; a second input of half the first one's size grows by half as much."""
    grown = list(size)
    if axis < len(size):
        grown[axis] += round(more * size[axis] / first_length)
    return tuple(grown)


# ------------------------------------------------------------------------------------------- the oracle itself


def test_the_oracle_agrees_with_hand_computed_sizes():
    """Not the tracer: the oracle's largest interior field against sizes worked out by hand in the zoo."""
    checked = 0
    for name, entry in ZOO.items():
        if entry.size is None:
            continue
        leaves = tree_flatten(entry.call())[0]
        sizes = per_axis(entry.size, leaves[0].dim() - 2)
        for (which, axis), hull in truth_of(name).output.nan.items():
            inner = (hull.first > 0) & (hull.last < leaves[0].shape[axis] - 1) & (hull.last >= 0)
            if which == 0 and inner.any() and sizes[axis - 2] < leaves[0].shape[axis] - 8:
                assert (hull.last - hull.first + 1)[inner].max() == sizes[axis - 2], name
                checked += 1
    assert checked > 50
