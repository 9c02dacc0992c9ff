"""The controls of a run: at step boundaries, exactly; and one run at a time on any weights."""

import gc
import weakref

import pytest
import torch
from driving import LONG, goes_on, stands_still
from textbook import some_digits
from torch import nn
from waiting import until

from convlab.models.gallery import lenet
from convlab.training.active import active_runs
from convlab.training.fit import fit
from convlab.training.run import Run

pytestmark = pytest.mark.timeout(150)


def test_pause_stands_still_and_resume_goes_on(run):
    run.start()
    goes_on(run)
    run.pause()
    assert run.state == "paused"
    stands_still(run)
    run.resume()
    goes_on(run)
    assert run.state == "running"
    run.stop()
    assert run.state == "stopped"
    stands_still(run)


def test_step_is_exactly_one(run):
    for done in range(1, 4):
        run.step()
        assert (run.state, stands_still(run)) == ("paused", done)
    run.step(7)
    assert stands_still(run) == 10


def test_a_step_is_one_update_of_the_optimizer(run):
    calls = []
    run.optimizer.register_step_post_hook(lambda *_: calls.append(1))
    run.step(4)
    assert len(calls) == 4


def test_steps_given_at_once_add_up(run):
    run.step()
    for _ in range(5):
        run.step(2, wait=False)
    until(lambda: run.history.num_steps == 11)
    assert stands_still(run) == 11


def test_resume_and_pause_in_one_breath(run):
    run.step()
    for _ in range(200):
        run.resume().pause()
    stands_still(run)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2"])
def test_impossible_count_of_steps(run, count):
    with pytest.raises(ValueError, match=r"try run.step\(1\)"):
        run.step(count)
    assert run.state == "pending"


def test_pause_before_start_stands_at_step_0(run):
    run.pause().start().pause()
    assert stands_still(run) == 0
    run.step()
    assert run.history.num_steps == 1


def test_stop_before_start(run):
    weights = [p.detach().clone() for p in run.model.parameters()]
    assert run.stop().state == "stopped"
    with pytest.raises(RuntimeError, match="stopped"):
        run.start()
    assert run.wait().state == "stopped"
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), weights, strict=True))


def test_stop_during_pause(run):
    run.step(3)
    assert run.stop().state == "stopped"
    assert run.history.num_steps == 3
    for act in (run.step, lambda: run.set(lr=0.1), run.start):
        with pytest.raises(RuntimeError, match="stopped"):
            act()
    run.pause().resume().stop()
    assert run.state == "stopped"


def test_stop_ends_at_a_boundary_with_the_model_usable(run):
    run.start()
    goes_on(run)
    run.stop()
    assert all(param.grad is None for param in run.model.parameters())
    assert run.optimizer.state
    fit(run.model, some_digits(), LONG.replace(epochs=1))


def test_wait_needs_a_start(run):
    with pytest.raises(RuntimeError, match=r"run.start\(\).wait\(\)"):
        run.wait()
    assert run.start().wait(0.05).state == "running"


def test_start_twice(run):
    run.start()
    with pytest.raises(RuntimeError, match="running"):
        run.start()
    run.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        run.start()


def test_finished_run_takes_no_orders():
    run = fit(lenet(), some_digits(), LONG.replace(epochs=1))
    assert run.state == "finished"
    assert run.pause().resume().stop().wait().state == "finished"
    with pytest.raises(RuntimeError, match="finished"):
        run.step()


# -- one run at a time on any weights ----------------------------------------------------------------------------------


def test_second_run_on_the_same_weights_waits_its_turn(run):
    shared = nn.Sequential(run.model.conv1, nn.Flatten(), nn.Linear(16 * 64, 10))
    prepared, partly = Run(run.model, some_digits(), LONG), Run(shared, some_digits(), LONG)
    run.start()
    with pytest.raises(RuntimeError, match="already being trained"):
        partly.start()
    for model in (run.model, shared):
        assert active_runs(model) == [run]
        with pytest.raises(RuntimeError, match="already being trained"):
            Run(model, some_digits(), LONG)
    with pytest.raises(RuntimeError, match="already being trained"):
        prepared.start()
    with pytest.raises(RuntimeError, match="already being trained"):
        prepared.step()
    run.pause()
    with pytest.raises(RuntimeError, match="paused"):
        prepared.start()
    run.stop()
    assert active_runs(run.model) == []
    prepared.start()
    goes_on(prepared)
    assert prepared.stop().history.num_steps > 2
    assert Run(shared, some_digits(), LONG).step().stop().history.num_steps == 1


def test_a_refused_second_run_changes_nothing(run):
    run.step(5)
    weights = [p.detach().clone() for p in run.model.parameters()]
    with pytest.raises(RuntimeError):
        Run(run.model, some_digits(), LONG.replace(channels_last=True))
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), weights, strict=True))
    assert run.model.conv1.weight.is_contiguous()


def test_other_models_train_beside(run):
    other = Run(lenet(seed=1), some_digits(), LONG)
    run.start()
    other.start()
    goes_on(run)
    goes_on(other)
    other.stop()
    goes_on(run)


def test_a_failed_run_frees_the_model():
    model = lenet()
    with pytest.raises(ZeroDivisionError):
        fit(model, some_digits(), criterion=lambda output, target: 1 / 0)
    assert fit(model, some_digits(), LONG.replace(epochs=1)).state == "finished"


def test_runs_are_not_kept_alive():
    run = fit(lenet(), some_digits(), LONG.replace(epochs=1))
    ghost = weakref.ref(run.model)
    del run
    gc.collect()
    assert ghost() is None
