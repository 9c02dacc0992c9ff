"""The Scores tab without a page: it follows the bench's run, and shows which samples are behind a number."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.models.gallery import lenet
from convlab.panels.lab import Lab
from convlab.panels.metrics import MOST_CLASSES, MOST_PICTURES, MetricsPanel
from convlab.panels.tabs import close_whole
from convlab.panels.thumbnail import png
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run

torch.set_num_threads(1)
SPEC = TrainSpec(epochs=3, batch_size=100)


@pytest.fixture
def lab():
    lab = Lab(lenet(), "digits", SPEC, metrics={"top <2>": lambda out, y: 0.5})
    yield lab
    lab.close()


def opened(lab):
    panel = lab.tabs.show("Scores")
    panel.settle()
    return panel


def visible(part):
    return part.layout.display != "none" and part.layout.visibility != "hidden"


def indices(panel):
    return [int(index) for index in re.findall(r"#(\d+)", panel.pictures.value)]


def test_before_and_after_a_run(lab):
    panel = opened(lab)
    assert panel.said == "No run yet: press Run on the Training tab."
    assert not visible(panel.body)
    run = lab.run(wait=True)
    panel.settle()
    last = run.metrics[-1]
    assert panel.said == "Epoch 3, step 45: 360 validation samples."
    assert all(map(visible, (panel.body, panel.matrix, panel.classes, panel.honesty)))
    assert not visible(panel.against)
    assert f"<td>{last.scores['f1']:.4f}</td>" in panel.table.value
    assert "Harmonic mean of precision and recall" in panel.table.value
    assert "top &lt;2&gt;" in panel.table.value
    assert panel.grid.counts == str(last.metrics.confusion.tolist())
    assert panel.per_class.value.count("<tr>") == 11
    assert panel.score.value == "f1"
    (line,) = panel.curves.lines
    assert line.x == [1, 2, 3]
    assert line.y == [one.scores["f1"] for one in run.metrics]
    panel.score.value = "accuracy"
    panel.settle()
    assert panel.curves.lines[0].y == [one.valid_accuracy for one in run.history.epochs]


def test_a_cell_leads_to_its_samples_the_surest_mistakes_first(lab):
    lab.run(wait=True)
    panel = opened(lab)
    metrics = lab.current.metrics[-1].metrics
    wrong = metrics.confusion - np.diag(np.diag(metrics.confusion))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    panel.grid.pick(int(row), int(column))
    panel.settle()
    places = metrics.taken_for(row, column)
    expected = sorted(places.tolist(), key=lambda place: -metrics.confidence[place])[:MOST_PICTURES]
    assert indices(panel) == expected
    first = lab.data.valid.x[expected[0]]
    assert panel.pictures.value.count("<img") == len(expected)
    assert png(first) in panel.pictures.value
    assert f"{metrics.confidence[expected[0]]:.1%} sure" in panel.pictures.value
    digit = int(metrics.confusion.diagonal().argmax())
    panel.grid.pick(digit, digit)
    panel.settle()
    right = metrics.taken_for(digit, digit)
    assert len(right) > MOST_PICTURES
    assert indices(panel) == sorted(right.tolist(), key=lambda place: metrics.confidence[place])[:MOST_PICTURES]
    assert f"and {len(right) - MOST_PICTURES} more" in panel.pictures.value


def test_a_page_can_only_pick_what_is_there(lab):
    lab.run(wait=True)
    panel = opened(lab)
    for row, column in ((10, 0), (-1, 0), ("0", 0), (None, 0), (0.5, 0)):
        panel.grid._told(None, {"type": "pick", "row": row, "column": column}, None)
    panel.settle()
    assert panel.pictures.value == ""
    panel.grid._told(None, {"type": "pick", "row": 0, "column": 0}, None)
    panel.settle()
    assert "right: the least sure first" in panel.pictures.value


def test_it_follows_while_it_trains_pauses_and_looks_back(lab):
    panel = opened(lab)
    lab.set(epochs=20)
    lab.step()
    panel.settle()
    assert panel.said == "The scores come with the end of the first epoch."
    lab.current.step(30)
    panel.settle()
    assert panel.said.startswith("Epoch 2, step 30")
    panel.grid.pick(1, 1)
    lab.run(wait=True)
    panel.settle()
    assert panel.said.startswith("Epoch 20, step 300")
    assert "right: the least sure first" in panel.pictures.value
    lab.rewind(45)
    panel.settle()
    assert panel.said.startswith("Epoch 3, step 45")
    assert "was not kept" in panel.pictures.value
    assert panel.grid.counts == str(lab.current.metrics[2].metrics.confusion.tolist())
    lab.rewind(0)
    panel.settle()
    assert panel.said == "No epoch had ended by step 0."
    assert not visible(panel.body)
    lab.rewind()
    panel.settle()
    assert panel.said.startswith("Epoch 20, step 300")
    panel.epoch.value = "best"
    panel.settle()
    best = lab.current.metrics.best
    assert panel.said.startswith(f"Epoch {best.epoch}, ")
    assert "was not kept" not in panel.pictures.value


def test_nothing_is_drawn_that_nobody_sees(lab):
    panel = opened(lab)
    lab.tabs.show("Training")
    lab.run(wait=True)
    panel.settle()
    assert panel.said == "No run yet: press Run on the Training tab."
    assert opened(lab) is panel
    assert panel.said.startswith("Epoch 3")


def test_the_next_network_has_a_panel_of_its_own(lab):
    lab.run(wait=True)
    panel = opened(lab)
    lab.use("single_conv")
    again = opened(lab)
    assert again is not panel
    lab.run(wait=True)
    again.settle()
    assert again.said.startswith("Epoch 3")


def flat(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width))


@pytest.fixture
def shown():
    made = []

    def show(run):
        panel = MetricsPanel(lambda: run, run.data)
        panel.settle()
        made.append(panel)
        return panel

    yield show
    for panel in made:
        close_whole(panel)


def test_numbers_are_drawn_against_their_targets(shown):
    x, y = torch.randn(60, 1, 4, 4), torch.randn(60)
    panel = shown(fit(flat(1), ((x, y), (x, y)), SPEC))
    assert visible(panel.against)
    assert not visible(panel.matrix)
    assert panel.scatter.lines[0].x.tolist() == sorted(y.double().tolist())
    assert "Root of the mean squared error" in panel.table.value


def test_without_validation_data_it_says_what_is_missing(shown):
    x, y = torch.randn(60, 1, 4, 4), torch.arange(60) % 3
    panel = shown(fit(flat(3), DataLoader(TensorDataset(x, y), batch_size=9), SPEC))
    assert panel.said == "Scores need validation data, and there are none: pass data=(train, valid)."


def test_pictures_of_loaders_and_data_sets(shown):
    x, y = torch.randn(60, 1, 4, 4), torch.arange(60) % 3
    whole = TensorDataset(x, y)
    train = DataLoader(whole, batch_size=9)
    in_order = shown(fit(flat(3), (train, DataLoader(whole, batch_size=7)), SPEC))
    in_order.grid.pick(0, 0)
    in_order.settle()
    assert all(png(x[index]) in in_order.pictures.value for index in indices(in_order))
    assert indices(in_order)
    shuffled = shown(fit(flat(3), (train, DataLoader(whole, batch_size=7, shuffle=True)), SPEC))
    shuffled.grid.pick(0, 0)
    shuffled.settle()
    assert "No pictures: the validation data come from a loader" in shuffled.pictures.value
    assert "<img" not in shuffled.pictures.value
    run = Run(flat(3), (train, train), SPEC.replace(epochs=100_000))
    panel = shown(run)
    run.step(8)
    run.resume()
    panel.refresh()
    panel.settle()
    panel.grid.pick(0, 0)
    panel.settle()
    assert "Pause the run to see the pictures" in panel.pictures.value
    run.stop()


def test_of_many_classes_the_worst_are_shown(shown):
    x, y = torch.randn(120, 1, 4, 4), torch.arange(120) % 60
    panel = shown(fit(flat(60), ((x, y), (x, y)), SPEC))
    assert len(panel.grid.classes) == MOST_CLASSES
    assert f"{MOST_CLASSES} of 60 classes" in panel.about_grid.value
    panel.grid.pick(0, 0)
    panel.settle()
    label = panel.grid.classes[0]
    assert f"{label}, right" in panel.pictures.value or f"No {label} was recognised." in panel.pictures.value
