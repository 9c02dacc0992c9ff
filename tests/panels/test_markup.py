"""Names and texts of anybody's making reach no page as markup, whichever panel shows them."""

import ipywidgets as widgets
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from torch import nn

from convlab.panels.lab import Lab
from convlab.spec import TrainSpec

EVIL = "<img src=x onerror=alert(1)>"
RAW = (widgets.HTML, widgets.HTMLMath)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.breaks = False
        self.add_module(EVIL, nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.1)))

    def forward(self, x):
        if self.breaks:
            raise ValueError(f"{EVIL} in the forward")
        return self._modules[EVIL](x)


def raw(lab):
    """All that goes into a page as it is."""
    shown = []
    for widget in list(_instances.values()):
        if isinstance(widget, RAW):
            shown += [widget.value, widget.placeholder]
        if getattr(widget, "description_allow_html", False):
            shown.append(widget.description)
    return shown


@pytest.fixture
def lab(tmp_path):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    evil = type(EVIL, (Plain,), {})
    lab = Lab(evil(), "digits", TrainSpec(epochs=2, batch_size=200), autosave=tmp_path / EVIL)
    yield lab
    lab.close()


def open_all(lab):
    for number in range(len(lab.tabs.titles)):
        lab.tabs.selected_index = number


def clean(lab):
    shown = raw(lab)
    assert len(shown) > 10
    bad = [text for text in shown if text and "<img" in text]
    assert bad == []
    return " ".join(filter(None, shown))


def test_in_every_panel(lab, tmp_path):
    run = lab.run(wait=True)
    run.name = EVIL
    run.note = EVIL
    open_all(lab)
    clean(lab)
    fork = lab.fork(0, lr=0.01, name=EVIL, wait=True)
    lab.timeline.slider.value = lab.timeline.slider.options[0][1]
    open_all(lab)
    clean(lab)
    lab.rewind()
    fork.save(tmp_path / "run.safetensors")
    lab.load(tmp_path / "run.safetensors")
    open_all(lab)
    clean(lab)
    lab.model.breaks = True
    with pytest.raises(ValueError, match="in the forward"):
        lab.run(wait=True)
    lab.messages.error(EVIL, EVIL)
    open_all(lab)
    assert "&lt;img" in clean(lab)
