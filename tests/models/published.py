"""The networks of Araujo, Norris & Sim (Distill 2019) with their real kernels, strides and paddings, on few channels.

Width changes no receptive field; a fully convolutional tail is left out because the paper measures the last map.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

C = 2


def conv(k: Any, s: int = 1, p: Any = None, groups: int = 1) -> nn.Module:
    k = k if isinstance(k, tuple) else (k, k)
    p = tuple(n // 2 for n in k) if p is None else p
    return nn.Sequential(nn.Conv2d(C, C, k, s, p, groups=groups, bias=False), nn.BatchNorm2d(C), nn.ReLU())


class Branches(nn.Module):
    """Concatenates its branches and squeezes them to C channels, as the next layer's 1x1 would."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.squeeze = nn.Conv2d(C * len(branches), C, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.squeeze(torch.cat([branch(x) for branch in self.branches], 1))


def branch(*kernels: Any, reduce: bool = False) -> nn.Module:
    """1x1, then the kernels; a reduction ends with stride 2 and no padding."""
    layers = [conv(1), *(conv(k) for k in kernels)]
    if reduce:
        layers[-1] = conv(kernels[-1], 2, 0)
    return nn.Sequential(*layers)


def image() -> nn.Module:
    return nn.Conv2d(3, C, 1)


def alexnet() -> nn.Module:
    layers: list[nn.Module] = [conv(11, 4, 0), nn.MaxPool2d(3, 2), conv(5), nn.MaxPool2d(3, 2)]
    return nn.Sequential(image(), *layers, conv(3), conv(3), conv(3), nn.MaxPool2d(3, 2))


def vgg16() -> nn.Module:
    blocks = (layer for depth in (2, 2, 3, 3, 3) for layer in (*(conv(3) for _ in range(depth)), nn.MaxPool2d(2)))
    return nn.Sequential(image(), *blocks)


def mobilenet_v1() -> nn.Module:
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    blocks = (layer for s in strides for layer in (conv(3, s, groups=C), conv(1)))
    return nn.Sequential(image(), conv(3, 2), *blocks)


class Bottleneck(nn.Module):
    def __init__(self, s1: int, s3: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(1, s1), conv(3, s3), conv(1)
        self.s = s1 * s3
        self.down = conv(1, self.s) if self.s > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.down(x))


class PoolLikeTensorFlow(nn.Module):
    """TensorFlow's `SAME` on an even size: nothing to the left, one to the right."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)


def resnet(depths: Sequence[int], layout: str) -> nn.Module:
    """`layout` says which convolution has a stage's stride.

    ``torchvision``: the 3x3 of a stage's first block ("v1.5"). ``original``: its 1x1 (He et al. 2015). ``tf-slim``: the
    3x3 of the last block of the stage before, which is what Araujo et al. measured.
    """
    stem_pool = PoolLikeTensorFlow() if layout == "tf-slim" else nn.MaxPool2d(3, 2, 1)
    layers: list[nn.Module] = [image(), conv(7, 2), stem_pool]
    for stage, depth in enumerate(depths):
        for k in range(depth):
            first, last = k == 0 and stage > 0, k == depth - 1 and stage < len(depths) - 1
            s1 = 2 if layout == "original" and first else 1
            s3 = 2 if (layout == "torchvision" and first) or (layout == "tf-slim" and last) else 1
            layers.append(Bottleneck(s1, s3))
    return nn.Sequential(*layers)


def densenet121() -> nn.Module:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.mix = branch(3), nn.Conv2d(2 * C, C, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(torch.cat([x, self.layer(x)], 1))

    layers: list[nn.Module] = [image(), conv(7, 2), nn.MaxPool2d(3, 2, 1)]
    for k, depth in enumerate((6, 12, 24, 16)):
        layers += [nn.AvgPool2d(2)] * (k > 0) + [Dense() for _ in range(depth)]
    return nn.Sequential(*layers)


def pool_branch() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(1))


def split_tail(*kernels: Any) -> nn.Module:
    """Ends in a 1x3 beside a 3x1, as in the last blocks of Inception v3 and v4."""
    return nn.Sequential(conv(1), *(conv(k) for k in kernels), Branches(conv((1, 3)), conv((3, 1))))


def inception_v2() -> nn.Module:
    def mixed() -> nn.Module:
        return Branches(conv(1), branch(3), branch(3, 3), pool_branch())

    def reduction() -> nn.Module:
        return Branches(
            nn.Sequential(conv(1), conv(3, 2)), nn.Sequential(conv(1), conv(3), conv(3, 2)), nn.MaxPool2d(3, 2, 1)
        )

    stem = [conv(7, 2), nn.MaxPool2d(3, 2, 1), conv(1), conv(3), nn.MaxPool2d(3, 2, 1)]
    middle = [mixed(), mixed(), reduction(), *(mixed() for _ in range(4)), reduction(), mixed(), mixed()]
    return nn.Sequential(image(), *stem, *middle)


def _stem_v3() -> list[nn.Module]:
    return [conv(3, 2, 0), conv(3, 1, 0), conv(3), nn.MaxPool2d(3, 2), conv(1), conv(3, 1, 0), nn.MaxPool2d(3, 2)]


def inception_v3() -> nn.Module:
    a = [Branches(conv(1), branch(5), branch(3, 3), pool_branch()) for _ in range(3)]
    b = Branches(conv(3, 2, 0), branch(3, 3, reduce=True), nn.MaxPool2d(3, 2))
    seven = ((1, 7), (7, 1))
    c = [Branches(conv(1), branch(*seven), branch(*seven[::-1], *seven[::-1]), pool_branch()) for _ in range(4)]
    d = Branches(branch(3, reduce=True), branch(*seven, 3, reduce=True), nn.MaxPool2d(3, 2))
    e = [Branches(conv(1), split_tail(), split_tail(3), pool_branch()) for _ in range(2)]
    return nn.Sequential(image(), *_stem_v3(), *a, b, *c, d, *e)


def inception_v4() -> nn.Module:
    seven, three = ((1, 7), (7, 1)), ((1, 3), (3, 1))
    stem = [
        conv(3, 2, 0),
        conv(3, 1, 0),
        conv(3),
        Branches(nn.MaxPool2d(3, 2), conv(3, 2, 0)),
        Branches(nn.Sequential(conv(1), conv(3, 1, 0)), nn.Sequential(branch(*seven), conv(3, 1, 0))),
        Branches(conv(3, 2, 0), nn.MaxPool2d(3, 2)),
    ]
    a = [Branches(conv(1), branch(3), branch(3, 3), pool_branch()) for _ in range(4)]
    to_b = Branches(conv(3, 2, 0), branch(3, 3, reduce=True), nn.MaxPool2d(3, 2))
    b = [Branches(conv(1), branch(*seven), branch(*seven, *seven), pool_branch()) for _ in range(7)]
    to_c = Branches(branch(3, reduce=True), branch(*seven, 3, reduce=True), nn.MaxPool2d(3, 2))
    c = [Branches(conv(1), split_tail(), split_tail(*three), pool_branch()) for _ in range(3)]
    return nn.Sequential(image(), *stem, *a, to_b, *b, to_c, *c)


class Scaled(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + 0.17 * self.body(x))


def inception_resnet_v2() -> nn.Module:
    block35 = [Scaled(Branches(conv(1), branch(3), branch(3, 3))) for _ in range(10)]
    block17 = [Scaled(Branches(conv(1), branch((1, 7), (7, 1)))) for _ in range(20)]
    block8 = [Scaled(Branches(conv(1), branch((1, 3), (3, 1)))) for _ in range(10)]
    mixed_5b = Branches(conv(1), branch(5), branch(3, 3), pool_branch())
    mixed_6a = Branches(conv(3, 2, 0), branch(3, 3, reduce=True), nn.MaxPool2d(3, 2))
    twice = (branch(3, reduce=True) for _ in range(2))
    mixed_7a = Branches(*twice, branch(3, 3, reduce=True), nn.MaxPool2d(3, 2))
    return nn.Sequential(image(), *_stem_v3(), mixed_5b, *block35, mixed_6a, *block17, mixed_7a, *block8)
