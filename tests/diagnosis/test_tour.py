"""The guided tour: in order, one change at a time, what helps is kept, all recorded, all repeatable."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import convlab
from convlab.diagnosis.planted import FAULTS
from convlab.diagnosis.tour import ORDER, Tour
from convlab.models.gallery import lenet
from convlab.net_spec import NetSpec
from convlab.spec import SpecError, TrainSpec

pytestmark = pytest.mark.slow

SPEC = TrainSpec(epochs=4, lr=0.001, threads=1)


def gone_through(tour):
    while (proposal := tour.next()) is not None:
        tour.take(proposal)
    return tour


@pytest.fixture(scope="module")
def tour():
    return gone_through(Tour(lenet(), "digits", SPEC, seeds=1))


def test_it_ends_better_than_it_began(tour):
    first = convlab.fit(lenet(), "digits", SPEC).history.epochs[-1].valid_loss
    assert tour.loss < 0.3 * first
    assert tour.spec.lr > SPEC.lr
    again = convlab.fit(tour.model(), tour.data, tour.spec)
    assert again.best.valid_loss <= tour.loss


def test_topics_come_in_the_order_of_looking_and_each_change_once(tour):
    assert tour.done == list(ORDER)
    places = [ORDER.index(one.proposal.topic) for one in tour.outcomes]
    assert places == sorted(places)
    changes = [str(one.proposal.remedy.changes) for one in tour.outcomes]
    assert len(set(changes)) == len(changes)


def test_what_is_kept_was_better_in_its_pair(tour):
    spec = SPEC
    for one in tour.outcomes:
        assert one.result.a[0].spec == spec
        better = one.result.b[0].best.valid_loss - one.result.a[0].best.valid_loss
        assert one.kept == (better < 0 or (better == 0 and "patience" in one.proposal.remedy.changes))
        if one.kept:
            spec = one.proposal.remedy.applied(spec)
    assert spec == tour.spec


def test_the_table_tells_it_all(tour):
    table = tour.to_dataframe()
    assert list(table.columns) == ["topic", "change", "kept", "difference", "verdict"]
    assert len(table) == len(tour.outcomes)
    for row, one in zip(table.itertuples(), tour.outcomes, strict=True):
        assert row.kept == one.kept
        assert row.difference == one.result.differences("best_valid_loss")[0]


def test_the_same_again_gives_the_same(tour):
    short = TrainSpec(epochs=2, lr=0.001, threads=1)
    two = [Tour(NetSpec((1, 8, 8)), "digits", short, seeds=1) for _ in range(2)]
    for one in two:
        one.take(one.next())
        one.take(one.next())
    a, b = (one.to_dataframe() for one in two)
    assert a.equals(b)
    assert np.isfinite(a.difference).all()


def test_data_and_network_are_mended_too():
    planted = {fault.name: fault.setup() for fault in FAULTS}
    setup = planted["pixels from 100 to 101"]
    tour = Tour(setup.model, setup.data, setup.spec.replace(epochs=2), seeds=1)
    proposal = tour.next()
    assert (proposal.topic, proposal.finding.rule) == ("data", "unnormalised")
    assert tour.take(proposal).kept
    assert tour.data.name.endswith("standardised")
    assert tour.next().topic == "learning rate"

    setup = planted["first layer jumps"]
    before = [param.clone() for param in setup.model.parameters()]
    tour = Tour(setup.model, setup.data, setup.spec.replace(epochs=3), seeds=1)
    while (proposal := tour.next()).topic != "network":
        tour.skip(proposal)
    assert tour.take(proposal).kept
    assert tour.model()[0].stride == (1, 1)
    assert setup.model[0].stride == (4, 4)
    assert all(torch.equal(old, new) for old, new in zip(before, setup.model.parameters(), strict=True))


def test_a_stopped_try_is_no_outcome():
    tour = Tour(lenet(), "digits", SPEC, seeds=1)
    proposal = tour.next()
    outcome = tour.take(proposal, go_on=lambda: False)
    assert not outcome.kept
    assert tour.outcomes == []
    assert tour.next().remedy.text == proposal.remedy.text


def test_a_run_that_fails_is_worse_than_any():
    tour = Tour(lenet(), "digits", TrainSpec(epochs=2, lr=0.05, threads=1), seeds=1)
    proposal = tour.next()
    wild = replace(proposal, remedy=replace(proposal.remedy, changes={"lr": 1000.0}))
    assert not tour.take(wild).kept
    assert math.isfinite(tour.loss)


def test_seeds_must_be_a_number():
    with pytest.raises(SpecError, match="seeds must be a whole number from 1 to 100, got 0; try seeds=2"):
        Tour(lenet(), "digits", seeds=0)
