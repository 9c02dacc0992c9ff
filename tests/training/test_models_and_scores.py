"""Models in every shape a user brings, and the numbers a run tells about them."""

import math
import time

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convlab.data import resolve
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.progress import Speedometer
from convlab.training.run import Run
from convlab.training.scores import Scores
from convlab.training.trainer import Trainer

SPEC = TrainSpec(epochs=2, batch_size=20)


def test_lazy_modules():
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.Dropout(), nn.LazyLinear(10))
    model[3].eval()
    before = torch.get_rng_state()
    run = fit(model, some_digits(), SPEC)
    assert torch.equal(torch.get_rng_state(), before)
    assert model[0].weight.shape == (4, 1, 3, 3)
    assert (model.training, model[3].training) == (True, False)
    again = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.Dropout(), nn.LazyLinear(10))
    again[3].eval()
    assert run.history.train_loss.tolist() == fit(again, some_digits(), SPEC).history.train_loss.tolist()


def test_a_model_in_eval_mode_is_trained_in_train_mode():
    ours, other = made(Regularised).eval(), made(Regularised)
    a, b = fit(ours, some_digits(), SPEC), fit(other, some_digits(), SPEC)
    assert a.history.train_loss.tolist() == b.history.train_loss.tolist()
    assert ours.training


def test_a_frozen_batch_norm_in_eval_mode_stays():
    model = made(Regularised)
    model.bn.eval()
    model.bn.requires_grad_(False)
    frozen = [t.clone() for t in (*model.bn.parameters(), *model.bn.buffers())]
    fit(model, some_digits(), SPEC)
    assert (model.training, model.bn.training, model.bn1.training) == (True, False, True)
    assert same([*model.bn.parameters(), *model.bn.buffers()], frozen)
    assert int(model.bn1.num_batches_tracked) == 20


def test_a_frozen_batch_norm_in_a_model_in_eval_mode_stays_too():
    model = made(Regularised).eval()
    model.bn.requires_grad_(False)
    fit(model, some_digits(), SPEC)
    assert (model.training, model.bn.training, model.bn1.training) == (True, False, True)


def test_frozen_layers_stay():
    model = made(Regularised)
    model.conv.requires_grad_(False)
    weight = model.conv.weight.clone()
    fit(model, some_digits(), SPEC)
    assert torch.equal(model.conv.weight, weight)
    assert not model.conv.weight.requires_grad


def test_shared_weights_and_layers_without_use():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(64, 64)
            self.b = nn.Linear(64, 64)
            self.b.weight = self.a.weight
            self.unused = nn.Linear(5, 5)
            self.late = nn.Linear(64, 64)
            self.out = nn.Linear(64, 10)
            self.steps = 0

        def forward(self, x):
            x = self.b(self.a(x.flatten(1)).relu())
            if self.training:
                self.steps += 1
            if self.steps > 5:  # torch's own fused SGD raises when a branch joins late
                x = x + self.late(x)
            return self.out(x)

    model = made(Odd)
    before, late = model.unused.weight.clone(), model.late.weight.clone()
    run = fit(model, some_digits(), SPEC)
    assert run.state == "finished"
    assert torch.equal(model.unused.weight, before)
    assert not torch.equal(model.late.weight, late)


def test_double_precision_and_channels_last_and_bf16():
    data = some_digits()
    last = fit(made(Regularised), data, SPEC.replace(channels_last=True))
    assert last.model.conv.weight.shape == (8, 1, 3, 3)
    plain = fit(lenet(), data, SPEC)
    half = fit(lenet(), data, SPEC.replace(bf16=True))
    assert half.history.train_loss.tolist() == pytest.approx(plain.history.train_loss.tolist(), rel=0.05)
    assert half.history.train_loss.tolist() != plain.history.train_loss.tolist()
    assert half.model.conv1.weight.dtype == torch.float32


def test_regression():
    x = torch.randn(120, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = x.mean((1, 2, 3)) * 10
    model = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 1)))
    run = fit(model, (x, y), TrainSpec(epochs=30, lr=0.05))
    last = run.history.epochs[-1]
    assert last.valid_loss < 0.01 < run.history.epochs[0].valid_loss
    assert (last.train_accuracy, last.valid_accuracy) == (None, None)


def test_without_validation_data():
    train = some_digits().train
    run = fit(lenet(), DataLoader(TensorDataset(train.x, train.y), batch_size=20), SPEC)
    last = run.history.epochs[-1]
    assert (last.valid_loss, last.valid_accuracy) == (None, None)
    assert run.best == min(run.history.epochs, key=lambda record: record.train_loss)
    assert last.train_accuracy > 0


@pytest.mark.slow
def test_it_learns():
    run = fit(lenet(), "digits", TrainSpec(epochs=25))
    assert run.best.valid_accuracy > 0.93
    assert run.history.train_loss[-10:].mean() < 0.1


def test_early_stopping_restores_the_best():
    spec = TrainSpec(epochs=500, batch_size=20, lr=0.1, patience=3)
    run = fit(made(Regularised), some_digits(60), spec)
    epochs = run.history.epochs
    assert run.state == "finished"
    assert len(epochs) < 500
    assert len(epochs) == run.best.epoch + 3
    assert all(record.valid_loss >= run.best.valid_loss for record in epochs)
    assert run._trainer.validate()[0] == run.best.valid_loss
    kept = fit(made(Regularised), some_digits(60), spec.replace(restore_best=False))
    assert kept.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert kept._trainer.validate()[0] == epochs[-1].valid_loss


def test_validation_is_the_loss_and_accuracy_in_eval_mode():
    data = resolve("digits")
    model = made(Regularised)
    run = fit(model, data, SPEC)
    model.eval()
    with torch.no_grad():
        output = model(data.valid.x)
    last = run.history.epochs[-1]
    assert last.valid_loss == pytest.approx(F.cross_entropy(output, data.valid.y).item(), rel=1e-5)
    assert last.valid_accuracy == (output.argmax(1) == data.valid.y).float().mean().item() or last.valid_accuracy == (
        pytest.approx((output.argmax(1) == data.valid.y).double().mean().item())
    )


def test_epoch_records_add_up():
    data = some_digits(50)
    run = fit(lenet(), data, SPEC)
    losses, sizes = run.history.train_loss, [20, 20, 10]
    for i, record in enumerate(run.history.epochs):
        mean = sum(n * loss for n, loss in zip(sizes, losses[3 * i : 3 * i + 3], strict=True)) / 50
        assert record.train_loss == pytest.approx(mean)
        assert (record.epoch, record.step, record.lr) == (i + 1, 3 * i + 3, 0.05)
        assert record.seconds > 0


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    width=st.integers(2, 5),
    limit=st.sampled_from([1, 20, 2**20]),
)
def test_scores(sizes, width, limit):
    scores = Scores(width)
    scores.LIMIT = limit
    generator = torch.Generator().manual_seed(sum(sizes))
    outputs = [torch.randn(n, width, generator=generator) for n in sizes]
    targets = [torch.randint(width, (n,), generator=generator) for n in sizes]
    for output, target in zip(outputs, targets, strict=True):
        scores.add(output, target, float(len(target)))
    loss, accuracy = scores.result()
    assert loss == pytest.approx(sum(n * n for n in sizes) / sum(sizes))
    hits = (torch.cat(outputs).argmax(1) == torch.cat(targets)).double().mean().item()
    assert accuracy == pytest.approx(hits)


def test_scores_of_pictures_of_several_sizes():
    scores = Scores(2)
    for side in (4, 6, 4):
        scores.add(torch.randn(1, 2, side, side), torch.zeros(1, side, side, dtype=torch.long), 1.0)
    loss, accuracy = scores.result()
    assert loss == 1.0
    assert 0 <= accuracy <= 1


def test_scores_of_nothing():
    loss, accuracy = Scores(10).result()
    assert math.isnan(loss)
    assert accuracy is None


# -- progress ----------------------------------------------------------------------------------------------------------


def at(trainer):
    return Speedometer().progress(trainer)


@pytest.mark.parametrize("kind", ["tensors", "loader"])
def test_steps_to_come_are_counted(kind):
    train = some_digits(50).train
    loader = DataLoader(TensorDataset(train.x, train.y), batch_size=8)
    data = some_digits(50) if kind == "tensors" else loader
    run = Run(lenet(), data, TrainSpec(epochs=3, batch_size=20))
    per_epoch = 3 if kind == "tensors" else 7
    assert (run.progress.step, run.progress.steps, run.progress.epoch) == (0, 3 * per_epoch, 0)
    for step in range(1, 3 * per_epoch):
        run.step()
        assert (run.progress.step, run.progress.steps) == (step, 3 * per_epoch)
    run.stop()


def test_steps_to_come_after_a_change():
    run = Run(lenet(), some_digits(50), TrainSpec(epochs=3, batch_size=20)).step()
    run.set(batch_size=10).step()
    assert run.progress.steps == 2 + 2 + 5 + 5
    run.set(epochs=1).step()
    assert run.progress.steps == 4
    run.stop()


def test_speed_and_time_left():
    trainer = Trainer(lenet(), some_digits(100), TrainSpec(epochs=10, batch_size=20))
    speed = Speedometer()
    assert speed.progress(trainer).samples_per_second is None
    trainer.epoch, now = 1, time.monotonic()
    speed.note(now - 2, trainer)
    trainer.epoch, trainer.position = 2, 100
    speed.note(now, trainer)
    progress = speed.progress(trainer)
    assert progress.samples_per_second == pytest.approx(100)
    assert progress.seconds_left == pytest.approx(8, abs=0.5)
    speed.restart()
    assert speed.progress(trainer).seconds_left is None


def test_state_helpers_tell_a_difference():
    a, b = lenet(), lenet(seed=1)
    assert not same(state_of(a), state_of(b))
