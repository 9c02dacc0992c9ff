"""Chains of layers, in one, two and three dimensions, with every kind of padding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, entry, unit


@entry("plain", (1, 1, 28, 28), "global", "no nominal")
def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 3, 5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 5),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(100, 12),
        nn.Sigmoid(),
        nn.Linear(12, 10),
    )


@entry("plain", (1, 3, 67, 71), size=195, jump=32)
def alexnet_features():
    return nn.Sequential(
        nn.Conv2d(3, 4, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        *(layer for _ in range(3) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())),
        nn.MaxPool2d(3, 2, padding=1),
    )


@entry("plain", (1, 3, 33, 30), size=44, jump=8)
def vgg_three_blocks():
    layers = []
    for depth in (2, 2, 3):
        for _ in range(depth):
            layers += [nn.Conv2d(3 if not layers else 4, 4, 3, padding=1), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@entry("plain", (1, 3, 31, 37), size=26, jump=6)
def strides_kernels_and_paddings():
    return nn.Sequential(
        nn.Conv2d(3, 3, 2, stride=3),
        nn.Conv2d(3, 3, 4, padding=3),
        nn.AvgPool2d(4, 2, padding=1, count_include_pad=False),
        nn.Conv2d(3, 3, 1, padding=1),
        nn.Conv2d(3, 3, 2, bias=False),
    )


@entry("plain", (1, 3, 25, 27), size=7, jump=4)
def stride_larger_than_kernel():
    return nn.Sequential(nn.Conv2d(3, 3, 3, stride=2), nn.Conv2d(3, 2, 1), nn.MaxPool2d(3, 2), nn.Conv2d(2, 2, 1))


@entry("plain", (1, 2, 24, 26), size=13, jump=8)
def gaps_between_fields():
    return nn.Sequential(nn.Conv2d(2, 2, 1, stride=4), nn.Conv2d(2, 2, 2), nn.Conv2d(2, 2, 3, stride=2, padding=1))


@entry("asymmetric", (1, 2, 21, 26), size=(7, 11), jump=(2, 1))
def asymmetric_kernels():
    return nn.Sequential(
        nn.Conv2d(2, 3, (1, 7), padding=(0, 3)),
        nn.Conv2d(3, 3, (5, 1), stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(3, 2, (2, 3), padding=(1, 2), dilation=(1, 2)),
    )


@entry("same", (1, 2, 19, 22), size=14, jump=1)
def padding_same():
    return nn.Sequential(
        nn.Conv2d(2, 3, 4, padding="same"),
        nn.Conv2d(3, 3, 2, padding="same"),
        nn.Conv2d(3, 3, 4, padding="same", dilation=3),
        nn.Conv2d(3, 2, 1, padding="valid"),
    )


@entry("dilated", (1, 2, 41, 44), size=37, jump=1)
def dilation_in_sequence():
    return nn.Sequential(*(unit(2, 2, d=d) for d in (1, 2, 5, 9, 1)))


@entry("dilated", (1, 2, 17, 20), size=11, jump=1)
def dilation_sees_only_the_border():
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding=5, dilation=5), nn.ReLU())


@entry("dilated", (1, 2, 26, 23), size=17, jump=2)
def dilation_wider_than_padding():
    return nn.Sequential(
        nn.Conv2d(2, 2, 3, 2, padding=2, dilation=3),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
        nn.MaxPool2d(2, 1, dilation=1),
    )


@entry("dilated", (1, 2, 30, 30), size=9, jump=2)
def dilated_max_pool():
    return nn.Sequential(nn.MaxPool2d(3, 2, padding=1, dilation=2), nn.Conv2d(2, 2, 3, padding=1))


@entry("grouped", (1, 4, 18, 21), size=9, jump=2)
def grouped_and_depthwise():
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(8, 8, 3, 2, padding=1, groups=8),
        nn.Conv2d(8, 4, 1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
    )


@entry("ceil_mode", (1, 2, 23, 26), size=9, jump=4)
def ceil_mode_pools():
    return nn.Sequential(
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(2, 2, 1), nn.AvgPool2d(4, 2, padding=1, ceil_mode=True)
    )


@entry("ceil_mode", (1, 2, 29, 30), size=14, jump=6)
def ceil_mode_drops_a_window():
    return nn.Sequential(
        nn.MaxPool2d(2, 2, padding=1, ceil_mode=True),
        nn.Conv2d(2, 2, 3),
        nn.AvgPool2d(2, 3, ceil_mode=True),
        nn.LPPool2d(2, 2, 1),
    )


@entry("padding mode", (1, 2, 16, 19), "local|irregular")
def reflect_and_replicate():
    return nn.Sequential(
        nn.Conv2d(2, 2, 5, padding=2, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate"),
        nn.ReflectionPad2d((3, 1, 0, 2)),
        nn.ReplicationPad2d(1),
        nn.Conv2d(2, 2, 3, stride=2),
    )


@entry("padding mode", (1, 2, 16, 19), "local|irregular")
def circular():
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), nn.Conv2d(2, 2, 3))


@entry("padding mode", (1, 2, 16, 19), size=5, jump=2)
def zero_and_constant_pad_layers():
    return nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 3)), nn.Conv2d(2, 2, 3, 2), nn.ConstantPad2d((-1, 2, 0, -1), 1.0), nn.AvgPool2d(2, 1)
    )


@entry("transposed", (1, 3, 9, 8))
def gan_generator():
    return nn.Sequential(
        nn.ConvTranspose2d(3, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.ConvTranspose2d(4, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.ConvTranspose2d(4, 3, 3, 1, 1),
        nn.Tanh(),
    )


@entry("transposed", (1, 6, 1, 1))
def gan_generator_from_a_vector():
    return nn.Sequential(nn.ConvTranspose2d(6, 4, 4), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1), nn.Tanh())


@entry("transposed", (1, 2, 11, 9), size=3, jump=1)
def transposed_then_strided():
    return nn.Sequential(nn.ConvTranspose2d(2, 2, 2, 2), nn.Conv2d(2, 2, 4, 2, 1))


@entry("transposed", (1, 2, 9, 10))
def transposed_with_every_option():
    return nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, stride=3, padding=2, output_padding=2, dilation=2, groups=2),
        nn.ConvTranspose2d(4, 2, (2, 5), stride=(1, 2), padding=(0, 1)),
        nn.Conv2d(2, 2, 3),
    )


@entry("transposed", (1, 2, 9, 10))
def transposed_leaves_holes():
    return nn.ConvTranspose2d(2, 2, 1, stride=2, output_padding=1)


@entry("conv1d", (1, 2, 57), size=43, jump=1)
def wavenet():
    class Gate(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.filter, self.gate = (nn.Conv1d(3, 3, 2, dilation=d) for _ in range(2))
            self.mix, self.d = nn.Conv1d(3, 3, 1), d

        def forward(self, x):
            h = F.pad(x, (self.d, 0))
            return x + self.mix(torch.tanh(self.filter(h)) * torch.sigmoid(self.gate(h)))

    return nn.Sequential(nn.Conv1d(2, 3, 1), *(Gate(d) for d in (1, 2, 4, 8, 16, 1, 2, 4, 4)))


@entry("conv1d", (1, 2, 47), size=29, jump=1)
def causal_temporal():
    class Chomp(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, : -self.n].contiguous()

    layers = []
    for d in (1, 2, 4):
        layers += [nn.Conv1d(2, 2, 3, padding=2 * d, dilation=d), Chomp(2 * d), nn.ReLU()]
        layers += [nn.Conv1d(2, 2, 3, padding=2 * d, dilation=d), Chomp(2 * d), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers)


@entry("conv1d", (1, 2, 64), "local|global", "no nominal")
def speech_commands_m5():
    return Net(
        lambda m, x: m.fc(F.avg_pool1d(m.body(x), m.body(x).shape[-1]).permute(0, 2, 1)).log_softmax(2),
        body=nn.Sequential(nn.Conv1d(2, 3, 8, 4), nn.BatchNorm1d(3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(3, 3, 3)),
        fc=nn.Linear(3, 5),
    )


@entry("conv3d", (1, 1, 9, 13, 12), size=(6, 10, 10), jump=(1, 4, 4))
def c3d():
    return nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d((1, 2, 2)),
        nn.Conv3d(2, 2, (3, 3, 3), padding=1),
        nn.BatchNorm3d(2),
        nn.ReLU(),
        nn.MaxPool3d((2, 2, 2), stride=(1, 2, 2)),
    )


@entry("conv3d", (1, 1, 6, 9, 8), size=(5, 7, 7), jump=(1, 1, 1))
def r2plus1d():
    return nn.Sequential(
        nn.Conv3d(1, 2, (1, 7, 7), padding=(0, 3, 3)),
        nn.ReLU(),
        nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0)),
        nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0)),
    )


@entry("conv3d", (1, 1, 5, 7, 6))
def transposed_3d():
    return nn.Sequential(nn.Conv3d(1, 2, 3, 2, 1), nn.ConvTranspose3d(2, 2, 2, 2), nn.Upsample(scale_factor=(1, 2, 2)))
