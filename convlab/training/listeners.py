"""Those who watch something, told of it from whichever thread it happens in."""

import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar

Watched = TypeVar("Watched")


class Listeners(Generic[Watched]):
    """Functions that are called with what they watch; one that raises is dropped: watching never harms a run."""

    def __init__(self) -> None:
        self._all: list[Callable[[Watched], None]] = []

    def add(self, listener: Callable[[Watched], None]) -> Callable[[], None]:
        """One more; returns a function that takes it away."""
        self._all.append(listener)
        return lambda: self._forget(listener)

    def __contains__(self, listener: object) -> bool:
        return listener in self._all

    def tell(self, watched: Watched) -> None:
        """Call them all."""
        for listener in tuple(self._all):
            try:
                listener(watched)
            except Exception:  # a broken display must not end a training
                self._forget(listener)

    def _forget(self, listener: Callable[[Watched], None]) -> None:
        with contextlib.suppress(ValueError):  # gone already
            self._all.remove(listener)
