"""The networks to start from."""

import re

import pytest
import torch
from torch import nn

import convlab
from convlab.limits import SpecError
from convlab.models.build import build, code, preview
from convlab.models.gallery import GALLERY, lenet, net
from convlab.spec import TrainSpec
from convlab.training.fit import fit

NAMES = list(GALLERY)


@pytest.mark.parametrize(("channels", "classes", "size"), [(1, 10, 8), (3, 10, 32), (1, 2, 4), (4, 7, 28), (1, 10, 9)])
def test_takes_the_pictures_it_was_made_for(channels, classes, size):
    model = lenet(channels, classes, size)
    assert model(torch.zeros(3, channels, size, size)).shape == (3, classes)


def test_layers_have_names():
    names = [name for name, _ in lenet().named_children()]
    assert names == ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2"]


def test_parameters_by_hand():
    weights = (16 * 9 + 16) + (32 * 16 * 9 + 32) + (32 * 4 * 64 + 64) + (64 * 10 + 10)
    assert sum(p.numel() for p in lenet().parameters()) == weights


def test_the_seed_decides_and_nothing_is_drawn():
    before = torch.get_rng_state()
    a = lenet(seed=3)
    torch.rand(5)
    b, c = lenet(seed=3), lenet(seed=4)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.conv1.weight, c.conv1.weight)
    torch.set_rng_state(before)
    lenet()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [0, 1, 3, -8])
def test_too_small_to_pool_twice(size):
    with pytest.raises(ValueError, match=rf"got {size}; try input_size=8"):
        lenet(input_size=size)


# Parameters as published (https://www.tensorflow.org/tutorials/images/classification prints 3,989,285; He et al. 2015
# table 6 has 0.27M for ResNet-20), or counted by hand from what the network is said to be.
PARAMS = {
    "single_conv": 32 * (3 * 9 + 1) + 10 * (32 * 16 * 16 + 1),
    "single_conv_dropout": 32 * (3 * 9 + 1) + 10 * (32 * 16 * 16 + 1),
    "shallow": 32 * (9 + 1) + 10 * (32 * 28 * 28 + 1),
    "cifar_tutorial": 6 * (3 * 25 + 1) + 16 * (6 * 25 + 1) + 120 * (16 * 5 * 5 + 1) + 84 * (120 + 1) + 10 * (84 + 1),
    "lenet5": 6 * (25 + 1) + 16 * (6 * 25 + 1) + 120 * (16 * 5 * 5 + 1) + 84 * (120 + 1) + 10 * (84 + 1),
    "stack_16_32_64": 3_989_285,
    "deep_64_128_256": (
        64 * (3 * 25 + 1) + 128 * (64 * 9 + 1) + 256 * (128 * 9 + 1) + 256 * (256 * 8 * 8 + 1) + 10 * (256 + 1)
    ),
    "strided_128": (
        (32 * (3 * 9 + 1) + 64 * (32 * 9 + 1) + 128 * (64 * 9 + 1) + 2 * (32 + 64 + 128))
        + (128 * (128 * 8 * 8 + 1) + 10 * (128 + 1))
    ),
    "vgg": (
        sum(out * (into * 9 + 1) for into, out in [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)])
        + (256 * (128 * 4 * 4 + 1) + 10 * (256 + 1))
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_is_the_network_that_it_is_said_to_be(name):
    one = GALLERY[name]
    traced = preview(one.spec)
    assert traced.error is None
    assert traced.output.output_size[:2] == (1, one.spec.num_classes)
    if name in PARAMS:
        assert traced.total_params == PARAMS[name]
    assert one.name == name
    for text in (one.source, one.lesson):
        assert re.fullmatch(r"[A-Z0-9][^\n]+\.", text), text


def test_the_resnet_has_twenty_layers_and_the_published_size():
    model = net("resnet")
    convs = [m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in n]
    assert len(convs) + 1 == 20
    shortcuts = sum(p.numel() for n, p in model.named_parameters() if "shortcut" in n)
    assert round((sum(p.numel() for p in model.parameters()) - shortcuts) / 1e6, 2) == 0.27


def test_inception_shares_its_width_as_googlenets_first_block():
    """Szegedy et al. 2014, table 1, row 3a: 64; 96 then 128; 16 then 32; 32, from 192 channels; 159K weights."""
    block = convlab.Block(256, kind="inception", pool="none")
    model = build(convlab.NetSpec((192, 28, 28), blocks=(block,), head=convlab.Head("avg")))
    convs = [m for m in model.inception1.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0]) for m in convs] == [
        (64, 1),
        (96, 1),
        (128, 3),
        (16, 1),
        (32, 5),
        (32, 1),
    ]


def test_a_separable_block_costs_what_the_paper_says():
    """Howard et al. 2017, section 3.1: 1/N + 1/D^2 of the work of the full convolution."""
    block = convlab.Block(64, bias=False, pool="none")
    full, separable = (
        preview(convlab.NetSpec((32, 16, 16), blocks=(block.replace(kind=kind),), head=convlab.Head("avg")))
        for kind in ("conv", "separable")
    )
    work = [sum(r.mult_adds for r in traced if r.kind == "Conv2d") for traced in (separable, full)]
    assert work[0] / work[1] == pytest.approx(1 / 64 + 1 / 9)


@pytest.mark.parametrize("name", NAMES)
def test_source_makes_the_same_network_bit_for_bit(name):
    names = {}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(7)
        exec(compile(code(GALLERY[name].spec), name, "exec"), names)
    ours, theirs = net(name, seed=7).eval(), names["model"].eval()
    assert repr(ours) == repr(theirs)
    for one, other in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
    x = torch.randn(1, *GALLERY[name].spec.input_size)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", NAMES)
def test_learns_a_few_pictures_of_its_size(name):
    spec = GALLERY[name].spec
    draw = torch.Generator().manual_seed(0)
    pictures = torch.rand(8, *spec.input_size, generator=draw)
    labels = torch.randint(spec.num_classes, (8,), generator=draw)
    targets = pictures.flip(3) if spec.head.kind == "pixels" else labels
    data = torch.utils.data.TensorDataset(pictures, targets)
    run = fit(net(name), (data, None), TrainSpec(optimizer="adam", lr=0.001, batch_size=4, epochs=3, threads=1))
    losses = run.history.train_loss
    assert run.state == "finished"
    assert losses[-2:].mean() < losses[:2].mean()


DIGITS = {"input_size": (1, 8, 8), "num_classes": 10}
TOO_SMALL = {"cifar_tutorial", "lenet5", "strided_128"}


@pytest.mark.parametrize("name", NAMES)
def test_takes_the_digits_or_says_what_would_work(name):
    if name in TOO_SMALL:
        with pytest.raises(
            SpecError, match=rf"^{name} takes no pictures of 8x8, as block \d has an input of"
        ) as caught:
            net(name, **DIGITS)
        advice = re.search(r"try (.*) or (.*)\.$", str(caught.value))
        for one in advice.groups():
            net(name, **{**DIGITS, **eval(f"dict({one})")})
    else:
        output = net(name, **DIGITS)(torch.zeros(2, 1, 8, 8))
        assert output.shape[:2] == (2, 10)


def test_the_size_advised_is_the_smallest():
    with pytest.raises(SpecError):
        net("lenet5", input_size=(1, 15, 15))
    net("lenet5", input_size=(1, 16, 16))


def test_learns_the_digits():
    run = fit(net("vgg", **DIGITS), "digits", TrainSpec(epochs=1, threads=1))
    assert run.history.epochs[-1].valid_accuracy > 0.5


def test_a_change_reaches_every_block_and_the_head():
    model = net("vgg", activation="silu", norm="batch", dropout=0.1)
    kinds = [type(m) for m in model.modules()]
    assert (kinds.count(nn.SiLU), kinds.count(nn.ReLU), kinds.count(nn.BatchNorm2d)) == (7, 0, 6)
    assert isinstance(net("unet", head=convlab.Head("avg"))[-1], nn.Linear)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: net("lenet-5"), r"name must be one of single_conv, .*, got 'lenet-5'; try name='lenet5'"),
        (
            lambda: net("resnet", input_sise=(1, 8, 8)),
            r"resnet has no argument 'input_sise'; did you mean input_size\?",
        ),
        (lambda: net("resnet", stride=0), "stride must be a whole number from 1"),
        (lambda: net("resnet", input_size=8), "input_size must be 3 whole numbers, got 8"),
        (lambda: net("resnet", num_classes=0), "num_classes must be a whole number from 1"),
        (lambda: net("resnet", kernel_size=5), "block 2 is residual and adds .*; try padding='same'"),
    ],
)
def test_what_is_impossible_is_refused(ask, sentence):
    with pytest.raises(SpecError, match=sentence):
        ask()
