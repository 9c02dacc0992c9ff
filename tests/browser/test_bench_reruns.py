"""One model, several hands: cells that run again and benches side by side never leave two runs on one model."""

from bench_page import LOAD, Bench, open_bench
from playwright.sync_api import expect

MODEL = (
    LOAD
    + """
from convlab.models.gallery import lenet
from convlab.training.active import active_runs
model, labs, spec = lenet(), [], convlab.TrainSpec(epochs=20_000)
"""
)
LAB = "lab = convlab.Lab(model, spec=spec)\nlabs.append(lab)\nlab"
RUNNING_LAB = "lab = convlab.Lab(model, spec=spec)\nlabs.append(lab)\nlab.run()\nlab"
STATES = "[lab.current and lab.current.state for lab in labs]"
ALIVE = "[run is labs[-1].current for run in active_runs(model)]"
THREADS = "[thread.name for thread in threading.enumerate()].count('convlab-run')"


def test_running_the_cell_again_ends_its_run(page, notebook):
    bench = open_bench(page, notebook([MODEL, LAB, RUNNING_LAB]))
    # The third cell has started a run at once; the bench of the second may not train the same model meanwhile.
    running = Bench(page, 2)
    running.expect_running()
    assert bench.eval(STATES) == [None, "running"]
    bench.press("Run")
    expect(bench.message).to_contain_text("already being trained by another run, which is running")
    expect(bench.line).to_have_text("ready")
    bench.screenshot("refused")

    page.run_cell(2)
    running.expect_running()
    assert bench.eval(STATES) == [None, "stopped", "running"]
    assert bench.eval(ALIVE) == [True]
    assert bench.eval(THREADS) == 1
    expect(page.output(2).locator(".convlab-lab")).to_have_count(1)
    running.press("Stop")
    running.expect_state("stopped")

    # A refusal does no harm: once the model is free, Run works, and its message is gone.
    bench.run()
    expect(bench.message).not_to_contain_text("already")
    page.run_cell(1)
    bench.expect_state("ready")
    assert bench.eval(STATES) == ["stopped", "stopped", "stopped", None]
    assert bench.eval(THREADS) == 0
    bench.run()
    assert bench.eval(ALIVE) == [True]
    bench.press("Stop")
    bench.expect_state("stopped")


def test_a_bench_shown_again_keeps_its_run_and_controls_follow_a_cell(page, notebook):
    bench = open_bench(page, notebook([MODEL, LAB, "lab"]))
    again = Bench(page, 2)
    again.expect_open()
    again.run()
    bench.expect_running()
    page.run_cell(2)
    again.expect_open()
    again.expect_running(after=bench.step)
    assert bench.eval(STATES) == ["running"]
    again.expect_curve()
    # One bench, two views: what one hand does shows in both.
    again.type("ArrowLeft")
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.04")
    bench.press("Pause")
    again.expect_state("paused")
    again.press("Stop")
    bench.expect_state("stopped")

    # The controls follow a cell, too, between runs and during one.
    page.set_source(2, "lab.set(lr=0.3)")
    page.run_cell(2)
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.3")
    bench.run()
    assert bench.lr() == 0.3
    page.set_source(2, "lab.current.set(lr=0.007, momentum=0.5); None")
    page.run_cell(2)
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.007")
    expect(bench.slider("Momentum")).to_have_attribute("aria-valuetext", "0.5")
    assert bench.lr() == 0.007
    page.set_source(2, "lab.set(lr=0.3)")
    page.run_cell(2)
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.3")
    bench.expect_lr_as_shown()
    page.set_source(2, "lab.set(optimizer='adam')")
    page.run_cell(2)
    page.expect_text(2, "optimizer cannot change during a run")
    expect(bench.message).to_contain_text("optimizer cannot change during a run")
    expect(bench.root.get_by_label("Optimizer")).to_have_value("SGD")
    bench.press("Stop")
    bench.expect_state("stopped")
    bench.root.get_by_label("Optimizer").select_option("Adam")
    expect(bench.slider("Momentum")).to_have_attribute("aria-disabled", "true")
    bench.run()
    assert bench.eval("type(lab.current.optimizer).__name__") == "Adam"
    bench.press("Stop")
    bench.expect_state("stopped")
