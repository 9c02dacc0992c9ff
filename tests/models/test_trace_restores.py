"""A trace leaves the model bit for bit as it was, also when it fails, also while others run the same model."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from convlab.models.trace import trace

IMAGE = (2, 3, 16, 16)


class Busy(nn.Module):
    """Everything that a forward may change beside its result."""

    def __init__(self, *, fails: bool = False, decides: bool = False) -> None:
        super().__init__()
        self.fails, self.decides = fails, decides
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).eval()
        self.old_weight_norm, self.old_spectral = weight_norm(nn.Conv2d(4, 4, 1)), spectral_norm(nn.Conv2d(4, 4, 1))
        self.weight_norm = parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.spectral = parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))
        self.pruned = prune.l1_unstructured(nn.Conv2d(4, 4, 1), "weight", 0.5)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("average", torch.zeros(4))
        self.calls, self.kept, self.cache, self.seen = 0, None, {}, ["start"]

    def forward(self, x):
        self.calls += 1
        x = self.frozen(self.bn(self.conv(x)))
        x = self.spectral(self.weight_norm(self.old_spectral(self.old_weight_norm(self.pruned(x)))))
        self.kept = x
        self.cache["x"] = x
        self.seen.append("x")
        self.mean += 1
        self.average.mul_(0.9).add_(x.detach().mean((0, 2, 3)), alpha=0.1)
        self.mean = self.mean + x.mean()
        x = F.dropout(x, 0.5, training=True) + torch.rand_like(x) + torch.randn(1) + random.random() + np.random.rand()
        x = (
            F.rrelu(F.alpha_dropout(x, 0.1, True), training=True)
            * torch.randperm(4)[0]
            * torch.bernoulli(torch.full((1,), 0.5))
        )
        if self.decides and x.mean() > 1e9:
            x = -x
        return nn.Linear(3, 3)(x) if self.fails else x


def facts(model: nn.Module) -> dict[str, object]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        "attributes": [
            {
                name: id(value) if isinstance(value, torch.Tensor) else repr(value)
                for name, value in vars(m).items()
                if name[:1] != "_"
            }
            for m in model.modules()
        ],
        "buffers": [{name: id(value) for name, value in m._buffers.items()} for m in model.modules()],
        "parameters": [{name: id(value) for name, value in m._parameters.items()} for m in model.modules()],
        "marks": [dict(vars(t)) for t in (*model.parameters(), *model.buffers())],
        "modes": [m.training for m in model.modules()],
        "hooks": [[list(vars(m)[name]) for name in names] for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grads": [p.grad is None for p in model.parameters()],
        "versions": [t._version for t in (*model.parameters(), *model.buffers())],
        "classes": [type(m) for m in model.modules()],
        "call": (nn.Module.__call__, nn.Module._call_impl),
        "streams": (random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]),
        "torch": torch.get_rng_state().tolist(),
    }


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("decides", [False, True])
@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_everything_is_as_it_was(fails, decides, mode):
    model = Busy(fails=fails, decides=decides).train(mode)
    model.frozen.eval()
    model.conv.weight.requires_grad_(False)
    model.conv.register_forward_hook(lambda *_: None)
    values = copy.deepcopy(model.state_dict())
    before = facts(model)
    traced = trace(model, IMAGE)
    assert (traced.error is not None) == fails
    assert traced.calls("bn")
    assert facts(model) == before
    now = model.state_dict()
    assert list(now) == list(values)
    assert all(torch.equal(now[name], values[name]) for name in values)
    assert all(tensor.device.type == "cpu" for tensor in now.values())


def test_the_check_above_sees_a_real_forward():
    model = Busy().train()
    before = facts(model)
    model(torch.rand(IMAGE))
    after = facts(model)
    changed = {name for name in before if after[name] != before[name]}
    assert {"attributes", "buffers", "versions", "streams", "torch"} <= changed


def test_lazy_modules_stay_lazy():
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    state = torch.get_rng_state()
    traced = trace(net, IMAGE)
    assert [record.num_params for record in traced] == [3 * 4 * 9 + 4, 8, 0, 0, 4 * 14 * 14 * 5 + 5]
    assert [type(m).__name__ for m in net] == ["LazyConv2d", "LazyBatchNorm2d", "ReLU", "Flatten", "LazyLinear"]
    assert all(m.has_uninitialized_params() for m in (net[0], net[1], net[4]))
    assert torch.equal(torch.get_rng_state(), state)
    assert trace(net, (1, 5, 9, 9)).output.output_size == (1, 5)
    assert net(torch.rand(IMAGE)).shape == (2, 5)


def test_a_lazy_module_called_twice_is_one_module():
    conv = nn.LazyConv2d(3, 3, padding=1)
    traced = trace(nn.Sequential(conv, nn.ReLU(), conv), (1, 3, 8, 8))
    assert traced.output.receptive_field.size == (5, 5)
    mismatch = trace(nn.Sequential(conv, nn.Conv2d(3, 4, 1), conv), (1, 3, 8, 8))
    assert "0.in_channels should be 4, is 3" in str(mismatch.error)


def test_a_trace_allocates_no_activations():
    from torch.utils._python_dispatch import TorchDispatchMode

    made = []

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type != "meta":
                made.append(out.numel())
            return out

    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    with Counter():
        trace(net, (64, 3, 512, 512))
    assert sum(made) < 1000


def test_huge_inputs_cost_nothing():
    record = trace(
        nn.Sequential(nn.Conv2d(3, 512, 3), nn.Conv2d(512, 512, 3, groups=512)), (10_000, 3, 3000, 3000)
    ).output
    assert record.memory == 10_000 * 512 * 2996 * 2996 * 4


def test_a_thread_may_train_the_model_meanwhile():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 2)
    )

    def train(model, steps, before_step=lambda: None):
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        losses = []
        for step in range(steps):
            before_step()
            model.train(step % 2 == 0)
            loss = model(torch.rand(4, 3, 8, 8)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    alone = train(copy.deepcopy(model), 60)
    started, done = threading.Event(), threading.Event()
    result = []

    def work():
        result.append(train(model, 60, started.set))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    traces = 0
    while not done.is_set() or traces < 3:
        traced = trace(model, (1, 3, 8, 8))
        assert traced.error is None
        assert len(traced) == 6
        traces += 1
    thread.join()
    assert result[0] == alone  # neither values nor random numbers nor modes were touched
    assert not any("convlab" in str(vars(t)) for t in (*model.parameters(), *model.buffers()))


def test_two_threads_may_trace_at_once():
    model = nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1) for _ in range(20)])
    original = nn.Module.__call__, nn.Module._call_impl
    tables = []

    def work(size):
        tables.extend(repr(trace(model, (1, 2, size, size))) for _ in range(10))

    threads = [threading.Thread(target=work, args=(size,)) for size in (8, 8, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 30
    assert len(set(tables)) == 1
    assert (nn.Module.__call__, nn.Module._call_impl) == original


def test_a_trace_within_a_trace():
    class Curious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            inner = trace(self.conv, (1, 1, 9, 9))
            assert inner.output.output_size == (1, 1, 7, 7)
            return self.conv(x)

    original = nn.Module.__call__, nn.Module._call_impl
    traced = trace(Curious(), (1, 1, 8, 8))
    assert traced.error is None
    assert traced["conv"].output_size == (1, 1, 6, 6)
    assert (nn.Module.__call__, nn.Module._call_impl) == original


def test_an_interrupt_goes_through_and_leaves_no_patch():
    class Interrupts(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    original = nn.Module.__call__, nn.Module._call_impl
    with pytest.raises(KeyboardInterrupt):
        trace(Interrupts(), (1, 1, 8, 8))
    assert (nn.Module.__call__, nn.Module._call_impl) == original


class Slow(nn.Module):
    """Waits in the middle of its forward for another thread, and changes what that thread changes too."""

    def __init__(self):
        super().__init__()
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.switch, self.calls, self.last, self.own = False, 0, None, {"switch": "kept"}
        self.fc = nn.Linear(4, 2)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.began.set()
        assert self.may_go_on.wait(30)
        self.calls, self.last, self.mean = self.calls + 1, x, self.mean + x.mean()
        self.own["switch"] = "changed"
        return self.fc(x)


def test_what_another_thread_sets_meanwhile_stays_set():
    model = Slow()
    plain = nn.Module.__setattr__
    thread = threading.Thread(target=trace, args=(model, (1, 4)))
    thread.start()
    assert model.began.wait(30)
    model.switch, model.calls, model.added, model.fc.scale = True, 7, "new", 2.0
    model.mean = torch.ones(())
    model.may_go_on.set()
    thread.join()
    assert (model.switch, model.calls, model.added, model.fc.scale, model.mean.item()) == (True, 7, "new", 2.0, 1.0)
    assert (model.last, model.own) == (None, {"switch": "kept"})
    assert nn.Module.__setattr__ is plain
