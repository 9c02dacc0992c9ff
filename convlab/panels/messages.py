"""The line in which a panel says what went wrong, in the words of whoever found out."""

import html
import traceback
from collections.abc import Callable

import ipywidgets as widgets


class Messages(widgets.HBox):
    """One message at a time, a folded traceback below it if there is one, and a button if something can be done.

    Every text is escaped.

    Attributes:
        text: the message as it stands, without the traceback; empty if there is none.
        remedy: the button beside the message, shown while there is something to do.
    """

    def __init__(self) -> None:
        self.text = ""
        self._line = widgets.HTML()
        self._act: Callable[[], object] = _nothing
        self.remedy = widgets.Button()
        self.remedy.on_click(lambda _: self._act())
        super().__init__([self._line, self.remedy])
        self.add_class("convlab-messages")
        self.clear()

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

    def exception(self, error: BaseException) -> None:
        """Say what an exception says: convlab's own as they stand, any other with its type and traceback."""
        if _is_ours(error):
            self.error(str(error))
        else:
            self.error(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))

    def guard(self, act: Callable[[], object]) -> None:
        """Call `act`, its error said here: a callback's exception would go to the log, where nobody looks."""
        try:
            act()
        except Exception as error:
            self.exception(error)

    def offer(self, text: str, tooltip: str, act: Callable[[], object]) -> None:
        """Show a button beside the present message; `act` is called when it is pressed."""
        self._act = act
        self.remedy.description, self.remedy.tooltip = text, tooltip
        self.remedy.layout.display = None

    def _say(self, text: str, block: str) -> None:
        self.text = text
        self._act = _nothing
        self.remedy.layout.display = "none"
        # A live region: a screen reader says it when it changes.
        self._line.value = f'<div role="status" aria-live="polite">{block}</div>'


def _nothing() -> None:
    """What the button does while it is hidden: a click may arrive late."""


def _is_ours(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "convlab"


def _block(css_class: str, text: str) -> str:
    return f'<div class="{css_class}">{html.escape(text)}</div>' if text else ""
