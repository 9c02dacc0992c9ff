"""Each rule on faults planted in three networks, over seeds, and on the like without a fault."""

import pytest
import torch

import convlab
from convlab.diagnosis.diagnose import EXPLAINS, TOPICS
from convlab.diagnosis.planted import FAULTS, HEALTHY

SEEDS = (0, 1)


def rules_of(fault, network, seed):
    """What is found before training, and, where that is not it, after."""
    setup = fault.setup(network, seed)
    before = [one.rule for one in convlab.diagnose(setup.model, setup.data, setup.spec)]
    if any(rule in fault.rules for rule in before):
        return before
    return [one.rule for one in convlab.diagnose(setup.run())]


CASES = [(fault, network) for fault in FAULTS for network in fault.nets]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("fault", "network"), CASES, ids=[f"{fault.name}, {network}" for fault, network in CASES])
def test_the_fault_is_found(fault, network, seed):
    assert set(rules_of(fault, network, seed)) & set(fault.rules)


HEALTHY_CASES = [(fault, network) for fault in HEALTHY for network in fault.nets]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("fault", "network"), HEALTHY_CASES, ids=[f"{fault.name}, {network}" for fault, network in HEALTHY_CASES]
)
def test_the_healthy_are_left_alone(fault, network, seed):
    assert rules_of(fault, network, seed) == []


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
    setup = fault.setup(seed=3)
    found = convlab.diagnose(setup.model, setup.data, setup.spec)
    run = setup.run()
    found = [one for one in (*found, *convlab.diagnose(run)) if one.rule in fault.rules]
    better = fault.setup(seed=3).with_remedy(found[0].remedy)
    assert isinstance(better.model, torch.nn.Module)
    last = better.run().history.epochs[-1].valid_loss
    assert run.state == "failed" or last < run.history.epochs[-1].valid_loss


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_setup_is_the_same_each_time(fault):
    one, two = (fault.setup(seed=2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    assert one.data.fingerprint == two.data.fingerprint
    assert one.spec == two.spec
