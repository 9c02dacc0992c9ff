"""A sweep in this process: what is counted, what is kept, and that its trials are what `fit` does."""

import json
import math

import pytest
import torch
from sweep_nets import fails, little, refuses_odd, takes_no_pictures
from torch import nn

import convlab
from convlab.net_spec import Block, NetSpec
from convlab.search.directory import SweepError
from convlab.search.sweep import Sweep
from convlab.search.worker import MOST_FAILED, MOST_SKIPPED
from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit

X = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = ((X[:64], torch.arange(64) % 10), (X[64:], torch.arange(32) % 10))
NET = NetSpec((1, 8, 8), blocks=Block.ladder(4))
SPEC = TrainSpec(epochs=2, threads=1)


def _sweep(path, model=NET, spec=SPEC, space=None, data=DATA, **more) -> Sweep:
    return Sweep(model, data, spec, space or {"lr": (1e-3, 0.1, "log")}, directory=path / "sweep", **more)


def test_a_trial_is_the_training_that_fit_does(tmp_path) -> None:
    space = {"lr": (0.001, 0.1, "log"), "optimizer": ["sgd", "adamw"], "filters": (2, 6), "schedule": ["OneCycleLR"]}
    sweep = _sweep(tmp_path, space=space, pruner="none").run(trials=3, workers=0)
    for trial in sweep.trials:
        net = sweep.net(trial)
        assert net is not None
        run = fit(convlab.build(net, SPEC.seed), DATA, sweep.spec(trial))
        assert list(trial.losses.values()) == [one.valid_loss for one in run.history.epochs]
        assert trial.value == min(trial.losses.values())
        kept = sweep.load(trial)
        assert kept.history.train_loss.tolist() == run.history.train_loss.tolist()
        assert all(torch.equal(a, b) for a, b in zip(kept.model.parameters(), run.model.parameters(), strict=True))
    assert sweep.best.value == min(trial.value for trial in sweep.trials)
    assert sweep.study.best_trial.number == sweep.best.number


def test_the_budget_is_the_total_and_is_met_exactly(tmp_path) -> None:
    sweep = _sweep(tmp_path)
    assert repr(sweep) == "Sweep(pending: 0 of 0 trials)"
    assert repr(sweep.run(trials=3, workers=0)) == "Sweep(finished: 3 of 3 trials)"
    sweep.run(trials=3, workers=0)
    again = _sweep(tmp_path).run(trials=5, workers=0)
    assert again.counts.trained == len(again.study.trials) == 5
    values = [one.values["lr"] for one in again.trials]
    assert len(set(values)) == 5
    opened = Sweep.open(tmp_path / "sweep")
    assert [one.value for one in opened.trials] == [one.value for one in again.trials]
    assert opened.state == "finished"
    assert opened.run(trials=6, workers=0).counts.trained == 6


@pytest.mark.parametrize(("space", "changed"), [({"lr": [0.1]}, {}), (None, {"seed": 1}), (None, {"pruner": "none"})])
def test_another_sweep_is_not_mixed_into_a_directory(tmp_path, space, changed) -> None:
    _sweep(tmp_path)
    with pytest.raises(
        SweepError, match=r"holds another sweep, whose (space|seed|pruner) is .* try directory='.*sweep-2'"
    ):
        _sweep(tmp_path, space=space, **changed)


def test_a_grid_runs_each_combination_once(tmp_path) -> None:
    space = {"optimizer": ["sgd", "adam"], "filters": (2, 4)}
    sweep = _sweep(tmp_path, space=space, sampler="grid").run(workers=0)
    assert {(one.values["optimizer"], one.values["filters"]) for one in sweep.trials} == {
        (a, b) for a in ("sgd", "adam") for b in (2, 3, 4)
    }
    assert len(sweep.run(workers=0).study.trials) == sweep.counts.trained == 6
    assert sweep.state == "finished"
    with pytest.raises(ValueError, match="all of its 6 combinations, got trials=4"):
        sweep.run(trials=4)


def test_impossible_combinations_are_skipped_and_counted(tmp_path) -> None:
    sweep = _sweep(tmp_path, refuses_odd, space={"width": (1, 8)}, sampler="random").run(trials=4, workers=0)
    counts = sweep.counts
    assert counts.trained == counts.finished + counts.pruned == 4
    assert counts.skipped > 0
    assert counts.failed == 0
    for one in sweep.trials:
        assert (one.state == "skipped") == bool(one.values["width"] % 2)
        assert ("width must be even" in one.reason) == (one.state == "skipped")
    assert f"{counts.skipped} skipped" in repr(sweep)


def test_a_space_of_impossible_combinations_ends_with_the_reason(tmp_path) -> None:
    sweep = _sweep(tmp_path, takes_no_pictures, space={"width": (1, 8)}).run(trials=4, workers=0)
    assert sweep.counts.skipped == MOST_SKIPPED
    with pytest.raises(
        SweepError, match=f"all {MOST_SKIPPED} combinations .* impossible, the last because mat1 and mat2"
    ):
        sweep.wait()


def test_a_sweep_whose_trials_all_fail_ends_with_the_reason(tmp_path, capsys) -> None:
    sweep = _sweep(tmp_path, fails, space={"width": (1, 8)}).run(trials=20, workers=0)
    assert sweep.counts.failed == MOST_FAILED
    with pytest.raises(SweepError, match=f"all {MOST_FAILED} trials have failed, the last with OSError: no weights"):
        sweep.wait()
    assert "Traceback" in capsys.readouterr().err
    assert sweep.run(trials=20, workers=0).counts.failed == 2 * MOST_FAILED


def test_a_loss_that_is_not_finite_is_no_result(tmp_path) -> None:
    space = {"lr": [1e-3, 1e3]}
    sweep = _sweep(tmp_path, spec=SPEC.replace(epochs=4), space=space, sampler="grid", pruner="none").run(workers=0)
    states = {one.values["lr"]: one.state for one in sweep.trials}
    assert states == {1e-3: "finished", 1e3: "diverged"}
    assert sweep.counts.diverged == 1
    assert sweep.best.values == {"lr": 1e-3}
    assert all(math.isfinite(loss) for one in sweep.trials for loss in one.losses.values())


def test_an_infinite_validation_loss_is_no_result(tmp_path) -> None:
    far = ((X[:64], torch.arange(64) % 10), (X[64:] * 5e37, torch.arange(32) % 10))
    sweep = _sweep(tmp_path, data=far, space={"lr": [0.01]}, sampler="grid").run(workers=0)
    assert sweep.counts.diverged == 1
    assert sweep.best is None


@pytest.mark.slow
def test_hopeless_trials_are_ended_early(tmp_path) -> None:
    spec = SPEC.replace(epochs=4)
    sweep = _sweep(tmp_path, data="digits", spec=spec, space={"lr": (1e-5, 0.2, "log")}).run(trials=12, workers=0)
    assert sweep.counts.pruned > 0
    assert sweep.counts.trained == 12
    for one in sweep.trials:
        assert (len(one.losses) < 4) == (one.state == "pruned")
    ended = next(one for one in sweep.trials if one.state == "pruned")
    history = sweep.load(ended).history
    assert history.num_epochs == len(ended.losses)
    assert history.num_steps == 45 * len(ended.losses)


def test_time_is_a_budget(tmp_path) -> None:
    sweep = _sweep(tmp_path).run(minutes=1 / 60, workers=0)
    assert sweep.counts.trained >= 1
    assert sweep.state == "finished"
    assert sweep.total is None


def test_a_module_is_trained_as_a_copy(tmp_path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = [param.clone() for param in model.parameters()]
    sweep = _sweep(tmp_path, model, space={"lr": [0.01, 0.1]}, sampler="grid").run(workers=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    start = sweep.load(0).restore("start").model
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), before, strict=True))


def test_settings_of_a_function_are_its_arguments(tmp_path) -> None:
    sweep = _sweep(tmp_path, little, space={"width": [2, 3]}, sampler="grid").run(workers=0)
    assert [sweep.load(one).model[0].out_channels for one in sweep.trials] == [2, 3]
    with pytest.raises(SpecError, match="has no argument 'kernel_size'"):
        _sweep(tmp_path / "other", little, space={"kernel_size": [3]})


def test_what_is_opened_is_not_unpickled(tmp_path) -> None:
    _sweep(tmp_path, little, space={"width": [2, 3]}, sampler="grid").run(workers=0)
    opened = Sweep.open(tmp_path / "sweep")
    assert opened.counts.finished == 2
    for act in (opened.run, lambda: opened.recipe):
        with pytest.raises(SweepError, match="would have to be unpickled, which runs code; hand over your own"):
            act()


def test_a_pickle_that_was_put_there_is_not_opened(tmp_path) -> None:
    sweep = _sweep(tmp_path, little, space={"width": [2, 3]}, sampler="grid")
    (pickle,) = (tmp_path / "sweep").glob("given-*.pkl")
    pickle.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(SweepError, match="is not the one that was written"):
        sweep.directory.recipe(sweep._trusted)


def test_the_manifest_is_strict_json_and_its_damage_is_told(tmp_path) -> None:
    sweep = _sweep(tmp_path)
    path = sweep.directory.path / "sweep.json"
    told = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert NetSpec.from_dict(told["model"]["net"]) == NET
    assert TrainSpec.from_dict(told["spec"]) == SPEC
    for text, message in [("{", "cannot be read"), ("[]", "not the record"), ('{"format": 1}', "not the record")]:
        path.write_text(text)
        with pytest.raises(SweepError, match=message):
            Sweep.open(sweep.directory.path)
    path.write_text(json.dumps({**told, "version": 99}))
    with pytest.raises(SweepError, match="later version"):
        Sweep.open(sweep.directory.path)
    with pytest.raises(SweepError, match="there is no sweep in"):
        Sweep.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "trials must be a whole number of at least 1, got 0"),
        ({"minutes": 0}, "minutes must be above 0"),
        ({"trials": 2, "workers": -1}, "workers must be a whole number"),
        ({}, "needs a budget; try sweep.run"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(tmp_path, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        _sweep(tmp_path).run(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "bayes"}, "sampler must be one of tpe, random, grid"),
        ({"pruner": "asha"}, "pruner must be one of"),
        ({"storage": "mysql://host/db"}, "storage must name a PostgreSQL database"),
        ({"storage": "postgresql+psycopg://me:secret@host/db"}, "storage holds a password"),
    ],
)
def test_arguments_that_cannot_be_are_refused(tmp_path, given, message) -> None:
    with pytest.raises(SpecError, match=message):
        _sweep(tmp_path, **given)
    assert not (tmp_path / "sweep").exists()


def test_the_table_the_importances_and_the_plot(tmp_path) -> None:
    space = {"lr": (1e-4, 0.2, "log"), "filters": [[2], [4]]}
    sweep = _sweep(tmp_path, data="digits", space=space, sampler="random", pruner="none")
    assert sweep.importances() == {}
    assert sweep.plot().axes[0].get_ylabel() == "validation loss"
    sweep.run(trials=8, workers=0)
    table = sweep.to_dataframe()
    assert list(table.columns[-2:]) == ["lr", "filters"]
    assert table["epochs"].tolist() == [2] * 8
    shares = sweep.importances()
    assert next(iter(shares)) == "lr"
    assert sum(shares.values()) == pytest.approx(1)
    curves, lines, bars = sweep.plot().axes
    assert len([line for line in curves.lines if len(line.get_xdata()) == 2]) == 8
    assert [label.get_text() for label in lines.get_xticklabels()] == ["lr", "filters", "loss"]
    assert len(bars.patches) == 2
