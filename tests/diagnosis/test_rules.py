"""Evidence against values computed by hand, and that a diagnosis changes nothing."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convlab
from convlab.data import resolve
from convlab.data.mended import balanced, standardised, without_copies
from convlab.data.sources import TensorSource
from convlab.diagnosis.case import case_of_model, case_of_run
from convlab.diagnosis.curve import Curve, diverged, oscillating, stuck
from convlab.diagnosis.diagnose import findings
from convlab.diagnosis.finding import Remedy
from convlab.diagnosis.inputs import DataFacts, leaking, unbalanced, unnormalised
from convlab.diagnosis.planted import FAULTS
from convlab.diagnosis.recipe import Recipe, activation_bytes, lr_of_another_optimizer, memory_short
from convlab.diagnosis.signals import first_weights
from convlab.diagnosis.structure import Shape, padding_share, skips_pixels
from convlab.models.gallery import lenet
from convlab.models.live import Edit, bind
from convlab.models.trace import trace
from convlab.spec import TrainSpec
from convlab.training.run import Run

# -- shapes -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_share_of_padding_is_that_of_a_picture_of_ones(data):
    """A convolution of ones over a picture of ones counts the taps that met it."""
    size, kernel = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    padding = data.draw(st.integers(0, 6) | st.just("same"))
    if padding == "same":
        stride = 1
    elif size + 2 * padding < dilation * (kernel - 1) + 1:
        return
    conv = nn.Conv2d(1, 1, kernel, stride=stride, dilation=dilation, padding=padding, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        met = conv(torch.ones(1, 1, size, size)).mean().item() / kernel**2
    record = trace(conv, (1, 1, size, size)).records[0]
    assert padding_share(record, conv) == pytest.approx(1 - met, abs=1e-6)


@pytest.mark.parametrize(("kernel", "stride"), list(product((1, 2, 3, 4), (3, 4))))
def test_pixels_that_are_never_read_have_no_gradient(kernel, stride):
    model = nn.Sequential(nn.Conv2d(1, 4, kernel, stride=stride), nn.Flatten(), nn.LazyLinear(2))
    x = torch.ones(1, 1, 24, 24, requires_grad=True)
    with torch.no_grad():
        model(x)
        for param in model.parameters():
            param.fill_(1.0)
    model(x).sum().backward()
    skipped = 1 - (x.grad != 0).float().mean().item()
    found = skips_pixels(Shape(model, trace(model, (1, 1, 24, 24))))
    told = f"{100 * (1 - min(1, kernel / stride) ** 2):.0f} % of the pixels"
    if kernel < stride:
        assert told in found.seen
        # The last rows that no stride reaches are no fault of the rule's kind.
        assert skipped >= 1 - min(1, kernel / stride) ** 2 - 1e-6
    else:
        assert found is None or told not in found.seen


# -- data -------------------------------------------------------------------------------------------------------------


def arrays(x, y, valid=None):
    held = (x, y) if valid is None else valid
    data = resolve(((x[:, :1], y), (held[0][:, :1], held[1])))
    # Two channels of four rows could be read in two ways; a training source of its own says which.
    return replace(data, train=TensorSource(x, y), valid=TensorSource(*held), input_size=tuple(x.shape[1:]))


@settings(max_examples=60, deadline=None)
@given(st.floats(-50, 50), st.floats(0.001, 300), st.integers(1, 3))
def test_the_scale_of_inputs(mean, std, channels):
    x = torch.randn(200, channels, 6, 6, generator=torch.Generator().manual_seed(0)) * std + mean
    data = arrays(x, torch.arange(200) % 2, (x[:10] + 1, torch.arange(10) % 2))
    seen = DataFacts.of(data)
    values = x.numpy().transpose(1, 0, 2, 3).reshape(channels, -1).astype(float)
    np.testing.assert_allclose(seen.mean, values.mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.std, values.std(1, ddof=1), rtol=1e-4)
    better = standardised(data)
    new = DataFacts.of(better)
    np.testing.assert_allclose(new.mean, 0, atol=1e-3)
    np.testing.assert_allclose(new.std, 1, rtol=1e-3)
    assert unnormalised(new) is None
    # Validation by the numbers of training, not by its own.
    shift = (better.valid.x - better.train.x[:10]).mean().item()
    assert shift == pytest.approx(float((1 / values.std(1, ddof=1)).mean()), rel=0.02)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=6))
def test_balanced_classes(counts):
    y = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    x = torch.randn(len(y), 1, 2, 2)
    data = arrays(x, y)
    found = unbalanced(DataFacts.of(data))
    assert (found is not None) == (max(counts) >= 5 * min(counts))
    even = balanced(data)
    assert even.train.y.bincount().tolist() == [max(counts)] * len(counts)
    known = {one.numpy().tobytes() for one in x}
    assert {one.numpy().tobytes() for one in even.train.x} == known


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40))
def test_copies(count):
    x, held = torch.randn(100, 1, 3, 3), torch.randn(40, 1, 3, 3)
    x[:count] = held[:count]
    data = arrays(x, torch.arange(100) % 2, (held, torch.arange(40) % 2))
    seen = DataFacts.of(data)
    assert (seen.copies, seen.valid) == (count, 40)
    assert (leaking(seen) is not None) == (count >= 3)
    clean = without_copies(data)
    assert len(clean.train.x) == 100 - count
    assert DataFacts.of(clean).copies == 0


def test_data_that_are_read_as_needed_are_not_changed():
    class Held(torch.utils.data.Dataset):
        classes = ("a", "b")

        def __len__(self):
            return 20

        def __getitem__(self, i):
            return torch.full((1, 4, 4), 200.0) + i, i % 2

    data = resolve((Held(), None))
    for change in (standardised, balanced):
        with pytest.raises(ValueError, match="data must be in memory to be changed"):
            change(data)
    (found,) = convlab.diagnose(small(), data)
    assert found.rule == "unnormalised"
    assert not found.remedy.can_be_applied


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


# -- settings and signals ---------------------------------------------------------------------------------------------


def test_first_weights_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten())
    model.append(nn.Linear(4 * 16, 2))
    found = {one.path: one for one in first_weights(bind(model, (1, 3, 8, 8)))}
    assert found["0"].ratio == pytest.approx(model[0].weight.std().item() / math.sqrt(2 / 27), rel=0.02)
    assert found["6"].ratio == pytest.approx(model[6].weight.std().item() / math.sqrt(1 / 64), rel=0.02)
    assert [found[path].is_scaled for path in ("0", "2", "6")] == [False, True, False]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 2**20), st.integers(1, 2**24), st.integers(2**20, 2**40))
def test_parts_that_fit_into_memory(batch, sample, free):
    curve = Curve.none(TrainSpec(batch_size=batch), math.log(10))
    found = memory_short(Recipe(curve, batch, 10, sample_bytes=sample, weight_bytes=0, free_bytes=free))
    needed = activation_bytes(sample, batch)
    assert (found is not None) == (needed >= 0.8 * free and batch > 1)
    if found is not None:
        part = found.remedy.changes["micro_batch_size"]
        assert activation_bytes(sample, part) <= 0.4 * free or part == 1
        assert 1 <= part <= batch


@pytest.mark.parametrize(
    ("lr", "level", "optimizer", "is_found"),
    [
        (0.3, 0.5, "adam", True),
        (0.05, 0.5, "adamw", True),
        (0.3, 0.2, "adam", False),  # it went well
        (0.03, 0.5, "adam", False),  # high still, but for other reasons too
        (0.3, 0.5, "sgd", False),
    ],
)
def test_an_lr_that_suits_another_optimizer_where_the_loss_stands_high(lr, level, optimizer, is_found):
    losses = np.full(12, level * math.log(10)) - 0.01 * np.arange(12)  # it neither jumps nor stands still
    curve = replace(Curve.none(TrainSpec(optimizer=optimizer, lr=lr), math.log(10)), train=losses, valid=losses)
    assert (lr_of_another_optimizer(Recipe(curve, 32, 45)) is not None) == is_found


# -- nothing is changed -----------------------------------------------------------------------------------------------


def everything(run):
    state = [param.detach().clone() for param in run.model.state_dict().values()]
    moments = [value for held in run.optimizer.state.values() for value in held.values() if torch.is_tensor(value)]
    return [*state, *(one.clone() for one in moments), torch.get_rng_state()]


def dropping(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(288, 10)
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_diagnosis_changes_no_run(optimizer):
    spec = TrainSpec(epochs=6, optimizer=optimizer, lr=0.01, threads=1)
    alone = Run(dropping(), "digits", spec).start().wait()
    run = Run(dropping(), "digits", spec)
    for _ in range(5):
        run.step(50)
        before = everything(run)
        grads = [param.grad is None for param in run.model.parameters()]
        convlab.diagnose(run)
        assert all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))
        assert [param.grad is None for param in run.model.parameters()] == grads
        assert not any(module._forward_hooks or module._backward_hooks for module in run.model.modules())
    run.resume().wait()
    assert run.history.train_loss.tolist() == alone.history.train_loss.tolist()
    before = everything(run)
    convlab.diagnose(run)
    assert all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))


@pytest.mark.slow
def test_a_run_that_trains_is_watched_by_its_curve_only_and_goes_on():
    spec = TrainSpec(epochs=30, lr=0.01, threads=1)
    alone = Run(dropping(), "digits", spec).start().wait()
    run = Run(dropping(), "digits", spec).start()
    while not run.ended:
        case = case_of_run(run)
        assert run.ended or (case.now is None and case.start is None) or not run.history.num_steps
    run.wait()
    assert run.history.train_loss.tolist() == alone.history.train_loss.tolist()


def test_a_run_shown_at_an_earlier_step_is_shown_there_after():
    run = Run(dropping(), "digits", TrainSpec(epochs=4, threads=1)).start().wait()
    run.rewind(90)
    before = everything(run)
    convlab.diagnose(run)
    assert run.shown_step == 90
    assert all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))


def test_a_run_whose_network_was_edited():
    run = Run(lenet(), "digits", TrainSpec(epochs=500, threads=1)).step(20)
    run.edit("conv2", out_channels=24)
    before = everything(run)
    convlab.diagnose(run)
    assert run.model.conv2.out_channels == 24
    assert all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))
    run.resume().step(5)
    run.stop()


def test_a_network_is_given_back():
    model = dropping()
    model.eval()
    before = [value.clone() for value in model.state_dict().values()]
    assert convlab.diagnose(model, "digits") == []
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


# -- odd cases --------------------------------------------------------------------------------------------------------


def test_numbers_for_targets_have_no_loss_of_guessing():
    x = torch.randn(100, 1, 4, 4)
    run = convlab.fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), (x, x.mean((1, 2, 3))), TrainSpec(epochs=6))
    assert convlab.diagnose(run) == []


def test_a_network_that_cannot_be_traced_is_judged_by_its_curve():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc(x.reshape(int(x.shape[0]), -1).clone())

    torch.manual_seed(0)
    run = convlab.fit(Odd(), "digits", TrainSpec(epochs=5, lr=1e-6))
    assert [one.rule for one in convlab.diagnose(run)] == ["too_slow"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((3,), TypeError),
        ((nn.Linear(1, 1),), ValueError),
    ],
)
def test_what_cannot_be_diagnosed(arguments, error):
    with pytest.raises(error, match="try diagnose"):
        convlab.diagnose(*arguments)


def test_a_run_has_its_own_data():
    run = Run(lenet(), "digits")
    with pytest.raises(TypeError, match="are a run's own"):
        convlab.diagnose(run, "digits")


def test_a_case_tells_causes_before_what_they_explain():
    setup = case_of_model(lenet(), resolve("digits"), TrainSpec())
    assert findings(setup) == []


def test_a_remedy_in_words_only():
    assert not Remedy("looking").can_be_applied
    assert Remedy("doing", edits=(Edit("0", {"stride": 1}),)).can_be_applied


@pytest.mark.slow
def test_every_picture_can_be_drawn():
    drawn = 0
    for fault in FAULTS:
        if fault.name == "batches beyond memory":
            continue
        setup = fault.setup()
        for finding in convlab.diagnose(setup.model, setup.data, setup.spec):
            if finding.picture is not None:
                ax = finding.plot()
                assert ax.get_title() == finding.picture.title
                ax.figure.canvas.draw()
                drawn += 1
    assert drawn > 12


def test_the_start_of_a_run_is_looked_at_as_it_was_and_the_network_left_alone():
    fresh = convlab.look_inside(dropping(), "digits", samples=128)
    run = convlab.fit(dropping(), "digits", TrainSpec(epochs=4, lr=0.02, threads=1))
    before = everything(run)
    case = case_of_run(run)
    first = [one.weight_norm for one in case.start.inside.layers if one.weight_norm > 0]
    assert first == [one.weight_norm for one in fresh.layers if one.weight_norm > 0]
    assert case.now.inside.loss < 0.7 * fresh.loss
    assert [one.weight_norm for one in case.now.inside.layers if one.weight_norm > 0] != first
    assert all(torch.equal(a, b) for a, b in zip(before, everything(run), strict=True))


@pytest.mark.parametrize(
    ("name", "cause"), [("pixels from 0 to 255", "unnormalised"), ("momentum 0.995", "momentum_too_high")]
)
def test_a_cause_silences_what_it_explains(name, cause):
    setup = {fault.name: fault for fault in FAULTS}[name].setup()
    case = case_of_run(setup.run())
    assert diverged(case.curve) is not None or oscillating(case.curve) is not None or stuck(case.curve) is not None
    assert [one.rule for one in findings(case)] == [cause]
