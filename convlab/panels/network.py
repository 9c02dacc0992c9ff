"""The network panel: the summary of the live model, and what it would be with one layer set otherwise."""

from typing import Any, Final

import ipywidgets as widgets
import traitlets
from torch import nn

from convlab.frontend.style import Style
from convlab.frontend.summary import SummaryTable
from convlab.models.summary import summarize
from convlab.models.trace import Trace, trace
from convlab.models.what_if import adjustable, common_padding, settings_of, what_if
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages

_WORDS: Final = {
    "kernel_size": ("Kernel", 1, 15, "Height and width of the window that the layer slides over its input, in units."),
    "stride": ("Stride", 1, 8, "How far the window moves from one output to the next."),
    "padding": ("Padding", 0, 15, "Rows and columns of zeros put around the input."),
    "dilation": ("Dilation", 1, 8, "Distance between neighbouring taps of the window: 2 leaves every other one out."),
}


class Network(widgets.VBox):
    """Shapes, parameters, cost and receptive field of every layer, and sliders to try another geometry of one.

    Trying out changes nothing: the live model keeps training as it is, only the table shows what would be.

    Args:
        model: any `nn.Module`.
        input_size: size of its input, batch included, such as ``(1, 3, 32, 32)``.

    Attributes:
        selected: path of the layer that was clicked in the table.

    Example:
        >>> panel = Network(nn.Sequential(nn.Conv2d(1, 8, 3)), (1, 1, 28, 28))
        >>> panel.trace["0"].output_size
        (1, 8, 26, 26)
    """

    selected = traitlets.Unicode()

    def __init__(self, model: nn.Module, input_size: tuple[int, ...]) -> None:
        self.model, self.input_size = model, input_size
        self.live = self.trace = trace(model, input_size)
        self._latest = Latest(lambda error: self._messages.error(str(error)))
        self._following = False
        self._messages = Messages()
        self.table = SummaryTable()
        self.layer = widgets.Dropdown(
            options=[("the live model", ""), *((path, path) for path in adjustable(model))],
            description="Try out",
            tooltip="A layer to set otherwise, without touching the live model.",
        )
        self.sliders = {
            name: widgets.IntSlider(low, min=low, max=high, description=text, tooltip=tooltip)
            for name, (text, low, high, tooltip) in _WORDS.items()
        }
        self.keep_size = widgets.Checkbox(
            value=True,
            description="Padding follows the kernel",
            indent=False,
            tooltip="Choose the padding that keeps the output's size at stride 1: dilation * (kernel - 1) / 2.",
        )
        controls = widgets.HBox([self.layer, *self.sliders.values(), self.keep_size]).add_class("convlab-try")
        super().__init__([Style(), controls, self._messages, self.table])
        self.add_class("convlab").add_class("convlab-network")
        self.layer.observe(self._on_layer, "value")
        for control in (*self.sliders.values(), self.keep_size):
            control.observe(self._on_slider, "value")
        traitlets.link((self.table, "selected"), (self, "selected"))
        self._on_layer(None)

    def refresh(self) -> None:
        """Trace the live model again: it may have been changed."""
        self.live = trace(self.model, self.input_size)
        self._on_layer(None)

    def settle(self) -> None:
        """Block until the table shows the sliders as they stand."""
        self._latest.wait()

    def _on_layer(self, _: Any) -> None:
        self._following = True
        try:
            settings = settings_of(self.model, self.layer.value) if self.layer.value else {}
            for name, slider in self.sliders.items():
                slider.disabled = name not in settings
                if (value := settings.get(name)) is not None:
                    slider.value = value
            self.keep_size.disabled = "padding" not in settings
        finally:
            self._following = False
        self._latest(lambda: self._show(self.live, None))

    def _on_slider(self, change: Any) -> None:
        if self._following or not self.layer.value:
            return
        follows = self.keep_size.value and change["owner"] is not self.sliders["padding"]
        settings = {name: slider.value for name, slider in self.sliders.items() if not slider.disabled}
        if follows and "padding" in settings:
            settings["padding"] = common_padding(settings["kernel_size"], settings.get("dilation", 1))
            self._following = True
            self.sliders["padding"].value = settings["padding"]
            self._following = False
        path = self.layer.value
        self._latest(lambda: self._show(trace(what_if(self.model, path, **settings), self.input_size), self.live))

    def _show(self, now: Trace, before: Trace | None) -> None:
        self.trace = now
        self.table.show(summarize(now, before))
        self._messages.clear()
