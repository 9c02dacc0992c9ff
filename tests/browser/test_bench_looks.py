"""The bench to the eye, and to the hand without a mouse: themes, zoom, widths, names, focus; the README's picture."""

import io
import re

from bench_page import LAB, LOAD, open_bench
from harness import ARTIFACTS
from looks import find_nothing
from matplotlib.image import imread
from playwright.sync_api import expect

# What a person would have to guess: an element one can tab to whose accessible name is empty, or without a tooltip.
NAMELESS = """root => [...root.querySelectorAll("button, input, select, summary, [tabindex='0'], [role=slider]")]
    .filter((element) => element.checkVisibility())
    .filter((element) => {
        const label = element.labels?.[0]?.innerText ?? "";
        return !(element.ariaLabel || label || element.innerText || "").trim();
    }).map((element) => element.outerHTML)"""
WITHOUT_TOOLTIP = """root => [...root.querySelectorAll(".convlab-buttons button, .convlab-settings > *")]
    .filter((element) => !element.querySelector("[title]:not([title=''])") && !element.title)
    .map((element) => element.outerHTML)"""
# Texts whose box is smaller than what stands in it, and boxes that reach out of the panel.
CUT_OFF = """root => {
    const outer = root.getBoundingClientRect();
    return [...root.querySelectorAll("*")].filter((element) => {
        if (!element.checkVisibility() || element.closest("canvas, .u-wrap, svg, .noUi-base")) return false;
        const box = element.getBoundingClientRect();
        if (!box.width || !box.height) return false;
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const clipped = own && getComputedStyle(element).overflowX !== "visible"
            && element.scrollWidth > element.clientWidth + 1 && element.tagName !== "PRE";
        return clipped || box.right > outer.right + 1 || box.left < outer.left - 1;
    }).map((element) => `${element.className}: ${element.textContent.slice(0, 60)}`);
}"""
CONTRAST = """root => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (text) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = text;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
    const light = (colour) => colour.map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
        return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const poor = [];
    for (const element of root.querySelectorAll("*")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const unreachable = element.matches(":disabled, :disabled *, [disabled] *, option");
        if (!own || !element.checkVisibility() || unreachable) continue;
        const below = ground(element);
        const text = over(rgba(getComputedStyle(element).color), below);
        const [low, high] = [light(text), light(below)].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05);
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className}: ${element.textContent.slice(0, 40)}`);
    }
    return poor;
}"""
RING = """() => {
    const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement);
    return [outlineStyle, boxShadow];
}"""


def check_look(bench):
    """Everything is named, explained, readable and in its place."""
    find_nothing(bench.root, NAMELESS, WITHOUT_TOOLTIP, CUT_OFF, CONTRAST)


def test_themes_zoom_and_widths(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    check_look(bench)
    bench.run()
    bench.type("ArrowLeft")
    bench.expect_running(after=100)
    bench.press("Pause")
    bench.expect_state("paused")
    check_look(bench)
    page.zoom(2)
    page.tab.wait_for_timeout(500)
    check_look(bench)
    page.zoom(1)
    # 600 is what a window of 1200 has left at a zoom of 200 %; Playwright's pictures know no zoom.
    for width in (1200, 800, 600, 520, 1600):
        page.tab.set_viewport_size({"width": width, "height": 1000})
        for theme in ("dark", "light"):
            page.set_theme(theme)
            page.tab.wait_for_timeout(300)
            bench.screenshot(f"{theme}-{width}")
            check_look(bench)
    bench.press("Stop")
    bench.expect_state("stopped")


def test_by_keyboard_alone(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    keyboard = page.tab.keyboard
    focused = "document.activeElement.ariaLabel || document.activeElement.innerText"

    def tab_to(name):
        for _ in range(40):
            keyboard.press("Tab")
            if page.tab.evaluate(focused).strip() == name:
                assert page.tab.evaluate(RING) != ["none", "none"], f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"{name} is not reached by Tab")

    bench.button("Run").focus()
    keyboard.press("Shift+Tab")
    tab_to("Run")
    keyboard.press("Space")
    bench.expect_running()
    cells = page.tab.locator(".jp-Notebook .jp-Cell").count()
    tab_to("Learning rate")
    for key in ("ArrowLeft", "ArrowDown", "ArrowRight", "PageDown", "ArrowUp"):
        keyboard.press(key)
    expect(bench.slider()).not_to_have_attribute("aria-valuetext", "0.05")
    bench.expect_lr_as_shown()
    # Letters are commands of JupyterLab's command mode: none may reach it from a control.
    for key in ("x", "b", "d", "d", "Enter"):
        keyboard.press(key)
    assert page.tab.locator(".jp-Notebook .jp-Cell").count() == cells
    assert page.tab.evaluate(focused) == "Learning rate"
    bench.screenshot("focus")
    for name, state in (("Pause", "paused"), ("Step", "paused"), ("Resume", "running"), ("Stop", "stopped")):
        # Back to the buttons: those that are disabled are left out on the way.
        bench.button("Step").focus()
        keyboard.press("Shift+Tab")
        keyboard.press("Shift+Tab")
        keyboard.press("Shift+Tab")
        tab_to(name)
        keyboard.press("Enter" if name == "Pause" else "Space")
        bench.expect_state(state)
    tab_to("Reset")
    keyboard.press("Space")
    bench.expect_state("ready")


def test_the_picture_for_the_readme(page, notebook):
    """Writes artifacts/bench.png; docs/bench.png is a copy of it."""
    page.tab.set_viewport_size({"width": 1200, "height": 930})
    bench = open_bench(page, notebook(["%load_ext convlab", "%convlab"]))
    bench.type("PageDown", "PageDown")
    bench.run()
    bench.expect_state("finished", timeout=120)
    bench.press("Reset")
    bench.expect_state("ready")
    bench.type("PageUp", "PageUp")
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.05")
    bench.run()
    line = bench.line.element_handle()
    page.tab.wait_for_function("line => / epoch ([6-9]|[1-9]\\d) /.test(line.innerText)", arg=line, polling=50)
    bench.type("PageDown")
    page.tab.wait_for_function("line => / epoch (2[4-9]|[3-9]\\d) /.test(line.innerText)", arg=line, polling=50)
    page.tab.mouse.move(600, 20)
    page.tab.evaluate("document.activeElement.blur()")
    bench.press("Pause")
    bench.expect_state("paused")
    expect(bench.root.get_by_text(re.compile("^lr ")).first).to_be_visible()
    file = ARTIFACTS / "bench.png"
    page.tab.screenshot(path=file)
    picture = imread(io.BytesIO(file.read_bytes()))
    assert picture.shape[1] == 1200
    assert file.stat().st_size < 150_000
    bench.press("Stop")
    bench.expect_state("stopped")
