"""The controls of a run: from any thread, at step boundaries, exactly."""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from textbook import some_digits
from torch import nn

from convlab.models.gallery import lenet
from convlab.spec import SpecError, TrainSpec
from convlab.training.active import active_runs
from convlab.training.fit import fit
from convlab.training.run import Run

pytestmark = pytest.mark.timeout(60)

LONG = TrainSpec(epochs=100_000, batch_size=20)


@pytest.fixture
def run():
    run = Run(lenet(), some_digits(), LONG)
    yield run
    run.stop()


def stands_still(run):
    steps, weights = run.history.num_steps, [p.detach().clone() for p in run.model.parameters()]
    time.sleep(0.15)
    assert run.history.num_steps == steps
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), weights, strict=True))
    return steps


def goes_on(run):
    steps = run.history.num_steps
    until(lambda: run.history.num_steps > steps + 2)


def until(condition, timeout=30):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "still not so"
        time.sleep(0.002)


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
    prepared = Run(run.model, some_digits(), LONG)
    run.start()
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
    import gc

    gc.collect()
    assert ghost() is None


# -- settings in flight ------------------------------------------------------------------------------------------------


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
    times = []
    run.watch(lambda run: times.append(time.monotonic()))
    run.start()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        run.set(lr=random.uniform(0.001, 0.1))
        time.sleep(0.001)
    assert 3 <= len([t for t in times if t < end]) <= 14


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


# -- many hands --------------------------------------------------------------------------------------------------------


def test_controls_from_many_threads_at_once(run):
    run.start()
    errors = []

    def hammer(seed):
        dice = random.Random(seed)
        acts = [
            run.pause,
            run.resume,
            lambda: run.step(dice.randint(1, 3)),
            lambda: run.set(lr=dice.uniform(0.001, 0.01)),
            lambda: run.set(batch_size=dice.randint(1, 50)),
            lambda: run.pause(wait=False),
            lambda: (run.progress, run.history.to_dataframe(), run.journal),
        ]
        try:
            for _ in range(40):
                dice.choice(acts)()
        except Exception as error:
            errors.append(error)

    hands = [threading.Thread(target=hammer, args=(seed,)) for seed in range(6)]
    for hand in hands:
        hand.start()
    # A waiting hand is freed by whoever resumes or stops: the last one may wait for a pause that somebody undid.
    while any(hand.is_alive() for hand in hands):
        time.sleep(0.05)
        run.pause(wait=False)
    assert not errors
    run.pause()
    steps = stands_still(run)
    run.step(5)
    assert stands_still(run) == steps + 5


def test_concurrent_single_steps_add_up(run):
    hands = [threading.Thread(target=lambda: [run.step(wait=False) for _ in range(10)]) for _ in range(5)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    until(lambda: run.history.num_steps == 50)
    assert stands_still(run) == 50


class Hands(RuleBasedStateMachine):
    """Any sequence of controls, against a model of what a run must do."""

    def __init__(self):
        super().__init__()
        torch.set_num_threads(1)
        self.run = Run(DRIVEN, some_digits(40), TrainSpec(epochs=10**6, batch_size=20))
        self.state, self.steps, self.lr, self.changes = "pending", 0, 0.05, []

    @rule()
    def pause(self):
        self.run.pause()
        if self.state == "running":
            self.state, self.steps = "paused", self.run.history.num_steps
        elif self.state == "pending":
            self.state = "pending, paused"

    @rule()
    def resume(self):
        self.run.resume()
        if self.state == "paused":
            self.state = "running"
        elif self.state == "pending, paused":
            self.state = "pending"

    @rule(count=st.integers(1, 3))
    def step(self, count):
        if self.state == "stopped":
            with pytest.raises(RuntimeError):
                self.run.step(count)
            return
        if self.state == "running":
            self.run.pause()
            self.steps = self.run.history.num_steps
        self.run.step(count)
        self.state, self.steps = "paused", self.steps + count

    @precondition(lambda self: self.state == "pending")
    @rule()
    def start(self):
        self.run.start()
        self.state = "running"

    @rule()
    def start_again(self):
        if not self.state.startswith("pending"):
            with pytest.raises(RuntimeError):
                self.run.start()

    @rule(lr=st.floats(0.001, 0.1))
    def set(self, lr):
        if self.state == "stopped":
            with pytest.raises(RuntimeError):
                self.run.set(lr=lr)
            return
        self.run.set(lr=lr)
        if lr != self.lr:
            self.lr = lr
            self.changes.append(lr)

    @rule(momentum=st.sampled_from([-1, 1.0, "x", None]), lr=st.floats(0.001, 0.1))
    def set_badly(self, momentum, lr):
        with pytest.raises((SpecError, RuntimeError)):
            self.run.set(lr=lr, momentum=momentum)

    @rule()
    def second_run(self):
        if self.state in ("running", "paused"):
            with pytest.raises(RuntimeError):
                Run(DRIVEN, some_digits(40))

    @precondition(lambda self: random.random() < 0.2)
    @rule()
    def stop(self):
        self.run.stop()
        if self.state == "running":
            self.steps = self.run.history.num_steps
        self.state = "stopped"

    @invariant()
    def as_expected(self):
        assert self.run.state == self.state.partition(",")[0] or self.state == "running"
        if self.state != "running":
            assert self.run.history.num_steps == self.steps
        if self.state == "paused":
            until(lambda: [c.new for c in self.run.journal] == self.changes)

    def teardown(self):
        self.run.stop()
        assert self.run.state == "stopped"
        assert not active_runs(DRIVEN)


DRIVEN = lenet()
Hands.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_any_sequence_of_controls = Hands.TestCase


# -- interrupts and exits ----------------------------------------------------------------------------------------------


def test_interrupt_stops_after_a_whole_step(run):
    run.start()
    goes_on(run)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    main = threading.main_thread()
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(main.ident, signal.SIGINT))
    timer.start()
    run.wait()
    assert run.state == "stopped"
    assert run.error is None
    assert all(torch.isfinite(p).all() for p in run.model.parameters())
    stands_still(run)


def test_second_interrupt_raises(run):
    entered, leave = threading.Event(), threading.Event()

    def stuck(run):
        if run.history.num_steps:
            entered.set()
            leave.wait()

    run.watch(stuck)
    run.start()
    entered.wait()
    main = threading.main_thread()
    timers = [threading.Timer(s, lambda: signal.pthread_kill(main.ident, signal.SIGINT)) for s in (0.1, 0.3)]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    leave.set()
    assert run.wait().state == "stopped"


SCRIPT = """
import threading, time, torch
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.run import Run
torch.set_num_threads(1)
runs = [Run(lenet(), "digits", TrainSpec(epochs=10**6)).start() for _ in range(2)]
while min(run.history.num_steps for run in runs) < 5:
    time.sleep(0.001)
{}
"""


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "runs[0].pause()", "runs[0].stop(wait=False)"])
def test_process_ends_while_a_run_is_on(ending):
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(ending)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
