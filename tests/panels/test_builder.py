"""A network chosen or put together in the panel is the one that the functions make."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convlab.data import resolve
from convlab.limits import SpecError
from convlab.models.build import code
from convlab.models.gallery import GALLERY
from convlab.net_spec import Block, NetSpec
from convlab.panels.build import NetBuilder
from convlab.panels.lab import Lab
from convlab.spec import TrainSpec

torch.set_num_threads(1)
DIGITS, SHAPES = resolve("digits"), resolve("shapes")


@pytest.fixture
def panel():
    taken = []
    panel = NetBuilder(DIGITS, lambda spec, seed: taken.append((spec, seed)))
    panel.taken = taken
    yield panel
    panel.settle()


def test_every_control_moves_the_recipe_and_what_is_shown(panel):
    panel.controls["out_channels"].value = 24
    panel.controls["norm"].value = "batch"
    panel.controls["padding"].value = "1"
    panel.controls["dropout"].value = 0.2
    panel.controls["bias"].value = False
    panel.head["hidden"].value = "64, 32"
    panel.init.value = "kaiming_normal"
    panel.settle()
    block = panel.spec.blocks[0]
    assert (block.out_channels, block.norm, block.padding, block.dropout, block.bias) == (24, "batch", 1, 0.2, False)
    assert panel.spec.head.hidden == (64, 32)
    assert panel.spec.init == "kaiming_normal"
    assert panel.copy.text == code(panel.spec)
    assert "conv 24, 3x3, batch, relu, max pool 2, dropout 0.2" in panel.blocks.options[0][0]
    assert '"conv1"' in panel.table.facts


def test_blocks_are_added_copied_moved_and_removed(panel):
    panel.climb("8-16")
    panel.block = 1
    panel.acts["add"].click()
    assert [block.out_channels for block in panel.spec.blocks] == [8, 16, 16]
    assert panel.block == 2
    panel.change(out_channels=5)
    panel.acts["up"].click()
    assert [block.out_channels for block in panel.spec.blocks] == [8, 5, 16]
    assert panel.block == 1
    panel.acts["remove"].click()
    assert [block.out_channels for block in panel.spec.blocks] == [8, 16]
    panel.acts["remove"].click()
    assert panel.acts["remove"].disabled
    assert panel.acts["up"].disabled


@pytest.mark.parametrize("data", [DIGITS, SHAPES], ids=["digits", "shapes"])
def test_the_gallery_is_taken_in_the_size_of_the_data_or_the_reason_is_said(data):
    panel = NetBuilder(data, lambda spec, seed: None)
    taken = 0
    for name, net in GALLERY.items():
        panel.gallery.value = name
        if panel.gallery.value == name:
            taken += 1
            assert panel.spec.input_size == data.input_size
            assert panel.spec == net.adapted(input_size=data.input_size, num_classes=data.num_classes)
            assert net.lesson[:20] in panel.about.value
        else:
            assert f"{name} takes no pictures" in panel._messages.text
    assert taken >= 6
    panel.change(out_channels=3)
    assert panel.gallery.value == ""
    panel.settle()


def test_what_cannot_be_is_said_and_the_controls_go_back(panel):
    before = panel.spec
    panel.ladder.value = "8-16-32-64"
    assert "block 4 has an input of 1x1" in panel._messages.text
    panel.ladder.value = "wide"
    assert "Filters must be whole numbers" in panel._messages.text
    panel.controls["stride"].value = 3
    assert "padding='same' is for stride 1 only" in panel._messages.text
    assert panel.controls["stride"].value == 1
    panel.controls["padding"].value = "<b>"
    assert "padding must be" in panel._messages.text
    panel.head["hidden"].value = "many"
    assert "hidden must be whole numbers" in panel._messages.text
    assert panel.spec == before
    with pytest.raises(SpecError):
        panel.choose("lenet5")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(["add", "copy", "up", "down", "remove"])
        | st.tuples(st.just("out_channels"), st.integers(1, 40))
        | st.tuples(st.just("kernel_size"), st.integers(1, 9))
        | st.tuples(st.just("pool"), st.sampled_from(["max", "avg", "none"]))
        | st.tuples(st.just("kind"), st.sampled_from(["conv", "residual", "inception", "separable"])),
        max_size=12,
    )
)
def test_any_clicks_leave_a_network_that_can_be_and_controls_that_show_it(panel, clicks):
    panel.spec = NetSpec((1, 8, 8), blocks=Block.ladder(8, 16))
    for click in clicks:
        if isinstance(click, str):
            panel.acts[click].click()
        else:
            panel.controls[click[0]].value = click[1]
        assert len(panel.spec.blocks) == len(panel.blocks.options) >= 1
        block = panel.spec.blocks[panel.block]
        assert panel.controls["out_channels"].value == block.out_channels
        assert panel.controls["kind"].value == block.kind


@pytest.mark.slow
def test_use_puts_it_on_the_bench():
    lab = Lab(data="digits", spec=TrainSpec(epochs=1, batch_size=200))
    panel = lab.tabs.show("Build")
    assert panel.spec == lab.net
    panel.choose("resnet")
    panel.seed.value = 4
    panel.use_button.click()
    panel.settle()
    assert lab.net == GALLERY["resnet"].adapted(input_size=(1, 8, 8), num_classes=10)
    assert lab.seed == 4
    assert lab.tabs.is_shown("Training")
    assert lab.run(wait=True).state == "finished"
    assert lab.tabs.show("Build").spec == lab.net
    lab.close()
