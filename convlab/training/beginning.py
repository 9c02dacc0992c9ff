"""What a run began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from convlab.models.blueprint import blueprint
from convlab.models.borrow import Snapshot, snapshot
from convlab.training.saved_state import names_of


@dataclass(frozen=True, eq=False)
class Beginning:
    """The first weights, their names, and the layers where they are torch's own; the network may be edited since."""

    weights: Snapshot
    names: Mapping[int, str]
    blueprint: dict[str, Any] | None

    @classmethod
    def of(cls, model: nn.Module) -> Beginning:
        """As `model` is now."""
        return cls(snapshot(model), names_of(model), blueprint(model))
