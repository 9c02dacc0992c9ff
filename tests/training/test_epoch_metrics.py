"""The scores of a run's epochs: the same as of an evaluation, at no cost to the curve, whatever a person's own do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rewind import droppy
from textbook import same, some_digits, state_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.spec import TrainSpec
from convlab.training.epoch_metrics import EpochScores, Outputs, Scoring
from convlab.training.evaluate import evaluate
from convlab.training.fit import fit
from convlab.training.history import EPOCH_ROWS
from convlab.training.metrics import score
from convlab.training.run import Run

DATA = some_digits(200)
SPEC = TrainSpec(epochs=4, batch_size=25, lr=0.01)


def torch_rand(_, __):
    return torch.rand(())


def test_each_epoch_has_the_scores_of_an_evaluation_and_predictions_only_where_they_serve():
    run = fit(droppy(), DATA, SPEC)
    found, records = run.metrics, run.history.epochs
    assert [one.epoch for one in found] == [1, 2, 3, 4]
    assert [one.step for one in found] == [record.step for record in records]
    assert [one.scores["accuracy"] for one in found] == [record.valid_accuracy for record in records]
    now = evaluate(run)
    assert found[-1].scores == now.scores
    assert found[-1].metrics.confusion.tolist() == now.confusion.tolist()
    assert found[-1].metrics.predicted.tolist() == now.predicted.tolist()
    assert found.best.epoch == run.history.best().epoch
    kept = [one.epoch for one in found if one.metrics.predicted is not None]
    assert kept == sorted({found.best.epoch, 4})
    with pytest.raises(LookupError, match="not kept"):
        next(one for one in found if one.epoch not in kept).metrics.taken_for(0, 1)
    assert found.at(records[1].step).epoch == found.at(records[2].step - 1).epoch == 2
    assert found.at(0) is None


def test_being_scored_changes_no_bit():
    plain = fit(droppy(), DATA, SPEC)
    own = {"breaks": lambda o, y: 1 / 0, "writes": lambda o, y: o.zero_().sum() + y.zero_().sum()}
    watched = Run(droppy(), DATA, SPEC, metrics=own)
    watched.watch(lambda run: run.metrics[:])
    watched.start().wait()
    assert watched.history.train_loss.tolist() == plain.history.train_loss.tolist()
    assert [one.valid_loss for one in watched.history.epochs] == [one.valid_loss for one in plain.history.epochs]
    assert same(state_of(watched.model), state_of(plain.model))
    assert watched.metrics[-1].scores["f1"] == plain.metrics[-1].scores["f1"]
    assert watched.metrics[-1].metrics.targets.tolist() == plain.metrics[-1].metrics.targets.tolist()


def test_own_scores_and_one_that_raises_harms_nothing():
    run = fit(
        droppy(),
        DATA,
        SPEC,
        metrics={"sum": lambda o, y: o.sum(), "bad": lambda o, y: {}["x"], "n": lambda o, y: len(y)},
    )
    last = run.metrics[-1]
    assert run.state == "finished"
    assert last.scores["n"] == last.count == last.total == 100
    assert "bad" not in last.scores
    assert last.note == "Bad raised KeyError: 'x'."
    table = run.history.to_dataframe("epoch")
    assert table["valid_sum"].tolist() == [one.scores["sum"] for one in run.metrics]
    assert list(table.columns).count("valid_accuracy") == 1
    assert table["valid_accuracy"].tolist() == [one.valid_accuracy for one in run.history.epochs]


@pytest.mark.parametrize(
    ("metrics", "match"), [([torch_rand], "metrics must be functions by name"), ({"mine": 3}, r"metrics\['mine'\]")]
)
def test_what_is_no_score_is_refused(metrics, match):
    with pytest.raises(TypeError, match=match):
        Run(droppy(), DATA, SPEC, metrics=metrics)


def test_forks_and_files_keep_the_scores(tmp_path):
    run = fit(droppy(), DATA, SPEC, metrics={"n": lambda o, y: len(y)})
    step = run.history.epochs[1].step
    fork = run.fork(step + 2)
    assert [one.epoch for one in fork.metrics] == [1]  # a snapshot of an epoch is from before its validation
    fork.start().wait()
    assert [one.scores for one in fork.metrics] == [one.scores for one in run.metrics]
    path = tmp_path / "run.safetensors"
    run.save(path)
    loaded = Run.load(path, model=droppy(), data=DATA)
    assert [one.scores for one in loaded.metrics] == [one.scores for one in run.metrics]
    assert loaded.metrics.best.epoch == run.metrics.best.epoch
    assert loaded.metrics[-1].metrics is None
    autosaved = Run(droppy(), DATA, SPEC, autosave=tmp_path / "kept", name="kept").start().wait()
    again = Run.load(next((tmp_path / "kept").glob("*.safetensors")), model=droppy(), data=DATA)
    assert [one.scores for one in again.metrics] == [one.scores for one in autosaved.metrics]


def test_a_loaded_run_goes_on_and_scores_its_further_epochs(tmp_path):
    run = Run(droppy(), DATA, SPEC).step(9)
    run.save(tmp_path / "half.safetensors")
    loaded = Run.load(tmp_path / "half.safetensors", model=droppy(), data=DATA).start().wait()
    run.resume().wait()
    assert [one.scores for one in loaded.metrics] == [one.scores for one in run.metrics]


def test_numbers_one_output_no_validation_loaders_and_classes_that_are_missing():
    x, y = torch.randn(60, 1, 4, 4), torch.randn(60)
    flat = lambda width: nn.Sequential(nn.Flatten(), nn.Linear(16, width))  # noqa: E731
    spec = SPEC.replace(epochs=1)
    numbers = fit(flat(1), ((x, y), (x, y)), spec).metrics[-1]
    assert set(numbers.scores) == {"mae", "rmse", "r2"}
    assert numbers.metrics.task == "numbers"
    two = (y > 0).long()

    def one_logit(output, target):
        return nn.functional.binary_cross_entropy_with_logits(output[:, 0], target.float())

    one = fit(flat(1), ((x, two), (x, two)), spec, criterion=one_logit).metrics[-1]
    assert one.metrics.task == "two classes"
    assert one.metrics.confusion.sum() == 60
    three = torch.arange(60) % 3
    zeros = fit(flat(3), ((x, three), (x[three == 0], three[three == 0])), spec).metrics[-1]
    assert zeros.metrics.per_class[:, 3].tolist() == [20, 0, 0]
    assert math.isnan(zeros.scores["roc_auc"])
    loader = DataLoader(TensorDataset(x, three), batch_size=7)
    assert fit(flat(3), (loader, loader), spec).metrics[-1].count == 60
    assert len(fit(flat(3), DataLoader(TensorDataset(x, three), batch_size=7), spec).metrics) == 0


def test_outputs_that_cannot_be_scored_say_why():
    scoring = Scoring(("a", "b"), {"n": lambda o, y: len(o)})
    nan = scoring(1, 2, torch.full((3, 2), math.nan), torch.tensor([0, 1, 1]), 3)
    assert "NaN" in nan.note
    assert nan.metrics is None
    assert nan.scores == {"n": 3}
    dense = scoring(1, 2, torch.zeros(3, 2, 4, 4), torch.zeros(3, 4, 4).long(), 3)
    assert "no logits for 2 classes" in dense.note
    kept = Outputs()
    kept.add((torch.zeros(2, 2),), torch.tensor([0, 1]))
    assert kept.total == 2
    assert "no tensors" in scoring(1, 2, *kept.joined(), kept.total).note


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 40), st.integers(1, 40))
def test_only_so_much_is_kept_and_that_is_said(sizes, most_values, most_samples):
    kept = Outputs(most_values, most_samples)
    logits = torch.randn(sum(sizes), 3)
    for part in logits.split(sizes) if sizes else ():
        kept.add(part, torch.zeros(len(part)).long())
    outputs, targets = kept.joined()
    room = min(most_samples, most_values // 3, sum(sizes))
    assert kept.total == sum(sizes)
    assert len(outputs) == len(targets) == kept.count == room
    assert outputs.flatten().tolist() == logits[:room].flatten().tolist()
    if 0 < room < sum(sizes):
        found = Scoring(("a", "b", "c"))(1, 1, outputs, targets, kept.total)
        assert found.note == f"Scored on the first {room:,} of {sum(sizes):,} samples."


def test_a_very_long_run_stays_in_bounds():
    scores, scoring = EpochScores(kept_bytes=100_000), Scoring(("a", "b"))
    for epoch in range(1, EPOCH_ROWS + 10):
        kept = Outputs()
        kept.add(torch.randn(20, 2), torch.arange(20) % 2)
        scores.add(epoch, epoch, kept, scoring, is_best=epoch == 5)
        assert sum(one.num_bytes for one in scores._epochs) <= 100_000
    assert len(scores) <= EPOCH_ROWS
    assert scores.best.epoch == 5
    assert scores[-1].epoch == EPOCH_ROWS + 9
    assert scores[-1].metrics.predicted is not None


def test_a_score_is_of_the_outputs_then_not_now():
    kept, logits = Outputs(), torch.eye(3)
    kept.add(logits, torch.arange(3))
    scores = EpochScores()
    scores.add(1, 1, kept, Scoring(("a", "b", "c")), is_best=True)
    logits.zero_()
    assert scores[0].scores == score(torch.eye(3), torch.arange(3), ("a", "b", "c")).scores
