"""The effective field against gradients worked out by hand, and a model that never notices."""

import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlab.models.effective_field import THRESHOLD, effective_field
from convlab.models.gallery import lenet
from convlab.models.trace import trace


def conv(weight, **arguments):
    weight = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), **arguments)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.zero_()
    return layer


def test_one_convolution_shows_its_kernel():
    kernel = torch.tensor([[0.0, 1.0, -2.0], [4.0, -8.0, 1.0], [0.5, 0.0, 2.0]])
    net = nn.Sequential(conv(kernel[None, None].tolist()))
    field = effective_field(net, "0", torch.rand(2, 1, 7, 7), unit=(1, 3))
    expected = torch.zeros(7, 7)
    expected[1:4, 3:6] = kernel.abs() / 8
    assert torch.equal(field.weights, expected)
    assert field.unit == (1, 3)
    # Above 4.55 % of the largest: 7 taps; 0 and 0 are not.
    assert field.share == pytest.approx(7 / 49)


def test_two_convolutions_show_the_product_of_their_kernels():
    net = nn.Sequential(conv([[[[1.0, 2.0, 1.0]]]]), conv([[[[1.0, 2.0, 1.0]]]]))
    field = effective_field(net, "1", torch.rand(1, 1, 1, 9), unit=(0, 2))
    # (1 2 1) * (1 2 1) = 1 4 6 4 1, by hand.
    assert torch.allclose(field.weights[0], torch.tensor([0, 0, 1, 4, 6, 4, 1, 0, 0]) / 6)


def test_channels_of_the_unit_add_before_the_absolute_value_those_of_the_input_after():
    net = nn.Sequential(conv([[[[1.0]], [[-3.0]]], [[[1.0]], [[1.0]]]]))
    # Channel 0: |1 + 1| = 2; channel 1: |-3 + 1| = 2; together 4 at the unit's own pixel.
    field = effective_field(net, "0", torch.rand(1, 2, 3, 3), unit=(0, 0))
    assert torch.equal(field.weights, torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    cancelled = nn.Sequential(conv([[[[1.0]]], [[[-1.0]]]]))
    assert effective_field(cancelled, "0", torch.rand(1, 1, 3, 3)).weights.sum() == 0


def test_a_max_pool_sees_the_largest_pixel_of_each_image_and_images_are_averaged():
    images = torch.zeros(2, 1, 2, 2)
    images[0, 0, 0, 1] = 1
    images[1, 0, 1, 0] = 1
    field = effective_field(nn.Sequential(nn.MaxPool2d(2)), "0", images)
    assert torch.equal(field.weights, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_a_dead_unit_has_no_field():
    net = nn.Sequential(conv([[[[1.0]]]]), nn.ReLU())
    field = effective_field(net, "1", -torch.ones(1, 1, 3, 3))
    assert (field.share, float(field.weights.sum())) == (0.0, 0.0)


def test_what_comes_next_may_write_in_place():
    net = nn.Sequential(nn.ReLU(inplace=True), conv([[[[1.0]]]]), nn.ReLU(inplace=True))
    images = -torch.ones(1, 1, 3, 3)
    images[0, 0, 1, 1] = 1
    field = effective_field(net, "1", images, unit=(1, 1))
    assert float(field.weights[1, 1]) == 1
    assert float(field.feature_map[1, 1]) == 1
    assert float(images.min()) == -1
    negative = nn.Sequential(conv([[[[-1.0]]]]), nn.ReLU(inplace=True))
    # The convolution itself has a gradient, though the ReLU behind it, in the same memory, is dead.
    assert effective_field(negative, "0", torch.ones(1, 1, 3, 3)).share > 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(0, 1)), min_size=1, max_size=3),
    st.sampled_from([1, 3]),
    st.data(),
)
def test_it_lies_inside_the_theoretical_box_and_with_positive_weights_fills_it(stack, channels, data):
    layers = [nn.Conv2d(channels if i == 0 else 2, 2, k, s, min(p, k - 1)) for i, (k, s, p) in enumerate(stack)]
    net = nn.Sequential(*layers)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.5, 1)
    path = str(len(stack) - 1)
    record = trace(net, (1, channels, 25, 23))[path]
    rows, columns = record.output_size[2:]
    unit = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    field = effective_field(net, path, torch.rand(1, channels, 25, 23), unit)
    inside = torch.zeros(25, 23, dtype=torch.bool)
    inside[record.field(unit).slices] = True
    assert not bool((field.weights > 0)[~inside].any())
    assert field.weights.max() == 1
    rows_hit, columns_hit = field.weights.sum(1).nonzero().flatten(), field.weights.sum(0).nonzero().flatten()
    box = record.field(unit)
    assert [(hit.min(), hit.max()) for hit in (rows_hit, columns_hit)] == list(box)


def test_centre_unit_and_feature_map():
    net = lenet()
    images = torch.rand(3, 1, 8, 8)
    field = effective_field(net, "conv2", images)
    assert field.unit == (2, 2)
    with torch.no_grad():
        expected = net[:4](images)[0].mean(0)
    assert torch.allclose(field.feature_map, expected, atol=1e-6)
    assert field.share == pytest.approx(float((field.weights > THRESHOLD).float().mean()))


def test_units_elsewhere_than_behind_the_channels():
    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    net = nn.Sequential(conv([[[[1.0]]]] * 5), Last(), nn.Identity())
    field = effective_field(net, "2", torch.rand(1, 1, 6, 4), unit=(5, 1), dims=(1, 2))
    assert field.weights.nonzero().tolist() == [[5, 1]]


def test_the_last_call_of_a_shared_layer():
    shared = conv([[[[1.0, 1.0, 1.0]] * 3]])
    net = nn.Sequential(shared, shared)
    field = effective_field(net, "0", torch.rand(1, 1, 9, 9))
    assert int((field.weights > 0).sum()) == 25


def test_half_precision_and_frozen_weights():
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).to(torch.bfloat16).requires_grad_(False)
    assert effective_field(net, "0", torch.rand(1, 1, 5, 5)).weights.count_nonzero() == 9


def test_the_model_is_left_as_it_was_also_when_it_raises():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2))
    net[1].eval()
    net(torch.rand(2, 1, 8, 8)).sum().backward()
    before = [t.clone() for t in (*net.parameters(), *net.buffers())]
    grads = [p.grad.clone() for p in net.parameters()]
    modes, random = [m.training for m in net.modules()], torch.get_rng_state()
    effective_field(net, "1", torch.rand(1, 1, 8, 8, generator=torch.Generator()))
    with pytest.raises(RuntimeError):
        effective_field(net, "1", torch.ones(1, 1, 9, 9))
    assert all(torch.equal(a, b) for a, b in zip(before, (*net.parameters(), *net.buffers()), strict=True))
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, net.parameters(), strict=True))
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks for m in net.modules())
    assert all(p.requires_grad for p in net.parameters())


def train(net, steps, look=None):
    torch.manual_seed(0)
    x, y = torch.rand(32, 1, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    done, watcher = threading.Event(), None
    if look is not None:
        watcher = threading.Thread(target=lambda: [look() for _ in iter(done.is_set, True)])
        watcher.start()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    done.set()
    if watcher is not None:
        watcher.join()
    return [p.detach().clone() for p in net.parameters()]


def test_training_in_another_thread_is_the_same_with_and_without_it():
    alone = train(lenet(), 40)
    watched, fields = lenet(), []
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    beside = train(watched, 40, lambda: fields.append(effective_field(watched, "conv2", image).share))
    assert fields
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))


@pytest.mark.parametrize(
    ("path", "unit", "error", "sentence"),
    [
        ("conv9", None, KeyError, r"no layer 'conv9'; it has conv1, relu1"),
        (
            "fc1",
            None,
            ValueError,
            r"fc1 is no map of units, \(N, C, H, W\), but of size \(1, 64\); try a convolution\.",
        ),
        ("conv1", (8, 0), IndexError, r"a row and a column of 8 x 8 units, got \(8, 0\); try unit=\(0, 0\)\."),
        ("conv1", (-1, 0), IndexError, r"got \(-1, 0\)"),
        ("conv1", (1,), IndexError, r"got \(1,\)"),
        ("", None, ValueError, r"the model's output is no map of units"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(path, unit, error, sentence):
    with pytest.raises(error, match=sentence):
        effective_field(lenet(), path, torch.rand(1, 1, 8, 8), unit)


def test_further_refusals():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.lstm = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.LSTM(4, 2)

        def forward(self, x):
            self.lstm(x[0, 0])
            return self.used(x)

    with pytest.raises(ValueError, match="unused is not called in the model's forward"):
        effective_field(Skips(), "unused", torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"lstm is no map of units, .* but tuple"):
        effective_field(Skips(), "lstm", torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"images must have size \(N, C, H, W\), got \(1, 8\)"):
        effective_field(lenet(), "conv1", torch.rand(1, 8))
    broken = nn.Sequential(conv([[[[float("nan")]]]]))
    with pytest.raises(ValueError, match="the gradient of 0 is not finite"):
        effective_field(broken, "0", torch.rand(1, 1, 3, 3))


def test_a_gradient_that_is_cut_off_is_none_at_all():
    class Cut(nn.Module):
        def forward(self, x):
            return x.detach()

    assert effective_field(nn.Sequential(Cut(), nn.Conv2d(1, 1, 3)), "1", torch.rand(1, 1, 5, 5)).share == 0
