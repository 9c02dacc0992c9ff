"""Feature maps, kernels and attributions of tiny networks, against numbers worked out by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from torch import nn

from convlab.diagnosis.attribution import occlusion, saliency
from convlab.diagnosis.maps import feature_maps, kernels
from convlab.models.gallery import lenet
from convlab.plots.maps import (
    as_png,
    kernel_tiles,
    map_tiles,
    mosaic,
    plot_attribution,
    plot_feature_maps,
    plot_kernels,
)
from convlab.spec import TrainSpec
from convlab.training.lending import checksum
from convlab.training.run import Run

torch.set_num_threads(1)
X = torch.tensor([[[1.0, -2.0], [3.0, 0.0]]])


def linear(*rows):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return nn.Sequential(nn.Flatten(), layer)


class Doubles(nn.Module):
    """A convolution by 2, an in-place ReLU, and the convolution again, in which dropout has no say in eval mode."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.drop = nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.9)
        self.flat = nn.Flatten()
        nn.init.constant_(self.conv.weight, 2.0)

    def forward(self, x):
        return self.flat(self.conv(self.drop(self.relu(self.conv(x)))))


def test_feature_maps_by_hand():
    model = Doubles().train()
    found = {one.path: one for one in feature_maps(model, X)}
    assert list(found) == ["conv", "relu", "drop", "flat"]
    assert found["relu"].maps.tolist() == [[[2.0, 0.0], [6.0, 0.0]]]
    assert found["conv"].maps.tolist() == [[[4.0, 0.0], [12.0, 0.0]]]  # the last call
    assert found["flat"].maps.tolist() == [[[4.0, 0.0, 12.0, 0.0]]]
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert [one.path for one in feature_maps(model, X[None])] == list(found)


def test_a_map_is_kept_though_what_follows_overwrites_it():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(inplace=True))
    nn.init.constant_(model[0].weight, 1.0)
    before, after = feature_maps(model, X)
    assert before.maps.tolist() == X.tolist()
    assert after.maps.tolist() == F.relu(X).tolist()


def test_kernels():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 2), nn.Conv2d(2, 3, 1))
    found = kernels(model)
    assert found.path == "1"
    assert torch.equal(found.weights, model[1].weight)
    with torch.no_grad():
        model[1].weight.zero_()
    assert found.weights.abs().sum() > 0
    assert kernels(model, "2").weights.shape == (3, 2, 1, 1)
    with pytest.raises(KeyError, match=r"no layer 'conv9'; it has 0, 1, 2"):
        kernels(model, "conv9")
    with pytest.raises(ValueError, match=r"0 is a ReLU, which has no kernels"):
        kernels(model, "0")
    with pytest.raises(ValueError, match=r"Sequential has no nn.Conv2d"):
        kernels(nn.Sequential(nn.Linear(2, 2)))


def test_saliency_is_the_gradient():
    model = linear([1.0, 0.0, -3.0, 0.0], [0.0, 2.0, 0.0, 5.0])
    found = saliency(model, X)
    # Outputs 1 - 9 and -4: the second is the larger.
    assert (found.target, found.score) == (1, -4.0)
    assert found.map.tolist() == [[0.0, 2.0], [0.0, 5.0]]
    assert saliency(model, X, 0).map.tolist() == [[1.0, 0.0], [3.0, 0.0]]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(3, 7), st.integers(3, 7), st.integers(0, 4), st.integers(0, 100))
def test_saliency_against_torch(channels, height, width, target, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Tanh(), nn.Flatten())
    model.append(nn.Linear(4 * (height - 2) * (width - 2), 5))
    x = torch.randn(1, channels, height, width, requires_grad=True)
    model(x)[0, target].backward()
    assert torch.allclose(saliency(model, x, target).map, x.grad[0].abs().amax(0))
    assert all(param.grad is not None for param in model.parameters())  # from here, and untouched


def test_a_gradient_that_is_cut_off_is_zero():
    class Rounds(nn.Module):
        def forward(self, x):
            return x.detach().flatten(1)

    assert saliency(Rounds(), X).map.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_occlusion_by_hand():
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]] * 4])  # mean 2.5
    weights = [0.0] * 16
    weights[0] = 1.0  # the output is the first pixel
    found = occlusion(linear(weights), x, size=2, stride=2)
    lost = 1.0 - 2.5
    assert found.map[:2, :2].tolist() == [[lost, lost], [lost, lost]]
    assert found.map[2:].abs().sum() == 0
    assert found.map[:, 2:].abs().sum() == 0
    # Overlapping squares: the second pixel lies in one that covers the first, and in one that does not.
    assert occlusion(linear(weights), x, size=2, stride=1).map[0, :3].tolist() == [lost, lost / 2, 0.0]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_every_pixel_is_covered(size, stride):
    found = occlusion(lenet(), torch.rand(1, 8, 8), size=size, stride=min(size, stride))
    assert bool(found.map.isfinite().all())


def test_many_squares_are_taken_in_parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 3))
    x = torch.rand(1, 16, 16)
    found = occlusion(model, x, 1, size=1, stride=1)
    covered = x.clone()
    covered[0, 13, 9] = x.mean()
    with torch.no_grad():
        lost = float((model(x[None]) - model(covered[None]))[0, 1])
    assert float(found.map[13, 9]) == pytest.approx(lost, abs=1e-6)


def test_a_model_in_training_is_not_touched():
    run = Run(lenet(), "digits", TrainSpec(epochs=1)).step(5)
    before = checksum(run.model, run.data)
    x = run.data.pictures(1)
    feature_maps(run.model, x)
    saliency(run.model, x)
    occlusion(run.model, x)
    assert checksum(run.model, run.data) == before
    run.stop()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: saliency(m, X[0]), r"x must be one picture, \(C, H, W\), got size \(2, 2\)"),
        (lambda m: saliency(m, X.expand(2, 1, 2, 2)), r"got size \(2, 1, 2, 2\); try x=images\[0\]"),
        (lambda m: feature_maps(m, "x.png"), r"got str"),
        (lambda m: saliency(m, X, 2), r"target must be an output from 0 to 1, got 2"),
        (lambda m: saliency(m, X, True), r"target must be an output"),
        (lambda m: occlusion(m, X, size=3), r"size must be a whole number from 1 to 2, got 3; try size=1"),
        (lambda m: occlusion(m, X, size=1, stride=2), r"stride must be a whole number from 1 to 1, got 2"),
        (lambda _: saliency(nn.Conv2d(1, 1, 1), X), r"a number for each class, \(N, classes\); it is of size"),
    ],
)
def test_map_errors_say_what_would_work(call, sentence):
    with pytest.raises((ValueError, IndexError), match=sentence):
        call(linear([1.0] * 4, [0.0] * 4))


# -- as pictures ------------------------------------------------------------------------------------------------------


def test_tiles_and_mosaic():
    weights = torch.tensor([[[[-2.0, 0.0, 2.0]]], [[[1.0, 1.0, 1.0]]]])
    first, second = kernel_tiles(weights)
    assert first.tolist() == [[[0, 0, 255], [255, 254, 254], [255, 0, 0]]]
    assert second[0, 0].tolist()[0] == 255  # on the same scale: half of the largest
    assert 100 < second[0, 0, 1] < 200
    grey = kernel_tiles(torch.zeros(1, 3, 2, 2))
    assert (np.abs(grey[0].astype(int) - 128) <= 1).all()
    (tile,) = map_tiles(torch.tensor([[[0.0, 1.0]]]))
    assert tile.sum(-1)[0, 0] < tile.sum(-1)[0, 1]
    flat = map_tiles(torch.tensor([[[7.0, 7.0]], [[float("nan"), 1.0]]]))
    assert flat[0].std(1).sum() == 0
    whole = mosaic([first, second, first], columns=2, scale=3)
    assert whole.shape == (3 + 2 + 3, 9 + 2 + 9, 3)
    assert (whole[:3, :3] == first[0, 0]).all()
    assert (whole[:3, 11:14] == second[0, 0]).all()
    assert (whole[5:, 11:] == 128).all()
    import io

    again = imread(io.BytesIO(as_png(whole)))
    assert (np.rint(255 * again[..., :3]) == whole).all()


def test_plots_of_maps():
    model, x = lenet(), torch.rand(1, 8, 8)
    assert plot_kernels(kernels(model)).images
    assert plot_feature_maps(feature_maps(model, x)[0]).get_title()
    assert len(plot_attribution(saliency(model, x), x).images) == 2
