"""What user code breaks, the bench says, and nothing more breaks by it."""

from bench_page import LOAD, Bench, open_bench
from playwright.sync_api import expect

# Names and texts that would run in the page if any of them were taken for markup.
TROUBLE = (
    LOAD
    + """
EVIL = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script>"
trouble, fail = {}, type(EVIL, (ArithmeticError,), {})

def look_for(kind):
    if trouble.pop(kind, False):
        raise fail(f"the {kind} broke: {EVIL} \\x1b[31m & \\u2028")

class Net(nn.Sequential):
    def forward(self, x):
        look_for("forward")
        x = super().forward(x)
        # In a training step: a validation whose loss is no number ends nothing.
        return x * float("nan") if self.training and trouble.pop("nan", False) else x

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 96

    def __getitem__(self, index):
        look_for("data set")
        generator = torch.Generator().manual_seed(index)
        return torch.randn(1, 8, 8, generator=generator), index % 10

def criterion(output, target):
    look_for("criterion")
    return nn.functional.cross_entropy(output, target)

model = type(EVIL, (Net,), {})(nn.Flatten(), nn.Linear(64, 10))
"""
)
LAB = """
lab = convlab.Lab(model, (Pictures(), Pictures()), convlab.TrainSpec(epochs=20_000, lr=0.01), criterion=criterion)
lab
"""


def expect_nothing_injected(bench: Bench) -> None:
    assert bench.page.tab.evaluate("window.hacked === undefined && !document.querySelector('img[src=x]')")


def test_what_user_code_raises_is_shown_and_mended(page, notebook):
    bench = open_bench(page, notebook([TROUBLE, LAB]))
    expect(bench.root.get_by_text("<img src=x onerror=")).to_be_visible()
    for number, kind in enumerate(("forward", "data set", "criterion"), 1):
        bench.run()
        bench.eval(f"trouble.update({{{kind!r}: True}})")
        bench.expect_state("failed")
        expect(bench.message).to_contain_text("Training stopped in step ")
        expect(bench.message).to_contain_text(f"the {kind} broke: <img src=x onerror='window.hacked = 1'><script>")
        traceback = bench.message.locator("pre")
        expect(traceback).to_be_hidden()
        bench.screenshot(kind)
        bench.message.get_by_text("Traceback", exact=True).click()
        expect(traceback).to_be_visible()
        expect(traceback).to_contain_text("look_for")
        expect_nothing_injected(bench)
        bench.screenshot(f"{kind}-traceback")
        bench.expect_curve()
        assert bench.eval("[run.state for run in lab.runs]") == ["failed"] * number
        assert bench.eval("lab.current.history.num_steps") == bench.step > 0
        expect(bench.button("Run")).to_be_enabled()
    bench.run()
    expect(bench.message).not_to_contain_text("broke")
    bench.press("Stop")
    bench.expect_state("stopped")
    # The picture and table left for the file hold the same texts.
    page.save()
    expect_nothing_injected(bench)

    # A model that cannot begin says so.
    page.set_source(1, "lab = convlab.Lab(nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), 'digits')\nlab")
    page.run_cell(1)
    bench.expect_open()
    bench.press("Run")
    expect(bench.message).to_contain_text("mat1 and mat2 shapes cannot be multiplied")
    bench.expect_state("failed")
    bench.screenshot("cannot-begin")
    bench.eval("lab.model.__setitem__(1, nn.Linear(64, 10))")
    bench.run()
    bench.press("Stop")
    bench.expect_state("stopped")


def test_a_loss_that_is_no_number_offers_the_last_good_weights(page, notebook):
    bench = open_bench(page, notebook([TROUBLE, LAB]))
    expect_last_good_weights(bench, "start")
    page.run_cell(0)
    page.run_cell(1)
    bench.expect_state("ready")
    expect_last_good_weights(bench, "best")


def expect_last_good_weights(bench, point):
    offered = bench.button(f"Restore {point} weights")
    before = bench.eval("lab.model[1].weight.tolist()")
    expect(offered).to_be_hidden()
    if point == "start":
        bench.press("Step")
        bench.expect_state("paused")
        bench.eval("trouble.update(nan=True)")
        bench.press("Resume")
    else:
        bench.run()
        bench.expect_in_kernel("lab.current.history.num_epochs >= 3")
        bench.eval("trouble.update(nan=True)")
    bench.expect_state("failed")
    expect(bench.message).to_contain_text("The loss became nan in step")
    expect(offered).to_be_visible()
    bench.screenshot(f"{point}-offered")
    kept = bench.eval("lab.model[1].weight.tolist()")
    assert bench.eval("all(value.isfinite().all().item() for value in lab.model.state_dict().values())")
    assert kept != before
    # The weights that failed may be the best ones themselves: what comes back must be told from them.
    bench.eval("lab.model[1].weight.data.zero_()")
    offered.click()
    expect(bench.message).to_contain_text("are back")
    expect(offered).to_be_hidden()
    bench.screenshot(f"{point}-restored")
    after = bench.eval("lab.model[1].weight.tolist()")
    if point == "start":
        assert after == before
    else:
        assert after != before
        assert any(any(row) for row in after)
    bench.run()
    expect(bench.message).not_to_contain_text("are back")
    bench.press("Stop")
    bench.expect_state("stopped")
