"""The convolution explorer: one convolution on one small input, to play with."""

import html
import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets
from IPython.display import DisplayHandle, display

from convlab import geometry
from convlab.frontend._asset import asset
from convlab.frontend.conv_settings import ConvSettings, Padding
from convlab.models.conv_code import CodeForm, conv_code

_NAMES: Final = tuple(asdict(ConvSettings()))


class ConvExplorer(anywidget.AnyWidget):
    """A kernel that slides over a small input: sizes, numbers, formula and code change as a person drags.

    Every argument is a trait of the same name that follows the controls and can be set; all axes are alike. To set
    several at once where one by one would be impossible, set them within ``with explorer.hold_trait_notifications():``.

    Args:
        input_size: pixels along each axis: up to 16 in 2-D, 32 in 1-D.
        kernel_size: as in torch; likewise all that follow. Up to 7 in 2-D, 11 in 1-D.
        stride: up to 6.
        padding: pixels, ``"same"`` or ``"valid"``.
        dilation: up to 6.
        groups: must divide both numbers of channels.
        in_channels: up to 4.
        out_channels: up to 4.
        transposed: `nn.ConvTranspose2d` instead of `nn.Conv2d`.
        dims: 2 for images, 1 for lines.

    Raises:
        traitlets.TraitError: a value is impossible, when it is passed and whenever it is set; the sentence names the
            argument, its value, the reason, and a value that works.

    Example:
        >>> explorer = ConvExplorer(input_size=8, kernel_size=3, stride=2, padding=1)
        >>> explorer.output_size, explorer.num_params, explorer.mult_adds
        (4, 10, 144)
        >>> explorer.groups = 2
        Traceback (most recent call last):
            ...
        traitlets.traitlets.TraitError: groups=2 is not possible here: groups must divide in_channels (1) and ...
    """

    _esm = asset("explorer.js")
    _css = asset("explorer.css")

    # Any: the settings check types themselves, with sentences that say what would work.
    dims = traitlets.Any(2).tag(sync=True)
    input_size = traitlets.Any(8).tag(sync=True)
    kernel_size = traitlets.Any(3).tag(sync=True)
    stride = traitlets.Any(1).tag(sync=True)
    padding = traitlets.Any(0).tag(sync=True)
    dilation = traitlets.Any(1).tag(sync=True)
    groups = traitlets.Any(1).tag(sync=True)
    in_channels = traitlets.Any(1).tag(sync=True)
    out_channels = traitlets.Any(1).tag(sync=True)
    transposed = traitlets.Any(False).tag(sync=True)

    def __init__(
        self,
        *,
        input_size: int = 8,
        kernel_size: int = 3,
        stride: int = 1,
        padding: Padding = 0,
        dilation: int = 1,
        groups: int = 1,
        in_channels: int = 1,
        out_channels: int = 1,
        transposed: bool = False,
        dims: int = 2,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name in _NAMES}
        _checked(settings, None)
        super().__init__(**settings)
        self._saved: DisplayHandle | None = None
        self._saving: threading.Timer | None = None
        self.observe(self._save_soon, _NAMES)

    def __repr__(self) -> str:
        return repr(self.settings).replace("ConvSettings", "ConvExplorer", 1)

    @traitlets.validate(*_NAMES)
    def _goes_with_the_others(self, proposal: Any) -> object:  # traitlets' Bunch
        name = proposal.trait.name
        settings = {other: getattr(self, other) for other in _NAMES} | {name: proposal.value}
        return getattr(_checked(settings, name), name)

    @property
    def settings(self) -> ConvSettings:
        """All settings of now, as one frozen value."""
        return ConvSettings(**{name: getattr(self, name) for name in _NAMES})

    @property
    def output_size(self) -> int:
        """Pixels along each axis of the output."""
        return geometry.output_size(self._operation())[0]

    @property
    def num_params(self) -> int:
        """Weights and biases."""
        return self._num_weights() + int(self.out_channels)

    @property
    def mult_adds(self) -> int:
        """Products of a weight and a pixel for one image: zeros of the padding are counted, biases are not."""
        places = self.input_size if self.transposed else self.output_size
        return int(self._num_weights() * places**self.dims)

    @property
    def receptive_field(self) -> geometry.ReceptiveField:
        """What one output sees: size, jump and start along each axis, in input pixels."""
        image = geometry.pixels((self.input_size,) * self.dims)
        return geometry.compose(image, self._operation()).receptive_field

    def code(self, form: CodeForm = "nn") -> str:
        """The layer as a runnable program that ends in ``y``.

        Args:
            form: ``"nn"``, ``"functional"``, ``"unfold"`` or ``"keras"``.

        Raises:
            ValueError: `form` is none of them.
        """
        return conv_code(form, **asdict(self.settings))

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one page that does all of this with no kernel and no network, beginning with the settings of now.

        Args:
            path: the file, overwritten if it exists.

        Returns:
            The path.
        """
        target = Path(path)
        target.write_text(_page(self.settings), encoding="utf-8")
        return target

    def _ipython_display_(self) -> None:
        # Two outputs: the live view, of which a saved notebook keeps nothing, and a page, which the live one hides.
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        display({"application/vnd.jupyter.widget-view+json": view}, raw=True)
        self._saved = display(self._for_the_file(), raw=True, display_id=True)

    def _for_the_file(self) -> dict[str, str]:
        page = html.escape(_page(self.settings))
        code = html.escape(self.code())
        text = _SAVED.format(page=page, settings=html.escape(repr(self)), code=code)
        return {"text/html": text, "text/plain": repr(self)}

    def _save_soon(self, _change: object) -> None:
        """Bring the saved page up to date when the hand rests: a slider sends sixty values a second."""
        if self._saved is None:
            return
        if self._saving is not None:
            self._saving.cancel()
        self._saving = threading.Timer(0.5, self._save)
        self._saving.daemon = True
        self._saving.start()

    def _save(self) -> None:
        if self._saved is not None:
            self._saved.update(self._for_the_file(), raw=True)

    def _operation(self) -> geometry.field.Operation:
        size = (self.input_size,) * self.dims
        if self.transposed:
            return geometry.conv_transpose(size, self.kernel_size, self.stride, self.padding, dilation=self.dilation)
        return geometry.conv(size, self.kernel_size, self.stride, self.padding, self.dilation)

    def _num_weights(self) -> int:
        return int(self.out_channels * self.in_channels // self.groups * self.kernel_size**self.dims)


def _checked(values: dict[str, Any], changed: str | None) -> ConvSettings:
    try:
        settings = ConvSettings(**values)
        settings.check(changed)
    except ValueError as error:
        raise traitlets.TraitError(str(error)) from None
    return settings


def _page(settings: ConvSettings) -> str:
    return _PAGE.format(
        style=asset("explorer_page.css").read_text(encoding="utf-8").replace("</", "<\\/"),
        state=_escaped_json(asdict(settings)),
        script=_escaped_script(asset("explorer_page.js").read_text(encoding="utf-8")),
    )


def _escaped_json(value: object) -> str:
    """JSON that no HTML parser takes for markup."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _escaped_script(script: str) -> str:
    """A script that does not end where its own text speaks of the tag."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Convolution explorer</title>
<style>{style}</style>
</head>
<body>
<main id="convlab-explorer"></main>
<noscript>This page needs JavaScript, but no network.</noscript>
<script type="application/json" id="convlab-state">{state}</script>
<script type="module">{script}</script>
</body>
</html>
"""

# The style hides the place of a view that has no kernel any more; where a notebook is not trusted, JupyterLab drops
# both it and the frame, and shows the lines below.
_SAVED: Final = """<div class="convlab-static">
<style>
.jp-OutputArea-child:not(:has(> .jp-OutputArea-output > *)):has(+ .jp-OutputArea-child .convlab-static) {{
  display: none;
}}
</style>
<iframe title="Convolution explorer" loading="lazy" style="width: 100%; height: 1320px; border: 0"
  srcdoc="{page}"></iframe>
<details><summary>Settings and code</summary><p>{settings}</p><pre>{code}</pre></details>
</div>"""
