"""The bench in JupyterLab: a run is started, steered, paused, stepped, stopped and reset by hand."""

from itertools import pairwise

from bench_page import LAB, LOAD, Bench, open_bench
from playwright.sync_api import expect

WEIGHTS = "{name: value.tolist() for name, value in lab.model.state_dict().items()}"


def expect_still(bench: Bench) -> int:
    """Steps stand still, in the kernel and on the page; return their number."""
    before = bench.steps_done()
    bench.page.tab.wait_for_timeout(1500)
    assert bench.steps_done() == before
    assert bench.step == before
    return before


def test_a_run_is_steered_by_hand(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB, "6 * 7"]))
    expect(bench.line).to_have_text("ready")
    weights = bench.eval(WEIGHTS)
    height = bench.root.bounding_box()["height"]

    bench.run()
    bench.expect_curve()
    assert bench.lr() == 0.05
    bench.type("ArrowLeft", "ArrowLeft")
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.03")
    assert bench.expect_lr_as_shown() == 0.03
    assert page.tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Learning rate"
    bench.drag(-40)
    slow = bench.expect_lr_as_shown()
    assert slow < 0.03
    journal = bench.eval("[(c.name, c.old, c.new) for c in lab.current.journal]")
    assert journal[0][:2] == ["lr", 0.05]
    assert journal[-1][::2] == ["lr", slow]
    assert all(before[2] == after[1] for before, after in pairwise(journal))
    marks = bench.root.locator(".convlab-chart")
    expect(marks.get_by_text(f"→ {slow:.4g}").first).to_be_visible()
    bench.type("ArrowUp", name="Weight decay")
    expect(bench.slider("Weight decay")).to_have_attribute("aria-valuetext", "1e-06")
    bench.screenshot("running")

    # Other cells of the notebook run meanwhile.
    page.run_cell(2)
    page.expect_text(2, "42")
    bench.expect_running(after=bench.step)
    assert bench.root.bounding_box()["height"] == height

    bench.press("Pause")
    bench.expect_state("paused")
    stood = expect_still(bench)
    assert bench.eval("lab.current.optimizer.param_groups[0]['weight_decay']") == 1e-06
    bench.press("Step")
    expect(bench.line).to_contain_text(f"step {stood + 1:,} of")
    bench.expect_state("paused")
    assert expect_still(bench) == stood + 1
    bench.screenshot("paused")
    bench.press("Resume")
    bench.expect_running(after=stood + 1)
    bench.press("Stop")
    bench.expect_state("stopped")
    stopped = expect_still(bench)
    assert bench.eval(WEIGHTS) != weights
    assert bench.root.bounding_box()["height"] == height

    bench.press("Reset")
    expect(bench.line).to_have_text("ready")
    assert bench.eval(WEIGHTS) == weights
    expect(marks.get_by_text("run 1")).to_be_visible()
    bench.run()
    expect(bench.slider()).to_have_attribute("aria-valuetext", f"{slow:.4g}")
    assert bench.lr() == slow
    bench.screenshot("ghost")
    bench.press("Stop")
    bench.expect_state("stopped")
    assert bench.eval("[run.history.num_steps for run in lab.runs][0]") == stopped
    assert bench.root.bounding_box()["height"] == height


def test_hasty_clicks_do_nothing_bad(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.button("Run").dblclick()
    bench.expect_running()
    assert bench.eval("(len(lab.runs), lab.current.state)") == [1, "running"]
    bench.button("Step").dblclick()
    bench.expect_state("paused")
    # A click on Run while the step is still under way is not lost.
    bench.button("Step").evaluate("button => { button.click(); button.nextSibling.previousSibling; }")
    bench.button("Resume").click()
    bench.expect_running(after=bench.step)
    page.tab.evaluate(
        """root => { for (const name of ["stop", "run", "reset", "pause", "step", "run"])
            root.querySelector(`.convlab-${name}`).click(); }""",
        bench.root.element_handle(),
    )
    # The kernel takes its messages in order: once it knows of this one, it has seen all clicks.
    lr = bench.eval("lab.spec.lr")
    bench.type("ArrowLeft")
    bench.expect_in_kernel(f"lab.spec.lr < {lr}")
    # A step that came after the end of its run has begun another.
    bench.expect_in_kernel("lab.current.ended or lab.current.standing")
    if not bench.eval("lab.current.ended"):
        bench.press("Stop")
    bench.expect_state("stopped")
    assert bench.message.inner_text().strip() == ""
    assert bench.eval("all(run.ended for run in lab.runs)") is True
