"""The controls of a `TrainSpec`: each writes a new recipe into one trait, and the recipe itself does the checking."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import ipywidgets as widgets
import traitlets

from convlab.spec import OPTIMIZERS, SpecError, TrainSpec
from convlab.training.journal import LIVE_SETTINGS

_STYLE: Final = {"description_width": "7.5em"}

TOOLTIPS: Final[Mapping[str, str]] = {
    "lr": "Learning rate: how far each step moves the weights along the gradient. Works while training runs.",
    "momentum": "How much of the last step's direction carries over into the next one (SGD, RMSprop).",
    "weight_decay": "Pulls all weights towards zero a little at each step, against overfitting.",
    "batch_size": "Samples whose gradients are averaged for one step.",
    "epochs": "Passes over the training data. Can be raised while training runs.",
    "optimizer": "The rule that turns gradients into steps. Takes effect with the next run.",
    "seed": "Decides the order of the samples and all random numbers: the same seed gives the same curve.",
    "dropout": "Share of values that every dropout layer zeroes at random while training.",
}


class Settings(widgets.GridBox):
    """Controls for lr, momentum, weight decay, batch size, epochs, optimizer, seed, and dropout where a layer has it.

    Attributes:
        spec: the recipe as the controls stand; set it to move them.
        complaint: the recipe's own sentence when a control was given an impossible value, else empty.
    """

    spec = traitlets.Instance(TrainSpec)
    complaint = traitlets.Unicode()

    def __init__(self, spec: TrainSpec, *, dropout: float | None, resizable: bool) -> None:
        self.controls = _controls(spec, dropout)
        self._running = False
        self._resizable = resizable
        self._following = False
        for name, control in self.controls.items():
            control.add_class(f"convlab-{name.replace('_', '-')}")
            control.observe(self._on_control(name), "value")
        super().__init__(children=list(self.controls.values()), spec=spec)
        self.add_class("convlab-settings")
        self._enable()

    def set_running(self, running: bool) -> None:
        """While a run is on, only what can change in flight stays movable."""
        if running != self._running:
            self._running = running
            self._enable()

    def _enable(self) -> None:
        adam = self.spec.optimizer in ("adam", "adamw")
        for name, control in self.controls.items():
            fixed = self._running and name not in LIVE_SETTINGS
            control.disabled = fixed or (name == "momentum" and adam) or (name == "batch_size" and not self._resizable)
            control.tooltip = _tooltip(name, fixed, adam, self._resizable)

    def _on_control(self, name: str) -> Callable[[Any], None]:
        def changed(change: Any) -> None:  # noqa: ANN401  # traitlets' own bunch
            if self._following:
                return
            try:
                self.spec = self.spec.replace(**{name: change["new"]})
            except SpecError as error:
                self.complaint = str(error)
            else:
                self.complaint = ""

        return changed

    @traitlets.observe("spec")
    def _follow(self, change: Any) -> None:  # noqa: ANN401
        self._following = True
        try:
            for name, control in self.controls.items():
                value = getattr(change["new"], name)
                if value is not None and control.value != value:
                    control.value = value
        finally:
            self._following = False
        if isinstance(change["old"], TrainSpec) and change["old"].optimizer != change["new"].optimizer:
            self._enable()


def _tooltip(name: str, fixed: bool, adam: bool, resizable: bool) -> str:
    if fixed:
        return TOOLTIPS[name] + " Locked while a run is on: stop it to change this."
    if name == "momentum" and adam:
        return "Adam and AdamW have no momentum setting; their averages follow betas in TrainSpec."
    if name == "batch_size" and not resizable:
        return "Your own DataLoader makes the batches, so their size is fixed there."
    return TOOLTIPS[name]


def _controls(spec: TrainSpec, dropout: float | None) -> dict[str, Any]:
    def common(text: str) -> dict[str, Any]:
        return {"description": text, "style": _STYLE}

    controls: dict[str, Any] = {
        "lr": widgets.FloatLogSlider(
            spec.lr, base=10, min=-5, max=1, step=0.02, readout_format=".2g", **common("Learning rate")
        ),
        "optimizer": widgets.Dropdown(
            options=[("SGD", "sgd"), ("Adam", "adam"), ("AdamW", "adamw"), ("RMSprop", "rmsprop")],
            value=spec.optimizer,
            **common("Optimizer"),
        ),
        "momentum": widgets.FloatSlider(
            spec.momentum, min=0, max=0.99, step=0.01, readout_format=".2f", **common("Momentum")
        ),
        "batch_size": widgets.SelectionSlider(
            options=_sizes_with(spec.batch_size), value=spec.batch_size, **common("Batch size")
        ),
        "weight_decay": widgets.SelectionSlider(
            options=_decays_with(spec.weight_decay), value=spec.weight_decay, **common("Weight decay")
        ),
        "epochs": widgets.BoundedIntText(spec.epochs, min=1, max=10**7, **common("Epochs")),
        "seed": widgets.BoundedIntText(spec.seed, min=0, max=2**31 - 1, **common("Seed")),
    }
    assert [value for _, value in controls["optimizer"].options] == list(OPTIMIZERS)
    if dropout is not None:
        controls["dropout"] = widgets.FloatSlider(
            dropout, min=0, max=0.95, step=0.05, readout_format=".2f", **common("Dropout")
        )
    return controls


def _sizes_with(size: int) -> list[tuple[str, int]]:
    return [(f"{size:,}", size) for size in sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, size})]


def _decays_with(decay: float) -> list[tuple[str, float]]:
    decays = {0.0, *(m * 10.0**e for e in range(-6, 0) for m in (1, 3)), decay}
    return [(f"{value:.2g}", value) for value in sorted(round(value, 12) for value in decays)]
