"""The bench on a page: its controls as a person finds them, by name, and what it says."""

import re
from typing import Any

from harness import SECOND, NotebookPage
from playwright.sync_api import Locator, expect

LOAD = "%load_ext convlab\nimport threading, time\nimport torch, convlab\nfrom torch import nn"
LAB = "lab = convlab.Lab(spec=convlab.TrainSpec(epochs=20_000))\nlab"
"""Trains until it is stopped."""


class Bench:
    """The bench in the output of one cell, or, without a cell, the only one on the page."""

    def __init__(self, page: NotebookPage, cell: int | None = 1) -> None:
        self.page = page
        place = page.tab.locator("body") if cell is None else page.output(cell)
        self.root: Locator = place.locator(".convlab-lab").first

    def expect_open(self) -> None:
        """Wait until the whole panel is there."""
        expect(self.root.locator("canvas").first).to_be_visible(timeout=120 * SECOND)
        expect(self.root.get_by_role("slider", name="Learning rate")).to_be_visible()

    # -- controls --------------------------------------------------------------------------------------------

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def slider(self, name: str = "Learning rate") -> Locator:
        return self.root.get_by_role("slider", name=name)

    def shown(self, name: str = "Learning rate") -> str:
        """What the panel says that a slider stands on."""
        return str(self.slider(name).get_attribute("aria-valuetext"))

    def drag(self, pixels: float, name: str = "Learning rate") -> None:
        """Drag a slider with the mouse, as a hand does: in several moves."""
        box = self.slider(name).bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.tab.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + pixels, y, steps=8)
        mouse.up()

    def type(self, *keys: str, name: str = "Learning rate") -> None:
        """Press keys on a slider."""
        self.slider(name).focus()
        for key in keys:
            self.page.tab.keyboard.press(key)

    # -- what it says ----------------------------------------------------------------------------------------

    @property
    def line(self) -> Locator:
        return self.root.locator(".convlab-line")

    @property
    def message(self) -> Locator:
        return self.root.locator(".convlab-messages").first

    def expect_state(self, *states: str, timeout: float = 60) -> None:
        """Wait until the line begins with one of these states."""
        expect(self.line).to_have_text(re.compile(f"^({'|'.join(states)})"), timeout=timeout * SECOND)

    def expect_running(self, after: int = 0) -> None:
        """Wait until it runs, and the page has seen steps beyond ``after``."""
        self.expect_state("running")
        self.page.tab.wait_for_function(
            "([line, after]) => Number(line.innerText.match(/step ([\\d,]+)/)?.[1].replaceAll(',', '')) > after",
            arg=[self.line.element_handle(), after],
        )

    def run(self) -> None:
        """Press Run, and see it run."""
        self.press("Run")
        self.expect_running()

    def run_on(self, steps: int) -> None:
        """Let it train for some more steps."""
        if self.button("Resume").count():
            self.press("Resume")
        self.expect_running(after=self.step + steps)

    @property
    def step(self) -> int:
        """The step that the panel shows."""
        found = re.search(r"step ([\d,]+)", self.line.inner_text())
        assert found, self.line.inner_text()
        return int(found[1].replace(",", ""))

    def expect_curve(self) -> None:
        """Wait until the chart has drawn something in the colour of the training loss."""
        self.page.tab.wait_for_function(_HAS_BLUE, arg=self.root.locator(".convlab-chart").first.element_handle())

    def screenshot(self, name: str = "") -> None:
        """Keep a picture of the page with the top of the bench in it."""
        self.root.evaluate("root => root.scrollIntoView({ block: 'start' })")
        self.page.screenshot(name)

    # -- the kernel's side -----------------------------------------------------------------------------------

    def eval(self, expression: str) -> Any:
        return self.page.kernel_eval(expression)

    def expect_in_kernel(self, expression: str) -> None:
        self.page.expect_in_kernel(expression)

    def steps_done(self) -> int:
        return int(self.eval("lab.current.history.num_steps"))

    def lr(self) -> float:
        """What torch's own optimizer steps with."""
        return float(self.eval("lab.current.optimizer.param_groups[0]['lr']"))

    def expect_lr_as_shown(self) -> float:
        """Wait until the optimizer steps with what the panel shows, and return it."""
        expect(self.slider()).to_be_visible()
        for _ in range(100):
            lr, shown = self.lr(), self.shown()
            if f"{lr:.4g}" == shown:
                return lr
            self.page.tab.wait_for_timeout(100)
        raise AssertionError(f"the panel shows lr {shown}, the optimizer has {lr}")


def open_bench(page: NotebookPage, path: str, *, wait: bool = True, **options: Any) -> Bench:
    """Open a notebook, run it (with ``wait``, to its end), and wait for the bench in its second cell."""
    page.open(path, **options)
    page.run_all(wait=wait)
    bench = Bench(page)
    bench.expect_open()
    return bench


_HAS_BLUE = """root => {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = getComputedStyle(root).getPropertyValue("--convlab-blue").trim();
    const hex = probe.fillStyle, rgb = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const canvas = root.querySelector("canvas");
    if (!canvas?.width) return false;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 250 && rgb.every((part, j) => Math.abs(part - data[i + j]) < 12)) return true;
    return false;
}"""
