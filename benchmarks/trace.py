"""Time of `convlab.trace` against `torchinfo.summary`, by a real forward and on meta, in one interleaved run.

    python benchmarks/trace.py [rounds]

Prints medians in milliseconds, and how many times longer torchinfo takes. Our rows hold receptive fields as well, and
those of every row are read, so that nothing is left lazy. The models stand here, so that no other package is needed.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
import torchinfo
from torch import nn

from convlab.models.trace import trace


class Bottleneck(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or in_channels != 4 * width:
            conv = nn.Conv2d(in_channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet50(nn.Module):
    """He et al. 2015, table 1, with the stride in the 3x3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
            stage = []
            for k in range(blocks):
                stage.append(Bottleneck(channels, width, 2 if k == 0 and i > 1 else 1))
                channels = 4 * width
            setattr(self, f"layer{i}", nn.Sequential(*stage))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )


def ours(model: nn.Module, size: tuple[int, ...]) -> None:
    for record in trace(model, size).rows:
        _ = record.receptive_field


def ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def compare(name: str, make: Callable[[], nn.Module], size: tuple[int, ...], rounds: int) -> None:
    model, on_meta = make().eval(), make().eval().to("meta")
    image = torch.empty(size, device="meta")
    contenders = {
        "convlab.trace": lambda: ours(model, size),
        "torchinfo, real forward": lambda: torchinfo.summary(model, input_size=size, verbose=0, device="cpu"),
        "torchinfo, on meta": lambda: torchinfo.summary(on_meta, input_data=image, verbose=0, device="meta"),
    }
    for call in contenders.values():
        call()
    times: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, call in contenders.items():
            times[contender].append(ms(call))
    median = {contender: statistics.median(values) for contender, values in times.items()}
    print(f"{name}, input {size}, median of {rounds} rounds")
    for contender, value in median.items():
        print(f"  {contender:24} {value:8.2f} ms   {value / median['convlab.trace']:6.2f} x ours")


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    compare("LeNet", lenet, (1, 1, 28, 28), rounds * 4)
    compare("ResNet-50", ResNet50, (1, 3, 224, 224), rounds)


if __name__ == "__main__":
    main()
