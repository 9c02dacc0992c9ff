"""The bench wherever notebooks are shown, and with each way in which kernels hand out callbacks."""

import pytest
from bench_page import LAB, LOAD, Bench, open_bench
from playwright.sync_api import expect


def steer(bench: Bench) -> None:
    """Run, drag, pause, step, go on, stop: with eyes and hands alone."""
    bench.run()
    bench.expect_curve()
    bench.drag(-30)
    expect(bench.slider()).not_to_have_attribute("aria-valuetext", "0.05")
    lr = bench.shown()
    expect(bench.root.locator(".convlab-chart").get_by_text(f"→ {lr}").first).to_be_visible()
    bench.press("Pause")
    bench.expect_state("paused")
    stood = bench.step
    bench.press("Step")
    expect(bench.line).to_contain_text(f"step {stood + 1:,} of")
    bench.expect_state("paused")
    bench.page.tab.wait_for_timeout(700)
    assert bench.step == stood + 1
    bench.press("Resume")
    bench.expect_running(after=stood + 1)
    bench.press("Stop")
    bench.expect_state("stopped")
    bench.screenshot()
    bench.press("Reset")
    bench.expect_state("ready")


@pytest.mark.parametrize(
    ("version", "subshells"),
    [
        (None, "disabled"),
        (None, "perComm"),
        ("7.3.0", "perCommTarget"),
        ("6.30.1", "perCommTarget"),
    ],
)
def test_with_every_kind_of_kernel(page, notebook, other_ipykernel, version, subshells):
    kernel = "python3" if version is None else other_ipykernel(version)
    bench = open_bench(page, notebook([LOAD, LAB], kernel=kernel), subshells=subshells)
    if version is not None:
        assert bench.eval("__import__('ipykernel').__version__") == version
    steer(bench)
    journal = bench.eval("[(c.name, c.new) for c in lab.runs[0].journal]")
    assert journal[-1] == ["lr", bench.eval("lab.spec.lr")]
    assert bench.eval("lab.current.optimizer.param_groups[0]['lr']") == bench.eval("lab.spec.lr")
    # The stop square, too.
    bench.run()
    page.interrupt()
    bench.expect_state("stopped")


def test_in_notebook_7(notebook7, notebook):
    steer(open_bench(notebook7, notebook([LOAD, LAB])))
    notebook7.save()
    notebook7.allow_console("widget model|model not found|Could not find|Widget model")
    notebook7.reopen_without_kernel()
    expect(notebook7.output(1).locator("img")).to_be_visible()
    expect(notebook7.output(1).locator(".convlab-static")).to_contain_text("stopped after")


def test_in_voila(voila, notebook):
    voila.open(notebook([LOAD, LAB]))
    bench = Bench(voila, None)
    bench.expect_open()
    expect(voila.tab.locator(".convlab-static")).to_be_hidden()
    steer(bench)
    expect(voila.tab.locator("img:visible")).to_have_count(0)
