"""Which input indices each output index of one operation reads, along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Border: TypeAlias = Literal["zeros", "replicate", "reflect", "circular"]


@dataclass(frozen=True, slots=True)
class Stencil:
    """Which input indices each output index reads, along one axis.

    Output ``i`` reads the inputs ``offset + (i // period) * step`` for each ``offset`` in ``offsets[i % period]``. An
    index outside of the input is folded back as ``border`` says; with ``"zeros"`` nothing is read there. One stencil
    thus describes a convolution (period 1, step = stride), a transposed one (period = stride, step 1), and adaptive
    pooling or resampling by any ratio.

    ``regular`` is ``False`` where the offsets merely list each output (period = output_size): nothing is then known
    beyond this input size.

    >>> Stencil(input_size=5, output_size=3, offsets=((-1, 0, 1),), step=2).taps(0)
    (0, 1)
    """

    input_size: int
    output_size: int
    offsets: tuple[tuple[int, ...], ...]
    step: int
    border: Border = "zeros"
    regular: bool = True

    @property
    def period(self) -> int:
        """Number of outputs after which the pattern repeats."""
        return len(self.offsets)

    @property
    def is_identity(self) -> bool:
        """Whether output ``i`` reads input ``i`` and nothing else."""
        return self.input_size == self.output_size and self.step == 1 and self.offsets == ((0,),)

    def taps(self, output: int) -> tuple[int, ...]:
        """Return the input indices, ascending, that one output index reads; none if it lies wholly in padding."""
        turn, phase = divmod(output, self.period)
        reached = {self._fold(offset + turn * self.step) for offset in self.offsets[phase]}
        return tuple(sorted(tap for tap in reached if 0 <= tap < self.input_size))

    def _fold(self, tap: int) -> int:
        size = self.input_size
        if self.border == "zeros" or 0 <= tap < size:
            return tap
        if self.border == "replicate":
            return min(max(tap, 0), size - 1)
        if self.border == "circular":
            return tap % size
        turn = max(2 * (size - 1), 1)
        tap = abs(tap) % turn
        return turn - tap if tap >= size else tap
