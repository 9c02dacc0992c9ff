"""The architecture panel without a browser: drags that change nothing, releases that edit, in a run and alone."""

import threading

import pytest
import torch

from convlab.models.gallery import lenet
from convlab.models.live import bind
from convlab.panels.architecture import Architecture
from convlab.panels.lab import Lab
from convlab.spec import TrainSpec


@pytest.fixture
def panel():
    live = bind(lenet(), (1, 1, 8, 8))
    return Architecture(live, lambda edit: live.apply(edit) if not isinstance(edit, str) else getattr(live, edit)())


def card(panel, path):
    return next(card for card in panel.strip.shown if card["path"] == path)


def test_the_strip_holds_each_layer_with_shape_field_and_parameters(panel):
    assert [card["path"] for card in panel.strip.shown] == list(panel.live.layers)
    assert card(panel, "conv2")["facts"] == ["32 x 4 x 4", "sees 8 x 8", "4,640 parameters"]
    assert not any(card["before"] for card in panel.strip.shown)


def test_a_control_offers_what_is_possible_and_says_why_it_stops(panel):
    panel.select("conv2")
    offered = panel.strip.offered
    assert list(offered) == list(panel.live.layers["conv2"].settings)
    kernel = offered["kernel_size"]
    assert kernel["values"] == [1, 2, 3, 4, 5]
    assert "pool2" in kernel["high"]
    for name, control in offered.items():
        for value in control["values"]:
            if value != control["value"]:
                panel.live.preview("conv2", **{name: value})


def test_a_drag_shows_the_difference_and_changes_nothing(panel):
    weights = [p.clone() for p in panel.live.model.parameters()]
    panel.select("conv2")
    panel.strip._told(panel.strip, {"type": "drag", "path": "conv2", "name": "out_channels", "value": 48}, [])
    panel.settle()
    assert card(panel, "conv2")["facts"][0] == "48 x 4 x 4"
    assert card(panel, "conv2")["before"][0] == "32 x 4 x 4"
    assert "fc1.in_features 128 → 192" in panel._messages.text
    assert all(map(torch.equal, weights, panel.live.model.parameters()))
    assert panel.live.model.fc1.in_features == 128


def test_a_release_edits_and_undo_puts_back(panel):
    weights = [p.clone() for p in panel.live.model.parameters()]
    panel.select("conv2")
    panel.strip._told(panel.strip, {"type": "release", "path": "conv2", "name": "out_channels", "value": 48}, [])
    panel.settle()
    assert panel.live.model.fc1.in_features == 192
    assert panel.strip.offered["out_channels"]["value"] == 48
    assert not card(panel, "conv2")["before"]
    panel.undo_button.click()
    panel.settle()
    assert all(map(torch.equal, weights, panel.live.model.parameters()))
    assert panel.undo_button.disabled
    panel.redo_button.click()
    panel.settle()
    assert panel.live.model.conv2.out_channels == 48


def test_what_a_page_was_not_offered_is_not_done(panel):
    panel.select("conv2")
    for content in (
        {"type": "release", "path": "conv2", "name": "out_channels", "value": 33333},
        {"type": "release", "path": "conv2", "name": "weight", "value": 3},
        {"type": "release", "path": "conv1", "name": "out_channels", "value": 48},
        {"type": "hack", "path": "conv2", "name": "out_channels", "value": 48},
    ):
        panel.strip._told(panel.strip, content, [])
    panel.settle()
    assert panel.live.model.conv2.out_channels == 32
    assert panel.live.journal == ()


def test_a_control_that_was_let_go_sets_its_own_layer_though_another_is_selected_at_once(panel):
    panel.select("conv2")
    gate = threading.Event()
    panel._latest.also(gate.wait)
    panel.strip._told(panel.strip, {"type": "release", "path": "conv2", "name": "out_channels", "value": 48}, [])
    panel.strip.selected = "conv1"
    gate.set()
    panel.settle()
    assert [str(edit) for edit in panel.live.journal] == ["conv2: out_channels=48"]
    assert {control["path"] for control in panel.strip.offered.values()} == {"conv1"}


def test_on_the_bench_an_edit_goes_into_the_run_and_reset_takes_it_back():
    lab = Lab(lenet(), "digits", TrainSpec(epochs=100_000))
    panel = lab.tabs.show("Architecture")
    lab.step()
    panel.select("conv1")
    panel.release("kernel_size", 5)
    panel.release("padding", 2)
    assert [str(change) for change in lab.current.journal] == ["conv1: kernel_size=5", "conv1: padding=2"]
    assert lab.curve.chart.marks
    assert not panel.undo_button.disabled
    assert panel.line.value == "Changed: conv1: kernel_size=5; conv1: padding=2"
    lab.run(wait=False)
    panel.release("out_channels", 24)
    assert lab.current.model.conv2.in_channels == 24
    assert not lab.current.ended
    assert lab.on_run in lab.current._listeners
    lab.reset()
    assert lab.model.conv1.kernel_size == (3, 3)
    assert lab.model.conv2.in_channels == 16
    fresh = lenet()
    assert all(map(torch.equal, fresh.parameters(), lab.model.parameters()))
    panel.settle()
    lab.close()
