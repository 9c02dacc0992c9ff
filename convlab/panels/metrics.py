"""The *Scores* tab: how good each epoch is, and which samples it gets wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import ipywidgets as widgets
import numpy as np

from convlab.data.data import Data
from convlab.frontend.confusion import ConfusionGrid
from convlab.frontend.curves import Curves, Line
from convlab.frontend.style import Style
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.metrics_words import gallery, label, per_class_table, scores_table
from convlab.panels.thumbnail import png
from convlab.training.epoch_metrics import EpochMetrics
from convlab.training.metrics import Metrics
from convlab.training.mistakes import Example, examples
from convlab.training.run import Run

REST_SECONDS: Final = 1.0
"""Shortest time between two drawings while a run is on."""

MOST_CLASSES: Final = 40
"""In the grid: those that are mistaken most."""

MOST_PICTURES: Final = 24
POINTS: Final = 200
"""Of a curve over the epochs."""


class MetricsPanel(widgets.VBox):
    """Scores of the latest epoch and the best, a curve of any of them, and the confusion matrix down to its pictures.

    Args:
        run: tells the run that is shown.
        data: its data.
        is_shown: whether somebody can see it; else nothing is drawn until a look.

    Attributes:
        grid: the confusion matrix.
        pictures: the samples of the cell that was picked, as HTML.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.spec import TrainSpec
        >>> from convlab.training.fit import fit
        >>> run = fit(lenet(), "digits", TrainSpec(epochs=2))
        >>> panel = MetricsPanel(lambda: run, run.data)
        >>> panel.settle()
        >>> panel.said
        'Epoch 2, step 90: 360 validation samples.'
    """

    def __init__(self, run: Callable[[], Run | None], data: Data, is_shown: Callable[[], bool] = lambda: True) -> None:
        self._run, self._data, self._is_shown = run, data, is_shown
        self._drawn: object = None
        self._next = 0.0
        self._following = False
        self._lock = threading.RLock()
        self._shown: EpochMetrics | None = None
        self._labels: tuple[int, ...] = ()
        self.said = ""
        self.line = widgets.Label()
        self.line.add_class("convlab-says")
        self.epoch = widgets.ToggleButtons(
            options=[("Latest epoch", "latest"), ("Best epoch", "best")],
            description="Show",
            tooltips=["The latest epoch, or where one looks back.", "The epoch with the lowest validation loss."],
            style={"button_width": "auto"},
        ).add_class("convlab-scores-epoch")
        self.table = widgets.HTML()
        self.score = widgets.Dropdown(description="Curve of", tooltip="Which score is drawn over the epochs.")
        self.curves = Curves(x_label="epoch", height=180)
        self.grid = ConfusionGrid()
        self.about_grid = widgets.Label()
        self.about_grid.add_class("convlab-says")
        self.pictures = widgets.HTML().add_class("convlab-scores-pictures")
        self.scatter = Curves(x_label="target", y_label="output", height=260)
        self.per_class = widgets.HTML()
        self.calibration = Curves(
            x_label="confidence (probability of what was predicted)", y_label="share right", height=200
        )
        self.messages = Messages()
        self._latest = Latest(self.messages.exception)
        numbers = widgets.VBox([self.table, self.score, self.curves]).add_class("convlab-scores-part")
        self.matrix = widgets.VBox([_head("Confusion matrix"), self.about_grid, self.grid, self.pictures])
        self.against = widgets.VBox([_head("Output against target"), self.scatter])
        self.classes = widgets.VBox([_head("Per class"), self.per_class])
        self.honesty = widgets.VBox([_head("Calibration: is it right as often as it says?"), self.calibration])
        self.body = widgets.HBox([numbers, self.matrix, self.against, self.classes, self.honesty])
        for part in self.body.children:
            part.add_class("convlab-scores-part")
        self.body.add_class("convlab-scores-body")
        super().__init__([Style(), self.line, self.epoch, self.messages, self.body])
        self.add_class("convlab").add_class("convlab-scores")
        self.epoch.layout.display = self.body.layout.display = "none"
        self.epoch.observe(lambda _: self.refresh(), "value")
        self.score.observe(lambda _: None if self._following else self.refresh(), "value")
        self.grid.on_pick(lambda row, column: self._latest.also(lambda: self._show_pictures(row, column)))
        self.refresh()

    def follow(self) -> None:
        """Show what is new, if somebody looks, and not more often than an eye needs; may be called from any thread."""
        run = self._run()
        if not self._is_shown() or (run is not None and run.state == "running" and time.monotonic() < self._next):
            return
        if self._state() != self._drawn:
            self._next = time.monotonic() + REST_SECONDS
            self.refresh()

    def refresh(self) -> None:
        """Show the run as it is, soon and in another thread."""
        if self._is_shown():
            self._latest(self._draw)

    def settle(self) -> None:
        """Block until everything asked for is shown."""
        self._latest.wait()

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _state(self) -> object:
        run = self._run()
        if run is None:
            return None
        # An epoch is in the history before its scores are.
        return run, run.shown_step, run.history.num_epochs, len(run.metrics), run.state

    def _draw(self) -> None:
        self._drawn = self._state()
        run = self._run()
        found, why = self._found(run)
        self._say(found, why)
        with self._lock:
            self._shown = found
        for part in (self.epoch, self.body):
            # What was there once keeps its room, so that the page does not jump while the next run begins.
            part.layout.visibility = "visible" if found is not None else "hidden"
            if found is not None:
                part.layout.display = None
        if run is None or found is None:
            return
        title = f"Epoch {found.epoch}"
        best = run.metrics.best
        self._put(
            self.table, scores_table(found, best if best is not None and best.epoch != found.epoch else None, title)
        )
        self._draw_curve(run)
        self._draw_metrics(found.metrics)

    def _found(self, run: Run | None) -> tuple[EpochMetrics | None, str]:
        """The epoch to show; without one, why."""
        if run is None:
            return None, "No run yet: press Run on the Training tab."
        if run.data.valid is None:
            return None, "Scores need validation data, and there are none: pass data=(train, valid)."
        if not len(run.metrics):
            return None, "The scores come with the end of the first epoch."
        if self.epoch.value == "best" and (best := run.metrics.best) is not None:
            return best, ""
        if run.shown_step is not None:
            at = run.metrics.at(run.shown_step)
            return at, f"No epoch had ended by step {run.shown_step:,}." if at is None else ""
        return run.metrics[-1], ""

    def _say(self, found: EpochMetrics | None, why: str) -> None:
        if found is not None:
            why = (
                f"Epoch {found.epoch:,}, step {found.step:,}: {found.count:,} validation samples. {found.note}".strip()
            )
        self.said = why
        if self.line.value != why:
            self.line.value = why

    def _put(self, widget: widgets.HTML, value: str) -> None:
        if widget.value != value:
            widget.value = value

    def _draw_curve(self, run: Run) -> None:
        count = len(run.metrics)
        stride = 1
        while count > POINTS * stride:
            stride *= 2
        # Every so many, so that epochs that were scored for an earlier drawing serve again.
        picked = [*run.metrics[0:count:stride], run.metrics[-1]]
        points = list({one.epoch: one for one in picked}.values())
        names = list(dict.fromkeys(name for one in points for name in one.scores))
        self._offer(names)
        name = self.score.value
        if name is None:
            self.curves.show([])
            return
        self.curves.y_label = label(name)
        epochs = [float(one.epoch) for one in points]
        self.curves.show([Line(label(name), epochs, [one.scores.get(name, np.nan) for one in points])])

    def _offer(self, names: list[str]) -> None:
        options = tuple((label(name), name) for name in names)
        if self.score.options != options:
            self._following, was = True, self.score.value
            try:
                self.score.options = options
                self.score.value = was if was in names else "f1" if "f1" in names else names[0] if names else None
            finally:
                self._following = False

    def _draw_metrics(self, metrics: Metrics | None) -> None:
        of_classes = metrics is not None and metrics.confusion is not None
        has_points = metrics is not None and metrics.task == "numbers" and metrics.predicted is not None
        for part in (self.matrix, self.classes, self.honesty):
            part.layout.display = None if of_classes else "none"
        self.against.layout.display = None if has_points else "none"
        if metrics is None:
            return
        if metrics.confusion is not None:
            self._draw_grid(metrics)
            self._put(self.per_class, per_class_table(metrics))
            self._draw_calibration(metrics)
        elif has_points and metrics.targets is not None and metrics.predicted is not None:
            order = np.argsort(metrics.targets.ravel(), kind="stable")[:: max(1, metrics.targets.size // 1000)]
            wanted, said = metrics.targets.ravel()[order], metrics.predicted.ravel()[order]
            ends = [wanted[0], wanted[-1]]
            self.scatter.show([Line("samples", wanted, said, style="points"), Line("equal", ends, ends, 1, "dash")])

    def _draw_grid(self, metrics: Metrics) -> None:
        counts = metrics.confusion
        assert counts is not None
        size = len(metrics.classes)
        wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        most = sorted(np.argsort(-wrong, kind="stable")[:MOST_CLASSES].tolist())
        told = "Rows are what a sample is, columns what it was taken for. Press a number to see its pictures."
        if size > MOST_CLASSES:
            told += f" Shown are the {MOST_CLASSES} of {size} classes that are mistaken most."
        self._put(self.about_grid, told)
        if self._labels != tuple(most):
            self._put(self.pictures, "")
        self._labels = tuple(most)
        self.grid.show([metrics.classes[i] for i in most], counts[np.ix_(most, most)].tolist())
        if self.grid.picked:
            self._show_pictures(*self.grid.picked)

    def _draw_calibration(self, metrics: Metrics) -> None:
        found = metrics.calibration
        assert found is not None
        filled = found.count > 0
        honest = Line("honest", [0.0, 1.0], [0.0, 1.0], 1, "dash")
        own = Line("this model, by tenths of confidence", found.confidence[filled], found.accuracy[filled])
        self.calibration.show([own, honest])

    # -- pictures -----------------------------------------------------------------------------------------------------

    def _show_pictures(self, row: int, column: int) -> None:
        """What is in a cell of the grid."""
        shown = self._shown
        if shown is None or shown.metrics is None or shown.metrics.confusion is None or row >= len(self._labels):
            return
        metrics, target, predicted = shown.metrics, self._labels[row], self._labels[column]
        assert metrics.confusion is not None
        total = int(metrics.confusion[target, predicted])
        try:
            found = examples(metrics, target, predicted, MOST_PICTURES)
        except LookupError:
            kept = "those of the latest and of the best epoch are"
            self._put(self.pictures, f"<p>Which samples these were in epoch {shown.epoch} was not kept; {kept}.</p>")
            return
        images, note = self._images(found)
        names = metrics.classes[target], metrics.classes[predicted]
        self._put(self.pictures, gallery(found, names, total, images, note))

    def _images(self, found: list[Example]) -> tuple[list[str], str]:
        """Their pictures as addresses; without them, why."""
        run = self._run()
        if not found or len(self._data.input_size) != 3:
            return [], ""
        at_work = run is not None and run.state != "pending" and not run.ended and not run.standing
        if at_work and not self._data.in_memory:
            return [], "Pause the run to see the pictures: they are read from the data set that it is training on."
        try:
            return [png(one) for one in self._data.inputs_at([one.index for one in found])], ""
        except Exception as error:  # the user's data set's own, too
            return [], f"No pictures: {error}"


def _head(text: str) -> widgets.HTML:
    return widgets.HTML(f"<strong>{text}</strong>")
