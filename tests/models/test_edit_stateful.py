"""Random edits, undos, redos and training steps, on networks of every family."""

import pytest
import torch
from edit_nets import NETS, SIZE, bits, made, same
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn, optim

from convlab.models.live import EditError, bind
from convlab.models.trace import trace

X = torch.randn(4, *SIZE[1:], generator=torch.Generator().manual_seed(1))
VALUES = {
    "out_channels": st.integers(1, 9),
    "out_features": st.integers(1, 9),
    "kernel_size": st.integers(1, 6),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 3) | st.just("same"),
    "dilation": st.integers(1, 2),
    "groups": st.integers(1, 4),
    "num_groups": st.integers(1, 4),
    "output_size": st.integers(1, 3),
    "p": st.floats(0, 1),
    "eps": st.just(1e-4),
    "momentum": st.just(0.3),
    "activation": st.sampled_from(["ReLU", "PReLU", "GELU", "Tanh", "ELU"]),
    "norm": st.sampled_from(["batch", "group", "instance", "layer", "none"]),
    "pool": st.sampled_from(["max", "avg"]),
    "negative_slope": st.just(0.2),
    "alpha": st.just(0.7),
}
PUT_IN = ["batchnorm", "dropout", nn.GELU(), nn.Conv2d(1, 3, 3, padding=1), nn.Linear(1, 5), nn.AvgPool2d(2, 1)]


class Editing(RuleBasedStateMachine):
    name = ""

    @initialize()
    def start(self):
        self.model = made(self.name).train()
        self.live = bind(self.model, SIZE)
        self.optimizer = optim.SGD(self.model.parameters(), 1e-3, momentum=0.9)
        self.undone, self.redone = [], []

    def attempt(self, act):
        """Make an edit; refused, it must leave every bit."""
        before = bits(self.model)
        planned = self.live.journal
        try:
            act()
        except EditError:
            assert same(bits(self.model), before)
            assert self.live.journal == planned
            return False
        if self.live.journal != planned:
            self.undone.append(before)
            self.redone.clear()
        return True

    @rule(data=st.data())
    def edit(self, data):
        layers = {path: layer for path, layer in self.live.layers.items() if set(layer.settings) & set(VALUES)}
        path = data.draw(st.sampled_from(sorted(layers)), "layer")
        layer, module = layers[path], self.model.get_submodule(path)
        name = data.draw(st.sampled_from(sorted(set(layer.settings) & set(VALUES))), "setting")
        value = data.draw(VALUES[name], "value")
        kept = {n: p.detach().clone() for n, p in module.named_parameters()}
        if not self.attempt(lambda: self.live.edit(path, optimizer=self.optimizer, **{name: value})):
            return
        assert self.live.layers[path].settings[name] == value
        now = self.model.get_submodule(path)
        if name not in ("activation", "norm", "pool"):
            assert now is module
        if name in ("kernel_size", "stride", "padding", "dilation") and type(now) is type(module):
            self.check_taps(kept, now)

    def check_taps(self, kept, layer):
        """Taps that the kernels before and after have in common are the same bits, counted from the centre."""
        if "weight" not in kept or not isinstance(layer, nn.modules.conv._ConvNd):
            return
        old, new = kept["weight"], layer.weight.detach()
        assert old.shape[:2] == new.shape[:2]
        for axis in range(2, old.dim()):
            shift = (new.shape[axis] - 1) // 2 - (old.shape[axis] - 1) // 2
            low, high = max(0, shift), min(new.shape[axis], old.shape[axis] + shift)
            new = new.narrow(axis, low, high - low)
            old = old.narrow(axis, low - shift, high - low)
        assert torch.equal(old, new)

    @rule(data=st.data(), after=st.booleans(), layer=st.sampled_from(PUT_IN))
    def insert(self, data, after, layer):
        path = data.draw(st.sampled_from(sorted(self.live.layers)), "beside")
        put = self.live.insert_after if after else self.live.insert
        self.attempt(lambda: put(path, layer, optimizer=self.optimizer))

    @rule(data=st.data())
    def remove(self, data):
        path = data.draw(st.sampled_from(sorted(self.live.layers)), "layer")
        self.attempt(lambda: self.live.remove(path, optimizer=self.optimizer))

    @rule(data=st.data(), freeze=st.booleans())
    def freeze_or_thaw(self, data, freeze):
        path = data.draw(st.sampled_from(sorted(self.live.layers)), "layer")
        self.attempt(lambda: self.live.freeze(path) if freeze else self.live.thaw(path))

    @rule()
    def train(self):
        self.optimizer.zero_grad()
        loss = self.model(X).square().mean()
        if loss.requires_grad and torch.isfinite(loss):
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
            self.optimizer.step()

    @precondition(lambda self: self.undone)
    @rule()
    def undo(self):
        self.redone.append(bits(self.model))
        self.live.undo(optimizer=self.optimizer)
        assert same(bits(self.model), self.undone.pop())

    @precondition(lambda self: self.redone)
    @rule()
    def redo(self):
        self.undone.append(bits(self.model))
        self.live.redo(optimizer=self.optimizer)
        assert same(bits(self.model), self.redone.pop())

    @invariant()
    def it_runs_and_the_trace_agrees(self):
        if not hasattr(self, "model"):
            return
        sizes = {}
        handles = [
            module.register_forward_hook(lambda m, _, y: sizes.__setitem__(id(m), tuple(y.shape)))
            for module in self.model.modules()
            if not module._modules
        ]
        modes = [(m, m.training) for m in self.model.modules()]
        buffers = [(b, b.clone()) for b in self.model.buffers()]
        with torch.no_grad():
            y = self.model.eval()(torch.zeros(SIZE))
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
        for buffer, was in buffers:
            buffer.copy_(was)
        found = trace(self.model, SIZE)
        assert found.error is None
        assert found.output.output_size == tuple(y.shape)
        for path, module in self.model.named_modules():
            if id(module) in sizes:
                assert found[path].output_size == sizes[id(module)]

    @invariant()
    def the_optimizer_holds_the_parameters(self):
        if hasattr(self, "model"):
            held = [id(p) for group in self.optimizer.param_groups for p in group["params"]]
            assert held == [id(p) for p in self.model.parameters()]
            for p, state in self.optimizer.state.items():
                assert all(v.shape == p.shape for v in state.values() if v is not None)


@pytest.mark.parametrize("name", sorted(NETS))
def test_any_sequence_of_edits(name):
    machine = type("Machine", (Editing,), {"name": name})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    machine.TestCase.settings = settings(
        max_examples=6, stateful_step_count=12, deadline=None, suppress_health_check=checks, report_multiple_bugs=False
    )
    machine.TestCase().runTest()
