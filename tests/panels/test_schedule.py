"""The schedule previewer without a browser: each scheduler, each control at its bounds, overlay, Apply."""

import html
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlab.limits import Limits
from convlab.panels.arguments import Arguments, Number, Parts, Typed, choices, words
from convlab.panels.lab import Lab
from convlab.panels.schedule import POINTS, SchedulePreview
from convlab.schedule_spec import SCHEDULERS, Choice, ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.history import EpochRecord, History
from convlab.training.schedule_code import schedule_code
from convlab.training.schedule_defaults import fitted
from convlab.training.schedules import curve_of

S = ScheduleSpec
ALL = sorted(SCHEDULERS)


class Bench:
    """What a bench tells the panel, and what it is told."""

    def __init__(self, **train: Any) -> None:
        self.train = TrainSpec(**{"epochs": 10, **train})
        self.per_epoch: int | None = 45
        self.history: History | None = None
        self.taken: list[ScheduleSpec | None] = []
        self.panel = SchedulePreview(
            train=lambda: self.train,
            steps_per_epoch=lambda: self.per_epoch,
            history=lambda: self.history,
            apply=self.take,
        )
        self.panel.settle()

    def take(self, spec: ScheduleSpec | None) -> None:
        self.taken.append(spec)
        self.train = self.train.replace(schedule=spec)

    @property
    def steps(self) -> int:
        return self.train.epochs * (self.per_epoch or 100)

    def control(self, name: str) -> Any:
        return self.panel._editor.controls[name]

    def move(self, name: str, value: Any) -> None:
        control = self.control(name)
        box = getattr(control, "box", None) or control.control
        box.value = value
        self.panel.settle()

    def choose(self, name: str | None, cadence: str = "step") -> None:
        self.panel.scheduler.value = None
        self.panel.cadence.value = cadence
        self.panel.scheduler.value = name
        self.panel.settle()

    @property
    def text(self) -> str:
        return self.panel._messages.text


@pytest.fixture
def bench() -> Bench:
    return Bench()


def expected(bench: Bench) -> np.ndarray:
    spec = bench.panel.spec
    calls = bench.steps if spec.cadence == "step" else bench.train.epochs
    metrics = bench.panel.scores.scores.values.tolist() if spec.scheduler == "ReduceLROnPlateau" else None
    assert metrics is None or len(metrics) == calls
    return curve_of(spec, bench.steps, train=bench.train, steps_per_epoch=bench.per_epoch, metrics=metrics).lrs


# -- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cadence", ["step", "epoch"])
@pytest.mark.parametrize("name", ALL)
def test_each_scheduler_is_drawn_as_it_will_be(name: str, cadence: str) -> None:
    bench = Bench()
    bench.choose(name, cadence)
    spec = bench.panel.spec
    own_cadence = "epoch" if name == "ReduceLROnPlateau" else cadence
    assert spec == fitted(name, cadence=own_cadence, steps=450, epochs=10, lr=bench.train.lr)
    assert bench.panel._editor.spec(spec.cadence) == spec, "the controls say the same"
    assert bench.text == ""
    assert bench.panel.curve.lrs.tolist() == expected(bench).tolist()
    (line,) = bench.panel.curves.lines
    assert (line.x.tolist(), line.y.tolist()) == (list(range(1, 451)), expected(bench).tolist())
    assert schedule_code(spec, bench.train) in html.unescape(bench.panel.code.value)
    assert set(bench.panel._editor.controls) == set(SCHEDULERS[name].arguments)


def test_it_opens_with_the_bench_s_schedule_or_a_cosine() -> None:
    assert Bench().panel.spec == S("CosineAnnealingLR", T_max=450)
    own = S("StepLR", step_size=7, gamma=0.3, cadence="epoch")
    bench = Bench(schedule=own)
    assert bench.panel.spec == own
    assert (bench.panel.scheduler.value, bench.panel.cadence.value) == ("StepLR", "epoch")
    assert (bench.control("step_size").read(), bench.control("gamma").read()) == (7, 0.3)


def test_constant_is_no_scheduler(bench: Bench) -> None:
    bench.panel.apply.click()
    bench.choose(None)
    assert bench.panel.spec is None
    assert bench.panel.curve.lrs.tolist() == [0.05] * 450
    assert bench.panel.cadence.disabled
    bench.panel.apply.click()
    assert bench.taken[1:] == [None]
    bench.choose("StepLR")
    assert bench.panel.spec.arguments["step_size"] == 150


def test_momentum_is_shown_where_it_is_cycled(bench: Bench) -> None:
    assert bench.panel.momentum.layout.display == "none"
    bench.choose("OneCycleLR")
    assert bench.panel.momentum.layout.display is None
    (line,) = bench.panel.momentum.lines
    assert (line.y.min(), line.y.max()) == pytest.approx((0.85, 0.95))
    assert "momentum 0.95 to 0.85" in bench.panel.summary.value
    bench.move("cycle_momentum", False)
    assert bench.panel.momentum.layout.display == "none"


def test_an_argument_that_is_torch_s_default_is_left_to_torch(bench: Bench) -> None:
    bench.move("eta_min", 0.01)
    assert bench.panel.spec.arguments == {"T_max": 450, "eta_min": 0.01}
    bench.move("eta_min", 0.0)
    assert bench.panel.spec.arguments == {"T_max": 450}


# -- the controls -----------------------------------------------------------------------------------------------------


def controls_of(editor: Arguments) -> list[tuple[Any, Any]]:
    """Each control that can be moved, and its argument; those of the parts, too."""
    found = []
    for name, control in editor.controls.items():
        if isinstance(control, Parts):
            found += [pair for inner in control.editors for pair in controls_of(inner)]
        else:
            found.append((control, SCHEDULERS[editor.scheduler].arguments[name]))
    return found


def far_values(control: Any, argument: Any) -> list[Any]:
    if isinstance(argument, Limits):
        ends = [number for _, number in control.slider.options]
        return [ends[0], ends[-1], argument.low, argument.high, argument.high * 2 + 1, -1, argument.example, None]
    if isinstance(argument, Choice):
        return list(argument.values)
    return ["", "nonsense (", "5", "9, 3", "1, 2, 3", "10, 100000", "0.5 ** epoch", "1 / (epoch - 3)", "10 ** x", "<b>"]


@given(st.data())
@settings(deadline=None, max_examples=120)
@pytest.mark.slow
def test_whatever_a_hand_does_there_is_a_curve_or_a_sentence(data: st.DataObject) -> None:
    bench = Bench()
    panel = bench.panel
    panel.scheduler.value = data.draw(st.sampled_from(ALL), "scheduler")
    for _ in range(data.draw(st.integers(1, 4), "moves")):
        if data.draw(st.booleans(), "cadence"):
            panel.cadence.value = data.draw(st.sampled_from(["step", "epoch"]))
        pairs = controls_of(panel._editor)
        control, argument = pairs[data.draw(st.integers(0, len(pairs) - 1), "which")]
        value = data.draw(st.sampled_from(far_values(control, argument)), "value")
        if isinstance(control, Number):
            control.none.value = value is None
            if value is not None:
                control.box.value = int(value) if argument.whole else float(value)
        elif isinstance(control, Typed):
            control.box.value = value
        else:
            control.control.value = value
    panel.settle()
    if panel.keep.disabled:
        assert bench.text.endswith((".", "]", "'")), bench.text
        assert "Error:" not in bench.text
    else:
        curve = panel.curve
        assert 1 <= len(curve) <= bench.steps
        assert panel._editor.spec(panel.cadence.value) == panel.spec
        assert (len(curve) == bench.steps) or bench.text


def test_a_wrong_value_is_said_and_the_last_curve_stays_until_it_is_right(bench: Bench) -> None:
    bench.choose("CyclicLR")
    before = bench.panel.curve
    bench.move("base_lr", 3.0)
    assert bench.text == "base_lr must be at most max_lr=0.05, got 3; try base_lr=0.005."
    assert bench.panel.curve is before
    assert bench.panel.apply.disabled
    bench.move("max_lr", 4.0)
    assert bench.text == ""
    assert bench.panel.curve.lrs.max() == pytest.approx(4)
    assert not bench.panel.apply.disabled
    bench.choose("MultiStepLR")
    bench.move("milestones", "30, ten")
    assert "milestones must be whole numbers" in bench.text
    bench.move("milestones", "30 40")
    assert bench.panel.spec.arguments["milestones"] == (30, 40)
    bench.choose("LambdaLR")
    bench.move("lr_lambda", "<img src=x onerror=alert(1)>")
    assert "no formula" in bench.text
    assert "<img" not in bench.panel._messages._line.value
    bench.move("lr_lambda", "1 if epoch < 9 else 0.5")
    assert "epoch &lt; 9" in bench.panel.code.value


@pytest.mark.parametrize("name", ALL)
def test_numbers_are_exact_and_every_control_is_explained(bench: Bench, name: str) -> None:
    bench.choose(name)
    for control, argument in controls_of(bench.panel._editor):
        shown = control.slider if isinstance(control, Number) else getattr(control, "box", None) or control.control
        explained = shown.tooltip or re.search('title="(.+?)"', shown.description)[1]
        assert len(explained) > 10
        if isinstance(control, Number):
            values = [value for _, value in control.slider.options]
            assert values == sorted(set(values))
            for value in values:
                argument.checked("", value)
            odd = 7 if argument.whole else 0.123456789
            if argument.low <= odd <= argument.high:
                control.show(odd)
                assert (control.slider.value, control.box.value, control.read()) == (odd, odd, odd)


def test_the_slider_and_the_box_follow_each_other(bench: Bench) -> None:
    control = bench.control("T_max")
    control.slider.value = 225
    assert (control.box.value, bench.panel.spec.arguments["T_max"]) == (225, 225)
    control.box.value = 123_456
    assert (control.slider.value, bench.panel.spec.arguments["T_max"]) == (123_456, 123_456)
    control.box.value = 0
    assert bench.text.startswith("T_max must be a whole number from 1")
    assert control.slider.value == 123_456
    control.box.value = 450
    assert bench.panel.spec == S("CosineAnnealingLR", T_max=450)


def test_sliders_span_what_is_worth_trying() -> None:
    assert choices("eta_min", Limits(0, 1e3, 0.0), 450)[:3] == [0, 1e-6, 1.5e-6]
    counts = choices("T_max", Limits(1, 10**9, 30, whole=True), 450)
    assert (counts[0], counts[-1]) == (1, 900)
    assert {450, 225, 150} <= set(counts)
    assert choices("gamma", Limits(0, 10, 0.1, above=True), 450)[0] == 0.001
    assert 0.9999 in choices("gamma", Limits(0, 10, 0.1, above=True), 450)
    assert choices("div_factor", Limits(1, 1e12, 25.0), 450)[-1] == 1e6


def test_none_leaves_an_argument_to_torch(bench: Bench) -> None:
    bench.choose("CyclicLR")
    down = bench.control("step_size_down")
    assert (down.none.value, down.slider.disabled, down.read()) == (True, True, None)
    down.none.value = False
    down.box.value = 10
    assert bench.panel.spec.arguments["step_size_down"] == 10
    down.none.value = True
    assert "step_size_down" not in bench.panel.spec.arguments


# -- the cadence ------------------------------------------------------------------------------------------------------


def test_a_mismatch_is_said_and_mended_by_one_click(bench: Bench) -> None:
    bench.panel.cadence.value = "epoch"
    bench.panel.settle()
    assert "T_max=450 but steps only 10 times" in bench.text
    assert bench.control("T_max").unit.value == "<span>epochs</span>"
    remedy = bench.panel._messages.remedy
    assert (remedy.layout.display, remedy.description) == (None, "Fit to this training")
    remedy.click()
    bench.panel.settle()
    assert bench.panel.spec == S("CosineAnnealingLR", T_max=10, cadence="epoch")
    assert bench.control("T_max").box.value == 10
    assert (bench.text, remedy.layout.display) == ("", "none")
    assert bench.panel.curve.lrs.tolist() == expected(bench).tolist()


def test_the_recipe_moves_and_the_schedule_follows(bench: Bench) -> None:
    bench.choose("OneCycleLR")
    bench.train = bench.train.replace(lr=0.2, epochs=20, batch_size=64)
    bench.per_epoch = 23
    bench.panel.refresh()
    bench.panel.settle()
    assert bench.panel.spec.arguments == {"max_lr": 0.2, "total_steps": 460}
    assert bench.control("max_lr").read() == 0.2
    # What a hand has set stays, but for rates, which follow the lr as they do on the bench.
    bench.move("total_steps", 1000)
    bench.move("pct_start", 0.1)
    bench.train = bench.train.replace(lr=0.1, epochs=30)
    bench.panel.refresh()
    bench.panel.settle()
    assert bench.panel.spec.arguments == {"max_lr": 0.1, "total_steps": 1000, "pct_start": 0.1}
    assert "total_steps=1000 but steps only 690 times" in bench.text
    bench.panel._messages.remedy.click()
    assert bench.panel.spec.arguments == {"max_lr": 0.1, "total_steps": 690, "pct_start": 0.1}


def test_unknown_steps_are_said(bench: Bench) -> None:
    bench.per_epoch = None
    bench.panel.refresh()
    bench.panel.settle()
    assert len(bench.panel.curve) == 1000
    assert "does not say how many steps" in bench.text


# -- compound schedules -----------------------------------------------------------------------------------------------


def test_warmup_and_cosine_and_their_parts(bench: Bench) -> None:
    bench.choose("SequentialLR")
    parts: Parts = bench.control("schedulers")
    assert [editor.scheduler for editor in parts.editors] == ["LinearLR", "CosineAnnealingLR"]
    marks = bench.panel.curves.marks
    assert [(mark.x, mark.text) for mark in marks] == [(46, "CosineAnnealingLR")]
    parts.editors[1].controls["eta_min"].box.value = 0.01
    bench.panel.settle()
    assert bench.panel.curve.lrs[-1] == pytest.approx(0.01, rel=0.01)
    parts.more.value = "StepLR"
    parts.add.click()
    bench.panel.settle()
    spec = bench.panel.spec
    assert [part.scheduler for part in spec.arguments["schedulers"]] == ["LinearLR", "CosineAnnealingLR", "StepLR"]
    assert spec.arguments["schedulers"][1].arguments["eta_min"] == 0.01
    assert bench.control("milestones").box.value == "45, 247"
    assert bench.panel.curve.lrs.tolist() == expected(bench).tolist()
    assert bench.text == ""
    bench.control("schedulers").removers[1].click()
    bench.panel.settle()
    assert [part.scheduler for part in bench.panel.spec.arguments["schedulers"]] == ["LinearLR", "StepLR"]
    bench.control("schedulers").removers[0].click()
    assert "milestones must be" in bench.text
    assert len(bench.control("schedulers").editors) == 2
    bench.panel.cadence.value = "epoch"
    bench.panel.fit()
    bench.panel.settle()
    assert {part.cadence for part in bench.panel.spec.arguments["schedulers"]} == {"epoch"}
    assert bench.control("milestones").read() == (1,)
    bench.choose("ChainedScheduler")
    bench.control("schedulers").removers[1].click()
    bench.panel.settle()
    assert [part.scheduler for part in bench.panel.spec.arguments["schedulers"]] == ["LinearLR"]


def test_a_compound_inside_another_can_be_shown(bench: Bench) -> None:
    inner = fitted("SequentialLR", cadence="step", steps=450, epochs=10, lr=0.05)
    spec = S("ChainedScheduler", schedulers=[inner, S("ConstantLR", factor=0.5, total_iters=9)])
    bench.panel.show(spec)
    bench.panel.settle()
    assert bench.panel.spec == spec == bench.panel._editor.spec("step")
    assert bench.panel.curve.lrs.tolist() == expected(bench).tolist()


# -- the overlay ------------------------------------------------------------------------------------------------------


def test_curves_are_kept_and_removed(bench: Bench) -> None:
    panel = bench.panel
    panel.keep.click()
    panel.keep.click()
    bench.choose("StepLR")
    panel.keep.click()
    lines = panel.curves.lines
    names = ["CosineAnnealingLR T_max=450", "CosineAnnealingLR T_max=450 (2)", "StepLR step_size=150, gamma=0.1"]
    assert [line.name for line in lines] == [*names, "StepLR step_size=150, gamma=0.1"]
    assert [line.style for line in lines] == ["faint"] * 3 + ["solid"]
    buttons = panel._kept_row.children
    assert [button.description for button in buttons] == names
    buttons[1].click()
    assert [line.name for line in panel.curves.lines] == [names[0], names[2], names[2]]
    assert len(panel._kept_row.children) == 2


def test_long_curves_are_sent_thinned() -> None:
    bench = Bench(epochs=300)
    bench.choose("StepLR")
    (line,) = bench.panel.curves.lines
    assert len(bench.panel.curve) == 13_500
    assert len(line.x) <= POINTS
    assert {4500, 4501} <= set(line.x.tolist()), "a jump stays upright"
    bench.choose("StepLR")
    bench.move("step_size", 1)
    bench.move("gamma", 10.0)
    (line,) = bench.panel.curves.lines
    assert np.isfinite(line.y).all()
    assert "the lr is infinite" in bench.text


# -- scores for ReduceLROnPlateau -------------------------------------------------------------------------------------


def test_a_plateau_watches_a_drawing_or_the_run(bench: Bench) -> None:
    panel = bench.panel
    assert panel.scores.layout.display == "none"
    panel.scheduler.value = "ReduceLROnPlateau"
    panel.settle()
    assert panel.scores.layout.display is None
    assert panel.cadence.value == "epoch"
    assert panel.curve.lrs[-1] < 0.05, "the example has a plateau"
    panel.scores._on_draw([1, 10], [2.0, 0.1])
    panel.settle()
    assert panel.scores.scores.values == pytest.approx(np.linspace(2, 0.1, 10))
    assert set(panel.curve.lrs) == {0.05}, "it falls to the end"
    panel.scores._on_draw([4.0, 10.0], [1.4, 1.4])
    panel.settle()
    assert panel.curve.lrs.tolist() == expected(bench).tolist()
    assert panel.curve.lrs[-1] < 0.05

    panel.scores.source.value = "run"
    panel.settle()
    assert "no training" in bench.text
    bench.history = History()
    for epoch in range(1, 5):
        bench.history.add_epoch(EpochRecord(epoch, 45 * epoch, 1.0, None, 0.7, None, 0.05, 1.0))
    panel.refresh()
    panel.settle()
    assert len(panel.curve) == 5 * 45 - 1
    assert "4 scores of the current run" in bench.text
    (line,) = panel.scores.curves.lines
    assert line.y.tolist() == [0.7] * 4
    bench.move("mode", "max")
    panel.scores.source.value = "hand"
    panel.settle()
    assert panel.scores.curves.y_label == "validation accuracy"
    assert panel.scores.scores.values[-1] > panel.scores.scores.values[0]


def test_the_run_is_watched_first_where_it_has_something_to_say() -> None:
    bench = Bench()
    bench.history = History()
    bench.history.add_epoch(EpochRecord(1, 45, 1.0, None, 0.7, None, 0.05, 1.0))
    bench.panel.scheduler.value = "ReduceLROnPlateau"
    bench.panel.settle()
    assert bench.panel.scores.source.value == "run"


# -- Apply ------------------------------------------------------------------------------------------------------------


def test_apply_hands_the_schedule_over_and_shows_a_refusal(bench: Bench) -> None:
    bench.panel.apply.click()
    bench.panel.settle()
    assert bench.taken == [S("CosineAnnealingLR", T_max=450)]
    assert (bench.panel.apply.description, bench.panel.apply.disabled) == ("On the bench", True)
    bench.move("T_max", 400)
    assert (bench.panel.apply.description, bench.panel.apply.disabled) == ("Apply", False)

    def refuse(_: Any) -> None:
        TrainSpec(lr=-1)

    bench.panel._apply = refuse
    bench.panel.apply.click()
    assert bench.text.startswith("lr must be a number above 0")


def test_it_stands_on_the_bench() -> None:
    lab = Lab(spec=TrainSpec(epochs=3, lr=0.1))
    panel = lab.tabs.show("Schedule")
    panel.settle()
    assert panel.spec == S("CosineAnnealingLR", T_max=lab.data.train.num_samples * 3 // 32 + 1)
    panel.apply.click()
    assert lab.spec.schedule == panel.spec
    lab.set(lr=0.2, epochs=6)
    panel.settle()
    assert panel.spec.arguments["T_max"] == len(panel.curve)
    assert panel.curve.lrs[0] == 0.2
    panel.choose(None)
    panel.apply.click()
    assert lab.spec.schedule is None
    lab.close()


def test_words() -> None:
    assert words(None) == "constant lr"
    assert words(S("StepLR", step_size=3)) == "StepLR step_size=3"
    parts = [S("LinearLR"), S("ExponentialLR", gamma=0.9)]
    assert words(S("SequentialLR", schedulers=parts, milestones=[5])) == "LinearLR → ExponentialLR"
    assert words(S("ChainedScheduler", schedulers=parts)) == "LinearLR * ExponentialLR"


def test_controls_that_are_replaced_are_closed(bench: Bench) -> None:
    editor = bench.panel._editor
    box = bench.control("T_max").box
    bench.choose("StepLR")
    assert editor.comm is None
    assert box.comm is None
