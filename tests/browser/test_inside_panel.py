"""The Inside tab on the page: layers and feature maps move while a run trains, and with the picture that is drawn."""

from bench_page import LOAD, open_bench
from playwright.sync_api import expect
from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

LAB = "lab = convlab.Lab(spec=convlab.TrainSpec(epochs=20_000))\nlab"


def check_look(panel):
    for check in (NAMELESS, CUT_OFF, CONTRAST):
        assert panel.evaluate(check) == []


def test_inside_a_network(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.root.get_by_role("tab", name="Inside").click()
    panel = bench.root.locator(".convlab-inside")
    table = panel.locator(".convlab-inside-table")
    expect(table).to_contain_text("conv1")
    maps = panel.locator(".convlab-inside-maps img")
    expect(maps.first).to_be_visible()
    check_look(panel)
    bench.screenshot("start")
    panel.locator(".convlab-inside-maps").scroll_into_view_if_needed()
    page.screenshot("maps")
