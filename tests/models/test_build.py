"""The network that a spec makes: its shapes, its weights, its source, and Keras' padding."""

import math
import re
import subprocess
import sys

import net_specs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from convlab.limits import SpecError
from convlab.models.build import build, code, preview
from convlab.models.gallery import GALLERY, lenet
from convlab.net_spec import ACTIVATIONS, INITS, Block, Head, NetSpec, block_sizes

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def examples(count):
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


specs = net_specs.chains() | net_specs.unets()


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def expected_size(spec):
    if spec.head.kind != "pixels":
        return (2, spec.num_classes)
    sizes = [spec.input_size[1:], *block_sizes(spec)]
    return (2, spec.num_classes, *(sizes[0] if spec.form == "unet" else sizes[-1]))


@examples(100)
@given(net_specs.arguments())
def test_whatever_is_asked_runs_as_traced_or_is_refused_in_a_sentence(values):
    try:
        spec = net_specs.made(values)
    except SpecError as error:
        message = str(error)
    else:
        check_runs_as_traced(spec)
        return
    assert re.fullmatch(r"[^\n]+; (try|use) [^\n]+\.", message), message


@examples(40)
@given(specs)
def test_whatever_is_possible_runs_as_traced(spec):
    check_runs_as_traced(spec)


@pytest.mark.parametrize("head", [Head(), Head("avg"), Head("pixels"), Head(hidden=(5,))], ids=repr)
def test_no_blocks_are_a_network_too(head):
    check_runs_as_traced(NetSpec((2, 5, 4), blocks=(), head=head))


def check_runs_as_traced(spec):
    traced = preview(spec)
    assert traced.error is None
    output = build(spec)(torch.randn(2, *spec.input_size))
    assert tuple(output.shape) == expected_size(spec)
    assert traced.output.output_size[1:] == expected_size(spec)[1:]


def by_torch(values):
    """The size after the blocks when torch itself applies them, or what it says."""
    x = torch.zeros(2, *values["input_size"])
    for block in values["blocks"]:
        for unit in range(block["repeat"]):
            padding, k, stride = block["padding"], block["kernel_size"], 1 if unit else block["stride"]
            if padding == "keras_same":
                x, padding = F.pad(x, [*published(x.shape[3], k, stride), *published(x.shape[2], k, stride)]), 0
            weight = torch.zeros(block["out_channels"], x.shape[1], k, k)
            x = F.conv2d(x, weight, stride=stride, padding=padding)
            if block["norm"] == "instance":
                F.instance_norm(x)
        if block["pool"] != "none":
            x = F.max_pool2d(x, block["pool_size"])
    return tuple(x.shape[2:])


def published(n, k, s):
    """TensorFlow's documentation of SAME: the pixels before and after, the odd one after."""
    total = max((math.ceil(n / s) - 1) * s + k - n, 0)
    return total // 2, total - total // 2


@examples(100)
@given(net_specs.arguments(kind="conv"))
def test_refused_is_what_torch_refuses_and_nothing_else(values):
    values["head"] = Head("avg")
    try:
        size = by_torch(values)
    except (RuntimeError, ValueError):
        with pytest.raises(SpecError):
            net_specs.made(values)
    else:
        assert [values["input_size"][1:], *block_sizes(net_specs.made(values))][-1] == size


# -- source -----------------------------------------------------------------------------------------------------------


def run(source, seed):
    names = {}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        exec(compile(source, "code", "exec"), names)
    return names["model"]


def test_source_makes_the_same_network_bit_for_bit_and_is_formatted(tmp_path):
    written = []

    @examples(40)
    @given(specs, st.integers(0, 2**40))
    def check(spec, seed):
        source = code(spec)
        written.append(source)
        assert "convlab" not in source
        ours, theirs = build(spec, seed).eval(), run(source, seed).eval()
        assert repr(ours) == repr(theirs)
        assert same_weights(ours, theirs)
        x = torch.randn(2, *spec.input_size)
        assert torch.equal(ours(x), theirs(x))

    check()
    for number, source in enumerate(dict.fromkeys(written)):
        (tmp_path / f"net{number}.py").write_text(source)
    for check in (["format", "--check"], ["check", "--select", "E,F,W,I"]):
        command = [sys.executable, "-m", "ruff", *check, "--isolated", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_source_of_a_chain_is_torch_alone():
    assert "class" not in code(NetSpec(blocks=Block.ladder(16, 32, repeat=2)))


# -- weights ----------------------------------------------------------------------------------------------------------


def test_a_spec_of_the_benchs_network_makes_it_bit_for_bit():
    spec = NetSpec((1, 8, 8), blocks=Block.ladder(16, 32, padding=1), head=Head(hidden=(64,)))
    assert repr(build(spec, 3)) == repr(lenet(seed=3))
    assert same_weights(build(spec, 3), lenet(seed=3))


@examples(12)
@given(specs)
def test_nothing_else_is_drawn(spec):
    before = torch.get_rng_state()
    one = build(spec, 5)
    preview(spec)
    code(spec)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same_weights(one, build(spec, 5))
    assert not any(parameter.is_meta for parameter in one.parameters())


def gain(activation):
    """By He et al.: what keeps the second moment of a normal signal; torch rounds SELU's to 3/4 and tanh's to 5/3."""
    if activation in ("selu", "tanh", "sigmoid", "none"):
        return nn.init.calculate_gain("linear" if activation == "none" else activation)
    layer = getattr(build(NetSpec(blocks=(Block(1, activation=activation),))), f"{activation}1")
    z = torch.linspace(-8, 8, 10**5 + 1, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return 1 / math.sqrt(torch.trapezoid(layer.double()(z).detach() ** 2 * density, z).item())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("init", INITS)
def test_weights_are_drawn_with_the_gain_of_what_follows(init, activation):
    block = Block(96, kernel_size=5, activation=activation, bias=activation != "tanh")
    net = build(NetSpec((24, 6, 6), num_classes=200, blocks=(block,), init=init))
    for layer, its_gain in ((net.conv1, gain(activation)), (net.fc1, 1)):
        fan_in, fan_out = layer.weight[0].numel(), len(layer.weight) * layer.weight[0, 0].numel()
        std = {
            "default": 1 / math.sqrt(3 * fan_in),
            "kaiming": its_gain / math.sqrt(fan_in),
            "xavier": math.sqrt(2 / (fan_in + fan_out)),
            "orthogonal": 1 / math.sqrt(max(fan_in, len(layer.weight))),
            "zeros": 0,
        }[init.partition("_")[0]]
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        is_flat = layer.weight.abs().max() <= math.sqrt(3) * std * 1.001
        assert is_flat == (init in ("default", "kaiming_uniform", "xavier_uniform", "zeros"))
        if init != "default" and layer.bias is not None:
            assert not layer.bias.any()


def test_a_network_of_billions_is_refused_before_it_is_made():
    spec = NetSpec((3, 4096, 4096), blocks=(Block(64, pool="none"),))
    with pytest.raises(
        SpecError, match=r"have 10,737,4\d\d,\d\d\d parameters, .* most of them in fc1; try .*Head\('avg'\)"
    ):
        build(spec)
    assert preview(spec.replace(head=Head("avg"))).total_params < 3000


# -- Keras ------------------------------------------------------------------------------------------------------------


@examples(60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 6))
def test_keras_same_pads_by_the_published_rule(height, width, k, stride):
    block = Block(1, kernel_size=k, stride=stride, padding="keras_same", activation="none", pool="none")
    net = build(NetSpec((1, height, width), blocks=(block,), head=Head("pixels"), num_classes=1))
    conv = net.conv1
    pads = net.pad1.padding if hasattr(net, "pad1") else (0, 0, 0, 0)
    x = torch.randn(1, 1, height, width)
    y = net[: list(dict(net.named_children())).index("conv1") + 1](x)
    assert y.shape[2:] == (math.ceil(height / stride), math.ceil(width / stride))
    (top, bottom), (left, right) = published(height, k, stride), published(width, k, stride)
    padded = F.pad(x, (left, right, top, bottom))
    torch.testing.assert_close(y, F.conv2d(padded, conv.weight, conv.bias, stride))
    if conv.padding == (0, 0):
        assert tuple(pads) == (left, right, top, bottom)


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    # Keras reads both when it is imported, and would write a folder into the home of whoever runs the tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield pytest.importorskip("keras")


def in_keras(keras, net, x):
    """What Keras' own layers make of `x`, with the weights of the convolutions in `net` and Keras' same padding."""
    y = x.movedim(1, -1)
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            conv = keras.layers.Conv2D(layer.out_channels, layer.kernel_size, strides=layer.stride, padding="same")
            conv.build(y.shape)
            conv.set_weights([layer.weight.detach().permute(2, 3, 1, 0).numpy(), layer.bias.detach().numpy()])
            y = conv(y)
        elif isinstance(layer, nn.BatchNorm2d):
            y = keras.layers.BatchNormalization(epsilon=layer.eps)(y)
        elif isinstance(layer, nn.MaxPool2d):
            y = keras.layers.MaxPooling2D(layer.kernel_size)(y)
        elif isinstance(layer, nn.LeakyReLU):
            y = keras.layers.LeakyReLU(negative_slope=layer.negative_slope)(y)
        elif isinstance(layer, nn.ReLU | nn.ELU):
            y = keras.layers.Activation(type(layer).__name__.lower())(y)
        else:
            assert isinstance(layer, nn.ZeroPad2d | nn.Dropout)
    return torch.as_tensor(keras.ops.convert_to_numpy(y)).movedim(-1, 1)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
@pytest.mark.parametrize("size", [(21, 20), (32, 17)])
@pytest.mark.parametrize(
    "name", ["single_conv", "single_conv_dropout", "shallow", "stack_16_32_64", "deep_64_128_256", "strided_128"]
)
def test_the_networks_born_in_keras_are_kerass(keras, name, size):
    spec = GALLERY[name].spec
    assert {block.padding for block in spec.blocks} == {"keras_same"}
    net = build(spec.replace(input_size=(spec.input_size[0], *size))).eval()
    x = torch.randn(2, spec.input_size[0], *size)
    maps = net[: list(dict(net.named_children())).index("flatten")]
    torch.testing.assert_close(maps(x), in_keras(keras, maps, x), rtol=1e-4, atol=1e-5)
