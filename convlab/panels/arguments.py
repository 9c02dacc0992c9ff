"""Controls for the arguments of a scheduler, made from the table of what each may be: `SCHEDULERS`."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import ipywidgets as widgets

from convlab.formula import Formula
from convlab.limits import Limits, SpecError
from convlab.panels.argument_words import UNITS, tooltip
from convlab.panels.settings import ChoiceSlider
from convlab.schedule_spec import RATES, SCHEDULERS, Argument, Cadence, Choice, Function, ScheduleSpec, Steps
from convlab.training.schedule_defaults import defaults

Changed = Callable[[], None]
PartsWished = Callable[[str | int], None]

PARTS: Final = [name for name in SCHEDULERS if name not in ("SequentialLR", "ChainedScheduler", "ReduceLROnPlateau")]
"""What a compound schedule may be made of, here; nested compounds are shown where one is given."""

_STYLE: Final = {"description_width": "9.5em"}


class Arguments(widgets.GridBox):
    """One control for each argument of a scheduler.

    Args:
        spec: the schedule to begin with.
        calls: how often its `step` is called in the training: the scale of the sliders that count calls.
        changed: called after a person moved a control.
        parts_wished: called with the name of a scheduler that a compound one is to have, too, or with the number, from
            0, of the part that is to go.

    Attributes:
        controls: by torch's name of the argument, each with `read` and `show`.
    """

    def __init__(self, spec: ScheduleSpec, calls: int, changed: Changed, parts_wished: PartsWished) -> None:
        self.scheduler = spec.scheduler
        self._given = set(spec.arguments)
        self.controls: dict[str, Any] = {}
        for name, argument in SCHEDULERS[spec.scheduler].arguments.items():
            text = tooltip(spec.scheduler, name)
            value = self._value(spec, name)
            if isinstance(argument, Limits):
                self.controls[name] = Number(name, argument, text, value, calls, changed)
            elif isinstance(argument, Choice):
                self.controls[name] = _choice(name, argument, text, value, changed)
            elif isinstance(argument, Steps | Function):
                self.controls[name] = Typed(name, argument, text, value, changed)
            else:
                self.controls[name] = Parts(value, calls, changed, parts_wished)
        super().__init__(list(self.controls.values()))
        self.add_class("convlab-arguments")
        self.set_cadence(spec.cadence)

    def spec(self, cadence: Cadence) -> ScheduleSpec:
        """The schedule as the controls stand; an argument that is torch's default is left to torch.

        Raises:
            SpecError: together or one by one they cannot be.
        """
        own = defaults(self.scheduler)
        values = {name: control.read() for name, control in self.controls.items()}
        given = {
            name: value
            for name, value in values.items()
            if name in self._given or name not in own or value != own[name]
        }
        if isinstance(self.controls.get("schedulers"), Parts):
            given["schedulers"] = self.controls["schedulers"].specs(cadence)
        return ScheduleSpec(self.scheduler, cadence=cadence, **given)

    def show(self, spec: ScheduleSpec) -> None:
        """Move the controls to another schedule of the same class and as many parts, without a call of `changed`."""
        self._given |= set(spec.arguments)
        for name, control in self.controls.items():
            control.show(self._value(spec, name))
        self.set_cadence(spec.cadence)

    def fits(self, spec: ScheduleSpec) -> bool:
        """Whether `show` can show it."""
        parts: Parts | None = self.controls.get("schedulers")
        return spec.scheduler == self.scheduler and (parts is None or parts.fit(spec.arguments["schedulers"]))

    def set_cadence(self, cadence: Cadence) -> None:
        """Say what the numbers count."""
        for name, control in self.controls.items():
            if name in UNITS:
                control.set_unit(f"{cadence}s" if UNITS[name] == "calls" else UNITS[name])
            elif isinstance(control, Parts):
                control.set_cadence(cadence)

    def _value(self, spec: ScheduleSpec, name: str) -> Any:
        arguments = spec.arguments
        return arguments[name] if name in arguments else defaults(spec.scheduler).get(name)


class Number(widgets.HBox):
    """A slider over numbers worth trying, and a box beside it for any other, exactly."""

    def __init__(self, name: str, limits: Limits, text: str, value: Any, calls: int, changed: Changed) -> None:
        self._limits, self._changed, self._following = limits, changed, False
        start = value if value is not None else min(limits.example, calls)  # only counts may be None
        self.slider = ChoiceSlider(name, choices(name, limits, calls), _number(limits, start))
        self.slider.readout, self.slider.tooltip, self.slider.style = False, text, _STYLE
        box = widgets.IntText if limits.whole else widgets.FloatText
        # The description is the box's name for those who hear the page; the eye has the slider's.
        self.box = box(_number(limits, start), description=f"{name} =", tooltip=text, continuous_update=False)
        self.unit = widgets.HTML()
        self.none = widgets.Checkbox(False, description="None", indent=False, tooltip=f"Leave {name} to torch.")
        parts = [self.slider, self.box, self.unit, *([self.none] if limits.optional else [])]
        super().__init__(parts)
        self.add_class("convlab-number")
        self.show(value)
        self.slider.observe(lambda change: self._on_move(self.box, change["new"]), "value")
        self.box.observe(lambda change: self._on_move(self.slider, change["new"]), "value")
        self.none.observe(lambda _: self._on_move(None, None), "value")

    def read(self) -> Any:
        """The number as it stands, or None."""
        return None if self.none.value else self.box.value

    def show(self, value: Any) -> None:
        """Move to `value` without a word."""
        self._following = True
        try:
            self.none.value = value is None
            if value is not None:
                self.box.value = _number(self._limits, value)
                self.slider.take(self.box.value)
            self.slider.disabled = self.box.disabled = value is None
        finally:
            self._following = False

    def set_unit(self, unit: str) -> None:
        """Say what is counted."""
        self.unit.value = f"<span>{html.escape(unit)}</span>"

    def _on_move(self, other: Any, value: Any) -> None:
        if self._following:
            return
        self._following = True
        try:
            if other is self.box:
                other.value = value
            elif other is self.slider and self._allows(value):
                other.take(_number(self._limits, value))
            self.slider.disabled = self.box.disabled = self.none.value
        finally:
            self._following = False
        self._changed()

    def _allows(self, value: Any) -> bool:
        try:
            self._limits.checked("", value)
        except SpecError:
            return False  # the recipe says so in a moment
        return True


class Typed(widgets.HBox):
    """A line of text: a formula, or step numbers."""

    def __init__(self, name: str, argument: Argument, text: str, value: Any, changed: Changed) -> None:
        self._argument, self._following = argument, False
        hint = str(getattr(argument, "example", ""))
        self.box = widgets.Text(
            description=name, tooltip=text, placeholder=hint.strip("()"), continuous_update=False, style=_STYLE
        )
        self.unit = widgets.HTML()
        super().__init__([self.box, self.unit])
        self.add_class("convlab-typed")
        self.show(value)
        self.box.observe(lambda _: None if self._following else changed(), "value")

    def read(self) -> Any:
        """The text as the recipe takes it; what cannot be read stays text, and the recipe says what is wrong."""
        text = self.box.value.strip()
        if isinstance(self._argument, Steps):
            try:
                return tuple(int(word) for word in text.replace(",", " ").split())
            except ValueError:
                return text
        return None if not text and getattr(self._argument, "optional", False) else text

    def show(self, value: Any) -> None:
        """Write `value` without a word."""
        self._following = True
        try:
            if isinstance(value, tuple):
                self.box.value = ", ".join(map(str, value))
            else:
                self.box.value = value.text if isinstance(value, Formula) else ""
        finally:
            self._following = False

    def set_unit(self, unit: str) -> None:
        """Say what is counted."""
        self.unit.value = f"<span>{html.escape(unit)}</span>"


class Chosen(widgets.HBox):
    """A box to tick, or a list of torch's own words."""

    def __init__(self, control: Any, value: Any, changed: Changed) -> None:
        self.control, self._following = control, False
        super().__init__([control])
        self.show(value)
        control.observe(lambda _: None if self._following else changed(), "value")

    def read(self) -> Any:
        """The word, or True or False."""
        return self.control.value

    def show(self, value: Any) -> None:
        """Choose `value` without a word."""
        self._following = True
        try:
            self.control.value = value
        finally:
            self._following = False


def _choice(name: str, argument: Choice, text: str, value: Any, changed: Changed) -> Chosen:
    if set(argument.values) == {True, False}:
        return Chosen(widgets.Checkbox(description=name, tooltip=text, style=_STYLE), value, changed)
    # A Dropdown that has a description does not show its tooltip.
    label = f'<span title="{html.escape(text)}">{name}</span>'
    dropdown = widgets.Dropdown(options=argument.values, description=label, description_allow_html=True, style=_STYLE)
    return Chosen(dropdown, value, changed)


class Parts(widgets.VBox):
    """The schedules that a compound one is made of, each with its own controls."""

    def __init__(self, specs: Sequence[ScheduleSpec], calls: int, changed: Changed, parts_wished: PartsWished) -> None:
        self.editors = [Arguments(spec, calls, changed, _no_parts) for spec in specs]
        self.removers = [
            widgets.Button(description="Remove", tooltip=f"Take this {spec.scheduler} out.") for spec in specs
        ]
        for index, button in enumerate(self.removers):
            button.on_click(lambda _, index=index: parts_wished(index))
        self.more = widgets.Dropdown(
            options=PARTS,
            value="CosineAnnealingLR",
            description='<span title="A schedule to put after the others.">Another part</span>',
            description_allow_html=True,
            style=_STYLE,
        )
        self.add = widgets.Button(description="Add", icon="plus", tooltip="Add it, and fit all to the training.")
        self.add.on_click(lambda _: parts_wished(self.more.value))
        super().__init__([*self._blocks(specs), widgets.HBox([self.more, self.add]).add_class("convlab-part-add")])
        self.add_class("convlab-parts")

    def _blocks(self, specs: Sequence[ScheduleSpec]) -> list[widgets.Widget]:
        blocks = []
        for number, (spec, editor, button) in enumerate(zip(specs, self.editors, self.removers, strict=True), 1):
            title = widgets.HTML(f"<strong>{number}. {spec.scheduler}</strong>")
            head = widgets.HBox([title, button]).add_class("convlab-part-head")
            blocks.append(widgets.VBox([head, editor]).add_class("convlab-part"))
        return blocks

    def read(self) -> Any:
        """Nothing yet: the parts take the cadence of the whole, see `specs`."""
        return None

    def specs(self, cadence: Cadence) -> list[ScheduleSpec]:
        """The parts as their controls stand."""
        return [editor.spec(cadence) for editor in self.editors]

    def show(self, specs: Sequence[ScheduleSpec]) -> None:
        """Move the controls of every part."""
        for editor, spec in zip(self.editors, specs, strict=True):
            editor.show(spec)

    def fit(self, specs: Sequence[ScheduleSpec]) -> bool:
        """Whether these parts have these controls."""
        return len(specs) == len(self.editors) and all(
            editor.fits(spec) for editor, spec in zip(self.editors, specs, strict=True)
        )

    def set_cadence(self, cadence: Cadence) -> None:
        """Say what the numbers count."""
        for editor in self.editors:
            editor.set_cadence(cadence)


def _no_parts(_: str | int) -> None:
    """A compound schedule inside another keeps its parts."""


# -- the numbers of a slider ------------------------------------------------------------------------------------------


def choices(name: str, limits: Limits, calls: int) -> list[float]:
    """Numbers worth trying, within `limits`: on a log scale where the range asks for it, in even steps otherwise."""
    if limits.whole:
        found: Iterable[float] = range(1, 6) if name == "T_mult" else _even(calls)
    elif name in RATES:
        found = _decades(-6, 1, (1, 1.5, 2, 3, 5, 7))
    elif limits.high <= 1:
        found = (*_NEAR_NOTHING, *_TENTHS, 0.85, 0.95, 0.98, 0.99)
    elif name == "gamma":
        found = (*_NEAR_NOTHING, *_TENTHS, *_NEAR_ONE, 1.0)
    elif name == "power":
        found = (0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0)
    elif limits.low >= 1:
        found = _decades(0, 6, (1, 1.5, 2, 2.5, 3, 5, 7))
    else:
        found = _decades(-8, 0, (1, 2, 5))
    edges = [edge for edge in (limits.low, limits.high) if abs(edge) <= 1]
    inside = {number for number in (*found, *edges) if limits.low <= number <= limits.high}
    return sorted(_number(limits, number) for number in inside if not (limits.above and number == limits.low))


_TENTHS: Final = tuple(tenth / 10 for tenth in range(1, 10))
_NEAR_NOTHING: Final = (0.001, 0.01, 0.02, 0.05)
_NEAR_ONE: Final = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 0.99995, 0.99998, 0.99999)


def _number(limits: Limits, value: float) -> float:
    return int(value) if limits.whole else float(value)


def _even(calls: int) -> list[int]:
    """Up to twice the calls in some hundred steps, with the halves, thirds and quarters of the training among them."""
    step = max(1, calls // 50)
    marks = [calls // 4, calls // 3, calls // 2, 2 * calls // 3, 3 * calls // 4, calls]
    return [0, 1, *range(step, 2 * calls + 1, step), *(mark for mark in marks if mark)]


def _decades(first: int, last: int, digits: Iterable[float]) -> list[float]:
    return [float(f"{digit}e{power}") for power in range(first, last) for digit in digits] + [float(f"1e{last}")]


def words(spec: ScheduleSpec | None) -> str:
    """A schedule in a few words, for a legend."""
    if spec is None:
        return "constant lr"
    given: Mapping[str, Any] = spec.arguments
    if "schedulers" in given:
        joint = " → " if spec.scheduler == "SequentialLR" else " * "
        return joint.join(part.scheduler for part in given["schedulers"])
    shown = [f"{name}={_short(value)}" for name, value in given.items()]
    return " ".join([spec.scheduler, ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")])


def _short(value: Any) -> str:
    if isinstance(value, Formula):
        return value.text if len(value.text) < 30 else f"{value.text[:28]}…"
    return f"{value:.4g}" if isinstance(value, float) else str(list(value) if isinstance(value, tuple) else value)
