"""The Code tab: the script follows the bench and is saved; a state is told, refused or opened in place."""

import pytest
import torch
from torch import nn

from convlab.lab_state import LabState
from convlab.models.live import Edit
from convlab.net_spec import NetSpec
from convlab.panels.lab import Lab
from convlab.panels.script import ScriptPanel
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(spec=TrainSpec(epochs=1))
    yield lab
    lab.close()


def opened(lab):
    panel = lab.tabs.show("Code")
    panel.settle()
    return panel


def curve(lab):
    return lab.run(wait=True).history.train_loss.tolist()


def paste(panel, text):
    panel.share.box.value = text
    panel.settle()
    return panel.share.messages.text


# -- show code ---------------------------------------------------------------------------------------------------------


def test_the_script_is_that_of_the_bench_and_follows_it(lab):
    panel = opened(lab)
    script = panel.script
    assert script.text == lab.code()
    assert script.copy.text == script.text
    assert "controls stand" in script.line.value
    compile(script.text, "train.py", "exec")
    lab.set(lr=0.0123)
    panel.settle()
    assert "lr=0.0123" in script.text
    lab.edit(Edit("conv2", {"out_channels": 40}))
    panel.settle()
    assert "40" in script.text
    lab.edit("undo")
    run = lab.run(wait=True)
    panel.settle()
    assert script.text == run.code() == lab.code()
    assert "Run 1 from its start" in script.line.value


def test_what_changes_in_a_run_is_in_its_script(lab):
    panel = opened(lab)
    lab.step()
    lab.set(lr=0.0321)
    lab.step()
    panel.settle()
    assert "0.0321" in panel.script.text
    lab.stop()


def test_nothing_is_made_while_nobody_looks(lab):
    panel = opened(lab)
    lab.tabs.show("Training")
    before = panel.script.text, panel.share.copy.text
    lab.set(lr=0.0123)
    lab.run(wait=True)
    panel.settle()
    assert (panel.script.text, panel.share.copy.text) == before
    opened(lab)
    assert panel.script.text == lab.code()
    assert panel.share.copy.text == lab.state


def test_a_look_shows_weights_that_were_changed_elsewhere(lab):
    panel = opened(lab)
    assert "torch.load" not in panel.script.text
    with torch.no_grad():
        lab.model.fc2.bias.zero_()
    lab.tabs.show("Training")
    lab.tabs.show("Code")
    panel.settle()
    assert "torch.load" in panel.script.text
    assert "weights.pt" in panel.script.line.value


def test_the_script_is_saved_and_nobodys_file_is_lost(lab, tmp_path):
    script = opened(lab).script
    script.save_button.click()
    script.settle()
    assert (tmp_path / "train.py").read_text() == script.text
    assert script.messages.text == f"Saved train.py in {tmp_path}."
    (tmp_path / "train.py").write_text("mine")
    script.save_button.click()
    script.settle()
    assert (tmp_path / "train.py").read_text() == "mine"
    assert script.messages.text.startswith("train.py in ")
    assert "would be overwritten" in script.messages.text
    assert script.messages.remedy.description == "Overwrite"
    script.messages.remedy.click()
    script.settle()
    assert (tmp_path / "train.py").read_text() == script.text
    script.name.value = "notes.txt"
    script.save_button.click()
    script.settle()
    assert "try path='train.py'" in script.messages.text
    script.name.value = "nowhere/train.py"
    script.save_button.click()
    script.settle()
    assert "nowhere" in script.messages.text
    assert [file.name for file in tmp_path.iterdir()] == ["train.py"]


@pytest.mark.parametrize("trained", [False, True])
def test_the_weights_that_the_script_loads_lie_beside_it(lab, tmp_path, trained):
    with torch.no_grad():
        lab.model.fc2.bias.zero_()
    start = {name: value.clone() for name, value in lab.model.state_dict().items()}
    if trained:
        lab.run(wait=True)
    script = opened(lab).script
    script.save_button.click()
    script.settle()
    assert "train.py and weights.pt" in script.messages.text
    saved = torch.load(tmp_path / "weights.pt")
    assert all(torch.equal(saved[name], value) for name, value in start.items())


def test_why_there_is_no_script_is_a_sentence_and_not_markup():
    def refuse():
        raise NotImplementedError(f"{EVIL} has no script.")

    panel = ScriptPanel(code=refuse, about=lambda: EVIL, weights=print)
    panel.look()
    panel.settle()
    assert panel.messages.text == f"{EVIL} has no script."
    assert panel.text == panel.copy.text == ""
    assert panel.save_button.disabled
    shown = panel.line.value + panel.shown.value + panel.messages._line.value
    assert "<img" not in shown
    assert "&lt;img" in shown


# -- share -------------------------------------------------------------------------------------------------------------


def test_the_state_is_shown_and_follows(lab):
    share = opened(lab).share
    assert share.copy.text == lab.state
    lab.set(lr=0.02)
    share.settle()
    assert share.copy.text == lab.state
    lab.edit(Edit("conv2", {"out_channels": 40}))
    share.settle()
    assert '"out_channels":40' in share.copy.text
    assert share.copy.text == lab.state


def test_a_pasted_state_is_told_then_opened(lab):
    other = Lab(spec=TrainSpec(epochs=1, schedule=ScheduleSpec("ExponentialLR", gamma=0.99)))
    other.edit(Edit("conv2", {"out_channels": 40}, seed=4))
    other.set(lr=0.1)
    lab.edit(Edit("conv1", {"out_channels": 9}))
    lab.run(wait=True)
    panel = opened(lab)
    before = lab.state
    said = paste(panel, f"\n{other.state} ")
    assert said == (
        "Would change the network's edits: conv1: out_channels=9 → conv2: out_channels=40; "
        "lr: 0.05 → 0.1; schedule: none → ExponentialLR."
    )
    assert lab.state == before
    panel.share.open_button.click()
    panel.settle()
    assert panel.share.messages.text.startswith("Opened: changed the network's edits")
    assert lab.state == other.state == panel.share.copy.text
    assert panel.share.open_button.disabled
    assert curve(lab) == curve(other)
    assert paste(panel, other.state + " ") == "This bench is that one already."
    other.close()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "must be a JSON object"),
        ("/etc/passwd", "must be a JSON object"),
        ('{"version": 9, "convlab": "4.2"}', "was written by convlab 4.2"),
        (EVIL, "must be a JSON object"),
        (LabState(net=NetSpec((1, 8, 8)), data="shapes").to_json(), "is of another bench, with 16-32 filters"),
        (LabState(own={"model": "Mine"}).to_json(), "convlab.Lab.from_state(state, model=...)"),
        (LabState(net="lenet55").to_json(), "net must be one of"),
    ],
)
def test_what_cannot_be_opened_is_a_sentence(lab, text, sentence):
    panel = opened(lab)
    before = lab.state
    assert sentence in paste(panel, text)
    assert "Traceback" not in panel.share.messages._line.value
    assert "<img" not in panel.share.messages._line.value
    assert panel.share.open_button.disabled
    panel.share.open_button.click()
    panel.settle()
    assert lab.state == before
    assert paste(panel, "") == ""


def test_a_bench_of_ones_own_is_shared_too(tmp_path):
    x = torch.randn(24, 1, 4, 4)
    lab = Lab(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (x, torch.arange(24) % 3))
    panel = opened(lab)
    assert panel.share.copy.text == lab.state
    state = LabState.from_json(lab.state)
    other = LabState(net=None, data=None, own=state.own, train=state.train.replace(lr=0.2)).to_json()
    assert paste(panel, other) == "Would change lr: 0.05 → 0.2."
    panel.share.open_button.click()
    panel.settle()
    assert lab.spec.lr == 0.2
    lab.close()
