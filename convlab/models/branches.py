"""The two modules that torch has not got for a network with branches; `code` prints their source as it stands here."""

import torch
from torch import Tensor, nn


class Add(nn.ModuleDict):
    """Named branches that all read the same input; their outputs are added."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the two branches make of `x`."""
        first, second = self.values()
        total: Tensor = first(x) + second(x)
        return total


class Concat(nn.ModuleDict):
    """Named branches that all read the same input; their channels are stacked."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Stack what the branches make of `x`, along the channels."""
        return torch.cat([branch(x) for branch in self.values()], dim=1)
