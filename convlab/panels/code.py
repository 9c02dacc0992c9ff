"""The *Code* tab: the bench as a plain PyTorch script, and as one line to be handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets as widgets

from convlab.panels import start
from convlab.panels.script import ScriptPanel
from convlab.panels.share import Share

if TYPE_CHECKING:
    from convlab.panels.lab import Lab


class Code(widgets.VBox):
    """What leaves the bench: its script, and its state for other benches.

    Args:
        lab: the bench.
        is_shown: whether somebody can see the tab; else nothing is made anew until a look.

    Attributes:
        script: `ScriptPanel`.
        share: `Share`.
    """

    def __init__(self, lab: Lab, is_shown: Callable[[], bool]) -> None:
        self._is_shown = is_shown
        self.script = ScriptPanel(
            code=lab.code,
            about=lambda: start.about_script(lab),
            weights=lambda path: start.save_weights(lab, path),
            changed=lambda: start.version_of_script(lab),
        )
        self.share = Share(
            state=lambda: lab.state,
            told=lambda state: start.changes(lab, state),
            take=lambda state: start.take(lab, state),
        )
        parts = []
        for title, part in (("Show code", self.script), ("Share", self.share)):
            parts += [widgets.HTML(f"<strong>{title}</strong>"), part]
        super().__init__(parts)
        self.add_class("convlab").add_class("convlab-code-tab")
        self.refresh()

    def refresh(self) -> None:
        """Show the bench as it is now."""
        if self._is_shown():
            self.script.follow()
            self.share.look()

    def follow(self) -> None:
        """A run is on: show its script if that has become another."""
        if self._is_shown():
            self.script.follow()

    def look(self) -> None:
        """Show it anew, whatever was shown: somebody looks."""
        if self._is_shown():
            self.script.look()
            self.share.look()

    def settle(self) -> None:
        """Block until everything asked for is done and shown."""
        self.script.settle()
        self.share.settle()
