"""The architecture panel on the page: a drag shows what would be, its release edits the live model, in a run too."""

import re

from bench_page import LAB, LOAD, open_bench
from playwright.sync_api import expect


def test_a_layer_is_dragged_edited_and_put_back(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.press("Step")
    bench.expect_state("paused")
    bench.root.get_by_role("tab", name="Architecture").click()
    panel = bench.root.locator(".convlab-architecture")
    conv2 = panel.get_by_role("option", name=re.compile("^conv2"))
    conv2.click()
    channels = panel.get_by_label("out_channels")
    expect(channels).to_have_attribute("aria-valuetext", "32")
    box = channels.bounding_box()
    place = panel.get_by_role("option", name=re.compile("^fc2")).bounding_box()
    mouse = page.tab.mouse
    y = box["y"] + box["height"] / 2
    at = channels.evaluate("input => input.value / input.max")
    mouse.move(box["x"] + 8 + at * (box["width"] - 16), y)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.8, y, steps=5)
    expect(conv2.locator("s")).to_contain_text("32 x 4 x 4")
    assert panel.get_by_role("option", name=re.compile("^fc2")).bounding_box() == place
    expect(panel.locator(".convlab-messages")).to_contain_text("fc1.in_features 128")
    assert bench.eval("lab.model.conv2.out_channels") == 32
    bench.screenshot("dragged")
    mouse.up()
    expect(conv2.locator("s")).to_be_empty()
    assert bench.eval("lab.model.conv2.out_channels") > 32
    assert bench.eval("lab.model.fc1.in_features == 4 * lab.model.conv2.out_channels")
    kernel = panel.get_by_label("kernel_size")
    below = panel.locator(".convlab-structure").first
    parts = (channels, kernel, panel.get_by_label("padding", exact=True), below)
    places = [part.bounding_box() for part in parts]
    kernel.press("End")
    expect(panel.locator(".convlab-strip-controls")).to_contain_text("Up to 5: pool2")
    bench.expect_in_kernel("lab.model.conv2.kernel_size == (5, 5)")
    # A control that is left nothing to slide over is another one now, and takes the keyboard from none.
    expect(panel.get_by_role("combobox", name="stride")).to_be_disabled()
    expect(kernel).to_be_focused()
    assert [part.bounding_box() for part in parts] == places
    bench.screenshot("edited")
    # Nor does what stands below move from layer to layer.
    panel.get_by_role("option", name=re.compile("^relu1")).click()
    expect(panel.get_by_label("activation")).to_be_visible()
    assert below.bounding_box()["y"] == places[-1]["y"]
    bench.root.get_by_role("tab", name="Training").click()
    bench.press("Resume")
    bench.expect_running(after=10)
    bench.root.get_by_role("tab", name="Architecture").click()
    panel.get_by_role("option", name=re.compile("^relu1")).click()
    panel.get_by_label("activation").select_option("GELU")
    expect(panel.get_by_role("option", name=re.compile("^relu1"))).to_contain_text("GELU")
    assert bench.eval("lab.current.state") == "running"
    conv2.click()
    before = bench.eval("lab.model.conv2.out_channels")
    box = channels.bounding_box()
    mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2, steps=5)
    mouse.up()
    bench.expect_in_kernel(f"lab.model.conv2.out_channels < {before}")
    assert bench.eval("lab.current.state") == "running"
    bench.expect_in_kernel("lab.model.fc1.in_features % lab.model.conv2.out_channels == 0")
    for left in (3, 2, 1, 0):
        panel.get_by_role("button", name="Undo").click()
        bench.expect_in_kernel(f"len(lab.edits) == {left}")
    expect(panel.get_by_role("button", name="Undo")).to_be_disabled()
    assert bench.eval(
        "(lab.model.conv2.out_channels, lab.model.conv2.kernel_size, type(lab.model.relu1).__name__)"
    ) == [
        32,
        [3, 3],
        "ReLU",
    ]
    page.set_theme("dark")
    page.tab.set_viewport_size({"width": 700, "height": 1000})
    bench.screenshot("narrow-dark")
    bench.root.get_by_role("tab", name="Training").click()
    bench.press("Stop")
    bench.expect_state("stopped")
