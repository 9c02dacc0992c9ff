"""Each rule on faults planted in three networks, over seeds, and on the like without a fault."""

import functools
import math

import pytest
import torch

import convlab
from convlab.diagnosis.diagnose import EXPLAINS, TOPICS
from convlab.diagnosis.planted import FAULTS, HEALTHY


def followed(fault):
    """The network and the seed whose remedy is followed."""
    return next(iter(fault.nets)), 1


@functools.cache
def seen(fault, network, seed):
    """What speaks before training, or, where that is not it, after; the remedy; the last validation loss."""
    setup = fault.setup(network, seed)
    found, loss = convlab.diagnose(setup.model, setup.data, setup.spec), None
    early = any(one.rule in fault.rules for one in found)
    if not early or (fault.helps and (network, seed) == followed(fault)):
        run = setup.run()
        found = found if early else convlab.diagnose(run)
        loss = math.inf if run.state == "failed" else run.history.epochs[-1].valid_loss
    remedies = [one.remedy for one in found if one.rule in fault.rules]
    return [one.rule for one in found], next(iter(remedies), None), loss


def cases(faults):
    """Each in all of its networks with one seed, and in the first with a second; the benchmark takes ten in all."""
    return [
        pytest.param(fault, network, seed, id=f"{fault.name}, {network}-{seed}")
        for fault in faults
        for number, network in enumerate(fault.nets)
        for seed in ((0, 1) if number == 0 else (0,))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "network", "seed"), cases(FAULTS))
def test_the_fault_is_found(fault, network, seed):
    assert set(seen(fault, network, seed)[0]) & set(fault.rules)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "network", "seed"), cases(HEALTHY))
def test_the_healthy_are_left_alone(fault, network, seed):
    assert seen(fault, network, seed)[0] == []


def test_every_rule_has_a_planted_fault_and_a_topic():
    rules = {rule for topic in TOPICS.values() for rule in topic}
    assert {rule for fault in FAULTS for rule in fault.rules} == rules
    assert set(EXPLAINS) <= rules
    assert {rule for explained in EXPLAINS.values() for rule in explained} <= rules
    assert all(len(fault.nets) >= 3 for fault in (*FAULTS, *HEALTHY))


HELPED = [fault for fault in FAULTS if fault.helps]


@pytest.mark.slow
@pytest.mark.parametrize("fault", HELPED, ids=[fault.name for fault in HELPED])
def test_following_the_remedy_helps(fault):
    """In the first network; the benchmark counts it in all of them."""
    _, remedy, loss = seen(fault, *followed(fault))
    better = fault.setup(*followed(fault)).with_remedy(remedy)
    assert isinstance(better.model, torch.nn.Module)
    assert better.run().history.epochs[-1].valid_loss < loss


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_setup_is_the_same_each_time(fault):
    one, two = (fault.setup(seed=2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    assert one.data.fingerprint == two.data.fingerprint
    assert one.spec == two.spec
