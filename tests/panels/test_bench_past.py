"""The bench looks back, forks, compares, keeps: all without a page."""

import json
import time

import pytest
import torch
from torch import nn
from waiting import until

from convlab.frontend.chart import MAX_GHOSTS
from convlab.models.gallery import lenet
from convlab.models.live import Edit
from convlab.panels.lab import Lab
from convlab.panels.timeline import NOW, told
from convlab.spec import TrainSpec
from convlab.training.autosave import saved_runs
from convlab.training.checkpoint import CheckpointError
from convlab.training.fit import fit
from convlab.training.run import Run

torch.set_num_threads(1)
SPEC = TrainSpec(epochs=3, batch_size=100)


def weights(model):
    return [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())]


def equal(a, b):
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.fixture
def lab():
    lab = Lab(lenet(), "digits", SPEC)
    yield lab
    lab.close()


def test_the_slider_shows_the_model_as_it_was_and_the_controls_of_then(lab):
    run = lab.run(wait=True)
    end = weights(lab.model)
    slider = lab.timeline.slider
    assert not slider.disabled
    assert [step for _, step in slider.options] == [0, 15, 30, 45, NOW]
    slider.value = 15
    assert not equal(weights(lab.model), end)
    assert run.shown_step == 15
    assert lab.timeline.line.value.startswith("Looking back at step 15: the end of epoch 1. Weights and settings are")
    slider.value = NOW
    assert equal(weights(lab.model), end)
    assert lab.timeline.line.value == "This is the present, after step 45. Drag to the left to look back."


def test_fork_here_takes_what_was_moved_while_looking_back(lab):
    first = lab.run(wait=True)
    lab.timeline.slider.value = 30
    lab.set(lr=0.01)
    assert first.settings.lr == 0.05
    lab.timeline.fork_button.click()
    fork = lab.current
    assert fork is not first
    fork.wait()
    assert fork.state == "finished", fork.traceback
    assert fork.name == "run 1, lr 0.05 → 0.01 from step 30"
    assert fork.history.train_loss.tolist()[:30] == first.history.train_loss.tolist()[:30]
    assert lab.spec.lr == 0.01
    again = fit(lenet(), "digits", SPEC.replace(threads=fork.threads), journal=fork.journal)
    assert again.history.train_loss.tolist() == fork.history.train_loss.tolist()
    assert (lab.curve.chart.title, lab.curve.chart.ghosts) == (fork.name, ["run 1"])
    assert fork.snapshots.note == ""  # none was let go: some took the place of others of the same step


def test_a_paused_run_that_was_looked_back_in_goes_on_as_if_nothing_had_been(lab):
    lab.step()
    for _ in range(19):
        lab.step()
    lab.set(lr=0.02)
    lab.step()
    lab.rewind(15)
    assert lab.spec.lr == 0.05
    assert "Resume goes on from the present." in lab.timeline.line.value
    lab.set(momentum=0.5)  # for a fork that nobody makes
    lab.run(wait=True)
    assert lab.spec.lr == 0.02
    assert lab.spec.momentum == 0.9
    assert [str(change) for change in lab.current.journal] == ["lr 0.05 → 0.02"]
    again = fit(lenet(), "digits", SPEC.replace(threads=lab.current.threads), journal=lab.current.journal)
    assert again.history.train_loss.tolist() == lab.current.history.train_loss.tolist()


def test_what_a_cell_sets_while_one_looks_back_is_shown_with_the_present(lab):
    for _ in range(5):
        lab.step()
    lab.rewind(0)
    lab.current.set(lr=0.02, epochs=7)
    until(lambda: len(lab.current.journal) == 2)
    assert lab.spec.lr == 0.05
    lab.rewind()
    assert (lab.spec.lr, lab.spec.epochs) == (0.02, 7) == (lab.current.settings.lr, lab.current.settings.epochs)
    lab.stop()


def test_what_cannot_be_is_said_in_the_panel_and_raised_by_the_method(lab):
    with pytest.raises(LookupError, match="no run to look back in"):
        lab.rewind(0)
    with pytest.raises(LookupError, match="no run to fork"):
        lab.fork()
    lab.set(epochs=100_000)
    assert lab.timeline.line.value == "Nothing to look back on yet: press Run."
    run = lab.run(wait=False)
    assert lab.timeline.slider.disabled
    while run.state == "pending":
        time.sleep(0.01)
    assert told(run) == "Pause or stop the training to look back."
    with pytest.raises(RuntimeError, match=r"run.pause\(\)"):
        lab.rewind(0)
    lab.pause()
    assert not lab.timeline.slider.disabled
    lab.rewind(0)
    lab.stop()
    lab.timeline.slider.value = 0
    lab.set(optimizer="adam")
    lab.timeline.fork_button.click()
    assert "optimizer cannot change in a fork" in lab.messages.text
    assert lab.current is run


def test_edits_come_and_go_with_the_past(lab):
    lab.step()
    lab.edit(Edit("conv2", {"out_channels": 40}))
    lab.step()
    lab.stop()
    lab.rewind(0)
    assert lab.model.conv2.out_channels == 32
    assert not lab.edits
    lab.rewind()
    assert lab.model.conv2.out_channels == 40
    assert len(lab.edits) == 1
    fork = lab.fork(0, edit=Edit("fc1", {"out_features": 20}), wait=True)
    assert lab.model.conv2.out_channels == 32
    assert lab.model.fc1.out_features == 20
    assert fork.num_params < lab.runs[0].num_params


def test_no_memory_offers_half_the_batch_and_goes_on():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = lenet()

        def forward(self, x):
            if self.training and len(x) > 50:
                raise RuntimeError("CUDA error: out of memory")
            return self.inner(x)

    lab = Lab(Small(), "digits", SPEC)
    run = lab.run(wait=False).wait()
    assert run.state == "failed"
    assert "no memory for step 1" in lab.messages.text
    assert lab.messages.remedy.description == "Go on, 50 at a time"
    lab.messages.remedy.click()
    assert lab.current is not run
    assert lab.current.wait().state == "finished"
    assert lab.current.settings.micro_batch_size == 50
    lab.close()


# -- the Runs tab -----------------------------------------------------------------------------------------------------


def panels(lab):
    box = lab.tabs.show("Runs")
    table, sections = box.children
    return table, *sections.children


def test_the_table_marks_what_differs_and_takes_notes_ticks_and_removals(lab):
    table, *_ = panels(lab)
    assert "No runs yet" in table.line.value
    assert table.table.layout.display == table.chart.layout.display == "none"
    first = lab.run(wait=True)
    lab.set(lr=0.5)
    second = lab.run(wait=True)
    table.settle()
    lines = {line["name"]: line for line in table.table.lines}
    at = table.columns.index("lr")
    assert table.selected is second
    assert lines["run 1"]["cells"][at] == {"text": "0.05", "sort": 0.05, "differs": True, "was": "0.5"}
    assert not lines["run 2"]["cells"][at]["differs"]
    assert "momentum" not in table.columns  # the same in both
    assert table.line.value.startswith("Held against run 2: settings that differ from its own are marked.")
    assert table.table.layout.display is None
    assert table.chart.ghosts == ["run 1"]
    table.table._told(None, {"type": "select", "run": 0, "value": None}, None)
    assert table.selected is first
    assert table.chart.ghosts == ["run 2"]
    table.table._told(None, {"type": "shown", "run": 1, "value": False}, None)
    assert (table.chart.title, table.chart.ghosts) == ("run 1", [])
    table.table._told(None, {"type": "note", "run": 1, "value": "<b>too high"}, None)
    assert second.note == "<b>too high"
    for nonsense in ({"type": "remove", "run": 7, "value": None}, {"type": "note", "run": 1, "value": 3}, {}):
        table.table._told(None, nonsense, None)
    assert len(lab.runs) == 2
    table.table._told(None, {"type": "remove", "run": 0, "value": None}, None)
    assert list(lab.runs) == [second]
    assert [line["name"] for line in table.table.lines] == ["run 2"]


def test_more_curves_than_the_chart_holds_are_told(lab):
    table, *_ = panels(lab)
    for _ in range(MAX_GHOSTS + 3):
        lab.step()
        lab.stop()
    table._draw()
    assert "The chart has no room for 2 of the runs: untick some." in table.line.value
    table.table._told(None, {"type": "shown", "run": 0, "value": False}, None)
    table.table._told(None, {"type": "shown", "run": 1, "value": False}, None)
    assert "no room" not in table.line.value
    table.table._told(None, {"type": "shown", "run": MAX_GHOSTS + 2, "value": False}, None)
    assert table.chart.title == ""  # nothing is in front
    assert len(table.chart.ghosts) == MAX_GHOSTS


def test_a_run_that_is_on_cannot_be_removed(lab):
    table, *_ = panels(lab)
    lab.set(epochs=100_000)
    lab.run(wait=False)
    table.settle()
    table.refresh()
    table.settle()
    (line,) = table.table.lines
    assert not line["removable"]
    table.table._told(None, {"type": "remove", "run": 0, "value": None}, None)
    assert "cannot be removed. It is not over yet." in table._messages.text
    assert len(lab.runs) == 1


def test_ab_from_the_panel(lab):
    table, pairs, _ = panels(lab)
    before = weights(lab.model)
    pairs.setting.value, pairs.value.value, pairs.seeds.value = "momentum", "0.0", 2
    lab.set(epochs=1)
    assert "momentum 0.9. B: the same, but momentum 0.0. 4 trainings of 1 epochs" in pairs.about.value
    pairs.start_button.click()
    pairs.wait()
    assert "over 2 seeds" in pairs.line.value
    assert equal(weights(lab.model), before)
    table.settle()
    assert [line["name"] for line in table.table.lines] == ["A, seed 0", "B, seed 0", "A, seed 1", "B, seed 1"]
    assert "momentum" in table.columns
    for typed, match in [("", "B has no value"), ("0.9", "is 0.9 in A, too"), ("fast", "momentum must be")]:
        pairs.value.value = typed
        pairs.start_button.click()
        pairs.wait()
        assert match in pairs._messages.text
    pairs.value.value = "0.5"
    lab.set(epochs=100_000)
    pairs.start()
    with pytest.raises(RuntimeError, match="an A/B is running"):
        pairs.start()
    pairs.stop_button.click()
    pairs.wait()
    assert "No pair of runs" in pairs.line.value
    lab.run(wait=False)
    with pytest.raises(RuntimeError, match=r"stop it first: lab.stop\(\)"):
        pairs.start()


def test_keep_saves_exports_loads_and_goes_on(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, keep = panels(lab)
    keep.settle()
    keep.save_button.click()
    keep.settle()
    assert "there is no run yet" in keep._messages.text
    run = lab.run(wait=True)
    keep.save_button.click()
    keep.settle()
    assert (tmp_path / "runs" / "run-1.safetensors").exists()
    assert keep.resume_button.disabled  # it is whole
    keep.export_button.click()
    keep.settle()
    assert (tmp_path / "runs" / "run-1" / "epochs.csv").exists()
    end = weights(lab.model)
    lab.reset()
    keep.load_button.click()
    keep.settle()
    assert equal(weights(lab.model), end)
    assert lab.current.history.train_loss.tolist() == run.history.train_loss.tolist()


def test_a_bench_goes_on_with_what_another_kernel_left(tmp_path):
    killed = Run(lenet(), "digits", SPEC, name="run 1", autosave=tmp_path).step(40)
    lab = Lab(lenet(seed=5), "digits", SPEC, autosave=tmp_path)
    _, _, keep = panels(lab)
    keep.settle()
    assert "running, epoch" in keep.found.label
    keep.resume_button.click()
    keep.settle()
    whole = lab.current.wait()
    killed.resume().wait()
    assert whole.state == "finished", whole.traceback
    assert whole.history.train_loss.tolist() == killed.history.train_loss.tolist()
    assert whole.autosave.path == killed.autosave.path
    fork = lab.fork(15, lr=0.01, wait=True)
    assert fork.autosave.path in [one.path for one in saved_runs(tmp_path)]
    other = Lab(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits")
    loaded = other.load(killed.autosave.path)  # of another network: the bench takes it
    assert other.model is loaded.model
    assert equal(weights(other.model), weights(killed.model))
    assert other.tabs.show("Architecture").live.model is other.model
    model = other.model
    (tmp_path / "bad").write_bytes(b"no run")
    with pytest.raises(CheckpointError, match="cut off"):
        other.load(tmp_path / "bad")
    assert other.model is model
    lab.close()
    other.close()


def test_names_with_html_are_text_in_the_table(lab):
    run = lab.run(wait=True)
    run.name = "<img src=x onerror=alert(1)>"
    table, *_ = panels(lab)
    table.settle()
    assert json.loads(table.table.rows)[0]["name"] == run.name  # the page makes text nodes of it


def test_predictions_and_the_effective_field_follow_the_slider(lab):
    lab.step()
    at_first = lab.current.predictions()["probability"].tolist()
    field = lab.tabs.show("Receptive field")
    refreshed = []
    field.refresh = lambda: refreshed.append(lab.current.shown_step)
    lab.run(wait=True)
    at_last = lab.current.predictions()["probability"].tolist()
    lab.rewind(0)
    with torch.no_grad():
        start = lab.model.eval()(lab.data.valid.x).softmax(1).max(1).values
    assert lab.current.predictions()["probability"].tolist() == pytest.approx(start.tolist())
    assert at_first != at_last
    lab.rewind()
    assert lab.current.predictions()["probability"].tolist() == at_last
    assert refreshed == [0, None]
