"""Samples by their places: the same as a pass gives them, whatever the data are."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from convlab.data.resolve import resolve

X, Y = torch.randn(40, 1, 4, 4), torch.arange(40) % 4
WHOLE = TensorDataset(X, Y)


class Drawn(Dataset):
    """Its items draw random numbers."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return X[index] + random.random() + np.random.rand() + torch.rand(()), int(Y[index])


class Stream(IterableDataset):
    """It has no items."""

    def __iter__(self):
        return iter(WHOLE)


@pytest.mark.parametrize(
    "valid", [WHOLE, DataLoader(WHOLE, batch_size=7), (X, Y)], ids=["data set", "loader", "memory"]
)
def test_samples_are_those_of_a_pass(valid):
    data = resolve((WHOLE, valid) if not isinstance(valid, tuple) else ((X, Y), valid))
    assert torch.equal(data.inputs_at([39, 0, 7, 7]), X[[39, 0, 7, 7]])


@pytest.mark.parametrize(
    "loader",
    [DataLoader(WHOLE, batch_size=7, shuffle=True), DataLoader(Stream(), batch_size=7)],
    ids=["shuffled", "stream"],
)
def test_a_loader_that_has_no_places_says_so(loader):
    data = resolve((DataLoader(WHOLE, batch_size=7), loader))
    assert not data.in_memory
    with pytest.raises(LookupError, match="gives no sample by its place"):
        data.inputs_at([0])


def test_looking_changes_nothing_that_is_drawn_later():
    data = resolve((Drawn(), Drawn()))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    data.inputs_at([3, 4])
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
