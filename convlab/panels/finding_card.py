"""One finding of the advice panel: what was seen, the picture that shows it, and the button that does something."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Final

import ipywidgets as widgets

from convlab.diagnosis.diagnose import topic_of
from convlab.diagnosis.finding import Finding
from convlab.plots.figure import new_figure, png

SURE: Final = {
    "sure": "It follows from the numbers.",
    "likely": "Usually right; look at the picture.",
    "possible": "One of several explanations.",
}


class FindingCard(widgets.HBox):
    """Shows a finding, and a later one of the same rule in its place: a button is not taken from under a hand.

    Args:
        apply: puts a finding's remedy in force.

    Attributes:
        finding: the one that is shown, or None.
    """

    def __init__(self, apply: Callable[[Finding], object]) -> None:
        self.finding: Finding | None = None
        self.text = widgets.HTML()
        self.button = widgets.Button(description="Apply", icon="check")
        self.button.on_click(lambda _: None if self.finding is None else apply(self.finding))
        self.picture = widgets.Image(format="png")
        self.picture.add_class("convlab-evidence")
        left = widgets.VBox([self.text, self.button])
        left.add_class("convlab-finding-text")
        super().__init__([left, self.picture])
        self.add_class("convlab-finding")

    def show(self, finding: Finding, *, is_first: bool) -> None:
        """Show this one, as the first thing to look at or as one of the others."""
        self.finding = finding
        self.button.button_style = "primary" if is_first else ""
        sure = html.escape(SURE[finding.confidence])
        self.text.value = (
            f"<h4><span class='convlab-topic'>{topic_of(finding)}</span> {html.escape(finding.seen)}</h4>"
            f"<p>{html.escape(finding.why)}</p>"
            f"<p><strong>Try</strong> {html.escape(finding.remedy.text)}.</p>"
            f"<p class='convlab-source'><abbr title='{sure}'>{finding.confidence}</abbr> · "
            f"{html.escape(finding.source)}</p>"
        )
        self.button.tooltip = f"Do it on the bench: {finding.remedy.text}. Undo takes it back."
        self.button.layout.display = None if finding.remedy.can_be_applied else "none"
        self._draw(finding)

    def _draw(self, finding: Finding) -> None:
        self.picture.layout.display = "none" if finding.picture is None else None
        if finding.picture is not None:
            figure = new_figure(3.6, 2.3)
            finding.plot(figure.add_subplot())
            self.picture.value = png(figure)
            self.picture.alt = f"{finding.picture.title}: {finding.seen}"
