"""A button that copies a text to the clipboard of whoever sits before the page."""

import anywidget
import traitlets

from convlab.frontend._asset import asset


class CopyButton(anywidget.AnyWidget):
    """Copies `text` and says so beside it; where the browser forbids that, it says how to.

    Attributes:
        text: what is copied; without any the button is off.
        description: what stands on it.
        tooltip: what it does, in a sentence.

    Example:
        >>> CopyButton(text="x = 1", tooltip="Copy the line.").description
        'Copy'
    """

    _esm = asset("copy.js")

    text = traitlets.Unicode().tag(sync=True)
    description = traitlets.Unicode("Copy").tag(sync=True)
    tooltip = traitlets.Unicode().tag(sync=True)
