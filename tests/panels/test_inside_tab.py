"""The Inside tab in-process: what it shows is what the plain functions say, at rest, in a run, and of any picture."""

import base64
import io
import re
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.image import imread
from torch import nn

import convlab
from convlab.data.resolve import resolve
from convlab.diagnosis.attribution import saliency
from convlab.diagnosis.inside import look_inside
from convlab.diagnosis.maps import answers, feature_maps
from convlab.models.gallery import lenet
from convlab.models.live import Edit
from convlab.panels.inside import InsidePanel
from convlab.panels.inside_layers import NAMES
from convlab.plots.maps import map_picture, tinted
from convlab.spec import TrainSpec
from convlab.training.run import Run

torch.set_num_threads(1)
SPAN = tuple(float(one) for one in resolve("digits").pictures(64).aminmax())


@pytest.fixture
def panel():
    torch.manual_seed(0)
    made = InsidePanel(lenet(), resolve("digits"))
    made.settle()
    return made


def table(panel):
    """The rows of the table, as texts."""
    rows = re.findall(r"<tr>(.*?)</tr>", panel.table._rows.value)
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def pixels(image):
    return np.rint(255 * imread(io.BytesIO(image.value))[..., :3]).astype(np.uint8)


def test_the_table_at_rest(panel):
    look = look_inside(panel.model, "digits")
    head, *rows = table(panel)
    assert head == ["Layer", "Mean", "Deviation", "Zeros", "Dead", "Gradient", "Update / weight"]
    assert [row[0] for row in rows] == [f"{one.path} {one.kind}" for one in look.layers]
    relu = look.layer("relu1")
    assert rows[1][1:] == [
        f"{relu.mean:.3g}",
        f"{relu.std:.3g}",
        f"{100 * relu.zeros:.1f} %",
        f"{relu.dead} of {relu.channels}",
        "",
        "",
    ]
    assert f"loss {look.loss:.4g} on 64 samples" in panel.table.caption.value
    for name, tip in NAMES.values():
        assert name
        assert len(tip) > 20
    assert panel.table._rows.value.count('title="') == len(head)
    # The weights' sizes are there from the beginning.
    assert panel.distribution.layer.value == "conv1"
    (line,) = panel.distribution.curves.lines
    assert 0.9 < float(np.sum(line.y)) <= 1


def test_what_is_flat_has_a_column():
    panel = InsidePanel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()), resolve("digits"))
    panel.settle()
    assert "Saturated" in table(panel)[0]


def test_predictions_and_maps_are_those_of_the_functions(panel):
    picture = panel.picture
    x = resolve("digits").pictures(8)
    assert torch.equal(picture.x, x[0])
    shares = answers(panel.model, x).softmax(1)
    told = re.findall(r"([\d.]+) %", picture.says.value)
    assert [float(one) for one in told] == pytest.approx([100 * float(one) for one in shares[0]], abs=0.051)
    truth = resolve("digits").samples(8)[1]
    for words, share, target in zip(picture.fixed._words, shares, truth, strict=True):
        best = int(share.argmax())
        sign = "✓" if best == int(target) else "✗"
        assert f"{sign} {best} {100 * float(share[best]):.0f} %" in words.value
    shown = {label.value: image for row in picture.maps.children for label, image in [row.children]}
    relu = next(one for one in feature_maps(panel.model, x[0]) if one.path == "relu1")
    assert (pixels(shown["relu1, ReLU: 16 channels of 8 x 8"]) == map_picture(relu.maps)).all()
    assert "conv1: its kernels, 3 x 3; blue below 0, red above" in shown
    assert not any("Flatten" in title for title in shown)


def test_another_picture_and_what_it_rests_on(panel):
    picture = panel.picture
    images = [row.children[1] for row in picture.maps.children]
    before = [image.value for image in images]
    picture.number.value = 5
    panel.settle()
    x = resolve("digits").pictures(6)[5]
    assert [row.children[1] for row in picture.maps.children] == images  # the same widgets: nothing flickers
    assert [image.value for image in images][1:] != before[1:]
    assert images[0].value == before[0]  # the kernels are the same
    assert picture.sketch.picture == tinted(x, span=SPAN).tobytes()
    assert "Picture 5: " in picture.words.value
    picture.overlay.value = "saliency"
    panel.settle()
    assert picture.sketch.picture == tinted(x, saliency(panel.model, x), SPAN).tobytes()
    picture.overlay.value = "occlusion"
    panel.settle()
    assert picture.sketch.picture not in (
        tinted(x, span=SPAN).tobytes(),
        tinted(x, saliency(panel.model, x), SPAN).tobytes(),
    )
    assert "Occlusion" in picture.words.value


def test_drawing(panel):
    picture = panel.picture
    data = resolve("digits").pictures(64)
    picture.blank.click()
    picture.sketch._told(None, {"type": "draw", "points": [[2, 3], [3, 3]]}, None)
    panel.settle()
    wanted = torch.full((1, 8, 8), float(data.min()))
    wanted[0, 2:4, 3] = float(data.max())
    assert torch.equal(picture.x, wanted)
    assert picture.sketch.picture == tinted(wanted, span=SPAN).tobytes()
    assert "drawn by hand" in picture.words.value
    picture.pen.value = False
    assert picture.sketch.ink == (0, 0, 0)
    picture.draw([(2, 3)])
    panel.settle()
    assert float(picture.x[0, 2, 3]) == float(data.min())
    # The data are as they were.
    assert torch.equal(resolve("digits").pictures(64), data)


def test_a_pen_is_wider_on_a_larger_picture():
    data = (torch.rand(8, 3, 56, 56), torch.tensor([0, 1] * 4))
    panel = InsidePanel(nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.Flatten(), nn.Linear(1458, 2)), resolve(data))
    panel.picture.blank.click()
    panel.picture.draw([(10, 10)])
    lit = panel.picture.x[0] > 0.5
    assert int(lit.sum()) == 13  # a disc of radius 2
    panel.settle()
    assert panel.picture.maps.children[0].children[0].value.startswith("0: its kernels")


def test_a_picture_of_ones_own_and_one_that_is_none(panel):
    content = io.BytesIO()
    from PIL import Image

    Image.new("L", (30, 20), 255).save(content, "PNG")
    panel.picture._on_upload({"new": ({"name": "own.png", "content": content.getvalue()},)})
    panel.settle()
    assert panel.picture.number.value == 64
    assert "Your picture." in panel.picture.words.value
    assert bool((panel.picture.x == resolve("digits").pictures(64).max()).all())
    panel.picture._on_upload({"new": ({"name": "<b>notes.txt", "content": b"no picture"},)})
    assert "notes.txt is no picture that can be read" in panel._messages.text
    assert base64.b64encode(panel.picture.sketch.picture[:3]) == b"////"


# -- on the bench -----------------------------------------------------------------------------------------------------


@pytest.fixture
def lab():
    torch.manual_seed(0)
    made = convlab.Lab(spec=TrainSpec(epochs=3))
    yield made
    made.close()


def test_a_run_is_watched_and_shown(lab):
    panel = lab.tabs.show("Inside")
    panel.settle()
    assert "The model as it is" in panel.table.caption.value
    run = lab.run(wait=True)
    panel.settle()
    assert panel.watch.looks[0].step == 44
    assert panel.shown is panel.watch.looks[-1]
    assert f"At step {panel.shown.step}" in panel.table.caption.value
    drawn = {line.name: line for line in panel.history.curves.lines}
    assert list(drawn) == ["conv1", "conv2", "fc1", "fc2"]
    assert list(drawn["fc1"].y) == [look.layer("fc1").update_to_weight for look in panel.watch.looks]
    panel.history.number.value = "zeros"
    assert "relu1" in [line.name for line in panel.history.curves.lines]
    # What the network says is of the weights at the end.
    best = answers(run.model, panel.picture.x[None]).softmax(1)[0]
    assert f"{100 * float(best.max()):.1f} %" in panel.picture.says.value
    second = lab.run(wait=True)
    panel.settle()
    assert panel.watch._watchers is second._trainer.watchers
    assert panel.shown in panel.watch.looks


def test_the_bench_trains_the_same_with_the_tab_open(lab):
    other = convlab.Lab(spec=TrainSpec(epochs=3))
    other.model.load_state_dict(lab.model.state_dict())
    lab.tabs.show("Inside")
    watched, alone = lab.run(wait=True), other.run(wait=True)
    assert watched.history.train_loss.tolist() == alone.history.train_loss.tolist()
    other.close()


def test_nothing_is_drawn_for_nobody(lab):
    panel = lab.tabs.show("Inside")
    lab.tabs.selected_index = 0
    panel.settle()
    before = panel.shown
    lab.run(wait=True)
    panel.settle()
    assert panel.shown is before
    assert panel.watch.looks  # but watched
    lab.tabs.show("Inside")
    panel.settle()
    assert panel.shown is panel.watch.looks[-1]


def test_a_rewind_before_the_last_look_was_drawn_is_not_lost(lab):
    panel = lab.tabs.show("Inside")
    panel.settle()
    busy = threading.Event()
    panel._latest.also(lambda: busy.wait(60))  # as on a slow machine
    lab.run(wait=True)
    lab.rewind(0)
    busy.set()
    panel.settle()
    assert "The model as it is" in panel.table.caption.value
    assert panel.shown.loss == pytest.approx(look_inside(lab.model, lab.data).loss)


def test_rewound_and_edited(lab):
    panel = lab.tabs.show("Inside")
    lab.run(wait=True)
    lab.rewind(45)
    panel.settle()
    assert "The model as it is" in panel.table.caption.value
    assert panel.shown.loss == pytest.approx(look_inside(lab.model, lab.data).loss)
    lab.rewind()
    lab.edit(Edit("conv1", {"out_channels": 5}, seed=0))
    panel.settle()
    assert panel.shown.layer("conv1").channels == 5
    assert any("5 channels of 8 x 8" in row.children[0].value for row in panel.picture.maps.children)


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
        self.fails = False

    def forward(self, x):
        if self.fails:
            raise ValueError("<img> in the forward")
        return self.fc(F.relu(x).flatten(1))


def test_a_model_that_fails_is_told_and_recovers():
    panel = InsidePanel(Fails(), resolve("digits"))
    panel.settle()
    assert panel._messages.text == ""
    panel.model.fails = True
    panel.refresh()
    panel.settle()
    assert "in the forward" in panel._messages.text
    panel.model.fails = False
    panel.refresh()
    panel.settle()
    assert panel._messages.text == ""


def test_numbers():
    x = torch.rand(40, 1, 8, 8)
    panel = InsidePanel(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), resolve((x, x.mean((1, 2, 3)))))
    panel.settle()
    assert "The network says " in panel.picture.says.value
    assert ", is 0." in panel.picture.fixed._words[0].value


def test_a_run_that_is_paused_and_resumed_is_shown_as_it_goes():
    model, data = lenet(), resolve("digits")
    run = Run(model, data, TrainSpec(epochs=2))
    panel = InsidePanel(model, data, lambda: run)
    panel.settle()
    assert panel.shown.step == 0
    run.step(45)
    panel.follow()
    panel.settle()
    panel.look()
    panel.settle()
    assert panel.shown.step == 44
    run.stop()
