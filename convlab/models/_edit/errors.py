"""Why an edit is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EditError(ValueError):
    """An edit that cannot be, found out before anything has changed.

    ``layer`` is the layer's path, ``reason`` a sentence without its full stop, and ``nearest`` the settings nearest to
    the asked ones that work, such as ``{"kernel_size": 5}``; it is empty where the layer cannot be edited at all.
    ``str(error)`` says all of it.

    Example:
        >>> print(EditError("conv1", "its input is 8 x 8", {"kernel_size": 9}, {"kernel_size": 8}))
        conv1.kernel_size=9 cannot be: its input is 8 x 8; try kernel_size=8.
    """

    def __init__(
        self, layer: str, reason: str, asked: Mapping[str, Any] | None = None, nearest: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(layer, reason)
        self.layer, self.reason, self.asked, self.nearest = layer, reason, dict(asked or {}), dict(nearest or {})

    def __str__(self) -> str:
        where = self.layer or "the model"
        if len(self.asked) == 1:
            where = f"{where}.{listed(self.asked)}"
        elif self.asked:
            where = f"{where} with {listed(self.asked)}"
        try_this = f"; try {listed(self.nearest)}" if self.nearest else ""
        return f"{where} cannot be{'' if self.asked else ' edited'}: {self.reason}{try_this}."


def listed(settings: Mapping[str, Any]) -> str:
    """Settings as one would type them."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


class Refusal(Exception):  # noqa: N818  (it becomes an EditError, once it is known what would work)
    """Why an edit is impossible: at which layer, and which values of the asked setting would do."""

    def __init__(self, reason: str, *, step: int = 0, never: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step
        """Multiples of this would do, 0 if that is not known."""
        self.never = never
        """Whether no other value would."""
