"""The small network to start from."""

import pytest
import torch

from convlab.models.gallery import lenet


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
