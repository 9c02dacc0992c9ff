"""The Inside tab on the page: layers and feature maps move while a run trains, and with the picture that is drawn."""

import io
import re

from bench_page import LAB, LOAD, open_bench
from looks import find_nothing
from PIL import Image
from playwright.sync_api import expect
from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

PANEL = "lab.tabs.show('Inside')"
WITHOUT_TOOLTIP = """root => [...root.querySelectorAll(".convlab-try > *, .convlab-inside-table thead th")]
    .filter((element) => !element.matches(".convlab-inside-meaning") && element.checkVisibility())
    .filter((element) => !element.title && !element.querySelector("[title]:not([title=''])"))
    .map((element) => element.outerHTML)"""
# The table and the rows of maps scroll where they are wider than the page.
NARROW = CUT_OFF.replace(".noUi-base", ".noUi-base, .convlab-inside-table, .convlab-inside-maps")


def check_look(panel, cut_off=CUT_OFF):
    find_nothing(panel, NAMELESS, cut_off, CONTRAST, WITHOUT_TOOLTIP)


def test_inside_a_network(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.root.get_by_role("tab", name="Inside").click()
    panel = bench.root.locator(".convlab-inside")
    caption, table = panel.locator(".convlab-inside-caption"), panel.locator(".convlab-inside-table")
    maps, words = panel.locator(".convlab-inside-maps img"), panel.locator(".convlab-inside-words")
    expect(caption).to_contain_text("The model as it is: loss")
    expect(table.locator("tbody tr")).to_have_count(10)
    expect(maps).to_have_count(10)
    check_look(panel)
    bench.screenshot("start")

    # A run: the table follows, and the maps, in their places.
    height = panel.bounding_box()["height"]
    relu = maps.nth(2)
    relu.evaluate("image => { image.mine = true; image.before = image.src; }")
    bench.root.get_by_role("tab", name="Training").click()
    bench.run()
    bench.root.get_by_role("tab", name="Inside").click()
    expect(caption).to_contain_text("At step")
    first = caption.inner_text()
    page.tab.wait_for_function("image => image.src !== image.before && image.complete", arg=relu.element_handle())
    expect(caption).not_to_have_text(first)
    assert relu.evaluate("image => image.mine")
    assert abs(panel.bounding_box()["height"] - height) <= 20
    expect(panel.locator(".convlab-inside-fixed")).to_contain_text("✓")
    check_look(panel)
    bench.screenshot("running")

    # What is drawn is seen at once, also while it trains.
    panel.get_by_role("button", name="Blank").click()
    expect(words).to_contain_text("A blank picture.")
    canvas = panel.locator(".convlab-sketch canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] * 0.56, box["y"] + box["height"] * 0.1)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] + box["width"] * 0.56, box["y"] + box["height"] * 0.9, steps=3)
    page.tab.mouse.up()
    expect(words).to_contain_text("A picture drawn by hand.")
    page.expect_in_kernel(f"{PANEL}.picture.x[0, :, 4].min().item() == {PANEL}.picture.x.max().item()")
    assert page.kernel_eval(f"int(({PANEL}.picture.x > 0).sum())") == 8
    canvas.focus()
    page.tab.keyboard.press("ArrowLeft")
    page.tab.keyboard.press("Space")
    page.expect_in_kernel(f"int(({PANEL}.picture.x > 0).sum()) == 9")
    panel.get_by_role("button", name="Occlusion").click()
    expect(words).to_contain_text("Occlusion")
    panel.locator(".convlab-inside-picture").evaluate("element => element.scrollIntoView({ block: 'start' })")
    page.screenshot("drawn")

    with page.tab.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Own picture").click()
    content = io.BytesIO()
    Image.linear_gradient("L").save(content, "PNG")
    chooser.value.set_files({"name": "own.png", "mimeType": "image/png", "buffer": content.getvalue()})
    expect(words).to_contain_text("Your picture.")
    panel.get_by_role("button", name="Saliency").click()
    expect(words).to_contain_text("Saliency")

    # Where a run stands it can be looked at in peace; in the dark, and on a narrow page.
    bench.eval("lab.pause()")
    panel.get_by_label("Over time").select_option("Zeros")
    panel.get_by_role("button", name="Gradients").click()
    expect(panel.locator(".convlab-inside-meaning")).to_contain_text("Behind a ReLU")
    page.set_theme("dark")
    expect(page.tab.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    check_look(panel)
    bench.screenshot("dark")
    panel.locator(".convlab-inside-picture").evaluate("element => element.scrollIntoView({ block: 'start' })")
    page.screenshot("dark-picture")
    page.tab.set_viewport_size({"width": 600, "height": 900})
    expect(panel).to_be_visible()
    check_look(panel, NARROW)
    bench.screenshot("narrow")
    panel.locator(".convlab-inside-picture").evaluate("element => element.scrollIntoView({ block: 'start' })")
    page.screenshot("narrow-picture")
    expect(caption).to_have_text(re.compile(r"At step [\d,]+: loss .* on \d+ samples"))
