"""The source of a live model makes it again: same layers, settings, sizes, and the weights of its seed."""

import pytest
import torch
from torch import nn

from convlab.models.gallery import GALLERY, net
from convlab.models.source import model_source, source_of


@pytest.mark.parametrize("name", GALLERY)
def test_a_gallery_net_is_made_again_with_its_weights(name):
    model = net(name, seed=7)
    again = source_of(model).build(7)
    assert repr(again) == repr(model)
    if GALLERY[name].spec.init == "default":  # others are drawn anew once they are made, which no source tells
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    names = {}
    exec(model_source(model), names)
    assert repr(names["model"]) == repr(model)


LAYERS = [
    nn.Conv1d(2, 4, 5, stride=2, padding="valid", dilation=3, groups=2, bias=False, padding_mode="circular"),
    nn.ConvTranspose2d(1, 2, (3, 4), stride=(1, 2), output_padding=(0, 1)),
    nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
    nn.AvgPool2d((2, 3), count_include_pad=False),
    nn.LayerNorm((8, 8), eps=1e-3),
    nn.LayerNorm(8, elementwise_affine=False),
    nn.GroupNorm(2, 4, affine=False),
    nn.BatchNorm2d(4, momentum=None, track_running_stats=False),
    nn.Unflatten(1, (2, 2)),
    nn.GELU(approximate="tanh"),
    nn.ELU(0.5, inplace=True),
    nn.Softmax(dim=1),
    nn.AdaptiveAvgPool2d((None, 3)),
    nn.Upsample(scale_factor=2.0, mode="nearest"),
    nn.ZeroPad2d((1, 0, 1, 2)),
    nn.Dropout(0.5),
    nn.Identity(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_layer_keeps_its_settings(layer):
    names = {}
    exec(model_source(nn.Sequential(layer)), names)
    assert repr(names["model"]) == repr(nn.Sequential(layer))


def test_what_nobody_knows_is_said():
    class Secret(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.fc = nn.Linear(size, 1)

    assert "model = Secret(...)  # with the arguments that you gave it" in model_source(Secret(3))
