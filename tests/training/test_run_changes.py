"""What may be changed in a run under way, and who hears of it."""

import random
import time

import pytest
import torch
from driving import LONG, goes_on, stands_still
from textbook import some_digits
from torch import nn
from waiting import until

from convlab.models.gallery import lenet
from convlab.spec import SpecError, TrainSpec
from convlab.training.run import CHANGE_SECONDS, Run

pytestmark = pytest.mark.timeout(150)


def test_set_takes_effect_at_the_next_step_and_is_journaled(run):
    run.step(3)
    run.set(lr=0.2, weight_decay=0.01)
    run.step(2)
    run.set(lr=0.1).step()
    assert [(c.step, c.name, c.old, c.new) for c in run.journal] == [
        (3, "lr", 0.05, 0.2),
        (3, "weight_decay", 0.0, 0.01),
        (5, "lr", 0.2, 0.1),
    ]
    assert run.history.lr.tolist() == [0.05] * 3 + [0.2] * 2 + [0.1]
    assert run.optimizer.param_groups[0]["lr"] == 0.1
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.01
    assert run.settings.lr == 0.1
    assert run.spec.lr == 0.05
    assert str(run.journal[0]) == "lr 0.05 → 0.2"


def test_set_while_paused_is_in_force_at_once(run):
    run.step()
    run.set(lr=0.5)
    until(lambda: run.optimizer.param_groups[0]["lr"] == 0.5)
    assert (run.state, run.history.num_steps) == ("paused", 1)
    run.pause()
    assert (run.state, stands_still(run)) == ("paused", 1)


def test_set_before_start_counts_from_step_0(run):
    run.set(lr=0.3).step()
    assert (run.journal[0].step, run.history.lr.tolist()) == (0, [0.3])


def test_set_to_what_it_is_leaves_no_entry(run):
    run.set(lr=0.05, momentum=0.9).step()
    assert run.journal == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.1, "momentum": 1.5}, "momentum must be"),
        ({"lr": -1}, "lr must be"),
        ({"lr": 0.1, "seed": 3}, "seed cannot change during a run"),
        ({"lr": 0.1, "learning_rate": 3}, "learning_rate cannot change"),
        ({"lr": 0.1, "betas": (0.5, 0.5)}, "betas is no setting of sgd; it has momentum"),
        ({"lr": 0.1, "dropout": 0.5}, "no dropout layer"),
        ({"batch_size": 2.5}, "batch_size must be"),
    ],
)
def test_an_impossible_set_changes_nothing(run, changes, message):
    run.step()
    before = run.settings, dict(run.optimizer.param_groups[0])
    with pytest.raises(SpecError, match=message):
        run.set(**changes)
    run.step()
    after = run.settings, dict(run.optimizer.param_groups[0])
    assert before[0] == after[0]
    assert before[1] == after[1]
    assert run.journal == ()


def test_batch_size_of_a_loader_is_its_own():
    train = some_digits().train
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(train.x, train.y), batch_size=30)
    run = Run(lenet(), loader, LONG)
    with pytest.raises(SpecError, match="DataLoader"):
        run.set(batch_size=5)


def test_batch_size_changes_within_the_epoch_and_no_sample_is_lost():
    sizes = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = lenet()

        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return self.net(x)

    run = Run(Net(), some_digits(100), TrainSpec(epochs=2, batch_size=30))
    run.step()
    run.set(batch_size=7).step(2)
    run.set(batch_size=50).resume().wait()
    assert sizes == [30, 7, 7, 50, 6, 50, 50]
    assert run.history.num_epochs == 2


def test_epochs_move_the_end(run):
    run.step(3)
    run.set(epochs=2).resume().wait()
    assert (run.state, run.history.num_epochs, run.history.num_steps) == ("finished", 2, 20)


def test_dropout_is_set_on_every_layer_and_given_back():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10), nn.Sequential(nn.Dropout1d(0.2)))
    run = Run(model, some_digits(), LONG.replace(dropout=0.4))
    layers = model[1], model[3][0]
    assert [layer.p for layer in layers] == [0.4, 0.4]
    run.set(dropout=0.7).step()
    assert [layer.p for layer in layers] == [0.7, 0.7]
    run.set(dropout=None).step()
    assert [layer.p for layer in layers] == [0.1, 0.2]
    run.stop()


def test_dropout_without_a_layer():
    with pytest.raises(SpecError, match=r"nn.Dropout\(0.2\)"):
        Run(lenet(), some_digits(), TrainSpec(dropout=0.5))


# -- watching ----------------------------------------------------------------------------------------------------------


def test_listeners_hear_every_state_in_order(run):
    states = []
    run.watch(lambda run: states.append(run.state))
    run.step(2)
    run.resume()
    goes_on(run)
    run.pause()
    run.stop()
    changes = [state for i, state in enumerate(states) if i == 0 or state != states[i - 1]]
    assert changes == ["running", "paused", "running", "paused", "running", "paused", "stopped"][-len(changes) :]
    assert changes[-1] == "stopped"


def test_listeners_hear_ten_times_a_second_at_most_however_fast_a_hand_drags(run):
    heard = []
    run.watch(lambda run: heard.append(run.state))
    began = time.monotonic()
    run.start()
    while len(heard) < 5:
        run.set(lr=random.uniform(0.001, 0.1))
        time.sleep(0.001)
    # Beside one for each tick so far there is one for the start, and one for the tick that is due at once.
    assert len(heard) <= (time.monotonic() - began) / CHANGE_SECONDS + 2


def test_a_listener_that_raises_is_dropped(run):
    calls = []

    def broken(run):
        calls.append(run.state)
        raise RuntimeError("display gone")

    def leaves(run):
        end()
        raise RuntimeError("already gone")

    run.watch(broken)
    end = run.watch(leaves)
    run.step(3)
    assert run.state == "paused"
    assert len(calls) == 1


def test_watching_ends(run):
    calls = []
    end = run.watch(lambda run: calls.append(1))
    run.step()
    end()
    end()
    seen = len(calls)
    run.step()
    assert len(calls) == seen


def test_controls_from_a_listener_do_not_block(run):
    run.watch(lambda run: run.pause() if run.history.num_steps == 4 else None)
    run.step(4)
    run.watch(lambda run: run.stop())
    run.resume()
    assert run.wait().state == "stopped"
