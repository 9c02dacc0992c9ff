"""A range test trains as `fit` does, is read by known rules, and leaves no trace."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from given_back import Facts, Tricky, a_loader, interrupt_after, stop_after, tricky
from textbook import Regularised, made, some_digits, textbook_optimizer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.data import resolve
from convlab.models.gallery import lenet
from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit
from convlab.training.lending import checksum, own_generators
from convlab.training.lr_finder import range_test
from convlab.training.lr_rules import NoSuggestionError, smooth
from convlab.training.lr_sweep import RULES, LRSweep
from convlab.training.run import Run

# -- what is left behind: nothing -------------------------------------------------------------------------------------


SPECS = {
    "sgd": TrainSpec(momentum=0.9, weight_decay=1e-2),
    "adam": TrainSpec(optimizer="adam", weight_decay=1e-2),
    "adamw": TrainSpec(optimizer="adamw", weight_decay=1e-2, clip_grad_norm=1.0),
    "rmsprop": TrainSpec(optimizer="rmsprop", momentum=0.5),
    "bf16": TrainSpec(bf16=True),
    "channels_last": TrainSpec(channels_last=True, dropout=0.5),
}


@pytest.mark.parametrize("name", SPECS)
def test_all_is_given_back_after_success(name: str) -> None:
    model, loader = tricky(), a_loader()
    before = Facts(model, loader, None)
    sweep = range_test(model, (loader, None), SPECS[name], num_steps=30)
    assert Facts(model, loader, None) == before
    assert sweep.given_back
    assert len(sweep.lrs) > 5


@pytest.mark.parametrize("stopper", [stop_after, interrupt_after])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_all_is_given_back_when_stopped(stopper: Any, count: int) -> None:
    model, loader = tricky(), a_loader()
    before = Facts(model, loader, None)
    sweep = range_test(model, (loader, None), num_steps=30, should_stop=stopper(count))
    assert Facts(model, loader, None) == before
    assert sweep.given_back
    assert (sweep.ending, len(sweep.lrs)) == ("stopped", count)
    assert "stopped" in repr(sweep) or count == 0


@pytest.mark.parametrize("step", [1, 2, 9])
def test_all_is_given_back_when_forward_raises(step: int) -> None:
    model, loader = tricky(raise_at=step), a_loader()
    before = Facts(model, loader, None)
    with pytest.raises(LookupError, match="k-th step") as caught:
        range_test(model, (loader, None), num_steps=30)
    assert Facts(model, loader, None) == before
    assert caught.value.sweep.given_back  # type: ignore[attr-defined]
    assert len(caught.value.sweep.lrs) == step - 1  # type: ignore[attr-defined]


def test_all_is_given_back_when_the_loss_is_not_finite() -> None:
    model = tricky()
    before = Facts(model, None, None)
    sweep = range_test(
        model, "digits", start_lr=1, end_lr=1000, num_steps=30, criterion=lambda o, t: (o * 1e30).pow(4).mean()
    )
    assert Facts(model, None, None) == before
    assert sweep.ending == "diverged"
    with pytest.raises(NoSuggestionError, match="infinite or NaN in the very first step"):
        sweep.suggestion()


def test_a_paused_run_goes_on_as_if_nothing_had_been() -> None:
    spec = TrainSpec(optimizer="adam", epochs=3, batch_size=16, threads=1)
    calm, disturbed = made(Regularised), made(Regularised)
    data = some_digits(100)
    expected = fit(calm, data, spec)
    run = Run(disturbed, data, spec).step(10)
    sweep = range_test(disturbed, data, spec, num_steps=40)
    assert sweep.given_back
    assert "half-trained" in sweep.trained
    run.resume().wait()
    assert run.history.train_loss.tolist() == expected.history.train_loss.tolist()
    assert all(
        torch.equal(a, b) for a, b in zip(calm.state_dict().values(), disturbed.state_dict().values(), strict=True)
    )


def test_a_training_run_is_not_disturbed() -> None:
    model = lenet()
    run = Run(model, "digits", TrainSpec(epochs=1000)).start()
    try:
        with pytest.raises(RuntimeError, match="already being trained by another run, which is running"):
            range_test(model, "digits")
    finally:
        run.stop()


def test_nobody_trains_a_model_on_loan() -> None:
    model = made(lenet)
    run = Run(model, "digits", TrainSpec(epochs=2)).step(3)
    refused: list[str] = []

    def meddle() -> bool:
        for action in (run.resume, run.step, lambda: range_test(model, "digits")):
            with pytest.raises(RuntimeError, match="on loan to a learning-rate test") as caught:
                action()
            refused.append(str(caught.value))
        return len(refused) > 7

    sweep = range_test(model, "digits", should_stop=meddle)
    assert sweep.given_back
    assert len(refused) == 9
    assert run.resume().wait().state == "finished"


def test_no_run_begins_on_a_model_on_loan() -> None:
    model = made(lenet)
    pending = Run(model, "digits", TrainSpec(epochs=1))

    def meddle() -> bool:
        for action in (pending.start, pending.step, lambda: Run(model, "digits")):
            with pytest.raises(RuntimeError, match="on loan to a learning-rate test"):
                action()
        return True

    assert range_test(model, "digits", should_stop=meddle).given_back
    assert pending.start().wait().state == "finished"


def test_the_checksum_sees_each_kind_of_change() -> None:
    def changes() -> Iterator[Callable[[Tricky, DataLoader[Any], torch.optim.Optimizer], object]]:
        yield lambda m, d, o: m.conv.weight.data.view(-1)[0].add_(1e-7)
        yield lambda m, d, o: m.bn.running_mean.add_(1e-7)
        yield lambda m, d, o: m.replaced.add_(1)
        yield lambda m, d, o: m.drop.train()
        yield lambda m, d, o: setattr(m.drop, "p", 0.1)
        yield lambda m, d, o: m.frozen_bn.requires_grad_(True)
        yield lambda m, d, o: m.zero_grad()
        yield lambda m, d, o: m.conv.weight.grad.mul_(2)
        yield lambda m, d, o: m.to(memory_format=torch.channels_last)
        yield lambda m, d, o: o.step()
        yield lambda m, d, o: o.param_groups[0].update(lr=1.0)
        yield lambda m, d, o: torch.rand(1)
        yield lambda m, d, o: np.random.rand()
        yield lambda m, d, o: random.random()
        yield lambda m, d, o: m.generator.manual_seed(1)
        yield lambda m, d, o: m.rng.random()
        yield lambda m, d, o: d.generator.manual_seed(1)

    seen = set()
    for number, change in enumerate(changes()):
        model, loader = tricky(), a_loader()
        optimizer = torch.optim.Adam(model.parameters())
        before = checksum(model, loader, optimizer)
        assert checksum(model, loader, optimizer) == before
        change(model, loader, optimizer)
        seen.add(checksum(model, loader, optimizer))
        assert before not in seen, number


def test_generators_of_the_users_own_are_found() -> None:
    model, loader = tricky(), a_loader()
    found = own_generators(model, (loader, None))
    assert {id(g) for g in found} >= {id(model.generator), id(model.rng), id(loader.generator)}


def test_lazy_layers_take_their_sizes_and_no_more() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 10))
    sweep = range_test(model, "digits", TrainSpec(seed=5), num_steps=20)
    assert sweep.given_back
    twin = nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 10))
    Run(twin, "digits", TrainSpec(seed=5))
    assert torch.equal(model[1].weight, twin[1].weight)


# -- the steps are those of a training --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_the_steps_are_those_of_a_textbook_loop(name: str) -> None:
    spec, data = SPECS[name].replace(seed=2), some_digits(200)
    model = made(lenet)
    sweep = range_test(model, data, spec, 1e-5, 0.1, 25)
    torch.manual_seed(2)
    loader = DataLoader(TensorDataset(data.train.x, data.train.y), 32, shuffle=True, drop_last=True)
    optimizer = textbook_optimizer(list(model.parameters()), spec)
    losses: list[float] = []
    while len(losses) < 25:
        for x, y in loader:
            if len(losses) == 25:
                break
            optimizer.param_groups[0]["lr"] = float(np.geomspace(1e-5, 0.1, 25)[len(losses)])
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            if spec.clip_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), spec.clip_grad_norm)
            optimizer.step()
            losses.append(loss.item())
    assert sweep.losses.tolist() == losses


def test_a_data_set_smaller_than_a_batch_will_do() -> None:
    sweep = range_test(lenet(), some_digits(20), TrainSpec(batch_size=64), num_steps=20)
    assert len(sweep.lrs) == 20


def test_several_seeds_make_a_band() -> None:
    sweep = range_test(lenet(), some_digits(), TrainSpec(seed=3), 1e-5, 0.5, 40, seeds=3)
    alone = [range_test(lenet(), some_digits(), TrainSpec(seed=3 + k), 1e-5, 0.5, 40).losses for k in range(3)]
    assert [row.tolist() for row in sweep.seed_losses] == [row.tolist() for row in alone]
    count = min(map(len, alone))
    assert sweep.losses == pytest.approx(np.mean([row[:count] for row in alone], axis=0))
    low, high = sweep.band
    assert (low <= sweep.smoothed + 1e-12).all()
    assert (sweep.smoothed <= high + 1e-12).all()
    assert (high - low).max() > 0


def test_stopped_between_seeds_the_whole_ones_count() -> None:
    sweep = range_test(lenet(), some_digits(), None, 1e-6, 1e-3, 20, seeds=3, should_stop=stop_after(50))
    assert [len(row) for row in sweep.seed_losses] == [20, 20]
    assert sweep.ending == "stopped"


def test_it_stops_where_the_loss_explodes() -> None:
    sweep = range_test(lenet(), "digits", TrainSpec(optimizer="adam"), 1e-5, 1000, 100)
    assert sweep.ending == "diverged"
    assert len(sweep.lrs) < 100


def test_ctrl_c_anywhere_stops_it() -> None:
    def listen(sweep: LRSweep) -> None:
        raise KeyboardInterrupt

    model = tricky()
    before = Facts(model, None, None)
    sweep = range_test(model, "digits", num_steps=30, listener=listen)
    assert (sweep.ending, len(sweep.lrs), sweep.given_back) == ("stopped", 1, True)
    assert Facts(model, None, None) == before


def test_the_listener_sees_it_grow_and_may_break() -> None:
    seen: list[LRSweep] = []

    def listen(sweep: LRSweep) -> None:
        seen.append(sweep)
        raise RuntimeError("a broken display")

    sweep = range_test(lenet(), "digits", num_steps=30, listener=listen)
    assert [len(part.lrs) for part in seen] == [1]
    assert len(sweep.lrs) == 30


def test_a_half_trained_model_is_called_so() -> None:
    model = lenet()
    assert range_test(model, "digits", num_steps=20).trained == ""
    fit(model, "digits", TrainSpec(epochs=3))
    sweep = range_test(model, "digits", num_steps=20)
    assert "half-trained: its loss begins at 0." in sweep.trained
    assert "guessing has 2.3" in sweep.trained


def test_numbers_as_targets() -> None:
    x = torch.rand(200, 1, 8, 8)
    data = ((x[:160], x[:160].mean((1, 2, 3)) * 10), (x[160:], x[160:].mean((1, 2, 3)) * 10))
    model = nn.Sequential(nn.Flatten(), made(lambda: nn.Linear(64, 1)))
    assert range_test(model, resolve(data), None, 1e-6, 10, 60).suggestion().lr > 0


# -- reading the curve ------------------------------------------------------------------------------------------------

LRS = np.geomspace(1e-7, 10, 100)


def synthetic(losses: Any, ending: Any = "end", smoothing: float = 0.7, lrs: Any = LRS) -> LRSweep:
    losses = np.asarray(losses, dtype=float)
    return LRSweep(lrs[: len(losses)], (losses,), TrainSpec(), ending, smoothing)


def bowl(lowest: float = 1e-1, fall_from: float = 1e-4, noise: float = 0.0, seed: int = 0) -> Any:
    """Flat at 2.3, then falling in a straight line of log lr to 0.5 at `lowest`, then rising steeply."""
    x = np.log10(LRS)
    low, first = np.log10(lowest), np.log10(fall_from)
    losses = np.where(x < first, 2.3, 2.3 - 1.8 * (x - first) / (low - first))
    losses = np.where(x > low, 0.5 + 4 * (x - low), losses)
    return losses + noise * np.random.default_rng(seed).normal(size=100)


def slide() -> Any:
    """An S-shaped fall, steepest at 1e-2, and an explosion above 2."""
    losses = 2.3 - 1.8 / (1 + np.exp(-(np.log10(LRS) + 2) / 0.3))
    losses[90:] += 5
    return losses


def test_smoothing_has_neither_bias_nor_lag() -> None:
    assert smooth(np.full(20, 2.3), 0.98) == pytest.approx(np.full(20, 2.3))
    assert smooth(np.array([1.0, 3.0]), 0.5) == pytest.approx([(1 + 1.5) / 1.5, (0.5 + 3) / 1.5])
    step = np.abs(np.arange(41) - 20.0)
    assert int(np.argmin(smooth(step, 0.9))) == 20


def test_smoothing_forgets_a_single_spike_and_keeps_an_explosion_local() -> None:
    losses = np.full(50, 2.0)
    losses[20] = 1e4
    assert smooth(losses, 0.7) == pytest.approx(np.full(50, 2.0))
    losses[40:] = 1e9
    assert smooth(losses, 0.7)[:30] == pytest.approx(np.full(30, 2.0), abs=0.05)
    assert smooth(losses, 0.7)[-1] > 2.5


def test_minimum_is_a_tenth_of_the_lr_at_the_lowest_point() -> None:
    assert synthetic(bowl(), smoothing=0.0).suggestion("minimum").lr == pytest.approx(1e-1 / 10, rel=0.25)


def test_valley_is_the_middle_of_the_fall() -> None:
    # A tenth of the fall from 1e-4 to 1e-1 is done at 2e-4; in log lr the middle from there is 4.5e-3.
    assert synthetic(bowl(), smoothing=0.0).suggestion("valley").lr == pytest.approx(10**-2.35, rel=0.2)


def test_valley_steps_over_bumps() -> None:
    losses = bowl()
    losses[70:72] += 0.3
    assert synthetic(losses, smoothing=0.0).suggestion("valley").lr == pytest.approx(10**-2.35, rel=0.2)


def test_steepest_is_where_the_loss_falls_fastest_against_log_lr() -> None:
    assert synthetic(slide()).suggestion("steepest").lr == pytest.approx(1e-2, rel=0.2)


def test_the_default_is_the_geometric_mean_of_valley_and_minimum() -> None:
    sweep = synthetic(bowl(noise=0.02))
    found = [sweep.suggestion(rule).lr for rule in ("valley", "minimum")]
    assert sweep.suggestion().lr == pytest.approx(np.sqrt(found[0] * found[1]))
    assert "the geometric mean of the valley" in sweep.suggestion().reason


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_no_suggestion_far(rule: Any, seed: int) -> None:
    losses = slide() if rule == "steepest" else bowl()
    noise = 0.08 * np.random.default_rng(seed).normal(size=100)
    clean, noisy = (synthetic(curve).suggestion(rule).lr for curve in (losses, losses + noise))
    assert 1 / 4 < noisy / clean < 4


@pytest.mark.parametrize("rule", RULES)
def test_an_early_spike_moves_no_suggestion_far(rule: Any) -> None:
    losses = slide() if rule == "steepest" else bowl(noise=0.02)
    clean = synthetic(losses).suggestion(rule).lr
    losses[4] = 40.0
    assert 1 / 3 < synthetic(losses).suggestion(rule).lr / clean < 3


def test_an_early_spike_does_not_end_a_sweep() -> None:
    calls = iter(range(1000))
    sweep = range_test(
        lenet(),
        "digits",
        num_steps=30,
        end_lr=1e-3,
        criterion=lambda o, t: F.cross_entropy(o, t) * (50 if next(calls) == 4 else 1),
    )
    assert len(sweep.lrs) == 30


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_curve_is_refused(seed: int) -> None:
    losses = 2.3 + 0.05 * np.random.default_rng(seed).normal(size=100)
    sweep = synthetic(losses)
    with pytest.raises(NoSuggestionError, match=r"the curve is flat.*careful mode, convlab.probe_lr"):
        sweep.suggestion()
    assert "no suggestion: the curve is flat" in repr(sweep)


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_that_rises_from_the_start_is_refused(seed: int) -> None:
    losses = 0.3 + np.maximum(0, np.log10(LRS) + 5) + 0.02 * np.random.default_rng(seed).normal(size=100)
    with pytest.raises(NoSuggestionError, match=r"never fell below its start of 0\.[23]\d* and only rose"):
        synthetic(losses).suggestion()


@pytest.mark.parametrize(
    ("count", "sentence"),
    [(0, "infinite or NaN in the very first step"), (5, r"exploded after 5 steps.*start_lr=1e-10")],
)
def test_divergence_at_once_is_refused(count: int, sentence: str) -> None:
    with pytest.raises(NoSuggestionError, match=sentence):
        synthetic(np.geomspace(2, 1e9, count), "diverged").suggestion()


def test_too_short_a_curve_is_refused() -> None:
    with pytest.raises(NoSuggestionError, match="only 6 steps were done"):
        synthetic(bowl()[:6], "stopped").suggestion()


def test_confidence() -> None:
    assert synthetic(bowl(lowest=1e-2, fall_from=1e-3, noise=0.01)).suggestion().confidence == "high"
    still_falling = synthetic(bowl()[:70], "stopped").suggestion()
    assert (still_falling.confidence, "still falling when it was stopped" in still_falling.why) == ("low", True)
    ended = synthetic(bowl()[:70]).suggestion()
    assert "still falling when the sweep ended at 0.038" in ended.why
    noisy = synthetic(2.3 - 0.1 * (2.3 - bowl(noise=1.2))).suggestion()
    assert (noisy.confidence, "times the noise" in noisy.why) == ("low", True)


def test_seeds_that_disagree_lower_the_confidence() -> None:
    rows = tuple(bowl(lowest=lowest, fall_from=lowest / 10, noise=0.01) for lowest in (1e-4, 1e-2))
    sweep = LRSweep(LRS, rows, TrainSpec(), "end", 0.5)
    assert sweep.suggestion("minimum").confidence == "low"


# -- the result and the refusals --------------------------------------------------------------------------------------


def test_the_result_as_table_picture_and_text() -> None:
    sweep = range_test(lenet(), "digits", TrainSpec(optimizer="adam"), seeds=2)
    table = sweep.to_dataframe()
    assert list(table) == ["step", "lr", "loss", "smoothed", "low", "high"]
    assert table.lr.tolist() == sweep.lrs.tolist()
    ax = sweep.plot()
    assert ax.get_xscale() == "log"
    assert ax.lines[1].get_ydata().tolist() == sweep.smoothed.tolist()
    assert repr(sweep).startswith(f"LRSweep({len(sweep.lrs)} steps, lr 1e-07 → ")
    assert "2 seeds; suggestion 0." in repr(sweep)
    assert str(sweep.suggestion("valley")).startswith(f"lr {sweep.suggestion('valley').lr:.2g}: the middle of")


def test_a_refused_curve_is_drawn_with_the_reason() -> None:
    assert "flat" in synthetic(np.full(100, 2.3)).plot().get_title()
    assert "first step" in synthetic([], "diverged").plot().get_title()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"start_lr": 0}, "start_lr must be a number above 0"),
        ({"end_lr": 1e-8}, r"end_lr must be above start_lr=1e-07, got 1e-08; try end_lr=0.1"),
        ({"num_steps": 3}, "num_steps must be a whole number from 12 .* got 3; try num_steps=100"),
        ({"seeds": 0}, "seeds must be a whole number from 1"),
        ({"smoothing": 1.0}, "smoothing must be a number from 0 to 0.999"),
        ({"diverge_factor": 1}, "diverge_factor must be a number above 1"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        range_test(lenet(), "digits", **arguments)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule must be one of mean, valley, steepest, minimum, got 'vally'"):
        synthetic(bowl()).suggestion("vally")  # type: ignore[arg-type]
