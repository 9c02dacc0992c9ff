"""From a move of a slider of the Architecture panel to the repainted strip, in the browser, while nothing else runs and
while the model trains; and what of it is Python's.

A hand drags the slider of a layer's filters in JupyterLab; the clock stops in the frame after the strip shows what
would be. Then a plain ipywidgets slider writes its value into a plain label: what the machine and Jupyter take by
themselves. Before that, without a browser: `live.plan` of the same edit, all `live.limits` of the layer in a model that
was just bound, and the panel's own share, from a drag to cards that are ready to be sent.
Prints medians and 95th percentiles in ms.
Run: python benchmarks/slider_to_strip.py [moves]
"""

import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import torch
from playwright.sync_api import sync_playwright

import convlab
from convlab.models.gallery import lenet
from convlab.models.live import Edit
from convlab.panels.architecture import Architecture

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests" / "browser"), str(HERE.parent / "tests" / "kernel")]

from harness import CHROMIUM, CHROMIUM_ARGS, NotebookPage  # noqa: E402
from servers import JupyterServer  # noqa: E402

SETUP = f"""
import runpy
import torch
import convlab
import ipywidgets
from convlab.panels.architecture import Architecture
from convlab.models.gallery import lenet
ResNet50 = runpy.run_path({str(HERE / "trace.py")!r})["ResNet50"]
"""
MODELS = {
    # Name: the model, the size of its input, the layer that is dragged, its data while it trains.
    "LeNet": ("lenet()", (1, 1, 8, 8), "conv2", '"digits"'),
    "ResNet-50": (
        "ResNet50()",
        (1, 3, 224, 224),
        "layer2.0.conv2",
        "(torch.rand(64, 3, 64, 64), torch.arange(64) % 8)",
    ),
}
PLAIN = """
plain, label = ipywidgets.IntSlider(3, 1, 15).add_class("plain-slider"), ipywidgets.Label("3").add_class("plain-label")
plain.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
ipywidgets.VBox([plain, label, panel])
"""
# The slider moves; the strip changes before a frame is drawn; when the next one begins that one was seen.
MEASURE = """() => {
    const places = document.querySelectorAll('.convlab-strip-cards, .plain-label');
    const times = window.convlabTimes = [];
    let start = null;
    const begin = () => { start = performance.now(); };
    addEventListener('keydown', begin, true);
    addEventListener('input', begin, true);
    const observer = new MutationObserver(() => {
        if (start === null) return;
        const from = start;
        start = null;
        requestAnimationFrame(() => times.push(performance.now() - from));
    });
    const all = {subtree: true, childList: true, characterData: true, attributes: true};
    for (const place of places) observer.observe(place, all);
}"""


# -- Python alone ------------------------------------------------------------------------------------------------------


def ms(act, rounds, prepare=lambda: None):
    """Milliseconds of each call of `act` on what was prepared for it."""
    times = []
    for _ in range(rounds):
        prepared = prepare()
        start = time.perf_counter()
        act() if prepared is None else act(prepared)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def python_alone(name, rounds):
    """Print what planning, finding limits and filling the cards take in this process."""
    text, size, path, _ = MODELS[name]
    resnet50 = runpy.run_path(str(HERE / "trace.py"))["ResNet50"]
    model = {"lenet()": lenet, "ResNet50()": resnet50}[text]()
    live = convlab.bind(model, size)
    settings = live.layers[path].settings
    count = settings["out_channels"]
    edit = Edit(path, {"out_channels": count + count // 2})

    def fresh():
        live._base = None  # as after an edit
        _ = live.trace
        return live

    def all_limits(live):
        for name in settings:
            live.limits(path, name)

    panel = Architecture(live, live.apply)
    panel.select(path)

    def drag():
        panel.drag("out_channels", count + count // 2)
        panel.settle()

    for what, times in {
        "live.plan": ms(lambda: live.plan(edit), rounds),
        f"live.limits, all {len(settings)} settings": ms(all_limits, max(3, rounds // 4), fresh),
        "drag to cards": ms(drag, rounds),
    }.items():
        print(f"{name + ', ' + what:<44} {statistics.median(times):>6.0f} {percentile(times):>6.0f}", flush=True)


# -- in the browser ----------------------------------------------------------------------------------------------------


def open_panel(page, server, name):
    """A notebook with the panel of this model, the controls of its layer open."""
    model, size, layer, data = MODELS[name]
    panel = f"""
live = convlab.bind({model}, {size})
panel = Architecture(live, live.apply)
panel.select({layer!r})
"""
    train = f"run = convlab.Run(live.model, {data}, convlab.TrainSpec(epochs=10**6, batch_size=32)).start()"
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP + panel + PLAIN, train)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3"}
    nbformat.write(notebook, server.work / f"{name}.ipynb")
    page.open(f"{name}.ipynb")
    page.run_cell(0)
    page.tab.get_by_label("out_channels").wait_for()
    page.tab.evaluate(MEASURE)


def drag(page, moves):
    """Milliseconds of each move while a hand holds the panel's slider, and of as many of the plain one."""
    slider = page.tab.get_by_label("out_channels")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    now = slider.evaluate("input => input.value / input.max")
    y = box["y"] + box["height"] / 2
    places = [box["x"] + 8 + share * (box["width"] - 16) for share in (now, min(1, now + 0.15))]
    page.tab.mouse.move(places[0], y)
    page.tab.mouse.down()
    held = timed(page, moves, lambda count: page.tab.mouse.move(places[1 - count % 2], y))
    page.tab.mouse.move(places[0], y)
    page.tab.mouse.up()
    page.tab.wait_for_timeout(1000)
    page.tab.locator(".plain-slider .noUi-handle").focus()
    plain = timed(page, moves, lambda count: page.tab.keyboard.press("ArrowLeft" if count % 2 else "ArrowRight"))
    return held, plain


def timed(page, moves, act):
    """Milliseconds from each move to the frame that shows it."""
    times = []
    for count in range(moves):
        page.tab.evaluate("() => { window.convlabTimes.length = 0; }")
        act(count)
        page.tab.wait_for_function("() => window.convlabTimes.length > 0", polling=10)
        times += page.tab.evaluate("() => window.convlabTimes")
        page.tab.wait_for_timeout(60)
    return times


def percentile(times):
    """The 95th."""
    return statistics.quantiles(times, n=20)[-1]


def report(what, held, plain):
    """One line."""
    figures = [f"{statistics.median(times):>6.0f} {percentile(times):>6.0f}" for times in (held, plain)]
    print(f"{what:<44} {figures[0]}   {figures[1]}", flush=True)


def main(moves):
    """Measure and print."""
    torch.set_num_threads(1)
    print(f"{'ms in Python alone':<44} {'p50':>6} {'p95':>6}")
    for name in MODELS:
        python_alone(name, max(8, moves // 3))
    print(f"\n{'ms from hand to paint':<44} {'p50':>6} {'p95':>6}   {'p50':>6} {'p95':>6} of a plain slider")
    with (
        tempfile.TemporaryDirectory() as folder,
        JupyterServer(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for name in MODELS:
            page = NotebookPage(browser.new_context(viewport={"width": 1200, "height": 1000}), server, name)
            open_panel(page, server, name)
            drag(page, 4)
            report(f"{name}, idle, {moves} moves", *drag(page, moves))
            page.run_cell(1)
            wait = "next(i for i in range(600) if run.history.num_steps > 2 or __import__('time').sleep(0.2))"
            page.kernel_eval(wait, 150)
            before = page.kernel_eval("run.history.num_steps")
            times = drag(page, moves)
            steps = page.kernel_eval("run.history.num_steps") - before
            report(f"{name}, training ({steps:,} steps)", *times)
            page.kernel_eval("run.stop() and None")
            page.tab.close()
            server.end_sessions()
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
