"""What a run began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from convlab.models.blueprint import blueprint
from convlab.models.borrow import Snapshot, snapshot
from convlab.training.saved_state import names_of
from convlab.training.script_start import Start


@dataclass(frozen=True, eq=False)
class Beginning:
    """The first weights, their names, and the layers where they are torch's own; the network may be edited since.

    ``start`` is the same for a script, which shares the weights.
    """

    weights: Snapshot
    names: Mapping[int, str]
    blueprint: dict[str, Any] | None
    start: Start

    @classmethod
    def of(cls, model: nn.Module, dropouts: Mapping[nn.modules.dropout._DropoutNd, float] | None = None) -> Beginning:
        """As `model` is now; `dropouts` as of `Start.of`."""
        weights = snapshot(model)
        return cls(weights, names_of(model), blueprint(model), Start.of(model, weights, dropouts))
