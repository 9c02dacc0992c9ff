"""The architecture panel: the live network as a strip of layers, each with sliders that only reach what is possible."""

from collections.abc import Callable
from typing import Any, Final, Literal

import ipywidgets as widgets

from convlab.frontend.strip import Card, Choices, LayerStrip
from convlab.frontend.style import Style
from convlab.frontend.summary import SummaryTable
from convlab.models.live import Edit, EditError, EditPlan, Layer, LiveModel
from convlab.models.positions import positions
from convlab.models.summary import Row, Summary, summarize
from convlab.models.trace import Trace
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.structure import Structure

EditOrUndo = Edit | Literal["undo", "redo"]

WORDS: Final = {
    "out_channels": "How many filters the layer has, and with them channels of its output.",
    "out_features": "How many units the layer has.",
    "kernel_size": "Height and width of the window, in units of its input.",
    "stride": "How far the window moves from one output to the next.",
    "padding": "Rows and columns put around the input, on each side.",
    "dilation": "Distance between neighbouring taps of the window.",
    "groups": "Into how many groups the channels are divided; each is filtered by itself.",
    "bias": "Whether a number of its own is added to each output channel.",
    "padding_mode": "What the padding holds.",
    "activation": "The function that bends what the layers before have added up.",
    "norm": "How the values are brought to one scale.",
    "pool": "Whether a window gives its largest value or its mean.",
    "p": "Share of the values that are zeroed at random while training.",
}


class Architecture(widgets.VBox):
    """A live model's layers in a row; click one and drag its settings: everything shows what would be, at once.

    While a slider is dragged nothing changes but what is shown; when it is let go the model is edited in place.

    Args:
        live: the bound model.
        edit: makes an edit, or ``"undo"`` or ``"redo"``, wherever the model is just now: in a run or alone.

    Attributes:
        strip: the layers and the controls of the selected one.
        table: the summary, with what it was before the present drag.
        trace: what is shown.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.models.live import bind
        >>> live = bind(lenet(), (1, 1, 8, 8))
        >>> panel = Architecture(live, live.apply)
        >>> panel.select("conv2")
        >>> panel.release("out_channels", 48)
        >>> live.model.fc1.in_features
        192
    """

    def __init__(self, live: LiveModel, edit: Callable[[EditOrUndo], object]) -> None:
        self.live, self._edit = live, edit
        self._messages = Messages()
        self._latest = Latest(self._on_error)
        self.strip = LayerStrip()
        self.strip.observe(lambda _: self._latest(self._open), "selected")
        self.strip.on_drag(lambda *moved: self._latest(lambda: self._preview(*moved)))
        self.strip.on_release(lambda *moved: self._latest.also(lambda: self._commit(*moved)))
        self.table = SummaryTable()
        self.table.on_pick(self.select)
        self.undo_button = widgets.Button(description="Undo", icon="undo", tooltip="Put the network back, bit for bit.")
        self.redo_button = widgets.Button(description="Redo", icon="repeat", tooltip="Make the undone change again.")
        self.undo_button.on_click(lambda _: self._latest.also(lambda: self._act("undo")))
        self.redo_button.on_click(lambda _: self._latest.also(lambda: self._act("redo")))
        self.line = widgets.Label()
        row = widgets.HBox([self.undo_button, self.redo_button, self.line]).add_class("convlab-buttons")
        self.structure = Structure(live, lambda edit: self._latest.also(lambda: self._act(edit)))
        super().__init__([Style(), row, self.strip, self.structure, self._messages, self.table])
        self.add_class("convlab").add_class("convlab-architecture")
        self.refresh()

    # -- what a hand does ---------------------------------------------------------------------------------------------

    def select(self, path: str) -> None:
        """Open the controls of a layer."""
        self.strip.selected = path
        self.settle()

    def drag(self, name: str, value: Any) -> None:
        """Show what would be with a setting of the selected layer otherwise; nothing changes."""
        path = self.strip.selected
        self._latest(lambda: self._preview(path, name, value))

    def release(self, name: str, value: Any) -> None:
        """Set it, and return when the model is edited."""
        path = self.strip.selected
        self._latest.also(lambda: self._commit(path, name, value))
        self.settle()

    def settle(self) -> None:
        """Block until everything asked for is done and shown."""
        self._latest.wait()

    def refresh(self) -> None:
        """Show the model as it is: it may have been changed elsewhere."""
        self._was = summarize(self.live.trace)
        self._show(self.live.trace)
        if self.strip.selected:
            self._latest(self._open)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _show(self, trace: Trace, note: str = "") -> None:
        self.trace = trace
        summary = self._was if trace is self.live.trace else summarize(trace, self._was)
        self.table.show(summary, self._was, tells_error=False)
        self.strip.cards = self._cards(summary)
        self.undo_button.disabled, self.redo_button.disabled = not self.live.can_undo, not self.live.can_redo
        edits = [str(edit) for edit in self.live.journal[-3:]]
        self.line.value = "Changed: " + "; ".join(edits) if edits else "Click a layer, drag its settings."
        if note:
            self._messages.note(note)
        else:
            self._messages.clear()

    def _cards(self, summary: Summary) -> str:
        layers = self.live.layers
        cards = [_card(row, layers.get(row.path)) for row in summary.rows if row.is_leaf]
        return self.strip.packed(cards)

    def _open(self) -> None:
        """The controls of the selected layer; what each can be is found by trying, off the kernel's threads."""
        path = self.strip.selected
        layer = self.live.layers.get(path)
        self.structure.show(path if layer is not None else "")
        if layer is None:
            self.strip.controls = "[]"
            return
        if layer.fixed:
            self.strip.controls = "[]"
            self._messages.note(f"{path} cannot be set: {layer.fixed}.")
            return
        self.strip.controls = self.strip.packed([self._control(path, name) for name in layer.settings])
        tied = f" {', '.join(layer.tied)} changes with it: their outputs are added." if layer.tied else ""
        if tied:
            self._messages.note(f"{path}:{tied}")

    def _control(self, path: str, name: str) -> Choices:
        limit = self.live.limits(path, name)
        values = positions(limit)
        slides = limit.low is not None and len(values) > 2
        high = f"Up to {values[-1]}: {limit.why_high}." if limit.why_high and slides else limit.why_high
        return Choices(path, name, WORDS.get(name, ""), values, limit.value, limit.why_low, high, slides)

    # -- in the panel's own thread ------------------------------------------------------------------------------------

    def _preview(self, path: str, name: str, value: Any) -> None:
        planned = self.live.plan(Edit(path, {name: value}))
        self._show(planned.trace, _told(planned))

    def _commit(self, path: str, name: str, value: Any) -> None:
        layer = self.live.layers.get(path)
        if layer is None or layer.settings.get(name) == value:
            self.refresh()
            return
        self._act(Edit(path, {name: value}, seed=len(self.live.journal)))

    def _act(self, edit: EditOrUndo) -> None:
        try:
            self._edit(edit)
        finally:
            self.refresh()

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, EditError | LookupError):
            self._messages.error(str(error))
        else:
            self._messages.exception(error)


def _told(planned: EditPlan) -> str:
    """What would change besides, in a sentence."""
    return "; ".join(map(str, (*planned.changes, *planned.notes)))


def _card(row: Row, layer: Layer | None) -> Card:
    return Card(
        row.path,
        f"{row.kind}, frozen" if layer is not None and layer.is_frozen else row.kind,
        _facts(row, {}),
        _facts(row, row.before) if row.before else (),
        "" if row.state == "ok" else "The network does not fit together here.",
        layer is not None and not layer.fixed,
    )


def _facts(row: Row, before: dict[str, Any]) -> tuple[str, ...]:
    size = before.get("output_size", row.output_size)
    params = before.get("num_params", row.num_params)
    field = before.get("receptive_field", row.receptive_field)
    return (
        " x ".join(map(str, size[1:])) if size else "",
        f"sees {field}" if field else "",
        f"{params:,} parameters" if params else "no parameters",
    )
