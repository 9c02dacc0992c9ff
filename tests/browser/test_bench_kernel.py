"""The bench while its kernel is interrupted, restarted or killed, and while its page comes and goes."""

import re

import pytest
from bench_page import LAB, LOAD, open_bench
from playwright.sync_api import expect

WEIGHTS = "[value.tolist() for value in lab.model.parameters()]"


def test_the_stop_square_ends_a_run(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB, "run = lab.run(wait=True)\nprint('then', run.state)"]), wait=False)
    # Run all has begun with `wait`: the cell is being executed, and the run goes on beneath it.
    bench.expect_running()
    assert "[*]" in page.cell(2).inner_text()
    page.interrupt()
    page.expect_text(2, "then stopped")
    bench.expect_state("stopped")
    assert "Traceback" not in page.cell_text(2)
    steps = bench.steps_done()
    assert steps > 0
    bench.expect_curve()

    # And without: no cell is being executed, so that ipykernel itself would ignore the stop square.
    weights = bench.eval(WEIGHTS)
    bench.run()
    page.interrupt()
    bench.expect_state("stopped")
    assert bench.steps_done() > 0
    bench.expect_curve()
    after = bench.eval(WEIGHTS)
    assert after != weights
    page.tab.wait_for_timeout(500)
    assert bench.eval(WEIGHTS) == after
    bench.screenshot()
    bench.run()
    bench.press("Stop")
    bench.expect_state("stopped")

    # The kernel's own interrupt works as ever once no run is on.
    page.set_source(2, "print('begun')\ntime.sleep(60)")
    page.run_cell(2, wait=False)
    page.expect_text(2, "begun")
    page.interrupt()
    page.expect_text(2, "KeyboardInterrupt")


def test_after_a_restart_or_its_kernels_death_the_panel_says_that_it_is_dead(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.run()
    page.restart_kernel()
    notice = bench.root.get_by_text("This panel has lost its kernel")
    expect(notice).to_be_visible()
    bench.screenshot("restarted")
    # Nothing can be pressed any more, by mouse or keyboard.
    for name in ("pause", "stop"):
        bench.root.locator(f".convlab-{name}").evaluate("button => button.focus()")
        assert page.tab.evaluate("document.activeElement.tagName") != "BUTTON"
    page.run_all()
    bench.expect_open()
    expect(notice).to_be_hidden()
    bench.run()
    with pytest.raises(Exception, match=r"^$|Empty|timeout|Timeout"):
        page.kernel_eval("__import__('os')._exit(1)", timeout=3)
    expect(notice).to_be_visible()
    bench.screenshot("died")


def test_a_page_that_comes_back_finds_the_run(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.run()
    bench.type("ArrowLeft")
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.04")
    page.save()
    before = bench.step
    page.tab.goto("about:blank")
    page.tab.wait_for_timeout(1000)
    page.open(page.notebook)
    bench.expect_open()
    bench.expect_running(after=before)
    bench.expect_curve()
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.04")
    chart = bench.root.locator(".convlab-chart")
    expect(chart.get_by_text("lr 0.05 → 0.04")).to_be_visible()
    bench.press("Pause")
    bench.expect_state("paused")
    stood = bench.steps_done()
    assert bench.step == stood > before
    expect(chart.get_by_role("img")).to_have_attribute("aria-label", re.compile(f"step {stood}:"))
    # Its past is there as well.
    expect(bench.root.locator(".convlab-timeline")).to_contain_text(f"This is the present, after step {stood:,}.")
    bench.type("Home", name="Look back")
    expect(bench.root.locator(".convlab-timeline")).to_contain_text("Looking back at step 0: the start.")
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.05")
    bench.screenshot()
    # All of it was sent again: the axis begins where the run began.
    assert len(bench.eval("[int(step) for step in lab.curve.chart.provider()['train_loss'][0]]")) == stood
    bench.press("Stop")
    bench.expect_state("stopped")


def test_a_click_that_has_to_wait_says_so(page, notebook):
    # Without subshells the kernel takes clicks on the thread that runs cells.
    bench = open_bench(page, notebook([LOAD, LAB, "time.sleep(60)"]), wait=False, subshells="disabled")
    waiting = bench.root.get_by_text("Waiting for the kernel")
    height = bench.root.bounding_box()["height"]
    bench.press("Run")
    expect(waiting).to_be_visible()
    bench.screenshot()
    assert bench.root.bounding_box()["height"] == height
    page.interrupt()
    page.expect_text(2, "KeyboardInterrupt")
    bench.expect_running()
    expect(waiting).to_be_hidden()
    bench.press("Stop")
    bench.expect_state("stopped")
    page.tab.wait_for_timeout(2000)
    expect(waiting).to_be_hidden()
