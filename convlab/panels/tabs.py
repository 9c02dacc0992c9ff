"""Tabs whose panels are made when they are first looked at: a bench that opens at once."""

import html
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets


class Tabs(widgets.Tab):
    """Named panels, one visible at a time.

    Args:
        panels: title -> function that makes the panel; the first is made at once. One that raises leaves its sentence.
    """

    def __init__(self, panels: Mapping[str, Callable[[], Any]]) -> None:
        self._names = list(panels)
        self._make = dict(panels)
        super().__init__([widgets.VBox() for _ in panels], titles=tuple(panels), selected_index=0)
        self.observe(lambda change: self._fill(change["new"]), "selected_index")
        self._fill(0)

    def show(self, title: str) -> Any:
        """Show the panel with this title, and return it."""
        index = self._names.index(title)
        self._fill(index)
        self.selected_index = index
        return self.children[index].children[0]

    def is_shown(self, title: str) -> bool:
        """Whether this is the one that is visible."""
        return self.selected_index == self._names.index(title)

    def renew(self) -> None:
        """Take all panels but the first away; each is made again when it is next looked at."""
        for box in self.children[1:]:
            gone, box.children = box.children, ()
            for panel in gone:
                close_whole(panel)
        self._fill(self.selected_index)

    def _fill(self, index: int | None) -> None:
        if index is None or self.children[index].children:
            return
        try:
            panel = self._make[self._names[index]]()
        except Exception as error:  # what the user's model raised belongs into the tab
            panel = widgets.HTML(f'<div class="convlab-error">{html.escape(str(error))}</div>')
        self.children[index].children = (panel,)


def close_whole(widget: widgets.Widget) -> None:
    """Close a widget and all that it is made of: `Widget.close` leaves that open, in the kernel and in the page."""
    close_parts(widget)
    widget.close()


def close_parts(widget: widgets.Widget) -> None:
    """Close all that a widget is made of, and leave the widget itself."""
    own = (*getattr(widget, "children", ()), *(getattr(widget, name, None) for name in ("layout", "style")))
    for part in own:
        if isinstance(part, widgets.Widget):
            close_whole(part)
