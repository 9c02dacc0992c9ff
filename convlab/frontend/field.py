"""A picture with a receptive field on it, and the grid of units to choose from."""

from collections.abc import Callable
from typing import Any, Literal

import anywidget
import traitlets

from convlab.frontend._asset import asset

Move = Literal["pixel", "step", "unit"]


class FieldMap(anywidget.AnyWidget):
    """Draws a picture, the box of pixels that a unit sees as a frame, and its effective field as a glow.

    Attributes:
        size: height and width of the picture in pixels.
        picture: height x width x 3 bytes, RGB.
        box: first row, last row, first column, last column, inclusive; empty for none.
        local: the same for the path without what mixes the whole picture; empty where `box` says it all.
        effective: height x width bytes, 255 where the gradient is largest; empty for none.
        theory, effect: what the frame and the glow say, in a sentence each.
        units: rows and columns of the layer's units.
        unit: row and column of the chosen one.
        features: a byte for each unit, how active it is; empty where that is not known.
        title: what the units are of.
    """

    _esm = asset("field.js")
    _css = asset("field.css")

    size = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    box: traitlets.List[int] = traitlets.List(traitlets.Int()).tag(sync=True)
    local: traitlets.List[int] = traitlets.List(traitlets.Int()).tag(sync=True)
    effective = traitlets.Bytes().tag(sync=True)
    theory = traitlets.Unicode().tag(sync=True)
    effect = traitlets.Unicode().tag(sync=True)
    units = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    unit = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    features = traitlets.Bytes().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._on_move: Callable[[Move, tuple[int, int]], None] | None = None
        self.on_msg(self._moved)

    def on_move(self, act: Callable[[Move, tuple[int, int]], None]) -> None:
        """Call ``act(how, (row, column))`` when a person points at a pixel or a unit, or steps from unit to unit."""
        self._on_move = act

    def _moved(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("move") in ("pixel", "step", "unit") and self._on_move is not None:
            row, column = content["to"]
            self._on_move(content["move"], (int(row), int(column)))
