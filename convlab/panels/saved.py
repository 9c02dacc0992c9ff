"""What a panel leaves in the notebook's file: pictures that show once kernel and widgets are gone."""

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from IPython.display import display, update_display

Output = Mapping[str, str]

REST_SECONDS: Final = 1.0
"""A drawing takes a tenth of a second: between two clicks nobody needs it."""


class Saved:
    """Displays a panel followed by outputs that stand in for it in the saved notebook, and keeps those up to date.

    Several cells may show the same panel; all their outputs follow.

    Args:
        outputs: makes the data of the outputs that stand in, always as many.
    """

    def __init__(self, outputs: Callable[[], Sequence[Output]]) -> None:
        self._outputs = outputs
        self._name = f"convlab-{uuid.uuid4().hex}"
        self._shown = False
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def display(self, model_id: str) -> None:
        """Show the widget with this id, and what stands in for it."""
        view = {"version_major": 2, "version_minor": 0, "model_id": model_id}
        # The view alone, without text: a notebook that is not trusted then drops the output as a whole.
        display({"application/vnd.jupyter.widget-view+json": view}, raw=True)
        for index, output in enumerate(self._outputs()):
            display(dict(output), raw=True, display_id=f"{self._name}-{index}")
        self._shown = True

    def update(self) -> None:
        """Draw again, now."""
        with self._lock:
            self._cancel()
        if self._shown:
            for index, output in enumerate(self._outputs()):
                update_display(dict(output), raw=True, display_id=f"{self._name}-{index}")

    def update_soon(self) -> None:
        """Draw again once nothing has asked for it for a moment."""
        with self._lock:
            self._cancel()
            if self._shown:
                self._timer = threading.Timer(REST_SECONDS, self.update)
                self._timer.daemon = True
                self._timer.start()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
