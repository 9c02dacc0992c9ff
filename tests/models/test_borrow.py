"""A borrowed model comes back bit for bit, whatever was done to it."""

import contextlib
import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlab.models.borrow import borrowed, restore, snapshot


class Net(nn.Module):
    """Dropout, BatchNorm, a frozen layer, a buffer that is replaced in forward, and mixed modes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4 * 36, 10)
        self.register_buffer("average", torch.zeros(10))
        self.register_buffer("nothing", None)
        self.frozen.eval()
        self.frozen.requires_grad_(False)

    def forward(self, x):
        out = self.fc(self.drop(self.frozen(self.bn(self.conv(x)))).flatten(1))
        self.average = self.average + out.detach().mean(0)
        return out


def made():
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    return model, optimizer


def loss_of(model):
    return F.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.randint(10, (8,)))


def everything(model, optimizer):
    """All that must come back, as plain values; the identity of tensors and gradients too."""
    tensors = [*model.parameters(), *model.buffers()]
    state = copy.deepcopy(optimizer.state_dict())
    return {
        "bits": [t.detach().numpy().tobytes() for t in tensors],
        "identity": [id(t) for t in tensors],
        "modes": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in model.parameters()],
        "groups": state["param_groups"],
        "momentum": [
            None if s["momentum_buffer"] is None else s["momentum_buffer"].numpy().tobytes()
            for s in state["state"].values()
        ],
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": [x.tolist() if isinstance(x, np.ndarray) else x for x in np.random.get_state()],
        "python": random.getstate(),
    }


ACTS = {
    "forward": lambda model, optimizer: model(torch.randn(4, 1, 8, 8)),
    "train": lambda model, optimizer: (optimizer.zero_grad(), loss_of(model).backward(), optimizer.step()),
    "accumulate": lambda model, optimizer: loss_of(model.train()).backward(),
    "eval": lambda model, optimizer: model.eval(),
    "train mode": lambda model, optimizer: model.train(),
    "freeze": lambda model, optimizer: model.requires_grad_(False),
    "thaw": lambda model, optimizer: model.requires_grad_(True),
    "zero": lambda model, optimizer: [p.data.zero_() for p in model.parameters()],
    "nan": lambda model, optimizer: [b.fill_(float("nan")) for b in (model.bn.running_mean, model.average)],
    "drop gradients": lambda model, optimizer: optimizer.zero_grad(),
    "lr": lambda model, optimizer: optimizer.param_groups[0].update(lr=9.0),
    "draw": lambda model, optimizer: (torch.rand(3), np.random.normal(), random.random()),
    "seed": lambda model, optimizer: (torch.manual_seed(1), np.random.seed(1), random.seed(1)),
}


@settings(max_examples=60, deadline=None)
@given(acts=st.lists(st.sampled_from(sorted(ACTS)), max_size=6), fails=st.booleans())
def test_bit_for_bit(acts, fails):
    model, optimizer = made()
    np.random.seed(4)
    np.random.normal()
    before = everything(model, optimizer)
    try:
        with borrowed(model, optimizer):
            for act in acts:
                # Once frozen, a model has no gradient.
                with contextlib.suppress(RuntimeError):
                    ACTS[act](model, optimizer)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    after = everything(model, optimizer)
    for name, value in before.items():
        assert after[name] == value, name
    loss_of(model.train())


def test_training_goes_on_as_if_nothing_had_been():
    results = []
    for borrow in (False, True):
        model, optimizer = made()
        if borrow:
            with borrowed(model, optimizer):
                for _ in range(3):
                    ACTS["train"](model, optimizer)
        for _ in range(3):
            ACTS["train"](model, optimizer)
        results.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert results[0] == results[1]


def test_inside_it_is_a_real_model():
    model, optimizer = made()
    weight = model.fc.weight.detach().clone()
    with borrowed(model, optimizer):
        ACTS["train"](model, optimizer)
        assert not torch.equal(model.fc.weight, weight)
    assert torch.equal(model.fc.weight, weight)


def test_an_optimizer_without_state_yet():
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    with borrowed(model, optimizer):
        ACTS["train"](model, optimizer)
    assert optimizer.state_dict()["state"] == {}
    ACTS["train"](model, optimizer)


def test_lazy_modules_may_be_looked_at():
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    weight = model[1].weight.detach().clone()
    with borrowed(model):
        model[1].weight.data.zero_()
    assert torch.equal(model[1].weight, weight)
    assert model(torch.ones(1, 3)).shape == (1, 2)


def test_a_snapshot_is_a_copy_and_restores_more_than_once():
    model, _ = made()
    saved = snapshot(model)
    bits = [p.detach().clone() for p in (*model.parameters(), *model.buffers())]
    for _ in range(2):
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.zero_()
        model.eval()
        restore(saved)
        now = [*model.parameters(), *model.buffers()]
        assert all(torch.equal(a, b) for a, b in zip(now, bits, strict=True))
        assert (model.training, model.frozen.training) == (True, False)
    assert saved.num_bytes == sum(t.numel() * t.element_size() for t in bits)


def test_weights_alone():
    model, _ = made()
    saved = snapshot(model)
    model.eval()
    model.conv.requires_grad_(False)
    model.fc.weight.data.zero_()
    model.fc.weight.grad = None
    restore(saved, modes=False)
    assert model.fc.weight.any()
    assert not model.training
    assert not model.conv.weight.requires_grad
    assert model.fc.weight.grad is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_stays(layout):
    model = nn.Conv2d(3, 4, 3).to(memory_format=layout)
    with borrowed(model):
        model.weight.data.zero_()
    assert model.weight.is_contiguous(memory_format=layout)
    assert model.weight.any()
