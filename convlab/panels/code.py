"""The *Code* tab: the bench as a plain PyTorch script, and as one line to be handed on."""

from __future__ import annotations

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

    Attributes:
        script: `ScriptPanel`.
        share: `Share`.
    """

    def __init__(self, lab: Lab) -> None:
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
        self.script.follow()
        self.share.look()

    def look(self) -> None:
        """Show it anew, whatever was shown: somebody looks."""
        self.script.look()
        self.share.look()

    def settle(self) -> None:
        """Block until everything asked for is done and shown."""
        self.script.settle()
        self.share.settle()
