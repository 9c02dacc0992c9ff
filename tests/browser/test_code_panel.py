"""The Code tab on the page: a script is read, copied and saved; a bench is handed on through the clipboard."""

import re

from bench_page import LOAD, Bench, open_bench
from looks import check_look
from playwright.sync_api import expect

FIRST = "lab = convlab.Lab(spec=convlab.TrainSpec(epochs=1))\nlab"
SECOND = "other = convlab.Lab(spec=convlab.TrainSpec(epochs=1, lr=0.3))\nother"
PREPARE = "import os, tempfile\nos.chdir(tempfile.mkdtemp())"
EDIT = 'from convlab.models.live import Edit\nlab.edit(Edit("conv2", {"out_channels": 40}))\nlab.set(lr=0.1)'
CURVE = "{}.current.history.train_loss.tolist()"


def code_tab(bench):
    bench.root.get_by_role("tab", name="Code").click()
    return bench.root.locator(".convlab-code-tab")


def test_a_script_and_a_bench_are_handed_on(page, notebook):
    page.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    bench = open_bench(page, notebook([LOAD, FIRST, f"{PREPARE}\n{EDIT}", SECOND]))
    panel = code_tab(bench)
    script, state = panel.get_by_label("Script"), panel.get_by_label("State")
    expect(script).to_contain_text("lr=0.1")
    expect(state).to_contain_text('"out_channels":40')
    check_look(panel)
    bench.screenshot("start")

    def clipboard():
        return page.tab.evaluate("() => navigator.clipboard.readText()")

    copies = panel.locator(".convlab-copy")
    copies.nth(0).get_by_role("button").click()
    expect(copies.nth(0)).to_contain_text("Copied")
    assert clipboard() == bench.eval("lab.code()")
    compile(clipboard(), "train.py", "exec")
    panel.get_by_role("button", name="Save").click()
    messages = panel.locator(".convlab-messages").first
    expect(messages).to_contain_text("Saved train.py")
    assert bench.eval("open('train.py').read() == lab.code()")
    bench.eval("open('train.py', 'w').write('mine')")
    panel.get_by_role("button", name="Save").click()
    expect(messages).to_contain_text("would be overwritten")
    bench.screenshot("kept")
    panel.get_by_role("button", name="Overwrite").click()
    expect(messages).to_contain_text("Saved train.py")

    # Where the browser denies the clipboard the text is copied the old way.
    page.tab.evaluate("() => navigator.clipboard.writeText('')")
    page.tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('denied')); }")
    copies.nth(1).get_by_role("button").click()
    expect(copies.nth(1)).to_contain_text("Copied")
    assert clipboard() == bench.eval("lab.state")

    second = Bench(page, 3)
    there = code_tab(second)
    box = there.get_by_placeholder(re.compile("convlab"))
    box.fill("{}")
    told = there.locator(".convlab-messages").last
    expect(told).to_contain_text("a state needs its version")
    box.fill("")
    box.focus()
    page.tab.keyboard.press("Control+V")
    expect(told).to_contain_text("conv2: out_channels=40; lr: 0.3 → 0.1")
    there.get_by_role("button", name="Open").scroll_into_view_if_needed()
    page.screenshot("told")
    there.get_by_role("button", name="Open").click()
    expect(told).to_contain_text("Opened")
    assert bench.eval("lab.state == other.state")
    for one in (bench, second):
        one.root.get_by_role("tab", name="Training").click()
        one.press("Run")
        one.expect_state("finished")
    assert bench.eval(CURVE.format("lab")) == bench.eval(CURVE.format("other"))
    code_tab(second)
    expect(there).to_contain_text("Run 1 from its start")
    page.tab.set_viewport_size({"width": 700, "height": 1300})
    page.set_theme("dark")
    page.tab.wait_for_timeout(1000)
    second.screenshot("narrow-dark")
    check_look(there)
