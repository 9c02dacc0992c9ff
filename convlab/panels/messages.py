"""The line in which a panel says what went wrong, in the words of whoever found out."""

import html

import ipywidgets as widgets


class Messages(widgets.HTML):
    """One message at a time, a folded traceback below it if there is one; every text is escaped."""

    def __init__(self) -> None:
        super().__init__()
        self.add_class("convlab-messages")
        self.text = ""

    def clear(self) -> None:
        """Say nothing."""
        self._say("", "")

    def note(self, text: str) -> None:
        """Say something that needs no action."""
        self._say(text, _block("convlab-note", text))

    def error(self, text: str, traceback: str = "") -> None:
        """Say what failed; `traceback` stands folded below."""
        block = _block("convlab-error", text)
        if traceback:
            block += f"<details><summary>Traceback</summary><pre>{html.escape(traceback)}</pre></details>"
        self._say(text, block)

    def _say(self, text: str, block: str) -> None:
        self.text = text
        # A live region: a screen reader says it when it changes.
        self.value = f'<div role="status" aria-live="polite">{block}</div>'


def _block(css_class: str, text: str) -> str:
    return f'<div class="{css_class}">{html.escape(text)}</div>' if text else ""
