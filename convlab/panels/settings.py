"""The controls of a `TrainSpec`: each writes a new recipe into one trait, and the recipe itself does the checking."""

import html
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import ipywidgets as widgets
import traitlets
from torch import nn

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
    "schedule": "How the learning rate moves during the training; choose one on the Schedule tab.",
    "schedule_mode": "What the learning rate's slider does while a schedule runs.",
}

MODES: Final[Mapping[str, tuple[str, str]]] = {
    "scale": ("Scale", "The slider multiplies what is left of the schedule."),
    "hold": (
        "Hold",
        "The schedule stands still and the slider sets the learning rate; Scale takes it up again from there.",
    ),
    "release": ("Release", "The slider sets the learning rate; the schedule runs on unseen, and Scale joins it again."),
}


class Settings(widgets.GridBox):
    """Controls for lr, momentum, weight decay, batch size, epochs, optimizer, seed, dropout where a layer has it, and,
    where there is a schedule, what the lr's slider does to it.

    Attributes:
        spec: the recipe as the controls stand; set it to move them.
        complaint: the recipe's own sentence when a control was given an impossible value, else empty.
        moving: held while a control or `spec` moves: callbacks and runs come from several threads.
    """

    spec = traitlets.Instance(TrainSpec)
    complaint = traitlets.Unicode()

    def __init__(self, spec: TrainSpec, *, dropout: float | None, resizable: bool) -> None:
        self.controls = _controls(spec, dropout)
        self._running = False
        self._resizable = resizable
        self._following = False
        self.moving = threading.RLock()
        for name, control in self.controls.items():
            control.add_class(f"convlab-{name.replace('_', '-')}")
            control.observe(self._on_control(name), "value")
        self.schedule = _Schedule(self._remove_schedule)
        self.schedule.mode.observe(self._on_control("schedule_mode"), "value")
        super().__init__(children=[*self.controls.values(), self.schedule], spec=spec)
        self.add_class("convlab-settings")
        self.schedule.show(spec)
        self._enable()

    def offer_dropout(self, p: float | None) -> None:
        """Have a control for dropout, at `p`, or none: another network may have such a layer, or not."""
        with self.moving:
            old = self.controls.pop("dropout", None)
            if p is not None:
                control = self.controls["dropout"] = _dropout_control(p)
                control.add_class("convlab-dropout")
                control.observe(self._on_control("dropout"), "value")
            self.children = [*self.controls.values(), self.schedule]
            self.spec = self.spec.replace(dropout=None)
            self._enable()
        if old is not None:
            old.close()

    def set_running(self, running: bool) -> None:
        """While a run is on, only what can change in flight stays movable."""
        if running != self._running:
            self._running = running
            self._enable()

    def change(self, **changes: object) -> None:
        """Move controls: ``settings.change(lr=0.01)``.

        Raises:
            SpecError: a name or value cannot be; nothing moves then.
        """
        with self.moving:
            self.spec = self.spec.changed(**changes)

    def _enable(self) -> None:
        adam = self.spec.optimizer in ("adam", "adamw")
        for name, control in self.controls.items():
            fixed = self._running and name not in LIVE_SETTINGS
            control.disabled = fixed or (name == "momentum" and adam) or (name == "batch_size" and not self._resizable)
            tooltip = _tooltip(name, fixed, adam, self._resizable)
            if isinstance(control, widgets.Dropdown):
                # A Dropdown that has a description does not show its tooltip.
                control.description = f'<span title="{html.escape(tooltip)}">Optimizer</span>'
            else:
                control.tooltip = tooltip

    def _on_control(self, name: str) -> Callable[[Any], None]:
        def changed(change: Any) -> None:
            with self.moving:
                if self._following:
                    return
                try:
                    self.spec = self.spec.changed(**{name: change["new"]})
                except SpecError as error:
                    self.complaint = str(error)
                    self._show(self.spec)
                else:
                    self.complaint = ""

        return changed

    def _remove_schedule(self) -> None:
        with self.moving:
            self.spec = self.spec.replace(schedule=None)

    def _show(self, spec: TrainSpec) -> None:
        self._following = True
        try:
            for name, control in self.controls.items():
                value = getattr(spec, name)
                if value is None or control.value == value:
                    continue
                if isinstance(control, ChoiceSlider):
                    control.take(value)
                else:
                    control.value = value
            self.schedule.show(spec)
        finally:
            self._following = False

    @traitlets.observe("spec")
    def _follow(self, change: Any) -> None:
        with self.moving:
            self._show(change["new"])
        if isinstance(change["old"], TrainSpec) and change["old"].optimizer != change["new"].optimizer:
            self._enable()


class _Schedule(widgets.HBox):
    """The schedule by name, a button that ends it, and the switch for the lr's slider; not there without a schedule."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self.name = widgets.HTML()
        self.remove = widgets.Button(description="Remove", tooltip="End the schedule: the slider is the learning rate.")
        self.remove.on_click(lambda _: remove())
        self.mode = widgets.ToggleButtons(
            options=[(text, name) for name, (text, _) in MODES.items()],
            tooltips=[tooltip for _, tooltip in MODES.values()],
            description="Its lr slider",
            style={**_STYLE, "button_width": "auto"},
        )
        super().__init__([self.name, self.remove, self.mode])
        self.add_class("convlab-schedule-line")

    def show(self, spec: TrainSpec) -> None:
        """Say which schedule moves the lr, if one does."""
        self.layout.display = None if spec.schedule else "none"
        self.mode.value = spec.schedule_mode
        if spec.schedule:
            text = f"{spec.schedule.scheduler}, each {spec.schedule.cadence}"
            self.name.value = f'<span title="{html.escape(repr(spec.schedule))}">Schedule: {html.escape(text)}</span>'


def _tooltip(name: str, fixed: bool, adam: bool, resizable: bool) -> str:
    if fixed:
        return TOOLTIPS[name] + " Locked while a run is on: stop it to change this."
    if name == "momentum" and adam:
        return "Adam and AdamW have no momentum setting; their averages follow betas in TrainSpec."
    if name == "batch_size" and not resizable:
        return "Your own DataLoader makes the batches, so their size is fixed there."
    return TOOLTIPS[name]


def _controls(spec: TrainSpec, dropout: float | None) -> dict[str, Any]:
    controls: dict[str, Any] = {
        "lr": ChoiceSlider("Learning rate", _per_decade(-6, 1, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)), spec.lr),
        "momentum": ChoiceSlider(
            "Momentum", (0, *_tenths(1, 8), 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99), spec.momentum
        ),
        "batch_size": ChoiceSlider("Batch size", [2**power for power in range(11)], spec.batch_size),
        "weight_decay": ChoiceSlider("Weight decay", (0, *_per_decade(-6, -1, (1, 2, 5))), spec.weight_decay),
        "optimizer": widgets.Dropdown(
            options=[("SGD", "sgd"), ("Adam", "adam"), ("AdamW", "adamw"), ("RMSprop", "rmsprop")],
            value=spec.optimizer,
            description_allow_html=True,
            style=_STYLE,
        ),
        "epochs": widgets.BoundedIntText(spec.epochs, min=1, max=10**7, description="Epochs", style=_STYLE),
        "seed": widgets.BoundedIntText(spec.seed, min=0, max=2**31 - 1, description="Seed", style=_STYLE),
    }
    assert [value for _, value in controls["optimizer"].options] == list(OPTIMIZERS)
    if dropout is not None:
        controls["dropout"] = _dropout_control(dropout)
    return controls


def _dropout_control(p: float) -> "ChoiceSlider":
    return ChoiceSlider("Dropout", (0, 0.05, *_tenths(1, 9)), p)


class ChoiceSlider(widgets.SelectionSlider):
    """A slider over numbers worth trying; any other number that is set joins them, exactly.

    ipywidgets' own number sliders round to their step in the browser and send the rounded value back, so that merely
    opening a panel would turn lr 0.05 into 0.0501.
    """

    def __init__(self, text: str, choices: Iterable[float], value: float) -> None:
        self._choices = sorted({*choices, value})
        super().__init__(options=_labelled(self._choices), value=value, description=text, style=_STYLE)

    def take(self, value: float) -> None:
        """Move to `value`, adding it to the choices if it is none of them."""
        if value in self._choices:
            self.value = value
            return
        self._choices = sorted({*self._choices, value})
        with self.hold_sync():  # new options set the slider to the first of them, which nobody needs to see
            self.options = _labelled(self._choices)
            self.value = value


def _labelled(choices: Iterable[float]) -> list[tuple[str, float]]:
    return [(f"{choice:,}" if isinstance(choice, int) else f"{choice:.4g}", choice) for choice in choices]


def _per_decade(first: int, last: int, digits: Iterable[float]) -> list[float]:
    """Each of `digits` in each decade from 10**first on, and 10**last; read from text, so that 3e-5 is exactly 3e-5."""
    digits = tuple(digits)
    return [*(float(f"{digit}e{power}") for power in range(first, last) for digit in digits), float(f"1e{last}")]


def _tenths(first: int, last: int) -> list[float]:
    return [tenth / 10 for tenth in range(first, last + 1)]


def dropout_of(model: nn.Module) -> float | None:
    """The probability of the first dropout layer, or None where there is none."""
    layers = (m.p for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd))
    return next(layers, None)
