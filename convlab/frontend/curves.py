"""Curves over a number axis, drawn once a result is there or grows: to look at, to pick from, to draw on."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from convlab.frontend._asset import asset

Array = npt.ArrayLike
Style = Literal["solid", "dash", "faint", "points"]
STYLES: Final[tuple[Style, ...]] = ("solid", "dash", "faint", "points")


@dataclass(frozen=True, eq=False)
class Line:
    """One curve.

    Attributes:
        name: shown in the legend.
        x: rising numbers, shape (points,).
        y: a value for each; what is not finite is a gap.
        colour: index into the palette, which the colour-blind can tell apart.
        style: ``"solid"``, ``"dash"``, ``"faint"`` (behind the others) or ``"points"``.
        band: lowest and highest value beside y, each of its shape.
    """

    name: str
    x: Array
    y: Array
    colour: int = 0
    style: Style = "solid"
    band: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Mark:
    """A vertical line with a few words, such as a suggestion."""

    x: float
    text: str


class Curves(anywidget.AnyWidget):
    """Lines over one number axis, read out at the cursor; a click, or Enter, picks a point of the first line.

    Every method may be called from any thread. A page that joins late is sent what is shown.

    Attributes:
        x_label, y_label: what the axes show, with their units.
        x_log, y_log: whether an axis is logarithmic; what such an axis cannot show is a gap.
        height: of the plot, in pixels.
        drawable: whether the mouse draws a trace.
        hint: what can be done with the plot, in a few words.

    Example:
        >>> curves = Curves(x_label="learning rate", y_label="loss", x_log=True)
        >>> curves.show([Line("loss", [0.01, 0.1, 1], [2.3, 1.9, 4.0])], [Mark(0.1, "valley")])
        >>> [line.name for line in curves.lines]
        ['loss']
    """

    _esm = asset("curves.js")
    _css = asset("curves.css")

    x_label = traitlets.Unicode().tag(sync=True)
    y_label = traitlets.Unicode().tag(sync=True)
    x_log = traitlets.Bool(False).tag(sync=True)
    y_log = traitlets.Bool(False).tag(sync=True)
    height = traitlets.Int(220).tag(sync=True)
    drawable = traitlets.Bool(False).tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        known = ("x_label", "y_label", "x_log", "y_log", "height", "drawable", "hint")
        if unknown := set(traits) - set(known):
            raise TypeError(f"Curves has no setting {min(unknown)!r}; it has {', '.join(known)}.")
        self.lines: tuple[Line, ...] = ()
        self.marks: tuple[Mark, ...] = ()
        # Held from packing to sending: a page that joins must not get an older picture after a newer one.
        self._sending = threading.RLock()
        self._on_pick: Callable[[float, float], None] | None = None
        self._on_draw: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], None] | None = None
        super().__init__(**traits)
        self.on_msg(self._told)

    def show(self, lines: Sequence[Line], marks: Sequence[Mark] = ()) -> None:
        """Show these lines and marks and no others."""
        packed = _pack(lines)
        with self._sending:
            self.lines, self.marks = tuple(lines), tuple(marks)
            self._send_lines(*packed)

    def on_pick(self, callback: Callable[[float, float], None]) -> None:
        """Call ``callback(x, y)`` with the point of the first line that was clicked, or chosen by key."""
        self._on_pick = callback

    def on_draw(self, callback: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], None]) -> None:
        """Call ``callback(xs, ys)`` with the trace that the mouse drew, when it is let go."""
        self._on_draw = callback

    def _send_lines(self, header: list[dict[str, object]], buffer: bytes) -> None:
        marks = [{"x": float(mark.x), "text": str(mark.text)} for mark in self.marks]
        self.send({"type": "show", "header": header, "marks": marks}, [buffer])

    def _told(self, _: object, content: Mapping[str, Any], __: object) -> None:
        kind = content.get("type")
        if kind == "hello":
            with self._sending:
                self._send_lines(*_pack(self.lines))
        elif kind == "pick" and self._on_pick is not None:
            self._on_pick(float(content["x"]), float(content["y"]))
        elif kind == "drawn" and self._on_draw is not None and self.drawable:
            xs, ys = (np.array(content[name], dtype=np.float64) for name in ("xs", "ys"))
            if xs.size and xs.shape == ys.shape:
                self._on_draw(xs, ys)


def _pack(lines: Sequence[Line]) -> tuple[list[dict[str, object]], bytes]:
    """What describes each line, and one buffer of float64: x, y and, where there is a band, low and high."""
    header: list[dict[str, object]] = []
    columns: list[npt.NDArray[np.float64]] = []
    for line in lines:
        if line.style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, got {line.style!r}; try style='solid'.")
        own = [np.asarray(column, dtype=np.float64) for column in (line.x, line.y, *(line.band or ()))]
        if any(column.ndim != 1 or column.shape != own[0].shape for column in own):
            raise ValueError(
                f"{line.name}: x, y and band must be one-dimensional and of one length, got shapes "
                f"{', '.join(str(column.shape) for column in own)}."
            )
        columns += own
        header.append(
            {
                "name": str(line.name),
                "length": own[0].size,
                "colour": int(line.colour),
                "style": line.style,
                "band": line.band is not None,
            }
        )
    return header, np.concatenate(columns).tobytes() if columns else b""
