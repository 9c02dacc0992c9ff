"""torch's default generator is one thread's at a time: what a seed makes, it makes whoever works beside it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from convlab.data.sources import generators_untouched
from convlab.models._trace.give_back import streams_given_back
from convlab.models.borrow import borrowed
from convlab.models.build import build
from convlab.models.gallery import lenet
from convlab.models.live import bind
from convlab.models.streams import own_stream
from convlab.net_spec import Block, NetSpec

LENT = nn.Linear(1, 1)


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, do it again and again in another thread."""
    begun, over = threading.Event(), threading.Event()

    def again():
        while not over.is_set():
            work()
            begun.set()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        over.set()
        thread.join()


def made():
    return build(NetSpec(blocks=Block.ladder(4)), seed=1).conv1.weight


def edited():
    live = bind(lenet(), (1, 1, 8, 8))
    live.edit("conv2", out_channels=40, seed=4)
    return live.model.conv2.weight


def drawn():
    with own_stream(4):
        first = torch.rand(3)
        threading.Event().wait(0.02)  # time for another thread
        return torch.cat([first, torch.rand(3)])


def look_at_data():
    with generators_untouched():
        torch.rand(5)


def run_for_real():
    with streams_given_back(torch_stream=True):
        torch.rand(5)


def give_back():
    with borrowed(LENT):
        pass


@pytest.mark.parametrize("draw", [drawn, edited, made])
@pytest.mark.parametrize("work", [made, edited, look_at_data, run_for_real, give_back])
def test_a_seed_makes_the_same_whatever_others_do_meanwhile(draw, work):
    alone = draw()
    with beside(work):
        assert all(torch.equal(draw(), alone) for _ in range(10))


def test_who_gives_back_waits_for_who_draws():
    lent, over, given_back = threading.Event(), threading.Event(), threading.Event()

    def borrow():
        with borrowed(LENT):
            lent.set()
            assert over.wait(30)
        given_back.set()

    alone, thread = drawn(), threading.Thread(target=borrow)
    thread.start()
    assert lent.wait(30)
    with own_stream(4):
        first = torch.rand(3)
        over.set()
        assert not given_back.wait(0.1)
        drawings = torch.cat([first, torch.rand(3)])
    thread.join()
    assert torch.equal(drawings, alone)


def test_it_stands_where_it_stood():
    before = torch.get_rng_state()
    with own_stream(1):
        torch.rand(1)
    assert torch.equal(torch.get_rng_state(), before)
