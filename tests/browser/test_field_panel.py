"""The receptive field panel in JupyterLab: pointing, stepping, growing, proving, a picture of one's own."""
# ruff: noqa: RUF001 - sizes are written with the sign of multiplication

import base64
import io
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

CELL = """
import torch
from torch import nn
from convlab.panels.receptive_field import ReceptiveFieldPanel
torch.set_num_threads(1)
torch.manual_seed(0)
class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))
class Squeeze(nn.Module):
    def forward(self, x):
        return x * x.mean((2, 3), keepdim=True).sigmoid()
model = nn.Sequential()
model.add_module("stem", nn.Conv2d(3, 8, 3, 2, 1))
model.add_module("layer1", nn.Sequential(Block(8), Block(8)))
model.add_module("pool", nn.MaxPool2d(2))
model.add_module("gate", nn.Sequential(Squeeze(), nn.ReLU()))
rows, columns = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
discs = torch.stack([((rows - k / 4) ** 2 + columns**2 < 0.3).float() for k in range(3)])
images = torch.stack([discs, 1 - discs])
panel = ReceptiveFieldPanel(model, images)
panel
"""
ONE_AXIS = """
import torch
from torch import nn
from convlab.panels.receptive_field import ReceptiveFieldPanel
panel = ReceptiveFieldPanel(nn.Sequential(nn.Conv1d(2, 4, 3)), torch.rand(3, 2, 50))
panel
"""
COLOURS = """canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let blue = 0, orange = 0;
    for (let i = 0; i < data.length; i += 4) {
        if (data[i] < 30 && Math.abs(data[i + 1] - 114) < 12 && Math.abs(data[i + 2] - 178) < 12) blue++;
        if (data[i] > 150 && data[i + 1] > 50 && data[i + 1] < 160 && data[i + 2] < 60) orange++;
    }
    return {blue, orange};
}"""


@pytest.fixture
def root(page, notebook):
    page.open(notebook([CELL, ONE_AXIS]))
    page.run_cell(0)
    root = page.output(0).locator(".convlab-receptive-field").first
    expect(root.locator(".convlab-field-theory")).to_contain_text("Theoretical field", timeout=120_000)
    return root


def unit(page):
    return page.kernel_eval("panel.settle() or list(panel.unit)")


def test_the_field_grows_and_moves(page, root):
    picture, grid = root.locator("canvas").nth(0), root.locator("canvas").nth(1)
    theory = root.locator(".convlab-field-theory")
    expect(theory).to_contain_text("3 x 3 pixels")
    expect(root.locator(".convlab-field-effect")).to_contain_text("Effective field")
    height = root.bounding_box()["height"]
    assert picture.evaluate(COLOURS)["blue"] > 0
    page.screenshot("first")

    layer = root.get_by_role("slider", name="Layer")
    layer.focus()
    sizes = []
    for size in (7, 11, 11, 15, 19, 19):
        page.tab.keyboard.press("ArrowRight")
        expect(theory).to_contain_text(re.compile(rf" {size} x {size}"))
        sizes.append(picture.evaluate(COLOURS)["blue"])
    assert sizes[-1] > sizes[0]
    assert root.bounding_box()["height"] == height

    expect(root.locator(".convlab-field-grid-title")).to_contain_text("24 × 24 units of layer1.1")
    before = unit(page)
    picture.focus()
    page.tab.keyboard.press("ArrowUp")
    page.tab.keyboard.press("ArrowLeft")
    expect(theory).to_contain_text(f"unit ({before[0] - 1}, {before[1] - 1})")
    assert unit(page) == [before[0] - 1, before[1] - 1]
    # The notebook did not take the keys for itself.
    expect(picture).to_be_focused()
    box = picture.bounding_box()
    page.tab.mouse.click(box["x"] + box["width"] * 0.26, box["y"] + box["height"] * 0.76)
    expect(theory).to_contain_text("unit (18, 6)")
    page.tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] + box["width"] * 0.51, box["y"] + box["height"] * 0.51, steps=6)
    page.tab.mouse.up()
    expect(theory).to_contain_text("unit (12, 12)")
    box = grid.bounding_box()
    page.tab.mouse.click(box["x"] + 3, box["y"] + 3)
    expect(theory).to_contain_text("unit (0, 0)")
    expect(theory).to_contain_text("the rest lies beyond the border")
    page.screenshot("corner")


def test_verify_global_dark_and_zoomed(page, root):
    root.get_by_role("button", name="Verify").click()
    expect(root.locator(".convlab-note")).to_contain_text("✓ Verified: unit (12, 12) of stem sees exactly pixels")
    page.screenshot("verified")
    assert page.kernel_eval("all(not torch.isnan(p).any() for p in model.parameters())") is True
    layer = root.get_by_role("slider", name="Layer")
    layer.focus()
    page.tab.keyboard.press("End")
    expect(root.locator(".convlab-field-theory")).to_contain_text("Global: a path mixes the whole picture")
    root.get_by_role("slider", name="Picture").focus()
    page.tab.keyboard.press("ArrowRight")
    page.set_theme("dark")
    page.tab.wait_for_timeout(500)
    page.screenshot("dark")
    root.get_by_role("checkbox", name="Effective field").uncheck()
    expect(root.locator(".convlab-field-effect")).to_be_hidden()
    root.get_by_role("checkbox", name="Effective field").check()
    expect(root.locator(".convlab-field-effect")).to_be_visible()
    # Zoomed to 200 %, a page has half the pixels.
    page.tab.set_viewport_size({"width": 600, "height": 500})
    page.tab.wait_for_timeout(500)
    page.screenshot("zoomed")
    root.locator("canvas").first.scroll_into_view_if_needed()
    page.screenshot("zoomed-picture")
    place, picture = root.bounding_box(), root.locator("canvas").first.bounding_box()
    assert picture["x"] + picture["width"] <= place["x"] + place["width"] + 1


def test_a_picture_of_ones_own_and_a_model_of_one_axis(page, root):
    content = io.BytesIO()
    own = Image.new("RGB", (200, 100), (0, 0, 255))
    own.save(content, "PNG")

    def choose(name, kind, content):
        with page.tab.expect_file_chooser() as chooser:
            root.get_by_role("button", name="Own picture").click()
        chooser.value.set_files({"name": name, "mimeType": kind, "buffer": content})

    choose("own.png", "image/png", content.getvalue())
    expect(root.get_by_role("slider", name="Picture")).to_have_attribute("aria-valuetext", "2")
    shown = "list(__import__('base64').b64encode(panel.map.picture[:3]).decode() for _ in [panel.settle()])[0]"
    assert base64.b64decode(page.kernel_eval(shown)) == bytes([0, 0, 255])
    choose("notes.txt", "text/plain", b"no picture")
    expect(root.get_by_text("notes.txt is no picture that can be read")).to_be_visible()
    page.screenshot("own")

    # A model of one axis gets a sentence.
    page.run_cell(1)
    root = page.output(1).locator(".convlab-receptive-field").first
    expect(root.get_by_text("This panel draws fields on pictures")).to_be_visible()
    expect(root.locator("canvas").first).to_be_hidden()
    page.screenshot("one-axis")
