"""Hands of every kind on one bench, in any order: never two runs, what is shown is in force, the journal replays."""

import logging
import threading

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn
from waiting import until

import convlab
from convlab.models.borrow import restore, snapshot
from convlab.panels.lab import Lab
from convlab.spec import SpecError
from convlab.training.active import active_runs
from convlab.training.journal import LIVE_SETTINGS

torch.set_num_threads(1)

X = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3

LR = st.sampled_from([1e-6, 1e-3, 0.01, 0.3, 0.05, 0.0123, 3.0])
BUTTONS = st.sampled_from(["run", "run", "pause", "step", "stop", "reset"])


class Complaints(logging.Handler):
    """What ipywidgets writes to the log instead of raising it."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.records = []

    def emit(self, record):
        self.records.append(record)


class Hands(RuleBasedStateMachine):
    @initialize(epochs=st.integers(1, 15), dropout=st.booleans())
    def open(self, epochs, dropout):
        torch.manual_seed(1)
        layers = [nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)]
        if not dropout:
            del layers[3]
        self.model = nn.Sequential(*layers)
        spec = convlab.TrainSpec(epochs=epochs, batch_size=8)
        self.lab = Lab(self.model, ((X, Y), (X[:6], Y[:6])), spec)
        self.started_from = {}
        self.complaints = Complaints()
        self.lab.log.addHandler(self.complaints)

    @property
    def run(self):
        return self.lab.current

    def dropout(self):
        return next((layer.p for layer in self.model if isinstance(layer, nn.Dropout)), None)

    @rule(names=st.lists(BUTTONS, min_size=1, max_size=3))
    def press(self, names):
        for name in names:
            idle = self.run is None or self.run.ended
            before, number = (snapshot(self.model), self.dropout()) if idle else None, len(self.lab.runs)
            self.lab.transport.buttons[name].click()
            if len(self.lab.runs) > number:
                assert name in ("run", "step")
                assert before is not None
                self.started_from[self.run] = before

    @rule(value=LR)
    def drag(self, value):
        control = self.lab.settings.controls["lr"]
        if value in [number for _, number in control.options]:
            control.value = value
        else:
            self.lab.set(lr=value)

    @rule(name=st.sampled_from(["momentum", "weight_decay", "batch_size", "dropout"]), place=st.floats(0, 1))
    def slide(self, name, place):
        control = self.lab.settings.controls.get(name)
        if control is not None and not control.disabled:
            control.index = round(place * (len(control.options) - 1))

    @rule(epochs=st.integers(-3, 20), seed=st.integers(-2, 5), optimizer=st.sampled_from(["sgd", "adam", "rmsprop"]))
    def type_in(self, epochs, seed, optimizer):
        # The page may send what the kernel has just locked: it arrives all the same.
        controls = self.lab.settings.controls
        controls["epochs"].value = epochs
        controls["seed"].value = seed
        controls["optimizer"].value = optimizer

    @rule(value=LR, epochs=st.integers(1, 20))
    def set_from_a_cell(self, value, epochs):
        if self.run is not None and not self.run.ended:
            try:
                self.run.set(lr=value, epochs=epochs)
            except RuntimeError:
                assert self.run.ended

    @rule(lr=st.sampled_from([-1.0, float("nan"), 1e9]))
    def set_nonsense(self, lr):
        before = self.lab.spec
        try:
            self.lab.set(lr=lr)
        except SpecError:
            assert self.lab.spec == before
        else:
            raise AssertionError(f"lr={lr} was taken")

    @rule(place=st.floats(0, 1))
    def look_back(self, place):
        if self.run is not None and not self.run.ended:
            self.lab.pause()
        slider = self.lab.timeline.slider
        if not slider.disabled:
            slider.value = slider.options[round(place * (len(slider.options) - 1))][1]

    @rule()
    def fork_here(self):
        parent, number = self.run, len(self.lab.runs)
        self.lab.timeline.fork_button.click()
        if len(self.lab.runs) > number:
            assert parent.ended
            self.started_from[self.run] = self.started_from[parent]  # the journal tells the rest

    @rule()
    def settle(self):
        until(lambda: self.run is None or self.run.ended or self.run.state == "paused")

    @invariant()
    def never_two_runs(self):
        alive = active_runs(self.model)
        assert len(alive) <= 1
        assert all(run is self.run for run in alive)
        assert all(run.ended for run in self.lab.runs[:-1])

    @invariant()
    def nothing_escaped(self):
        assert not self.complaints.records, self.complaints.records[0].getMessage()
        if self.run is not None:
            # A listener that raises is dropped.
            assert self.lab.on_run in self.run._listeners

    @invariant()
    def shown_is_in_force(self):
        spec, controls = self.lab.spec, self.lab.settings.controls
        for name, control in controls.items():
            if (value := getattr(spec, name)) is not None:
                assert control.value == value, name
        run = self.run
        if run is not None and run.state == "paused" and run.shown_step is None:
            until(lambda: run.state != "paused" or _alike(self.lab.spec, run.settings))
            assert run.state != "paused" or self.lab.settings.controls["lr"].value == run.settings.lr

    def teardown(self):
        if not hasattr(self, "lab"):
            return
        self.lab.stop()
        self.lab.log.removeHandler(self.complaints)
        for run in self.lab.runs[-2:]:
            self.replays(run)
        self.lab.close()
        self.lab.close()
        assert not active_runs(self.model)
        assert "convlab-run" not in [thread.name for thread in threading.enumerate() if thread.is_alive()]

    def replays(self, run):
        """From the same weights the same recipe and journal give the same losses, bit for bit."""
        weights, dropout = self.started_from[run]
        restore(weights)
        for layer in self.model:
            if isinstance(layer, nn.Dropout):
                layer.p = dropout
        again = convlab.Run(self.model, self.lab.data, run.spec, journal=run.journal)
        again.step(max(1, run.history.num_steps)).stop()
        steps = min(run.history.num_steps, again.history.num_steps)
        assert again.history.train_loss[:steps].tolist() == run.history.train_loss[:steps].tolist()


def _alike(spec, in_force):
    return all(getattr(spec, name) == getattr(in_force, name) for name in LIVE_SETTINGS if name != "dropout")


Hands.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestHands = pytest.mark.slow(Hands.TestCase)
