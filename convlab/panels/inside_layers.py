"""The layers of a network in numbers: a table of now, and one number over the steps."""

import html
import math
from collections.abc import Sequence
from typing import Final

import ipywidgets as widgets
import numpy as np

from convlab.diagnosis.inside import RECTIFIERS, Inside, LayerInside, courses, histograms
from convlab.diagnosis.layer_stats import HISTOGRAM_EDGES, Floats, Ints
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
        "What one step changed, over the weights (norms). About 0.001 is healthy, 0.1 is too much, 0.00001 hardly "
        "learns.",
    ),
}
"""Of each number: its name, and what it means."""

_COLUMNS: Final = tuple(name for name in NAMES if name != "gradient_to_weight")
_LOGARITHMIC: Final = ("gradient_norm", "gradient_to_weight", "update_to_weight")
_SHARES: Final = ("zeros", "saturated")
_STYLES: Final[tuple[LineStyle, ...]] = ("solid", "dash")
_COLOURS, _MOST_LINES, _MOST_TIMES = 5, 10, 4


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
        names = [name for name in _COLUMNS if name != "saturated" or _has_ends(look)]
        head = "".join(
            f'<th scope="col" title="{html.escape(tip, quote=True)}">{html.escape(name)}</th>'
            for name, tip in map(NAMES.__getitem__, names)
        )
        body = "".join(f"<tr>{_row(layer, names)}</tr>" for layer in look.layers)
        self.caption.value = html.escape(
            f"{where}: loss {look.loss:.4g} on {look.samples} samples. A heading's tooltip tells what it means."
        )
        self._rows.value = (
            '<table><thead><tr><th scope="col" title="The layer\'s name and class.">Layer</th>'
            f"{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _has_ends(look: Inside) -> bool:
    return not all(math.isnan(layer.saturated) for layer in look.layers)


def _row(layer: LayerInside, names: Sequence[str]) -> str:
    dead = layer.kind in RECTIFIERS and layer.dead > 0
    cells = [
        f'<th scope="row">{html.escape(layer.path or "the model")} <span>{html.escape(layer.kind)}</span></th>',
        *(f"<td{_warned(name == 'dead' and dead)}>{_told(layer, name)}</td>" for name in names),
    ]
    return "".join(cells)


def _warned(is_bad: bool) -> str:
    return ' class="convlab-inside-bad"' if is_bad else ""


def _told(layer: LayerInside, name: str) -> str:
    value = getattr(layer, name)
    if name == "dead":
        return f"{value} of {layer.channels}"
    if math.isnan(value):
        return ""
    return f"{100 * value:.1f} %" if name in _SHARES else f"{value:.3g}"


class LayerHistory(widgets.VBox):
    """One number of each layer over the steps."""

    def __init__(self) -> None:
        self._looks: Sequence[Inside] = ()
        self.number = widgets.Dropdown(
            options=[(name, key) for key, (name, _) in NAMES.items()],
            value="update_to_weight",
            # A Dropdown that has a description does not show its tooltip.
            description='<span title="The number that is drawn for each layer, a point a look.">Over time</span>',
            description_allow_html=True,
        )
        self.meaning = widgets.HTML().add_class("convlab-inside-meaning")
        self.curves = Curves(x_label="step", height=240)
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


class LayerDistribution(widgets.VBox):
    """How large the weights of a layer, or their gradients, are: at the latest look, and faintly at some before."""

    def __init__(self) -> None:
        self._looks: Sequence[Inside] = ()
        self.layer = widgets.Dropdown(
            description='<span title="The layer whose weights or gradients are counted.">Layer</span>',
            description_allow_html=True,
        )
        self.of = widgets.ToggleButtons(
            options=[("Weights", "weight"), ("Gradients", "gradient")],
            description="Size of",
            tooltips=["Count the layer's weights and biases by their size.", "Count their gradients by their size."],
            style={"button_width": "auto"},
        )
        self.curves = Curves(x_label="absolute value", y_label="share", x_log=True, height=120)
        for control in (self.layer, self.of):
            control.observe(lambda _: self._draw(), "value")
        super().__init__([widgets.HBox([self.layer, self.of]).add_class("convlab-try"), self.curves])

    def show(self, looks: Sequence[Inside]) -> None:
        """Draw these looks, oldest first."""
        self._looks = looks
        paths = [one.path for one in looks[-1].layers if one.weight_histogram is not None] if looks else []
        options = [(path or "the model", path) for path in paths]
        if list(self.layer.options) != options:
            chosen = self.layer.value
            self.layer.options = options
            self.layer.value = chosen if chosen in paths else next(iter(paths), None)
        self._draw()

    def _draw(self) -> None:
        if self.layer.value is None:
            self.curves.show([])
            return
        steps, counts = histograms(self._looks, self.layer.value, self.of.value)
        count = min(len(steps), _MOST_TIMES)
        chosen = [round(at * (len(steps) - 1) / max(1, count - 1)) for at in range(count)] if count > 1 else [0] * count
        sizes = _sizes(counts[chosen])
        self.curves.show(
            [
                Line(f"step {steps[at]:,}", sizes[0], share, 0, "solid" if at == chosen[-1] else "faint")
                for at, share in zip(chosen, sizes[1], strict=True)
            ]
        )


def _sizes(counts: Ints) -> tuple[Floats, Floats]:
    """Absolute values, the middle of each bin that is used, and the shares there; what is near 0 is left out.

    Args:
        counts: histograms, shape (looks, 81).
    """
    side = counts.shape[1] // 2
    edges = HISTOGRAM_EDGES[side + 1 : -1]
    shares = (counts[:, side + 1 :] + counts[:, :side][:, ::-1]) / counts.sum(1, keepdims=True).clip(1)
    used = np.flatnonzero(shares.any(0))
    # A bin more on each side: a curve ends at 0.
    span = slice(max(0, used[0] - 1), used[-1] + 2) if len(used) else slice(0)
    return (edges * np.sqrt(edges[1] / edges[0]))[span], shares[:, span]
