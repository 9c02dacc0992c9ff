"""The receptive field of a layer's units, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

Reach: TypeAlias = Literal["local", "global", "irregular"]
Jump: TypeAlias = int | Fraction


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What the units of a layer see of the input, one value for each spatial axis of the input, in input pixels.

    ``size``
        Number of pixels that a unit sees, borders left aside; with several phases the largest.
    ``jump``
        Distance in pixels between neighbouring units (the effective stride): an ``int``, or a ``Fraction`` after
        upsampling. ``None`` where the units do not lie at a constant distance.
    ``start``
        Centre of the first unit, where input pixel 0 is centred at 0.5. ``None`` where ``jump`` is.
    ``reach``
        ``"local"``; ``"global"`` if some path mixes the whole axis (the other values then describe the local path);
        ``"irregular"`` if the dependency is no interval with a constant jump (``size`` is then the largest extent
        found in this input, and only the exact boxes say which pixels).
    ``skew``
        Largest distance in pixels between the centres of paths that were merged; 0 where branches are aligned.
    ``phases``
        After how many units the pattern of sizes repeats; 1 except after upsampling.

    The terms are those of Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Networks", Distill 2019.
    """

    size: tuple[int, ...]
    jump: tuple[Jump | None, ...]
    start: tuple[float | None, ...]
    reach: tuple[Reach, ...]
    skew: tuple[float, ...]
    phases: tuple[int, ...]

    def __str__(self) -> str:
        sizes = " x ".join(map(str, self.size))
        if len(set(self.reach)) == 1:
            return sizes if self.reach[0] == "local" else f"{self.reach[0]} ({sizes})"
        words = (str(n) if r == "local" else f"{r} ({n})" for n, r in zip(self.size, self.reach, strict=True))
        return " x ".join(words) or "-"
