"""A live chart of loss and accuracy.

The chart holds no data in the kernel: points go to the browser once, in one binary message for each update, so that
an update costs the same after a million steps as after ten. A view that joins late (a reloaded page, a second
window) says hello and is answered with everything, which the chart's owner provides.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from convlab.frontend._asset import asset

Points: TypeAlias = tuple[npt.ArrayLike, npt.ArrayLike]

SERIES = ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy", "lr", "planned_lr", "epoch")
"""What a chart can show. ``lr`` and ``epoch`` are read out at the cursor, ``lr`` and ``planned_lr`` drawn with
`LiveChart.shows_lr`; the number of an epoch, from 1, belongs to its last step."""

MAX_MARKS = 100
MAX_GHOSTS = 8


class LiveChart(anywidget.AnyWidget):
    """Loss above accuracy, against training steps, drawn by uPlot while a run goes on.

    Series are those in `SERIES`; ``x`` is a training step and ascends, accuracies lie between 0 and 1, NaN and
    infinity are drawn as gaps. Points at or before the last step of their series take the place of what stood from
    there on. Every method may be called from any thread.

    Attributes:
        log_scale: whether the axis of the loss is logarithmic.
        smoothing: what one step leaves of the past in the smoothed training curves: 0 is off, 0.9 averages over about
            10 steps, at most 0.9999.
        shows_lr: whether a third plot shows the lr, as it was and as it is planned.
        marks: what `mark` has set, each ``{"step": float, "label": str}``.
        title: name of the run whose curves these are, shown where there are earlier ones beside it.
        provider: returns the whole content, ``{series: (x, y)}``, for a view that joins late; thin out a long history.
            It is called on whichever thread handles messages, while the chart's own lock is held: do not call the
            chart while holding a lock that the provider needs.

    Example:
        >>> chart = LiveChart(smoothing=0.0)
        >>> chart.provider = lambda: {"train_loss": ([1, 2], [2.3, 2.1])}
        >>> chart.append("train_loss", 3, 1.9)
        >>> chart.mark(3, "lr 0.1 → 0.01")
        >>> chart.marks
        [{'step': 3.0, 'label': 'lr 0.1 → 0.01'}]
    """

    _esm = asset("chart.js")
    _css = asset("chart.css")

    log_scale = traitlets.Bool(False).tag(sync=True)
    smoothing = traitlets.Float(0.9, min=0.0, max=0.9999).tag(sync=True)
    shows_lr = traitlets.Bool(False).tag(sync=True)
    marks = traitlets.List(traitlets.Dict()).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)

    def __init__(self, *, log_scale: bool = False, smoothing: float = 0.9) -> None:
        self.provider: Callable[[], Mapping[str, Points]] | None = None
        self._ghosts: list[tuple[dict[str, object], bytes]] = []
        # Held from asking the provider to sending its answer: no point sent meanwhile can be lost in between.
        self._sending = threading.RLock()
        super().__init__(log_scale=log_scale, smoothing=smoothing)
        self.on_msg(self._on_message)

    def append(self, series: str, x: npt.ArrayLike, y: npt.ArrayLike) -> None:
        """Add points to one series; numbers or one-dimensional arrays of the same length."""
        self.extend({series: (x, y)})

    def extend(self, points: Mapping[str, Points]) -> None:
        """Add points to several series, ``{series: (x, y)}``, in one message; nothing is sent for no points."""
        header, buffer = _pack(points)
        if buffer:
            self._send_points("extend", header, buffer)

    def replace(self, points: Mapping[str, Points]) -> None:
        """Show these points, ``{series: (x, y)}``, and no others."""
        self._send_points("replace", *_pack(points))

    def mark(self, step: float, label: str) -> None:
        """Set a vertical line at a step, with a label; the oldest go when there are more than `MAX_MARKS`."""
        if not math.isfinite(step):
            raise ValueError(f"step={step!r} is not a place on the chart; give a finite number such as 100")
        with self._sending:
            self.marks = [*self.marks, {"step": float(step), "label": str(label)}][-MAX_MARKS:]

    def clear(self) -> None:
        """Take away the curves and marks; earlier runs stay."""
        with self._sending:
            self.replace({})
            self.marks = []

    @property
    def ghosts(self) -> list[str]:
        """Names of the earlier runs that are shown."""
        return [str(ghost["name"]) for ghost, _ in self._ghosts]

    def set_ghosts(self, ghosts: Sequence[Mapping[str, Any]]) -> None:
        """Show earlier runs as faint lines, the newest `MAX_GHOSTS` of them.

        Args:
            ghosts: each ``{"name": str, "series": {series: (x, y)}}``, the oldest first.
        """
        packed: list[tuple[dict[str, object], bytes]] = []
        for ghost in ghosts[-MAX_GHOSTS:]:
            header, buffer = _pack(ghost["series"])
            packed.append(({"name": str(ghost["name"]), "header": header}, buffer))
        with self._sending:
            self._ghosts = packed
            self._send_ghosts()

    def _send_points(self, kind: str, header: list[tuple[str, int]], buffer: bytes) -> None:
        with self._sending:
            self.send({"type": kind, "header": header}, [buffer])

    def _send_ghosts(self) -> None:
        self.send(
            {"type": "ghosts", "header": [ghost for ghost, _ in self._ghosts]},
            [buffer for _, buffer in self._ghosts],
        )

    def _on_message(self, _: object, content: Mapping[str, Any], __: Sequence[memoryview]) -> None:
        if content.get("type") != "hello":
            return
        with self._sending:
            if self.provider is not None:
                self.replace(self.provider())
            if self._ghosts:
                self._send_ghosts()


def _pack(points: Mapping[str, Points]) -> tuple[list[tuple[str, int]], bytes]:
    """Names with lengths, and one buffer of float64: for each series its steps, then its values."""
    header: list[tuple[str, int]] = []
    columns: list[npt.NDArray[np.float64]] = []
    for name, (x, y) in points.items():
        if name not in SERIES:
            raise ValueError(f"series={name!r} is not one that the chart knows; use one of {', '.join(SERIES)}")
        steps, values = (np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in (x, y))
        if steps.ndim != 1 or steps.shape != values.shape:
            raise ValueError(
                f"{name}: x has shape {steps.shape} and y {values.shape}; "
                "give two numbers or two one-dimensional arrays of the same length"
            )
        header.append((name, steps.size))
        columns += (steps, values)
    return header, np.concatenate(columns).tobytes() if columns else b""
