"""The A/B panel: the same training twice, with one thing changed, over several seeds."""

import html
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

SETTINGS: Final = {
    "lr": "0.01",
    "momentum": "0.0",
    "optimizer": "adamw",
    "batch_size": "64",
    "weight_decay": "0.0005",
    "dropout": "0.5",
    "label_smoothing": "0.1",
    "clip_grad_norm": "1.0",
    "betas": "[0.8, 0.99]",
    "bf16": "true",
    "channels_last": "true",
}
"""What may differ, each with a value to show how one is typed."""


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
        self._messages = Messages()
        style = {"description_width": "auto"}
        self.setting = widgets.Dropdown(
            options=tuple(SETTINGS),
            value="momentum",
            # A Dropdown that has a description does not show its tooltip.
            description='<span title="The one thing that A and B do not share.">B differs in</span>',
            description_allow_html=True,
            style=style,
        )
        self.value = widgets.Text(description="which is", style=style)
        self.value.tooltip = "B's value; A has the one of the Training tab."
        self.seeds = widgets.BoundedIntText(3, min=1, max=100, description="Seeds", style=style)
        self.seeds.tooltip = (
            "Pairs of runs, each with an order of samples of its own; more of them tell an effect from luck."
        )
        self.seeds.add_class("convlab-seeds")
        self.start_button = widgets.Button(
            description="Run A/B", icon="play", tooltip="Train A and B in turn, for one seed after another."
        )
        self.start_button.on_click(lambda _: self._messages.guard(self.start))
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", tooltip="End; whole pairs are kept.", disabled=True
        )
        self.stop_button.on_click(lambda _: self.stop())
        self.about = widgets.Label()
        self.about.add_class("convlab-says")
        self.line = widgets.HTML()
        self.line.add_class("convlab-ab-line")
        row = widgets.HBox([self.setting, self.value, self.seeds, self.start_button, self.stop_button])
        row.add_class("convlab-ab")
        super().__init__([Style(), row, self.about, self.line, self._messages])
        self.add_class("convlab")
        for control in (self.setting, self.value, self.seeds):
            control.observe(lambda _: self.refresh(), "value")
        self.refresh()

    def refresh(self) -> None:
        """Say what would be compared, with the settings as they stand."""
        name, spec = str(self.setting.value), self._spec()
        self.value.placeholder = f"such as {SETTINGS[name]}"
        self.about.value = (
            f"A: the settings of the Training tab, {name} {getattr(spec, name)}. "
            f"B: the same, but {name} {self.value.value.strip() or '?'}. "
            f"{2 * self.seeds.value} trainings of {spec.epochs:,} epochs, on copies: your model stays as it is."
        )

    def _say(self, text: str) -> None:
        # A live region: a screen reader says it when it changes.
        self.line.value = f'<div role="status" aria-live="polite">{html.escape(text)}</div>'

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
            self._say(f"Training {run.name}: run {done} of {total}.")
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
            self._say(self.result.verdict("valid_loss" if self._data.valid is not None else "train_loss"))
        except Exception as error:
            self._say("")
            self._messages.exception(error)
        finally:
            self._going, self._run = False, None
            self._enable()

    def _enable(self) -> None:
        self.start_button.disabled, self.stop_button.disabled = self._going, not self._going


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
