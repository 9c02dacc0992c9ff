"""Controls from many threads, in any order; interrupts; the end of the process."""

import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from driving import goes_on, stands_still
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from textbook import some_digits
from waiting import until

from convlab.models.gallery import lenet
from convlab.spec import SpecError, TrainSpec
from convlab.training.active import active_runs
from convlab.training.run import Run

pytestmark = pytest.mark.timeout(150)


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


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "runs[0].pause()", "raise SystemExit(0)", "runs[0].stop(wait=False)"])
def test_process_ends_while_a_run_is_on(ending):
    command = [sys.executable, "-c", SCRIPT.format(ending)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
