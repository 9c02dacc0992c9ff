"""The learning-rate panel on the page: a curve that grows, a click that chooses, proof that all was given back."""

import re

from bench_page import LAB, LOAD, open_bench
from playwright.sync_api import expect

SUGGESTED = 'lab.tabs.children[lab.tabs.titles.index("Learning rate")].children[0].sweep.suggestion().lr'


def test_a_learning_rate_is_found_chosen_and_applied(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.root.get_by_role("tab", name="Learning rate").click()
    panel = bench.root.locator(".convlab-lr-finder")
    panel.get_by_role("button", name="Find learning rate").click()
    suggestion = panel.get_by_role("button", name=re.compile("^mean 0"))
    expect(suggestion).to_be_enabled()
    expect(panel).to_contain_text("Given back bit for bit")
    plot = panel.locator(".convlab-curves-area").first
    expect(plot).to_have_attribute("aria-label", re.compile("loss against learning rate.*Marked: mean"))
    box = plot.bounding_box()
    page.tab.mouse.click(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)
    apply = panel.get_by_role("button", name=re.compile("^Apply 0"))
    expect(apply).to_be_enabled()
    plot.focus()
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("Enter")
    bench.screenshot("swept")
    suggestion.click()
    expect(bench.root.locator(".convlab-schedule")).to_be_visible()
    tab = bench.root.get_by_role("tab", name="Learning rate")
    tab.click()
    expect(panel.locator(".convlab-messages")).to_contain_text("on the slider of the Training tab")
    assert bench.eval(f"lab.spec.lr == float(f'{{{SUGGESTED}:.3g}}')")
    panel.get_by_role("button", name="Careful mode").click()
    careful = panel.get_by_role("button", name=re.compile("^careful 0"))
    expect(careful).to_be_visible()
    careful.click()
    expect(bench.root.locator(".convlab-schedule")).to_be_visible()
    tab.click()
    bench.screenshot("careful")
    page.tab.set_viewport_size({"width": 700, "height": 1000})
    page.set_theme("dark")
    bench.screenshot("narrow-dark")


def test_from_the_question_to_the_training_in_four_clicks(page, notebook):
    bench = open_bench(page, notebook([LOAD, "lab = convlab.Lab(spec=convlab.TrainSpec(epochs=400))\nlab"]))
    bench.root.get_by_role("tab", name="Learning rate").click()
    clicks = ["Find learning rate", re.compile("^mean 0"), "Apply", "Run"]
    for name in clicks:
        # No tab is chosen in between: each click shows where the next one is.
        button = bench.root.get_by_role("button", name=name, exact=True).and_(page.tab.locator(":visible"))
        expect(button).to_be_enabled()
        button.click()
    bench.expect_running(after=50)
    assert bench.eval(f"lab.current.spec.lr == float(f'{{{SUGGESTED}:.3g}}')")
    assert bench.eval("lab.current.spec.schedule.arguments['T_max'] == 400 * 45")
    assert bench.eval("lab.current.history.lr[0] == lab.current.spec.lr")
    assert bench.eval("lab.current.history.lr[0] > lab.current.history.lr[-1]")
    bench.screenshot()
    bench.press("Stop")
    bench.expect_state("stopped")
