"""The learning-rate panel without a browser: tests in their thread, suggestions, what goes wrong."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from convlab.data import resolve
from convlab.models.borrow import snapshot
from convlab.panels.lr_finder import LRFinder
from convlab.spec import TrainSpec
from convlab.training.lr_probe import probe_cost
from convlab.training.run import Run

pytestmark = pytest.mark.timeout(200)

DIGITS = resolve("digits")
DATA = resolve(((DIGITS.train.x[:320], DIGITS.train.y[:320]), (DIGITS.train.x[-50:], DIGITS.train.y[-50:])))


class Net(nn.Sequential):
    """A small network that can be told to break, and to take its time."""

    breaks_at = None
    steps = 0
    seconds = 0.0

    def forward(self, x):
        self.steps += 1
        time.sleep(self.seconds)
        if self.steps == self.breaks_at:
            raise ArithmeticError("<b>broken</b>")
        return super().forward(x)


def net():
    torch.manual_seed(0)
    return Net(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))


class Bench:
    """What the panel is put on."""

    def __init__(self, model=None, **changes):
        self.spec = TrainSpec(threads=1, **changes)
        self.model = model or net()
        self.went_on = 0
        self.panel = LRFinder(self.model, DATA, spec=lambda: self.spec, apply=self.apply, then=self.go_on)

    def go_on(self):
        self.went_on += 1

    def apply(self, lr):
        self.spec = self.spec.replace(lr=lr)


def bits(model):
    return [tensor.clone() for _, tensor in snapshot(model).tensors], [m.training for m in model.modules()]


def test_a_sweep_gives_suggestions_and_a_click_puts_one_on_the_bench():
    bench = Bench()
    before, panel = bits(bench.model), bench.panel
    assert all(button.disabled for button in panel.suggestions.values())
    panel.find()
    assert panel.find_button.disabled
    assert not panel.stop_button.disabled
    panel.settle()
    assert not panel.find_button.disabled
    for rule in ("mean", "valley", "steepest", "minimum"):
        found = panel.sweep.suggestion(rule)
        button = panel.suggestions[rule]
        assert found.reason in button.tooltip
        button.click()
        assert bench.spec.lr == float(f"{found.lr:.3g}")
        panel._messages.remedy.click()
        assert bench.spec.lr == 0.05
    assert bench.went_on == 4
    assert panel.suggestions["careful"].layout.display == "none"
    assert panel.sweep.checksum_before in panel.proof.value
    assert "Given back bit for bit" in panel.proof.value
    after = bits(bench.model)
    assert all(map(torch.equal, before[0], after[0]))
    assert before[1] == after[1]


def test_the_curve_is_the_sweep_and_a_click_on_it_chooses():
    bench = Bench()
    panel = bench.panel
    panel.find()
    panel.settle()
    raw, smoothed = panel.curves.lines
    assert np.array_equal(raw.x, panel.sweep.lrs)
    seen = np.isfinite(smoothed.y)
    assert np.array_equal(np.asarray(smoothed.y)[seen], panel.sweep.smoothed[seen])
    assert seen.sum() > 20
    assert panel.apply_button.disabled
    panel._on_pick(0.0123456, 2.0)
    assert panel.apply_button.description == "Apply 0.012"
    assert [mark.text for mark in panel.curves.marks][-1] == "chosen 0.012"
    panel.apply_button.click()
    assert bench.spec.lr == 0.0123
    assert bench.went_on == 0


def test_it_can_be_stopped_and_begun_again():
    bench = Bench()
    bench.model.seconds = 0.02
    bench.panel.find()
    while "Testing" not in bench.panel.line.value:
        time.sleep(0.01)
    bench.panel.find()  # a second click begins nothing
    bench.panel.stop()
    bench.panel.settle()
    assert bench.panel.sweep.ending == "stopped"
    assert bench.panel.sweep.given_back
    assert "stopped by hand" in bench.panel.line.value
    bench.model.seconds = 0.0
    bench.panel.find()
    bench.panel.settle()
    assert bench.panel.sweep.ending != "stopped"


def test_where_a_sweep_does_not_tell_the_careful_mode_is_proposed_with_its_cost():
    bench = Bench(epochs=2)
    panel = bench.panel
    panel.end_lr.value = 1e-5  # nothing is learned so low
    panel.find()
    panel.settle()
    assert "curve is flat" in panel._messages.text
    assert panel.suggestions["mean"].disabled
    cost = probe_cost(DATA, bench.spec, sweep=panel.sweep)
    assert str(cost) in panel._messages.text
    panel._messages.remedy.click()
    panel.settle()
    found = panel.probe.suggestion()
    assert panel.probe.given_back
    assert len(panel.trainings.lines) == len(panel.probe.lrs) == 7
    assert panel.suggestions["careful"].button_style == "primary"
    panel.suggestions["careful"].click()
    assert bench.spec.lr == float(f"{found.lr:.3g}")


def test_the_careful_mode_can_be_stopped():
    bench = Bench()
    bench.model.seconds = 0.005
    bench.panel.careful()
    while "short trainings" not in bench.panel.line.value:
        time.sleep(0.01)
    bench.panel.stop()
    bench.panel.settle()
    assert bench.panel.probe.ending == "stopped"
    assert bench.panel.probe.given_back


def test_a_run_that_trains_the_model_is_paused_on_request():
    bench = Bench(epochs=100_000)
    run = Run(bench.model, DATA, bench.spec).start()
    bench.panel._pause = run.pause
    bench.panel.find()
    bench.panel.settle()
    assert "being trained right now" in bench.panel._messages.text
    bench.panel._messages.remedy.click()
    bench.panel.settle()
    assert run.state == "paused"
    assert bench.panel.sweep.given_back
    assert "half-trained" in bench.panel.sweep.trained
    run.stop()


def test_what_the_model_raises_is_shown_and_the_model_is_as_it_was():
    bench = Bench()
    bench.model.breaks_at = 40
    before = bits(bench.model)
    bench.panel.find()
    bench.panel.settle()
    assert "ArithmeticError: <b>broken</b>" in bench.panel._messages.text
    assert "<b>broken" not in bench.panel._messages._line.value
    assert all(map(torch.equal, before[0], bits(bench.model)[0]))
    assert not bench.panel.find_button.disabled
    assert len(bench.panel.curves.lines[0].x) > 30
    assert "Given back bit for bit" in bench.panel.proof.value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("start_lr", -1.0, "start_lr must be a number above 0"),
        ("end_lr", 1e-9, "end_lr must be above start_lr"),
        ("num_steps", 3, "num_steps must be a whole number from 12"),
        ("seeds", 0, "seeds must be a whole number from 1"),
    ],
)
def test_an_impossible_option_is_said_in_one_sentence(name, value, message):
    panel = Bench().panel
    getattr(panel, name).value = value
    panel.find()
    panel.settle()
    assert message in panel._messages.text
