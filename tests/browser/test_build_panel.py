"""On the page: a layer is put in, frozen, drawn anew; then a network is chosen, changed and trained."""

import re

from bench_page import LAB, LOAD, open_bench
from playwright.sync_api import expect


def test_a_network_is_changed_by_hand_and_another_one_is_built(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.press("Step")
    bench.expect_state("paused")
    bench.root.get_by_role("tab", name="Architecture").click()
    panel = bench.root.locator(".convlab-architecture")
    panel.get_by_role("option", name=re.compile("^relu1")).click()
    panel.get_by_label("Insert").select_option("BatchNorm")
    panel.get_by_role("button", name="Insert").click()
    expect(panel.get_by_role("option", name=re.compile("BatchNorm2d"))).to_be_visible()
    assert bench.eval("type(lab.model[2]).__name__") == "BatchNorm2d"
    panel.get_by_role("option", name=re.compile("^conv1")).click()
    expect(panel.locator(".convlab-structure").first).to_be_visible()
    panel.get_by_role("button", name="Freeze").click()
    expect(panel.get_by_role("option", name=re.compile("^conv1"))).to_contain_text("frozen")
    panel.get_by_label("Weights").select_option("kaiming_normal")
    expect(panel.locator(".convlab-structure").nth(1)).to_contain_text("followed by relu")
    bench.screenshot("structure")
    panel.get_by_role("button", name="Draw anew").click()
    bench.expect_in_kernel("str(lab.current.journal[-1]).startswith('conv1: redraw')")

    bench.root.get_by_role("tab", name="Build").click()
    build = bench.root.locator(".convlab-build")
    expect(build.locator("table")).to_contain_text("conv1")
    build.get_by_label("Network", exact=True).select_option(label=bench.eval('convlab.GALLERY["resnet"].title'))
    expect(build.locator(".convlab-code")).to_contain_text("nn.BatchNorm2d")
    bench.screenshot("build")
    build.get_by_label("hidden").fill("many")
    build.get_by_label("hidden").press("Enter")
    expect(build.locator(".convlab-messages")).to_contain_text("hidden must be whole numbers")
    filters = build.get_by_label("out channels")
    filters.fill("12")
    filters.press("Tab")
    expect(build.get_by_label("Network", exact=True)).to_have_value("your own")
    build.get_by_role("button", name="Use this network").click()
    expect(bench.root.get_by_role("tab", name="Training")).to_have_attribute("aria-selected", "true")
    assert bench.eval("lab.net.blocks[0].out_channels") == 12
    bench.press("Step")
    bench.expect_state("paused")
    page.set_theme("dark")
    page.tab.set_viewport_size({"width": 700, "height": 1400})
    bench.root.get_by_role("tab", name="Build").click()
    bench.screenshot("build-narrow-dark")
