"""The receptive field panel: what a unit of a layer sees of a picture, in theory and by its gradient."""

from typing import Any

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from convlab.frontend.field import FieldMap, Move
from convlab.frontend.style import Style
from convlab.geometry import Box, ReceptiveField
from convlab.models.borrow import private_copy
from convlab.models.effective_field import EffectiveField, effective_field
from convlab.models.summary import words
from convlab.models.trace import Record, Trace, trace
from convlab.models.units import centre_of, layers_with_units, local_box, unit_at, units_of
from convlab.models.verify import verify
from convlab.models.what_if import stand_in
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.picture_file import uploaded
from convlab.panels.thumbnail import stretched

_MEANING = {
    "global": "Global: a path mixes the whole picture (pooling over everything, attention, statistics), so "
    "each unit sees all of it; the dashed frame is what it sees without that path.",
    "irregular": "Irregular: the units do not lie at a constant distance from each other, so no one size holds for "
    "all; the frame is what this one sees.",
}


class ReceptiveFieldPanel(widgets.VBox):
    """A slider through the layers, a picture, and on it the field of the unit that the person picks.

    Args:
        model: any `nn.Module` that takes one picture. For another the panel says in a sentence what it cannot show.
        images: pictures to look at, (N, C, H, W), as the model takes them; can be set later, too.

    Attributes:
        unit: (row, column) of the unit that is looked at.

    Example:
        >>> import torch
        >>> panel = ReceptiveFieldPanel(nn.Sequential(nn.Conv2d(1, 4, 3)), torch.rand(2, 1, 8, 8))
        >>> panel.record.receptive_field.size
        (3, 3)
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self._images = model, images
        self._messages = Messages()
        self._latest = Latest(lambda error: self._messages.error(str(error) or type(error).__name__))
        self._records: dict[str, Record] = {}
        self._remark = ""
        self.unit: tuple[int, ...] = (0, 0)
        self._pixel: tuple[float, ...] = tuple(size // 2 for size in images.shape[2:])
        self.map = FieldMap()
        self.layer = widgets.SelectionSlider(
            options=[("no layer", "")],
            description="Layer",
            tooltip="The layer whose unit looks at the picture: the field grows from layer to layer.",
            layout=widgets.Layout(width="36em", max_width="100%"),
        ).add_class("convlab-field-layer")
        self.image = widgets.IntSlider(0, min=0, max=0, description="Picture", tooltip="Which of the pictures.")
        self.upload = widgets.FileUpload(
            accept=".png,.jpg,.jpeg",
            description="Own picture",
            tooltip="A PNG or JPEG file, made as large as the input.",
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
        self.map.on_move(self._on_move)
        self.upload.observe(self._on_upload, "value")
        controls = [self.layer, self.image, self.effective, self.proof, self.upload]
        super().__init__([Style(), widgets.HBox(controls).add_class("convlab-try"), self._messages, self.map])
        self.add_class("convlab").add_class("convlab-receptive-field")
        self.refresh()
        for control in (self.layer, self.image, self.effective):
            control.observe(self._on_control, "value")

    def refresh(self) -> None:
        """Trace the live model again: it may have been changed."""
        problem = self._read()
        options = [(f"{path}  {words(_field(record))}", path) for path, record in self._records.items()]
        chosen = self.layer.value
        self.layer.options = options or [("no layer", "")]
        if chosen in self._records:
            self.layer.value = chosen
        self.image.max = max(len(self._images) - 1, 0)
        for control in (self.layer, self.image, self.effective, self.proof, self.upload):
            control.disabled = not options
        self.map.layout.display = None if options else "none"
        if not options:
            self._messages.note(problem)
            return
        self._remark = problem
        self._stay_at_pixel()
        self._draw()

    @property
    def record(self) -> Record:
        """The record of the chosen layer."""
        return self._records[self.layer.value]

    @property
    def images(self) -> Tensor:
        """The pictures, (N, C, H, W)."""
        return self._images

    @images.setter
    def images(self, images: Tensor) -> None:
        if not isinstance(images, Tensor) or images.dim() != 4 or not len(images):
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a tensor (N, C, H, W), got {got}; try torch.rand(1, 3, 32, 32).")
        self._images = images
        self.refresh()

    def select(self, path: str) -> None:
        """Go to the layer at `path`, or to what comes out of the container; says so where there is no map of units."""
        if not self._records:
            return
        near = self._nearest(path)
        if near is None:
            self._remark = f"{path or 'the model'} has no map of units on the picture; try a convolution or a pooling."
        if near is not None and near != self.layer.value:
            self.layer.value = near
        else:
            self._draw()

    def _nearest(self, path: str) -> str | None:
        """The layer at `path`; the last one inside a container; for a function the container around it."""
        inside = [known for known in self._records if known == path or known.startswith(f"{path}.")]
        around = path.rpartition(".")[0]
        return inside[-1] if inside else around if around in self._records else None

    def pick(self, pixel: tuple[int, int]) -> None:
        """Look at the unit whose field is centred nearest to this pixel, (row, column)."""
        if not self._records:
            return
        self._pixel = tuple(float(at) for at in pixel)
        self._stay_at_pixel()
        self._draw()

    def step(self, rows: int, columns: int) -> None:
        """Look at the unit so many rows and columns on."""
        self.go(tuple(at + by for at, by in zip(self.unit, (rows, columns), strict=True)))

    def go(self, unit: tuple[int, ...]) -> None:
        """Look at this unit, (row, column), or the nearest there is."""
        if not self._records:
            return
        counts = units_of(self.record)
        self.unit = tuple(min(max(at, 0), count - 1) for at, count in zip(unit, counts, strict=True))
        self._pixel = centre_of(self.record, self.unit)
        self._draw()

    def settle(self) -> None:
        """Block until the picture shows the controls as they stand."""
        self._latest.wait()

    def _read(self) -> str:
        """Trace the model; returns why there is nothing to show, or what to say beside it."""
        self._records = {}
        axes = self._images.dim() - 2
        if axes != 2:
            return (
                f"This panel draws fields on pictures, (N, C, H, W), and this model takes inputs (N, "
                f"{', '.join(map(str, self._images.shape[1:]))}); the Network tab and convlab.trace have their fields."
            )
        try:
            self.trace: Trace = trace(stand_in(self.model), (1, *self._images.shape[1:]))
        except (TypeError, ValueError) as error:
            return (
                f"This panel shows models that take one picture: {error}. For several inputs "
                "convlab.trace(model, [size, size]) has the fields, under record.receptive_fields."
            )
        self._records = layers_with_units(self.trace)
        if self.trace.error is not None:
            return str(self.trace.error)
        return "" if self._records else "No layer of this model has a map of units; one with a convolution would."

    def _stay_at_pixel(self) -> None:
        shape = self._images.shape[2:]
        at = [min(max(round(pixel), 0), size - 1) for pixel, size in zip(self._pixel, shape, strict=True)]
        self.unit = unit_at(self.record, at, shape)

    def _on_control(self, change: Any) -> None:
        if change["owner"] is self.layer and self.layer.value in self._records:
            self._stay_at_pixel()
        self._draw()

    def _on_move(self, how: Move, to: tuple[int, int]) -> None:
        if how == "step":
            self.step(*to)
        elif how == "unit":
            self.go(to)
        else:
            self.pick(to)

    def _on_upload(self, change: Any) -> None:
        if (own := uploaded(change["new"], self._images, self._messages)) is None:
            return
        self._images = torch.cat([self._images, own.to(self._images.device)])
        self.image.max = len(self._images) - 1
        self.image.value = self.image.max

    def _draw(self) -> None:
        if self.layer.value in self._records:
            record, image, unit = self.record, self._images[self.image.value], self.unit
            self._latest(lambda: self._show(record, image, unit))

    def _show(self, record: Record, image: Tensor, unit: tuple[int, ...]) -> None:
        box = record.field(unit)
        effect, glow, features = self._effective(record, image, unit)
        remark, self._remark = self._remark, ""
        with self.map.hold_sync():
            self.map.size = (image.shape[1], image.shape[2])
            self.map.picture = _rgb(image)
            self.map.box = [] if box.is_empty else [at for span in box for at in span]
            self.map.local = local_box(record, unit, tuple(image.shape[1:]))
            self.map.effective, self.map.features = glow, features
            self.map.theory, self.map.effect = _theory(record, box, unit), effect
            self.map.units, self.map.unit = units_of(record), unit
            self.map.title = record.path
        if remark:
            self._messages.note(remark)
        else:
            self._messages.clear()

    def _effective(self, record: Record, image: Tensor, unit: tuple[int, ...]) -> tuple[str, bytes, bytes]:
        """What the glow says, the glow, and the layer's activations; empty where there is none."""
        if not self.effective.value:
            return "", b"", b""
        dims = record.spatial_dims
        try:
            found = effective_field(self.model, record.path, image[None], unit, dims=(dims[0], dims[1]))
        except Exception as error:  # the model's own, on this picture; the theory stands without it
            return f"Effective field: none, because {str(error) or type(error).__name__}", b"", b""
        return _effect(found), _bytes(found.weights), _bytes(stretched(found.feature_map))

    def _verify(self) -> None:
        record, unit = self.record, self.unit
        self._messages.note("Disturbing the picture in a copy of the network ...")
        # A copy, because a run may be training the model: the proof puts NaN through it.
        traced = trace(private_copy(self.model), (1, *self._images.shape[1:]))
        found = verify(traced, record.path, unit=unit)
        if found.agrees:
            self._messages.note(f"✓ Verified: {found}")
        else:
            self._messages.error(f"✗ Not so: {found}")


def _field(record: Record) -> ReceptiveField:
    field = record.receptive_field
    assert field is not None, record.path
    return field


def _theory(record: Record, box: Box, unit: tuple[int, ...]) -> str:
    field, units = _field(record), units_of(record)
    seen = "no pixel at all"
    if not box.is_empty:
        (top, bottom), (left, right) = box
        seen = f"rows {top} to {bottom} and columns {left} to {right}"
        sizes = bottom - top + 1, right - left + 1
        if set(field.reach) == {"local"} and sizes != field.size:
            seen += f", {sizes[0]} x {sizes[1]}, the rest lies beyond the border" * (sizes < field.size)
    meaning = " ".join(_MEANING[reach] for reach in dict.fromkeys(field.reach) if reach in _MEANING)
    at = f"unit ({unit[0]}, {unit[1]}) of {units[0]} x {units[1]}"
    return " ".join(filter(None, (f"Theoretical field: {words(field)} pixels. The {at} sees {seen}.", meaning)))


def _effect(found: EffectiveField) -> str:
    if not found.share:
        return "Effective field: none, no pixel of this picture moves the unit (its gradient is 0)."
    return (
        f"Effective field: {found.share:.1%} of the picture moves the unit noticeably, by the gradient, with these "
        "weights and this picture (Luo et al. 2016)."
    )


def _bytes(x: Tensor) -> bytes:
    content: bytes = (x * 255).round().byte().contiguous().numpy().tobytes()
    return content


def _rgb(image: Tensor) -> bytes:
    """The picture, (C, H, W), stretched to 0..255: grey for one channel, else the first three."""
    x = stretched(image)
    x = x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)
    return _bytes(x.permute(1, 2, 0))
