"""The summary of a model as a foldable table in the page."""

import json
from collections.abc import Callable
from typing import Any, Final

import anywidget
import traitlets

from convlab.frontend._asset import asset
from convlab.models.summary import Row, Summary

# In the order that table.js reads.
_SENT: Final = (
    *("path", "call", "kind", "depth", "is_leaf", "state", "details", "kernel_size", "input_size", "output_size"),
    *("num_params", "trainable", "mult_adds", "memory", "receptive_field", "jump"),
    *("params_share", "mult_adds_share", "memory_share", "before"),
)
COLUMNS: Final = (
    *("kind", "kernel_size", "input_size", "output_size", "num_params", "trainable", "mult_adds", "memory"),
    *("receptive_field", "jump"),
)
"""Every column but the layer's name, in the order of the table."""


class SummaryTable(anywidget.AnyWidget):
    """Draws a `Summary`. A click on a layer's name writes its path into `selected`.

    Attributes:
        columns: which of `COLUMNS` are shown; at first torchinfo's ``input_size`` and ``trainable`` are not.
        selected: path of the highlighted layer, or ``""``.

    Example:
        >>> from torch import nn
        >>> from convlab.models.summary import summarize
        >>> from convlab.models.trace import trace
        >>> table = SummaryTable(columns=["output_size", "num_params"])
        >>> table.show(summarize(trace(nn.Conv2d(1, 8, 3), (1, 1, 8, 8))))
        >>> [row["num_params"] for row in table.rows]
        [80]
    """

    _esm = asset("summary.js")
    _css = asset("summary.css")

    # As text: of a structure the widget would look at each leaf for binary data, at every move of a slider.
    facts = traitlets.Unicode('{"rows": [], "totals": [], "largest": []}').tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    columns = traitlets.List(
        traitlets.Enum(COLUMNS), [name for name in COLUMNS if name not in ("input_size", "trainable")]
    ).tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)

    def __init__(self, **kwargs: Any) -> None:
        unknown = set(kwargs) - {"columns"}
        if unknown:
            raise TypeError(f"SummaryTable has no setting {min(unknown)!r}; it has columns.")
        super().__init__(**kwargs)
        self._on_pick: Callable[[str], None] | None = None
        self.on_msg(self._picked)

    def on_pick(self, act: Callable[[str], None]) -> None:
        """Call ``act(path)`` whenever a person clicks a layer's name, also that of the one selected already."""
        self._on_pick = act

    def _picked(self, _: Any, content: dict[str, str], __: Any) -> None:
        path = content.get("pick")
        if path is None:
            return
        self.selected = path
        if self._on_pick is not None:
            self._on_pick(path)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as the page has them: the fields of a summary's `Row`, tuples as lists."""
        return [dict(zip(_SENT, row, strict=True)) for row in json.loads(self.facts)["rows"]]

    @property
    def totals(self) -> list[list[str]]:
        """Of each total its name, its value, what that was before if it was another, and what it means."""
        totals: list[list[str]] = json.loads(self.facts)["totals"]
        return totals

    def show(self, summary: Summary, before: Summary | None = None, *, tells_error: bool = True) -> None:
        """Draw this summary, in one message; totals that differ from those of `before` say what they were."""
        rows = [[getattr(row, name) for name in _SENT] for row in summary.rows]
        facts = {"rows": rows, "totals": _totals(summary, before), "largest": _largest(summary)}
        with self.hold_sync():
            self.facts = json.dumps(facts, separators=(",", ":"))
            self.error = summary.error if tells_error else ""


def _totals(summary: Summary, before: Summary | None) -> list[list[str]]:
    """Name, value, what it was if that was another, and what it means."""
    here = " up to the layer that does not fit" if summary.error else ""

    def entry(name: str, of: Callable[[Summary], str], meaning: str) -> list[str]:
        now, was = of(summary), of(before) if before is not None else ""
        return [name, now, was if was != now else "", meaning]

    return [
        entry("parameters", lambda s: f"{s.total_params:,}", "All weights and biases, shared ones once."),
        entry("trainable", lambda s: f"{s.trainable_params:,}", "Those that training changes; the others are frozen."),
        entry(
            "mult-adds", lambda s: f"{s.total_mult_adds:,}", f"Multiplications with additions in a forward pass{here}."
        ),
        entry("activations", lambda s: _bytes(s.total_memory), f"Memory of every layer's output, once{here}."),
        entry(
            "forward/backward pass",
            lambda s: _bytes(s.pass_memory),
            f"As torchinfo counts: the outputs of layers with weights, and as much for their gradients{here}.",
        ),
        entry(
            "parameter memory", lambda s: _bytes(s.params_memory), "Memory of the weights; an optimizer adds its own."
        ),
        entry("input", lambda s: _bytes(s.input_memory), "Memory of the input, as it was traced."),
    ]


def _largest(summary: Summary) -> list[list[str]]:
    """What, the path of the layer with most of it, and its part."""
    shares = {"num_params": "params_share", "mult_adds": "mult_adds_share", "memory": "memory_share"}
    words = {"num_params": "parameters", "mult_adds": "mult-adds", "memory": "memory"}

    def part(name: str, path: str) -> float:
        return max(float(getattr(row, shares[name])) for row in summary.rows if _is_leaf(row, path))

    return [[name, words[name], path, f"{part(name, path):.0%}"] for name, path in summary.largest.items()]


def _is_leaf(row: Row, path: str) -> bool:
    return row.is_leaf and row.path == path


def _bytes(count: int) -> str:
    """As torchinfo: a megabyte is a million bytes.

    >>> _bytes(1_234_567), _bytes(96)
    ('1.23 MB', '0.0001 MB')
    """
    megabytes = count / 1e6
    return f"{megabytes:,.2f} MB" if megabytes >= 0.01 else f"{megabytes:.4f} MB"
