"""What was seen, why it matters, and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from convlab.spec import TrainSpec

Confidence = Literal["sure", "likely", "possible"]


@dataclass(frozen=True)
class Remedy:
    """One thing to try.

    Attributes:
        text: in words.
        changes: arguments of `TrainSpec` that do it; empty where it is not a setting.
    """

    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, spec: TrainSpec) -> TrainSpec:
        """The recipe with it.

        Example:
            >>> Remedy("a tenth of the learning rate", {"lr": 0.005}).applied(TrainSpec()).lr
            0.005
        """
        return spec.replace(**self.changes)


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
    """

    rule: str
    seen: str
    why: str
    remedy: Remedy
    confidence: Confidence
    source: str
    evidence: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.seen} {self.why} Try {self.remedy.text}. ({self.confidence}; {self.source})"
