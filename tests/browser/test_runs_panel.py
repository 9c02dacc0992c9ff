"""A run's past, its forks and its neighbours on the page: looked back on, forked, compared, kept, taken up again."""

import re

from bench_page import LOAD, Bench, open_bench
from looks import find_nothing
from playwright.sync_api import expect
from test_bench_looks import CONTRAST, CUT_OFF, NAMELESS

LAB = 'lab = convlab.Lab(spec=convlab.TrainSpec(epochs=3, batch_size=100), autosave="kept")\nlab'
EDIT = 'from convlab.models.live import Edit\nlab.edit(Edit("conv2", {"out_channels": 40}))'
AB, KEEP = "A/B: does it matter?", "Keep: save, load, resume, export"


class Runs:
    """The Runs tab, as a person finds it."""

    def __init__(self, bench):
        self.bench, self.keyboard = bench, bench.page.tab.keyboard
        bench.root.get_by_role("tab", name="Runs").click()
        self.root = bench.root.locator(".convlab-runs-panel")
        self.table = self.root.get_by_role("region", name="Table of runs")

    def name(self, run):
        return self.table.get_by_role("button", name=run, exact=True)

    def row(self, run):
        name = self.bench.page.tab.get_by_role("button", name=run, exact=True)
        return self.table.locator("tbody tr", has=name)

    def cell(self, run, column):
        heads = [head.split(" ▴")[0].split(" ▾")[0] for head in self.table.locator("thead th").all_inner_texts()]
        return self.row(run).locator("th, td").nth([" ".join(head.split()) for head in heads].index(column))

    def names(self):
        return self.table.locator("tbody th button").all_inner_texts()

    def section(self, title):
        """Open a section by keyboard."""
        head = self.bench.root.get_by_role("button", name=title)
        if head.get_attribute("aria-expanded") == "false":
            head.focus()
            self.keyboard.press("Enter")
        expect(head).to_have_attribute("aria-expanded", "true")

    def expect_on_chart(self, *names):
        expect(self.root.get_by_role("group", name="Runs").locator("> *")).to_have_text(names)


def check_look(bench):
    outside = ".convlab-runs-scroll *, .convlab-chart-ghosts *"
    find_nothing(bench.root, NAMELESS, CONTRAST, CUT_OFF.replace('"canvas, ', f'"{outside}, canvas, '))


def look_back_and_fork(bench):
    """One step, an edit, the rest; back to before the edit, and on from there with another lr."""
    page, says = bench.page, bench.root.locator(".convlab-timeline")
    expect(says).to_contain_text("Nothing to look back on yet: press Run.")
    bench.press("Step")
    bench.expect_state("paused")
    page.set_source(2, EDIT)
    page.run_cell(2)
    bench.press("Resume")
    bench.expect_state("finished")
    expect(says).to_contain_text("This is the present, after step 45.")
    conv2 = bench.root.locator(".convlab-architecture").get_by_role("option", name=re.compile("^conv2"))

    def channels(number):
        bench.root.get_by_role("tab", name="Architecture").click()
        expect(conv2).to_contain_text(f"{number} x 4 x 4")
        bench.root.get_by_role("tab", name="Training").click()

    channels(40)
    height = bench.root.bounding_box()["height"]
    bench.drag(-1000, "Look back")
    expect(says).to_contain_text("Looking back at step 0: the start. Weights and settings are those of then")
    expect(bench.slider("Look back")).to_have_attribute("aria-valuetext", "step 0: the start")
    assert bench.root.bounding_box()["height"] == height
    channels(32)
    bench.drag(1000, "Look back")
    expect(says).to_contain_text("This is the present")
    channels(40)
    bench.type("ArrowLeft", "ArrowLeft", name="Look back")
    expect(says).to_contain_text("Looking back at step 30: the end of epoch 2.")
    check_look(bench)
    bench.type("ArrowLeft")
    expect(bench.slider()).to_have_attribute("aria-valuetext", "0.04")
    bench.screenshot("back")
    bench.press("Fork here")
    fork = "run 1, lr 0.05 → 0.04 from step 30"
    bench.expect_in_kernel(f"lab.current.name == {fork!r} and lab.current.state == 'finished'")
    expect(bench.root.locator(".convlab-chart-ghosts > *").first).to_have_text(fork)
    expect(bench.root.locator(".convlab-chart-ghosts > *").last).to_have_text("run 1")
    expect(bench.root.get_by_text("lr 0.05 → 0.04", exact=True)).to_be_visible()
    assert bench.eval("lab.runs[0].history.train_loss.tolist()[:30] == lab.current.history.train_loss.tolist()[:30]")
    assert bench.eval("lab.runs[0].history.train_loss.tolist()[30:] != lab.current.history.train_loss.tolist()[30:]")
    bench.screenshot("forked")
    return fork


def compare(bench, fork):
    """Sort, select, note, untick and remove, by keyboard where a keyboard can."""
    runs = Runs(bench)
    runs.expect_on_chart(fork, "run 1")
    expect(runs.root).to_contain_text(f"Held against {fork}: settings that differ")
    changes = runs.cell("run 1", "Changes")
    expect(changes).to_have_class(re.compile("is-different"))
    expect(changes).to_have_attribute("title", re.compile("in the selected run .*lr 0.05 → 0.04"))
    expect(runs.cell(fork, "Changes")).not_to_have_class(re.compile("is-different"))
    expect(runs.name(fork)).to_have_attribute("title", re.compile("Forked from run 1, step 30"))
    runs.name("run 1").focus()
    runs.keyboard.press("Enter")
    expect(runs.name("run 1")).to_have_attribute("aria-pressed", "true")
    expect(runs.cell(fork, "Changes")).to_have_class(re.compile("is-different"))
    runs.expect_on_chart("run 1", fork)
    assert bench.page.tab.evaluate("document.activeElement.innerText") == "run 1"  # the focus stays
    by_name = runs.table.locator("th[data-name=run]")
    for way, first in (("ascending", "run 1"), ("descending", fork)):
        by_name.get_by_role("button").focus()
        runs.keyboard.press("Enter")
        expect(by_name).to_have_attribute("aria-sort", way)
        assert runs.names()[0] == first
    note = runs.row(fork).get_by_role("textbox")
    note.fill("<b>slower")
    note.press("Enter")
    bench.expect_in_kernel("lab.runs[1].note == '<b>slower'")
    expect(note).to_have_value("<b>slower")
    check_look(bench)
    bench.screenshot("table")
    tick = runs.row(fork).get_by_role("checkbox")
    tick.focus()
    runs.keyboard.press("Space")
    expect(runs.root.get_by_role("group", name="Runs").locator("> *")).to_have_count(0)
    runs.row(fork).get_by_role("button", name=f"Remove {fork}").click()
    expect(runs.name(fork)).to_have_count(0)
    assert runs.names() == ["run 1"]
    expect(runs.root).to_contain_text("So far there is only run 1.")
    return runs


def try_ab(bench, runs):
    """One pair, of one epoch."""
    bench.eval("lab.set(epochs=1)")
    runs.section(AB)
    panel = bench.root.locator(".jupyter-widget-Collapse-open")
    value = panel.get_by_placeholder("such as 0.0")
    value.fill("0.5")
    value.press("Tab")
    panel.get_by_label("Seeds").fill("1")
    panel.get_by_label("Seeds").press("Tab")
    expect(panel).to_contain_text("B: the same, but momentum 0.5. 2 trainings of 1 epochs")
    panel.get_by_role("button", name="Run A/B").click()
    expect(panel).to_contain_text(re.compile(r"With momentum 0\.9 → 0\.5 .*, with one seed: it may be noise"))
    expect(runs.name("B, seed 0")).to_be_visible()
    expect(runs.cell("B, seed 0", "Momentum")).to_have_text("0.5")
    expect(runs.cell("B, seed 0", "Momentum")).to_have_class(re.compile("is-different"))  # from run 1's, still
    expect(runs.cell("A, seed 0", "Momentum")).not_to_have_class(re.compile("is-different"))
    check_look(bench)


def look_in_both_themes(bench, runs):
    page = bench.page
    for width, theme in ((1200, "dark"), (560, "dark"), (560, "light")):
        page.tab.set_viewport_size({"width": width, "height": 1600})
        page.set_theme(theme)
        page.tab.wait_for_timeout(500)
        for title in (AB, KEEP):
            runs.section(title)
            bench.screenshot(f"{theme}-{width}-{title[:1]}")
            check_look(bench)
    page.tab.set_viewport_size({"width": 1200, "height": 1000})


def take_up_after_a_restart(bench):
    """The kernel goes in mid-run; what was kept goes on, its curve from the beginning."""
    page = bench.page
    bench.root.get_by_role("tab", name="Training").click()
    bench.press("Reset")  # the next kernel's bench has the network as it was, and takes no other's weights
    bench.expect_state("ready")
    bench.eval("lab.set(epochs=20_000)")
    bench.run()
    bench.expect_running(after=100)
    bench.expect_in_kernel("lab.current.autosave.note.startswith('Saved at step')")
    page.restart_kernel()
    page.run_cell(0)
    page.run_cell(1)
    bench = Bench(page)
    bench.expect_open()
    runs = Runs(bench)
    expect(runs.root).to_contain_text("No runs yet")
    runs.section(KEEP)
    on_disk = bench.root.get_by_label("On disk")
    # A polite end of the kernel stops the run first.
    expect(on_disk.locator("option").first).to_contain_text(re.compile(r"(running|stopped),\sepoch\s\d+\sof\s20000"))
    bench.screenshot("on-disk")
    bench.press("Resume")
    expect(bench.root.locator(".jupyter-widget-Collapse-open")).to_contain_text("is on the bench, and goes on.")
    bench.root.get_by_role("tab", name="Training").click()
    bench.expect_running(after=100)
    went_on_at = bench.step
    bench.expect_running(after=went_on_at + 20)
    bench.expect_curve()
    bench.press("Stop")
    bench.expect_state("stopped")
    steps = bench.eval("[int(step) for step in lab.curve.chart.provider()['train_loss'][0]]")
    assert steps[0] == 1
    assert steps[-1] == bench.steps_done() > went_on_at
    bench.screenshot("taken-up")


def test_runs_are_looked_back_on_forked_compared_and_kept(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB, ""]))
    fork = look_back_and_fork(bench)
    runs = compare(bench, fork)
    try_ab(bench, runs)
    look_in_both_themes(bench, runs)
    take_up_after_a_restart(bench)
