"""Misfits end a trace early and say the repair; input that cannot be meant is refused in one sentence."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlab.models.trace import TraceError, trace

IMAGE = (1, 3, 32, 32)


class LeNet(nn.Module):
    def __init__(self, in_features: int = 400) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 32, 5)
        self.fc1 = nn.Linear(in_features, 120)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = self.conv2(x)[..., :7, :7]
        return self.fc1(torch.flatten(x, 1))


def test_a_misfit_ends_the_trace_and_names_layer_expected_got_and_repair():
    traced = trace(LeNet(), IMAGE)
    error = traced.error
    assert isinstance(error, TraceError)
    assert (error.path, error.kind) == ("fc1", "Linear")
    assert error.expected == "400 features"
    assert error.got == "1568 in an input of (1, 1568)"
    assert error.repair == "fc1.in_features should be 1568, is 400"
    assert [record.path for record in traced] == ["conv1", "relu", "max_pool2d", "conv2", "getitem", "flatten"]
    assert traced["conv2"].receptive_field.size == (14, 14)
    assert "fc1.in_features should be 1568, is 400" in repr(traced)
    assert "fc1.in_features should be 1568, is 400" in traced._repr_html_()
    with pytest.raises(TraceError, match="fc1"):
        _ = traced.output


def test_the_repair_repairs():
    assert trace(LeNet(1568), IMAGE).error is None


class Call(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


WEIGHT = torch.rand(6, 2, 3, 3)
MISFITS = {
    "conv": (nn.Conv2d(4, 8, 3), "1.in_channels should be 3, is 4"),
    "grouped conv": (nn.Conv2d(4, 8, 3, groups=2), "1.in_channels should be 3, is 4"),
    "transposed conv": (nn.ConvTranspose2d(4, 8, 3), "1.in_channels should be 3, is 4"),
    "batch norm": (nn.BatchNorm2d(5), "1.num_features should be 3, is 5"),
    "group norm": (nn.GroupNorm(2, 4), "1.num_channels should be 3, is 4"),
    "layer norm": (nn.LayerNorm((3, 7)), "1.normalized_shape should be (32, 32), is (3, 7)"),
    "linear": (nn.Linear(33, 2), "1.in_features should be 32, is 33"),
    "large kernel": (nn.Conv2d(3, 3, 40, padding=2), "larger than the padded input of 36; kernel_size 36 would work"),
    "dilated kernel": (nn.Conv2d(3, 3, 3, dilation=16), "33) is larger than the input of 32; kernel_size 2 would work"),
    "large pooling": (nn.MaxPool2d(33), "kernel_size 33 is larger than the input of 32; kernel_size 32 would work"),
    "padded pooling": (nn.MaxPool2d(2, padding=2), "padding 2 is more than half of kernel_size 2; 1 would work"),
    "same with stride": (Call(lambda x: F.conv2d(x, WEIGHT[:, :1], padding="same", stride=2, groups=3)), "stride 1"),
    "groups": (Call(lambda x: F.conv2d(x, WEIGHT, groups=2)), "conv2d in 1: in_channels should be 3, is 4"),
    "prelu": (nn.PReLU(7), "1.num_parameters should be 3 or 1, is 7"),
    "add": (Call(lambda x: x + x[:, :, 1:]), "inputs should agree along dimension 2, one has 32 and the other 31"),
    "add in place": (Call(lambda x: x.relu().add_(x[:, :2])), "dimension 1, one has 3 and the other 2"),
    "cat": (Call(lambda x: torch.cat([x, x[..., 1:]], 1)), "dimension 3, one has 32 and another 31"),
    "matmul": (Call(lambda x: x @ x[:, :, 1:]), "inner sizes should agree, are 32 and 31"),
    "view": (Call(lambda x: x.view(-1, 400)), "view to (-1, 400) should be to (1, 3072)"),
    "view in full": (Call(lambda x: x.view(1, 3, 32, 31)), "does not hold the 3072 elements of (1, 3, 32, 32)"),
    "reflection": (nn.ReflectionPad2d(32), "too large for mode 'reflect' on an input of 32; 31 would work"),
    "shrinking": (nn.Upsample(scale_factor=0.01), "shrinks the input of (32, 32) to nothing"),
    "transposed crop": (nn.ConvTranspose2d(3, 3, 1, padding=16), "crops the whole output away; 15 would work"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_says_what_would(name):
    layer, sentence = MISFITS[name]
    net = nn.Sequential(nn.Identity(), layer, nn.Identity())
    with pytest.raises(Exception, match=r"."):
        net(torch.rand(IMAGE))  # torch refuses as well
    error = trace(net, IMAGE).error
    assert error is not None
    assert sentence in str(error)
    assert error.path.startswith("1")
    assert len(trace(net, IMAGE)) >= 1
    assert "\n" not in str(error)


def test_an_exception_of_the_model_itself_is_told_with_its_place_and_cause():
    def broken(x):
        raise ZeroDivisionError("by design")

    traced = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(Call(broken))), IMAGE)
    assert len(traced) == 1
    assert traced.error.path == "1.0"
    assert str(traced.error) == "1.0: ZeroDivisionError: by design"
    assert isinstance(traced.error.__cause__, ZeroDivisionError)


def test_a_misfit_that_only_torch_knows_is_told_in_torchs_words():
    error = trace(nn.Sequential(nn.Bilinear(3, 4, 5)), IMAGE).error
    assert error.path == "0"
    assert "TypeError" in str(error)


def test_a_real_forward_that_fails_is_told_as_well():
    net = Call(lambda x: nn.Linear(5, 5)(x) if x.sum() > -1 else x)
    error = trace(nn.Sequential(nn.ReLU(), net), IMAGE).error
    assert error.path.startswith("1")
    assert error.__cause__ is not None or error.expected is not None


def test_a_decision_by_data_on_meta_says_what_would_work():
    net = Call(lambda x: x if x.sum() > 0 else -x)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), net).to("meta")
    assert "to_empty" in str(trace(model, IMAGE).error)


REFUSED = {
    "nothing": ({}, ValueError, "needs an input size, batch dimension included; input_size=(1, "),
    "both": ({"input_size": IMAGE, "input_data": torch.rand(IMAGE)}, ValueError, "not both"),
    "string": ({"input_size": (1, "3", 32, 32)}, TypeError, "must hold whole numbers, got '3'"),
    "all string": ({"input_size": "1x3x32x32"}, TypeError, "must be a tuple of whole numbers"),
    "fraction": ({"input_size": (1, 3, 32.0, 32)}, TypeError, "must hold whole numbers, got 32.0"),
    "truth": ({"input_size": (True, 3, 32, 32)}, TypeError, "must hold whole numbers, got True"),
    "none": ({"input_size": (None, 3, 32, 32)}, TypeError, "must hold whole numbers, got None"),
    "zero": ({"input_size": (1, 3, 0, 32)}, ValueError, "at least 1, got 0 in (1, 3, 0, 32); (1, 3, 1, 32) would work"),
    "negative": ({"input_size": (1, 3, -4, 32)}, ValueError, "at least 1, got -4"),
    "number": ({"input_size": 32}, TypeError, "must be a tuple"),
    "empty": ({"input_size": ()}, ValueError, "(1, 3, 224, 224) would work"),
    "unknown": ({"input_size": {"image": IMAGE, "mask": IMAGE}}, ValueError, "forward takes x, scale, not what was"),
    "too many": ({"input_size": [IMAGE] * 3}, ValueError, "forward takes x, scale, not what was given"),
    "no tensor": ({"input_data": "picture.png"}, TypeError, "must be a tensor, or a tuple or dict with tensors"),
}  # fmt: skip


class TwoArguments(nn.Module):
    def forward(self, x, scale):
        return x * scale


@pytest.mark.parametrize("name", REFUSED)
def test_input_that_cannot_be_meant_is_refused_in_one_sentence(name):
    arguments, kind, sentence = REFUSED[name]
    with pytest.raises(kind, match=re.escape(sentence)) as refusal:
        trace(TwoArguments(), **arguments)
    assert "\n" not in str(refusal.value)
    assert "would work" in str(refusal.value)


def test_a_model_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"must be an nn\.Module, got builtin_function_or_method"):
        trace(torch.relu, IMAGE)


def test_an_unknown_keyword_is_an_error():
    with pytest.raises(TypeError, match="size"):
        trace(nn.ReLU(), size=IMAGE)


def test_a_forgotten_batch_dimension_is_told():
    traced = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 900, 10)), (3, 32, 32))
    assert traced.error is not None
    assert "batch" in str(traced.error)
    assert "(1, 3, 32, 32)" in str(traced.error)


def test_layers_take_an_input_without_batch_as_torch_does():
    traced = trace(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.MaxPool2d(2)), (3, 32, 30))
    assert traced.error is None
    assert "no batch dimension" in traced.notes[0]
    assert traced.output.output_size == (8, 7, 7)
    assert traced.output.receptive_field.size == (5, 5)
    assert traced.output.field((0, 6)).slices == (slice(0, 5), slice(24, 29))
