"""What was seen, why it matters, and what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from convlab.data.resolve import Data
from convlab.models.live import Edit, bind
from convlab.spec import TrainSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Confidence = Literal["sure", "likely", "possible"]
Floats = npt.NDArray[np.float64]


def named(path: str) -> str:
    """A layer in a sentence: a number alone would read as a quantity.

    Example:
        >>> named("conv1"), named("0"), named("body.2")
        ('conv1', 'layer 0', 'layer body.2')
    """
    return f"layer {path}" if path[-1:].isdigit() and path.rpartition(".")[2].isdigit() else path


@dataclass(frozen=True)
class Remedy:
    """One thing to try.

    Attributes:
        text: in words.
        changes: arguments of `TrainSpec` that do it.
        edits: of the network, one after the other.
        data: what makes other data of these.
    """

    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    data: Callable[[Data], Data] | None = None

    @property
    def can_be_applied(self) -> bool:
        """Whether more than words can be offered."""
        return bool(self.changes or self.edits or self.data)

    def applied(self, spec: TrainSpec) -> TrainSpec:
        """The recipe with it.

        Example:
            >>> Remedy("a tenth of the learning rate", {"lr": 0.005}).applied(TrainSpec()).lr
            0.005
        """
        return spec.changed(**self.changes)

    def edit(self, model: nn.Module, input_size: tuple[int, ...]) -> None:
        """Make its edits on a model, in place; `input_size` is one sample's.

        Raises:
            EditError: the model does not take one of them.
        """
        if self.edits:
            live = bind(model, (1, *input_size))
            for edit in self.edits:
                live.apply(edit)


@dataclass(frozen=True, eq=False)
class Exhibit:
    """Numbers to be drawn: lines over `x`, or bars with a label each.

    Attributes:
        title: what is drawn.
        x: where, shape (points,); or the labels of bars.
        series: the values by name, each of shape (points,).
        xlabel, ylabel: of the axes, with units.
        level: a value to hold them against, by name.
        log: whether the values are told apart by their ratios.
    """

    title: str
    x: Floats | tuple[str, ...]
    series: Mapping[str, Floats]
    xlabel: str
    ylabel: str
    level: tuple[str, float] | None = None
    log: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that a rule saw.

    Attributes:
        rule: its name.
        seen: what, with its numbers.
        why: why it matters.
        remedy: what to try first.
        confidence: how sure the rule is.
        source: where the rule comes from.
        evidence: the numbers, by name.
        picture: what shows it.
    """

    rule: str
    seen: str
    why: str
    remedy: Remedy
    confidence: Confidence
    source: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    picture: Exhibit | None = field(default=None, repr=False, compare=False)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what shows it, on `ax` or on a figure of its own; return the axes.

        Raises:
            ValueError: there is nothing to draw, as where a run failed in its first epoch.
        """
        from convlab.plots.finding import plot_finding

        return plot_finding(self, ax)

    def __str__(self) -> str:
        return f"{self.seen} {self.why} Try {self.remedy.text}. ({self.confidence}; {self.source})"
