"""The receptive field panel: what a unit of a layer sees of a picture, in theory and by its gradient."""

from typing import Any

import ipywidgets as widgets
from torch import Tensor, nn

from convlab.frontend.field import FieldMap
from convlab.frontend.style import Style
from convlab.models.borrow import private_copy
from convlab.models.effective_field import effective_field
from convlab.models.trace import Record, Trace, trace
from convlab.models.units import unit_at
from convlab.models.verify import verify
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages


class ReceptiveFieldPanel(widgets.VBox):
    """A slider through the layers, a picture, and on it the field of the unit that the person picks.

    Args:
        model: any `nn.Module` on pictures.
        images: pictures to look at, (N, C, H, W), as the model takes them.

    Example:
        >>> import torch
        >>> panel = ReceptiveFieldPanel(nn.Sequential(nn.Conv2d(1, 4, 3)), torch.rand(2, 1, 8, 8))
        >>> panel.record.receptive_field.size
        (3, 3)
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images
        self.trace: Trace = trace(model, (1, *images.shape[1:]))
        self._messages = Messages()
        self._latest = Latest(lambda error: self._messages.error(str(error)))
        self._unit: tuple[int, ...] | None = None
        self.map = FieldMap(size=tuple(images.shape[2:]))
        layers = self._layers()
        self.layer = widgets.SelectionSlider(
            options=[(f"{path}  {text}", path) for path, text in layers.items()] or [("no layer", "")],
            description="Layer",
            tooltip="The layer whose unit looks at the picture: the field grows from layer to layer.",
            layout=widgets.Layout(width="36em"),
        )
        self.image = widgets.IntSlider(
            0, min=0, max=max(len(images) - 1, 0), description="Picture", tooltip="Which of the validation pictures."
        )
        self.effective = widgets.Checkbox(
            value=True,
            description="Effective field",
            indent=False,
            tooltip="How strongly each pixel moves the unit, by its gradient (Luo et al. 2016).",
        )
        self.proof = widgets.Button(
            description="Verify",
            icon="check",
            tooltip="Disturb the picture in the real network and see which pixels reach the unit.",
        )
        self.proof.on_click(lambda _: self._latest(self._verify))
        for control in (self.layer, self.image, self.effective):
            control.observe(self._on_control, "value")
        self.map.observe(self._on_pixel, "pixel")
        controls = widgets.HBox([self.layer, self.image, self.effective, self.proof]).add_class("convlab-try")
        super().__init__([Style(), controls, self.map, self._messages])
        self.add_class("convlab").add_class("convlab-receptive-field")
        self._latest(self._show)

    @property
    def record(self) -> Record:
        """The record of the chosen layer."""
        return self.trace[self.layer.value]

    def select(self, path: str) -> None:
        """Go to the layer at `path`, if it has a field to show."""
        if path in [value for _, value in self.layer.options]:
            self.layer.value = path

    def settle(self) -> None:
        """Block until the picture shows the controls as they stand."""
        self._latest.wait()

    def _layers(self) -> dict[str, str]:
        modules = dict(self.model.named_modules())
        axes = self.images.dim() - 2
        return {
            record.path: str(record.receptive_field)
            for record in self.trace
            if record.path in modules and len(record.spatial_dims) == axes and record.receptive_field is not None
        }

    def _on_control(self, _: Any) -> None:
        self._latest(self._show)

    def _on_pixel(self, change: Any) -> None:
        pixel = change["new"]

        def pick() -> None:
            self._unit = unit_at(self.record, pixel, self.images.shape[2:])
            self._show()

        self._latest(pick)

    def _show(self) -> None:
        if not self.layer.value:
            return
        record, image = self.record, self.images[self.image.value]
        units = tuple(record.output_size[dim] for dim in record.spatial_dims)
        unit = tuple(min(at, count - 1) for at, count in zip(self._unit or _centre(units), units, strict=True))
        box = record.field(unit)
        caption = f"{record.path}: {record.receptive_field} pixels in theory. Unit {unit} of {units} sees {_span(box)}."
        glow = b""
        if self.effective.value:
            field = effective_field(self.model, record.path, image[None], unit)
            glow = (field.weights * 255).byte().numpy().tobytes()
            caption += f" Effectively: {field.share:.1%} of the picture."
        with self.map.hold_sync():
            self.map.picture = _rgb(image)
            self.map.box = [at for span in box for at in span]
            self.map.effective = glow
            self.map.caption = caption
        self._messages.clear()

    def _verify(self) -> None:
        record = self.record
        units = tuple(record.output_size[dim] for dim in record.spatial_dims)
        # A copy, because a run may be training the model: the proof puts NaN through it.
        traced = trace(private_copy(self.model), (1, *self.images.shape[1:]))
        self._messages.note(str(verify(traced, record.path, unit=self._unit or _centre(units))))


def _centre(units: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(count // 2 for count in units)


def _span(box: Any) -> str:
    names = ("rows", "columns") if len(box.first) == 2 else tuple(f"axis {axis}" for axis in range(len(box.first)))
    return ", ".join(f"{name} {first} to {last}" for name, (first, last) in zip(names, box, strict=True))


def _rgb(image: Tensor) -> bytes:
    """The picture, (C, H, W), stretched to 0..255: grey for one channel, else the first three."""
    x = image.detach().float().cpu()
    x = x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)
    low, high = x.min(), x.max()
    return ((x - low) / (high - low).clamp_min(1e-12) * 255).byte().permute(1, 2, 0).contiguous().numpy().tobytes()
