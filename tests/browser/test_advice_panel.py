"""The Advice tab on the page: planted faults are found as it trains, remedies applied and undone, by mouse and key."""

from bench_page import LOAD, open_bench
from looks import check_look
from playwright.sync_api import expect

LAB = (
    "from convlab.diagnosis.planted import FAULTS\n"
    'setup = {fault.name: fault for fault in FAULTS}["first layer jumps"].setup()\n'
    "lab = convlab.Lab(setup.model, setup.data, convlab.TrainSpec(epochs=8, lr=1e-5, batch_size=64))\n"
    "lab"
)


def test_findings_are_shown_applied_and_undone(page, notebook):
    bench = open_bench(page, notebook([LOAD, LAB]))
    bench.root.get_by_role("tab", name="Advice").click()
    panel = bench.root.locator(".convlab-advice")
    cards, status = panel.locator(".convlab-finding"), panel.locator(".convlab-advice-heading")
    expect(status).to_contain_text("1 finding the network")
    expect(cards).to_have_count(1)
    expect(cards.first).to_contain_text("layer 0 has kernel_size=3 and stride=4")
    expect(cards.first.get_by_role("img")).to_be_visible()
    check_look(panel)

    # It follows a run that a cell began, and says what its curve says once it has one.
    bench.eval("str(lab.run(wait=False))")
    expect(cards).to_have_count(2)
    expect(cards.first).to_contain_text("still falling steadily")
    expect(status).to_contain_text("8 epochs, finished")
    bench.screenshot("light")
    check_look(panel)

    cards.first.get_by_role("button", name="Apply").click()
    expect(panel).to_contain_text("The first weights of the run are back")
    assert bench.eval("lab.spec.lr") > 5e-5
    undo = panel.get_by_role("button", name="Undo")
    undo.focus()
    page.tab.keyboard.press("Enter")
    expect(panel).to_contain_text("Taken back")
    assert bench.eval("lab.spec.lr") == 1e-5
    expect(undo).to_be_disabled()

    cards.nth(1).get_by_role("button", name="Apply").click()
    expect(cards).to_have_count(0)
    assert bench.eval("lab.model[0].stride") == [1, 1]

    # The guided tour, by keyboard: begun, a change tried and kept, in the table of outcomes.
    bench.eval("lab.set(epochs=4)")
    bench.root.get_by_role("button", name="Guided tour").press("Enter")
    tour = bench.root.locator(".convlab-tour")
    tour.get_by_role("spinbutton", name="Seeds").fill("1")
    tour.get_by_role("button", name="Begin").press("Enter")
    expect(tour.get_by_text("Next:")).to_be_visible()
    check_look(tour)
    tour.get_by_role("button", name="Try it").press("Enter")
    expect(tour.locator("tbody tr")).to_have_count(1)
    expect(tour.locator("tbody tr")).to_contain_text("learning rate")
    bench.screenshot("tour")
    check_look(tour)

    page.set_theme("dark")
    page.tab.set_viewport_size({"width": 800, "height": 900})
    undo.click()
    expect(cards).to_have_count(2)
    bench.screenshot("dark")
    check_look(panel)
    check_look(tour)
    tour.scroll_into_view_if_needed()
    page.screenshot("tour-dark")
    page.assert_clean()
