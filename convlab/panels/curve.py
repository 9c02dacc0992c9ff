"""The live curve: what a run has recorded since the last look, sent to the chart."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from convlab.frontend.chart import LiveChart, Points
from convlab.panels.latest import Latest
from convlab.training.history import EpochRecord, History
from convlab.training.run import Run

POINTS: Final = 4000
"""Most points of a curve that are sent at once; the extremes of what is left out stay."""

MOVE_THE_PLAN: Final = ("lr", "schedule", "schedule_mode", "epochs", "batch_size")

DRAG_SECONDS: Final = 0.8
"""Changes of one setting closer than this are one movement of a hand, and get one mark."""


class Curve:
    """Binds the chart to one run after another; earlier runs stay as ghosts."""

    def __init__(self) -> None:
        self.chart = LiveChart()
        self.chart.provider = self._everything
        # Stepping a long schedule takes a third of a second, which the training must not wait for.
        self._planner = Latest(_fail)
        self._ghosts: list[tuple[str, History]] = []
        # Runs report from threads of their own, Reset comes from whichever thread the kernel chose.
        self._lock = threading.Lock()
        self._begin("", History())

    def _begin(self, name: str, history: History) -> None:
        self._name, self._history = name, history
        self.chart.title = name
        self._rows = self._epochs = self._journaled = 0
        self._stride = 1
        self._last_mark: tuple[str, float, object] = ("", 0.0, None)
        self._plan: Points | None = None

    def clear(self) -> None:
        """Make the present curve a ghost and wait for the next run."""
        with self._lock:
            self._retire()
            self._begin("", History())

    def _retire(self) -> None:
        if self._history.num_steps:
            self._ghosts.append((self._name, self._history))
            self.chart.set_ghosts([{"name": name, "series": everything(old)} for name, old in self._ghosts])
        self.chart.clear()

    def update(self, run: Run) -> None:
        """Send what the run has recorded since the last call; with another run, the one shown becomes a ghost."""
        with self._lock:
            if run.history is not self._history:
                self._retire()
                self._begin(run.name, run.history)
                self._look_ahead(run)
            elif any(change.name in MOVE_THE_PLAN for change in run.journal[self._journaled :]):
                self._look_ahead(run)
            self._send(run.history)
            self._mark(run)

    def _look_ahead(self, run: Run) -> None:
        """Draw the lr that is planned, where a schedule plans it."""
        if run.settings.schedule is None and self._plan is None:
            self.chart.shows_lr = False
            return
        self.chart.shows_lr = True
        self._planner(lambda: self._show_plan(run))

    def _show_plan(self, run: Run) -> None:
        plan = run.plan()
        if not len(plan.steps):
            return
        rows = _thinned({"step": plan.steps.astype(float), "planned_lr": plan.lrs}, "planned_lr")
        with self._lock:
            if run.history is self._history:
                self._plan = rows["step"], rows["planned_lr"]
                self.chart.append("planned_lr", *self._plan)

    def _everything(self) -> dict[str, Points]:
        plan = self._plan
        return everything(self._history) | ({} if plan is None else {"planned_lr": plan})

    def _send(self, history: History) -> None:
        if history.stride != self._stride:
            self._stride = history.stride
            self.chart.replace(self._everything())
            self._rows, self._epochs = len(history.since(0)["step"]), history.num_epochs
        else:
            rows = history.since(self._rows)
            epochs = [record for record in history.epochs if record.epoch > self._epochs]
            self._rows += len(rows["step"])
            self._epochs = epochs[-1].epoch if epochs else self._epochs
            self.chart.extend(_series(rows, epochs))

    def _mark(self, run: Run) -> None:
        new = run.journal[self._journaled :]
        self._journaled += len(new)
        for change in new:
            name, when, old = self._last_mark
            now = time.monotonic()
            if name == change.name and now - when < DRAG_SECONDS and self.chart.marks:
                self.chart.marks = self.chart.marks[:-1]
            else:
                old = change.old
            self._last_mark = (change.name, now, old)
            self.chart.mark(change.step, str(type(change)(change.step, change.name, old, change.new)))


def _fail(error: BaseException) -> None:
    raise error


def everything(history: History) -> dict[str, Points]:
    """A whole history as the chart's series, thinned to `POINTS` by keeping each group's extremes."""
    return _series(_thinned(history.since(0)), history.epochs)


def _series(rows: Mapping[str, np.ndarray], epochs: Iterable[EpochRecord]) -> dict[str, Points]:
    series: dict[str, Points] = {"train_loss": (rows["step"], rows["train_loss"]), "lr": (rows["step"], rows["lr"])}
    records = list(epochs)
    for name in ("train_accuracy", "valid_loss", "valid_accuracy", "epoch"):
        points = [(record.step, getattr(record, name)) for record in records if getattr(record, name) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            series[name] = (steps, values)
    return series


def _thinned(rows: dict[str, np.ndarray], by: str = "train_loss") -> dict[str, np.ndarray]:
    count = len(rows["step"])
    if count <= POINTS:
        return rows
    group = -(-2 * count // POINTS)
    starts = range(0, count, group)
    loss = rows[by]
    low = [start + int(np.argmin(loss[start : start + group])) for start in starts]
    high = [start + int(np.argmax(loss[start : start + group])) for start in starts]
    keep = np.unique([*low, *high, count - 1])
    return {name: column[keep] for name, column in rows.items()}
