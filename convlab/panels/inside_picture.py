"""One picture in a network: where it is drawn, what the network says of it, and what each layer makes of it."""

import html
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from convlab.diagnosis.attribution import Attribution, occlusion, saliency
from convlab.diagnosis.maps import FeatureMaps, answers, feature_maps, kernels
from convlab.frontend.sketch import Points, Sketch
from convlab.panels.messages import Messages
from convlab.panels.picture_file import uploaded
from convlab.panels.tabs import close_whole
from convlab.plots.maps import Pixels, as_png, kernel_tiles, map_picture, mosaic, tinted

Overlay = Literal["none", "saliency", "occlusion"]

FIXED: Final = 8
"""Pictures whose predictions are always shown."""

_MOST_ROWS, _MOST_CLASSES = 24, 10
_TILE, _SIDE = 64, 48
# They put out what they are given, in eval mode.
_DULL: Final = ("Flatten", "Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout")
_FIELD: Final = "How much of the picture one unit of a layer sees: the Receptive field tab, with its effective field."
_WORDS: Final = {
    "none": "The picture as the network is given it.",
    "saliency": "Saliency: how strongly each pixel moves the answer, by its gradient (Simonyan et al. 2014).",
    "occlusion": "Occlusion: what the answer loses where a square is covered, orange, or gains, blue (Zeiler & Fergus "
    "2014).",
}


class PictureInside(widgets.VBox):
    """A picture that is chosen, uploaded or drawn, and what becomes of it in the network.

    Args:
        images: pictures of the data, (N, C, H, W).
        targets: what they are, (N,): labels, or numbers where there are no `classes`.
        classes: names of the classes, in the order of their labels.
        ask: called when a person changed something; answers with `show` in a thread of its own.
        messages: where errors of an upload go.

    Attributes:
        x: the picture that is looked at, (C, H, W).
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        classes: Sequence[str],
        ask: Callable[[], None],
        messages: Messages,
    ) -> None:
        self._images, self._targets, self._classes = images, targets, classes
        self._ask, self._messages = ask, messages
        self.x = images[0]
        self._span = float(images.amin()), float(images.amax())
        self._about = ""
        self.number = widgets.IntSlider(
            0,
            min=0,
            max=len(images) - 1,
            description="Picture",
            tooltip="Which picture of the validation data (of the training data, where there are none).",
        )
        self.upload = widgets.FileUpload(
            accept=".png,.jpg,.jpeg",
            description="Own picture",
            tooltip="A PNG or JPEG file, made as large as the input.",
        )
        self.pen = widgets.ToggleButtons(
            options=[("Light", True), ("Dark", False)],
            description="Pen",
            style={"button_width": "auto"},
            tooltips=["Draw with the largest value of the data.", "Draw with the smallest value of the data."],
        )
        self.blank = widgets.Button(
            description="Blank", icon="eraser", tooltip="An empty picture to draw on, all of the smallest value."
        )
        self.overlay = widgets.ToggleButtons(
            options=[("Picture", "none"), ("Saliency", "saliency"), ("Occlusion", "occlusion")],
            description="Show",
            style={"button_width": "auto"},
            tooltips=list(_WORDS.values()),
        )
        self.sketch = Sketch()
        self.words = widgets.HTML().add_class("convlab-inside-words")
        self.says = widgets.HTML().add_class("convlab-inside-says")
        self.fixed = _FixedSet(images[:FIXED], self._span)
        self.maps = _MapRows()
        self._bind()
        controls = [self.number, self.upload, self.blank, self.pen, self.overlay]
        side = widgets.VBox([self.says, self.words]).add_class("convlab-inside-side")
        super().__init__(
            [
                widgets.HBox(controls).add_class("convlab-try"),
                widgets.HBox([self.sketch, side]).add_class("convlab-inside-picture"),
                _title(
                    "What each layer makes of it", "Each channel from its smallest value, dark, to its largest, bright."
                ),
                widgets.HTML(_FIELD).add_class("convlab-inside-link"),
                self.maps,
                _title(
                    f"{len(images[:FIXED])} pictures, always the same", "What the network says of them as it trains."
                ),
                self.fixed,
            ]
        )
        self._choose(0)

    def _bind(self) -> None:
        self.number.observe(lambda change: self._choose(change["new"], ask=True), "value")
        self.upload.observe(self._on_upload, "value")
        self.blank.on_click(lambda _: self.look_at(torch.full_like(self.x, self._span[0]), "A blank picture."))
        self.pen.observe(lambda _: self._take_ink(), "value")
        self.overlay.observe(lambda _: self._ask(), "value")
        self.sketch.on_draw(self.draw)
        self._take_ink()

    def look_at(self, x: Tensor, about: str) -> None:
        """Take this picture, (C, H, W), and ask what becomes of it."""
        self.x, self._about = x, about
        self._ask()

    def draw(self, points: Points) -> None:
        """Put the pen's value on these pixels, (row, column), and on those around them in a larger picture."""
        rows, columns = self.x.shape[1:]
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        reach = max(rows, columns) / 28
        x = self.x.clone()
        for at, to in points:
            # On the pixel grid at least the pixel itself.
            near = ((row - at) ** 2 + (column - to) ** 2).sqrt() <= max(0.5, reach)
            x[:, near] = self._span[self.pen.value]
        self.look_at(x, "A picture drawn by hand.")

    def show(self, model: nn.Module) -> None:
        """Show what this model makes of the picture; in a thread of the panel's own."""
        x = self.x
        given = answers(model, torch.cat([x[None], self._images[:FIXED]]))
        found = self._attribution(model, x)
        maps = [one for one in feature_maps(model, x) if one.kind not in _DULL]
        with self.sketch.hold_sync():
            self.sketch.size = (x.shape[1], x.shape[2])
            self.sketch.picture = tinted(x, found, self._span).tobytes()
            self.sketch.title = f"{self._about} {_WORDS[self.overlay.value]}"
        self.words.value = html.escape(f"{self._about} {_WORDS[self.overlay.value]}")
        self.says.value = _bars(given[0], self._classes)
        self.fixed.show([self._verdict(one, at) for at, one in enumerate(given[1:])])
        self.maps.show([*_kernel_rows(model), *_map_rows(maps)])

    def _choose(self, number: int, ask: bool = False) -> None:
        self.x = self._images[number]
        is_own = number >= len(self._targets)
        self._about = "Your picture." if is_own else f"Picture {number}: {self._name(self._targets[number])}."
        if ask:
            self._ask()

    def _name(self, target: Tensor) -> str:
        if target.numel() > 1:
            return "several numbers"
        return str(self._classes[int(target)]) if self._classes else f"{float(target):.3g}"

    def _take_ink(self) -> None:
        self.sketch.ink = (255,) * 3 if self.pen.value else (0,) * 3

    def _on_upload(self, change: Any) -> None:
        if (own := uploaded(change["new"], self._images, self._messages)) is None:
            return
        self._messages.clear()
        self._images = torch.cat([self._images, own])
        self.number.max = len(self._images) - 1
        self.number.value = self.number.max

    def _attribution(self, model: nn.Module, x: Tensor) -> Attribution | None:
        if self.overlay.value == "saliency":
            return saliency(model, x)
        return occlusion(model, x) if self.overlay.value == "occlusion" else None

    def _verdict(self, given: Tensor, at: int) -> tuple[str, bool | None]:
        """What the model says of one of the fixed pictures, and whether that is right."""
        if not self._classes:
            return f"{float(given[0]):.3g}, is {self._name(self._targets[at])}", None
        shares = _shares(given)
        best = int(shares.argmax())
        return f"{self._classes[best]} {100 * float(shares[best]):.0f} %", best == int(self._targets[at])


class _MapRows(widgets.VBox):
    """Pictures with a title each; while the titles stay, only the pictures change, so that nothing flickers."""

    def __init__(self) -> None:
        self._titles: list[tuple[str, tuple[int, ...]]] = []
        self._images: list[widgets.Image] = []
        self._rows: list[widgets.VBox] = []
        super().__init__()
        self.add_class("convlab-inside-maps")

    def show(self, rows: Sequence[tuple[str, Pixels]]) -> None:
        titles = [(title, pixels.shape) for title, pixels in rows]
        if titles != self._titles:
            gone = self._rows
            self._titles, self._images = titles, [_picture(pixels) for _, pixels in rows]
            parts = zip(rows, self._images, strict=True)
            self._rows = [widgets.VBox([widgets.Label(title), image]) for (title, _), image in parts]
            self.children = tuple(self._rows)
            for row in gone:
                close_whole(row)
            return
        for image, (_, pixels) in zip(self._images, rows, strict=True):
            if (content := as_png(pixels)) != image.value:
                image.value = content


class _FixedSet(widgets.HBox):
    """Small pictures, and below each what the network says of it."""

    def __init__(self, images: Tensor, span: tuple[float, float]) -> None:
        self._words = [widgets.HTML() for _ in images]
        parts = [
            widgets.VBox([_picture(_enlarged(x, span)), words]) for x, words in zip(images, self._words, strict=True)
        ]
        super().__init__(parts)
        self.add_class("convlab-inside-fixed")

    def show(self, verdicts: Sequence[tuple[str, bool | None]]) -> None:
        for words, (text, right) in zip(self._words, verdicts, strict=True):
            sign = {True: "✓ ", False: "✗ ", None: ""}[right]
            kind = ' class="convlab-inside-bad"' if right is False else ""
            words.value = f"<span{kind}>{sign}{html.escape(text)}</span>"


def _title(text: str, tip: str) -> widgets.HTML:
    return widgets.HTML(f'<strong title="{html.escape(tip, quote=True)}">{html.escape(text)}</strong>')


def _picture(pixels: Pixels) -> widgets.Image:
    height, width = pixels.shape[:2]
    layout = widgets.Layout(width=f"{width}px", height=f"{height}px", flex="none")
    return widgets.Image(value=as_png(pixels), format="png", layout=layout)


def _enlarged(x: Tensor, span: tuple[float, float]) -> Pixels:
    pixels = tinted(x, span=span)
    thin = -(-max(pixels.shape[:2]) // (2 * _TILE))
    pixels = pixels[::thin, ::thin]
    return mosaic([pixels], 1, max(1, _TILE // max(pixels.shape[:2])))


def _kernel_rows(model: nn.Module) -> list[tuple[str, Pixels]]:
    """The first convolution's kernels, if it has one, and if they are larger than a pixel."""
    try:
        found = kernels(model)
    except ValueError:
        return []
    rows, columns = found.weights.shape[2:]
    if rows * columns == 1:
        return []
    tiles = kernel_tiles(found.weights, 16)
    count = len(found.weights)
    return [
        (
            f"{found.path or 'the model'}: its kernels, {rows} x {columns}{_shown(count)}; blue below 0, red above",
            mosaic(tiles, 16, max(1, _SIDE // rows)),
        )
    ]


def _map_rows(maps: Sequence[FeatureMaps]) -> list[tuple[str, Pixels]]:
    chosen = list(maps)
    if len(chosen) > _MOST_ROWS:
        chosen = [chosen[round(at * (len(maps) - 1) / (_MOST_ROWS - 1))] for at in range(_MOST_ROWS)]
    return [(_about_map(one), map_picture(one.maps, _SIDE)) for one in chosen]


def _about_map(one: FeatureMaps) -> str:
    channels, rows, columns = one.maps.shape
    name = f"{one.path or 'the model'}, {one.kind}"
    if channels == 1 and rows == 1:
        return f"{name}: {columns} features"
    if rows * columns == 1:
        return f"{name}: {channels} channels of one unit"
    return f"{name}: {channels} channels of {rows} x {columns}{_shown(channels)}"


def _shown(channels: int) -> str:
    return ", the first 16" if channels > 16 else ""


def _shares(given: Tensor) -> Tensor:
    """Probabilities; one output for two classes is the second's logit."""
    if len(given) == 1:
        second = given.sigmoid()
        return torch.cat([1 - second, second])
    return given.softmax(0)


def _bars(given: Tensor, classes: Sequence[str]) -> str:
    """What the model says of the picture: the likeliest classes with their probabilities, or the numbers."""
    if not classes:
        told = ", ".join(f"{value:.4g}" for value in given[:_MOST_CLASSES].tolist())
        return f"<p>The network says {told}.</p>"
    shares = _shares(given)
    if len(shares) != len(classes):
        return "<p>The network has another number of outputs than there are classes.</p>"
    # In the order of the labels where all have room: rows that change places cannot be followed.
    shown = range(len(classes)) if len(classes) <= _MOST_CLASSES else shares.topk(_MOST_CLASSES).indices.tolist()
    best = int(shares.argmax())
    rows = "".join(_bar(str(classes[at]), float(shares[at]), at == best) for at in shown)
    return f'<table class="convlab-inside-bars"><caption>What the network says</caption>{rows}</table>'


def _bar(name: str, share: float, is_best: bool) -> str:
    percent = 0.0 if math.isnan(share) else 100 * share
    strong = ' class="convlab-inside-best"' if is_best else ""
    return (
        f'<tr{strong}><th scope="row">{html.escape(name)}</th>'
        f'<td><div style="width:{percent:.1f}%"></div></td><td>{percent:.1f} %</td></tr>'
    )
