"""A picture with a receptive field on it."""

import anywidget
import traitlets

from convlab.frontend._asset import asset


class FieldMap(anywidget.AnyWidget):
    """Draws a picture, the box of pixels that a unit sees as a frame, and its effective field as a glow.

    Attributes:
        size: height and width of the picture in pixels.
        picture: height x width x 3 bytes, RGB.
        box: first row, last row, first column, last column, inclusive; empty for none.
        effective: height x width bytes, 255 where the gradient is largest; empty for none.
        caption: what is shown, in a sentence.
        pixel: row and column of the picture that the person picked by mouse or arrow keys.
    """

    _esm = asset("field.js")
    _css = asset("field.css")

    size = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    box = traitlets.List(traitlets.Int()).tag(sync=True)
    effective = traitlets.Bytes().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    pixel = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
