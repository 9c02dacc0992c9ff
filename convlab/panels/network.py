"""The network panel: the summary of the live model, and what it would be with one layer set otherwise."""

from typing import Any, Final

import ipywidgets as widgets
import traitlets
from torch import nn

from convlab.frontend.style import Style
from convlab.frontend.summary import SummaryTable
from convlab.models.summary import summarize
from convlab.models.trace import Trace, trace
from convlab.models.what_if import (
    adjustable,
    padding_that_keeps_size,
    settings_of,
    stand_in,
    trace_refitted,
    what_if,
)
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages

_WORDS: Final = {
    "kernel_size": ("Kernel", 1, 15, "Height and width of the window that the layer slides over its input, in units."),
    "stride": ("Stride", 1, 8, "How far the window moves from one output to the next."),
    "padding": ("Padding", 0, 15, "Rows and columns of zeros put around the input, on each side."),
    "dilation": ("Dilation", 1, 8, "Distance between neighbouring taps of the window: 2 leaves every other one out."),
}


class Network(widgets.VBox):
    """Shapes, parameters, cost and receptive field of every layer, and sliders to try another geometry of one.

    Trying out changes nothing: the live model keeps training as it is, only the table shows what would be.

    Args:
        model: any `nn.Module`.
        input_size: size of its input, batch included, such as ``(1, 3, 32, 32)``; a list or dict of sizes for several.

    Attributes:
        trace: what the table shows.
        live: the trace of the model as it is.
        selected: path of the layer that was clicked in the table; told again when it is clicked again.

    Example:
        >>> panel = Network(nn.Sequential(nn.Conv2d(1, 8, 3)), (1, 1, 28, 28))
        >>> panel.trace["0"].output_size
        (1, 8, 26, 26)
    """

    selected = traitlets.Unicode()

    def __init__(self, model: nn.Module, input_size: Any) -> None:
        self.model, self.input_size = model, input_size
        self._messages = Messages()
        self._latest = Latest(self._on_error)
        self._following = False
        self._moved: set[str] = set()
        self.table = SummaryTable()
        self.table.on_pick(self._on_pick)
        self.layer = widgets.Dropdown(
            description="Try out", tooltip="A layer to set otherwise, without touching the live model."
        )
        self.sliders = {
            name: widgets.IntSlider(low, min=low, max=high, description=text, tooltip=tooltip)
            for name, (text, low, high, tooltip) in _WORDS.items()
        }
        self.keep_size = widgets.Checkbox(
            value=True,
            description="Padding keeps the size",
            indent=False,
            tooltip="Padding moves with kernel and dilation so that the layer's output stays as large as it is.",
        )
        self.refit = widgets.Checkbox(
            value=False,
            description="Refit linear layers",
            indent=False,
            tooltip="Show a linear layer that no longer fits with the in_features that would.",
        )
        switches = widgets.VBox([self.keep_size, self.refit], layout=widgets.Layout(width="auto"))
        controls = widgets.HBox([self.layer, *self.sliders.values(), switches]).add_class("convlab-try")
        super().__init__([Style(), controls, self._messages, self.table])
        self.add_class("convlab").add_class("convlab-network")
        self.layer.observe(self._on_layer, "value")
        for name, slider in self.sliders.items():
            slider.observe(lambda _, name=name: self._on_slider(name), "value")
        for switch in (self.keep_size, self.refit):
            switch.observe(lambda _: self._try_out(), "value")
        self.refresh()

    def refresh(self) -> None:
        """Trace the live model again: it may have been changed. No layer is tried out any more."""
        # The trace must not meet the very modules that a run puts into train and eval mode meanwhile.
        self._stand_in = stand_in(self.model)
        self.live = self.trace = trace(self._stand_in, self.input_size)
        self._live_summary = summarize(self.live)
        layers = [(path or "the model itself", path) for path in adjustable(self._stand_in)]
        self.layer.options = [("the live model", None), *layers]
        self._on_layer(None)

    def settle(self) -> None:
        """Block until the table shows the sliders as they stand."""
        self._latest.wait()

    def _on_pick(self, path: str) -> None:
        if self.selected == path:
            self.notify_change({"name": "selected", "old": path, "new": path, "owner": self, "type": "change"})
        self.selected = path

    def _on_error(self, error: BaseException) -> None:
        self._messages.error(str(error) or type(error).__name__)

    def _on_layer(self, _: Any) -> None:
        """Put the sliders where the chosen layer's settings are."""
        path = self.layer.value
        settings = settings_of(self._stand_in, path) if path is not None else {}
        self._following = True
        try:
            self._moved.clear()
            for name, slider in self.sliders.items():
                value = settings.get(name)
                one = value if isinstance(value, int) else value[0] if isinstance(value, tuple) else _WORDS[name][1]
                slider.disabled = name not in settings
                slider.max = max(_WORDS[name][2], 2 * one)
                slider.value = one
            self.keep_size.disabled = "padding" not in settings
            self.refit.disabled = not settings
        finally:
            self._following = False
        odd = [f"{name} {value!r}" for name, value in settings.items() if not isinstance(value, int)]
        note = f"{path} has {' and '.join(odd)}, which stays until you move its slider." if odd else ""
        self._latest(lambda: self._show(self.live, note))

    def _on_slider(self, name: str) -> None:
        if self._following:
            return
        self._moved.add(name)
        if name in ("kernel_size", "dilation") and self.keep_size.value:
            self._move_padding()
        self._try_out()

    def _move_padding(self) -> None:
        was = settings_of(self._stand_in, self.layer.value)
        kernel, padding, dilation = was["kernel_size"], was["padding"], was.get("dilation", 1)
        if not (isinstance(kernel, int) and isinstance(padding, int) and isinstance(dilation, int)):
            return
        now = self.sliders["kernel_size"].value, self.sliders["dilation"].value if "dilation" in was else 1
        keeping = padding_that_keeps_size(padding, (kernel, dilation), now)
        slider = self.sliders["padding"]
        self._following = True
        try:
            slider.max = max(slider.max, keeping)
            slider.value = keeping
        finally:
            self._following = False
        self._moved.add("padding")

    def _try_out(self) -> None:
        path, settings = self.layer.value, {name: self.sliders[name].value for name in self._moved}
        if path is None or self._following:
            return
        refits, model = self.refit.value, self._stand_in

        def show() -> None:
            changed = what_if(model, path, **settings)
            if not refits:
                self._show(trace(changed, self.input_size))
                return
            found, refitted = trace_refitted(changed, self.input_size)
            words = [f"{name}.in_features = {count}" for name, count in refitted.items()]
            self._show(found, f"Shown with {' and '.join(words)}." if words else "")

        self._latest(show)

    def _show(self, now: Trace, note: str = "") -> None:
        summary = self._live_summary if now is self.live else summarize(now, self._live_summary)
        self.trace = now
        self.table.show(summary, self._live_summary, tells_error=False)
        if now.error is not None:
            self._messages.error(str(now.error))
        else:
            self._messages.note(" ".join(filter(None, (note, *now.notes))))
