"""The Advice tab without a browser: what it finds, and its remedies on the bench, made and taken back."""

import html
import math
from dataclasses import replace

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from torch import nn
from waiting import until

from convlab.diagnosis.diagnose import diagnose
from convlab.diagnosis.finding import Remedy
from convlab.diagnosis.planted import FAULTS
from convlab.models.live import Edit, EditError
from convlab.panels.finding_card import FindingCard
from convlab.panels.lab import Lab
from convlab.panels.remedies import apply
from convlab.panels.tabs import close_whole
from convlab.spec import TrainSpec
from convlab.training.run import Run

PLANTED = {fault.name: fault for fault in FAULTS}


def bench(name, **changes):
    setup = PLANTED[name].setup()
    return Lab(setup.model, setup.data, setup.spec.replace(**changes))


def opened(lab):
    panel = lab.tabs.show("Advice").children[0]
    panel.settle()
    return panel


def rules(panel):
    return [one.rule for one in panel.found]


def weights(model):
    return torch.cat([param.detach().flatten() for param in model.parameters()]).clone()


def buttons(panel):
    return [card.button for card in panel.cards.children if card.button.layout.display is None]


@pytest.fixture
def closing():
    labs = []
    yield labs.append
    for lab in labs:
        lab.close()


def test_a_healthy_bench_is_left_alone(closing):
    lab = Lab(spec=TrainSpec(epochs=4))
    closing(lab)
    panel = opened(lab)
    assert panel.found == []
    assert "Nothing to say" in panel.heading.value
    lab.run(wait=True)
    panel.settle()
    assert panel.found == []
    assert "4 epochs, finished" in panel.heading.value


def test_a_setting_is_applied_for_the_next_run_from_the_first_weights_and_taken_back(closing):
    lab = bench("lr 0.00001", epochs=5)
    closing(lab)
    first = weights(lab.model)
    panel = opened(lab)
    lab.run(wait=True)
    last = weights(lab.model)
    panel.settle()
    assert rules(panel) == ["too_slow"]
    (button,) = buttons(panel)
    button.click()
    assert lab.spec.lr == pytest.approx(1e-4)
    assert torch.equal(weights(lab.model), first)
    assert "first weights" in panel._messages.text
    panel.undo_button.click()
    assert lab.spec.lr == 1e-5
    assert torch.equal(weights(lab.model), last)
    assert panel.undo_button.disabled
    button.click()
    lab.run(wait=True)
    assert lab.current.spec.lr == pytest.approx(1e-4)
    panel.undo_button.click()
    assert lab.spec.lr == 1e-5


def test_a_remedy_in_words_has_no_button():
    (finding,) = diagnose(PLANTED["lr 0.00001"].setup().run())
    card = FindingCard(lambda _: None)
    card.show(replace(finding, remedy=Remedy("patience")), is_first=True)
    assert card.button.layout.display == "none"
    card.show(finding, is_first=True)
    assert card.button.layout.display is None
    card.show(replace(finding, picture=None), is_first=True)
    assert card.picture.layout.display == "none"
    close_whole(card)


def test_the_saved_notebook_tells_findings_and_scores(closing):
    lab = bench("lr 0.00001", epochs=5)
    closing(lab)
    panel = opened(lab)
    lab.run(wait=True).name = "<b>"
    panel.look()
    panel.settle()
    told = lab.saved._outputs()[1]["text/html"]
    assert "Validation in epoch 5: " in told
    assert f"f1 {lab.current.metrics[-1].scores['f1']:.4g}" in told
    assert "Advice: 1 finding; &lt;b&gt;, 5 epochs, finished" in told
    assert html.escape(f"{panel.found[0].seen} Try ten times the learning rate") in told
    lab.tabs.selected_index = 0
    lab.use("shallow")
    assert "Advice" not in lab.saved._outputs()[1]["text/html"]


def test_an_edit_is_applied_in_a_run_that_goes_on(closing):
    lab = bench("first layer jumps", epochs=500)
    closing(lab)
    panel = opened(lab)
    lab.step()
    panel.settle()
    assert rules(panel) == ["skips_pixels"]
    panel.apply(panel.found[0])
    assert lab.model[0].stride == (1, 1)
    assert [change.name for change in lab.current.journal] == ["edit"]
    assert "goes on with it" in panel._messages.text
    panel.undo()
    assert lab.model[0].stride == (4, 4)
    lab.stop()


def test_the_data_are_changed_and_put_back(closing):
    lab = bench("pixels from 0 to 255", epochs=3)
    closing(lab)
    panel = opened(lab)
    before, model = lab.data, lab.model
    assert rules(panel) == ["unnormalised"]
    buttons(panel)[0].click()
    assert lab.data.name.endswith("standardised")
    assert lab.model is model
    panel = opened(lab)
    assert panel.found == []
    assert "Applied" in panel._messages.text
    panel.undo_button.click()
    assert lab.data is before


def test_a_remedy_that_cannot_be_leaves_all_as_it_was(closing):
    lab = bench("lr 0.00001", epochs=4)
    closing(lab)
    lab.run(wait=True)
    spec, last = lab.spec, weights(lab.model)
    with pytest.raises(EditError):
        apply(
            lab,
            Remedy("nonsense", {"lr": 0.1}, (Edit("conv1", {"out_channels": 8}), Edit("nowhere", {"stride": 2}))),
            [],
        )
    assert lab.spec == spec
    assert torch.equal(weights(lab.model), last)
    assert lab.edits == ()


def test_an_edit_made_since_is_undone_first(closing):
    lab = bench("first layer jumps")
    closing(lab)
    panel = opened(lab)
    panel.apply(panel.found[0])
    lab.edit(Edit("0", {"out_channels": 12}))
    panel.undo_button.click()
    assert "edited since" in panel._messages.text
    assert lab.model[0].stride == (1, 1)


def test_what_a_model_raises_is_told(closing):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            if len(x) > 100:
                raise OSError("no such luck")
            return self.fc(x.flatten(1))

    lab = Lab(Odd(), "digits", TrainSpec(epochs=1))
    closing(lab)
    panel = opened(lab)
    assert "no such luck" in panel._messages.text


def test_it_looks_only_while_somebody_sees_it(closing):
    lab = Lab(spec=TrainSpec(epochs=4))
    closing(lab)
    panel = opened(lab)
    lab.tabs.show("Training")
    seen = panel._seen
    lab.run(wait=True)
    panel.settle()
    assert panel._seen is seen
    lab.tabs.show("Advice")
    panel.settle()
    assert panel._seen is not seen
    assert isinstance(lab.current, Run)


def test_the_tour_leads_from_the_bench_and_back_to_it(closing):
    lab = Lab(spec=TrainSpec(epochs=3, lr=0.001, threads=1))
    closing(lab)
    tour = lab.tabs.show("Advice").children[1].children[0]
    assert tour.try_button.disabled
    tour.seeds.value = 1
    tour.begin_button.click()
    tour.wait()
    assert "Next: " in tour.next_line.value
    assert [run.name for run in lab.runs] == ["tour, to begin with"]
    tour.try_button.click()
    tour.wait()
    assert tour.tour.outcomes[0].kept
    assert "<td>yes</td>" in tour.table.value
    assert len(lab.runs) == 3
    assert lab.spec.lr == 0.001
    tour.skip_button.click()
    tour.wait()
    tour.use_button.click()
    assert lab.spec == tour.tour.spec
    assert lab.spec.lr > 0.001


def test_the_tour_is_stopped_and_waits_for_a_run(closing):
    lab = Lab(spec=TrainSpec(epochs=500, threads=1))
    closing(lab)
    tour = lab.tabs.show("Advice").children[1].children[0]
    lab.run(wait=False)
    tour.begin_button.click()
    assert "stop it first" in tour._messages.text
    lab.stop()
    tour.begin_button.click()
    tour.stop_button.click()
    tour.wait()
    assert not tour.begin_button.disabled


@pytest.mark.slow
def test_a_card_stays_in_its_place_while_its_numbers_move(closing):
    lab = bench("lr 0.00001", epochs=500)
    closing(lab)
    panel = opened(lab)
    lab.step()
    lab.current.step(5 * 45)
    panel.settle()
    (card,) = panel.cards.children
    seen, widgets_then = card.finding.seen, len(_instances)
    for _ in range(3):
        lab.current.step(45)
        panel.settle()
    assert panel.cards.children == (card,)
    assert card.finding.seen != seen
    assert card.finding.seen in html.unescape(card.text.value)
    assert len(_instances) == widgets_then
    lab.set(lr=0.03)
    lab.current.step(30 * 45)
    panel.settle()
    assert rules(panel) == []
    assert card.comm is None  # and nothing of it is left


def test_while_it_trains_it_looks_when_it_is_time_and_at_the_end(closing):
    lab = bench("lr 0.00001", epochs=3000)
    closing(lab)
    panel = opened(lab)
    lab.step()
    panel.settle()
    seen, panel._next = panel._seen, math.inf
    lab.run(wait=False)
    until(lambda: lab.current.history.num_epochs >= 3)
    panel.settle()
    assert panel._seen is seen
    panel._next = 0.0
    until(lambda: panel._seen is not seen)
    panel.settle()
    lab.stop()
    panel.settle()
    assert "stopped" in panel.heading.value


def test_a_network_that_cannot_be_traced_is_judged_by_its_curve(closing):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            assert not x.is_meta
            return self.fc(x.numpy().__class__ and x.flatten(1))

    torch.manual_seed(0)
    lab = Lab(Odd(), "digits", TrainSpec(epochs=5, lr=1e-6))
    closing(lab)
    panel = opened(lab)
    lab.run(wait=True)
    panel.settle()
    assert rules(panel) == ["too_slow"]
