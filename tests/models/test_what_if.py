"""A layer set otherwise: the copy is what a rebuilt model would be, and the live one never notices."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

from convlab.models.gallery import lenet
from convlab.models.trace import trace
from convlab.models.what_if import adjustable, padding_that_keeps_size, settings_of, stand_in, what_if

SIZE = (2, 3, 14, 17)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return F.relu(x + self.norm(self.conv(x)))


class Nested(nn.Module):
    """Modules in containers, one called twice, one registered under two names, one more behind a plain list."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = Block()
        self.body = nn.Sequential(Block(), nn.MaxPool2d(2))
        self.alias = self.twice
        self.listed = nn.Conv2d(4, 4, 1)
        self.plain = [self.listed]

    def forward(self, x):
        x = self.alias(self.twice(self.stem(x)))
        return self.plain[0](self.body(x))


def state(model):
    """Every bit of a model that somebody could have changed, and the identity of its tensors."""
    return (
        [(id(t), t.detach().clone()) for t in (*model.parameters(), *model.buffers())],
        [(name, id(m), m.training, list(vars(m)), vars(m).copy()) for name, m in model.named_modules()],
    )


def same(before, after):
    tensors, modules = zip(before, after, strict=True)
    return (
        all(i == j and torch.equal(a, b) for (i, a), (j, b) in zip(*tensors, strict=True))
        and [m[:4] for m in modules[0]] == [m[:4] for m in modules[1]]
        and all(all(x[4][k] is y[4][k] for k in x[4]) for x, y in zip(*modules, strict=True))
    )


def facts(model, size=SIZE):
    """What a trace says of each call, fields included."""
    found = trace(model, size)
    return str(found.error), [
        (r.path, r.kind, r.call, r.input_size, r.output_size, r.num_params, r.trainable, r.mult_adds, r.memory, field)
        for r in (*found.records, *found.containers)
        for field in (r.receptive_field,)
    ]


def rebuilt(model, path, **changes):
    """The same by hand: a really constructed layer with weights in a deep copy of the model."""
    new = copy.deepcopy(model)
    old = new.get_submodule(path)
    names = {"kernel_size", "stride", "padding", "dilation"}
    if isinstance(old, nn.modules.conv._ConvNd):
        arguments = {n: getattr(old, n) for n in (*names, "groups", "padding_mode")}
        if old.transposed:
            arguments["output_padding"] = old.output_padding
        made = type(old)(old.in_channels, old.out_channels, **(arguments | changes), bias=old.bias is not None)
    else:
        if isinstance(old, nn.modules.pooling._AvgPoolNd):
            names = names - {"dilation"}
        made = type(old)(**({n: getattr(old, n) for n in names} | changes), ceil_mode=old.ceil_mode)
    parent, _, name = path.rpartition(".")
    setattr(new.get_submodule(parent), name, made.train(old.training))
    return new


STACKS = {
    "conv": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.ReLU()),
    "no bias": lambda: nn.Sequential(nn.Conv2d(3, 4, (3, 5), bias=False, padding_mode="reflect"), nn.Conv2d(4, 2, 3)),
    "transposed": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1)),
    "max pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(4, 2, 1)),
    "avg pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1)),
}
VALUES = {
    "kernel_size": st.integers(1, 6),
    "stride": st.integers(1, 4),
    "padding": st.integers(0, 4),
    "dilation": st.integers(1, 3),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(STACKS)))
def test_it_is_what_a_rebuilt_model_is(data, name):
    model = STACKS[name]()
    path = data.draw(st.sampled_from(sorted(adjustable(model))))
    chosen = data.draw(st.lists(st.sampled_from(adjustable(model)[path]), unique=True, min_size=1))
    pairs = {n: data.draw(VALUES[n] | st.tuples(VALUES[n], VALUES[n])) for n in chosen}
    before = state(model)
    changed, by_hand = what_if(model, path, **pairs), rebuilt(model, path, **pairs)
    assert facts(changed) == facts(by_hand)
    assert same(before, state(model))
    try:
        shape = tuple(by_hand(torch.rand(SIZE)).shape)
    except RuntimeError:
        assert trace(changed, SIZE).error is not None
        return
    assert trace(changed, SIZE).output.output_size == shape


@pytest.mark.parametrize("layer", [nn.Conv1d, nn.ConvTranspose1d, nn.Conv3d, nn.ConvTranspose3d])
def test_one_and_three_dimensions(layer):
    dims = int(layer.__name__[-2])
    model, size = nn.Sequential(layer(2, 3, 3)), (1, 2, *(9,) * dims)
    changed = what_if(model, "0", kernel_size=4, stride=2, padding=1)
    assert facts(changed, size) == facts(rebuilt(model, "0", kernel_size=4, stride=2, padding=1), size)
    pooled = nn.Sequential(getattr(nn, f"MaxPool{dims}d")(2), getattr(nn, f"AvgPool{dims}d")(2))
    for path in ("0", "1"):
        again = what_if(pooled, path, kernel_size=3, stride=1)
        assert facts(again, size) == facts(rebuilt(pooled, path, kernel_size=3, stride=1), size)


@pytest.mark.parametrize("path", ["stem", "twice.conv", "alias.conv", "body.0.conv", "body.1", "listed"])
def test_nested_and_shared_modules(path):
    model = Nested()
    before, forward = state(model), model(torch.ones(SIZE)).clone()
    changes = {"kernel_size": 3, "stride": 1, "padding": 1} if path == "body.1" else {"kernel_size": 5, "padding": 2}
    before_forward = facts(model)
    changed = what_if(model, path, **changes)
    after = {(r[0], r[2]): r for r in facts(changed)[1]}
    assert trace(changed, SIZE).error is None
    name = "twice.conv" if path == "alias.conv" else path
    assert trace(changed, SIZE)[name].receptive_field.size > trace(model, SIZE)[name].receptive_field.size
    assert set(after) == {(r[0], r[2]) for r in before_forward[1]}
    if "conv" in path:
        assert after[name, 0][5] == 4 * 4 * 25 + 4
    model.eval()
    assert facts(model) == before_forward
    assert forward.shape == model(torch.ones(SIZE)).shape
    model.train()
    assert [i for i, _ in state(model)[0]] == [i for i, _ in before[0]]


def test_the_rest_is_shared_and_the_new_weight_costs_nothing():
    model = Nested()
    model.plain = None
    changed = what_if(model, "body.0.conv", kernel_size=101)
    assert changed.stem is model.stem
    assert changed.twice is changed.alias is model.twice
    assert changed.body[0].norm is model.body[0].norm
    assert changed.body[0].conv.bias is model.body[0].conv.bias
    assert changed.body[0].conv.weight.is_meta
    assert model.body[0].conv.kernel_size == (3, 3)


def test_a_module_under_two_names_stays_one():
    model = Nested()
    changed = what_if(model, "twice.conv", kernel_size=1, padding=0)
    assert changed.twice is changed.alias
    assert sum(p.numel() for p in changed.parameters()) == sum(p.numel() for p in model.parameters()) - 4 * 4 * 8


def test_frozen_half_and_eval_stay_so():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)).half().eval()
    model[1].weight.requires_grad_(False)
    changed = what_if(model, "1", kernel_size=5)
    assert changed[1].weight.dtype == torch.float16
    assert not changed[1].training
    found = trace(changed, (1, 1, 12, 12))
    assert found.error is None
    assert (found["1"].num_params, found["1"].trainable) == (2 * 2 * 25 + 2, 2)


def test_a_forward_put_on_the_object_follows_its_copy():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            raise NotImplementedError

    model = Holder()
    model.forward = (lambda self, x: self.conv(x) * 2).__get__(model)
    assert trace(what_if(model, "conv", kernel_size=7), SIZE)["conv"].output_size == (2, 4, 8, 11)
    assert trace(model, SIZE)["conv"].output_size == (2, 4, 12, 15)


def test_layers_whose_weight_is_made_elsewhere_are_left_alone():
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(1, 2, 3)), nn.LazyConv2d(2, 3), nn.Linear(2, 2), nn.Conv2d(2, 2, 3)
    )
    prune.identity(model[3], "weight")
    assert adjustable(model) == {}
    with pytest.raises(KeyError, match="no layer '0' to set otherwise; it has none"):
        what_if(model, "0", kernel_size=3)


def test_a_linear_takes_another_number_of_features():
    model = lenet()
    changed = what_if(model, "fc1", in_features=99)
    assert (changed.fc1.weight.shape, model.fc1.weight.shape) == ((64, 99), (64, 128))
    assert what_if(nn.Linear(3, 2), "", in_features=5).in_features == 5


@pytest.mark.parametrize(
    ("path", "changes", "sentence"),
    [
        ("conv9", {"kernel_size": 3}, r"no layer 'conv9' to set otherwise; it has conv1, pool1, conv2, pool2"),
        ("relu1", {"kernel_size": 3}, r"no layer 'relu1'"),
        ("conv1", {"groups": 2}, r"conv1 has no setting 'groups' to try out; it has kernel_size, stride, padding, dil"),
        (
            "conv1",
            {"kernel_size": 0},
            r"conv1\.kernel_size must be a whole number from 1 .* got 0; try kernel_size=1\.",
        ),
        ("conv1", {"kernel_size": 2.5}, r"got 2\.5; try"),
        ("conv1", {"kernel_size": True}, r"got True; try"),
        ("conv1", {"kernel_size": "3"}, r"got '3'; try"),
        ("conv1", {"kernel_size": (3, 3, 3)}, r"or a tuple of 2, got \(3, 3, 3\); try"),
        ("conv1", {"stride": -1}, r"conv1\.stride must be a whole number from 1 .* got -1; try stride=1\."),
        ("conv1", {"padding": -1}, r"conv1\.padding must be a whole number from 0 .* got -1; try padding=0\."),
        ("pool1", {"padding": "same"}, r"pool1\.padding .* got 'same'; try padding=0\."),
        ("conv1", {"padding": "same", "stride": 2}, r"padding='same' is not supported for strided convolutions"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(path, changes, sentence):
    model = lenet()
    before = state(model)
    with pytest.raises((KeyError, ValueError), match=sentence):
        what_if(model, path, **changes)
    assert same(before, state(model))


def test_the_values_that_the_errors_propose_work():
    for path, changes in [("conv1", {"kernel_size": 1}), ("conv1", {"stride": 1}), ("pool1", {"padding": 0})]:
        what_if(lenet(), path, **changes)


def test_a_kernel_larger_than_its_input_stops_the_trace_at_this_layer():
    found = trace(what_if(lenet(), "conv2", kernel_size=11, padding=1), (1, 1, 8, 8))
    assert found.error.path == "conv2"
    assert [r.path for r in found.records] == ["conv1", "relu1", "pool1"]


def test_settings_as_one_value_each():
    model = nn.Sequential(nn.Conv2d(1, 1, (3, 5), stride=2, padding=(1, 2)), nn.MaxPool2d((2, 2), 2))
    assert settings_of(model, "0") == {"kernel_size": (3, 5), "stride": 2, "padding": (1, 2), "dilation": 1}
    assert settings_of(model, "1") == {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1}
    assert settings_of(nn.Sequential(nn.ReLU()), "0") == {}


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 6), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_padding_that_keeps_the_size(kernel, padding, new_kernel, dilation, new_dilation, stride):
    size = 60
    found = padding_that_keeps_size(padding, (kernel, dilation), (new_kernel, new_dilation))
    grown = new_dilation * (new_kernel - 1) - dilation * (kernel - 1)
    assume(grown % 2 == 0 and padding + grown // 2 >= 0)

    def out(k, d, p):
        return F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, k), stride=stride, padding=p, dilation=d).shape

    assert out(new_kernel, new_dilation, found) == out(kernel, dilation, padding)


def test_a_run_that_changes_modes_meanwhile_is_not_disturbed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    traced = stand_in(model)
    stop, wrong = threading.Event(), []

    def run():
        x = torch.rand(4, 3, 8, 8)
        while not stop.is_set():
            model.train()
            model(x)
            if not all(m.training for m in model.modules()):
                wrong.append("train")
            model.eval()
            model(x)
            if any(m.training for m in model.modules()):
                wrong.append("eval")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for kernel in [1, 2, 3, 4] * 15:
            assert trace(what_if(traced, "0", kernel_size=kernel), (1, 3, 8, 8)).error is None
    finally:
        stop.set()
        thread.join()
    assert wrong == []
