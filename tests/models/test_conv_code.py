"""Each program runs as it stands, and all forms of one layer compute the same."""

import random

import pytest
import torch
from torch.nn import functional as F

from convlab import geometry
from convlab.frontend.conv_settings import ConvSettings
from convlab.models.conv_code import CODE_FORMS, conv_code

# torch says that it may copy its input for an even kernel, Keras calls an old protocol of numpy: not our doing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),
]


def random_layers(seed, count):
    """Settings that go together; none of torch's paths for a convolution is left out of a few hundred."""
    draw = random.Random(seed)
    while count:
        layer = ConvSettings(
            dims=draw.choice([1, 2]),
            input_size=draw.randint(1, 11),
            kernel_size=draw.randint(1, 5),
            stride=draw.randint(1, 4),
            padding=draw.choice([0, 1, 2, 3, "same", "valid"]),
            dilation=draw.randint(1, 3),
            groups=draw.choice([1, 1, 2, 4]),
            in_channels=draw.choice([1, 2, 4]),
            out_channels=draw.choice([1, 2, 4]),
            transposed=draw.random() < 0.4,
        )
        if next(layer.problems(), None) is None:
            count -= 1
            yield layer


def run(form, layer):
    names = {}
    program = conv_code(form, **vars(layer))
    exec(compile(program, form, "exec"), names)
    shape = program.rsplit("shape ", 1)[1]
    assert str(tuple(names["y"].shape)) == shape, program
    return names


def module_with(weight, bias, layer):
    """The convolution that the program "nn" makes, holding these weights."""
    conv = run("nn", layer)["conv"]
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
    return conv.double()


@pytest.mark.parametrize("form", ["functional", "unfold"])
@pytest.mark.parametrize("seed", range(5))
def test_forms_of_torch_agree_with_the_module(form, seed):
    for layer in random_layers(seed, 40):
        torch.manual_seed(seed)
        names = run(form, layer)
        expected = module_with(names["weight"], names["bias"], layer)(names["x"].double())
        torch.testing.assert_close(names["y"].double(), expected, rtol=1e-4, atol=1e-4, msg=str(layer))


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    # Keras reads both when it is imported, and would write a folder into the home of whoever runs the tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield pytest.importorskip("keras")


@pytest.mark.parametrize("seed", range(3))
def test_keras_agrees_with_torch(keras, seed):
    for layer in random_layers(100 + seed, 30):
        names = run("keras", layer)
        convs = names.get("convs") or [names["conv"]]
        weights = [torch.as_tensor(conv.kernel.numpy()) for conv in convs]
        axes = range(layer.dims)
        # Keras: kernel, in, out; torch: out, in, kernel (transposed: kernel, out, in; in, out, kernel).
        weight = torch.cat([w.permute(layer.dims + 1, layer.dims, *axes) for w in weights])
        bias = torch.cat([torch.as_tensor(conv.bias.numpy()) for conv in convs])
        x, y = (torch.as_tensor(keras.ops.convert_to_numpy(names[name])).double() for name in "xy")
        expected = module_with(weight, bias, layer)(x.movedim(-1, 1)).movedim(1, -1)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4, msg=str(layer))


def test_kerass_same_pads_where_the_published_rule_says(keras):
    draw = random.Random(0)
    for _ in range(60):
        n, k, stride = draw.randint(1, 16), draw.randint(1, 7), draw.randint(1, 4)
        dilation = draw.randint(1, 3) if stride == 1 else 1
        x = torch.randn(1, 1, n)
        conv = keras.layers.Conv1D(1, k, strides=stride, dilation_rate=dilation, padding="same")
        y = conv(x.movedim(1, -1)).movedim(-1, 1)
        pads = geometry.keras_same_padding(n, k, stride, dilation)
        weight = torch.as_tensor(conv.kernel.numpy()).permute(2, 1, 0)
        expected = F.conv1d(F.pad(x, pads), weight, stride=stride, dilation=dilation)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4, msg=f"{n=} {k=} {stride=} {dilation=}")


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"one of nn, functional, unfold, keras, got 'jax'; try form='nn'"):
        conv_code("jax", dims=2, input_size=8, in_channels=1, out_channels=1, kernel_size=3)
    assert CODE_FORMS == ("nn", "functional", "unfold", "keras")
