"""The loop that every tutorial teaches, to which a run is held bit for bit, and what tests share around it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.data import Data, resolve
from convlab.spec import TrainSpec


def textbook_optimizer(params: list[nn.Parameter], spec: TrainSpec) -> torch.optim.Optimizer:
    if spec.optimizer == "rmsprop":
        return torch.optim.RMSprop(params, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    common = {"lr": spec.lr, "weight_decay": spec.weight_decay, "fused": True}
    if spec.optimizer == "sgd":
        return torch.optim.SGD(params, momentum=spec.momentum, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.optimizer](params, betas=spec.betas, **common)


def textbook(
    model: nn.Module, x: Tensor, y: Tensor, spec: TrainSpec, criterion: Callable[[Tensor, Tensor], Tensor] | None = None
) -> list[float]:
    """Train `model` as PyTorch's tutorials do; the loss of every step."""
    criterion = criterion or nn.CrossEntropyLoss(label_smoothing=spec.label_smoothing)
    torch.manual_seed(spec.seed)
    loader = DataLoader(TensorDataset(x, y), batch_size=spec.batch_size, shuffle=True)
    optimizer = textbook_optimizer([p for p in model.parameters() if p.requires_grad], spec)
    losses = []
    model.train()
    for _ in range(spec.epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            if spec.clip_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), spec.clip_grad_norm)
            optimizer.step()
            losses.append(loss.item())
    return losses


def some_digits(count: int = 200) -> Data:
    """The first digits of the built-in data set: real, and quick."""
    train = resolve("digits").train
    return resolve(((train.x[:count], train.y[:count]), (train.x[-100:], train.y[-100:])))


class Regularised(nn.Module):
    """A class of a user's own, with every kind of dropout, BatchNorm, and dropout by function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.drop2d = nn.Dropout2d(0.1)
        self.drop = nn.Dropout(0.3)
        self.fc1 = nn.Linear(8 * 16, 32)
        self.bn1 = nn.BatchNorm1d(32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop2d(F.relu(self.bn(self.conv(x))))
        x = self.drop(F.max_pool2d(x, 2).flatten(1))
        x = F.dropout(F.relu(self.bn1(self.fc1(x))), 0.2, self.training)
        return self.fc2(x)


def made(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A model with the same initial weights each time."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build()


def state_of(model: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Equal bit for bit."""
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
