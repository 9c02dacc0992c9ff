"""What can be done to the selected layer of a live network besides setting it: insert, remove, freeze, draw anew."""

import html
from collections.abc import Callable
from typing import Any, Final

import ipywidgets as widgets
from torch import nn

from convlab.models._edit.initial import SCHEMES
from convlab.models.live import Edit, EditError, LiveModel

INSERTS: Final[dict[str, object]] = {
    "Dropout, p 0.2": nn.Dropout(0.2),
    "Convolution 3x3, 32 filters": nn.Conv2d(1, 32, 3, padding=1),
    "Linear, 64 units": nn.Linear(1, 64),
    "BatchNorm": "batchnorm",
    "GroupNorm": "groupnorm",
    "LayerNorm": "layernorm",
    "InstanceNorm": "instancenorm",
    "ReLU": nn.ReLU(),
    "LeakyReLU": nn.LeakyReLU(),
    "ELU": nn.ELU(),
    "GELU": nn.GELU(),
    "Max pooling 2x2": nn.MaxPool2d(2),
    "Average pooling 2x2": nn.AvgPool2d(2),
}
_STYLE: Final = {"description_width": "auto"}


class Structure(widgets.VBox):
    """Buttons and menus for one layer; what cannot be there is not offered, and a tooltip says why.

    Args:
        live: the bound network.
        make: makes an edit, in the panel's own thread.
    """

    def __init__(self, live: LiveModel, make: Callable[[Edit], None]) -> None:
        self._live, self._make = live, make
        self.path = ""
        self.where = widgets.ToggleButtons(
            options=[("before", "insert"), ("after", "insert_after")],
            value="insert_after",
            tooltips=["Put the new layer before the selected one.", "Put the new layer behind the selected one."],
            style={"button_width": "auto"},
        )
        self.what = widgets.Dropdown(description="Insert", style=_STYLE)
        self.insert_button = _button("Insert", "plus", "Put this layer there; what follows is repaired.")
        self.remove_button = _button("Remove", "trash", "Take the layer out; what follows is repaired.")
        self.freeze_button = _button("Freeze", "lock", "Stop training this layer's weights.")
        self.scheme = widgets.Dropdown(options=SCHEMES, description="Weights", style=_STYLE)
        self.redraw_button = _button("Draw anew", "random", "Draw the layer's weights by this scheme; biases become 0.")
        self.facts = widgets.HTML()
        self._offers: dict[str, dict[str, Edit]] = {"insert": {}, "insert_after": {}}
        self.where.observe(lambda _: self._show_offers(), "value")
        self.scheme.observe(lambda _: self._show_facts(), "value")
        self.insert_button.on_click(lambda _: self._insert())
        self.remove_button.on_click(lambda _: self._make(self._edit("remove")))
        self.freeze_button.on_click(lambda _: self._freeze())
        self.redraw_button.on_click(lambda _: self._make(self._edit("redraw", {"scheme": self.scheme.value})))
        first = widgets.HBox([self.what, self.where, self.insert_button, self.remove_button, self.freeze_button])
        second = widgets.HBox([self.scheme, self.redraw_button, self.facts])
        for row in (first, second):
            row.add_class("convlab-structure")
        super().__init__([first, second])
        self.show("")

    def show(self, path: str) -> None:
        """Offer what can be done to the layer at `path`; each is tried on a copy, so not in the kernel's threads."""
        self.path = path
        layer = self._live.layers.get(path) if path else None
        self.layout.display = None if layer is not None else "none"
        if layer is None:
            return
        self._offers = {where: self._possible(where) for where in ("insert", "insert_after")}
        self._show_offers()
        reason = self._why_not(self._edit("remove"))
        self.remove_button.disabled = bool(reason)
        self.remove_button.tooltip = reason or "Take the layer out; what follows is repaired."
        has_weights = any(True for _ in self._live.model.get_submodule(path).parameters(recurse=False))
        self.freeze_button.disabled = not has_weights
        self.freeze_button.description = "Thaw" if layer.is_frozen else "Freeze"
        self.freeze_button.icon = "unlock" if layer.is_frozen else "lock"
        self.freeze_button.tooltip = (
            f"A {layer.kind} has no weights."
            if not has_weights
            else "Train this layer's weights again."
            if layer.is_frozen
            else "Stop training this layer's weights."
        )
        self._show_facts()

    def _possible(self, where: str) -> dict[str, Edit]:
        found = {}
        is_flat = len(self._live.trace[self.path].output_size or ()) == 2
        for title, layer in INSERTS.items():
            if isinstance(layer, nn.Linear) and not is_flat:  # torch would take it, along the last axis of a picture
                continue
            try:
                edit = self._live.insertion(self.path, layer, after=where == "insert_after")
                self._live.plan(edit)
            except EditError:
                continue
            found[title] = edit
        return found

    def _why_not(self, edit: Edit) -> str:
        try:
            self._live.plan(edit)
        except EditError as error:
            return str(error)
        return ""

    def _show_offers(self) -> None:
        offers = self._offers[self.where.value]
        self.what.options = list(offers) or ["nothing fits here"]
        self.what.disabled = self.insert_button.disabled = not offers
        self.insert_button.tooltip = (
            "Put this layer there; what follows is repaired."
            if offers
            else "Layers can be put into an nn.Sequential; this one stands in a forward of its own."
        )

    def _show_facts(self) -> None:
        if not self.path:
            return
        try:
            facts = self._live.init_facts(self.path)
        except EditError as error:
            self.scheme.disabled = self.redraw_button.disabled = True
            self.redraw_button.tooltip = str(error)
            self.facts.value = ""
            return
        self.scheme.disabled = self.redraw_button.disabled = False
        self.redraw_button.tooltip = "Draw the layer's weights by this scheme; biases become 0 but in torch's default."
        scheme = str(self.scheme.value)
        told = (
            f"fan in {facts.fan_in}, fan out {facts.fan_out}, followed by {facts.activation} (gain {facts.gain:.3g}). "
            f"Standard deviation {facts.std:.3g} now, {facts.stds[scheme]:.3g} by {scheme}."
        )
        if scheme == "default":
            told += " torch's default is kaiming_uniform_ with a=√5, which is not He initialisation for ReLU."
        self.facts.value = f"<span>{html.escape(told)}</span>"

    def _insert(self) -> None:
        edit = self._offers[self.where.value].get(str(self.what.value))
        if edit is not None:
            self._make(edit)

    def _freeze(self) -> None:
        layer = self._live.layers.get(self.path)
        if layer is not None:
            self._make(self._edit("thaw" if layer.is_frozen else "freeze"))

    def _edit(self, action: Any, settings: dict[str, Any] | None = None) -> Edit:
        return Edit(self.path, settings or {}, action, seed=len(self._live.journal))


def _button(text: str, icon: str, tooltip: str) -> widgets.Button:
    return widgets.Button(description=text, icon=icon, tooltip=tooltip)
