"""Every setting of every kind of layer: the layer that stands there after an edit is the one that torch would make."""

import copy

import pytest
import torch
from torch import nn

from convlab.models._edit.kinds import KINDS, arguments_of
from convlab.models.live import bind
from convlab.models.trace import trace

CONV = {
    "kernel_size": (2, 5),
    "stride": (2,),
    "padding": (2, "same"),
    "dilation": (2,),
    "groups": (2, 4),
    "bias": (False,),
    "padding_mode": ("reflect", "replicate", "circular"),
    "out_channels": (2, 12),
}
TRANSPOSED = {name: values for name, values in CONV.items() if name != "padding_mode"}
TRANSPOSED |= {"padding": (2,), "stride": (3,)}
POOL = {"kernel_size": (3,), "stride": (1, 3), "padding": (1,), "ceil_mode": (True,)}
NORM = {"eps": (1e-3,), "affine": (False,)}
if "bias" in KINDS[nn.GroupNorm].settings:  # in newer versions of torch
    NORM["bias"] = (False,)
BATCH = NORM | {"momentum": (0.2, None), "track_running_stats": (False,)}
CASES = [
    *((kind, (4, 4, 3), {"padding": 1}, CONV) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *(
        (kind, (4, 4, 3), {"padding": 1, "stride": 2}, TRANSPOSED | {"output_padding": (1,)})
        for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    ),
    (nn.Linear, (4, 4), {}, {"out_features": (2, 9), "bias": (False,)}),
    *((kind, (2,), {}, POOL | {"dilation": (2,)}) for kind in (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)),
    *(
        (kind, (3, 1), {}, {**POOL, "kernel_size": (2,), "stride": (2,), "count_include_pad": (False,)})
        for kind in (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
    ),
    *((kind, (2,), {}, {"output_size": (1, 3)}) for kind in (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)),
    (nn.ReLU, (), {}, {"inplace": (True,)}),
    (nn.LeakyReLU, (), {}, {"negative_slope": (0.3,), "inplace": (True,)}),
    (nn.PReLU, (), {}, {"num_parameters": (4,)}),
    (nn.ELU, (), {}, {"alpha": (0.5,), "inplace": (True,)}),
    (nn.SELU, (), {}, {"inplace": (True,)}),
    (nn.GELU, (), {}, {"approximate": ("tanh",)}),
    (nn.SiLU, (), {}, {"inplace": (True,)}),
    *((kind, (4,), {}, BATCH) for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)),
    (nn.InstanceNorm2d, (4,), {"affine": True}, NORM | {"momentum": (0.3,), "track_running_stats": (True,)}),
    (nn.GroupNorm, (2, 4), {}, NORM | {"num_groups": (1, 4)}),
    (nn.LayerNorm, ((4, 8, 8),), {}, {"eps": (1e-3,), "elementwise_affine": (False,), "bias": (False,)}),
    (nn.Dropout, (), {}, {"p": (0.0, 0.9), "inplace": (True,)}),
    (nn.Dropout2d, (), {}, {"p": (0.1,), "inplace": (True,)}),
]
CHANGES = [
    (kind, args, own, {name: v}) for kind, args, own, table in CASES for name, values in table.items() for v in values
]


def size_for(kind):
    dims = int(kind.__name__[-2]) if kind.__name__[-2] in "123" else 2
    return (2, 4) if kind is nn.Linear else (2, 4, *(8,) * dims)


@pytest.mark.parametrize(
    ("kind", "args", "own", "change"), CHANGES, ids=[f"{k.__name__}-{c}" for k, _, _, c in CHANGES]
)
def test_the_layer_is_what_torch_would_make(kind, args, own, change):
    torch.manual_seed(0)
    net = nn.Sequential(kind(*args, **own))
    size = size_for(kind)
    layer, kept = net[0], copy.deepcopy(net[0])
    live = bind(net, size)
    plan = live.edit("0", **change)
    assert net[0] is layer
    (name, value), *_ = change.items()
    assert live.layers["0"].settings[name] == value
    assert [c for c in plan.changes if c.name == name]
    fresh = kind(**(arguments_of(kept) | change)).train(layer.training)
    assert repr(net[0]) == repr(fresh)
    fresh.load_state_dict(net[0].state_dict())
    x = torch.randn(size)
    torch.manual_seed(5)
    mine = net(x.clone())
    torch.manual_seed(5)
    assert torch.equal(mine, fresh(x.clone()))
    assert trace(net, size).output.output_size == mine.shape
    live.undo()
    assert repr(net[0]) == repr(kept)
    assert all(torch.equal(a, b) for a, b in zip(net[0].state_dict().values(), kept.state_dict().values(), strict=True))


def test_every_known_class_is_in_the_table():
    alike = {nn.Dropout1d, nn.Dropout3d, nn.AlphaDropout, nn.InstanceNorm1d, nn.InstanceNorm3d, nn.Identity}
    alike |= {nn.Sigmoid, nn.Tanh}
    alike |= {getattr(nn, f"Adaptive{p}Pool{d}d") for p in ("Avg", "Max") for d in (1, 3)}
    assert {kind for kind, *_ in CASES} | alike == set(KINDS)
    for kind, _, _, table in CASES:
        assert set(table) | {KINDS[kind].choice} >= set(KINDS[kind].settings), kind


@pytest.mark.parametrize("word", ["ReLU", "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Sigmoid", "Tanh"])
def test_an_activation_becomes_any_other_and_back(word):
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.LeakyReLU(0.3))
    live = bind(net, (2, 4, 8, 8))
    x = torch.randn(2, 4, 8, 8)
    live.edit("1", activation=word.lower())
    assert type(net[1]) is getattr(nn, word)
    expected = getattr(nn, word)(0.3) if word == "LeakyReLU" else getattr(nn, word)()
    assert torch.equal(net(x), expected(net[0](x)))
    live.edit("1", activation="LeakyReLU", negative_slope=0.3)
    assert repr(net[1]) == repr(nn.LeakyReLU(0.3))


@pytest.mark.parametrize("old", ["batch", "group", "instance", "layer", "none"])
@pytest.mark.parametrize("new", ["batch", "group", "instance", "layer", "none"])
def test_a_normalisation_becomes_any_other_and_keeps_its_weights(old, new):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, eps=1e-4))
    live = bind(net, (2, 1, 8, 8))
    live.edit("1", norm=old)
    if old != "none":
        with torch.no_grad():
            net[1].weight.add_(torch.rand_like(net[1].weight))
    kept = None if old == "none" else net[1].weight.detach().clone()
    conv = net[0]
    live.edit("1", norm=new)
    kinds = {
        "batch": nn.BatchNorm2d(4, eps=1e-4),
        "group": nn.GroupNorm(2, 4, eps=1e-4),
        "instance": nn.InstanceNorm2d(4, eps=1e-4, affine=True),
        "layer": nn.LayerNorm((4, 6, 6), eps=1e-4),
        "none": nn.Identity(),
    }
    assert net[0] is conv
    assert type(net[1]) is type(kinds[new])
    if "none" not in (old, new):
        assert repr(net[1]) == repr(kinds[new])
        if old == new or "layer" not in (old, new):
            assert torch.equal(net[1].weight, kept)
        elif new == "layer":
            assert torch.equal(net[1].weight, kept[:, None, None].expand(4, 6, 6))
    assert net(torch.randn(2, 1, 8, 8)).shape == (2, 4, 6, 6)
    assert trace(net, (2, 1, 8, 8)).error is None


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pooling_swaps_between_greatest_and_mean(dims):
    net = nn.Sequential(
        getattr(nn, f"MaxPool{dims}d")(3, 2, 1, ceil_mode=True), getattr(nn, f"AdaptiveAvgPool{dims}d")(2)
    )
    size = (2, 1, *(9,) * dims)
    live = bind(net, size)
    live.edit("0", pool="avg")
    live.edit("1", pool="max")
    assert repr(net[0]) == repr(getattr(nn, f"AvgPool{dims}d")(3, 2, 1, ceil_mode=True))
    assert repr(net[1]) == repr(getattr(nn, f"AdaptiveMaxPool{dims}d")(2))
    live.edit("0", pool="max")
    assert repr(net[0]) == repr(getattr(nn, f"MaxPool{dims}d")(3, 2, 1, ceil_mode=True))
    assert net(torch.rand(size)).shape == size[:2] + (2,) * dims


def test_a_layer_norm_over_positions_follows_the_size_of_the_map():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LayerNorm((4, 6, 6)), nn.Flatten(), nn.Linear(144, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.rand(4, 6, 6))
    kept = net[1].weight.detach().clone()
    bind(net, (2, 1, 8, 8)).edit("0", padding=1)
    assert net[1].normalized_shape == (4, 8, 8)
    assert torch.equal(net[1].weight[:, 1:7, 1:7], kept)
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 2)


def test_a_bias_that_is_added_begins_at_zero():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.Conv2d(4, 2, 1))
    y = net(torch.ones(1, 1, 5, 5))
    live = bind(net, (1, 1, 5, 5))
    live.edit("0", bias=True)
    assert torch.equal(net(torch.ones(1, 1, 5, 5)), y)
    live.edit("0", out_channels=6)
    assert not net[0].bias[:4].any()
    assert net[0].bias[4:].all()
