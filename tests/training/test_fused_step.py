"""The short way to the optimizer's kernel gives the bits of the long one, and steps aside where it must."""

import copy

import pytest
import torch
from torch import nn

from convlab.spec import TrainSpec
from convlab.training.optimizers import apply_setting, build_optimizer, fused_step


class Branches(nn.Module):
    """Takes part with both branches, or with one."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)
        self.frozen = nn.Linear(4, 3).requires_grad_(False)

    def forward(self, x, right):
        return self.left(x) + self.frozen(x) + (self.right(x) if right else 0)


def pair(spec, params=lambda model: [p for p in model.parameters() if p.requires_grad]):
    torch.manual_seed(0)
    ours, theirs = Branches(), Branches()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, build_optimizer(params(ours), spec), build_optimizer(params(theirs), spec)


def backward(model, step, right=True):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
    for param in model.parameters():
        param.grad = None
    model(x, right).square().sum().backward()


def assert_same(ours, theirs, a, b):
    assert all(torch.equal(x, y) for x, y in zip(ours.parameters(), theirs.parameters(), strict=True))
    for x, y in zip(a.state.values(), b.state.values(), strict=True):
        assert x.keys() == y.keys()
        assert all(torch.equal(x[key], y[key]) for key in x)


SPECS = [
    TrainSpec(lr=0.01),
    TrainSpec(lr=0.01, momentum=0.0),
    TrainSpec(lr=0.01, momentum=0.5, weight_decay=0.1),
    TrainSpec(optimizer="adam", lr=0.01, weight_decay=0.1),
    TrainSpec(optimizer="adamw", lr=0.01, betas=(0.5, 0.9), weight_decay=0.1),
    TrainSpec(optimizer="rmsprop", lr=0.01, momentum=0.5),
]
ids = [f"{spec.optimizer}-{spec.momentum}" for spec in SPECS]


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_same_bits_with_settings_that_change(spec):
    ours, theirs, a, b = pair(spec)
    step = fused_step(a)
    changes = {
        3: ("lr", 0.02),
        5: ("weight_decay", 0.3),
        7: ("momentum", 0.9),
        11: ("momentum", 0.0),
        15: ("momentum", 0.8),
    }
    changes |= {18: ("betas", (0.7, 0.8))}
    for i in range(22):
        if i in changes:
            apply_setting(a, *changes[i])
            apply_setting(b, *changes[i])
        backward(ours, i)
        backward(theirs, i)
        step()
        b.step()
        assert_same(ours, theirs, a, b)


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_begins_anew_after_it_was_0(name):
    """A velocity from long ago is not added to the first step: it equals that of a fresh start."""
    ours, _, a, _ = pair(TrainSpec(optimizer=name, lr=0.01, momentum=0.9))
    step = fused_step(a)
    for i in range(6):
        if i in (3, 5):
            apply_setting(a, "momentum", 0.0 if i == 3 else 0.9)
        backward(ours, i)
        before = {param: param.detach().clone() for param in a.state}
        step()
    for param, old in before.items():
        velocity = a.state[param]["momentum_buffer"]
        torch.testing.assert_close(old - param.detach(), 0.01 * velocity)
        if name == "sgd":
            assert torch.equal(velocity, param.grad)


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_same_bits_where_a_branch_rests(spec):
    ours, theirs, a, b = pair(spec)
    step = fused_step(a)
    for i, right in enumerate([True, True, False, True, False, False, True, True]):
        backward(ours, i, right)
        backward(theirs, i, right)
        step()
        b.step()
        assert_same(ours, theirs, a, b)


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_a_branch_that_joins_late(spec):
    """torch's own fused SGD raises here; the truth is its plain version."""
    ours, theirs, a, _ = pair(spec)
    plain = build_optimizer([p for p in theirs.parameters() if p.requires_grad], spec)
    for group in plain.param_groups:
        group["fused"] = False
        group["foreach"] = False
    step = fused_step(a)
    for i, right in enumerate([False, False, True, True, True]):
        backward(ours, i, right)
        backward(theirs, i, right)
        step()
        plain.step()
    for x, y in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_frozen_in_flight_parameters_stay():
    ours, theirs, a, b = pair(TrainSpec(lr=0.01))
    step = fused_step(a)
    for i in range(6):
        if i == 3:
            ours.left.requires_grad_(False)
            theirs.left.requires_grad_(False)
        backward(ours, i)
        backward(theirs, i)
        step()
        b.step()
        assert_same(ours, theirs, a, b)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3]], ids=["sgd", "adam"])
def test_the_kernel_is_called_directly(spec, monkeypatch):
    """Else all of the above would compare `optimizer.step` with itself."""
    ours, _, a, _ = pair(spec)
    step = fused_step(a)
    backward(ours, 0)
    step()
    monkeypatch.setattr(a, "step", lambda: pytest.fail("the long way"))
    backward(ours, 1)
    step()


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3]], ids=["sgd", "adam"])
def test_hooks_are_called(spec):
    ours, _, a, _ = pair(spec)
    step = fused_step(a)
    calls = []
    for i in range(6):
        if i == 3:
            handle = a.register_step_post_hook(lambda *_: calls.append("post"))
            a.register_step_pre_hook(lambda *_: calls.append("pre"))
        if i == 5:
            handle.remove()
        backward(ours, i)
        step()
    assert calls == ["pre", "post", "pre", "post", "pre"]


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3]], ids=["sgd", "adam"])
def test_loaded_state_is_the_truth(spec):
    ours, theirs, a, b = pair(spec)
    step = fused_step(a)
    for i in range(3):
        backward(ours, i)
        backward(theirs, i)
        step()
        b.step()
    state = {"lr": 0.5} | a.state_dict()
    a.load_state_dict(copy.deepcopy(state))
    b.load_state_dict(copy.deepcopy(state))
    a.param_groups[0]["lr"] = b.param_groups[0]["lr"] = 0.003
    for i in range(3):
        backward(ours, i)
        backward(theirs, i)
        step()
        b.step()
        assert_same(ours, theirs, a, b)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1, maximize=True, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, fused=True),
        lambda p: torch.optim.Adamax(p, lr=0.1),
        lambda p: torch.optim.SGD([{"params": p[:1]}, {"params": p[1:], "lr": 0.3}], lr=0.1, fused=True),
    ],
)
def test_any_other_optimizer_goes_the_long_way(make):
    torch.manual_seed(0)
    ours, theirs = Branches(), Branches()
    theirs.load_state_dict(ours.state_dict())
    a = make([p for p in ours.parameters() if p.requires_grad])
    b = make([p for p in theirs.parameters() if p.requires_grad])
    step = fused_step(a)
    for i in range(4):
        backward(ours, i)
        backward(theirs, i)
        step()
        b.step()
        assert_same(ours, theirs, a, b)


def test_double_precision():
    model = nn.Linear(3, 2).double()
    optimizer = build_optimizer(model.parameters(), TrainSpec(lr=0.1))
    step = fused_step(optimizer)
    before = model.weight.detach().clone()
    for _ in range(2):
        model.zero_grad()
        model(torch.ones(1, 3, dtype=torch.double)).sum().backward()
        step()
    assert torch.allclose(model.weight, before - 0.1 - 0.19)
