"""From a pixel to a unit, held against all units' boxes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlab.models.trace import trace
from convlab.models.units import centre_of, layers_with_units, local_box, unit_at, units_of

layers = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(layers, st.integers(12, 24), st.integers(12, 24))
def test_the_chosen_unit_sees_the_pixel_if_any_does_and_lies_nearest(stack, height, width):
    net = nn.Sequential(*[nn.Conv2d(1, 1, k, s, min(p, k - 1), d) for k, s, p, d in stack])
    found = trace(net, (1, 1, height, width))
    if found.error is not None:
        return
    record, field = found.output, found.output.receptive_field
    rows, columns = record.output_size[2:]
    boxes = {(r, c): record.field((r, c)) for r in range(rows) for c in range(columns)}
    centres = [
        [field.start[axis] + unit * field.jump[axis] for unit in range(count)]
        for axis, count in enumerate((rows, columns))
    ]
    for row in range(0, height, 3):
        for column in range(0, width, 2):
            unit = unit_at(record, (row, column), (height, width))
            for axis, at in enumerate((row, column)):
                distances = [abs(centre - (at + 0.5)) for centre in centres[axis]]
                assert distances[unit[axis]] == min(distances)
            seen = {
                u
                for u, box in boxes.items()
                if all(a <= at <= b for (a, b), at in zip(box, (row, column), strict=True))
            }
            # A dilated kernel at the border may miss a pixel between its taps.
            assert unit in seen or not seen or any(dilation > 1 for *_, dilation in stack)


def test_after_upsampling():
    net = nn.Sequential(nn.Conv2d(1, 1, 2, 2), nn.Upsample(scale_factor=4))
    record = trace(net, (1, 1, 8, 8)).output
    for at in range(8):
        box = record.field(unit_at(record, (at, 7 - at), (8, 8)))
        assert all(first <= pixel <= last for (first, last), pixel in zip(box, (at, 7 - at), strict=True))


def test_adaptive_pooling():
    record = trace(nn.AdaptiveAvgPool2d(5), (1, 1, 13, 13)).output
    # Windows of 13 pixels in 5: 0-2, 2-5, 5-7, 7-10, 10-12.
    assert [unit_at(record, (at, 6), (13, 13))[0] for at in range(13)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
    assert unit_at(record, (0, 12), (13, 13)) == (0, 4)


class EvenThenOdd(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :, ::2], x[:, :, 1::2]], 2)


def test_units_at_no_constant_distance_go_by_their_boxes():
    record = trace(EvenThenOdd(), (1, 1, 8, 3)).output
    assert record.receptive_field.jump[0] is None
    assert [unit_at(record, (at, 1), (8, 3)) for at in range(8)] == [(u, 1) for u in (0, 4, 1, 5, 2, 6, 3, 7)]


def test_a_global_layer_has_one_unit_for_all_pixels():
    record = trace(nn.AdaptiveAvgPool2d(1), (1, 1, 9, 9)).output
    assert {unit_at(record, (row, 8 - row), (9, 9)) for row in range(9)} == {(0, 0)}


def test_beyond_the_border_the_last_unit():
    record = trace(nn.Conv2d(1, 1, 5), (1, 1, 9, 9)).output
    assert unit_at(record, (0, 8), (9, 9)) == (0, 4)


def test_one_dimension():
    assert unit_at(trace(nn.Conv1d(1, 1, 3, stride=2), (1, 1, 9)).output, (8,), (9,)) == (3,)


def test_no_units_is_said_in_a_sentence():
    record = trace(nn.Sequential(nn.Flatten(), nn.Linear(81, 2)), (1, 1, 9, 9)).output
    with pytest.raises(ValueError, match=r"has size \(1, 2\): no units along the picture's axes; try a convolution"):
        unit_at(record, (0, 0), (9, 9))
    constant = trace(Constant(), (1, 1, 9, 9)).output
    with pytest.raises(ValueError, match="try a convolution"):
        unit_at(constant, (0, 0), (9, 9))


class Constant(nn.Module):
    def forward(self, x):
        return torch.ones(1, 1, 3, 3)


@settings(max_examples=30, deadline=None)
@given(layers, st.integers(12, 24))
def test_the_unit_at_a_units_centre_is_that_unit(stack, size):
    net = nn.Sequential(*[nn.Conv2d(1, 1, k, s, min(p, k - 1), d) for k, s, p, d in stack])
    found = trace(net, (1, 1, size, size))
    if found.error is not None:
        return
    record = found.output
    for unit in range(units_of(record)[0]):
        centre = centre_of(record, (unit, 0))
        box = record.field((unit, 0))
        if box.last[0] - box.first[0] + 1 == record.receptive_field.size[0]:
            assert centre[0] == (box.first[0] + box.last[0]) / 2
        if all(0 <= at < size and at == int(at) for at in centre):
            assert unit_at(record, [int(at) for at in centre], (size, size)) == (unit, 0)


def test_the_local_path_of_a_global_layer():
    class Squeeze(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            return x * x.mean((2, 3), keepdim=True)

    record = trace(Squeeze(), (1, 1, 9, 9)).output
    assert record.receptive_field.reach == ("global", "global")
    assert record.field((4, 0)).slices == (slice(0, 9), slice(0, 9))
    assert local_box(record, (4, 0), (9, 9)) == [3, 5, 0, 1]
    assert local_box(trace(nn.Conv2d(1, 1, 3), (1, 1, 9, 9)).output, (0, 0), (9, 9)) == []


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()

    def forward(self, x):
        return x + self.act(self.conv(x))


def test_layers_with_units_in_the_order_in_which_they_are_done():
    shared = nn.Conv2d(1, 1, 3, padding=1)
    net = nn.Sequential(
        nn.Sequential(Residual(), Residual()),
        *(shared, nn.ReLU(), shared),
        *(nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), nn.Flatten(), nn.Linear(16, 2)),
    )
    found = layers_with_units(trace(net, (1, 1, 8, 8)))
    inner = ["0.0.conv", "0.0.act", "0.0", "0.1.conv", "0.1.act", "0.1"]
    assert list(found) == [*inner, "2", "1", "4.0", "4.1"]
    sizes = [record.receptive_field.size[0] for record in found.values()]
    assert sizes == [3, 3, 3, 5, 5, 5, 7, 9, 10, 10]
    assert list(layers_with_units(trace(nn.Conv2d(1, 1, 3), (1, 1, 8, 8)))) == [""]
    assert layers_with_units(trace(nn.Sequential(nn.Conv1d(1, 1, 3)), (1, 1, 8))) == {}
