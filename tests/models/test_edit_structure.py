"""Layers come and go in a Sequential; weights are frozen, thawed and drawn anew."""

import math

import pytest
import torch
from edit_nets import SIZE, bits, made, same
from torch import nn
from torch.nn import init

from convlab.models._edit.initial import SCHEMES
from convlab.models.gallery import lenet
from convlab.models.live import Edit, EditError, bind
from convlab.models.trace import trace

X = torch.randn(3, *SIZE[1:], generator=torch.Generator().manual_seed(1))


def names(model):
    return [name for name, _ in model.named_children()]


def test_layers_are_put_in_by_name_and_by_module():
    model = lenet()
    live, before = bind(model, SIZE), bits(model)
    live.insert_after("conv1", "batchnorm")
    live.insert("fc2", nn.Dropout(0.4))
    live.insert_after("relu2", "GroupNorm")
    live.insert("fc1", nn.Linear(99, 50))
    assert names(model) == [
        *("conv1", "batchnorm2d", "relu1", "pool1", "conv2", "relu2", "groupnorm", "pool2", "flatten"),
        *("linear", "fc1", "relu3", "dropout", "fc2"),
    ]
    assert repr(model.batchnorm2d) == repr(nn.BatchNorm2d(16))
    assert repr(model.groupnorm) == repr(nn.GroupNorm(16, 32))
    assert (model.linear.in_features, model.fc1.in_features) == (128, 50)
    assert model(X).shape == (3, 10)
    assert live.trace.error is None
    for _ in range(4):
        live.undo()
    assert same(bits(model), before)


def test_numbered_layers_are_numbered_anew():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3))
    conv, last = net[0], net[2]
    live = bind(net, SIZE)
    live.insert("2", nn.MaxPool2d(2))
    assert names(net) == ["0", "1", "2", "3"]
    assert net[0] is conv
    assert net[3] is last
    live.insert("0", nn.BatchNorm2d(77))
    assert net[0].num_features == 1
    live.remove("3")
    live.remove("0")
    assert names(net) == ["0", "1", "2"]
    assert list(net) == [conv, net[1], last]
    assert torch.equal(net(X), last(torch.relu(conv(X))))


def test_a_removed_convolution_leaves_its_reader_what_still_has_a_place():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 1), nn.Flatten(), nn.Linear(80, 2))
    kept = net[2].weight.detach().clone()
    live = bind(net, SIZE)
    live.remove("1")
    assert net[1].in_channels == 4
    assert torch.equal(net[1].weight, kept[:, :4])
    assert net[3].in_features == 5 * 36
    assert net(X).shape == (3, 2)


def test_a_layer_is_replaced_and_an_inserted_one_is_drawn_by_its_seed():
    model, other = lenet(), lenet()
    live = bind(model, SIZE)
    live.replace("relu1", nn.ELU(0.5), seed=3)
    assert repr(model.relu1) == repr(nn.ELU(0.5))
    live.replace("conv2", nn.Conv2d(1, 24, 5, padding=2), seed=4)
    assert (model.conv2.in_channels, model.fc1.in_features) == (16, 96)
    live.insert_after("conv2", nn.Conv2d(24, 24, 1), seed=5)
    again = bind(other, SIZE)
    for edit in live.journal:
        again.apply(Edit.from_json(edit.to_json()))
    assert repr(model) == repr(other)
    assert torch.equal(model(X), other(X))


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda live: live.remove("stage1.0.conv1"), "stands in Residual, and only an nn.Sequential"),
        (lambda live: live.insert("fc", "dropout"), "stands in ResNet, and only an nn.Sequential"),
        (lambda live: live.remove("stage2.0.down.0"), "stage2.0.*add"),
        (lambda live: live.insert("stem.0", "dropot"), "there is no layer 'dropot' to put in; try 'Dropout'"),
        (lambda live: live.insert("stem.0", nn.Softmax(1)), "a Softmax cannot be described as plain data"),
        (lambda live: live.insert("stem.0", nn.MaxPool2d(9)), "kernel_size 9 is larger"),
        (lambda live: live.insert("stem.9", "dropout"), "no such layer"),
        (lambda live: live.freeze("pool"), "AdaptiveAvgPool2d has no weights"),
        (lambda live: live.redraw("stem.0", "kaming_normal"), "try scheme='kaiming_normal'"),
        (lambda live: live.redraw("stem.1", "orthogonal"), "no weight that is drawn from a fan"),
        (lambda live: live.init_facts("pool"), "no weight that is drawn from a fan"),
    ],
)
def test_what_cannot_be_is_refused(act, match):
    model = made("resnet")
    live, before = bind(model, SIZE), bits(model)
    with pytest.raises(EditError, match=match):
        act(live)
    assert same(bits(model), before)


def test_a_frozen_layer_stands_still_whatever_the_optimizer_keeps_for_it():
    model = made("resnet").train()
    live = bind(model, SIZE)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)

    def step():
        optimizer.zero_grad(set_to_none=False)
        model(X).square().mean().backward()
        optimizer.step()

    step()
    grad = model.stem[0].weight.grad
    live.freeze("stem")
    live.undo()
    assert model.stem[0].weight.grad is grad
    live.redo()
    assert model.stem[0].weight.grad is None
    assert not model.stem[1].training
    assert model.stage1[0].bn1.training
    assert live.layers["stem.0"].is_frozen
    kept = {n: t.clone() for n, t in model.stem.state_dict().items()}
    step()
    step()
    assert all(torch.equal(t, kept[n]) for n, t in model.stem.state_dict().items())
    live.thaw("stem.0")
    assert model.stem[0].weight.requires_grad
    assert not model.stem[1].weight.requires_grad
    live.thaw("stem")
    assert model.stem[1].training
    step()
    assert not torch.equal(model.stem[0].weight, kept["0.weight"])
    for _ in range(3):
        live.undo()
    assert model.stem[1].training
    assert all(p.requires_grad for p in model.parameters())


def test_a_frozen_layer_that_changes_stays_frozen():
    model = made("resnet")
    live = bind(model, SIZE)
    live.freeze("stem")
    live.edit("stage1.0.conv2", out_channels=6)
    assert not any(p.requires_grad for p in model.stem.parameters())
    assert all(p.requires_grad for p in model.stage1.parameters())
    assert not model.stem[1].training


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d, nn.Linear])
def test_a_scheme_gives_the_spread_that_the_facts_tell(scheme, kind):
    layer = nn.Linear(300, 200) if kind is nn.Linear else kind(40, 60, 3)
    size = (1, 300) if kind is nn.Linear else (1, 40, 9, 9)
    net = nn.Sequential(layer, nn.LeakyReLU(0.2))
    live = bind(net, size)
    weight = layer.weight
    torch.manual_seed(8)
    expected = torch.rand(1)
    torch.manual_seed(8)
    live.redraw("0", scheme, seed=1)
    assert torch.rand(1) == expected
    assert layer.weight is weight
    facts = live.init_facts("0")
    assert (facts.fan_in, facts.fan_out) == init._calculate_fan_in_and_fan_out(weight)
    assert facts.activation == "leaky_relu"
    assert facts.gain == pytest.approx(math.sqrt(2 / 1.04))
    assert facts.std == pytest.approx(float(weight.detach().std(correction=0)), rel=1e-5)
    assert facts.std == pytest.approx(facts.stds[scheme], rel=0.02, abs=1e-9)
    if scheme != "default":
        assert not layer.bias.any()
    first = weight.detach().clone()
    live.redraw("0", scheme, seed=1)
    assert torch.equal(weight, first)
    if scheme.startswith(("kaiming", "xavier")):
        torch.manual_seed(1)
        own = {"a": 0.2, "nonlinearity": "leaky_relu"} if scheme.startswith("kaiming") else {}
        torch.testing.assert_close(first, getattr(init, f"{scheme}_")(torch.empty_like(weight), **own))


@pytest.mark.parametrize(
    ("after", "word", "gain"),
    [
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), "relu", math.sqrt(2)),
        (nn.Tanh(), "tanh", 5 / 3),
        (nn.Sigmoid(), "sigmoid", 1),
        (nn.SELU(), "selu", 3 / 4),
        (nn.GELU(), "gelu", None),
        (nn.SiLU(), "silu", None),
        (nn.ELU(), "elu", None),
        (nn.PReLU(), "leaky_relu", math.sqrt(2 / (1 + 0.25**2))),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), "linear", 1),
        (nn.Identity(), "linear", 1),
    ],
)
def test_the_gain_is_that_of_the_activation_that_follows(after, word, gain):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), after)
    facts = bind(net, SIZE).init_facts("0")
    if gain is None:  # by its definition, on many numbers
        z = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.double)
        gain = 1 / math.sqrt(float(after(z).square().mean()))
    assert facts.activation == word
    assert facts.gain == pytest.approx(gain, rel=2e-3)


def test_a_functional_activation_counts_too():
    assert bind(made("inception"), SIZE).init_facts("after").activation == "relu"
    assert bind(made("excited"), SIZE).init_facts("stem").activation == "tanh"


def test_a_freshly_drawn_layer_is_torchs_own():
    model = lenet()
    live = bind(model, SIZE)
    live.redraw("conv2", seed=11)
    torch.manual_seed(11)
    fresh = nn.Conv2d(16, 32, 3, padding=1)
    assert torch.equal(model.conv2.weight, fresh.weight)
    assert torch.equal(model.conv2.bias, fresh.bias)
    assert trace(model, SIZE).error is None
