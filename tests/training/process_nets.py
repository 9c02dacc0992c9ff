"""Networks for trainings in several processes, which import them from here, and a parent to be killed."""

import hashlib
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from textbook import some_digits
from torch import Tensor, nn


def plain() -> nn.Module:
    """Nothing in it draws, or looks at more than one sample."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 6, 3, padding=1)
    return nn.Sequential(
        conv, nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 16), nn.Tanh(), nn.Linear(16, 10)
    )


class Telling(nn.Module):
    """With dropout and BatchNorm; each process writes down what it draws, and its values where it validates."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.folder = folder
        self.first, self.norm, self.last = nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.norm(self.first(x.flatten(1))).relu(), 0.3, self.training)
        if self.training:
            time.sleep(0.01)
            self.tell("drawn", hashlib.sha256((x == 0).numpy().tobytes()))
        else:
            values = hashlib.sha256()
            for one in (*self.parameters(), *self.buffers()):
                values.update(one.detach().numpy().tobytes())
            self.tell("values", values)
        return self.last(x)

    def tell(self, what: str, digest: "hashlib._Hash") -> None:
        """Write it down."""
        if "RANK" in os.environ:
            with (self.folder / f"{what}-{os.environ['RANK']}").open("a") as file:
                file.write(f"{digest.hexdigest()}\n")


class PlantedError(Exception):
    """Raised by `Failing`."""


class Failing(nn.Module):
    """Fails in one process in its sixth step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.steps = nn.Linear(64, 10), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        if self.steps == 6 and os.environ.get("RANK") == "1":
            raise PlantedError(f"planted in step {self.steps}")
        return self.last(x.flatten(1))


class Slow(nn.Module):
    """Takes its time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return self.last(x.flatten(1))


if __name__ == "__main__":
    from convlab import TrainSpec, fit

    # A class of the main module, as a notebook's are, goes along as it is.
    fit(Slow(), some_digits(96), TrainSpec(epochs=10_000), processes=2)
    sys.exit("it was not killed")
