"""A panel that is live while its kernel is, and a picture with a table ever after: the recipe, without convlab.

One cell leaves three outputs: the widget view ALONE (no text/plain), a picture, and HTML which holds the table
and the style rules. The rules hide the picture and the table beside a live panel, and hide the front end's
"Loading widget..." (no kernel) or "model not found" (a new kernel) line beside a picture. In a notebook that
is not trusted the front end drops the style, and the widget view with it, so there is nothing to hide.
"""

import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

RECIPE = '''
import io, threading, time
import anywidget, traitlets
import ipywidgets as w
from IPython.display import display, update_display
from matplotlib.figure import Figure

VIEW = "application/vnd.jupyter.widget-view+json"
CHILD = ".jp-OutputArea-child"
RULES = f"""
{CHILD}:has(.demo-live) + {CHILD}:has(+ {CHILD} .demo-static),
{CHILD}:has(.demo-live) + {CHILD} + {CHILD}:has(.demo-static),
{CHILD}:not(:has(> .jp-OutputArea-output > *)):has(+ {CHILD} + {CHILD} .demo-static) {{ display: none; }}
"""

class Chart(anywidget.AnyWidget):
    _esm = "export default {render({el}) { el.innerText = 'a live chart'; }}"
    _css = RULES

def picture():
    figure, file = Figure(figsize=(3, 2)), io.BytesIO()
    figure.subplots().plot([3, 1, 2])
    figure.savefig(file, format="png")
    return {"image/png": file.getvalue(), "text/plain": "the curve: 3, 1, 2"}

def table(lr):
    html = f"<style>{RULES}</style><div class='demo-static'><table><tr><td>lr</td><td>{lr}</td></tr></table></div>"
    return {"text/html": html, "text/plain": f"lr {lr}"}

def finish(_=None):
    def work():
        time.sleep(0.3)
        update_display(picture(), display_id="demo-picture", raw=True)
        update_display(table(0.05), display_id="demo-table", raw=True)
        label.value = "done"
    thread = threading.Thread(target=work)
    thread.start()
    return thread

print("before")
button, label = w.Button(description="Run"), w.Label("not run")
button.on_click(finish)
panel = w.VBox([button, label, Chart()]).add_class("demo-live")
display({VIEW: {"version_major": 2, "version_minor": 0, "model_id": panel.model_id}}, raw=True)
display({"text/plain": "no run yet"}, raw=True, display_id="demo-picture")
display(table("?"), raw=True, display_id="demo-table")
print("after")
'''
NOT_FOUND = "Error displaying widget|Loading widget"


def expect_live(page):
    """Only the panel shows, between what the user's own cell printed."""
    area = page.tab.locator(".jp-OutputArea").first
    expect(area.get_by_text("a live chart")).to_be_visible()
    expect(area.locator("table")).to_be_hidden()
    expect(area.locator("img:visible")).to_have_count(0)
    expect(area.get_by_text("no run yet")).to_be_hidden()
    expect(area.locator("pre").get_by_text(re.compile("^before\\s*$"))).to_be_visible()
    expect(area.locator("pre").get_by_text(re.compile("^after\\s*$"))).to_be_visible()


def expect_picture(page, shown=".jp-OutputArea"):
    """Only the picture and the table show, and no complaint about the panel."""
    area = page.tab.locator(shown).first
    expect(area.locator("img")).to_be_visible()
    assert area.locator("img").evaluate("image => image.naturalWidth") > 100
    expect(area.get_by_role("cell", name="0.05")).to_be_visible()
    expect(area.locator("pre").get_by_text(re.compile("^before\\s*$"))).to_be_visible()
    expect(area.locator("pre").get_by_text(re.compile("^after\\s*$"))).to_be_visible()
    page.tab.wait_for_timeout(1500)
    assert not re.search(NOT_FOUND, area.inner_text())


def run_and_save(page, notebook):
    path = notebook([RECIPE])
    page.open(path)
    page.run_all()
    expect_live(page)
    page.tab.get_by_role("button", name="Run", exact=True).click()
    expect(page.tab.locator(".widget-label")).to_have_text("done")
    expect(page.tab.locator(".jp-OutputArea img")).to_have_count(1)
    expect_live(page)
    saved = page.save()
    kinds = [set(output.get("data", ())) for output in saved["cells"][0]["outputs"]]
    view = "application/vnd.jupyter.widget-view+json"
    assert kinds == [set(), {view}, {"image/png", "text/plain"}, {"text/html", "text/plain"}, set()]
    page.allow_console("widget model|model not found|Could not find|Widget model")
    return path


def expect_picture_when_reopened(page, path, *, trusted):
    page.reopen_without_kernel()
    expect_picture(page)
    assert bool(page.tab.locator(".jp-OutputArea .jp-mod-trusted").count()) == trusted
    name = "trusted" if trusted else "not-trusted"
    page.screenshot(f"{name}-no-kernel")
    page.tab.goto("about:blank")
    page.open(path)  # the usual case: a fresh kernel that knows nothing of the panel
    expect_picture(page)
    page.screenshot(f"{name}-new-kernel")


def expect_picture_in_html(page, path):
    source = page.server.work / path
    for template in ("lab", "classic", "basic"):
        target = source.with_name(f"{template}.html")
        arguments = ["--to", "html", "--template", template, "--output", target.name, source]
        subprocess.run([sys.executable, "-m", "nbconvert", *arguments], check=True, timeout=120)
        page.tab.goto(target.as_uri())
        expect_picture(page, "body")
        page.screenshot(template)
        assert bool(page.foreign) == (template != "basic"), page.foreign
        # nbconvert's own scripts (MathJax, require.js); the page does without them.
        page.foreign.clear()
    page.allow_console("ERR_NAME_NOT_RESOLVED|require")


@pytest.mark.parametrize("app", ["page", "notebook7"])
def test_saved_and_seen_again(app, notebook, request):
    page = request.getfixturevalue(app)
    path = run_and_save(page, notebook)
    # Reloaded beside the living kernel.
    page.tab.goto("about:blank")
    page.open(path)
    expect_live(page)
    expect_picture_when_reopened(page, path, trusted=True)
    if app == "page":
        expect_picture_in_html(page, path)
    # A lecturer's notebook in a student's hands: the same outputs, not signed by this user.
    file = page.server.work / path
    file.write_text(file.read_text().replace("lr {lr}", "lr is {lr}"))
    expect_picture_when_reopened(page, path, trusted=False)


def test_voila(voila, notebook):
    voila.open(notebook([RECIPE]))
    expect_live(voila)
    voila.tab.get_by_role("button", name="Run", exact=True).click()
    expect(voila.tab.locator(".widget-label")).to_have_text("done")
    expect_live(voila)
    voila.screenshot()
