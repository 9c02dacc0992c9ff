"""Figures without pyplot: its global state breaks when callbacks and training threads draw at once."""

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that a notebook shows as a picture; without pyplot, nothing else would see to that."""

    def _repr_png_(self) -> bytes:
        return png(self)


def new_figure(width: float = 7.0, height: float = 3.2) -> Picture:
    """An empty figure of so many inches, drawn by Agg."""
    figure = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def axes_or_new(ax: Axes | None) -> Axes:
    """`ax`, or the only axes of a new figure."""
    return new_figure().add_subplot() if ax is None else ax


def png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
