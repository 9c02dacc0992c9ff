"""A training under a schedule on the page: the plan beside what came, and the switch for the lr's slider."""

from bench_page import LOAD, open_bench
from playwright.sync_api import expect

LAB = """
schedule = convlab.ScheduleSpec("CosineAnnealingLR", T_max=60_000)
lab = convlab.Lab(spec=convlab.TrainSpec(epochs=1_000, schedule=schedule))
lab
"""
PLAN = "lab.current.plan().lrs[0]"


def test_the_lr_slider_scales_holds_and_releases_a_schedule(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    modes = bench.root.locator(".convlab-schedule-line")
    expect(modes).to_contain_text("Schedule: CosineAnnealingLR, each step")
    expect(bench.root.locator(".uplot")).to_have_count(2)
    bench.press("Step")
    bench.expect_state("paused")
    expect(bench.root.locator(".uplot")).to_have_count(3)
    lr = bench.lr()
    bench.type("ArrowRight")
    expect(bench.root.locator(".convlab-chart-marks")).to_contain_text("lr 0.05 → 0.06")
    assert abs(bench.lr() / lr - 1.2) < 1e-6
    assert bench.eval(f"{PLAN} == lab.current.optimizer.param_groups[0]['lr']")
    modes.get_by_text("Hold", exact=True).click()
    expect(bench.root.locator(".convlab-chart-marks")).to_contain_text("schedule held")
    bench.run_on(60)
    held = bench.lr()
    assert bench.eval("len(set(lab.current.history.lr[5:].tolist()))") == 1
    bench.screenshot("held")
    modes.get_by_text("Release", exact=True).click()
    bench.type("ArrowLeft", "ArrowLeft")
    bench.expect_lr_as_shown()
    assert bench.lr() < held
    modes.get_by_text("Scale", exact=True).click()
    bench.run_on(200)
    bench.press("Pause")
    bench.expect_state("paused")
    assert bench.eval("lab.current.settings.lr") == 0.06
    bench.screenshot("scaled")
    modes.get_by_role("button", name="Remove").click()
    expect(modes).to_be_hidden()
    bench.expect_lr_as_shown()
    assert bench.eval("[c.name for c in lab.current.journal][-1]") == "schedule"
    bench.press("Stop")
    bench.expect_state("stopped")
