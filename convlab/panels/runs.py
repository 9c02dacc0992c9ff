"""The runs panel: all runs of a bench in a table, their curves on one chart."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

import ipywidgets as widgets

from convlab.frontend.chart import MAX_GHOSTS, LiveChart, Points
from convlab.frontend.runs import Cell, Column, Line, RunsTable
from convlab.frontend.style import Style
from convlab.panels.curve import everything
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.settings import TOOLTIPS
from convlab.spec import TrainSpec
from convlab.training.run import Run
from convlab.training.runs import Runs, facts

RESULTS: Final = (
    Column("run", "Run", "Its name, and whether its curve is drawn below."),
    Column("state", "State", "What it is doing, or how it ended."),
    Column("epochs_done", "Epochs done", "Epochs that have ended.", numeric=True),
    Column("best_valid_loss", "Best loss", "Lowest validation loss of any epoch.", numeric=True),
    Column("valid_accuracy", "Accuracy", "Share of the validation data that is right, last epoch.", numeric=True),
    Column("train_loss", "Train loss", "Training loss of the last epoch.", numeric=True),
    Column("seconds", "Time,\N{NO-BREAK SPACE}s", "Seconds that its epochs took.", numeric=True),
)
ALWAYS: Final = ("optimizer", "lr", "batch_size")
_HELD: Final = ("params", "changes", "model", "data")
_DASH: Final = "-"


class RunsPanel(widgets.VBox):
    """A table of runs that marks what differs from the selected one, and a chart with the curves that are ticked.

    Args:
        runs: tells the runs.
        remove: takes one away.
        busy: tells whether it cannot be taken away just now, as a sentence, else empty.

    Attributes:
        table: the table.
        chart: the selected run's curve, the others' behind it.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.training.fit import fit
        >>> runs = Runs([fit(lenet(), "digits", TrainSpec(epochs=1))])
        >>> panel = RunsPanel(lambda: runs, runs.remove)
        >>> [column for column in panel.columns][:2]
        ['run', 'state']
    """

    def __init__(
        self,
        runs: Callable[[], Runs],
        remove: Callable[[Run], object],
        busy: Callable[[Run], str] = lambda run: "" if run.ended or run.state == "pending" else "It is not over yet.",
    ) -> None:
        self._runs, self._remove, self._busy = runs, remove, busy
        self._numbers: dict[Run, int] = {}
        self._hidden: set[Run] = set()
        self._selected: Run | None = None
        self._drawn: object = None
        self.columns: list[str] = []
        self._messages = Messages()
        self._latest = Latest(self._messages.exception)
        self.table = RunsTable()
        self.table.on_act(self._on_act)
        self.chart = LiveChart()
        self.chart.provider = self._points
        self.line = widgets.Label()
        self.line.add_class("convlab-says")
        super().__init__([Style(), self.line, self.table, self._messages, self.chart])
        self.add_class("convlab").add_class("convlab-runs-panel")
        self._draw()

    @property
    def selected(self) -> Run | None:
        """The run that the others are held against: the one that was chosen, the latest until then."""
        runs = self._runs()
        return self._selected if self._selected in runs else runs[-1] if runs else None

    def select(self, run: Run) -> None:
        """Hold the others against `run`, and draw its curve in front."""
        self._selected = run
        self._draw()

    def refresh(self) -> None:
        """Show what is new, soon and in another thread; may be called from any."""
        self._latest(self._draw)

    def settle(self) -> None:
        """Block until it is shown."""
        self._latest.wait()

    def _on_act(self, what: str, number: int, value: Any) -> None:
        run = next((run for run, own in self._numbers.items() if own == number and run in self._runs()), None)
        if run is None:
            return
        self._messages.clear()
        if what == "select":
            self._selected = run
        elif what == "note":
            run.note = value[:200]
        elif what == "shown":
            (self._hidden.discard if value else self._hidden.add)(run)
        elif why := self._busy(run):
            self._messages.error(f"{run.name} cannot be removed. {why}")
        else:
            self._remove(run)
        self._draw()

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        runs, selected = list(self._runs()), self.selected
        for run in runs:
            self._numbers.setdefault(run, len(self._numbers))
        told = {run: facts(run) for run in runs}
        columns = _columns(list(told.values()))
        self.columns = [column.name for column in columns]
        base = told.get(selected) if selected is not None else None
        lines = [self._line(run, told[run], columns, base) for run in runs]
        self.table.show(columns, lines)
        self.table.selected = self._numbers[selected] if selected is not None else -1
        self.line.value = self._told(runs, selected)
        for part in (self.table, self.chart):
            part.layout.display = None if runs else "none"
        self._draw_curves(runs, selected)

    def _told(self, runs: list[Run], selected: Run | None) -> str:
        if selected is None:
            return "No runs yet: press Run on the Training tab, or compare two settings below."
        if len(runs) == 1:
            return f"So far there is only {selected.name}. With a second run, what differs between them is marked."
        left_out = len(self._ticked(runs, selected)) - MAX_GHOSTS
        return (
            f"Held against {selected.name}: settings that differ from its own are marked. Press another run's name to "
            "hold the others against that one; press a head to sort."
            + (f" The chart has no room for {left_out} of the runs: untick some." if left_out > 0 else "")
        )

    def _ticked(self, runs: list[Run], selected: Run | None) -> list[Run]:
        return [run for run in runs if run is not selected and run not in self._hidden]

    def _line(self, run: Run, row: dict[str, Any], columns: list[Column], base: dict[str, Any] | None) -> Line:
        results = {column.name for column in RESULTS}
        cells = []
        for column in columns:
            value = row[column.name]
            differs = base is not None and column.name not in results and base[column.name] != value
            was = _text(column.name, base[column.name]) if differs and base is not None else ""
            cells.append(Cell(_text(column.name, value), _key(value), differs, was))
        why = self._busy(run)
        shown, came_from = run not in self._hidden, f"Forked from {row['parent']}." if row["parent"] else ""
        return Line(self._numbers[run], run.name, tuple(cells), shown, run.note, not why, why, came_from)

    def _draw_curves(self, runs: list[Run], selected: Run | None) -> None:
        others = self._ticked(runs, selected)[-MAX_GHOSTS:]
        front = None if selected in self._hidden else selected
        drawn = [(run and (id(run), run.history.num_steps, run.history.num_epochs)) for run in (front, *others)]
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self.chart.title = front.name if front is not None else ""
        self.chart.replace(self._points())
        self.chart.set_ghosts([{"name": run.name, "series": everything(run.history)} for run in others])

    def _points(self) -> dict[str, Points]:
        run = self.selected
        return {} if run is None or run in self._hidden else everything(run.history)


def _columns(rows: list[dict[str, Any]]) -> list[Column]:
    """Results, then those settings that are always asked for or not the same in all runs."""
    settings = [field.name for field in fields(TrainSpec)]
    shown = list(RESULTS)
    for name in (*settings, *_HELD):
        if name in ALWAYS or len({repr(row[name]) for row in rows}) > 1:
            numeric = all(isinstance(row[name], int | float) for row in rows)
            shown.append(Column(name, _label(name), _tooltip(name), numeric))
    return shown


def _label(name: str) -> str:
    words = "parameters" if name == "params" else name.replace("_", " ")
    return words if name == "lr" else words.capitalize()


def _tooltip(name: str) -> str:
    if name in TOOLTIPS:  # the first sentence says what it is, the others when it can be moved
        return TOOLTIPS[name].partition(". ")[0].rstrip(".") + ", as the run began."
    return _TOOLTIPS.get(name, f"The argument {name} of TrainSpec, as the run began.")


_TOOLTIPS: Final = {
    "changes": "What was changed while it trained, and after which step.",
    "model": "The network's class.",
    "data": "What it was trained on.",
    "params": "Numbers that the network learns or holds fixed.",
}


def _text(name: str, value: object) -> str:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return _DASH
    if name.endswith("accuracy"):
        return f"{value:.1%}"
    if name == "seconds":
        return f"{value:.1f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _key(value: object) -> float | str | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return float(value) if isinstance(value, bool | int | float) else str(value)
