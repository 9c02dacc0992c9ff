"""What is seen inside tiny networks, against numbers worked out by hand; and nothing is left behind."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import convlab
from convlab.data.resolve import resolve
from convlab.diagnosis.inside import NUMBERS, look_inside
from convlab.diagnosis.layer_stats import HISTOGRAM_EDGES, MOST_VALUES, gathered, histogram
from convlab.models.borrow import private_copy
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.lending import checksum
from convlab.training.run import Run

torch.set_num_threads(1)


def filled(layer, weight, bias=None):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight, dtype=torch.float32).view_as(layer.weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float32))
    return layer


# One picture of two pixels, 1 and 3, without validation data.
PIXELS = TensorDataset(torch.tensor([[[[1.0, 3.0]]]]), torch.zeros(1, 2)), None


def total(output, _):
    return output.sum()


def test_a_convolution_and_a_relu_by_hand():
    conv = filled(nn.Conv2d(1, 2, 1), [2.0, -1.0], [0.0, 0.0])
    seen = look_inside(nn.Sequential(conv, nn.ReLU()), PIXELS, criterion=total)
    assert [(one.path, one.kind) for one in seen.layers] == [("0", "Conv2d"), ("1", "ReLU")]
    first, second = seen.layers
    # Outputs 2, 6 and -1, -3; then 2, 6 and 0, 0.
    assert first.mean == 1.0
    assert first.std == pytest.approx(math.sqrt((1 + 25 + 4 + 16) / 4))
    assert (first.zeros, first.channels, first.dead) == (0.0, 2, 0)
    assert (second.mean, second.zeros, second.channels, second.dead) == (2.0, 0.5, 2, 1)
    assert second.std == pytest.approx(math.sqrt((0 + 16 + 4 + 4) / 4))
    # The sum of the outputs: only the first filter has a gradient, 1 + 3 for its weight and 2 for its bias.
    assert first.weight_norm == pytest.approx(math.sqrt(5))
    assert first.gradient_norm == pytest.approx(math.sqrt(16 + 4))
    assert first.gradient_to_weight == pytest.approx(2.0)
    assert math.isnan(second.weight_norm)
    assert math.isnan(second.gradient_norm)
    assert math.isnan(second.saturated)
    assert (seen.loss, seen.samples, seen.step) == (8.0, 1, 0)


def test_what_is_saturated():
    tanh = look_inside(nn.Sequential(filled(nn.Conv2d(1, 1, 1), [1.0], [0.0]), nn.Tanh()), PIXELS, criterion=total)
    assert tanh.layer("1").saturated == 0.5  # tanh(1) = 0.76, tanh(3) = 0.995
    low = filled(nn.Conv2d(1, 1, 1), [-3.5], [3.5])  # 0 and -7
    assert look_inside(nn.Sequential(low, nn.Sigmoid()), PIXELS, criterion=total).layer("1").saturated == 0.5
    high = filled(nn.Conv2d(1, 1, 1), [3.5], [-3.5])
    assert look_inside(nn.Sequential(high, nn.Sigmoid()), PIXELS, criterion=total).layer("1").saturated == 0.5


def test_a_frozen_layer_and_one_whose_gradient_does_not_arrive():
    frozen = filled(nn.Conv2d(1, 1, 1), [3.0], [0.0]).requires_grad_(False)
    dead = filled(nn.Conv2d(1, 1, 1), [-1.0], [0.0])
    seen = look_inside(nn.Sequential(frozen, dead, nn.ReLU()), PIXELS, criterion=total)
    assert math.isnan(seen.layer("0").gradient_norm)
    assert seen.layer("0").gradient_histogram is None
    assert (seen.layer("1").gradient_norm, seen.layer("1").gradient_to_weight) == (0.0, 0.0)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(2, 2)
        self.late = nn.ReLU()
        self.conv = filled(nn.Conv2d(1, 1, 1), [2.0], [0.0])

    def forward(self, x):
        return F.relu(self.late(self.conv(self.conv(x))))


def test_a_layer_called_twice_is_one_and_the_order_is_that_of_the_forward():
    seen = look_inside(Twice(), PIXELS, criterion=total)
    assert [one.path for one in seen.layers] == ["conv", "late"]
    values = np.array([2.0, 6.0, 4.0, 12.0])
    assert seen.layer("conv").mean == values.mean()
    assert seen.layer("conv").std == pytest.approx(values.std())
    with pytest.raises(KeyError, match=r"no layer 'unused' was seen; there are 'conv', 'late'"):
        seen.layer("unused")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, -2.5, 0.3]), min_size=6, max_size=6), min_size=1, max_size=5))
def test_merged_calls_are_the_statistics_of_all_outputs(calls):
    model = nn.Identity()
    with gathered(nn.Sequential(model)) as seen:
        for values in calls:
            model(torch.tensor(values).view(1, 3, 2))
    ((_, _, act),) = seen.layers()
    every = np.array(calls).reshape(-1, 3, 2)
    assert act.mean == pytest.approx(every.mean(), abs=1e-6)
    assert act.std == pytest.approx(every.std(), abs=1e-5)
    assert act.zeros == pytest.approx((every == 0).mean())
    assert act.dead == (every == 0).all((0, 2)).sum()


def test_a_copy_that_is_made_meanwhile_is_not_seen():
    model, x = nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2)
    with gathered(model) as seen:
        copied = private_copy(model)
        copied(x)
        assert not list(seen.layers())
        model(x)
    copied(x)
    assert [path for path, _, _ in seen.layers()] == ["0"]


class Odd(nn.Module):
    """What has no numbers: a tuple, whole numbers, nothing at all; and weights of its own beside a part."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(4, 10))
        self.empty = nn.Identity()
        self.whole = nn.Identity()

    def forward(self, x):
        self.whole(torch.arange(3))
        self.empty(x[:0])
        y, _ = self.lstm(x[:, 0])
        return self.head(self.attention(y, y, y)[0].mean(1))


def test_odd_outputs_are_passed_over():
    seen = look_inside(Odd(), "digits")
    assert [one.path for one in seen.layers] == ["head"]
    weight = list(Odd().head.parameters())
    assert len(weight) == 3
    assert seen.layer("head").gradient_norm > 0
    assert int(seen.layer("head").weight_histogram.sum()) == sum(p.numel() for p in weight)


def test_against_torch_on_a_real_network():
    torch.manual_seed(3)
    model, data = lenet(), resolve("digits")
    seen = look_inside(model, data, samples=32)
    index = data.train.order(torch.Generator().manual_seed(0))[:32]
    F.cross_entropy(model(data.train.x[index]), data.train.y[index]).backward()
    for one in seen.layers:
        own = list(model.get_submodule(one.path).parameters(recurse=False))
        if own:
            grads = torch.cat([p.grad.flatten() for p in own])
            assert one.gradient_norm == pytest.approx(float(grads.norm()), rel=1e-5)
            assert one.gradient_histogram.tolist() == sum(histogram(p.grad) for p in own).tolist()
    assert len(seen.to_dataframe()) == len(seen.layers)
    assert {*NUMBERS, "path", "kind"} == set(seen.to_dataframe().columns)
    assert "32" not in repr(seen)
    assert "dead ReLU channels" in repr(seen)


def test_batch_norm_stands_on_the_samples_as_in_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()
    bn = look_inside(model, "digits").layer("0")
    assert abs(bn.mean) < 1e-5
    assert bn.std == pytest.approx(1.0, abs=1e-3)
    assert int(model[0].num_batches_tracked) == 0


# -- histograms -------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), max_size=60))
def test_a_histogram_is_numpys(values):
    x = np.array(values, dtype=np.float32).astype(np.float64)
    edges = HISTOGRAM_EDGES.copy()
    edges[[0, -1]] = -np.finfo(np.float64).max, np.finfo(np.float64).max
    wanted, _ = np.histogram(np.clip(x, -1e300, 1e300), edges)
    assert histogram(torch.tensor(values, dtype=torch.float32)).tolist() == wanted.tolist()


def test_histogram_of_what_is_not_a_number_and_of_very_many():
    assert int(histogram(torch.tensor([math.nan, math.inf, 1.0])).sum()) == 2
    many = histogram(torch.full((5 * MOST_VALUES + 1,), 0.5))
    assert 0 < int(many.sum()) <= MOST_VALUES
    assert len(HISTOGRAM_EDGES) == 82
    assert (np.diff(HISTOGRAM_EDGES) > 0).all()


# -- given back -------------------------------------------------------------------------------------------------------


class Restless(nn.Module):
    """Dropout, BatchNorm, a frozen BatchNorm in eval mode, a generator of its own; raises when told to."""

    def __init__(self):
        super().__init__()
        self.bn, self.frozen = nn.BatchNorm2d(1), nn.BatchNorm2d(1).requires_grad_(False)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(64, 10)
        self.generator = torch.Generator().manual_seed(1)
        self.fails = False

    def forward(self, x):
        x = x + torch.rand(1, generator=self.generator) + np.random.rand()
        x = self.fc(self.drop(self.frozen(self.bn(x))).flatten(1))
        if self.fails:
            raise LookupError("in the middle")
        return x


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_given_back(fails):
    model = Restless()
    model.frozen.eval()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    model.fails = fails
    data = resolve("digits")
    before = checksum(model, data)
    if fails:
        with pytest.raises(LookupError, match="in the middle"):
            look_inside(model, data)
    else:
        look_inside(model, data)
    assert checksum(model, data) == before
    assert hooks(model) == 0


def test_a_run_that_is_paused_goes_on_as_if_nobody_had_looked():
    def trained(look):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3))
        model.append(nn.Linear(32, 10))
        run = Run(model, "digits", TrainSpec(epochs=2)).step(20)
        if look:
            assert look_inside(run).step == 20
        return run.resume().wait()

    watched, alone = trained(True), trained(False)
    assert watched.history.train_loss.tolist() == alone.history.train_loss.tolist()
    assert checksum(watched.model, None) == checksum(alone.model, None)
    assert look_inside(watched).loss < 1


def test_a_run_that_trains_is_left_alone():
    run = Run(lenet(), "digits", TrainSpec(epochs=10_000)).start()
    try:
        with pytest.raises(RuntimeError, match=r"training right now"):
            look_inside(run)
    finally:
        run.stop()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "lenet"}, r"model must be an nn.Module or a Run, got str"),
        ({"data": None}, r"data is missing; try look_inside\(model"),
        ({"samples": 0}, r"samples must be a whole number of at least 1, got 0; try samples=64"),
        ({"samples": True}, r"samples must be a whole number"),
        ({"part": "test"}, r"part must be 'train' or 'valid', got 'test'"),
        ({"model": nn.Sequential(nn.LazyLinear(3))}, r"lazy layers without weights"),
    ],
)
def test_errors_name_the_argument(arguments, sentence):
    given = {"model": lenet(), "data": "digits", **arguments}
    with pytest.raises((TypeError, ValueError), match=sentence):
        look_inside(given.pop("model"), given.pop("data"), **given)


def test_the_plot():
    seen = convlab.look_inside(lenet(), "digits", part="valid")
    axes = seen.plot(number="gradient_norm")
    assert len(axes.patches) == len(seen.layers)
    assert axes.get_xscale() == "log"
    with pytest.raises(ValueError, match=r"number must be one of mean, std, .*, got 'sd'"):
        seen.plot(number="sd")
