"""*Share*: the bench as one string, to be copied, and a box that opens somebody else's on this bench."""

import html
import threading
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from convlab.frontend.copy import CopyButton
from convlab.frontend.style import Style
from convlab.lab_state import LabState
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages


class Share(widgets.VBox):
    """The state as text, and a box for another.

    What is pasted is read as data and told first: what it would change. *Open* does it.

    Args:
        state: the state of the bench as a string; what it raises is shown.
        told: what opening a state would change, a sentence each; raises where it cannot be opened here.
        take: opens it.

    Example:
        >>> text = LabState(net="lenet5").to_json()
        >>> panel = Share(state=lambda: text, told=lambda state: [f"network: {state.net}"], take=print)
        >>> panel.box.value = text
        >>> panel.settle()
        >>> panel.messages.text
        'Would change network: lenet5.'
    """

    def __init__(
        self,
        *,
        state: Callable[[], str],
        told: Callable[[LabState], Sequence[str]],
        take: Callable[[LabState], object],
    ) -> None:
        self._state, self._told, self._take = state, told, take
        # A look must not overtake what a hand asked for, nor come between.
        self._looks, self._acts = Latest(self._on_error), Latest(self._on_error)
        self._one_at_a_time = threading.RLock()
        self._pasted: LabState | None = None
        wide = widgets.Layout(width="auto", height="5em")
        self.mine = widgets.HTML().add_class("convlab-code").add_class("convlab-state")
        self.copy = CopyButton(tooltip="Copy the line, to hand it to others.")
        self.why_not = Messages()
        self.box = widgets.Textarea(
            placeholder='{"convlab": …', layout=wide, tooltip="The line that somebody copied from their bench."
        )
        self.box.observe(lambda _: self._acts(self._read), "value")
        self.open_button = widgets.Button(
            description="Open", icon="folder-open", tooltip="Make this bench the one in the box.", disabled=True
        )
        self.open_button.on_click(lambda _: self._acts(self._open))
        self.messages = Messages()
        super().__init__(
            [
                Style(),
                _label("This bench as one line: network, edits, recipe, data and seeds, as before any training."),
                self.mine,
                widgets.HBox([self.copy]).add_class("convlab-buttons"),
                self.why_not,
                _label("Another bench: paste its line here."),
                self.box,
                widgets.HBox([self.open_button]).add_class("convlab-buttons"),
                self.messages,
            ]
        )
        self.add_class("convlab").add_class("convlab-share")

    def look(self) -> None:
        """Show the state anew: somebody looks."""
        self._looks(self._look)

    def settle(self) -> None:
        """Block until everything asked for is done and shown."""
        self._acts.wait()
        self._looks.wait()

    # -- in the panel's own thread ------------------------------------------------------------------------------------

    def _look(self) -> None:
        text = ""
        try:
            text = self._state()
        except ValueError as error:
            self.why_not.error(str(error))
        else:
            self.why_not.clear()
        self.copy.text = text
        self.mine.value = f'<pre tabindex="0" aria-label="State">{html.escape(text)}</pre>' if text else ""
        with self._one_at_a_time:
            if self._pasted is not None:
                self._read()  # what it would change may be something else now

    def _read(self) -> None:
        with self._one_at_a_time:
            self._tell()

    def _tell(self) -> None:
        self._pasted, self.open_button.disabled = None, True
        text = self.box.value
        if not text.strip():
            self.messages.clear()
            return
        # Not `LabState.load`: what is pasted must not name a file.
        state = LabState.from_json(text)
        changes = self._told(state)
        if not changes:
            self.messages.note("This bench is that one already.")
            return
        self._pasted, self.open_button.disabled = state, False
        self.messages.note(f"Would change {'; '.join(changes)}.")

    def _open(self) -> None:
        with self._one_at_a_time:
            self._tell()  # again: what stands in the box is what is opened
            state, told = self._pasted, self.messages.text
            if state is None:
                return
            self._pasted, self.open_button.disabled = None, True
            self._take(state)
            self.messages.note(told.replace("Would change", "Opened: changed", 1))
        self.look()

    def _on_error(self, error: BaseException) -> None:
        self.open_button.disabled = True
        self.messages.exception(error)


def _label(text: str) -> widgets.HTML:
    return widgets.HTML(html.escape(text))
