"""What a user brings along, in a module that knows nothing of this package: a network, data, a criterion."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
X = (X / 16).float().reshape(-1, 1, 8, 8)


class Pictures(Dataset):
    """Map-style, with noise drawn for each sample."""

    def __init__(self, start: int, stop: int) -> None:
        self.x, self.y = X[start:stop], y[start:stop]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index] + 0.1 * torch.randn(1, 8, 8), int(self.y[index])


def sets() -> tuple[Dataset, Dataset]:
    return Pictures(0, 90), Pictures(90, 130)


def loaders() -> tuple[DataLoader, DataLoader]:
    train, valid = sets()
    return DataLoader(train, batch_size=13, shuffle=True), DataLoader(valid, batch_size=20)


def numbers() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Regression: how much ink a digit takes."""
    ink = X.mean((1, 2, 3))
    return (X[:90], ink[:90]), (X[90:130], ink[90:130])


def softened(output: Tensor, target: Tensor) -> Tensor:
    """A criterion of one's own, which draws, too."""
    return F.cross_entropy(output + 0.01 * torch.randn_like(output), target)


class Net(nn.Module):
    """A sum of two branches, a layer in two places, dropout, BatchNorm."""

    def __init__(self, width: int = 6, outputs: int = 10) -> None:
        super().__init__()
        self.width, self.outputs = width, outputs
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.act = self.same_act = nn.ReLU()
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(x))
        return self.head(self.same_act(self.norm(x + self.conv2(x))))
