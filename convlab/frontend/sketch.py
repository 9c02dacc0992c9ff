"""A picture that a person draws on, pixel by pixel."""

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from convlab.frontend._asset import asset

Points = list[tuple[int, int]]


class Sketch(anywidget.AnyWidget):
    """Shows a picture, large enough to be drawn on with a pen, a finger or the keys.

    Attributes:
        size: height and width of the picture in pixels.
        picture: height x width x 3 bytes, RGB.
        ink: what the pen leaves until the new picture comes, RGB.
        title: what the picture is, for who does not see it.

    Example:
        >>> sketch = Sketch()
        >>> sketch.on_draw(print)
        >>> sketch._told(None, {"type": "draw", "points": [[0, 1]]}, None)
        [(0, 1)]
    """

    _esm = asset("sketch.js")
    _css = asset("sketch.css")

    size = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    ink = traitlets.Tuple(traitlets.Int(), traitlets.Int(), traitlets.Int(), default_value=(255,) * 3).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._on_draw: Callable[[Points], None] | None = None
        self.on_msg(self._told)

    def on_draw(self, act: Callable[[Points], None]) -> None:
        """Call ``act([(row, column), ...])`` with the pixels that the pen went over."""
        self._on_draw = act

    def _told(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("type") == "draw" and self._on_draw is not None:
            self._on_draw([(int(row), int(column)) for row, column in content["points"]])
