"""The sweep panel without a browser: what is ticked is tried, what has come of it is shown, sent and opened."""

import shutil
import time

import pytest
import torch

from convlab.data import resolve
from convlab.net_spec import Block, NetSpec
from convlab.panels.lab import Lab
from convlab.panels.sweep import SweepPanel
from convlab.panels.sweep_pictures import curve_lines, importances, parallel, state_line, table
from convlab.panels.sweep_space import SpaceEditor
from convlab.search.attempts import Counts, Trial
from convlab.search.space import Space
from convlab.search.sweep import Sweep
from convlab.spec import TrainSpec

DIGITS = resolve("digits")
DATA = resolve(((DIGITS.train.x[:96], DIGITS.train.y[:96]), (DIGITS.valid.x[:40], DIGITS.valid.y[:40])))
NET = NetSpec((1, 8, 8), blocks=Block.ladder(4))
SPEC = TrainSpec(epochs=2, threads=1)
NAMES = ["lr", "batch_size", "optimizer", "schedule", "filters", "kernel_size", "dropout", "init"]


def test_what_is_ticked_and_dragged_is_the_space() -> None:
    seen = []
    editor = SpaceEditor(NAMES, lambda: seen.append(1))
    assert editor.space == {"lr": (0.001, 0.2, "log")}
    assert all(part.disabled for part in editor.rows["optimizer"].parts)
    for name in ("optimizer", "filters", "schedule", "dropout"):
        editor.rows[name].tried.value = True
    editor.rows["lr"].slider.value = (0.01, 0.1)
    editor.rows["filters"].slider.value = (16, 16)
    editor.rows["optimizer"].parts[1].value = True
    assert editor.space == {
        "lr": (0.01, 0.1, "log"),
        "optimizer": ["sgd", "adam", "adamw"],
        "dropout": (0.0, 0.5),
        "schedule": [None, "OneCycleLR"],
        "filters": [16],
    }
    assert len(seen) >= 7
    other = SpaceEditor(NAMES, lambda: None)
    other.show(Space.of(editor.space).to_plain())
    assert {**other.space, "filters": [16]} == editor.space
    editor.lock(True)
    assert all(part.disabled for row in editor.rows.values() for part in (row.tried, *row.parts))
    editor.lock(False)
    assert not editor.rows["optimizer"].parts[0].disabled
    assert editor.rows["init"].parts[0].disabled


class Bench:
    """What the panel stands on."""

    def __init__(self, directory) -> None:
        self.sent, self.opened = [], []
        self.panel = SweepPanel(
            lambda: NET,
            DATA,
            lambda: SPEC,
            lambda sweep, trial: self.sent.append((sweep.spec(trial), sweep.net(trial))),
            lambda sweep, trial: self.opened.append(sweep.load(trial)),
            directory=str(directory),
        )


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "sweep")
    yield made
    if made.panel.sweep is not None:
        made.panel.sweep.stop()
        made.panel.sweep.wait(30)
    made.panel.close()


def _until(panel, happened) -> None:
    last = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < last, (panel.line.value, panel._messages.text)
        time.sleep(0.1)


@pytest.mark.slow
def test_a_sweep_from_the_tick_to_the_bench(bench) -> None:
    panel = bench.panel
    assert "Will try lr; every other setting" in panel.line.value
    panel.editor.rows["filters"].tried.value = True
    assert "Will try lr, filters" in panel.line.value
    panel.trials.value = 500
    panel.pruner.value = "none"
    assert panel.pause_button.disabled
    assert panel.send_button.disabled
    panel.start_button.click()
    panel.settle()
    assert "running: 0 of 500 trials" in panel.line.value
    assert panel.start_button.disabled
    assert panel.editor.rows["lr"].slider.disabled
    sweep = panel.sweep
    assert sweep is not None
    _until(panel, lambda: panel.chosen.value is not None)
    panel.pause_button.click()
    panel.settle()
    assert "paused: " in panel.line.value
    assert panel.pause_button.description == "Resume"
    panel.pause_button.click()
    panel.settle()
    assert "running: " in panel.line.value
    panel.stop_button.click()
    panel.settle()
    assert "stopped: " in panel.line.value
    assert not panel.start_button.disabled
    _until(panel, lambda: not sweep.workers)
    done = max(2, sweep.counts.trained) + 1
    sweep.run(done, workers=0)
    panel.refresh()
    panel.settle()
    assert f"finished: {done} of {done} trials" in panel.line.value
    assert [*sweep.space.entries] == ["lr", "filters"]
    assert len(panel.curves.lines) == min(12, done)
    assert panel.curves.lines[0].name == f"{sweep.best.number}, best"
    assert panel.lines.value.count("<polyline") == done
    assert panel.best.value.count("<tr>") == min(10, done) + 1
    assert not panel.start_button.disabled
    panel.send_button.click()
    panel.settle()
    assert bench.sent == [(sweep.spec(sweep.best), sweep.net(sweep.best))]
    panel.chosen.value = 2
    panel.open_button.click()
    panel.settle()
    assert [run.name for run in bench.opened] == ["trial 2"]
    # Another panel finds it in the directory.
    other = Bench(sweep.directory.path)
    other.panel.settle()
    assert f"finished: {done} of {done} trials" in other.panel.line.value
    assert other.panel.editor.rows["filters"].tried.value
    assert other.panel.pruner.value == "none"
    other.panel.editor.rows["filters"].tried.value = False
    other.panel.start_button.click()
    other.panel.settle()
    assert "holds another sweep, whose space is" in other.panel._messages.text
    assert f"finished: {done} of {done}" in other.panel.line.value
    other.panel.close()


def test_what_cannot_be_is_said(bench, tmp_path) -> None:
    panel = bench.panel
    panel.editor.rows["lr"].tried.value = False
    panel.start_button.click()
    panel.settle()
    assert "space must be a dict of what to try" in panel._messages.text
    assert not panel.start_button.disabled
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "sweep.json").write_text("[]")
    panel.directory.value = str(folder)
    panel.settle()
    assert "is not the record of a sweep" in panel._messages.text
    shutil.rmtree(folder)


def _trial(number, state="finished", losses=(0.5, 0.4), **values) -> Trial:
    value = min(losses, default=None)
    return Trial(number, number, state, values, value, dict(enumerate(losses, 1)), 0.9, 1.0, 0, "")


def test_texts_from_people_are_escaped_and_curves_are_few() -> None:
    evil = "<img src=x onerror=alert(1)>"
    entries = Space.of({evil: [evil, "b"]}).entries
    trials = [_trial(number, **{evil: evil}) for number in range(30)]
    trials += [_trial(30, "running", (0.9,), **{evil: "b"}), _trial(31, "pruned", (), **{evil: "b"})]
    for text in (table(trials, [evil]), parallel(trials, entries), importances({evil: 1.0})):
        assert "<img" not in text
        assert "&lt;img" in text
    lines = curve_lines(trials)
    assert len(lines) == 12
    assert [line.name for line in lines[:2]] == ["0, best", "30, running"]
    assert (table([], []), parallel([], entries), importances({})) == ("", "", "")


def test_the_line() -> None:
    counts = Counts(finished=3, pruned=2, skipped=1, running=1)
    best = _trial(7, losses=(0.08123,))
    assert state_line("running", counts, 20, best, 34.2) == (
        "running: 5 of 20 trials, 2 pruned, 1 skipped, best 0.08123 (trial 7), about 34 s left."
    )
    assert state_line("finished", Counts(finished=1), None, None, 0.0) == "finished: 1 trials."


def test_the_bench_takes_a_trials_settings_its_network_and_its_run(tmp_path) -> None:
    lab = Lab(NET, DATA, SPEC)
    lab.sweep_directory = str(tmp_path / "sweep")
    space = {"lr": (0.01, 0.1, "log"), "optimizer": ["adamw"], "filters": (5, 8)}
    sweep = Sweep(NET, DATA, SPEC, space, directory=tmp_path / "sweep", pruner="none").run(2, workers=0)
    panel = lab.tabs.show("Sweep")
    panel.settle()
    assert "finished: 2 of 2" in panel.line.value
    panel.send_button.click()
    panel.settle()
    best = sweep.best
    assert lab.messages.text.startswith(f"The network and the settings of trial {best.number} are on the bench")
    assert lab.spec == sweep.spec(best)
    assert lab.net == sweep.net(best)
    run = lab.run(wait=True)
    assert run.best.valid_loss == pytest.approx(best.value)
    panel = lab.tabs.show("Sweep")  # another network has new panels
    panel.settle()
    panel.chosen.value = best.number
    panel.open_button.click()
    panel.settle()
    assert lab.messages.text.startswith(f"The run of trial {best.number} is on the bench")
    assert lab.tabs.is_shown("Training")
    assert lab.current.name == f"trial {best.number}"
    kept = sweep.load(best).model.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in lab.model.state_dict().items())
    lab.close()
