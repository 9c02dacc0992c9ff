"""*Show code*: the training on the bench as a plain PyTorch script, to be read, copied and saved."""

import html
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from convlab.frontend.copy import CopyButton
from convlab.frontend.style import Style
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.training.script_file import needs_weights, save_script


class ScriptPanel(widgets.VBox):
    """A script that follows what it is of, with a button that copies it and one that writes it to a file.

    Args:
        code: makes the script; what it raises is shown.
        about: what the script is of, in a sentence.
        weights: called with a path, writes the weights that the script begins with.
        changed: a value that differs when the script would; asked often.

    Attributes:
        text: the script that is shown, empty where there is none.

    Example:
        >>> panel = ScriptPanel(code=lambda: "print(1)", about=lambda: "A script.", weights=print)
        >>> panel.look()
        >>> panel.settle()
        >>> panel.text
        'print(1)'
    """

    def __init__(
        self,
        *,
        code: Callable[[], str],
        about: Callable[[], str],
        weights: Callable[[Path], object],
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.text = ""
        self._code, self._about, self._weights, self._changed = code, about, weights, changed
        self._seen: object = object()
        # Two, as a look must not overtake what a hand asked for.
        self._looks, self._acts = Latest(self._on_error), Latest(self._on_error)
        self.line = widgets.HTML()
        self.copy = CopyButton(tooltip="Copy the script.")
        self.name = widgets.Text(
            "train.py",
            description="File",
            tooltip="Where Save writes the script, from the notebook's folder on.",
            layout=widgets.Layout(width="18em"),
            style={"description_width": "3em"},
        )
        self.save_button = widgets.Button(description="Save", icon="save", tooltip="Write the script to this file.")
        self.save_button.on_click(lambda _: self._acts(self._save))
        self.messages = Messages()
        self.shown = widgets.HTML().add_class("convlab-code").add_class("convlab-script")
        acts = widgets.HBox([self.save_button, self.name, self.copy]).add_class("convlab-buttons")
        super().__init__([Style(), self.line, acts, self.messages, self.shown])
        self.add_class("convlab").add_class("convlab-script-panel")

    def look(self) -> None:
        """Make the script anew: somebody looks."""
        self._seen = self._changed()
        self._looks(self._make)

    def follow(self) -> None:
        """Make the script anew if it would differ."""
        if self._changed() != self._seen:
            self.look()

    def settle(self) -> None:
        """Block until everything asked for is done and shown."""
        self._looks.wait()
        self._acts.wait()

    # -- in the panel's own thread ------------------------------------------------------------------------------------

    def _make(self) -> None:
        about = self._about()
        try:
            code = self._code()
        except Exception:
            self._show("", about)
            raise
        if code != self.text:
            self.messages.clear()
        if needs_weights(code):
            about += " It begins with weights that no seed tells: Save writes them beside it, as weights.pt."
        self._show(code, about)

    def _show(self, code: str, about: str) -> None:
        self.text = self.copy.text = code
        self.save_button.disabled = not code
        self.line.value = html.escape(about)
        self.shown.value = f'<pre tabindex="0" aria-label="Script">{html.escape(code)}</pre>' if code else ""

    def _save(self, overwrite: bool = False) -> None:
        path = Path(self.name.value.strip())
        try:
            files = save_script(self.text, path, weights=self._weights, overwrite=overwrite)
        except FileExistsError as error:
            self.messages.error(f"{str(error).partition(';')[0]}; take another name, or")
            self.messages.offer(
                "Overwrite", "Write them all the same.", lambda: self._acts(lambda: self._save(overwrite=True))
            )
            return
        names = " and ".join(file.name for file in files)
        self.messages.note(f"Saved {names} in {path.parent.resolve()}.")

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, NotImplementedError | ValueError | RuntimeError | OSError):
            self.messages.error(str(error))
        else:
            self.messages.exception(error)
