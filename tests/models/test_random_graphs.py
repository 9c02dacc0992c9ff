"""Random stacks and branching graphs, traced and held against the oracle: every step, every unit, borders included."""

import agreement
import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from oracle import sweep
from random_graphs import graphs

from convlab.models.trace import trace

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(QUICK, max_examples=250)


def agrees_with_the_oracle(graph):
    model, size, words = graph
    for line in words:
        note(line)
    if not words:
        return
    traced = trace(model, size)
    assert traced.error is None
    wrong = agreement.disagreements(traced, sweep(model, torch.rand(size)))
    assert not wrong, agreement.report([str(size), *words, *wrong])


@QUICK
@given(graphs(branching=False))
def test_random_stacks(graph):
    agrees_with_the_oracle(graph)


@QUICK
@given(graphs(branching=True))
def test_random_branching_graphs(graph):
    agrees_with_the_oracle(graph)


@pytest.mark.slow
@LONG
@given(graphs(branching=False))
def test_many_random_stacks(graph):
    agrees_with_the_oracle(graph)


@pytest.mark.slow
@LONG
@given(graphs(branching=True))
def test_many_random_branching_graphs(graph):
    agrees_with_the_oracle(graph)
