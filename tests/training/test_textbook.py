"""A run is the textbook loop, bit for bit: same batches, same losses, same weights."""

import pytest
import torch
from textbook import Regularised, made, same, some_digits, state_of, textbook
from torch import nn
from torch.utils.data import TensorDataset

from convlab.data import resolve
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.fit import fit

RECIPES = {
    "sgd": TrainSpec(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3),
    "plain sgd": TrainSpec(optimizer="sgd", lr=0.05, momentum=0.0),
    "adam": TrainSpec(optimizer="adam", lr=3e-3, betas=(0.8, 0.99), weight_decay=1e-3),
    "adamw": TrainSpec(optimizer="adamw", lr=3e-3, weight_decay=0.1),
    "rmsprop": TrainSpec(optimizer="rmsprop", lr=1e-3, momentum=0.5, weight_decay=1e-4),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("build", [lenet, Regularised], ids=["lenet", "regularised"])
def test_same_losses_and_weights(recipe, build):
    data = some_digits()
    spec = RECIPES[recipe].replace(epochs=3, batch_size=30, seed=5)
    ours, theirs = made(build), made(build)
    run = fit(ours, data, spec)
    losses = textbook(theirs, data.train.x, data.train.y, spec)
    assert run.history.train_loss.tolist() == losses
    assert same(state_of(ours), state_of(theirs))


def test_smoothing_and_clipping_are_torchs():
    data = some_digits()
    spec = TrainSpec(epochs=2, label_smoothing=0.1, clip_grad_norm=0.3, lr=0.5)
    ours, theirs = lenet(), lenet()
    run = fit(ours, data, spec)
    losses = textbook(theirs, data.train.x, data.train.y, spec)
    assert run.history.train_loss.tolist() == losses
    assert same(state_of(ours), state_of(theirs))
    unclipped = fit(lenet(), data, spec.replace(clip_grad_norm=None))
    assert unclipped.history.train_loss.tolist() != losses


def test_a_last_batch_of_one_is_trained_where_batch_norm_can():
    data = some_digits(33)
    spec = TrainSpec(epochs=2, batch_size=4)

    def build():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(144, 10))

    ours, theirs = made(build), made(build)
    run = fit(ours, data, spec)
    assert run.history.train_loss.tolist() == textbook(theirs, data.train.x, data.train.y, spec)
    assert same(state_of(ours), state_of(theirs))


def test_another_criterion():
    data = some_digits()
    spec = TrainSpec(epochs=2)
    criterion = nn.MultiMarginLoss()
    ours, theirs = made(Regularised), made(Regularised)
    run = fit(ours, data, spec, criterion=criterion)
    assert run.history.train_loss.tolist() == textbook(theirs, data.train.x, data.train.y, spec, criterion)


def test_every_kind_of_random_layer():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
            self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.3, batch_first=True)
            self.alpha = nn.AlphaDropout(0.1)
            self.rrelu = nn.RReLU()
            self.pool = nn.FractionalMaxPool2d(2, output_ratio=0.7)
            self.fc = nn.Linear(5 * 8, 10)

        def forward(self, x):
            x = self.rrelu(self.lstm(self.attention(x[:, 0]))[0])
            x = self.pool(self.alpha(x)[:, None].repeat(1, 1, 1, 2))[:, 0]
            x = x + 0.1 * torch.rand_like(x) + 0.1 * torch.randn(x.shape)
            return self.fc(nn.functional.gumbel_softmax(x).flatten(1)[:, :40])

    train = some_digits(90).train
    data = resolve((TensorDataset(train.x, train.y), None))  # this model draws when it validates, too
    spec = TrainSpec(epochs=2)
    ours, theirs = made(Odd), made(Odd)
    before = torch.get_rng_state()
    run = fit(ours, data, spec)
    assert torch.equal(torch.get_rng_state(), before)
    assert run.history.train_loss.tolist() == textbook(theirs, data.train.x, data.train.y, spec)


def test_channels_last_draws_dropout_as_the_textbook_does():
    data = some_digits(90)
    spec = TrainSpec(epochs=2, channels_last=True)

    def build():
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Dropout(0.4), nn.Flatten(), nn.Linear(288, 10))

    ours, theirs = made(build), made(build).to(memory_format=torch.channels_last)
    run = fit(ours, data, spec)
    x = data.train.x.contiguous(memory_format=torch.channels_last)
    losses = textbook(theirs, x, data.train.y, spec)
    assert run.history.train_loss.tolist() == pytest.approx(losses, rel=1e-5)
