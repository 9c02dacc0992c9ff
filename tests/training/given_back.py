"""A model with everything that could be left changed, and a record of all of it, for what must leave no trace."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from textbook import made, some_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.training.run import Run


class Tricky(nn.Module):
    """BatchNorm, dropout, a frozen layer, noise of its own and of all three global generators."""

    def __init__(self, raise_at: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.frozen_bn = nn.BatchNorm2d(6)
        self.frozen_bn.requires_grad_(False)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(6 * 36, 10)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(2), persistent=False)
        self.generator = torch.Generator().manual_seed(3)
        self.rng = np.random.default_rng(4)
        self.raise_at = raise_at

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.replaced = self.replaced + 1
            if self.calls == self.raise_at:
                raise LookupError("the k-th step")
        x = x + 1e-3 * (random.random() + np.random.rand() + self.rng.random())
        x = x + 1e-3 * torch.rand(1) + 1e-3 * torch.rand(1, generator=self.generator)
        return self.fc(self.drop(F.relu(self.frozen_bn(self.bn(self.conv(x))))).flatten(1))


def tricky(raise_at: int = 0) -> Tricky:
    """In mixed modes, with gradients and running statistics that are not fresh."""
    model = made(lambda: Tricky(raise_at))
    model.train()
    for _ in range(3):
        model.bn(torch.randn(8, 6, 4, 4))
    model.frozen_bn.eval()
    model.drop.eval()
    model.conv.weight.grad = torch.randn_like(model.conv.weight)
    return model


class Facts:  # noqa: PLW1641  # compared, never put in a set
    """Everything that a sweep could change, copied with no help of the code under test."""

    def __init__(self, model: Tricky, loader: DataLoader[Any] | None, run: Run | None) -> None:
        self.parts: list[Any] = [value.clone() for value in model.state_dict().values()]
        self.parts += [model.replaced.clone()]
        self.parts += [[m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]]
        self.parts += [p.grad if p.grad is None else p.grad.clone() for p in model.parameters()]
        self.parts += [[id(p.grad) for p in model.parameters()], [id(b) for b in model.buffers()]]
        self.parts += [[(p.data_ptr(), p.stride(), p.device) for p in model.parameters()], model.drop.p]
        self.parts += [torch.get_rng_state(), random.getstate(), repr(np.random.get_state())]
        self.parts += [model.generator.get_state(), repr(model.rng.bit_generator.state)]
        if loader is not None:
            self.parts += [loader.generator.get_state()]
        if run is not None:
            state = run.optimizer.state_dict()
            self.parts += [repr(state["param_groups"])]
            self.parts += [value.clone() for values in state["state"].values() for value in values.values()]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Facts)
        pairs = zip(self.parts, other.parts, strict=True)
        return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def a_loader() -> DataLoader[Any]:
    digits = some_digits(120).train
    return DataLoader(TensorDataset(digits.x, digits.y), 16, shuffle=True, generator=torch.Generator().manual_seed(9))


def stop_after(count: int) -> Callable[[], bool]:
    asked = iter(range(10**6))
    return lambda: next(asked) >= count


def interrupt_after(count: int) -> Callable[[], bool]:
    asked = iter(range(10**6))

    def ask() -> bool:
        if next(asked) >= count:
            raise KeyboardInterrupt
        return False

    return ask
