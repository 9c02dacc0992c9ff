"""A table of runs in the page."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anywidget
import traitlets

from convlab.frontend._asset import asset

Listener = Callable[[str, int, Any], None]


@dataclass(frozen=True)
class Column:
    """A column: its name, what stands at its head, what that means, and whether its cells are numbers."""

    name: str
    label: str
    tooltip: str
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, by what it is sorted, and what the selected run has there where it differs."""

    text: str
    sort: float | str | None
    differs: bool = False
    was: str = ""


@dataclass(frozen=True)
class Line:
    """One run: its number, its cells, whether its curve is drawn, its note, why it cannot be removed if so, and what
    else there is to know of it.
    """

    id: int
    name: str
    cells: tuple[Cell, ...]
    shown: bool
    note: str
    removable: bool
    why: str = ""
    about: str = ""


class RunsTable(anywidget.AnyWidget):
    """Runs, one a line; sorting is the page's, all else is told to `on_act`. A column ``"run"`` holds the names.

    Attributes:
        selected: the number of the run that the others are held against.

    Example:
        >>> table = RunsTable()
        >>> line = Line(0, "run 1", (Cell("0.1", 0.1),), shown=True, note="", removable=True)
        >>> table.show([Column("lr", "lr", "Learning rate.", numeric=True)], [line])
        >>> [line["name"] for line in table.lines]
        ['run 1']
    """

    _esm = asset("runs.js")
    _css = asset("runs.css")

    columns = traitlets.Unicode("[]").tag(sync=True)
    rows = traitlets.Unicode("[]").tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._act: Listener = _nobody
        self.on_msg(self._told)

    def show(self, columns: Sequence[Column], lines: Sequence[Line]) -> None:
        """Draw these lines."""
        with self.hold_sync():
            self.columns = json.dumps([asdict(one) for one in columns])
            self.rows = json.dumps([asdict(one) for one in lines])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines as the page has them."""
        lines: list[dict[str, Any]] = json.loads(self.rows)
        return lines

    def on_act(self, act: Listener) -> None:
        """Call ``act(what, run, value)``: ``"select"``, ``"shown"`` (bool), ``"note"`` (text), ``"remove"``."""
        self._act = act

    def _told(self, _: Any, content: dict[str, Any], __: Any) -> None:
        kind, value = str(content.get("type")), content.get("value")
        run: Any = content.get("run")
        wanted = {"select": type(None), "shown": bool, "note": str, "remove": type(None)}
        # What comes from a page is not trusted.
        known = isinstance(run, int) and run in [line["id"] for line in self.lines]
        if known and kind in wanted and isinstance(value, wanted[kind]):
            self._act(kind, run, value)


def _nobody(what: str, run: int, value: Any) -> None:
    """Nobody listens yet."""
