"""What went wrong during a trace, told so that it can be repaired."""

from __future__ import annotations

from typing import Any


class TraceError(ValueError):
    """Why a trace stopped: which layer, what it expected, what it got, and the repair in one sentence.

    ``path`` names the failing layer or function, ``expected`` and ``got`` are what did not fit (``None`` if the
    failure was no misfit of shapes), ``repair`` is a sentence such as "fc1.in_features should be 1568, is 400".
    ``str(error)`` is a sentence with all of it. The exception that torch or the model raised, if any, is the
    ``__cause__``.
    """

    def __init__(self, path: str, repair: str, *, expected: Any = None, got: Any = None, kind: str = "") -> None:
        super().__init__(path, repair)
        self.path, self.repair, self.expected, self.got, self.kind = path, repair, expected, got, kind

    def __str__(self) -> str:
        where = self.path or "the model"
        if self.expected is None:
            return f"{where}: {self.repair}"
        return f"{where} expected {self.expected}, got {self.got}: {self.repair}"


class Misfit(Exception):  # noqa: N818  (it is no failure of the tracer)
    """Shapes that do not fit, found by a rule; ``repair`` has ``{path}`` where the layer's name belongs."""

    def __init__(self, expected: Any, got: Any, repair: str) -> None:
        super().__init__(repair)
        self.expected, self.got, self.repair = expected, got, repair


class Leak(Exception):  # noqa: N818
    """A tensor came out of something that no mode saw (TorchScript, an extension): watch the lower level throughout."""


class NeedsValues(Exception):  # noqa: N818
    """The forward asked for the value of an activation: only a real forward can answer."""


class NoBatch(Exception):  # noqa: N818
    """An input without a batch dimension went into a layer that takes it so: its spatial axes are others."""
