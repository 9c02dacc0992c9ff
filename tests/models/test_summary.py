"""The rows of the summary: facts, shares, differences; and torchinfo's numbers beside them."""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
import torchinfo
from torch import nn

from convlab.models.gallery import lenet
from convlab.models.summary import summarize, words
from convlab.models.trace import trace
from convlab.models.what_if import trace_refitted, what_if


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(x + self.norm(self.conv(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.shared = Block(4)
        self.body = nn.Sequential(Block(4), nn.Identity(), nn.Sequential(nn.MaxPool2d(2), nn.Dropout()))
        self.head = nn.Linear(4, 2)
        self.bare = nn.Parameter(torch.ones(4, 4, 3, 3))

    def forward(self, x):
        x = self.shared(self.shared(self.stem(x)))
        x = self.body(F.conv2d(x, self.bare))
        return self.head(x.mean((2, 3)))


class Deep(nn.Module):
    def __init__(self, wrong):
        super().__init__()
        self.outer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(wrong, 2, 3), nn.ReLU()))
        self.last = nn.Conv2d(2, 1, 1)

    def forward(self, x):
        return self.last(self.outer(x))


def rows_of(summary):
    return {(row.path, row.call): row for row in summary.rows}


def test_rows_come_in_call_order_containers_before_what_they_hold():
    names = [(row.path, row.call, row.is_leaf) for row in summarize(trace(Net(), (1, 3, 20, 20))).rows]
    inner = ["conv", "norm", "add", "relu"]
    assert names == [
        ("stem", 0, True),
        ("shared", 0, False),
        *((f"shared.{name}", 0, True) for name in inner),
        ("shared", 1, False),
        *((f"shared.{name}", 1, True) for name in inner),
        ("conv2d", 0, True),
        ("body", 0, False),
        ("body.0", 0, False),
        *((f"body.0.{name}", 0, True) for name in inner),
        ("body.2", 0, False),
        ("body.2.0", 0, True),
        ("body.2.1", 0, True),
        ("mean", 0, True),
        ("head", 0, True),
    ]


def test_a_row_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, (3, 5), stride=2, bias=False), nn.Flatten(), nn.Linear(8 * 3 * 2, 10))
    net[0].weight.requires_grad_(False)
    first, _, last = summarize(trace(net, (2, 3, 8, 8))).rows
    assert (first.kind, first.depth, first.kernel_size) == ("Conv2d", 0, (3, 5))
    assert (first.input_size, first.output_size) == ((2, 3, 8, 8), (2, 8, 3, 2))
    assert (first.num_params, first.trainable) == (3 * 8 * 15, 0)
    assert first.mult_adds == 2 * 3 * 8 * 15 * 6
    assert first.memory == 2 * 8 * 3 * 2 * 4
    assert (first.receptive_field, first.jump) == ("3 x 5", "2")
    assert first.details == "Conv2d(3, 8, kernel_size=(3, 5), stride=(2, 2), bias=False)"
    assert last.params_share == pytest.approx(490 / 850)
    assert last.receptive_field == "global (3 x 5)" or last.receptive_field.startswith(("global", "irregular"))


def test_shares_of_leaves_make_a_whole_and_a_containers_is_that_of_its_leaves():
    summary = summarize(trace(Net(), (1, 3, 20, 20)))
    leaves = [row for row in summary.rows if row.is_leaf]
    for share in ("params_share", "mult_adds_share", "memory_share"):
        assert sum(getattr(row, share) for row in leaves) == pytest.approx(1)
    rows = rows_of(summary)
    below = [row for row in leaves if row.path.startswith("body.0.")]
    assert rows["body.0", 0].mult_adds_share == pytest.approx(sum(row.mult_adds_share for row in below))
    assert rows["body.0", 0].params_share == pytest.approx(sum(row.params_share for row in below))
    assert rows["shared.conv", 1].params_share == 0 < rows["shared.conv", 0].params_share
    assert summary.largest == {"num_params": "shared.conv", "mult_adds": "shared.conv", "memory": "stem"}


def test_what_changed_and_only_that():
    net = lenet(input_size=16)
    size = (1, 1, 16, 16)
    before = trace(net, size)
    summary = summarize(trace(what_if(net, "conv2", kernel_size=5, padding=2), size), before)
    rows = rows_of(summary)
    assert rows["conv1", 0].before == rows["pool1", 0].before == {}
    assert rows["conv2", 0].before == {
        "kernel_size": (3, 3),
        "num_params": 16 * 32 * 9 + 32,
        "trainable": 16 * 32 * 9 + 32,
        "mult_adds": 64 * (16 * 32 * 9 + 32),
        "receptive_field": "8 x 8",
    }
    assert rows["conv2", 0].receptive_field == "12 x 12"
    assert set(rows["pool2", 0].before) == {"receptive_field"}
    assert summarize(trace(net, size), before) == summarize(trace(net, size))
    # A summary serves as well as its trace.
    assert summarize(trace(what_if(net, "conv2", kernel_size=5, padding=2), size), summarize(before)) == summary


def test_a_layer_that_does_not_fit_has_its_row_and_so_has_what_was_not_reached():
    net = lenet()
    live = trace(net, (1, 1, 8, 8))
    summary = summarize(trace(what_if(net, "conv2", kernel_size=4), (1, 1, 8, 8)), live)
    rows = rows_of(summary)
    assert [row.path for row in summary.rows] == [row.path for row in summarize(live).rows]
    states = {path: row.state for (path, _), row in rows.items()}
    assert states == {
        **dict.fromkeys(("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten"), "ok"),
        "fc1": "failed",
        "relu3": "unreached",
        "fc2": "unreached",
    }
    assert "fc1.in_features should be 32, is 128" in summary.error
    assert rows["fc2", 0].num_params == 650
    assert rows["conv2", 0].before["output_size"] == (1, 32, 4, 4)
    assert rows["fc1", 0].details == "Linear(in_features=128, out_features=64, bias=True)"


def test_a_failure_deep_inside_keeps_the_containers_around_it():
    summary = summarize(trace(Deep(wrong=7), (1, 1, 9, 9)))
    assert [(row.path, row.state, row.is_leaf) for row in summary.rows] == [
        ("outer", "unreached", False),
        ("outer.0", "ok", True),
        ("outer.1", "unreached", False),
        ("outer.1.0", "ok", True),
        ("outer.1.1", "failed", True),
    ]
    assert "outer.1.1" in summary.error
    after = summarize(trace(Deep(wrong=7), (1, 1, 9, 9)), trace(Deep(wrong=2), (1, 1, 9, 9)))
    assert [row.path for row in after.rows if row.state == "unreached" and row.is_leaf] == ["outer.1.2", "last"]


def test_a_failure_in_the_models_own_forward():
    class Adds(nn.Module):
        def forward(self, x):
            return x + torch.ones(7, device=x.device)

    summary = summarize(trace(Adds(), (1, 1, 4, 4)))
    assert [row.state for row in summary.rows] == ["failed"]
    assert summary.error


def test_linear_layers_refitted():
    net = lenet()
    changed = what_if(net, "conv2", kernel_size=4)
    found, refitted = trace_refitted(changed, (1, 1, 8, 8))
    assert (found.error, refitted) == (None, {"fc1": 32})
    assert rows_of(summarize(found, trace(net, (1, 1, 8, 8))))["fc1", 0].num_params == 32 * 64 + 64
    assert net.fc1.in_features == 128
    unfit, none = trace_refitted(what_if(net, "conv2", kernel_size=40), (1, 1, 8, 8))
    assert (unfit.error.path, none) == ("conv2", {})
    assert trace_refitted(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6)), (1, 2))[1] == {"0": 2, "1": 4}


def test_words_of_fields():
    net = nn.Sequential(nn.Conv2d(1, 1, (3, 5), stride=(2, 1)), nn.AdaptiveAvgPool2d(1))
    found = trace(net, (1, 1, 9, 9))
    assert words(found["0"].receptive_field) == "3 x 5"
    assert words(found["1"].receptive_field).startswith("global (")
    rows = summarize(found).rows
    assert rows[0].jump == "2 x 1"
    one_axis = trace(nn.AdaptiveAvgPool2d((1, None)), (1, 1, 9, 9)).output.receptive_field
    assert words(one_axis).startswith("global (")
    assert " x 1" in words(one_axis)


def test_several_inputs_are_told_apart():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 5, padding=1)

        def forward(self, left, right):
            return self.a(left) + self.b(right)

    rows = rows_of(summarize(trace(Two(), [(1, 1, 9, 9), (1, 1, 9, 9)])))
    assert rows["a", 0].receptive_field == "3 x 3"
    assert rows["add", 0].receptive_field == "left: 3 x 3, right: 5 x 5"


def test_a_persons_own_repr_cannot_break_the_table():
    class Odd(nn.Conv2d):
        def extra_repr(self):
            raise RuntimeError

    assert summarize(trace(nn.Sequential(Odd(1, 1, 3)), (1, 1, 5, 5))).rows[0].details == "Odd(...)"


NETS = {
    "lenet": (lambda: lenet(3, 10, 16), (2, 3, 16, 16)),
    "nested and shared": (Net, (2, 3, 20, 20)),
    "depthwise and transposed": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=4, bias=False),
            nn.GroupNorm(2, 8),
            nn.ConvTranspose2d(8, 4, 4, 2),
            nn.AvgPool2d(3),
        ),
        (1, 4, 12, 12),
    ),
    "one dimension": (lambda: nn.Sequential(nn.Conv1d(2, 4, 5), nn.MaxPool1d(2), nn.BatchNorm1d(4)), (3, 2, 20)),
    "three dimensions": (lambda: nn.Sequential(nn.Conv3d(1, 2, 3, stride=2), nn.ReLU()), (1, 1, 9, 9, 9)),
    "double precision": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)).double(), (1, 1, 9, 9)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("frozen", [False, True])
def test_torchinfo_says_the_same(name, frozen):
    make, size = NETS[name]
    net = make()
    if frozen:
        next(net.parameters()).requires_grad_(False)
    dtype = next(net.parameters()).dtype
    theirs = torchinfo.summary(net, input_data=torch.zeros(size, dtype=dtype), verbose=0, depth=99)
    ours = summarize(trace(net, size))
    assert (ours.total_params, ours.trainable_params) == (theirs.total_params, theirs.trainable_params)
    rows, calls, differing = rows_of(ours), {}, 0
    for info in theirs.summary_list:
        path = path_of(info)
        if not info.is_leaf_layer or info.class_name == "Identity":
            continue
        row = rows[path, calls.setdefault(path, 0)]
        calls[path] += 1
        assert row.kind == info.class_name
        assert list(row.input_size) == info.input_size
        assert list(row.output_size) == info.output_size
        assert (row.num_params, row.trainable) == (info.num_params, info.trainable_params)
        if "Transpose" in row.kind:
            # They multiply all weights for each output; each input is what meets all of them.
            differing += info.macs - row.mult_adds
            assert info.macs > row.mult_adds >= math.prod(info.input_size) // info.input_size[1] * info.num_params * 0.9
        else:
            assert row.mult_adds == info.macs
        if info.num_params:
            assert row.memory == info.output_bytes
        if "conv" in row.kind.lower():
            assert list(row.kernel_size) == info.kernel_size
    # What they leave out: arithmetic of functions with bare parameters.
    functions = [row for row in ours.rows if row.kind == "conv2d"]
    assert ours.total_mult_adds + differing - sum(row.mult_adds for row in functions) == theirs.total_mult_adds
    # Python's own header of the tensor's storage.
    assert ours.input_memory == theirs.total_input - sys.getsizeof(torch.empty(0).untyped_storage())
    assert ours.pass_memory == theirs.total_output_bytes
    bare = sum(row.num_params for row in functions) * dtype.itemsize
    assert ours.params_memory - bare == theirs.total_param_bytes


def path_of(info):
    names = []
    while info.parent_info is not None:
        names.append(info.var_name)
        info = info.parent_info
    return ".".join(reversed(names))
