"""The Scores tab on the page: a run is scored as it goes, and a number of the matrix leads to its pictures."""

import re

from bench_page import LOAD, open_bench
from looks import find_nothing
from playwright.sync_api import expect
from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

LAB = """lab = convlab.Lab(
    spec=convlab.TrainSpec(epochs=6, batch_size=60),
    metrics={"top 2": lambda out, y: (out.topk(2).indices == y[:, None]).any(1).float().mean()},
)
lab"""
WIDE = {"width": 1200, "height": 1500}
# A class's name wraps in the grid, which scrolls where it is wider than the page.
OUTSIDE = ".convlab-confusion-scroll *, .convlab-scores-scroll *, .convlab-gallery *"


def check_look(panel):
    find_nothing(panel, NAMELESS, CONTRAST, CUT_OFF.replace('"canvas, ', f'"{OUTSIDE}, canvas, '))


def test_scores_and_the_pictures_behind_a_number(page, notebook):
    page.tab.set_viewport_size(WIDE)
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.root.get_by_role("tab", name="Scores").click()
    panel = bench.root.locator(".convlab-scores")
    expect(panel).to_contain_text("No run yet: press Run on the Training tab.")
    bench.root.get_by_role("tab", name="Training").click()
    bench.press("Run")
    bench.expect_state("finished")
    bench.root.get_by_role("tab", name="Scores").click()
    expect(panel).to_contain_text("Epoch 6, step 144: 360 validation samples.")
    expect(panel.get_by_role("cell", name=re.compile(r"^0\.\d+|^1$")).first).to_be_visible()
    expect(panel.get_by_text("top 2", exact=True).first).to_be_visible()
    assert panel.get_by_text("F1", exact=True).first.get_attribute("title").startswith("Harmonic mean")

    grid, pictures = panel.get_by_role("grid"), panel.locator(".convlab-scores-pictures")
    cells = grid.get_by_role("gridcell")
    expect(cells).to_have_count(100)
    counts = bench.eval("lab.current.metrics[-1].metrics.confusion.tolist()")
    wrong = [(counts[i][j], i, j) for i in range(10) for j in range(10) if i != j]
    count, row, column = max(wrong)
    cell = grid.get_by_label(f"{row} taken for {column}: {count} of {sum(counts[row])} samples")
    expect(cell).to_have_text(str(count))
    cell.click()
    expect(cell).to_have_attribute("aria-selected", "true")
    expect(pictures).to_contain_text(f"{row} taken for {column}: the surest mistakes first")
    expect(pictures.locator("figure")).to_have_count(min(count, 24))
    drawn = "images => images.every((image) => image.complete && image.naturalWidth === 8)"
    assert pictures.locator("img").evaluate_all(drawn)
    check_look(panel)
    bench.screenshot("light")

    # By keyboard: one stop for Tab, arrows within, and Enter; JupyterLab keeps its hands off.
    assert grid.locator("[tabindex='0']").count() == 1
    keyboard = page.tab.keyboard
    cell.focus()
    keyboard.press("Home")
    for _ in range(row):
        keyboard.press("ArrowUp")
    assert page.tab.evaluate("document.activeElement.ariaLabel").startswith("0, right")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    expect(pictures).to_contain_text("1, right: the least sure first")
    found = min(counts[1][1], 24)
    expect(pictures.locator("figure")).to_have_count(found)
    if counts[1][1] > found:
        expect(pictures).to_contain_text(f"and {counts[1][1] - found} more")

    # It follows a longer run without its grid being made anew; the focus stays.
    bench.eval("lab.set(epochs=20_000)")
    bench.eval("lab.step()")
    bench.eval("lab.current.step(24) and None")
    expect(panel).to_contain_text("Epoch 1, step 24")
    grid.evaluate("grid => { grid.marked = true; }")
    cells.nth(11).focus()
    bench.eval("lab.run(wait=False) and None")
    expect(panel).to_contain_text(re.compile(r"Epoch [1-9]\d+,"), timeout=60_000)
    assert grid.evaluate("grid => grid.marked")
    assert page.tab.evaluate("document.activeElement.ariaLabel").startswith("1, right")
    bench.eval("lab.pause()")
    expect(panel.get_by_label("Curve of")).to_be_visible()
    panel.get_by_label("Curve of").select_option("ROC AUC")
    bench.expect_in_kernel("lab.tabs.show('Scores').curves.y_label == 'ROC AUC'")

    for width, theme in ((1200, "dark"), (560, "dark"), (560, "light")):
        page.tab.set_viewport_size({"width": width, "height": 2400})
        page.set_theme(theme)
        page.tab.wait_for_timeout(500)
        bench.screenshot(f"{theme}-{width}")
        check_look(panel)
    bench.eval("lab.stop()")
