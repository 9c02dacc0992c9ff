"""The *Inside* tab: what is going on in a network, layer by layer, live."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

import ipywidgets as widgets
from torch import nn

from convlab.data.resolve import Data
from convlab.diagnosis.inside import Inside, look_inside
from convlab.diagnosis.inside_log import InsideLog, watch_inside
from convlab.frontend.style import Style
from convlab.models.borrow import private_copy
from convlab.panels.inside_layers import LayerDistribution, LayerHistory, LayerTable
from convlab.panels.inside_picture import PictureInside
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.training.run import Run
from convlab.training.trainer import Criterion

BUDGET: Final = 0.02
"""Share of the time that looks may take from the steps, and drawing from everything."""

_SOONEST: Final = 0.5
"""Seconds between two drawings while a run trains, at least."""


class InsidePanel(widgets.VBox):
    """Layers in numbers, now and over the steps, and what becomes of a picture in each.

    While a run trains it looks into real steps (see `watch_inside`), and draws at most twice a second and within
    `BUDGET`; what a person asks for is drawn at once.

    Args:
        model: the network.
        data: what it is trained on.
        run: gives the latest run, or None.
        is_shown: whether somebody can see the panel; else nothing is drawn until `look`.
        criterion: for looks while no run trains; see `look_inside`.

    Attributes:
        watch: the looks into the latest run, or None before the first.

    Example:
        >>> from convlab.data.resolve import resolve
        >>> from convlab.models.gallery import lenet
        >>> panel = InsidePanel(lenet(), resolve("digits"))
        >>> panel.settle()
        >>> panel.shown.layers[0].kind
        'Conv2d'
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        run: Callable[[], Run | None] = lambda: None,
        is_shown: Callable[[], bool] = lambda: True,
        criterion: Criterion | None = None,
    ) -> None:
        self.model, self.data, self.criterion = model, data, criterion
        self._run, self._is_shown = run, is_shown
        self.watch: InsideLog | None = None
        self.shown: Inside | None = None
        self._watched: Run | None = None
        self._attaching = threading.Lock()
        # A look at the model while no run trains, and what the latest look into the run was then.
        self._at_rest: Inside | None = None
        self._latest_at_rest: Inside | None = None
        self._is_stale = True
        self._has_failed = False
        self._next = 0.0
        self._messages = Messages()
        self._latest = Latest(self._on_error)
        self.table, self.history, self.distribution = LayerTable(), LayerHistory(), LayerDistribution()
        now = widgets.VBox([self.table, self.distribution])
        layers = widgets.HBox([now, self.history]).add_class("convlab-inside-layers")
        images, targets = data.samples(64)
        self.picture = PictureInside(images, targets, data.classes, self._ask, self._messages)
        super().__init__([Style(), self._messages, layers, self.picture])
        self.add_class("convlab").add_class("convlab-inside")
        self.look()

    def refresh(self) -> None:
        """The model was changed: show it as it is now."""
        self._is_stale = True
        self.look()

    def follow(self) -> None:
        """A run has got further: show that, if it is time."""
        self._attach()
        run = self._run()
        if self._is_shown() and (time.monotonic() >= self._next or (run is not None and run.ended)):
            self._next = math.inf  # until that is drawn
            self._ask()

    def look(self) -> None:
        """Show everything as it is now: somebody looks."""
        self._attach()
        if self._is_shown():
            self._ask()

    def settle(self) -> None:
        """Block until everything asked for is shown."""
        self._latest.wait()

    def _ask(self) -> None:
        self._latest(self._draw)

    def _attach(self) -> None:
        """Watch the latest run, from its first step on where it has not begun."""
        with self._attaching:
            run = self._run()
            if run is None or run is self._watched or run.ended:
                return
            self._watched, self.watch = run, watch_inside(run, BUDGET)
            self._at_rest, self._is_stale = None, False

    def _draw(self) -> None:
        began = time.monotonic()
        try:
            self._draw_layers()
            self.picture.show(self.model)
        finally:
            now = time.monotonic()
            self._next = now + max(_SOONEST, (now - began) / BUDGET)
        if self._has_failed:
            self._has_failed = False
            self._messages.clear()

    def _draw_layers(self) -> None:
        looks = [] if self.watch is None else self.watch.looks
        latest, run = looks[-1] if looks else None, self._run()
        is_on = run is not None and run.state == "running"
        if is_on:
            self._at_rest, self._is_stale = None, False
        elif self._is_stale or latest is None:
            # A copy: a run may begin meanwhile.
            self._is_stale = False
            self._at_rest = look_inside(private_copy(self.model, trainable=True), self.data, criterion=self.criterion)
        elif latest is not self._latest_at_rest:
            self._at_rest = None
        self._latest_at_rest = latest
        now = self._at_rest or latest
        if now is not None and now is not self.shown:
            self.shown = now
            self.table.show(now, "The model as it is" if now is self._at_rest else f"At step {now.step:,}")
            self.history.show(looks)
            self.distribution.show(looks or [now])
        if self.watch is not None and self.watch.note:
            self._messages.error(self.watch.note)

    def _on_error(self, error: BaseException) -> None:
        self._has_failed = True
        self._messages.exception(error)
