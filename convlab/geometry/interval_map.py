"""The interval of input pixels that each unit sees, on an axis without borders."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from convlab.geometry.receptive_field import Jump
from convlab.geometry.stencil import Stencil

_MOST_PHASES = 4096  # beyond this the pattern is longer than any image: nothing a reader could use
_NOTHING = 1 << 30


@dataclass(frozen=True, slots=True)
class IntervalMap:
    """The interval of input pixels that each unit sees, on an axis without borders.

    Unit ``i + period`` sees the interval of unit ``i`` moved on by ``step`` pixels; ``first`` and ``last`` hold the
    inclusive ends for the units of one period. A phase that sees nothing has ``last < first``. This is the r, S, P of
    Araujo et al. (Distill 2019), generalised to rational jumps.

    >>> from convlab.geometry import conv
    >>> (stencil,) = conv(224, kernel_size=7, stride=2, padding=3)
    >>> IntervalMap.pixels(224).through(stencil)
    IntervalMap(first=(-3,), last=(3,), step=2, units=112, skew=0.0)
    """

    first: tuple[int, ...]
    last: tuple[int, ...]
    step: int
    units: int
    skew: float = 0.0

    @classmethod
    def pixels(cls, size: int) -> IntervalMap:
        """Return the map of the input itself: pixel ``i`` sees pixel ``i``."""
        return cls((0,), (0,), 1, size)

    @property
    def period(self) -> int:
        """Number of phases."""
        return len(self.first)

    @property
    def jump(self) -> Jump:
        """Pixels between neighbouring units."""
        if self.period == 1:
            return self.step
        jump = Fraction(self.step, self.period)
        return jump.numerator if jump.denominator == 1 else jump

    @property
    def size(self) -> int:
        """Pixels that a unit sees: of all phases the largest."""
        if self.period == 1:
            return max(0, self.last[0] - self.first[0] + 1)
        return max(0, *(b - a + 1 for a, b in zip(self.first, self.last, strict=True)))

    @property
    def start(self) -> float:
        """Centre of the first unit, where pixel 0 is centred at 0.5."""
        if self.last[0] >= self.first[0]:
            return (self.first[0] + self.last[0] + 1) / 2
        for phase, (a, b) in enumerate(zip(self.first, self.last, strict=True)):
            if b >= a:
                return float(Fraction(a + b + 1, 2) - phase * Fraction(self.step, self.period))
        return 0.5

    def interval(self, unit: int) -> tuple[int, int]:
        """Return first and last pixel of any unit; both may lie outside of the image."""
        turn, phase = divmod(unit, self.period)
        return self.first[phase] + turn * self.step, self.last[phase] + turn * self.step

    def through(self, stencil: Stencil) -> IntervalMap | None:
        """Return the map of the units behind ``stencil``; ``None`` if no regular pattern is left."""
        if not stencil.regular or stencil.step <= 0:
            return None
        if self.period == 1 and stencil.period == 1:
            offsets = stencil.offsets[0]
            first = self.first[0] + self.step * min(offsets)
            last = self.last[0] + self.step * max(offsets)
            return IntervalMap((first,), (last,), self.step * stencil.step, stencil.output_size, self.skew)
        repeats = self.period // gcd(self.period, stencil.step)
        period = stencil.period * repeats
        if period > _MOST_PHASES:
            return None
        step = self.step * (stencil.step * repeats) // self.period
        ends = [self._hull(stencil, unit) for unit in range(period)]
        return _reduced(ends, step, stencil.output_size, self.skew)

    def _hull(self, stencil: Stencil, unit: int) -> tuple[int, int]:
        turn, phase = divmod(unit, stencil.period)
        seen = [self.interval(offset + turn * stencil.step) for offset in stencil.offsets[phase]]
        seen = [(a, b) for a, b in seen if b >= a]
        if not seen:
            return _NOTHING, -_NOTHING
        return min(a for a, _ in seen), max(b for _, b in seen)

    def union(self, other: IntervalMap) -> IntervalMap | None:
        """Return the map of units that see what either sees.

        Misaligned intervals are joined, and ``skew`` says by how much their centres differ. ``None`` if the jumps
        differ: no interval with a constant jump describes such units.
        """
        if self == other:
            return self
        if self.step * other.period != other.step * self.period or self.units != other.units:
            return None
        period = lcm(self.period, other.period)
        if period > _MOST_PHASES:
            return None
        skew = max(self.skew, other.skew)
        ends = []
        for unit in range(period):
            (a, b), (c, d) = self.interval(unit), other.interval(unit)
            if b >= a and d >= c:
                skew = max(skew, abs(a + b - c - d) / 2)
                ends.append((min(a, c), max(b, d)))
            elif b >= a:
                ends.append((a, b))
            else:
                ends.append((c, d) if d >= c else (_NOTHING, -_NOTHING))
        return _reduced(ends, self.step * (period // self.period), self.units, skew)


def _reduced(ends: list[tuple[int, int]], step: int, units: int, skew: float) -> IntervalMap:
    """Write the pattern with its shortest period."""
    whole = len(ends)
    for period in range(1, whole):
        if whole % period or step * period % whole:
            continue
        move = step * period // whole
        if all(
            (ends[i][0] + move, ends[i][1] + move) == ends[i + period] or ends[i][1] < ends[i][0] == ends[i + period][0]
            for i in range(whole - period)
        ):
            ends, step = ends[:period], move
            break
    return IntervalMap(tuple(a for a, _ in ends), tuple(b for _, b in ends), step, units, skew)
