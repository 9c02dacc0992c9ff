"""A confusion matrix in the page."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import traitlets

from convlab.frontend._asset import asset

Pick = Callable[[int, int], None]


class ConfusionGrid(anywidget.AnyWidget):
    """How many samples of each class (rows) were taken for each (columns); a press on a cell picks it.

    Attributes:
        classes: their names.
        counts: JSON, shape (classes, classes).
        picked: row and column of the cell that was picked last; empty before.

    Example:
        >>> grid = ConfusionGrid()
        >>> grid.show(["cat", "dog"], [[5, 1], [0, 6]])
        >>> grid.counts
        '[[5, 1], [0, 6]]'
    """

    _esm = asset("confusion.js")
    _css = asset("confusion.css")

    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    counts = traitlets.Unicode("[]").tag(sync=True)
    picked = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._pick: Pick = _nobody
        self.on_msg(self._told)

    def show(self, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """Draw these numbers."""
        with self.hold_sync():
            if list(classes) != self.classes:
                self.picked = []
            self.classes = list(classes)
            self.counts = json.dumps([list(map(int, row)) for row in counts])

    def on_pick(self, pick: Pick) -> None:
        """Call ``pick(row, column)`` when a cell was picked."""
        self._pick = pick

    def pick(self, row: int, column: int) -> None:
        """Pick a cell, as a press on it does."""
        self.picked = [row, column]
        self._pick(row, column)

    def _told(self, _: Any, content: dict[str, Any], __: Any) -> None:
        cell, size = (content.get("row"), content.get("column")), len(self.classes)
        # What comes from a page is not trusted.
        if content.get("type") == "pick" and all(isinstance(one, int) and 0 <= one < size for one in cell):
            self.pick(content["row"], content["column"])


def _nobody(row: int, column: int) -> None:
    """Nobody listens yet."""
