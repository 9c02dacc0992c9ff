"""Scores against scikit-learn's and against sums by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from test_rewind import droppy
from textbook import same, some_digits, state_of
from torch import nn

from convlab.spec import TrainSpec
from convlab.training.evaluate import evaluate
from convlab.training.fit import fit
from convlab.training.metrics import score
from convlab.training.run import Run

DATA = some_digits(200)
SPEC = TrainSpec(epochs=3, batch_size=25, lr=0.01)


def test_by_hand():
    logits = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 4, 0], [0, 0, 4]])
    found = score(logits, torch.tensor([0, 0, 1, 1]), ("a", "b", "c"))
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert found.per_class[:, 3].tolist() == [2, 2, 0]
    assert found.per_class[0, :3].tolist() == pytest.approx([1, 0.5, 2 / 3])
    assert found.per_class[2, :3].tolist() == [0, 0, 0]
    assert found.scores["accuracy"] == 0.5
    assert found.taken_for(0, 1).tolist() == [1]
    sure = float(logits[0].softmax(0)[0])
    assert found.calibration.count.sum() == 4
    assert found.scores["calibration_error"] == pytest.approx(abs(sure - 0.5))
    assert found.to_dataframe().loc[1, "class"] == "b"


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 80), st.integers(0, 2**31))
def test_as_scikit_learn(count, samples, seed):
    rng = np.random.default_rng(seed)
    logits, wanted = rng.normal(size=(samples, count)), rng.integers(0, count, samples)
    found = score(torch.from_numpy(logits), torch.from_numpy(wanted), tuple("abcdef"[:count]))
    guesses, labels = logits.argmax(1), list(range(count))
    assert found.scores["accuracy"] == pytest.approx(sk.accuracy_score(wanted, guesses))
    assert found.scores["f1"] == pytest.approx(
        sk.f1_score(wanted, guesses, labels=labels, average="macro", zero_division=0)
    )
    assert found.scores["recall"] == pytest.approx(
        sk.recall_score(wanted, guesses, labels=labels, average="macro", zero_division=0)
    )
    if len(np.unique(wanted)) == count:
        shares = torch.from_numpy(logits).softmax(1).numpy()
        expected = (
            sk.roc_auc_score(wanted, shares[:, 1])
            if count == 2
            else sk.roc_auc_score(wanted, shares, multi_class="ovr")
        )
        assert found.scores["roc_auc"] == pytest.approx(expected)
    assert 0 <= found.scores["calibration_error"] <= 1


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_output_for_two_classes_is_as_good_as_two(shape):
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    wanted = (logits + torch.randn(50, generator=torch.Generator().manual_seed(1)) > 0).long()
    one = score(logits.reshape(shape), wanted, ("no", "yes"))
    two = score(torch.stack([torch.zeros(50), logits], 1), wanted, ("no", "yes"))
    assert one.scores == pytest.approx(two.scores)
    assert one.task == "two classes"


def test_numbers():
    wanted = torch.tensor([1.0, 2, 3, 4])
    found = score(torch.tensor([[1.0], [2], [3], [6]]), wanted)
    assert found.scores == pytest.approx({"mae": 0.5, "rmse": 1.0, "r2": 1 - 4 / 5})
    assert found.confusion is None
    assert found.plot().get_xlabel() == "target"


def test_a_run_is_scored_as_it_ended_and_given_back_whatever_trains_the_model_since():
    run = fit(droppy(), DATA, SPEC)
    fork = run.fork(0, lr=0.2).start().wait()
    before = state_of(run.model)
    modes = [module.training for module in run.model.modules()]
    found = evaluate(run, own={"mean logit": lambda outputs, targets: outputs.mean()})
    assert found.scores["accuracy"] == run.history.epochs[-1].valid_accuracy
    assert "mean logit" in found.scores
    assert evaluate(fork).scores["accuracy"] == fork.history.epochs[-1].valid_accuracy
    assert evaluate(run, part="train").count == 200
    assert same(before, state_of(run.model))
    assert modes == [module.training for module in run.model.modules()]
    assert found.plot().get_ylabel() == "target"


def test_what_cannot_be_scored_is_said():
    for given_, error, match in [
        ((droppy(),), ValueError, "data is missing"),
        (("x", DATA), TypeError, "model must be an nn.Module or a Run"),
        ((nn.Flatten(), DATA), ValueError, r"no logits for 10 classes; they would have shape \(100, 10\)"),
    ]:
        with pytest.raises(error, match=match):
            evaluate(*given_)
    with pytest.raises(ValueError, match="part must be"):
        evaluate(droppy(), DATA, part="test")
    with pytest.raises(ValueError, match="infinite or NaN"):
        score(torch.full((3, 2), float("nan")), torch.zeros(3).long(), ("a", "b"))
    run = Run(droppy(), DATA, SPEC.replace(epochs=100_000)).start()
    with pytest.raises(RuntimeError, match=r"run.pause\(\)"):
        evaluate(run)
    run.stop()
