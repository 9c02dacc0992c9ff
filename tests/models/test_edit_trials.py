"""A trial, by which limits are found, refuses what a plan refuses, in the same words."""

import copy

import pytest
import torch
from edit_nets import NETS, SIZE, made
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlab.models._edit.edits import Edit
from convlab.models._edit.errors import EditError, Refusal
from convlab.models._edit.plan import check, plan
from convlab.models._edit.twin import Twin
from convlab.models.live import bind

LIVE = {name: bind(made(name), SIZE) for name in NETS}
WORDS = {
    "padding_mode": ("zeros", "reflect", "replicate", "circular"),
    "activation": ("ReLU", "PReLU", "Tanh"),
    "norm": ("batch", "group", "instance", "layer", "none"),
    "pool": ("max", "avg"),
}


def outcome(act, live, edit):
    """The sentence of a refusal, or nothing."""
    try:
        act(live.model, live._now(), edit)
    except (EditError, Refusal) as refusal:
        return type(refusal), refusal.reason, getattr(refusal, "step", None), getattr(refusal, "never", None)
    return None


@st.composite
def edits(draw):
    net = draw(st.sampled_from(sorted(NETS)))
    layers = {path: layer for path, layer in LIVE[net].layers.items() if layer.settings}
    path = draw(st.sampled_from(sorted(layers)))
    name = draw(st.sampled_from(sorted(layers[path].settings)))
    value = st.booleans() if isinstance(layers[path].settings[name], bool) else st.integers(0, 12)
    if name in WORDS:
        value = st.sampled_from(WORDS[name])
    elif name == "padding":
        value |= st.sampled_from(("same", "valid"))
    return net, Edit(path, {name: draw(value)})


@settings(deadline=None, max_examples=150)
@given(edits())
def test_a_trial_refuses_what_a_plan_refuses(drawn):
    net, edit = drawn
    assert outcome(check, LIVE[net], edit) == outcome(plan, LIVE[net], edit)


CASES = {
    "padding that only the layer itself refuses": (
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=9), nn.Flatten(), nn.Linear(4 * 24**2, 2)),
        Edit("0", {"padding_mode": "reflect"}),
    ),
    "groups behind what did not change": (
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2)),
        Edit("0", {"out_channels": 5}),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_late(case):
    model, edit = CASES[case]
    live = bind(model, (1, 1, 8, 8))
    found = outcome(check, live, edit)
    assert found is not None
    assert found == outcome(plan, live, edit)


def test_channels_that_change_places_are_seen_behind_layers_that_stay_alike():
    class Crossed(nn.Module):
        """A layer that is given as many channels as before, but others."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
            self.c = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.c(torch.cat([self.a(x), self.b(x)], 1)[:, 2:6].contiguous())

    live = bind(Crossed(), (2, 1, 8, 8))
    edit = Edit("a", {"out_channels": 5})
    found = outcome(check, live, edit)
    assert found is not None
    assert "others" in found[1]
    assert found == outcome(plan, live, edit)


@pytest.mark.parametrize("name", NETS)
def test_a_twin_holds_what_a_copy_holds(name):
    model = made(name)
    twin = Twin(model).model
    for copied, deep, live in zip(twin.modules(), copy.deepcopy(model).modules(), model.modules(), strict=True):
        assert type(copied) is type(deep)
        assert list(vars(copied)) == list(vars(deep))
        for key, value in vars(deep).items():
            if key in ("_parameters", "_buffers"):
                held = vars(copied)[key]
                assert {k: t if t is None else (t.shape, t.dtype, t.requires_grad) for k, t in held.items()} == {
                    k: t if t is None else (t.shape, t.dtype, t.requires_grad) for k, t in value.items()
                }
            elif key != "_modules":
                assert vars(copied)[key] == value
                assert not isinstance(value, dict | list | set) or vars(copied)[key] is not vars(live)[key]


def test_limits_are_found_anew_after_an_edit():
    live = bind(made("lenet"), SIZE)
    before = live.limits("conv2", "kernel_size")
    assert live.limits("conv2", "kernel_size") is before
    live.edit("conv1", stride=2)
    assert live.limits("conv2", "kernel_size") != before
