"""Receptive fields that others have published, on networks written out in `published.py`.

Numbers: Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Networks", Distill 2019, table 1, and for
DenseNet-121 the closed formula of the same article.
"""

import published
import pytest
import torch
from oracle import confirms
from torch import nn

from convlab.models.trace import trace

PUBLISHED = {
    "alexnet": (published.alexnet, 195, 64),
    "vgg16": (published.vgg16, 212, 90),
    "mobilenet_v1": (published.mobilenet_v1, 315, None),
    "resnet50": (lambda: published.resnet((3, 4, 6, 3), "tf-slim"), 483, 239),
    "resnet101": (lambda: published.resnet((3, 4, 23, 3), "tf-slim"), 1027, 511),
    "resnet152": (lambda: published.resnet((3, 8, 36, 3), "tf-slim"), 1507, 751),
    "resnet200": (lambda: published.resnet((3, 24, 36, 3), "tf-slim"), 1763, 879),
    "inception_v2": (published.inception_v2, 699, None),
    "inception_v3": (published.inception_v3, 1311, 618),
    "inception_v4": (published.inception_v4, 2071, 998),
    "inception_resnet_v2": (published.inception_resnet_v2, 3039, 1482),
    "densenet121": (published.densenet121, 2071, None),
}


def output_field(model: nn.Module, size: int = 224):
    return trace(model.eval(), (1, 3, size, size)).output.receptive_field


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_and_jump_are_the_published_ones(name):
    make, size, padding = PUBLISHED[name]
    field = output_field(make(), 300)
    assert field.size == (size, size)
    assert field.jump == (32, 32)
    assert field.reach == ("local", "local")
    if padding is not None:
        # The paper's effective padding P: the first unit sees pixels -P .. -P + size - 1.
        assert field.start == (-padding + size / 2,) * 2


@pytest.mark.parametrize(
    ("depths", "ours", "theirs"), [((3, 4, 6, 3), 427, 483), ((3, 4, 23, 3), 971, 1027), ((3, 8, 36, 3), 1451, 1507)]
)
def test_torchvision_resnets_see_less_than_the_paper_says(depths, ours, theirs):
    """Araujo et al. measured TF-Slim's ResNets; torchvision's differ in where the stride stands, so both are right.

    A 3x3 that strides itself works at the finer jump. In torchvision's layout ("v1.5") the first 3x3 of stages 2 to 4
    does so and adds 2 x 4, 2 x 8 and 2 x 16 pixels. TF-Slim strides in the last block of the stage before and the
    original in the 1x1 ahead, so there it adds 2 x 8, 2 x 16 and 2 x 32: 56 pixels more.
    """
    assert output_field(published.resnet(depths, "torchvision")).size == (ours, ours)
    assert output_field(published.resnet(depths, "tf-slim")).size == (theirs, theirs)
    assert output_field(published.resnet(depths, "original")).size == (theirs, theirs)
    assert theirs - ours == (2 * 8 + 2 * 16 + 2 * 32) - (2 * 4 + 2 * 8 + 2 * 16)


def test_tensorflow_same_pooling_shifts_the_field_by_two_pixels():
    """TensorFlow's SAME pads an even map on the right only; torch's `padding=1` on the left too: one unit of jump 2."""
    slim = output_field(published.resnet((3, 4, 6, 3), "tf-slim"))
    original = output_field(published.resnet((3, 4, 6, 3), "original"))
    assert (slim.size, slim.jump) == (original.size, original.jump)
    assert [a - b for a, b in zip(slim.start, original.start, strict=True)] == [2.0, 2.0]


def proves(model: nn.Module, size: int, other: int) -> bool:
    """Whether the middle unit of the real network sees exactly what the published size says, far from any border."""
    height = size + 8 * 32 - (size % 32)
    traced = trace(model.eval(), (1, 3, height, other))
    unit = (traced.output.output_size[2] // 2, traced.output.output_size[3] // 2)
    box = traced.output.field(unit)
    first, last = box.first[0], box.last[0]
    assert first > 0
    assert last < height - 1
    assert last - first + 1 == size
    return confirms(model, [torch.rand(1, 3, height, other)], 2, {unit: (first, last)})[unit]


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "mobilenet_v1", "resnet50"])
def test_the_real_network_sees_exactly_that_much(name):
    make, size, _ = PUBLISHED[name]
    assert proves(make(), size, 67)


def test_the_real_torchvision_resnet50_sees_427():
    assert proves(published.resnet((3, 4, 6, 3), "torchvision"), 427, 33)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet101",
        "resnet152",
        "resnet200",
        "inception_v2",
        "inception_v3",
        "inception_v4",
        "inception_resnet_v2",
        "densenet121",
    ],
)
def test_the_real_deep_network_sees_exactly_that_much(name):
    make, size, _ = PUBLISHED[name]
    assert proves(make(), size, 80)
