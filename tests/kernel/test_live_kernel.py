"""The kernel without a browser does what a front end needs, with plain ipywidgets."""

import asyncio
import sys

import pytest
from live_kernel import wait_until

pytestmark = pytest.mark.slow

CLICKS = """
import threading
import ipywidgets as w
button, slider, label = w.Button(description="Click me"), w.IntSlider(description="n"), w.Label("0")
clicks = []
def clicked(_):
    clicks.append(threading.current_thread() is threading.main_thread())
    label.value = str(len(clicks))
button.on_click(clicked)
w.VBox([button, slider, label])
"""


def test_output_error_and_value(kernel):
    done = kernel.execute("import sys; print('out'); print('err', file=sys.stderr); x = 6; x * 7")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert done.outputs[0]["data"]["text/plain"] == "42"
    assert kernel.eval("[x, None, object]") == [6, None, "<class 'object'>"]
    assert kernel.eval("__import__('sys').executable") == sys.executable
    assert "ZeroDivisionError" in kernel.execute("1 / 0", check=False).error
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        kernel.execute("1 / 0")
    with pytest.raises(RuntimeError, match="NameError"):
        kernel.eval("missing")


def test_interrupt_and_restart(kernel):
    busy = kernel.start("import time; print('begun'); time.sleep(60)")
    wait_until(lambda: busy.stdout)
    with pytest.raises(TimeoutError):
        busy.wait(0.1)
    kernel.interrupt()
    assert "KeyboardInterrupt" in busy.wait(30).error
    kernel.execute("x = 1")
    kernel.restart()
    assert kernel.eval("'x' in globals()") is False
    assert kernel.execute("print('again')").stdout == "again\n"


# On which thread a callback runs is the version's own affair; 7.4 sends a reply where the widget last spoke.
@pytest.mark.parametrize(
    ("version", "subshells", "main"),
    [(None, False, True), ("7.3.0", True, False), ("7.3.0", False, True), ("6.30.1", False, True)],
)
def test_a_widget_is_driven(start_kernel, version, subshells, main):
    kernel = start_kernel(version, subshells=subshells)
    kernel.execute(CLICKS)
    kernel.click(kernel.find(description="Click me"))
    kernel.set(kernel.find(description="n"), value=33)
    wait_until(lambda: kernel.eval("slider.value") == 33)
    wait_until(lambda: kernel.eval("clicks") == [main])
    wait_until(lambda: "1" in [state.get("value") for state in kernel.widgets.values()])


def test_clicks_pass_a_busy_cell_on_a_subshell(start_kernel):
    kernel = start_kernel("7.3.0", subshells=True)
    kernel.execute(CLICKS)
    busy = kernel.start("import time; print('begun'); time.sleep(60)")
    wait_until(lambda: busy.stdout)
    kernel.click(kernel.find(description="Click me"))
    wait_until(lambda: "1" in [state.get("value") for state in kernel.widgets.values()])
    assert not busy.done.is_set()
    kernel.interrupt()
    busy.wait(30)


def test_no_event_loop_is_left_running_by_the_browser_tests():
    assert asyncio.run(asyncio.sleep(0, "free")) == "free"
