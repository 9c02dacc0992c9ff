"""What the panel offers to do to a layer can be done, and is done to the live network, in a run too."""

import pytest
import torch
from torch import nn

from convlab.models.gallery import lenet
from convlab.models.live import bind
from convlab.panels.architecture import Architecture
from convlab.panels.lab import Lab
from convlab.spec import TrainSpec
from convlab.training.fit import fit

torch.set_num_threads(1)


def opened(model, path):
    live = bind(model, (1, 1, 8, 8))
    panel = Architecture(live, lambda edit: live.undo() if edit == "undo" else live.apply(edit))
    panel.select(path)
    return panel, panel.structure


def card(panel, path):
    return next(one for one in panel.strip.shown if one["path"] == path)


def test_insert_remove_freeze_and_undo():
    model = lenet()
    panel, structure = opened(model, "relu1")
    structure.what.value = "Dropout, p 0.2"
    structure.insert_button.click()
    panel.settle()
    assert [type(layer).__name__ for layer in model][:4] == ["Conv2d", "ReLU", "Dropout", "MaxPool2d"]
    structure.where.value = "insert"
    structure.what.value = "BatchNorm"
    structure.insert_button.click()
    panel.settle()
    assert model[1].num_features == 16
    panel.undo_button.click()
    panel.settle()
    assert not isinstance(model[1], nn.BatchNorm2d)
    structure.remove_button.click()
    panel.settle()
    assert not any(name == "relu1" for name, _ in model.named_children())
    assert structure.layout.display == "none"
    panel.select("conv1")
    structure.freeze_button.click()
    panel.settle()
    assert not model.conv1.weight.requires_grad
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"{trainable:,}" in panel.table.facts
    assert card(panel, "conv1")["kind"] == "Conv2d, frozen"
    assert structure.freeze_button.description == "Thaw"
    structure.freeze_button.click()
    panel.settle()
    assert model.conv1.weight.requires_grad


def test_weights_are_drawn_anew_by_the_scheme_whose_spread_was_told():
    model = lenet()
    panel, structure = opened(model, "conv2")
    assert "not He initialisation" in structure.facts.value
    for scheme in structure.scheme.options:
        structure.scheme.value = scheme
        told = float(structure.facts.value.partition("now, ")[2].partition(" by")[0])
        structure.redraw_button.click()
        panel.settle()
        assert model.conv2.weight.std().item() == pytest.approx(told, rel=0.1, abs=1e-9)
    panel.select("pool1")
    assert structure.redraw_button.disabled
    assert "has no weight that is drawn from a fan" in structure.redraw_button.tooltip
    assert structure.freeze_button.disabled


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


def test_what_cannot_be_is_not_offered_and_a_tooltip_says_why():
    _, structure = opened(Own(), "conv")
    assert structure.insert_button.disabled
    assert "nn.Sequential" in structure.insert_button.tooltip
    assert structure.remove_button.disabled
    assert structure.remove_button.tooltip.startswith("conv")
    _, structure = opened(lenet(), "fc2")
    assert "Max pooling 2x2" not in structure.what.options
    assert "Dropout, p 0.2" in structure.what.options
    model = lenet()
    panel, structure = opened(model, "relu1")
    assert "Linear, 64 units" not in structure.what.options
    structure.what.value = "Convolution 3x3, 32 filters"
    structure.insert_button.click()
    panel.settle()
    assert (model[2].in_channels, model[2].out_channels, model.conv2.in_channels) == (16, 32, 32)


def test_in_a_run_it_is_journaled_and_replays():
    spec = TrainSpec(epochs=2, batch_size=200, threads=1)
    lab = Lab(lenet(), "digits", spec)
    lab.step()
    panel = lab.tabs.show("Architecture")
    panel.select("relu1")
    panel.structure.what.value = "BatchNorm"
    panel.structure.insert_button.click()
    panel.settle()
    lab.step()
    panel.select("conv1")
    panel.structure.freeze_button.click()
    panel.settle()
    run = lab.run(wait=True)
    assert str(run.journal[0]).startswith("relu1: insert after")
    again = fit(lenet(), "digits", spec, journal=run.journal)
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    lab.close()
