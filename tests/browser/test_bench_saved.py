"""What the bench leaves in the notebook's file: a picture and its settings, wherever the file is opened."""

import re
import subprocess
import sys

from bench_page import LAB, LOAD, open_bench
from playwright.sync_api import expect

NOT_FOUND = "Error displaying widget|Loading widget|model not found"
VIEW = "application/vnd.jupyter.widget-view+json"


def kinds(page):
    """Save, and return which kinds of data the outputs of the bench's cell hold."""
    return [set(output["data"]) for output in page.save()["cells"][1]["outputs"]]


def run_and_save(page, notebook):
    """Train, turn a knob, pause; return the notebook's path with the picture saved in it."""
    bench = open_bench(page, notebook([LOAD, f"{LAB}  # mine"]))
    assert kinds(page) == [{VIEW}, {"text/plain"}, {"text/html", "text/plain"}]
    bench.run()
    bench.type("ArrowLeft")
    bench.expect_running(after=200)
    bench.press("Pause")
    bench.expect_state("paused")
    for _ in range(60):
        if "image/png" in kinds(page)[1]:
            break
        page.tab.wait_for_timeout(500)
    assert kinds(page) == [{VIEW}, {"image/png", "text/plain"}, {"text/html", "text/plain"}]
    expect_live(page)
    page.allow_console("widget model|model not found|Could not find|Widget model")
    return page.notebook


def expect_live(page):
    """The panel, and nothing of what stands in for it."""
    area = page.output(1)
    expect(area.locator(".convlab-lab")).to_be_visible()
    expect(area.locator(".convlab-static")).to_be_hidden()
    expect(area.locator("img:visible")).to_have_count(0)
    expect(area.get_by_text("No run yet.")).to_be_hidden()


def expect_picture(page, area):
    """Picture, outcome, settings and changes, and no word about a panel."""
    expect(area.locator("img")).to_be_visible()
    assert area.locator("img").evaluate("image => image.naturalWidth") > 300
    expect(area.get_by_text("Sequential on digits")).to_be_visible()
    expect(area.get_by_text(re.compile(r"paused after [\d,]+ steps"))).to_be_visible()
    expect(area.get_by_role("row", name=re.compile("^batch_size 32$"))).to_be_visible()
    expect(area.get_by_role("row", name=re.compile(r"^lr 0\.04$"))).to_be_visible()
    expect(area.get_by_text(re.compile(r"step [\d,]+: lr 0.05 → 0.04"))).to_be_visible()
    page.tab.wait_for_timeout(1500)
    assert not re.search(NOT_FOUND, area.inner_text())
    expect(page.tab.locator(".convlab-lab")).to_have_count(0)


def expect_picture_when_reopened(page, path):
    page.reopen_without_kernel()
    expect_picture(page, page.output(1))
    page.tab.goto("about:blank")
    page.open(path)  # the usual case: a fresh kernel that knows nothing of the panel
    expect_picture(page, page.output(1))


def expect_picture_in_html(page, path):
    source = page.server.work / path
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output", "page.html", source]
    subprocess.run(command, check=True, timeout=120)
    page.tab.goto(source.with_name("page.html").as_uri())
    expect_picture(page, page.tab.locator("body"))
    page.screenshot("html")
    # nbconvert's own scripts (MathJax, require.js), which the page does without.
    page.foreign.clear()
    page.allow_console("ERR_NAME_NOT_RESOLVED|require")


def test_saved_and_seen_again(page, notebook):
    path = run_and_save(page, notebook)
    expect_picture_in_html(page, path)
    expect_picture_when_reopened(page, path)
    page.screenshot("reopened")
    # A lecturer's notebook in a student's hands: the same outputs, not signed by this user.
    file = page.server.work / path
    file.write_text(file.read_text().replace("# mine", "# yours"))
    expect_picture_when_reopened(page, path)
    page.run_all()
    expect_live(page)
