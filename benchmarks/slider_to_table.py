"""From a move of a slider to the repainted table, in the browser, while nothing else runs and while a run trains.

A key moves the kernel's slider in JupyterLab; the clock stops in the frame after the table holds the new numbers. By
turns a plain ipywidgets slider writes its value into a plain label: what the machine and Jupyter take by themselves.
Prints medians and 95th percentiles in ms; the aim is a p95 below 100 for LeNet while it trains.
Run: python benchmarks/slider_to_table.py [moves]
"""

import statistics
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests" / "browser"), str(HERE.parent / "tests" / "kernel")]

from harness import CHROMIUM, CHROMIUM_ARGS, NotebookPage  # noqa: E402
from servers import JupyterServer  # noqa: E402

SETUP = f"""
import runpy
import torch
import convlab
from torch import nn
import ipywidgets
from convlab.panels.network import Network
from convlab.models.gallery import lenet
ResNet50 = runpy.run_path({str(HERE / "trace.py")!r})["ResNet50"]
"""
MODELS = {
    # Name: the model, the size of its input, the layer that is set otherwise, its data while it trains.
    "LeNet": ("lenet()", (1, 1, 8, 8), "conv2", '"digits"'),
    "ResNet-50": (
        "ResNet50()",
        (1, 3, 224, 224),
        "layer2.0.conv2",
        "(torch.rand(64, 3, 64, 64), torch.arange(64) % 8)",
    ),
}
# A key goes down; the table's cells change before a frame is drawn; when the next one begins that one was seen.
MEASURE = """() => {
    const places = document.querySelectorAll('.convlab-summary tbody, .plain-label');
    const times = window.convlabTimes = [];
    let start = null;
    addEventListener('keydown', () => { start = performance.now(); }, true);
    const observer = new MutationObserver(() => {
        if (start === null) return;
        const from = start;
        start = null;
        requestAnimationFrame(() => times.push(performance.now() - from));
    });
    const all = {subtree: true, childList: true, characterData: true, attributes: true};
    for (const place of places) observer.observe(place, all);
}"""


PLAIN = """
plain, label = ipywidgets.IntSlider(3, 1, 15).add_class("plain-slider"), ipywidgets.Label("3").add_class("plain-label")
plain.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
ipywidgets.VBox([panel, plain, label])
"""


def open_panel(page, server, name):
    """A notebook with the panel of this model, its slider in focus."""
    model, size, layer, data = MODELS[name]
    panel = f"panel = Network({model}, {size})\npanel.layer.value = {layer!r}\n" + PLAIN
    train = f"run = convlab.Run(panel.model, {data}, convlab.TrainSpec(epochs=10**6, batch_size=32)).start()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in (SETUP + panel, train)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3"}
    nbformat.write(notebook, server.work / f"{name}.ipynb")
    page.open(f"{name}.ipynb")
    page.run_cell(0)
    page.tab.wait_for_selector(".convlab-summary tbody tr")
    page.tab.wait_for_selector("[aria-label=Kernel][aria-valuetext='3']")
    page.tab.evaluate(MEASURE)


def move(page, moves):
    """Milliseconds of each move of the panel's slider and of the plain one, by turns."""
    times = {"[aria-label=Kernel]": [], ".plain-slider .noUi-handle": []}
    for count in range(moves):
        for name in times:
            page.tab.locator(name).focus()
            page.tab.evaluate("() => { window.convlabTimes.length = 0; }")
            page.tab.keyboard.press("ArrowRight" if count % 2 == 0 else "ArrowLeft")
            page.tab.wait_for_function("() => window.convlabTimes.length > 0", polling=10)
            times[name] += page.tab.evaluate("() => window.convlabTimes")
            page.tab.wait_for_timeout(60)
    return times


def main(moves):
    """Measure and print."""
    print(f"{'ms from key to paint':<32}  table: p50     p95  plain: p50     p95   {moves} moves each")
    with (
        tempfile.TemporaryDirectory() as folder,
        JupyterServer(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for name in MODELS:
            page = NotebookPage(browser.new_context(viewport={"width": 1200, "height": 1000}), server, name)
            open_panel(page, server, name)
            move(page, 6)
            report(f"{name}, idle", move(page, moves))
            page.run_cell(1)
            page.kernel_eval(
                "next(i for i in range(600) if run.history.num_steps > 2 or __import__('time').sleep(0.2))", 150
            )
            before = page.kernel_eval("run.history.num_steps")
            times = move(page, moves)
            steps = page.kernel_eval("run.history.num_steps") - before
            report(f"{name}, training ({steps:,} steps)", times)
            page.kernel_eval("run.stop() and None")
            page.tab.close()
            server.end_sessions()
        browser.close()


def report(what, times):
    """One line."""
    table, plain = times.values()
    figures = [
        f"{statistics.median(one):>10.0f}  {statistics.quantiles(one, n=20)[-1]:>6.0f}" for one in (table, plain)
    ]
    print(f"{what:<32}  {'  '.join(figures)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
