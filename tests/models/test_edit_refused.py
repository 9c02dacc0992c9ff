"""What cannot be is refused before anything changes, with the layer, the reason, and a value that works."""

import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edit_nets import SIZE, ResNet, bits, made, same
from torch import nn
from torch.nn.utils import parametrizations, prune

from convlab.models.gallery import lenet
from convlab.models.live import EditError, bind


class Fixed(nn.Module):
    """A forward that reshapes to a number, as tutorials do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 36, 10)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).view(-1, 4 * 36))


class Parts(nn.Module):
    """Channels that hang together in ways that an edit cannot follow."""

    def __init__(self):
        super().__init__()
        self.scaled = nn.Conv2d(1, 4, 3, padding=1)
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))
        self.part = nn.Conv2d(4, 8, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.between = nn.Conv2d(4, 4, 1)
        self.normed = parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.plain = nn.Conv2d(4, 4, 1)
        self.query = nn.Linear(4, 6)
        self.key = nn.Linear(4, 6)
        self.fc = nn.Linear(4, 10)
        self.tied = nn.Linear(10, 4, bias=False)
        self.tied.weight = nn.Parameter(torch.randn(4, 10))
        self.back = nn.Linear(10, 4, bias=False)
        self.back.weight = self.tied.weight
        self.held = nn.ReLU()
        self.list = [self.held]
        self.unused = nn.Conv2d(1, 3, 3)

    def forward(self, x):
        x = self.scaled(x) * self.gamma
        x = self.part(x)[:, :4] + self.other(x)
        x = self.between(x)
        x = self.list[0](self.normed(x) + self.plain(x))
        t = x.flatten(2).transpose(1, 2)
        t = (self.query(t) @ self.key(t).transpose(1, 2)).softmax(-1) @ t
        y = self.fc(t.mean(1))
        return y + F.relu(self.tied(y) + self.back(y)).sum(1, keepdim=True)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(self.conv(self.conv(self.stem(x))).mean((2, 3)))


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else self.conv(-x)


REFUSED = [
    (lenet, "conv1", {"kernel_size": 0}, "kernel_size is a whole number of at least 1", {"kernel_size": 1}),
    (lenet, "conv1", {"kernel_size": 2.6}, "whole number", {"kernel_size": 3}),
    (lenet, "conv1", {"kernel_size": (3, 3, 3)}, "one for each of 2 axes", {"kernel_size": 3}),
    (lenet, "conv1", {"bias": 1}, "True or False", {"bias": True}),
    (lenet, "conv1", {"padding_mode": "reflekt"}, "one of zeros, reflect", {"padding_mode": "reflect"}),
    (lenet, "conv1", {"padding": "sane"}, "'same' or 'valid'", {"padding": "same"}),
    (lenet, "conv1", {"padding": "same", "stride": 2}, "padding='same' needs a stride of 1", {"stride": 1}),
    (lenet, "conv1", {"groups": 3}, "groups=3, which do not divide in_channels=1", {"groups": 1}),
    (lenet, "conv2", {"groups": 3}, "groups=3, which do not divide in_channels=16", {"groups": 2}),
    (lenet, "conv2", {"kernel_size": 9}, "kernel_size 9 is larger than the padded input of 6", {"kernel_size": 5}),
    (lenet, "conv2", {"stride": 5}, "pool2.kernel_size 2 is larger", {"stride": 3}),
    (lenet, "pool1", {"padding": 2}, "more than half of kernel_size", {"padding": 1}),
    (lenet, "conv1", {"padding": 9, "padding_mode": "reflect"}, "too large for mode 'reflect'", {"padding": 7}),
    (lenet, "relu1", {"activation": "Rellu"}, "one of ReLU, LeakyReLU", {"activation": "ReLU"}),
    (lenet, "relu1", {"negative_slope": 0.1}, "a ReLU has no setting 'negative_slope'", {}),
    (lenet, "relu1", {"activation": "GELU", "alpha": 1.0}, "a GELU has no setting 'alpha'", {}),
    (lenet, "conv2", {"in_channels": 3}, "in_channels follows from where the layer stands", {}),
    (lenet, "conv9", {"kernel_size": 3}, "no such layer; did you mean conv2", {}),
    (lenet, "flatten", {"start_dim": 2}, "a Flatten has no settings that are known", {}),
    (Fixed, "relu", {"activation": "GELU"}, "it is a call of relu in the forward", {}),
    (Fixed, "conv", {"out_channels": 8}, "reshapes to a fixed size; torch.flatten", {"out_channels": 4}),
    (Fixed, "conv", {"kernel_size": 5}, "view", {"kernel_size": 3}),
    (Parts, "scaled", {"out_channels": 6}, "meets a tensor with 4 entries of its own in mul", {"out_channels": 4}),
    (Parts, "part", {"out_channels": 6}, "some of its channels are added to some of other's", {"out_channels": 8}),
    (
        Parts,
        "plain",
        {"out_channels": 6},
        "what comes out of normed (Conv2d), through which channels cannot be followed",
        {"out_channels": 4},
    ),
    (Parts, "normed", {"out_channels": 6}, "a weight that a parametrization makes", {}),
    (Parts, "query", {"out_features": 8}, "through which channels cannot be followed", {"out_features": 6}),
    (Parts, "fc", {"out_features": 8}, "tied shares its weights with back", {"out_features": 10}),
    (Parts, "unused", {"out_channels": 6}, "the forward does not call unused", {"out_channels": 3}),
    (Parts, "held", {"activation": "GELU"}, "the model also holds it in list", {}),
    (
        Twice,
        "conv",
        {"out_channels": 6},
        "conv is called 2 times in a forward, and would be given 4 and 6 channels",
        {"out_channels": 4},
    ),
    (Twice, "stem", {"out_channels": 6}, "conv", {"out_channels": 4}),
    (Decides, "conv", {"out_channels": 6}, "asks for the value of an activation", {}),
    (lambda: nn.Sequential(nn.LazyConv2d(3, 3)), "0", {"kernel_size": 5}, "is lazy and has no shape yet", {}),
    (nn.ReLU, "", {"activation": "GELU"}, "it is the whole model", {}),
    (ResNet, "stage1.0.conv1", {"kernel_size": 5}, "", {"kernel_size": 3}),
    (ResNet, "stem.0", {"stride": 9, "kernel_size": 30}, "", {}),
]


@pytest.mark.parametrize(("make", "path", "change", "reason", "nearest"), REFUSED)
def test_nothing_changes_and_the_proposed_value_works(make, path, change, reason, nearest):
    model = make()
    live = bind(model, SIZE)
    before, streams = bits(model), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    with pytest.raises(EditError) as caught:
        live.edit(path, **change)
    assert same(bits(model), before)
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == streams[1:]
    error = caught.value
    assert error.layer == path
    assert reason in str(error)
    assert str(error).count(".\n") == 0
    if nearest:
        assert error.nearest == nearest
    if error.nearest:
        assert str(error).endswith(", ".join(f"{n}={v!r}" for n, v in error.nearest.items()) + ".")
        live.edit(path, **(change | error.nearest))
        model(torch.rand(SIZE))
    assert not live.can_redo


def test_weights_that_pruning_makes_are_left_alone():
    model = lenet()
    prune.l1_unstructured(model.conv1, "weight", 0.5)
    live = bind(model, SIZE)
    assert "weight_norm or pruning" in live.layers["conv1"].fixed
    with pytest.raises(EditError, match="remove that first"):
        live.edit("conv1", kernel_size=5)
    with pytest.raises(EditError, match="remove that first"):
        live.redraw("conv1")


@pytest.mark.parametrize(
    ("model", "size", "error", "match"),
    [
        ("lenet", SIZE, TypeError, "model must be an nn.Module, got str"),
        (nn.Linear(3, 2), (1, 4), ValueError, "in_features should be 4, is 3"),
        (nn.Linear(3, 2), None, ValueError, "needs an input size"),
    ],
)
def test_what_cannot_be_bound(model, size, error, match):
    with pytest.raises(error, match=match):
        bind(model, size)


def test_a_failing_commit_gives_everything_back(monkeypatch):
    from convlab.models import live as module

    model = made("resnet")
    live, before = bind(model, SIZE), bits(model)

    def fails(*_):
        raise RuntimeError("no optimizer of mine")

    monkeypatch.setattr(module, "follow", fails)
    with pytest.raises(RuntimeError, match="of mine"):
        live.edit("stem.0", optimizer=torch.optim.SGD(model.parameters(), 0.1), out_channels=9)
    assert same(bits(model), before)
    assert live.journal == ()


def test_limits_are_what_edits_allow():
    live = bind(lenet(), SIZE)
    kernel = live.limits("conv2", "kernel_size")
    assert (kernel.low, kernel.high) == (1, 5)
    assert "pool2" in kernel.why_high
    assert live.limits("conv1", "out_channels").high is None
    assert live.limits("conv2", "groups").choices == (1, 2, 4, 8, 16)
    assert live.limits("pool1", "padding").high == 1
    assert "half" in live.limits("pool1", "padding").why_high
    assert live.limits("relu1", "activation").choices[0] == "ReLU"
    padding = live.limits("conv1", "padding")
    assert padding.choices == ("same", "valid")
    with pytest.raises(EditError, match="no setting 'size'"):
        live.limits("conv1", "size")
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 1))
    live = bind(net, SIZE)
    assert (live.limits("0", "out_channels").low, live.limits("0", "out_channels").step) == (2, 2)
    assert (live.limits("1", "out_channels").low, live.limits("1", "out_channels").step) == (6, 6)
    assert "num_groups=3" in live.limits("1", "out_channels").why_low
    assert live.limits("2", "num_groups").choices == (1, 2, 3, 6)
    assert live.limits("2", "eps").high == 1
    tied = bind(ResNet(), SIZE).limits("stage1.0.conv1", "kernel_size")
    assert (tied.low, tied.high) == (3, 3)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("path", ["conv1", "pool1", "conv2", "pool2"])
def test_each_value_within_limits_works_and_the_next_does_not(path, name):
    live = bind(lenet(), SIZE)
    limit = live.limits(path, name)
    top = int(limit.low) + 2 if limit.high is None else int(limit.high)
    for value in range(int(limit.low), top + 1):
        live.preview(path, **{name: value})
    if limit.high is not None:
        with pytest.raises(EditError):
            live.preview(path, **{name: top + 1})


def test_a_run_in_another_thread_is_not_disturbed():
    model = made("resnet").train()
    live = bind(model, SIZE)
    stop, wrong = threading.Event(), []

    def run():
        x = torch.rand(SIZE)
        while not stop.is_set():
            if model(x).shape != (2, 10) or not all(m.training for m in model.modules()):
                wrong.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for count in range(5, 15):
            live.preview("stem.0", out_channels=count)
    finally:
        stop.set()
        thread.join()
    assert wrong == []
