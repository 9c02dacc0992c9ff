"""What convlab.data.shapes claims: a receptive field below ``scale`` sees the same in all ten classes."""

import importlib
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlab.data import resolve, shapes

# The function of the same name hides the module from a plain import.
module = importlib.import_module("convlab.data.shapes")
SCALES = list(module.SCALES)


def bag(picture: Tensor, size: int, jump: int, padding: int) -> Counter[bytes]:
    """All windows of ``size`` pixels a side, ``jump`` apart; pixels of the padding are unlike any other."""
    padded = F.pad(picture, (padding,) * 4, value=-1.0)
    windows = padded.unfold(1, size, jump).unfold(2, size, jump).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    return Counter(map(bytes, windows.contiguous().numpy()))


def families(scale: int, n: int = 4) -> list[Tensor]:
    return list(module.pictures(scale, 10 * n, 3, 0.0)[0].split(10))


def jumps(scale: int) -> list[int]:
    return [j for j in (1, 2, 4) if module.jump(scale) % j == 0]


@pytest.mark.parametrize("scale", SCALES)
def test_smaller_windows_are_the_same_collection_in_all_ten_classes(scale):
    size = scale - 1
    for family in families(scale, 2):
        for jump in jumps(scale):
            for padding in {0, 1, size // 2, size - 1}:
                bags = [bag(picture, size, jump, padding) for picture in family]
                assert all(b == bags[0] for b in bags), (jump, padding)


@pytest.mark.parametrize("scale", SCALES)
def test_windows_of_the_scale_tell_every_two_classes_apart(scale):
    for family in families(scale):
        bags = [frozenset(bag(picture, scale, 1, 0)) for picture in family]
        assert len(set(bags)) == 10


@pytest.mark.parametrize("scale", SCALES)
def test_a_place_is_possible_for_every_class_and_far_enough_from_the_border(scale):
    margin, unread = scale - 2, module.jump(scale) - 1
    X, y = module.pictures(scale, 400, 0, 0.0)
    inner = X[:, :, margin : 32 - margin - unread, margin : 32 - margin - unread]
    assert inner.count_nonzero() == X.count_nonzero()
    assert torch.equal(y.bincount(), torch.full((10,), 40))
    # Every picture holds both marks whole: 8 pixels of ring, 9 of block.
    assert torch.equal((X.sum(dim=1) > 0).sum(dim=(1, 2)), torch.full((400,), 17))


@pytest.mark.parametrize("scale", SCALES)
def test_ten_names_for_ten_directions(scale):
    assert len(set(module.class_names(scale))) == 10
    east = [dx > 0 for dx, _ in module.offsets(scale)]
    south = [dy > 0 for _, dy in module.offsets(scale)]
    for name, right, below in zip(module.class_names(scale), east, south, strict=True):
        assert not ("east" in name and not right)
        assert not ("south" in name and not below)


def random_network(rng: np.random.Generator, scale: int) -> tuple[nn.Sequential, int]:
    """A random network whose receptive field is as large as a random walk gets below ``scale``, and that size."""
    layers: list[nn.Module] = []
    channels, size, jump = 3, 1, 1
    for _ in range(6):
        kernel, stride = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2, 4]))
        padding = int(rng.integers(0, kernel // 2 + 1))
        if size + (kernel - 1) * jump > scale - 1 or module.jump(scale) % (jump * stride):
            continue
        if rng.random() < 0.3:
            pool = rng.choice([nn.MaxPool2d, nn.AvgPool2d])
            layers.append(pool(kernel, stride, padding))
        else:
            layers += [nn.Conv2d(channels, 8, kernel, stride, padding), nn.BatchNorm2d(8), nn.GELU()]
            channels = 8
        size, jump = size + (kernel - 1) * jump, jump * stride
    head = [rng.choice([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])(1), nn.Flatten(), nn.Linear(channels, 10)]
    return nn.Sequential(*layers, *head), size


@pytest.mark.parametrize("scale", [5, 7, 9, 10])
def test_any_network_below_the_scale_gives_a_family_one_output(scale):
    rng = np.random.default_rng(scale)
    torch.manual_seed(0)
    sizes = set()
    for _ in range(15):
        model, size = random_network(rng, scale)
        sizes.add(size)
        for family in families(scale, 2):
            # In double precision, so that a small difference is no rounding.
            outputs = model.double().train()(family.double())
            torch.testing.assert_close(outputs, outputs[:1].expand(10, -1), rtol=1e-10, atol=1e-10)
    assert max(sizes) == scale - 1


def test_the_check_above_fails_for_a_network_at_the_scale():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 7, padding=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for family in families(7):
        outputs = model.double()(family.double())
        assert (outputs[1:] - outputs[:1]).abs().amax(dim=1).min() > 1e-7


def accuracy_after(kernels: list[int], epochs: int) -> float:
    """Validation accuracy on shapes(7): convolutions, pooling by 2 after a first 5x5, global maximum."""
    data = shapes(scale=7)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for kernel in kernels:
        layers += [nn.Conv2d(channels, 24, kernel, padding=kernel // 2), nn.BatchNorm2d(24), nn.ReLU()]
        if kernel == 5 and channels == 3:
            layers.append(nn.MaxPool2d(2))
        channels = 24
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    where = torch.device("cpu"), torch.contiguous_format
    for _ in range(epochs):
        for x, y in data.train.batches(data.train.order(generator), 0, 32, *where):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        right = [(model(x).argmax(1) == y) for x, y in data.valid.batches(None, 0, 100, *where)]
    return torch.cat(right).float().mean().item()


@pytest.mark.slow
def test_a_large_receptive_field_learns_and_a_small_one_stays_at_chance():
    assert accuracy_after([5, 5, 3], epochs=1) > 0.9
    # Receptive field 6: right on one of each ten, to the last picture.
    assert accuracy_after([3, 3, 2], epochs=2) == pytest.approx(0.1)


def test_the_split_keeps_families_whole_and_the_seed_decides():
    data = shapes(scale=5, num_samples=100, seed=1)
    assert data.name == "shapes:5"
    assert data.input_size == (3, 32, 32)
    assert data.split == "80 samples train and 20 validate, in whole families of ten, seed 1."
    assert torch.equal(data.valid.y, torch.arange(20) % 10)
    again, other = shapes(scale=5, num_samples=100, seed=1), shapes(scale=5, num_samples=100, seed=2)
    assert again.fingerprint == data.fingerprint != other.fingerprint
    assert torch.equal(again.train.x, data.train.x)
    assert not set(map(bytes, data.train.x.flatten(1).numpy())) & set(map(bytes, data.valid.x.flatten(1).numpy()))


def test_a_name_with_a_scale():
    assert resolve("shapes").fingerprint == shapes().fingerprint == resolve("shapes:7").fingerprint
    assert resolve("shapes:10").name == "shapes:10"
    parted = resolve("shapes", seed=1, valid_fraction=0.1)
    assert (parted.train.num_samples, parted.valid.num_samples) == (1800, 200)
    assert resolve("shapes", valid_fraction=0).valid is None


def test_noise_moves_every_pixel_and_keeps_the_labels():
    plain, noisy = shapes(num_samples=200), shapes(num_samples=200, noise=0.1)
    assert torch.equal(plain.train.y, noisy.train.y)
    assert (noisy.train.x - plain.train.x).std().item() == pytest.approx(0.1, rel=0.02)


def test_the_global_generators_stay_where_they_are():
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    shapes(num_samples=100, noise=0.1)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 11}, "scale=11 must be a whole number from 2 to 10, for example 7."),
        ({"scale": 7.0}, "scale=7.0 must be a whole number"),
        ({"num_samples": 25}, "num_samples=25 must be a multiple of ten"),
        ({"num_samples": 10}, "num_samples=10 must be a multiple of ten, at least 20"),
        ({"noise": -1.0}, "noise=-1.0 must be a standard deviation"),
        ({"noise": float("nan")}, "noise=nan must be a standard deviation"),
        ({"valid_fraction": 1.0}, "valid_fraction=1.0 must be at least 0 and less than 1"),
    ],
)
def test_a_value_out_of_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        shapes(**arguments)
