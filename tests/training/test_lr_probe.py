"""A probe trains as `fit` does at each lr, answers what a parabola through the best says, and leaves no trace."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from given_back import Facts, a_loader, interrupt_after, stop_after, tricky
from textbook import Regularised, made, some_digits
from torch import nn

from convlab.models.gallery import lenet
from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit
from convlab.training.lr_finder import range_test
from convlab.training.lr_probe import WIDE, LRProbe, basin, probe_cost, probe_lr
from convlab.training.lr_rules import NoSuggestionError
from convlab.training.lr_sweep import LRSweep
from convlab.training.run import Run

THREE = (0.001, 0.01, 0.1)
SWEEP = LRSweep(np.geomspace(1e-7, 10, 100), (np.full(100, 2.3),), TrainSpec(), "end", 0.7, seconds=1.0)

# -- what is left behind: nothing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        TrainSpec(weight_decay=0.01),
        TrainSpec(optimizer="adamw"),
        TrainSpec(optimizer="rmsprop", momentum=0.5),
        TrainSpec(optimizer="adam", bf16=True, channels_last=True, dropout=0.5),
    ],
)
def test_all_is_given_back_after_success(spec: TrainSpec) -> None:
    model, loader = tricky(), a_loader()
    before = Facts(model, loader, None)
    probe = probe_lr(model, (loader, None), spec, lrs=THREE, num_steps=10)
    assert Facts(model, loader, None) == before
    assert probe.given_back
    assert probe.ending == "end"


@pytest.mark.parametrize("stopper", [stop_after, interrupt_after])
@pytest.mark.parametrize(("count", "done"), [(0, 0), (15, 1), (25, 2)])
def test_all_is_given_back_when_stopped(stopper: Any, count: int, done: int) -> None:
    model, loader = tricky(), a_loader()
    before = Facts(model, loader, None)
    probe = probe_lr(model, (loader, None), sweep=SWEEP, lrs=THREE, num_steps=10, should_stop=stopper(count))
    assert Facts(model, loader, None) == before
    assert (probe.ending, len(probe.lrs), probe.given_back) == ("stopped", done, True)
    with pytest.raises(NoSuggestionError, match=f"only {done} trainings were done and an answer needs 3"):
        probe.suggestion()


def test_stopped_while_it_sweeps_it_goes_no_further() -> None:
    model, loader = tricky(), a_loader()
    before = Facts(model, loader, None)
    probe = probe_lr(model, (loader, None), num_steps=10, should_stop=stop_after(20))
    assert Facts(model, loader, None) == before
    assert (probe.ending, len(probe.sweep.lrs), len(probe.lrs)) == ("stopped", 20, 0)


@pytest.mark.parametrize("step", [1, 5, 10])
def test_all_is_given_back_when_forward_raises(step: int) -> None:
    model, loader = tricky(raise_at=step), a_loader()
    before = Facts(model, loader, None)
    with pytest.raises(LookupError, match="k-th step") as caught:
        probe_lr(model, (loader, None), sweep=SWEEP, lrs=THREE, num_steps=10)
    assert Facts(model, loader, None) == before
    assert caught.value.probe.given_back  # type: ignore[attr-defined]


def test_a_paused_run_goes_on_as_if_nothing_had_been() -> None:
    spec = TrainSpec(optimizer="adam", epochs=2, batch_size=16, threads=1)
    calm, disturbed = made(Regularised), made(Regularised)
    data = some_digits(100)
    expected = fit(calm, data, spec)
    run = Run(disturbed, data, spec).step(7)
    probe = probe_lr(disturbed, data, spec, lrs=THREE, num_steps=10)
    assert "a paused run has done 7 steps" in probe.trained or "its loss begins at" in probe.trained
    run.resume().wait()
    assert run.history.train_loss.tolist() == expected.history.train_loss.tolist()


# -- the trainings are real -------------------------------------------------------------------------------------------


def test_each_training_is_that_of_fit_from_the_same_weights() -> None:
    data = some_digits(160)
    probe = probe_lr(made(Regularised), data, TrainSpec(seed=4, threads=1), sweep=SWEEP, lrs=THREE, num_steps=10)
    for lr, curve in zip(probe.lrs, probe.curves, strict=True):
        alone = fit(made(Regularised), data, TrainSpec(seed=4, lr=float(lr), epochs=2, threads=1))
        assert curve.tolist() == alone.history.train_loss.tolist()


def test_a_training_that_diverges_ends_early() -> None:
    probe = probe_lr(made(lenet), "digits", sweep=SWEEP, lrs=(0.01, 0.1, 900.0), num_steps=60)
    assert probe.diverged == (False, False, True)
    assert len(probe.curves[2]) < 60
    assert probe.scores[2] == math.inf
    assert probe.suggestion().lr < 1


def test_it_looks_around_the_basin_of_the_sweep() -> None:
    sweep = range_test(made(lenet), "digits", TrainSpec(optimizer="adam"))
    lrs = basin(sweep, 7)
    low, high = lrs[0], lrs[-1]
    assert len(lrs) == 7
    assert low < sweep.suggestion().lr < high
    assert np.diff(np.log(lrs)) == pytest.approx(np.full(6, np.log(high / low) / 6))


def test_where_the_sweep_shows_no_basin_it_looks_far() -> None:
    assert basin(SWEEP, 7)[[0, -1]] == pytest.approx(WIDE)


@pytest.mark.slow
def test_it_finds_an_lr_at_which_digits_are_learned() -> None:
    spec = TrainSpec(optimizer="adam", epochs=2)
    found = probe_lr(made(lenet), "digits", spec).suggestion()
    run = fit(made(lenet), "digits", spec.replace(lr=found.lr))
    assert (run.history.epochs[-1].valid_accuracy or 0) > 0.75


def test_the_model_as_it_was_half_trained() -> None:
    model = made(lenet)
    fit(model, "digits", TrainSpec(epochs=3))
    probe = probe_lr(model, "digits", sweep=None, lrs=THREE, num_steps=10)
    assert "half-trained" in probe.trained
    assert "half-trained" in repr(probe)


# -- the answer -------------------------------------------------------------------------------------------------------


def synthetic(scores: list[float], lrs: Any = None, factor: float = 1.0, ending: Any = "end") -> LRProbe:
    lrs = np.geomspace(1e-3, 1, len(scores)) if lrs is None else np.array(lrs)
    diverged = tuple(math.isinf(score) for score in scores)
    curves = tuple(
        np.full(4 if bad else 40, 9.0 if bad else score) for score, bad in zip(scores, diverged, strict=True)
    )
    return LRProbe(lrs, curves, diverged, TrainSpec(), 40, factor, ending, SWEEP)


def test_the_answer_is_the_lowest_point_of_the_parabola() -> None:
    lrs = np.geomspace(1e-3, 1, 7)
    scores = [1 + (math.log10(lr) + 1.7) ** 2 for lr in lrs]
    probe = synthetic(scores, lrs)
    assert probe.best_lr == pytest.approx(10**-1.7)
    assert probe.suggestion().lr == pytest.approx(10**-1.7)
    assert "the lowest point of the parabola after 40 real steps each" in probe.suggestion().reason


def test_a_longer_training_takes_half_of_it() -> None:
    found = synthetic([2, 1, 0.5, 1, 2], factor=0.5).suggestion()
    assert found.lr == pytest.approx(0.5 * 10**-1.5)
    assert "half of it for the longer training planned" in found.reason


def test_the_factor_follows_the_budget() -> None:
    common: dict[str, Any] = {"sweep": SWEEP, "lrs": THREE, "num_steps": 10}
    assert probe_lr(made(lenet), some_digits(160), TrainSpec(epochs=4), **common).factor == 1.0
    assert probe_lr(made(lenet), some_digits(160), TrainSpec(epochs=5), **common).factor == 0.5


@pytest.mark.parametrize(
    ("scores", "confidence", "why"),
    [
        ([2, 1, 0.5, 1, 2], "high", "its neighbours end at least 100% worse"),
        ([2, 1, 0.99, 1, 2], "fair", "its neighbours end at least 1% worse"),
        ([2, 1, 0.5, math.inf, math.inf], "fair", "the next larger lr, 0.18, diverged"),
        ([2, 1.5, 1, 0.7, 0.5], "low", "the best is the highest lr tried; higher ones may be better"),
        ([0.5, 1, 1.5, 2, 2], "low", "the best is the lowest lr tried; lower ones may be better"),
    ],
)
def test_confidence(scores: list[float], confidence: str, why: str) -> None:
    found = synthetic(scores).suggestion()
    assert found.confidence == confidence
    assert why in found.why


def test_stopped_early_it_says_so() -> None:
    assert "stopped after 5 trainings" in synthetic([2, 1, 0.5, 1, 2], ending="stopped").suggestion().why


def test_all_diverged_is_refused() -> None:
    probe = synthetic([math.inf] * 5)
    with pytest.raises(NoSuggestionError, match=r"every training diverged, down to lr 0\.001; try lower ones"):
        probe.suggestion()
    assert "no suggestion" in repr(probe)


# -- the cost ---------------------------------------------------------------------------------------------------------


def test_the_cost_is_told_and_kept() -> None:
    cost = probe_cost("digits", TrainSpec(epochs=10))
    assert (cost.steps, cost.sweep_steps) == (730, 100)
    calls = []
    probe = probe_lr(made(lenet), "digits", num_steps=8, num_lrs=3, should_stop=lambda: bool(calls.append(1)))
    assert len(calls) <= probe_cost("digits", num_steps=8, num_lrs=3).steps
    assert len(probe.sweep.lrs) + sum(map(len, probe.curves)) <= len(calls)


def test_the_cost_after_a_sweep_is_in_seconds_too() -> None:
    cost = probe_cost("digits", sweep=SWEEP)
    assert (cost.steps, cost.seconds) == (630, pytest.approx(6.3))
    assert str(cost) == (
        "at most 630 steps: 7 trainings of 90; 14.3 epochs, 143% of the training planned; about 6.3 s."
    )


# -- the result and the refusals --------------------------------------------------------------------------------------


def test_the_result_as_table_pictures_and_text() -> None:
    probe = probe_lr(made(lenet), some_digits(), sweep=SWEEP, lrs=(0.01, 0.1, 900.0), num_steps=20)
    table = probe.to_dataframe()
    assert {"lr", "step", "loss", "diverged"} <= set(table)
    assert table[table.lr == 0.01].loss.tolist() == probe.curves[0].tolist()
    ax = probe.plot()
    assert ax.get_xscale() == "log"
    assert ax.lines[0].get_xdata().tolist() == [0.01, 0.1]
    curves = probe.plot_curves()
    assert [line.get_label() for line in curves.lines] == ["0.01", "0.1", "9e+02 diverged"]
    assert repr(probe).startswith("LRProbe(3 trainings of 20 steps; suggestion 0.")
    assert synthetic([math.inf] * 3).plot().get_title().startswith("every training diverged")
    assert list(synthetic([], []).to_dataframe())[:3] == ["lr", "step", "loss"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_lrs": 2}, "num_lrs must be a whole number from 3"),
        ({"num_steps": 0}, "num_steps must be a whole number from 8"),
        ({"lrs": [0.1, 0.1, 0.1]}, r"lrs must hold at least three different numbers, got \[0.1, 0.1, 0.1\]"),
        ({"lrs": [0.1, -1, 2]}, "lrs must be a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        probe_lr(nn.Linear(1, 1), "digits", **arguments)


def test_the_listener_sees_the_trainings_that_are_done() -> None:
    seen: list[int] = []
    probe_lr(
        made(lenet),
        some_digits(),
        sweep=SWEEP,
        lrs=THREE,
        num_steps=10,
        listener=lambda probe: seen.append(len(probe.lrs)),
    )
    assert seen[0] == 0
    assert torch.is_grad_enabled()
