"""A network as a strip of layers in the page, and the controls of the one that is selected."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anywidget
import traitlets

from convlab.frontend._asset import asset

Value = int | float | str | bool | None
Listener = Callable[[str, str, Value], None]


@dataclass(frozen=True)
class Card:
    """One layer on the strip, in words.

    Attributes:
        path: of the layer.
        kind: its class.
        facts: lines such as ``("16x8x8", "sees 3x3", "160 parameters")``.
        before: the same lines as last committed, where they differ; else empty texts.
        problem: why it cannot be, where it does not fit.
        editable: whether it can be selected.
    """

    path: str
    kind: str
    facts: tuple[str, ...]
    before: tuple[str, ...] = ()
    problem: str = ""
    editable: bool = True


@dataclass(frozen=True)
class Choices:
    """One control: a slider over numbers, or a list of words.

    Attributes:
        path: of the layer that it sets.
        name: the setting, by torch's name.
        tooltip: what it does.
        values: what it can be where the layer stands; nothing else can be reached.
        value: what it is.
        low, high: why it goes no further down or up.
        slides: a slider; else a list to choose from.
    """

    path: str
    name: str
    tooltip: str
    values: tuple[Value, ...]
    value: Value
    low: str = ""
    high: str = ""
    slides: bool = True


class LayerStrip(anywidget.AnyWidget):
    """The layers in a row, each with its facts; a click selects one and opens its controls.

    A control tells of every move while it is dragged, and of its value once more when it is released.

    Attributes:
        selected: path of the layer whose controls are open, or ``""``.

    Example:
        >>> strip = LayerStrip()
        >>> strip.show([Card("conv1", "Conv2d", ("16x8x8", "sees 3x3", "160 parameters"))])
        >>> [card["path"] for card in strip.shown]
        ['conv1']
    """

    _esm = asset("strip.js")
    _css = asset("strip.css")

    # As text: of a structure the widget would look at each leaf for binary data, at every move of a slider.
    cards = traitlets.Unicode("[]").tag(sync=True)
    controls = traitlets.Unicode("[]").tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._on_drag: Listener = _nobody
        self._on_release: Listener = _nobody
        self.on_msg(self._told)

    def show(self, cards: Sequence[Card], controls: Sequence[Choices] = ()) -> None:
        """Draw these layers, and these controls of the selected one."""
        with self.hold_sync():
            self.cards, self.controls = self.packed(cards), self.packed(controls)

    @staticmethod
    def packed(parts: Sequence[Card] | Sequence[Choices]) -> str:
        """Cards, or controls, as the page reads them."""
        return json.dumps([asdict(part) for part in parts])

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The cards as the page has them."""
        cards: list[dict[str, Any]] = json.loads(self.cards)
        return cards

    @property
    def offered(self) -> dict[str, dict[str, Any]]:
        """The controls as the page has them, by name."""
        return {control["name"]: control for control in json.loads(self.controls)}

    def on_drag(self, act: Listener) -> None:
        """Call ``act(path, name, value)`` at every move of a control of the layer at `path`."""
        self._on_drag = act

    def on_release(self, act: Listener) -> None:
        """Call ``act(path, name, value)`` when a control is let go."""
        self._on_release = act

    def _told(self, _: Any, content: dict[str, Any], __: Any) -> None:
        act = {"drag": self._on_drag, "release": self._on_release}.get(str(content.get("type")))
        control = self.offered.get(str(content.get("name")))
        if act is None or control is None:
            return
        # What comes from a page is not trusted to be what it was offered.
        if content.get("path") == control["path"] and content.get("value") in control["values"]:
            act(control["path"], control["name"], content["value"])


def _nobody(path: str, name: str, value: Value) -> None:
    """Nobody listens yet."""
