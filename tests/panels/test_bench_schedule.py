"""The bench under a schedule, without a browser: the switch, the slider, the plan on the chart."""

import time

import numpy as np
import pytest
from test_bench_parts import X, Y, tiny

import convlab
from convlab.frontend.chart import LiveChart
from convlab.panels.lab import Lab
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import SpecError, TrainSpec

COSINE = ScheduleSpec("CosineAnnealingLR", T_max=90, eta_min=0.001)
SPEC = TrainSpec(epochs=30, batch_size=8, lr=0.1, schedule=COSINE)


@pytest.fixture
def lab():
    lab = Lab(tiny(), ((X, Y), (X[:6], Y[:6])), SPEC)
    yield lab
    lab.close()


def settled(lab: Lab) -> Lab:
    """Once a run that stands has taken what the controls say."""
    lab.pause()
    end = time.monotonic() + 30
    while lab._wishes or lab.spec != lab.current.settings:
        assert time.monotonic() < end, (lab.spec, lab.current.settings)
        time.sleep(0.002)
    lab.curve._planner.wait()
    return lab


def test_the_slider_before_a_run_scales_the_schedule_with_it(lab):
    slider = lab.settings.controls["lr"]
    slider.value = 0.05
    assert lab.spec.schedule.arguments == {"T_max": 90, "eta_min": 0.0005}
    lab.set(lr=0.1)
    assert lab.spec == SPEC
    lab.set(lr=0.2, schedule=COSINE)
    assert lab.spec.schedule == COSINE


def test_in_a_run_only_the_lr_is_changed_and_the_controls_say_what_is_in_force(lab):
    lab.step()
    lab.settings.controls["lr"].value = 0.05
    settled(lab)
    assert [(c.name, c.old, c.new) for c in lab.current.journal] == [("lr", 0.1, 0.05)]
    assert lab.spec == lab.current.settings == SPEC.with_lr(0.05)


def test_the_switch_holds_the_slider_shows_the_lr_and_scale_takes_it_up_again(lab):
    mode = lab.settings.schedule.mode
    lab.step()
    for _ in range(20):
        lab.step()
    mode.value = "hold"
    settled(lab)
    held = lab.current.optimizer.param_groups[0]["lr"]
    assert lab.settings.controls["lr"].value == held == lab.spec.lr < 0.1
    mode.value = "scale"
    settled(lab)
    assert lab.settings.controls["lr"].value == 0.1
    assert [str(c) for c in lab.current.journal][::2] == ["schedule held", "schedule goes on"]


def test_the_next_run_begins_with_the_schedule_in_force(lab):
    lab.step()
    lab.set(schedule_mode="hold", lr=0.03)
    settled(lab)
    lab.stop()
    lab.step()
    assert lab.spec.schedule_mode == lab.current.spec.schedule_mode == "scale"
    assert lab.current.spec.lr == 0.03


def test_the_schedule_is_shown_and_can_be_removed(lab):
    line = lab.settings.schedule
    assert line.layout.display is None
    assert "CosineAnnealingLR, each step" in line.name.value
    line.remove.click()
    assert lab.spec.schedule is None
    assert line.layout.display == "none"
    lab.set(schedule=ScheduleSpec("LambdaLR", lr_lambda="1 if epoch < 5 else 0.1"))
    assert "&lt;" in line.name.value
    assert "epoch < 5" not in line.name.value


def test_an_impossible_schedule_moves_nothing(lab):
    with pytest.raises(SpecError, match="schedule must be"):
        lab.set(schedule="cosine")
    assert lab.spec == SPEC


def sent(chart: LiveChart) -> dict[str, np.ndarray]:
    return {name: np.asarray(points) for name, points in chart.provider().items()}


def test_the_chart_holds_the_plan_and_redraws_what_is_left_of_it(lab):
    chart = lab.curve.chart
    assert not chart.shows_lr
    lab.step()
    settled(lab)
    assert chart.shows_lr
    steps, lrs = sent(chart)["planned_lr"]
    plan = convlab.simulate(COSINE, 90, train=SPEC)
    # The plan was asked for before or after the first step.
    assert np.array_equal(lrs, plan.lrs[int(steps[0]) - 1 :])
    lab.set(lr=0.05)
    settled(lab)
    steps, lrs = sent(chart)["planned_lr"]
    assert steps[0] == 2
    assert np.allclose(lrs, plan.lrs[1:] / 2)
    lab.set(schedule_mode="hold")
    settled(lab)
    assert len(set(sent(chart)["planned_lr"][1])) == 1


def test_without_a_schedule_there_is_no_third_plot():
    lab = Lab(tiny(), ((X, Y), (X[:6], Y[:6])), SPEC.replace(schedule=None))
    lab.step()
    assert not lab.curve.chart.shows_lr
    lab.set(schedule=COSINE)
    settled(lab)
    assert lab.curve.chart.shows_lr
    lab.close()
