"""The summary of a model as a foldable table in the page."""

from dataclasses import asdict

import anywidget
import traitlets

from convlab.frontend._asset import asset
from convlab.models.summary import Summary


class SummaryTable(anywidget.AnyWidget):
    """Draws a `Summary`; a click on a layer's name writes its path into `selected`.

    Attributes:
        selected: path of the highlighted layer, or ``""``.
    """

    _esm = asset("summary.js")
    _css = asset("summary.css")

    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    totals = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)

    def show(self, summary: Summary) -> None:
        """Draw this summary, in one message."""
        with self.hold_sync():
            self.rows = [asdict(row) for row in summary.rows]
            self.totals = {
                "parameters": f"{summary.total_params:,}",
                "trainable": f"{summary.trainable_params:,}",
                "mult-adds": f"{summary.total_mult_adds:,}",
                "activations": f"{summary.total_memory / 1e6:,.3g} MB",
            }
            self.error = summary.error
