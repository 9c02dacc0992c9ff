"""The layers of a network in numbers: a table of now, and one number over the steps."""

import html
import math
from collections.abc import Sequence
from typing import Final

import ipywidgets as widgets

from convlab.diagnosis.inside import RECTIFIERS, Inside, LayerInside, courses
from convlab.frontend.curves import Curves, Line
from convlab.frontend.curves import Style as LineStyle

NAMES: Final = {
    "mean": ("Mean", "Mean of all outputs of the layer, over samples, channels and positions."),
    "std": (
        "Deviation",
        "Standard deviation of all outputs. It should neither shrink to 0 nor grow from layer to layer.",
    ),
    "zeros": ("Zeros", "Share of outputs that are exactly 0. Behind a ReLU half is usual; nearly all is too many."),
    "dead": (
        "Dead",
        "Channels that are 0 for every sample at every position. Behind a ReLU they learn nothing any more.",
    ),
    "saturated": ("Saturated", "Share of outputs at the flat ends of tanh (beyond ±0.97) or sigmoid (within 0.03)."),
    "gradient_norm": ("Gradient", "Norm of the gradient of the layer's weights, as the optimizer is given it."),
    "gradient_to_weight": ("Gradient / weight", "Norm of the gradient over that of the weights."),
    "update_to_weight": (
        "Update / weight",
        "What one optimizer step changed, over the weights (norms). About 0.001 is healthy; 0.1 tears them apart, "
        "0.00001 hardly learns.",
    ),
}
"""Of each number: its name, and what it means."""

_LOGARITHMIC: Final = ("gradient_norm", "gradient_to_weight", "update_to_weight")
_SHARES: Final = ("zeros", "saturated")
_STYLES: Final[tuple[LineStyle, ...]] = ("solid", "dash")
_COLOURS, _MOST_LINES = 5, 10


class LayerTable(widgets.VBox):
    """A row a layer, a column a number, each column with what it means as a tooltip."""

    def __init__(self) -> None:
        self.caption = widgets.HTML().add_class("convlab-inside-caption")
        self._rows = widgets.HTML()
        # The box scrolls, and not what is in it, which is made anew with each look.
        scrolled = widgets.VBox([self._rows]).add_class("convlab-inside-table")
        super().__init__([self.caption, scrolled])

    def show(self, look: Inside, where: str) -> None:
        """Show this look; `where` says of what it is."""
        head = "".join(
            f'<th scope="col" title="{html.escape(tip, quote=True)}">{html.escape(name)}</th>'
            for name, tip in NAMES.values()
        )
        body = "".join(f"<tr>{_row(layer)}</tr>" for layer in look.layers)
        self.caption.value = html.escape(
            f"{where}: loss {look.loss:.4g} on {look.samples} samples. Point at a heading for what it means."
        )
        self._rows.value = (
            '<table><thead><tr><th scope="col" title="The layer\'s name and class.">Layer</th>'
            f"{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _row(layer: LayerInside) -> str:
    dead = layer.kind in RECTIFIERS and layer.dead > 0
    cells = [
        f'<th scope="row">{html.escape(layer.path or "the model")} <span>{html.escape(layer.kind)}</span></th>',
        *(f"<td{_warned(name == 'dead' and dead)}>{_told(layer, name)}</td>" for name in NAMES),
    ]
    return "".join(cells)


def _warned(is_bad: bool) -> str:
    return ' class="convlab-inside-bad"' if is_bad else ""


def _told(layer: LayerInside, name: str) -> str:
    value = getattr(layer, name)
    if name == "dead":
        return f"{value} of {layer.channels}"
    if math.isnan(value):
        return "–"  # noqa: RUF001  # the usual sign for nothing in a table
    return f"{100 * value:.1f} %" if name in _SHARES else f"{value:.3g}"


class LayerHistory(widgets.VBox):
    """One number of each layer over the steps."""

    def __init__(self) -> None:
        self._looks: Sequence[Inside] = ()
        self.number = widgets.Dropdown(
            options=[(name, key) for key, (name, _) in NAMES.items()],
            value="update_to_weight",
            description="Over time",
            tooltip="The number that is drawn for each layer, one point for each look.",
        )
        self.meaning = widgets.HTML().add_class("convlab-inside-meaning")
        self.curves = Curves(x_label="step", height=200)
        self.number.observe(lambda _: self._draw(), "value")
        super().__init__([widgets.HBox([self.number, self.meaning]).add_class("convlab-try"), self.curves])
        self._draw()

    def show(self, looks: Sequence[Inside]) -> None:
        """Draw these looks, oldest first."""
        self._looks = looks
        self._draw()

    def _draw(self) -> None:
        number = self.number.value
        name, meaning = NAMES[number]
        found = courses(self._looks, number)
        paths = list(found)
        if len(paths) > _MOST_LINES:
            paths = [paths[round(at * (len(paths) - 1) / (_MOST_LINES - 1))] for at in range(_MOST_LINES)]
            meaning += f" {_MOST_LINES} of {len(found)} layers are drawn."
        self.meaning.value = html.escape(meaning)
        with self.curves.hold_sync():
            self.curves.y_label, self.curves.y_log = name.lower(), number in _LOGARITHMIC
        self.curves.show(
            [
                Line(path or "the model", *found[path], place % _COLOURS, _STYLES[place // _COLOURS])
                for place, path in enumerate(paths)
            ]
        )
