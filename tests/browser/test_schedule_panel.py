"""The schedule previewer on the page: choose, drag, compare, draw what a plateau watches, apply."""

import re

from bench_page import LOAD, open_bench
from looks import check_look
from playwright.sync_api import expect

LAB = "lab = convlab.Lab(spec=convlab.TrainSpec(epochs=10))\nlab"
PANEL = "lab.tabs.children[lab.tabs.titles.index('Schedule')].children[0]"


def test_a_schedule_is_chosen_compared_and_applied(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.root.get_by_role("tab", name="Schedule").click()
    panel = bench.root.locator(".convlab-schedule")
    plot = panel.locator(".convlab-schedule-lr .convlab-curves-area")
    scheduler = panel.get_by_label("Scheduler")
    expect(plot).to_have_attribute("aria-label", re.compile("learning rate against step"))

    def settled(expression):
        return bench.eval(f"{PANEL}.settle() or {PANEL}.{expression}")

    assert settled("spec.arguments") == {"T_max": 450}
    bench.screenshot("cosine")
    box = panel.get_by_label("eta_min =")
    box.fill("0.0123")
    box.press("Enter")
    expect(panel.get_by_role("slider", name="eta_min")).to_have_attribute("aria-valuetext", "0.0123")
    assert settled("spec.arguments") == {"T_max": 450, "eta_min": 0.0123}
    panel.get_by_role("button", name="Keep for comparison").click()
    kept = panel.get_by_role("button", name="CosineAnnealingLR T_max=450, eta_min=0.0123")
    expect(kept).to_be_visible()

    scheduler.select_option("OneCycleLR")
    expect(panel.locator(".convlab-schedule-momentum .convlab-curves-area")).to_be_visible()
    bench.drag(40, name="pct_start")
    assert settled("spec.arguments['pct_start']") > 0.3
    expect(panel.locator(".convlab-code")).to_contain_text("pct_start=")
    bench.screenshot("one-cycle")
    check_look(panel)

    panel.get_by_role("button", name="each epoch").click()
    messages = panel.locator(".convlab-messages")
    expect(messages).to_contain_text("total_steps=450 but steps only 10 times")
    bench.screenshot("mismatch")
    panel.get_by_role("button", name="Fit to this training").click()
    expect(messages).not_to_contain_text("total_steps")
    assert settled("spec.arguments['total_steps']") == 10
    kept.click()
    expect(kept).to_be_hidden()

    scheduler.select_option("ReduceLROnPlateau")
    watched = panel.locator(".convlab-schedule-scores .convlab-curves-area")
    expect(watched).to_have_attribute("aria-label", re.compile("validation loss against epoch"))
    before = settled("scores.scores.values.tolist()")
    watched.locator(".u-over").hover()
    area = watched.locator(".u-over").bounding_box()
    page.tab.mouse.move(area["x"] + 0.02 * area["width"], area["y"] + 0.1 * area["height"])
    page.tab.mouse.down()
    page.tab.mouse.move(area["x"] + 0.98 * area["width"], area["y"] + 0.9 * area["height"], steps=20)
    page.tab.mouse.up()
    page.tab.wait_for_timeout(500)
    after = settled("scores.scores.values.tolist()")
    assert after != before
    assert after == sorted(after, reverse=True)
    bench.screenshot("plateau")

    scheduler.select_option("SequentialLR")
    panel.get_by_role("button", name="Add").click()
    expect(panel.locator(".convlab-part")).to_have_count(3)
    page.tab.set_viewport_size({"width": 700, "height": 1300})
    page.set_theme("dark")
    page.tab.wait_for_timeout(2000)
    bench.screenshot("narrow-dark")
    check_look(panel)
    panel.get_by_role("button", name="Remove").nth(2).click()
    expect(panel.locator(".convlab-part")).to_have_count(2)
    panel.get_by_role("button", name="Apply").click()
    expect(bench.button("Run")).to_be_visible()
    bench.screenshot("applied")
    bench.root.get_by_role("tab", name="Schedule").click()
    expect(panel.get_by_role("button", name="On the bench")).to_be_disabled()
    assert bench.eval(f"{PANEL}.spec == lab.spec.schedule")
