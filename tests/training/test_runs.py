"""Runs side by side, exported, and in pairs."""

import json
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rewind import droppy
from textbook import same, some_digits, state_of
from torch import nn

from convlab.limits import SpecError
from convlab.models.live import Edit
from convlab.net_spec import Block, NetSpec
from convlab.spec import TrainSpec
from convlab.training.ab import ABResult, ab
from convlab.training.fit import fit
from convlab.training.run import Run
from convlab.training.runs import Runs, differences

DATA = some_digits(200)
SPEC = TrainSpec(epochs=2, batch_size=24, lr=0.01)


def test_the_table_has_a_row_for_each_run_whatever_it_is_doing(tmp_path):
    first = fit(droppy(), DATA, SPEC)
    first.name, first.note = "first", 'a, "b"'
    fork = first.fork(9, lr=0.1).start().wait()
    failed = Run(droppy(), DATA, SPEC, criterion=lambda output, target: output.sum() * math.nan, name="nan")
    failed.start().wait()
    runs = Runs([first, fork, failed, Run(droppy(), DATA, SPEC, name="to come")])
    table = runs.to_dataframe()
    assert table["state"].tolist() == ["finished", "finished", "failed", "pending"]
    last = first.history.epochs[-1]
    assert table.loc[0, "valid_loss"] == last.valid_loss
    assert table.loc[0, "best_valid_loss"] == min(one.valid_loss for one in first.history.epochs)
    assert table.loc[0, "params"] == sum(param.numel() for param in first.model.parameters())
    assert table.loc[1, "parent"] == "first, step 9"
    assert table.loc[1, "changes"] == "step 9: lr 0.01 → 0.1"
    assert table.loc[3, "epochs_done"] == 0
    runs.to_csv(tmp_path / "runs.csv")
    assert pd.read_csv(tmp_path / "runs.csv").loc[0, "note"] == 'a, "b"'
    assert set(differences(fork, first)) == {"changes", "parent"}
    assert differences(Run(droppy(), DATA, SPEC.replace(lr=1)), first)["lr"] == (0.01, 1.0)
    assert runs.named("nan") is failed
    with pytest.raises(LookupError, match="no run is called 'x'; there are 'first'"):
        runs.named("x")


def test_what_is_exported_is_what_the_run_has(tmp_path):
    run = Run(droppy(), DATA, SPEC, name="a/b").step(5)
    run.set(lr=0.02)
    run.resume().wait()
    end, model = state_of(run.model), run.model
    fork = run.fork(0, lr=0.5).start().wait()  # trains the same model on
    after = state_of(model)
    files = run.export(tmp_path / "out", "csv", "json", "weights", "predictions", "png", "svg", "pdf", "tensorboard")
    assert same(state_of(model), after)
    assert all(path.stat().st_size for path in files)
    home = tmp_path / "out"
    assert pd.read_csv(home / "steps.csv")["train_loss"].tolist() == run.history.train_loss.tolist()
    assert pd.read_csv(home / "epochs.csv")["valid_loss"].tolist() == [one.valid_loss for one in run.history.epochs]
    assert pd.read_csv(home / "changes.csv").loc[0].tolist() == [5, "lr", 0.01, 0.02]
    assert TrainSpec.from_json(json.dumps(json.loads((home / "run.json").read_text())["spec"])) == run.spec
    model.load_state_dict(safetensors.torch.load_file(home / "weights.safetensors"))
    assert same(state_of(model), end)
    table = pd.read_csv(home / "predictions.csv")
    model.eval()
    with torch.no_grad():
        output = model(DATA.valid.x)
    assert (table["predicted"].to_numpy() == output.argmax(1).numpy()).all()
    assert table["is_right"].mean() == run.history.epochs[-1].valid_accuracy
    assert (home / "curve.pdf").read_bytes()[:4] == b"%PDF"
    assert fork.predictions(DATA.valid.x[:3]).shape == (3, 2)
    with pytest.raises(SpecError, match="kind must be one of csv"):
        run.export(tmp_path, "xls")


def test_tensorboard_reads_the_curve_with_its_own_reader(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit(droppy(), DATA, SPEC)
    run.name = "../run"
    (path,) = run.export(tmp_path, "tensorboard")
    assert path.is_relative_to(tmp_path)
    events = EventAccumulator(str(path.parent)).Reload()
    assert [one.step for one in events.Scalars("loss/train")] == list(range(1, 19))
    assert np.allclose([one.value for one in events.Scalars("loss/train")], run.history.train_loss)
    assert len(events.Scalars("loss/validation")) == 2


def test_predictions_of_numbers_and_of_a_run_that_trains():
    x, y = torch.randn(60, 1, 8, 8), torch.randn(60)
    run = fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), (x, y), SPEC)
    assert list(run.predictions().columns) == ["output", "target"]
    run = Run(droppy(), DATA, SPEC.replace(epochs=100_000)).start()
    with pytest.raises(RuntimeError, match=r"run.pause\(\)"):
        run.predictions()
    run.stop()


def test_the_two_sides_differ_in_nothing_else():
    model = droppy()
    before = state_of(model)
    seen = []
    result = ab(model, DATA, SPEC, seeds=2, lr=0.01, on_run=lambda run: seen.append(run.name), momentum=0.5)
    assert same(before, state_of(model))
    assert seen == ["A, seed 0", "B, seed 0", "A, seed 1", "B, seed 1"]
    assert result.a[0].history.train_loss[0] == result.b[0].history.train_loss[0]  # one batch, one set of weights
    assert (
        result.a[1].history.train_loss.tolist() == fit(droppy(), DATA, SPEC.replace(seed=1)).history.train_loss.tolist()
    )
    table = result.to_dataframe()
    assert table[["side", "seed"]].to_numpy().tolist() == [["A", 0], ["A", 1], ["B", 0], ["B", 1]]
    same_again = ab(model, DATA, SPEC, seeds=2, label_smoothing=0.0)
    assert same_again.differences() == [0.0, 0.0]
    assert "no evidence of an effect" in same_again.verdict()
    assert isinstance(result.plot(), matplotlib.axes.Axes)


def test_networks_made_from_a_seed_and_edits():
    net = NetSpec(blocks=Block.ladder(4), input_size=(1, 8, 8))
    result = ab(net, DATA, SPEC.replace(epochs=1), seeds=2, edit=Edit("conv1", {"out_channels": 8}))
    assert result.difference == "conv1: out_channels=8"
    assert [run.num_params for run in (*result.a, *result.b)] == [result.a[0].num_params] * 2 + [
        result.b[0].num_params
    ] * 2
    assert result.b[0].num_params > result.a[0].num_params
    weights = [run.snapshots[0].state.structure.weights.tensors[0][1] for run in result.a]
    assert not torch.equal(*weights)


def test_it_can_be_stopped_between_runs_and_in_one():
    asked = []
    result = ab(droppy(), DATA, SPEC, seeds=3, lr=0.1, go_on=lambda: asked.append(0) or len(asked) < 7)
    assert (result.whole, result.seeds, len(result.a)) == (False, (0,), 1)
    assert "one seed: it may be noise" in result.verdict()
    stopped = ab(droppy(), DATA, SPEC, lr=0.1, on_run=lambda run: run.watch(lambda r: r.stop(wait=False)))
    assert (stopped.whole, stopped.seeds) == (False, ())
    assert stopped.verdict() == "No pair of runs was trained to its end."


def test_it_can_be_stopped_in_the_moment_before_a_run():
    told = []
    stopped = ab(droppy(), DATA, SPEC, lr=0.1, on_run=lambda run: told.append(run.stop()))
    assert (stopped.whole, stopped.seeds) == (False, ())
    # Whoever is told of the run may say no more than that nothing shall go on.
    stopped = ab(droppy(), DATA, SPEC, lr=0.1, on_run=told.append, go_on=lambda: len(told) < 2)
    assert (stopped.whole, stopped.seeds) == (False, ())
    assert [(run.state, run.history.num_steps) for run in told] == [("stopped", 0)] * 2


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(SpecError, match="nothing differs"):
        ab(droppy(), DATA, SPEC)
    with pytest.raises(SpecError, match="seeds must be"):
        ab(droppy(), DATA, SPEC, seeds=0, lr=1)
    with pytest.raises(SpecError, match="lrr"):
        ab(droppy(), DATA, SPEC, lrr=1)
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, a NetSpec or a function"):
        ab("lenet", DATA, SPEC, lr=0.1)
    with pytest.raises(SpecError, match="metric must be"):
        ab(droppy(), DATA, SPEC, lr=0.1).differences("f1")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.floats(-3, 3))
def test_the_interval_is_students(found, shift):
    from scipy import stats

    values = [one + shift for one in found]
    result = ABResult("x", Runs(), Runs(), (), True)
    object.__setattr__(result, "differences", lambda metric="valid_loss": values)
    low, high = result.interval()
    if np.std(values) > 1e-9:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert np.allclose((low, high), expected, rtol=1e-6, atol=1e-9)
    else:
        assert math.isclose(low, values[0], abs_tol=1e-6)
