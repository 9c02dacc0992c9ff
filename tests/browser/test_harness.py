"""The harness drives plain ipywidgets: where this fails, no failure of a panel means anything."""

import sys

import pytest
from playwright.sync_api import expect

CLICKS = """
import threading
import ipywidgets as w
button, label = w.Button(description="Click me"), w.Label("0 clicks")
clicks, threads = [], []
def clicked(_):
    clicks.append(1)
    threads.append(threading.current_thread() is threading.main_thread())
    label.value = f"{len(clicks)} clicks"
button.on_click(clicked)
w.VBox([button, label])
"""
SLIDER = """
import ipywidgets as w
slider = w.IntSlider(value=10, min=0, max=100, description="n")
slider
"""
PICTURE = """
from IPython.display import Image, display
from matplotlib.figure import Figure
import io
figure, file = Figure(figsize=(2, 1)), io.BytesIO()
figure.subplots().plot([1, 3, 2])
figure.savefig(file, format="png")
Image(file.getvalue())
"""


def click_three_times(page):
    for count in (1, 2, 3):
        page.tab.get_by_role("button", name="Click me").click()
        expect(page.tab.get_by_text(f"{count} clicks")).to_be_visible()


@pytest.mark.parametrize(("subshells", "count"), [("perCommTarget", 1), ("disabled", 0)])
def test_a_click_reaches_the_kernel_and_its_effect_comes_back(page, notebook, subshells, count):
    page.open(notebook([CLICKS]), subshells=subshells)
    page.run_all()
    click_three_times(page)
    assert page.kernel_eval("len(clicks)") == 3
    assert page.kernel_eval("__import__('sys').executable") == sys.executable
    assert page.kernel_eval("len(get_ipython().kernel.shell_channel_thread.manager.list_subshell())") == count


def test_an_ipykernel_whose_callbacks_run_beside_a_busy_cell(page, notebook, other_ipykernel):
    page.open(notebook([CLICKS, "import time; time.sleep(30)"], kernel=other_ipykernel("7.3.0")))
    page.run_cell(0)
    page.run_cell(1, wait=False)
    click_three_times(page)
    assert "[*]" in page.cell(1).inner_text()
    page.interrupt()
    page.expect_text(1, "KeyboardInterrupt")
    assert page.kernel_eval("threads") == [False] * 3


def test_an_ipykernel_without_subshells(page, notebook, other_ipykernel):
    page.open(notebook([CLICKS], kernel=other_ipykernel("6.30.1")))
    page.run_all()
    click_three_times(page)
    assert page.kernel_eval("__import__('ipykernel').__version__") == "6.30.1"
    assert page.kernel_eval("threads") == [True] * 3


def test_a_slider_by_keyboard_and_by_mouse_a_restart_and_a_changed_cell(page, notebook):
    page.open(notebook([SLIDER]))
    page.run_all()
    handle = page.output(0).locator(".noUi-handle")
    handle.focus()
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_function("() => document.querySelector('.widget-readout').innerText === '11'")
    box = handle.bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2, steps=5)
    page.tab.mouse.up()
    expect(page.output(0).locator(".widget-readout")).not_to_have_text("11")
    shown = int(page.output(0).locator(".widget-readout").inner_text())
    assert shown > 11
    page.expect_in_kernel(f"slider.value == {shown}")

    page.restart_kernel()
    assert page.kernel_eval("'slider' in globals()") is False
    page.set_source(0, "x = 2; print('now', x)")
    page.run_cell(0)
    page.expect_text(0, "now 2")
    with pytest.raises(RuntimeError, match="NameError"):
        page.kernel_eval("missing")


def test_a_saved_picture_shows_without_a_kernel(page, notebook):
    page.open(notebook([PICTURE]))
    page.run_all()
    saved = page.save()
    assert "image/png" in saved["cells"][0]["outputs"][0]["data"]
    page.reopen_without_kernel()
    picture = page.output(0).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 50


def test_theme_zoom_errors_and_foreign_requests(page, notebook):
    page.open(notebook(["1"]), theme="dark")
    background = "() => getComputedStyle(document.body).getPropertyValue('--jp-layout-color0')"
    dark = page.tab.evaluate(background)
    page.set_theme("light")
    assert page.tab.evaluate(background) != dark
    width = page.tab.evaluate("innerWidth")
    page.zoom(2)
    page.tab.wait_for_function(f"innerWidth === {width // 2} && devicePixelRatio === 2")

    # Errors and foreign requests are found.
    page.assert_clean()
    page.tab.evaluate("() => console.error('a cell went wrong')")
    page.tab.evaluate("() => fetch('https://cdn.example/x.js').catch(() => null)")
    page.tab.wait_for_timeout(200)
    with pytest.raises(AssertionError, match="went wrong"):
        page.assert_clean()
    page.allow_console("went wrong|ERR_NAME_NOT_RESOLVED")
    with pytest.raises(AssertionError, match=r"cdn\.example"):
        page.assert_clean()
    page.foreign.clear()


def test_notebook_7(notebook7, notebook):
    notebook7.open(notebook([CLICKS]))
    notebook7.run_all()
    click_three_times(notebook7)
    assert notebook7.kernel_eval("len(clicks)") == 3
    notebook7.save()
    notebook7.reopen_without_kernel()


def test_voila(voila, notebook):
    voila.open(notebook([CLICKS]))
    click_three_times(voila)
