"""The explorer as a person uses it: on its own page from a file with no network, and in JupyterLab."""

import re

import pytest
from harness import ARTIFACTS
from playwright.sync_api import Page, expect

from convlab.frontend.explorer import ConvExplorer

MINUS = "\u2212"


class ExplorerPage:
    """The page that `to_html` writes, opened from its file in a browser that is offline."""

    def __init__(self, tab: Page, label: str) -> None:
        self.tab, self.label = tab, label
        self.readout = tab.locator(".cx-readout")
        self.message = tab.get_by_role("status")

    def slide(self, name: str, value: int) -> None:
        """Move a slider."""
        self.tab.locator(f"input[type=range][data-setting={name}]").fill(str(value))

    def choose(self, name: str, value: str) -> None:
        """Press one of a bar of radio buttons."""
        self.tab.locator(f"input[type=radio][data-setting={name}][value='{value}']").click()

    def value(self, name: str) -> int:
        return int(self.tab.locator(f"input[type=range][data-setting={name}]").input_value())

    def fact(self, name: str) -> str:
        return self.tab.locator(f"[data-fact='{name}']").inner_text().replace(MINUS, "-")

    def cells(self, part: str, mark: str = "") -> set[str]:
        """The places of a part's cells, all or those that bear a mark."""
        found = self.tab.locator(f".cx-figure.{part} .cx-cell{mark}")
        return set(found.evaluate_all("cells => cells.map(cell => cell.dataset.at)"))

    def cell(self, part: str, at: str):
        return self.tab.locator(f".cx-figure.{part} [data-at='{at}']")

    def number(self, part: str, at: str) -> int:
        return int(self.cell(part, at).locator(".cx-number").text_content().replace(MINUS, "-"))

    def screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.tab.screenshot(path=ARTIFACTS / f"{self.label}-{name}.png", full_page=True)


@pytest.fixture
def alone(browser, tmp_path, label):
    """``alone(stride=2, ...)`` opens a page that begins with these settings."""
    contexts, errors = [], []

    def opened(*, look=None, **settings):
        file = ConvExplorer(**settings).to_html(tmp_path / "explorer.html")
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, "offline": True, **(look or {})})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: errors.append(request.url) if request.url != file.as_uri() else None)
        tab.goto(file.as_uri())
        tab.wait_for_selector(".cx-cell")
        return ExplorerPage(tab, label)

    yield opened
    for context in contexts:
        context.close()
    assert not errors


def products(text):
    """The sum of the products in the readout, and what it says that they come to."""
    line = next(line for line in text.splitlines() if "\u00d7" in line)
    line = line.split(": ")[-1].replace(MINUS, "-")
    terms, result = line.rsplit(" = ", 1)
    numbers = [re.findall(r"-?\d+", term) for term in terms.split(" + ")]
    return sum(int(a) * int(b) for a, b in numbers), int(result), len(numbers)


def test_settings_move_picture_formula_cost_and_code_together(alone):
    page = alone(input_size=8)
    assert len(page.cells("output")) == 36
    page.slide("stride", 2)
    page.slide("padding", 1)
    page.slide("kernel_size", 5)
    assert len(page.cells("input")) == 100
    assert len(page.cells("output")) == 9
    assert "⌊(8 + 2·1 - 1·(5 - 1) - 1) / 2⌋ + 1 = 3 px" in page.fact("output_size")
    assert "= 25 weights + 1 bias = 26" in page.fact("num_params")
    assert "25 weights · 9 output pixels = 225" in page.fact("mult_adds")
    assert page.fact("receptive field") == "size 5 px, jump 2 px, start 1.5 px"
    code = page.tab.get_by_role("tabpanel")
    expect(code).to_contain_text("nn.Conv2d(1, 1, kernel_size=5, stride=2, padding=1)")
    page.tab.get_by_role("tab", name="Keras").click()
    expect(code).to_contain_text('keras.layers.Conv2D(1, kernel_size=5, strides=2, padding="valid")')
    page.tab.get_by_role("tab", name="unfold").click()
    expect(code).to_contain_text("padded.unfold(2, 5, 2).unfold(3, 5, 2)")
    page.screenshot("code")


def test_an_output_shows_its_window_and_the_dot_product(alone):
    page = alone(input_size=6, stride=2, padding=1, dilation=2)
    page.cell("output", "1,1").hover()
    lit = page.cells("input", ".window")
    assert lit == {f"{row},{col}" for row in (1, 3, 5) for col in (1, 3, 5)}
    total, result, count = products(page.readout.inner_text())
    assert (total, count) == (result, 9)
    assert f"output[1, 1] = {page.number('output', '1,1')}".replace("-", MINUS) in page.readout.inner_text()
    assert total + 1 == page.number("output", "1,1")
    expected = sum(
        page.number("input", f"{1 + 2 * i},{1 + 2 * j}") * page.number("weight", f"{i},{j}")
        for i in range(3)
        for j in range(3)
    )
    assert total == expected


def test_an_input_shows_who_sees_it_and_a_weight_where_it_is_used(alone):
    page = alone(input_size=7, stride=2, padding=1)
    page.cell("input", "3,3").hover()
    assert page.cells("output", ".lit") == {"1,1", "1,2", "2,1", "2,2"}
    assert page.cells("weight", ".window") == {"0,0", "0,2", "2,0", "2,2"}
    expect(page.readout).to_contain_text("is seen by 4 of 16 outputs")
    page.screenshot("input")
    page.cell("weight", "0,1").hover()
    assert len(page.cells("input", ".window")) == 16
    assert len(page.cells("output", ".lit")) == 16
    expect(page.readout).to_contain_text("is used 16 times: once for each output pixel, 4 times on padding")
    # Pointing elsewhere: back to where the kernel stands.
    page.tab.mouse.move(5, 5)
    assert page.cells("output", ".focus") == {"0,0"}


def test_a_setting_stops_where_the_others_make_it_impossible_and_says_why(alone):
    page = alone(input_size=5)
    page.slide("kernel_size", 7)
    assert page.value("kernel_size") == 5
    expect(page.message).to_contain_text(
        "kernel_size stops at 5: a kernel of 6 would span 6 px and the input with its padding has 5 px."
    )
    page.choose("groups", "2")
    expect(page.message).to_contain_text("groups must divide in_channels (1) and out_channels (1)")
    page.slide("input_size", 2)
    assert page.value("input_size") == 5
    expect(page.message).to_contain_text("input_size stops at 5: the kernel spans 5 px and the padding adds 0 px.")
    page.slide("padding", 1)
    expect(page.message).not_to_contain_text("stops")


def test_same_with_a_stride_says_what_comes_nearest_and_does_it(alone):
    page = alone(input_size=8, padding="same")
    page.slide("stride", 2)
    assert page.value("stride") == 1
    expect(page.message).to_contain_text("torch has no padding='same' with a stride above 1")
    page.screenshot("stopped")
    page.tab.get_by_role("button", name="Use stride=2 with padding=1").click()
    assert (page.value("stride"), page.value("padding")) == (2, 1)
    page.choose("padding", "same")
    expect(page.message).to_contain_text('padding="same" is not possible here')
    page.tab.get_by_role("button", name="Use padding=1").click()
    assert "= 4 px" in page.fact("output_size")


def test_the_difference_to_keras_same_is_shown(alone):
    page = alone(input_size=8, stride=2, padding=1)
    rows = page.tab.locator(".cx-same-row")
    expect(rows.nth(0)).to_contain_text("1 before, 1 after → 4 outputs")
    expect(rows.nth(1)).to_contain_text("0 before, 1 after → 4 outputs")
    assert [rows.nth(row).locator(".cx-cell.padding").count() for row in (0, 1)] == [2, 1]
    sentence = page.tab.locator(".cx-same-sentence")
    expect(sentence).to_have_text("Same size, other numbers: every window of Keras sits 1 px further right and down.")
    page.slide("stride", 1)
    expect(sentence).to_contain_text("here the numbers are the same")
    page.slide("stride", 2)
    page.slide("padding", 0)
    expect(sentence).to_have_text("Keras gives 4 px, torch 3 px; both start at the same pixel.")


def test_the_kernel_slides_by_itself_by_steps_by_keys_and_by_hand(alone):
    page = alone(input_size=4)
    where = lambda: page.cells("output", ".focus")  # noqa: E731
    page.tab.get_by_role("button", name="One step on").click()
    assert where() == {"0,1"}
    page.tab.get_by_role("button", name="One step back").click()
    stage = page.tab.get_by_role("group", name="The picture")
    stage.focus()
    page.tab.keyboard.press("ArrowDown")
    assert where() == {"1,0"}
    page.tab.keyboard.press("Home")
    page.tab.get_by_label("Speed").select_option("fast")
    play = page.tab.get_by_role("button", name="Play")
    play.click()
    # It goes through all four places and stops at the last.
    expect(page.cell("output", "1,1")).to_have_class(re.compile("focus"), timeout=30_000)
    expect(page.tab.get_by_role("button", name="Play")).to_be_visible(timeout=30_000)
    page.slide("input_size", 8)
    box = page.cell("input", "1,1").bounding_box()
    goal = page.cell("input", "4,5").bounding_box()
    page.tab.mouse.move(box["x"] + 5, box["y"] + 5)
    page.tab.mouse.down()
    page.tab.mouse.move(goal["x"] + 5, goal["y"] + 5, steps=4)
    assert where() == {"3,4"}
    page.tab.mouse.up()
    assert page.cells("input", ".window") == {f"{row},{col}" for row in (3, 4, 5) for col in (4, 5, 6)}


def test_pause_holds_the_kernel(alone):
    page = alone(input_size=8)
    page.tab.get_by_label("Speed").select_option("fast")
    page.tab.get_by_role("button", name="Play").click()
    page.tab.wait_for_function("() => document.querySelector('.cx-figure.output .focus').dataset.at !== '0,0'")
    page.tab.get_by_role("button", name="Pause").click()
    held = page.cells("output", ".focus")
    page.tab.wait_for_timeout(700)
    assert page.cells("output", ".focus") == held


def test_a_transposed_convolution_paints(alone):
    page = alone(input_size=4, kernel_size=3, stride=2, padding=1)
    page.tab.get_by_label("transposed", exact=True).check()
    page.cell("input", "1,1").hover()
    assert page.cells("output", ".lit") == {f"{row},{col}" for row in (1, 2, 3) for col in (1, 2, 3)}
    expect(page.readout).to_contain_text("paints the kernel over 9 places")
    assert "(4 - 1)·2 - 2·1 + 1·(3 - 1) + 1 = 7 px" in page.fact("output_size")
    page.cell("output", "1,1").hover()
    assert page.cells("input", ".window") == {"0,0", "0,1", "1,0", "1,1"}
    total, result, count = products(page.readout.inner_text())
    assert (total, count) == (result, 4)
    page.choose("padding", "same")
    expect(page.message).to_contain_text("torch's transposed convolution takes a number for padding")
    page.screenshot("transposed")


def test_switches_move_what_stands_in_their_way_and_say_so(alone):
    page = alone(dims=1, input_size=24, padding="same", look={"color_scheme": "dark"})
    page.screenshot("line")
    page.choose("dims", "2")
    expect(page.message).to_contain_text("input_size 24 → 16")
    page.tab.get_by_label("transposed", exact=True).check()
    expect(page.message).to_contain_text("padding same → 1")
    page.choose("dims", "1")
    assert page.tab.locator(".cx-links line").count() == 3


def test_groups_keep_channels_apart(alone):
    page = alone(in_channels=4, out_channels=4, groups=2)
    page.tab.get_by_role("button", name="output channel 3").click()
    expect(page.tab.get_by_role("button", name="input channel 2")).to_have_attribute("aria-pressed", "true")
    expect(page.readout).to_contain_text("channel 2:")
    expect(page.readout).to_contain_text("channel 3:")
    expect(page.readout).not_to_contain_text("channel 0:")
    page.choose("in_channels", "3")
    expect(page.message).to_contain_text("in_channels stops at 2: groups=2 must divide in_channels")
    page.screenshot("groups")


def test_nothing_jumps(alone):
    page = alone(input_size=4)
    marks = [".cx-bar", ".cx-stage", ".cx-readout", ".cx-program"]
    places = lambda: [page.tab.locator(mark).bounding_box() for mark in marks]  # noqa: E731
    at_first = places()
    page.slide("kernel_size", 7)
    page.slide("padding", 6)
    page.slide("input_size", 16)
    page.choose("in_channels", "4")
    page.tab.get_by_role("button", name="What is stride?").click()
    page.cell("input", "3,3").hover()
    assert places() == at_first


@pytest.mark.parametrize("width", [420, 800, 1800])
def test_no_width_cuts_anything_off(alone, width):
    page = alone(
        input_size=16, kernel_size=7, padding=3, in_channels=4, look={"viewport": {"width": width, "height": 900}}
    )
    wide = page.tab.evaluate(
        "() => [...document.querySelectorAll('.cx *')].filter(e => e.getClientRects().length)"
        ".map(e => e.getBoundingClientRect().right).reduce((a, b) => Math.max(a, b))"
    )
    assert wide <= width
    page.screenshot("page")


def test_every_control_has_a_name(alone):
    page = alone()
    nameless = page.tab.evaluate(
        "() => [...document.querySelectorAll('.cx :is(input, button, select)')]"
        ".filter(e => !(e.labels?.length && e.labels[0].textContent.trim()) && !e.ariaLabel && !e.textContent.trim())"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []


CELLS = [
    "from convlab.frontend.explorer import ConvExplorer\n"
    "explorer = ConvExplorer(input_size=7, stride=2, padding=1)\nexplorer",
    "explorer.kernel_size = 5",
    "explorer.padding = 'same'",
    "with explorer.hold_trait_notifications():\n    explorer.transposed, explorer.input_size = True, 4",
]


def test_in_jupyterlab_page_and_python_follow_each_other(page, notebook):
    page.open(notebook(CELLS))
    page.run_cell(0)
    explorer = page.output(0)
    formula = explorer.locator("[data-fact=output_size]")
    expect(formula).to_contain_text("= 4 px")
    explorer.scroll_into_view_if_needed()
    page.screenshot("light")
    explorer.locator("input[type=range][data-setting=stride]").fill("3")
    expect(formula).to_contain_text("= 3 px")
    page.expect_in_kernel("(explorer.stride, explorer.output_size) == (3, 3)")
    page.run_cell(1)
    expect(formula).to_contain_text(f"(5 {MINUS} 1)")
    page.run_cell(2)
    page.expect_text(2, "TraitError: padding='same' is not possible here")
    assert page.kernel_eval("explorer.padding") == 1
    page.run_cell(3)
    expect(formula).to_contain_text("+ 1 = 12 px")
    # Arrow keys belong to the picture, not to the notebook's cells.
    active = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    stage = explorer.get_by_role("group", name="The picture")
    stage.click(position={"x": 3, "y": 3})
    before = page.tab.evaluate(active)
    page.tab.keyboard.press("ArrowDown")
    expect(explorer.locator(".cx-figure.input [data-at='1,0']")).to_have_class(re.compile("focus"))
    assert page.tab.evaluate(active) == before
    page.set_theme("dark")
    page.screenshot("dark")


def test_a_saved_notebook_keeps_an_explorer_that_works_without_a_kernel(page, notebook):
    page.open(notebook(CELLS[:1]))
    page.run_all()
    live = page.output(0).locator(".cx")
    live.locator("input[type=range][data-setting=stride]").fill("3")
    expect(live.locator("[data-fact=output_size]")).to_contain_text("= 3 px")
    # The page for the file stays out of sight, and follows when the slider has come to rest.
    frame = page.output(0).locator("iframe")
    expect(frame).to_be_hidden()
    expect(frame).to_have_attribute("srcdoc", re.compile('"stride": 3'))
    page.save()
    page.reopen_without_kernel()
    expect(page.output(0).locator("iframe")).to_be_visible()
    kept = page.output(0).frame_locator("iframe")
    expect(kept.locator("[data-fact=output_size]")).to_contain_text("= 3 px")
    kept.locator("input[type=range][data-setting=stride]").fill("1")
    expect(kept.locator("[data-fact=output_size]")).to_contain_text("= 7 px")
    assert "model not found" not in page.cell_text(0)
    page.screenshot("no-kernel")


@pytest.mark.parametrize("app", ["notebook7", "voila"])
def test_it_runs_in_other_front_ends(app, request, notebook):
    page = request.getfixturevalue(app)
    page.open(notebook(CELLS[:1]))
    if app == "notebook7":
        page.run_all()
    explorer = page.tab.locator(".cx")
    explorer.locator("input[type=range][data-setting=stride]").fill("3")
    expect(explorer.locator("[data-fact=output_size]")).to_contain_text("= 3 px")
    expect(page.tab.locator("iframe[title='Convolution explorer']")).to_be_hidden()
    page.screenshot()
