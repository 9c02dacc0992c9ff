"""The A/B panel: the same training twice, with one thing changed, over several seeds."""

import json
import threading
from collections.abc import Callable
from typing import Any, Final

import ipywidgets as widgets
from torch import nn

from convlab.data.resolve import Data
from convlab.frontend.style import Style
from convlab.net_spec import NetSpec
from convlab.panels.messages import Messages
from convlab.spec import SpecError, TrainSpec
from convlab.training.ab import ABResult, ab
from convlab.training.run import Run
from convlab.training.trainer import Criterion

SETTINGS: Final = (
    *("lr", "momentum", "optimizer", "batch_size", "weight_decay", "dropout", "label_smoothing", "clip_grad_norm"),
    *("betas", "bf16", "channels_last"),
)


class ABPanel(widgets.VBox):
    """Choose what differs, how many seeds, and read whether it matters.

    Args:
        network: what is trained: a `NetSpec`, whose weights each seed draws anew, or a network, trained in copies.
        data: what it learns.
        spec: the recipe of A.
        add: takes each run, for the table.
        free: raises where something else trains just now.
        criterion: the user's, if any.

    Attributes:
        result: of the latest comparison, or None.
    """

    def __init__(
        self,
        network: Callable[[], nn.Module | NetSpec],
        data: Data,
        spec: Callable[[], TrainSpec],
        add: Callable[[Run], object],
        free: Callable[[], object] = lambda: None,
        criterion: Criterion | None = None,
    ) -> None:
        self._network, self._data, self._spec, self._add, self._free = network, data, spec, add, free
        self._criterion = criterion
        self.result: ABResult | None = None
        self._thread: threading.Thread | None = None
        self._run: Run | None = None
        self._going = False
        style = {"description_width": "auto"}
        self.setting = widgets.Dropdown(options=SETTINGS, value="momentum", description="B differs in", style=style)
        self.value = widgets.Text(description="which is", placeholder="such as 0.0 or adamw", style=style)
        self.value.tooltip = "B's value; A has the one of the Training tab."
        self.seeds = widgets.BoundedIntText(3, min=1, max=100, description="Seeds", style=style)
        self.seeds.tooltip = "Pairs of runs; more of them tell an effect from noise."
        self.start_button = widgets.Button(description="Run A/B", icon="play", tooltip="Train A and B in turn.")
        self.start_button.on_click(lambda _: self._guarded(self.start))
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", tooltip="End; whole pairs are kept.", disabled=True
        )
        self.stop_button.on_click(lambda _: self.stop())
        self.line = widgets.Label()
        self._messages = Messages()
        row = widgets.HBox([self.setting, self.value, self.seeds, self.start_button, self.stop_button])
        row.add_class("convlab-ab")
        super().__init__([Style(), row, self.line, self._messages])
        self.add_class("convlab")
        self.setting.observe(lambda _: self._say_a(), "value")
        self._say_a()

    def _say_a(self) -> None:
        name = self.setting.value
        self.line.value = f"A: {name} {getattr(self._spec(), name)}, all else as on the Training tab."

    def start(self) -> None:
        """Begin.

        Raises:
            SpecError: B's value cannot be.
            RuntimeError: a comparison is on, or something else trains.
        """
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError("an A/B is running; stop it first.")
        self._free()
        spec, name = self._spec(), str(self.setting.value)
        value = _parsed(name, self.value.value)
        if spec.replace(**{name: value}) == spec:
            raise SpecError(f"{name} is {getattr(spec, name)} in A, too; give B another value.")
        self._messages.clear()
        self._going = True
        self._enable()
        self._thread = threading.Thread(
            target=self._compare, args=(spec, {name: value}, int(self.seeds.value)), name="convlab-ab"
        )
        self._thread.start()

    def stop(self) -> None:
        """End, keeping the pairs that are whole."""
        self._going = False
        if self._run is not None:
            self._run.stop(wait=False)

    def wait(self) -> None:
        """Block until it is over."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End it, and take the panel away."""
        self.stop()
        super().close()

    def _compare(self, spec: TrainSpec, change: dict[str, Any], seeds: int) -> None:
        total = 2 * seeds
        done = 0

        def on_run(run: Run) -> None:
            nonlocal done
            done += 1
            self._run = run
            self.line.value = f"{run.name}: run {done} of {total}"
            self._add(run)
            if not self._going:  # stopped while it was made
                run.stop(wait=False)

        try:
            self.result = ab(
                self._network(),
                self._data,
                spec,
                seeds=seeds,
                criterion=self._criterion,
                on_run=on_run,
                go_on=lambda: self._going,
                **change,
            )
            self.line.value = self.result.verdict("valid_loss" if self._data.valid is not None else "train_loss")
        except Exception as error:
            self._messages.exception(error)
        finally:
            self._going, self._run = False, None
            self._enable()

    def _enable(self) -> None:
        self.start_button.disabled, self.stop_button.disabled = self._going, not self._going

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self._messages.exception(error)


def _parsed(name: str, text: str) -> Any:
    """What was typed: a number, a list, true, null; or a word."""
    text = text.strip()
    if not text:
        raise SpecError(f"B has no value for {name}; type one, such as 0.0 or adamw.")
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
