"""The network panel in JupyterLab: what a person drags, folds, reads and clicks there."""
# ruff: noqa: RUF001 - sizes are written with the sign of multiplication

import pytest
from playwright.sync_api import expect

HEAD = """
import threading
import torch
from torch import nn
from convlab.panels.network import Network
torch.set_num_threads(1)
"""
LENET = """
from convlab.models.gallery import lenet
panel = Network(lenet(), (1, 1, 8, 8))
panel
"""
TRAINS = """
stop, begun, steps = threading.Event(), threading.Event(), [0]
def train():
    x, y = torch.rand(64, 1, 8, 8), torch.arange(64) % 10
    optimizer = torch.optim.SGD(panel.model.parameters(), 0.01)
    while not stop.is_set():
        nn.functional.cross_entropy(panel.model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps[0] += 1
        begun.set()
thread = threading.Thread(target=train)
thread.start()
"""
NESTED = """
class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))
BAD = "<img src=x onerror=alert(1)>"
model = nn.Sequential()
model.add_module("stem", nn.Conv2d(3, 64, 7, 2, 3).requires_grad_(False))
model.add_module("layer1", nn.Sequential(Block(64), Block(64)))
model.add_module(BAD, nn.Sequential(nn.Conv2d(64, 512, 3, 2, 1), nn.ReLU()))
model.add_module("layer2", nn.Sequential(Block(512), Block(512)))
model.add_module("pool", nn.AdaptiveAvgPool2d(1))
model.add_module("flatten", nn.Flatten())
model.add_module("fc", nn.Linear(512, 1000))
panel = Network(model, (1, 3, 224, 224))
panel
"""


class Table:
    """The panel in the output of the first cell, as a person reads it."""

    def __init__(self, page):
        self.page = page
        self.root = page.output(0).locator(".convlab-network").first
        expect(self.root.locator(".convlab-summary tbody tr").first).to_be_visible(timeout=120_000)

    def row(self, path):
        """The first line of this layer, by the name that it shows and where it stands."""
        return self.root.locator("tbody tr", has=self.page.tab.get_by_title(f"{path}: show its receptive field")).first

    def text(self, path, column):
        names = self.root.locator("thead th").all_inner_texts()
        return self.row(path).locator("th, td").nth(names.index(column)).inner_text()

    def slider(self, name):
        return self.root.get_by_role("slider", name=name)

    def choose(self, path):
        self.root.get_by_role("combobox").select_option(path)

    def drag(self, name, pixels):
        box = self.slider(name).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.tab.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + pixels, y, steps=8)
        mouse.up()

    def visible(self):
        return self.root.locator("tbody tr:not([hidden])").count()


def opened(page, notebook, *cells, **options):
    page.open(notebook([HEAD + cells[0], *cells[1:]]), **options)
    page.run_cell(0)
    return Table(page)


def test_the_table_follows_a_dragged_slider_while_the_model_trains(page, notebook):
    table = opened(page, notebook, LENET, TRAINS)
    page.run_cell(1)
    before = page.kernel_eval("[tuple(p.shape) for p in panel.model.parameters()]")
    assert table.text("conv2", "num_params") == "4,640"
    table.choose("conv2")
    expect(table.slider("Kernel")).to_have_attribute("aria-valuetext", "3")
    steps = page.kernel_eval("begun.wait(60) and steps[0]", timeout=90)
    height = table.root.bounding_box()["height"]
    width = [box.bounding_box()["width"] for box in table.root.locator("thead th").all()]

    table.drag("Kernel", 30)
    kernel = int(table.slider("Kernel").get_attribute("aria-valuetext"))
    assert kernel > 3
    count = 16 * 32 * kernel**2 + 32
    expect(table.row("conv2")).to_contain_text(f"4,640 → {count:,}")
    expect(table.row("conv2")).to_contain_text(f"3×3 → {kernel}×{kernel}")
    # Arrow keys do what the mouse does.
    table.slider("Kernel").focus()
    for _ in range(kernel - 5):
        page.tab.keyboard.press("ArrowLeft")
    expect(table.row("conv2")).to_contain_text("4,640 → 12,832")
    expect(table.slider("Padding")).to_have_attribute("aria-valuetext", "2")
    expect(table.row("fc1")).to_contain_text("global (10×10 → 14×14)")
    assert table.root.bounding_box()["height"] == height
    # Nothing jumps: the columns have room for a change.
    now = [box.bounding_box()["width"] for box in table.root.locator("thead th").all()]
    assert now == pytest.approx(width, abs=2)
    scroll = table.root.locator(".convlab-summary-scroll")
    assert scroll.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    page.screenshot("light")

    assert page.kernel_eval("steps[0]") > steps
    assert page.kernel_eval("[tuple(p.shape) for p in panel.model.parameters()]") == before
    page.kernel_eval("stop.set()")
    table.choose("the live model")
    expect(table.row("conv2")).not_to_contain_text("→")


def test_what_does_not_fit_is_said_and_can_be_refitted(page, notebook):
    table = opened(page, notebook, LENET)
    table.choose("conv2")
    expect(table.slider("Kernel")).to_have_attribute("aria-valuetext", "3")
    table.slider("Kernel").focus()
    page.tab.keyboard.press("ArrowRight")
    said = table.root.get_by_text("fc1.in_features should be 32, is 128")
    expect(said).to_be_visible()
    expect(table.row("fc1")).to_contain_text("does not fit")
    assert table.visible() == 10
    page.set_theme("dark")
    page.tab.wait_for_timeout(300)
    page.screenshot("dark")
    table.root.get_by_label("Refit linear layers").check()
    expect(table.root.get_by_text("Shown with fc1.in_features = 32.")).to_be_visible()
    expect(table.row("fc1")).to_contain_text("8,256 → 2,112")
    expect(said).to_be_hidden()
    table.root.get_by_label("Padding keeps the size").uncheck()
    table.slider("Padding").focus()
    for _ in range(2):
        page.tab.keyboard.press("ArrowLeft")
    table.slider("Kernel").focus()
    page.tab.keyboard.press("End")
    expect(table.root.locator(".convlab-messages .convlab-error")).to_contain_text("kernel_size 15")
    expect(table.row("conv2")).to_contain_text("does not fit")
    expect(table.row("fc2")).to_contain_text("650")


def test_folding_columns_and_names_with_markup(page, notebook):
    alerts = []
    page.tab.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    table = opened(page, notebook, NESTED)
    everything = table.visible()
    expect(table.row("layer1.1.conv2")).to_be_visible()
    fold = table.root.get_by_role("button", name="Fold layer1", exact=True)
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.focus()
    page.tab.keyboard.press("Enter")
    expect(table.row("layer1.1.conv2")).to_be_hidden()
    unfold = table.root.get_by_role("button", name="Unfold layer1", exact=True)
    expect(unfold).to_be_focused()
    expect(unfold).to_have_attribute("aria-expanded", "false")
    # A folded container has the bar of what it holds.
    share = table.row("layer1").locator("td").nth(3).evaluate("cell => cell.style.getPropertyValue('--share')")
    assert float(share.rstrip("%")) > 0
    page.tab.keyboard.press("Enter")
    assert table.visible() == everything
    table.root.get_by_role("button", name="Fold all", exact=True).click()
    assert table.visible() == 7
    # What changes while it is folded stays folded.
    table.choose("stem")
    expect(table.slider("Kernel")).to_have_attribute("aria-valuetext", "7")
    table.slider("Kernel").focus()
    page.tab.keyboard.press("ArrowLeft")
    page.tab.keyboard.press("ArrowLeft")
    expect(table.row("stem")).to_contain_text("7×7 → 5×5")
    assert table.visible() == 7
    page.screenshot("folded")
    table.root.get_by_role("button", name="Unfold all").click()
    assert table.visible() == everything

    bad = "<img src=x onerror=alert(1)>"
    expect(table.root.get_by_role("button", name=bad, exact=True)).to_be_visible()
    expect(table.row("stem")).to_contain_text("Conv2d")
    frozen = table.row("stem").locator("td").first.evaluate("cell => getComputedStyle(cell, '::after').content")
    assert frozen == '"frozen"'
    assert "Largest: parameters in" in table.root.inner_text()
    assert alerts == []

    # At 1200 pixels all columns can be read.
    scroll = table.root.locator(".convlab-summary-scroll")
    assert scroll.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    table.root.get_by_text("Columns").click()
    page.screenshot("columns")
    table.root.get_by_label("input_size").check()
    expect(table.root.locator("thead")).to_contain_text("input_size")
    expect(table.root.get_by_label("input_size")).to_be_focused()
    table.root.get_by_label("trainable").check()
    expect(table.row("stem")).to_contain_text("False")
    page.expect_in_kernel("'input_size' in panel.table.columns")
    assert table.text("fc", "input_size") == "1×512"

    page.tab.keyboard.press("Escape")
    expect(table.root.get_by_label("trainable")).to_be_hidden()
    expect(table.root.get_by_text("Columns")).to_be_focused()
    # Zoomed to 200 %, a page has half the pixels.
    page.tab.set_viewport_size({"width": 600, "height": 500})
    page.tab.wait_for_timeout(500)
    table.row("layer1.1.conv2").scroll_into_view_if_needed()
    scroll.evaluate("e => { e.scrollLeft = 300; }")
    page.screenshot("zoomed")
    name = table.row("layer1.1.conv2").locator("th").bounding_box()
    assert name["x"] >= scroll.bounding_box()["x"] - 1


def test_a_click_on_a_name_opens_the_field_on_that_layer(page, notebook):
    page.open(notebook(["import convlab, torch\ntorch.set_num_threads(1)\nlab = convlab.Lab()\nlab"]))
    page.run_all()
    page.tab.get_by_role("tab", name="Network").click()
    fits = "e => e.scrollWidth <= e.clientWidth + 1"
    expect(page.tab.locator(".convlab-summary tbody tr").first).to_be_visible()
    assert page.tab.locator(".convlab-summary-scroll").evaluate(fits)
    for path in ("conv2", "pool1"):
        page.tab.get_by_title(f"{path}: show its receptive field").click()
        expect(page.tab.get_by_role("tab", name="Receptive field")).to_have_attribute("aria-selected", "true")
        expect(page.tab.locator(".convlab-field-grid-title")).to_contain_text(f"units of {path}")
        page.tab.get_by_role("tab", name="Network").click()
        selected = page.tab.locator(".convlab-summary tr[data-selected]")
        expect(selected).to_contain_text(path)
    # Once more the same name.
    page.tab.get_by_title("pool1: show its receptive field").click()
    expect(page.tab.locator(".convlab-field-grid-title")).to_be_visible()
