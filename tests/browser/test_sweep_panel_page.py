"""A sweep on the page: ticked by keyboard, watched, sent to the bench, and there again after the kernel's restart."""

import re

from bench_page import LOAD, Bench, open_bench
from looks import find_nothing
from playwright.sync_api import expect
from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

LAB = (
    "net = convlab.NetSpec((1, 8, 8), blocks=convlab.Block.ladder(8, 16))\n"
    "lab = convlab.Lab(net, spec=convlab.TrainSpec(epochs=3))\nlab"
)


def look(bench, name):
    bench.screenshot(name)
    find_nothing(bench.root, NAMELESS, CONTRAST)
    outside = ".convlab-sweep-scroll *, .convlab-sweep-scroll"
    find_nothing(bench.root, CUT_OFF.replace('"canvas, ', f'"{outside}, canvas, '))


def open_sweep(bench):
    bench.root.get_by_role("tab", name="Sweep").click()
    panel = bench.root.locator(".convlab-sweep")
    expect(panel).to_be_visible()
    return panel


def test_a_sweep_is_ticked_watched_sent_to_the_bench_and_found_again(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB, ""]))
    panel = open_sweep(bench)
    page.tab.set_viewport_size({"width": 1200, "height": 1500})
    line = panel.locator(".convlab-sweep-line")
    expect(line).to_contain_text("Will try lr; every other setting is that of the Training tab.")
    for name in ("Optimizer", "Kernel size", "Filters", "Schedule"):
        box = panel.get_by_role("checkbox", name=name, exact=True)
        box.focus()
        page.tab.keyboard.press("Space")
    expect(line).to_contain_text("Will try lr, optimizer, schedule, kernel_size, filters")
    trials = panel.get_by_label("Trials", exact=True)
    trials.fill("8")
    trials.press("Tab")
    look(bench, "plan")
    panel.get_by_role("button", name="Start").click()
    expect(line).to_contain_text("running: 0 of 8 trials")
    expect(panel.get_by_role("button", name="Pause")).to_be_enabled()
    expect(line).to_contain_text(re.compile(r"running: [3-7] of 8 trials.*best 0\."), timeout=60_000)
    page.tab.set_viewport_size({"width": 1200, "height": 1500})
    bench.screenshot("running")
    # The notebook stays usable, and its kernel may go.
    assert bench.eval("1 + 1") == 2
    page.restart_kernel()
    page.run_cell(0)
    page.run_cell(1)
    bench = Bench(page)
    bench.expect_open()
    panel = open_sweep(bench)
    line = panel.locator(".convlab-sweep-line")
    expect(line).to_contain_text(re.compile(r"finished: 8 of 8 trials"), timeout=90_000)
    expect(panel.get_by_role("checkbox", name="Filters", exact=True)).to_be_checked()
    expect(panel.locator(".convlab-parallel polyline.is-best")).to_have_count(1)
    expect(panel.locator(".convlab-importances tr")).to_have_count(5)
    for width, theme in ((1200, "light"), (560, "light"), (560, "dark"), (1200, "dark")):
        page.tab.set_viewport_size({"width": width, "height": 1900})
        page.set_theme(theme)
        page.tab.wait_for_timeout(500)
        look(bench, f"{theme}-{width}")
    panel.get_by_role("button", name="Open trial").click()
    expect(bench.message).to_contain_text("is on the bench, its curve on the Runs tab, too.")
    bench.screenshot("opened")
    panel = open_sweep(bench)
    panel.get_by_role("button", name="Send best to bench").click()
    expect(bench.message).to_contain_text("are on the bench: press Run.")
    found = "__import__('convlab').Sweep.open('sweep')"
    bench.expect_in_kernel(f"lab.spec == {found}.spec({found}.best) and lab.net == {found}.net({found}.best)")
    bench.screenshot("sent")
