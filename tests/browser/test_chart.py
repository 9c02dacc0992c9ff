"""The live chart in a real JupyterLab: what a person sees of it, and what they can do to it."""

import re

import pytest
from playwright.sync_api import expect

CHART = """
import numpy as np
from convlab.frontend.chart import LiveChart

def curve(last, rate=150):
    steps, ends = np.arange(1, last + 1), np.arange(45, last + 1, 45)
    return {
        "epoch": (ends, np.arange(len(ends)) + 1),
        "lr": (steps, np.where(steps < 400, 0.1, 0.01)),
        "train_loss": (steps, 2.2 * np.exp(-steps / rate) + 0.1 + 0.1 * np.sin(steps)),
        "valid_loss": (ends, 2.2 * np.exp(-ends / rate) + 0.15),
        "train_accuracy": (ends, 1 - 0.9 * np.exp(-ends / rate)),
        "valid_accuracy": (ends, 0.97 - 0.87 * np.exp(-ends / rate)),
    }

chart = LiveChart()
chart.provider = lambda: shown
shown = {}
chart
"""
RUN = """
shown = curve(900)
chart.extend(shown)
chart.mark(400, "lr 0.1 → 0.01")
chart.set_ghosts([{"name": "<img src=x onerror=alert(1)> SGD", "series": curve(720, 300)}])
"""


def readout(view):
    """The values as a person reads them: {"step": "900", "train loss": "0.11", ...}."""
    entries = view.locator(".convlab-chart-readout .is-value").locator("..")
    texts = [text.strip().split("\n") for text in entries.all_inner_texts()]
    return {label.strip(): value.strip() for label, value in texts}


def pixels(view, colour):
    """Whether each of the two plots has pixels of a colour, such as the style sheet's "blue"."""
    return view.evaluate(
        """(root, name) => {
            const probe = document.createElement("canvas").getContext("2d");
            probe.fillStyle = getComputedStyle(root).getPropertyValue(`--convlab-${name}`).trim();
            const hex = probe.fillStyle, rgb = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
            return [...root.querySelectorAll("canvas")].map((canvas) => {
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                for (let i = 0; i < data.length; i += 4)
                    if (data[i + 3] > 250 && rgb.every((part, j) => Math.abs(part - data[i + j]) < 12)) return true;
                return false;
            });
        }""",
        colour,
    )


@pytest.fixture
def view(page, notebook):
    page.open(notebook([CHART, RUN, "chart"]))
    page.run_cell(0)
    view = page.tab.locator(".convlab-chart").first
    expect(view.locator("canvas")).to_have_count(2)
    return view


def step_shown(view):
    """The step whose values are read out."""
    return expect(view.locator(".is-value").first)


def expect_drawn(page, view):
    expect(view.get_by_text("Press Run: the loss appears here")).to_be_visible()
    height = view.bounding_box()["height"]
    page.run_cell(1)
    expect(view.get_by_text("Press Run: the loss appears here")).to_be_hidden()
    expect(view.get_by_role("img")).to_have_attribute("aria-label", re.compile("step 900.*valid accuracy 96.8 %"))
    assert pixels(view, "blue") == pixels(view, "orange") == pixels(view, "ghost") == [True, True]
    # A person's text is text.
    expect(view.get_by_text("<img src=x onerror=alert(1)> SGD")).to_be_visible()
    expect(view.get_by_text("lr 0.1 → 0.01")).to_be_visible()
    assert view.bounding_box()["height"] == height


def expect_values_where_one_points(page, view):
    step_shown(view).to_have_text("900")
    assert readout(view)["lr"] == "0.01"
    height = view.bounding_box()["height"]
    for plot in (0, 1):
        area = view.locator(".u-over").nth(plot)
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        page.tab.mouse.move(box["x"] + box["width"] * 90 / 900, box["y"] + box["height"] / 2)
        step_shown(view).to_have_text(re.compile("^(89|90|91)$"))
        values = readout(view)
        assert values["epoch"] == ("3" if values["step"] == "91" else "2")
        assert values["lr"] == "0.1"
        assert values["valid acc."] in ("32.5 %", "49.3 %", "42.0 %")
    assert view.bounding_box()["height"] == height
    page.tab.mouse.move(0, 0)
    step_shown(view).to_have_text("900")


def expect_values_by_key(page, view):
    view.get_by_role("img").focus()
    page.tab.keyboard.press("Home")
    step_shown(view).to_have_text("0")
    page.tab.keyboard.press("Shift+ArrowRight")
    step_shown(view).to_have_text("90")
    page.tab.keyboard.press("Escape")
    step_shown(view).to_have_text("900")


def expect_a_stretch_where_one_drags(page, view):
    area = view.locator(".u-over").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] / 3, box["y"] + 40)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] + box["width"] * 2 / 3, box["y"] + 60, steps=5)
    page.tab.mouse.up()
    page.tab.mouse.move(box["x"] + 1, box["y"] + 40)
    step_shown(view).to_have_text(re.compile("^30[0-2]$"))
    view.get_by_role("button", name="All steps").click()
    page.tab.mouse.move(box["x"] + 1, box["y"] + 40)
    step_shown(view).to_have_text(re.compile("^[0-2]$"))


def test_the_curve_is_drawn_and_read(page, view):
    expect_drawn(page, view)
    page.screenshot()
    expect_values_where_one_points(page, view)
    expect_values_by_key(page, view)
    expect_a_stretch_where_one_drags(page, view)


def test_losses_that_are_no_numbers_leave_gaps_and_the_looks_are_set(page, view):
    page.set_source(1, "chart.smoothing = 0; chart.append('train_loss', [1, 2, 3, 4], [2, np.nan, np.inf, 1])")
    page.run_cell(1)
    step_shown(view).to_have_text("4")
    assert readout(view)["train loss"] == "1.000"
    view.get_by_label("Log loss").check()
    assert pixels(view, "blue")[0]

    # By key, and the kernel is told.
    page.run_cell(0)
    page.set_source(1, RUN)
    page.run_cell(1)
    view.get_by_label("Log loss").focus()
    page.tab.keyboard.press("Space")
    view.get_by_label("Smoothing").focus()
    page.tab.keyboard.press("ArrowRight")
    expect(view.locator("output")).to_have_text("20 steps")
    page.tab.keyboard.press("Home")
    expect(view.locator("output")).to_have_text("off")
    page.expect_in_kernel("(chart.log_scale, chart.smoothing) == (True, 0)")
    assert pixels(view, "blue") == [True, True]


def test_a_theme_a_second_view_and_a_reloaded_page_show_everything(page, view):
    page.run_cell(1)
    light = view.evaluate("root => getComputedStyle(root).getPropertyValue('--convlab-blue').trim()")
    page.set_theme("dark")
    page.tab.wait_for_function(
        """light => getComputedStyle(document.querySelector(".convlab-chart"))
            .getPropertyValue("--convlab-blue").trim() !== light""",
        arg=light,
    )
    page.tab.wait_for_function(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    )
    assert pixels(view, "blue") == pixels(view, "orange") == [True, True]
    page.screenshot("dark")

    page.run_cell(2)
    second = page.tab.locator(".convlab-chart").nth(1)
    expect(second.get_by_text("lr 0.1 → 0.01")).to_be_visible()
    assert readout(second) == readout(view)
    page.save()
    page.tab.reload()
    page.wait_for_kernel()
    for shown in (page.tab.locator(".convlab-chart").nth(i) for i in (0, 1)):
        step_shown(shown).to_have_text("900")
        expect(shown.get_by_text("SGD")).to_be_visible()
