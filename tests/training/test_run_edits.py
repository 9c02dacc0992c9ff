"""The network changed in mid-run: the optimizer follows, the journal repeats it bit for bit."""

import pytest
import torch
from driving import goes_on
from textbook import same, some_digits, state_of
from torch import nn
from waiting import until

from convlab.models.gallery import lenet
from convlab.models.live import Edit, EditError
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run

DATA = some_digits(200)
SPEC = TrainSpec(epochs=3, batch_size=20)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_an_edited_run_is_repeated_by_its_journal_bit_for_bit(optimizer):
    spec = SPEC.replace(optimizer=optimizer, lr=0.05 if optimizer == "sgd" else 0.002)
    run = Run(lenet(), DATA, spec).step(4)
    run.edit("conv2", out_channels=48)
    run.step(5)
    run.edit("conv1", kernel_size=5, padding=2).set(lr=0.01)
    run.step(7)
    run.apply("undo")
    run.step(3).apply("redo")
    run.resume().wait()
    assert run.state == "finished", run.traceback
    assert run.model.conv2.out_channels == 48
    assert run.model.conv1.kernel_size == (5, 5)
    assert [change.name for change in run.journal].count("edit") == 4
    again = fit(lenet(), DATA, spec, journal=run.journal)
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert again.journal == run.journal
    assert same(state_of(run.model), state_of(again.model))


def test_the_optimizer_trains_what_the_model_now_has_and_keeps_the_momentum_of_what_stayed():
    run = Run(lenet(), DATA, SPEC).step(5)
    before = run.optimizer.state[run.model.fc2.weight]["momentum_buffer"].clone()
    run.edit("conv2", out_channels=40)
    held = {id(param) for group in run.optimizer.param_groups for param in group["params"]}
    assert held == {id(param) for param in run.model.parameters()}
    assert torch.equal(run.optimizer.state[run.model.fc2.weight]["momentum_buffer"], before)
    assert run.optimizer.state[run.model.conv2.weight]["momentum_buffer"].shape == run.model.conv2.weight.shape
    weight = run.model.conv2.weight.detach().clone()
    run.step()
    assert not torch.equal(weight, run.model.conv2.weight)
    run.stop()


def test_each_step_after_an_edit_has_gradients_of_its_own():
    """Steps so small that the gradients of two of them are the same: were they added up, the second would be double."""
    run = Run(lenet(), DATA, SPEC.replace(momentum=0.0, lr=1e-4, batch_size=200, epochs=9)).step()
    run.edit("conv2", out_channels=40)
    weight = run.model.fc1.weight
    moves = []
    for _ in range(3):
        before = weight.detach().clone()
        run.step()
        moves.append((weight.detach() - before).norm().item())
    assert max(moves) < 1.1 * min(moves)
    run.stop()


def test_a_running_run_is_edited_and_goes_on():
    run = Run(lenet(), DATA, SPEC.replace(epochs=100_000)).start()
    until(lambda: run.history.num_steps > 3)
    run.edit("fc1", out_features=32)
    until(lambda: run.state == "running")
    goes_on(run)
    assert str(run.journal[0]) == "fc1: out_features=32"
    run.stop()


def test_a_paused_run_stays_paused_and_a_refused_edit_changes_nothing():
    run = Run(lenet(), DATA, SPEC).step(2)
    before = state_of(run.model)
    with pytest.raises(EditError, match="conv1"):
        run.edit("conv1", kernel_size=99)
    assert same(before, state_of(run.model))
    assert (run.state, run.journal) == ("paused", ())
    run.edit("relu1", activation="gelu")
    assert run.state == "paused"
    assert type(run.model.relu1) is nn.GELU
    run.resume().wait()
    assert run.state == "finished"
    with pytest.raises(RuntimeError, match="this run is finished; edit the model itself"):
        run.edit("conv1", out_channels=8)


def test_weights_of_another_structure_are_not_put_back():
    run = Run(lenet(), DATA, SPEC).step(25)
    run.edit("conv2", out_channels=48)
    with pytest.raises(RuntimeError, match="no epoch has ended yet"):
        run.restore("best")
    with pytest.raises(RuntimeError, match="was edited since this run began"):
        run.restore("start")
    run.stop()


def test_nobody_else_trains_the_edited_weights():
    run = Run(lenet(), DATA, SPEC).step(2)
    before = {id(param) for param in run.model.parameters()}
    run.edit("conv1", out_channels=24).edit("conv2", out_channels=48)
    run.edit("fc1", out_features=32).edit("fc2", bias=False)
    assert not before & {id(param) for param in run.model.parameters()}
    with pytest.raises(RuntimeError, match="already being trained"):
        Run(run.model, DATA, SPEC)
    run.stop()


def test_a_frozen_layer_does_not_move():
    run = Run(lenet(), DATA, SPEC).step(3)
    run.apply(Edit("conv1", action="freeze"))
    weight = run.model.conv1.weight.detach().clone()
    run.step(3)
    assert torch.equal(weight, run.model.conv1.weight)
    run.apply(Edit("conv1", action="thaw"))
    run.step(1)
    assert not torch.equal(weight, run.model.conv1.weight)
    run.stop()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_layer_that_was_frozen_before_the_run_is_trained_once_it_is_thawed(optimizer):
    def frozen() -> nn.Module:
        model = lenet()
        model.conv1.requires_grad_(False)
        return model

    run = Run(frozen(), DATA, SPEC.replace(optimizer=optimizer, lr=0.002)).step(4)
    before = run.model.conv1.weight.detach().clone()
    run.apply(Edit("conv1", {}, "thaw")).step(1)
    assert not torch.equal(before, run.model.conv1.weight)
    now = run.model.conv1.weight.detach().clone()
    run.apply("undo").step(1)
    assert torch.equal(run.model.conv1.weight, before)
    run.apply("redo").resume().wait()
    assert not torch.equal(run.model.conv1.weight, now)
    again = fit(frozen(), DATA, run.spec, journal=run.journal)
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
