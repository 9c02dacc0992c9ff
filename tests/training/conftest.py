"""One thread for everything that is compared with a run: last bits may differ between thread counts."""

from collections.abc import Iterator

import pytest
import torch
from driving import LONG
from hypothesis import settings
from textbook import some_digits

from convlab.models.gallery import lenet
from convlab.training.run import Run

# The first example pays for torch's own lazy imports.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run() -> Iterator[Run]:
    """A run that is not started and would take hours."""
    run = Run(lenet(), some_digits(), LONG)
    yield run
    run.stop()
