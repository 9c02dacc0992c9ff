"""From a hand to its effect, in a real JupyterLab, while a network trains beneath.

Click: from the press of Pause or Resume to the moment when the page says so. Slider: from a key on the learning rate to
the moment when torch's optimizer steps with it and the page shows the mark; both timed by the page's own clock.
Prints median and 95th percentile; the aim is a p95 below 150 ms. Run: python benchmarks/responsiveness.py [rounds]
"""

import statistics
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "browser"), str(TESTS / "kernel")]

import nbformat  # noqa: E402
from bench_page import LAB, LOAD, open_bench  # noqa: E402
from harness import CHROMIUM, CHROMIUM_ARGS, NotebookPage  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from servers import JupyterServer  # noqa: E402

ROUNDS = 40
"""At most: the learning rate goes down a step in each, so that every mark is a new one."""

# Acts, and resolves with the milliseconds until `seen` is true of the panel.
TIMED = """async ([root, act, seen]) => {
    const [doIt, isSeen] = [new Function("root", act), new Function("root", `return ${seen}`)];
    return await new Promise((resolve, reject) => {
        const begun = performance.now();
        const look = () => { if (isSeen(root)) { observer.disconnect(); resolve(performance.now() - begun); } };
        const observer = new MutationObserver(look);
        observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
        setTimeout(() => { observer.disconnect(); reject(new Error(`never seen: ${isSeen}`)); }, 20000);
        doIt(root);
    });
}"""
CLICK = "root.querySelector('.convlab-{button}').click()"
STATE = "root.querySelector('.convlab-line').innerText.startsWith('{state}')"
KEY = """
const handle = root.querySelector(".convlab-lr .noUi-handle");
window.convlabWas = handle.ariaValueText;
handle.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, cancelable: true }));
"""
# The mark is written by the training thread, after the optimizer has the new value.
ECHO = """(() => {
    const now = root.querySelector(".convlab-lr .noUi-handle").ariaValueText;
    return now !== window.convlabWas && root.querySelector(".convlab-chart").innerText.includes(`→ ${now}`);
})()"""


def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each click and each key, by turns."""
    with (
        tempfile.TemporaryDirectory() as folder,
        JupyterServer(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        page = NotebookPage(chromium.new_context(viewport={"width": 1200, "height": 1000}), server, "responsiveness")
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (LOAD, LAB)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
        nbformat.write(notebook, server.work / "bench.ipynb")
        bench = open_bench(page, "bench.ipynb")
        bench.run()
        root = bench.root.element_handle()

        def timed(act: str, seen: str) -> float:
            page.tab.wait_for_timeout(150)
            return float(page.tab.evaluate(TIMED, [root, act, seen]))

        times: dict[str, list[float]] = {"click": [], "slider": []}
        for turn in range(rounds):
            times["click"].append(timed(CLICK.format(button="pause"), STATE.format(state="paused")))
            times["click"].append(timed(CLICK.format(button="run"), STATE.format(state="running")))
            times["slider"].append(timed(KEY, ECHO))
            print(f"\rround {turn + 1} of {rounds}", end="", file=sys.stderr)
        print(file=sys.stderr)
        bench.press("Stop")
        bench.expect_state("stopped")
        chromium.close()
    return times


def main() -> None:
    rounds = min(ROUNDS, int(sys.argv[1])) if len(sys.argv) > 1 else ROUNDS
    print("milliseconds from a hand to its effect, while training      p50    p95   (n)")
    for name, times in measure(rounds).items():
        what = {"click": "click on Pause or Resume -> the page says so", "slider": "key on lr -> optimizer -> mark"}[
            name
        ]
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"  {what:<54} {p50:6.0f} {p95:6.0f}   ({len(times)})")


if __name__ == "__main__":
    main()
