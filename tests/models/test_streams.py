"""torch's default generator is one thread's at a time: what a seed makes, it makes whoever works beside it."""

import threading

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


def drawn():
    with own_stream(4):
        first = torch.rand(3)
        inside.set()
        others.wait(0.02)
        return torch.cat([first, torch.rand(3)])


inside, others = threading.Event(), threading.Event()


def make():
    build(NetSpec(blocks=Block.ladder(4)), seed=1)


def look_at_data():
    with generators_untouched():
        torch.rand(5)


def run_for_real():
    with streams_given_back(torch_stream=True):
        torch.rand(5)


LENT = nn.Linear(1, 1)


def give_back():
    with borrowed(LENT):
        pass


def test_whatever_others_do_meanwhile():
    alone = drawn()
    works = (
        lambda: build(NetSpec(blocks=Block.ladder(4))),
        look_at_data,
        run_for_real,
        give_back,
        lambda: lenet(seed=1),
    )
    for work in works:
        inside.clear()
        stop = threading.Event()

        def beside(work=work, stop=stop):
            assert inside.wait(30)
            while not stop.is_set():
                work()

        thread = threading.Thread(target=beside)
        thread.start()
        try:
            assert all(torch.equal(drawn(), alone) for _ in range(10))
        finally:
            stop.set()
            thread.join()


def test_an_edit_draws_the_same_beside_a_builder():
    def edited():
        live = bind(lenet(), (1, 1, 8, 8))
        live.edit("conv2", out_channels=40, seed=4)
        return live.model.conv2.weight.detach().clone()

    alone, stop = edited(), threading.Event()

    def beside():
        while not stop.is_set():
            build(NetSpec(blocks=Block.ladder(4)), seed=1)

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        assert all(torch.equal(edited(), alone) for _ in range(30))
    finally:
        stop.set()
        thread.join()


def test_it_stands_where_it_stood():
    before = torch.get_rng_state()
    with own_stream(1):
        torch.rand(1)
    assert torch.equal(torch.get_rng_state(), before)
