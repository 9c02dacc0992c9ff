"""The receptive field panel without a browser: where it looks, what it says, and what it cannot show."""

import io
import re
import threading

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from convlab.models.effective_field import effective_field
from convlab.models.gallery import lenet
from convlab.models.trace import trace
from convlab.panels.receptive_field import ReceptiveFieldPanel


def images(count=3, channels=1, size=8):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def opened(model=None, pictures=None):
    panel = ReceptiveFieldPanel(model or lenet(), images() if pictures is None else pictures)
    panel.settle()
    return panel


def at(panel, path):
    panel.layer.value = path
    panel.settle()
    return panel


@pytest.fixture
def panel():
    return opened()


def test_it_opens_on_the_first_layer_and_the_middle_of_the_picture(panel):
    assert panel.layer.value == "conv1"
    assert [label for label, _ in panel.layer.options][:2] == ["conv1  3 x 3", "relu1  3 x 3"]
    assert [path for _, path in panel.layer.options] == ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"]
    assert panel.map.box == [3, 5, 3, 5]
    assert (panel.map.size, panel.map.units, panel.map.unit) == ((8, 8), (8, 8), (4, 4))
    assert len(panel.map.picture) == 8 * 8 * 3
    assert panel.map.theory == (
        "Theoretical field: 3 x 3 pixels. The unit (4, 4) of 8 x 8 sees rows 3 to 5 and columns 3 to 5."
    )
    assert panel.map.effect.startswith("Effective field: ")


def test_the_field_grows_around_the_same_place_from_layer_to_layer(panel):
    panel.pick((2, 6))
    boxes = []
    for _, path in panel.layer.options:
        at(panel, path)
        boxes.append(panel.map.box)
        top, bottom, left, right = panel.map.box
        assert top <= 2 <= bottom
        assert left <= 6 <= right
    areas = [(b - t + 1) * (r - x + 1) for t, b, x, r in boxes]
    assert areas == sorted(areas)
    for path in ("conv1", "pool2", "conv1"):
        at(panel, path)
    assert panel.unit == (2, 6)


def test_box_and_glow_are_those_of_the_facts(panel):
    at(panel, "conv2").pick((5, 1))
    panel.settle()
    record = trace(panel.model, (1, 1, 8, 8))["conv2"]
    assert panel.map.box == [edge for span in record.field(panel.unit) for edge in span]
    expected = effective_field(panel.model, "conv2", panel.images[:1], panel.unit)
    assert list(panel.map.effective) == (expected.weights * 255).round().byte().flatten().tolist()
    assert f"{expected.share:.1%}" in panel.map.effect
    panel.effective.value = False
    panel.settle()
    assert (panel.map.effective, panel.map.effect, panel.map.features) == (b"", "", b"")


def test_steps_go_from_unit_to_unit_and_stop_at_the_border(panel):
    at(panel, "pool2")
    assert panel.map.units == (2, 2)
    before = panel.unit
    panel.map._handle_custom_msg({"move": "step", "to": [-1, 0]}, [])
    assert panel.unit == (before[0] - 1, before[1])
    for _ in range(5):
        panel.step(1, 1)
    assert panel.unit == (1, 1)
    panel.map._handle_custom_msg({"move": "unit", "to": [0, 1]}, [])
    panel.settle()
    assert panel.map.unit == panel.unit == (0, 1)
    panel.map._handle_custom_msg({"move": "pixel", "to": [7, 0]}, [])
    panel.settle()
    assert panel.unit == (1, 0)
    panel.map._handle_custom_msg({"something": "else"}, [])


def test_the_border_is_said(panel):
    at(panel, "conv2").go((0, 0))
    panel.settle()
    assert "8 x 8 pixels" in panel.map.theory
    assert "sees rows 0 to 4 and columns 0 to 4, 5 x 5, the rest lies beyond the border" in panel.map.theory


def test_select_goes_to_the_layer_or_says_why_not():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return F.relu(x + self.conv(x))

    panel = opened(nn.Sequential(Block(), nn.Sequential(Block(), nn.ReLU()), nn.Flatten(), nn.Linear(64, 2)))
    for path, shown in [
        *(("0.conv", "0.conv"), ("0", "0"), ("0.relu", "0"), ("0.add", "0"), ("1", "1.1"), ("1.0", "1.0")),
    ]:
        panel.select(path)
        panel.settle()
        assert panel.layer.value == shown
        assert panel._messages.text == ""
    panel.select("3")
    panel.settle()
    assert panel.layer.value == "1.0"
    assert panel._messages.text == "3 has no map of units on the picture; try a convolution or a pooling."
    panel.step(0, 1)
    panel.settle()
    assert panel._messages.text == ""


def test_verify_says_its_result_with_a_mark(panel):
    at(panel, "conv2").go((0, 3))
    panel.proof.click()
    panel.settle()
    assert panel._messages.text.startswith("✓ Verified: unit (0, 3) of conv2 sees exactly pixels")
    box = "x".join(f" {first}..{last} " for first, last in trace(panel.model, (1, 1, 8, 8))["conv2"].field((0, 3)))
    assert box.strip() in panel._messages.text


def test_a_proof_that_fails_says_so(panel, monkeypatch):
    import convlab.panels.receptive_field as module

    real = module.verify
    # Claim what the trace of another network claims.
    other = trace(nn.Sequential(nn.Conv2d(1, 1, 5, padding=2)), (1, 1, 8, 8))

    def wrong(traced, path, unit):
        object.__setattr__(traced[path], "_state", other["0"]._state)
        return real(traced, path, unit=unit)

    monkeypatch.setattr(module, "verify", wrong)
    panel.proof.click()
    panel.settle()
    assert panel._messages.text.startswith("✗ Not so: ")


def test_verify_leaves_the_live_model_alone(panel):
    before = [t.clone() for t in panel.model.state_dict().values()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    panel.proof.click()
    panel.settle()
    assert all(torch.equal(a, b) for a, b in zip(before, panel.model.state_dict().values(), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_global_and_irregular_fields_in_words():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.cat([x[:, :, ::2], x[:, :, 1::2]], 2)

    class Gate(nn.Module):
        def forward(self, x):
            return x * x.mean((2, 3), keepdim=True)

    panel = opened(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Odd(), nn.ReLU()))
    at(panel, "2")
    assert "irregular" in panel.map.theory
    assert "Irregular: the units do not lie at a constant distance" in panel.map.theory
    panel = opened(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Gate(), nn.ReLU()))
    at(panel, "2")
    assert panel.map.box == [0, 7, 0, 7]
    assert panel.map.local == [3, 5, 3, 5]
    assert "global (3 x 3) pixels" in panel.map.theory
    assert "Global: a path mixes the whole picture" in panel.map.theory
    at(panel, "0")
    assert panel.map.local == []


def test_colour_pictures_keep_their_colours():
    pictures = torch.zeros(1, 3, 4, 4)
    pictures[0, 0, 0, 0] = 1
    panel = opened(nn.Sequential(nn.Conv2d(3, 2, 3)), pictures)
    assert list(panel.map.picture[:6]) == [255, 0, 0, 0, 0, 0]
    five = opened(nn.Sequential(nn.Conv2d(5, 2, 3)), torch.rand(1, 5, 6, 6))
    assert len(five.map.picture) == 6 * 6 * 3
    flat = opened(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.full((1, 1, 6, 6), 7.0))
    assert set(flat.map.picture) == {0}


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (
            nn.Sequential(nn.Conv1d(2, 2, 3)),
            (2, 9),
            r"on pictures, \(N, C, H, W\), and this model takes inputs \(N, 2, 9\)",
        ),
        (nn.Sequential(nn.Conv3d(1, 2, 3)), (1, 9, 9, 9), r"takes inputs \(N, 1, 9, 9, 9\); the Network tab"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4), r"No layer of this model has a map of units"),
        (nn.Bilinear(4, 4, 2), (1, 4, 4), r"shows models that take one picture: .*For several inputs"),
    ],
)
def test_models_it_cannot_show_get_a_sentence_and_no_broken_picture(model, size, sentence):
    panel = opened(model, torch.rand(2, *size))
    assert panel._messages.text.count("\n") == 0
    assert re.search(sentence, panel._messages.text), panel._messages.text
    assert panel.map.layout.display == "none"
    assert panel.layer.disabled
    assert panel.proof.disabled
    panel.select("0")
    panel.pick((1, 1))
    panel.step(1, 0)
    panel.settle()


def test_a_model_that_does_not_fit_shows_the_layers_before():
    panel = opened(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(7, 2, 3)))
    assert [path for _, path in panel.layer.options] == ["0", "1"]
    assert "2" in panel._messages.text
    assert panel.map.box
    assert "Effective field: none, because" in panel.map.effect


def test_a_dead_unit_is_said():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias.fill_(-100)
    assert "no pixel of this picture moves the unit" in at(opened(model), "1").map.effect


def file_of(picture, name="own.png", kind="PNG"):
    content = io.BytesIO()
    picture.save(content, kind)
    return {"name": name, "content": memoryview(content.getvalue()), "type": "image/png", "size": 1, "last_modified": 0}


def upload(panel, file):
    panel._on_upload({"new": (file,), "old": (), "owner": panel.upload})
    panel.settle()


def test_an_own_picture_becomes_an_input_of_the_models_size_and_range():
    pictures = images() * 16 - 3
    panel = opened(None, pictures)
    grey = Image.new("L", (40, 20), 0)
    grey.paste(255, (0, 0, 20, 20))
    upload(panel, file_of(grey))
    assert (len(panel.images), panel.image.value, panel.image.max) == (4, 3, 3)
    own = panel.images[3, 0]
    assert own.shape == (8, 8)
    assert own[:, 0].tolist() == pytest.approx([float(pictures.max())] * 8)
    assert own[:, 7].tolist() == pytest.approx([float(pictures.min())] * 8)
    colour = opened(nn.Sequential(nn.Conv2d(3, 1, 3)), images(channels=3))
    upload(colour, file_of(Image.new("RGB", (5, 5), (255, 0, 0)), "own.jpg", "JPEG"))
    means = colour.images[-1].mean((1, 2))
    assert means[0] > 0.9 > 0.1 > means[1]
    upload(colour, file_of(Image.new("LA", (5, 5))))
    assert len(colour.images) == 5


def test_a_file_that_is_no_picture_is_said_and_changes_nothing(panel):
    upload(panel, {"name": "notes<b>.txt", "content": memoryview(b"hello")})
    assert "notes<b>.txt is no picture that can be read" in panel._messages.text
    assert "a PNG or JPEG file would work." in panel._messages.text
    assert len(panel.images) == 3
    cut = file_of(Image.new("L", (300, 300)))
    upload(panel, {**cut, "content": cut["content"][:60]})
    assert "is no picture that can be read" in panel._messages.text


def test_pictures_can_be_set_and_nonsense_is_refused(panel):
    panel.image.value = 2
    panel.images = images(1, size=12)
    panel.settle()
    assert (panel.map.size, panel.image.value) == ((12, 12), 0)
    for wrong in (torch.rand(3, 3), "picture", torch.rand(0, 1, 8, 8)):
        with pytest.raises(ValueError, match=r"images must be a tensor \(N, C, H, W\), got"):
            panel.images = wrong


def test_sliding_while_the_model_trains():
    def train(model, steps, done=lambda: None):
        torch.manual_seed(0)
        x, y = torch.rand(64, 1, 8, 8), torch.arange(64) % 10
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(steps):
            model.train()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            model.eval()
            assert not any(m.training for m in model.modules())
        done()
        return [p.detach().clone() for p in model.parameters()]

    alone, watched, result = train(lenet(), 40), lenet(), []
    panel = opened(watched)
    thread = threading.Thread(target=lambda: result.append(train(watched, 40)))
    thread.start()
    paths = [path for _, path in panel.layer.options]
    moves = 0
    while thread.is_alive():
        panel.layer.value = paths[moves % len(paths)]
        panel.step(moves % 3 - 1, 1)
        if moves % 5 == 0:
            panel.settle()
            assert panel._messages.text == ""
        moves += 1
    thread.join()
    panel.settle()
    assert moves > 3
    assert all(torch.equal(a, b) for a, b in zip(alone, result[0], strict=True))
