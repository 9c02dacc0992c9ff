"""The optimizer follows: the new parameters in the old ones' places, with the state that goes with their values."""

import pytest
import torch
from edit_nets import SIZE, made
from torch import nn, optim

from convlab.models.gallery import lenet
from convlab.models.live import bind

X = torch.randn(8, *SIZE[1:], generator=torch.Generator().manual_seed(1))
Y = torch.arange(8)

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "fused": lambda p: optim.SGD(p, 0.05, momentum=0.9, fused=True),
    "plain": lambda p: optim.SGD(p, 0.05),
    "adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 0.01, fused=True),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "adafactor": lambda p: optim.Adafactor(p, 0.01),
}


def step(model, optimizer):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(X), Y).backward()
    optimizer.step()


def held(optimizer):
    return [id(p) for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_it_holds_the_new_parameters_in_order_and_goes_on(name):
    model = made("resnet")
    live, optimizer = bind(model, SIZE), OPTIMIZERS[name](model.parameters())
    for _ in range(2):
        step(model, optimizer)
    for path, change in [
        ("stem.0", {"out_channels": 6}),
        ("stage2.0.conv1", {"kernel_size": 5, "padding": 2}),
        ("stage1.0.bn1", {"norm": "group"}),
        ("fc", {"bias": False}),
        ("fc", {"bias": True}),
        ("stage1.0.conv2", {"out_channels": 3}),
    ]:
        live.edit(path, optimizer=optimizer, **change)
        assert held(optimizer) == [id(p) for p in model.parameters()]
        assert {id(p) for p in optimizer.state} <= set(held(optimizer))
        before = [p.detach().clone() for p in model.parameters()]
        step(model, optimizer)
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert sum(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)) > len(before) // 2
    while live.can_undo:
        live.undo()
    assert held(optimizer) == [id(p) for p in model.parameters()]
    step(model, optimizer)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_state_moves_as_the_values_do(name):
    model = lenet()
    live, optimizer = bind(model, SIZE), OPTIMIZERS[name](model.parameters())
    step(model, optimizer)
    kept = {n: {k: v.clone() for k, v in optimizer.state[p].items() if v.dim()} for n, p in model.named_parameters()}
    assert kept["conv2.weight"]
    counted = float(optimizer.state[model.conv2.weight].get("step", 0))
    live.edit("conv1", optimizer=optimizer, out_channels=20, kernel_size=5, padding=2)
    for key, value in kept["conv1.weight"].items():
        now = optimizer.state[model.conv1.weight][key]
        assert torch.equal(now[:16, :, 1:4, 1:4], value)
        assert now.count_nonzero() == value.count_nonzero()
        into = optimizer.state[model.conv2.weight][key]
        assert torch.equal(into[:, :16], kept["conv2.weight"][key])
        assert not into[:, 16:].any()
        assert torch.equal(optimizer.state[model.fc1.weight][key], kept["fc1.weight"][key])
    assert float(optimizer.state[model.conv2.weight].get("step", 0)) == counted


def test_a_grown_layer_trains_on_as_the_old_one_would():
    """New columns are zero, so the first steps move what was there before exactly as without the edit."""
    models = [lenet(), lenet()]
    optimizers = [OPTIMIZERS["sgd"](m.parameters()) for m in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        step(model, optimizer)
    bind(models[1], SIZE).edit("conv2", optimizer=optimizers[1], out_channels=40)
    for model, optimizer in zip(models, optimizers, strict=True):
        step(model, optimizer)
    torch.testing.assert_close(models[1].conv2.weight[:32], models[0].conv2.weight)
    torch.testing.assert_close(models[1].fc1.weight[:, :128], models[0].fc1.weight)


def test_groups_keep_their_settings_and_their_members():
    model = made("resnet")
    extra = nn.Parameter(torch.ones(3))
    optimizer = optim.SGD(
        [
            {"params": list(model.fc.parameters()), "lr": 0.5},
            {"params": [p for n, p in model.named_parameters() if n[:2] != "fc"], "lr": 0.1},
            {"params": [extra], "lr": 0.2},
        ],
        momentum=0.9,
    )
    step(model, optimizer)
    live = bind(model, SIZE)
    live.edit("stage2.1.conv2", optimizer=optimizer, out_channels=9)
    live.insert_after("stem.2", "batchnorm", optimizer=optimizer)
    groups = optimizer.param_groups
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in model.fc.parameters()]
    assert id(model.stem[3].weight) in {id(p) for p in groups[1]["params"]}
    assert groups[2]["params"][0] is extra
    assert [group["lr"] for group in groups] == [0.5, 0.1, 0.2]
    step(model, optimizer)


def test_undo_puts_the_optimizer_back_too():
    model = lenet()
    live, optimizer = bind(model, SIZE), OPTIMIZERS["adam"](model.parameters())
    step(model, optimizer)
    params = held(optimizer)
    kept = {id(p): {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items()}
    live.edit("conv1", optimizer=optimizer, out_channels=9)
    step(model, optimizer)
    later = {id(p): {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items()}
    live.undo()
    for expected in (kept, later):
        now = {id(p): s for p, s in optimizer.state.items()}
        assert now.keys() == expected.keys()
        assert all(torch.equal(now[p][k], v) for p, s in expected.items() for k, v in s.items())
        if expected is kept:
            assert held(optimizer) == params
            live.redo()
    assert held(optimizer) == [id(p) for p in model.parameters()]


def test_an_optimizer_made_after_the_edit_follows_its_undo():
    model = lenet()
    live = bind(model, SIZE)
    live.edit("conv1", out_channels=9)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    step(model, optimizer)
    live.undo(optimizer=optimizer)
    assert held(optimizer) == [id(p) for p in model.parameters()]
    step(model, optimizer)


def test_what_is_drawn_anew_begins_with_no_velocity():
    model = lenet()
    live, optimizer = bind(model, SIZE), OPTIMIZERS["fused"](model.parameters())
    step(model, optimizer)
    live.redraw("conv1", "xavier_normal", optimizer=optimizer)
    assert not optimizer.state[model.conv1.weight]["momentum_buffer"].any()
    assert optimizer.state[model.conv2.weight]["momentum_buffer"].any()
    step(model, optimizer)


def test_a_frozen_parameter_that_the_optimizer_does_not_hold_stays_out():
    model = lenet()
    model.conv1.requires_grad_(False)
    optimizer = OPTIMIZERS["adam"]([p for p in model.parameters() if p.requires_grad])
    live = bind(model, SIZE)
    live.edit("conv1", optimizer=optimizer, out_channels=20)
    assert held(optimizer) == [id(p) for p in model.parameters() if p.requires_grad]
    assert len(held(optimizer)) == 6
