"""The style sheet of the panels, as a widget."""

import anywidget
from ipywidgets import Layout

from convlab.frontend._asset import asset


class Style(anywidget.AnyWidget):
    """Shows nothing and brings convlab's style sheet into the page; put one among a panel's children.

    The rules hold below an element of class ``convlab``: ``VBox([Style(), ...]).add_class("convlab")``.
    """

    _esm = asset("panels.js")
    _css = asset("panels.css")

    def __init__(self) -> None:
        super().__init__(layout=Layout(display="none"))
