"""Networks that a worker imports by name."""

import time

from torch import Tensor, nn


def little(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10))


def takes_no_pictures(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 10))


def fails(width: int = 4) -> nn.Module:
    raise OSError(f"no weights for width={width}")


def refuses_odd(width: int = 4) -> nn.Module:
    if width % 2:
        raise ValueError(f"width must be even, got {width}; try width={width + 1}.")
    return little(width)


class Slow(nn.Module):
    """A network that takes its time, so that a test can come between."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__()
        self.layers, self.seconds = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), seconds

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            time.sleep(self.seconds)
        return self.layers(x)


def slow(seconds: float = 0.05) -> nn.Module:
    return Slow(seconds)
