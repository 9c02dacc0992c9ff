"""How the receptive field grows through a model."""

from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from convlab.geometry import ReceptiveField
from convlab.plots.figure import axes_or_new

if TYPE_CHECKING:
    from convlab.models.trace import Trace

# Okabe and Ito's palette, told apart by the colour-blind; hatched as well, for grey print.
_LOOKS: Final = {"local": ("#0072B2", ""), "global": ("#D55E00", "//"), "irregular": ("#009E73", "..")}
_MOST_LABELS: Final = 40


def plot_trace(trace: "Trace", ax: Axes | None = None) -> Axes:
    """Size of the receptive field of each record, a bar each, beside the size of the image.

    Args:
        trace: what to draw. Bars show the largest of the spatial axes; of a global field, the local path.
        ax: where to draw; axes of a new figure if left out.
    """
    ax = axes_or_new(ax)
    rows = [(record.path, record.receptive_field) for record in trace if record.receptive_field is not None]
    seen = set()
    for place, (_, field) in enumerate(rows):
        reach = _reach(field)
        color, hatch = _LOOKS[reach]
        ax.barh(place, max(field.size, default=0), color=color, hatch=hatch, edgecolor="white", linewidth=0.3)
        seen.add(reach)
    extent = max(trace.input_size[2:] or trace.input_size[1:], default=0)
    image = ax.axvline(extent, color="0.3", linestyle="--", linewidth=1)
    step = -(-len(rows) // _MOST_LABELS) or 1
    ax.set_yticks(range(0, len(rows), step), [path for path, _ in rows[::step]], fontsize="x-small")
    ax.invert_yaxis()
    ax.set_xlabel("receptive field (pixels)")
    patches = [
        Patch(facecolor=_LOOKS[reach][0], hatch=_LOOKS[reach][1], label=reach) for reach in _LOOKS if reach in seen
    ]
    image.set_label(f"image ({extent})")
    ax.legend(handles=[*patches, image], frameon=False, fontsize="small")
    ax.grid(axis="x", alpha=0.25)
    return ax


def _reach(field: ReceptiveField) -> str:
    return next((reach for reach in ("global", "irregular") if reach in field.reach), "local")
