"""`convlab.verify`: it proves right claims, exposes wrong ones, and gives the model back."""

import functools
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import nn

from convlab.geometry import Box
from convlab.models.trace import trace
from convlab.models.verify import verify

ZOO = zoo.load()


@functools.cache
def zoo_trace(name: str):
    entry = ZOO[name]
    if entry.data is None:
        return trace(entry.twin(), entry.inputs)
    args, kwargs = entry.call()
    return trace(entry.twin(), input_data=kwargs or args)


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if "loose" not in entry.flags])
def test_every_network_of_the_zoo_is_proved_at_its_centre_and_its_corner(name):
    traced = zoo_trace(name)
    corner = tuple(n - 1 for n in traced.output.output_size[1:])
    for unit in (None, corner):
        proof = verify(traced, unit=unit)
        assert proof.agrees, str(proof)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3, 2, 1))


def test_it_names_the_box_and_the_proof():
    proof = verify(trace(small().eval(), (1, 2, 17, 19)), unit=(4, 9))
    assert proof == verify(trace(small().eval(), (1, 2, 17, 19)), unit=(4, 9))
    assert (proof.path, proof.unit, proof.method, proof.agrees) == ("", (4, 9), "NaN", True)
    assert proof.found == proof.claimed == Box((6, 16), (10, 18))
    assert str(proof) == (
        "unit (4, 9) of the output sees exactly pixels 6..10 x 16..18, as the trace says "
        f"(NaN, {proof.num_runs} runs of the real model)."
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"dilation": (3, 3), "padding": (3, 3)}, Box((4, 4), (12, 12))),
        ({"kernel_size": (1, 1), "padding": (0, 0)}, Box((7, 7), (9, 9))),
        ({"padding": (3, 1)}, Box((4, 6), (8, 10))),
    ],
)
def test_a_claim_that_is_no_longer_true_is_exposed(change, found):
    model = small().eval()
    traced = trace(model, (1, 2, 17, 17))
    for name, value in change.items():
        setattr(model[0], name, value)
    if "kernel_size" in change:
        model[0].weight = nn.Parameter(model[0].weight[:, :, 1:2, 1:2].clone())
    proof = verify(traced, unit=(4, 4))
    assert not proof.agrees
    assert proof.claimed == Box((6, 6), (10, 10))
    assert proof.found == found
    assert "but the trace claims pixels 6..10 x 6..10" in str(proof)


def test_a_path_within_the_model():
    traced = trace(small().eval(), (1, 2, 17, 19))
    proof = verify(traced, "0", unit=(0, 5))
    assert proof.agrees
    assert proof.found == Box((0, 4), (1, 6))
    assert verify(traced, traced["2"], unit=(0, 5)).found == proof.found


def test_the_second_call_of_a_shared_module():
    conv = nn.Conv2d(2, 2, 3, padding=1)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return self.conv(self.conv(x)).relu()

    traced = trace(Twice(), (1, 2, 15, 15))
    first, second = traced.calls("conv")
    assert verify(traced, first, unit=(7, 7)).found == Box((6, 6), (8, 8))
    assert verify(traced, second, unit=(7, 7)).found == Box((5, 5), (9, 9))


def test_each_of_several_inputs():
    traced = zoo_trace("two_images")
    for name, size in zip(traced.output.receptive_fields, (9, 11), strict=True):
        proof = verify(traced, input=name)
        assert proof.agrees
        assert proof.found.size == (size, size)


def test_a_large_input_costs_few_runs():
    model = small().eval()
    traced = trace(model, (1, 2, 640, 512))
    right = verify(traced)
    assert right.agrees
    assert right.num_runs <= 1 + 2 * 4 + 4
    model[0].dilation, model[0].padding = (40, 40), (40, 40)
    wrong = verify(traced)
    assert not wrong.agrees
    assert wrong.found.size == (83, 83)
    assert wrong.num_runs <= 1 + 2 * (4 + 2 * 10) + 4


def test_an_image_without_batch():
    proof = verify(trace(nn.Conv2d(2, 3, 3, stride=2), (2, 15, 17)), unit=(3, 4))
    assert proof.agrees
    assert proof.found == Box((6, 8), (8, 10))


def test_a_unit_that_sees_nothing():
    traced = trace(nn.Conv2d(1, 1, 1, padding=2), (1, 1, 5, 5))
    proof = verify(traced, unit=(0, 3))
    assert proof.agrees
    assert proof.found.is_empty
    assert "no pixel" in str(proof)


# ------------------------------------------------------------------------------------------------ where NaN fails


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 2, 3, padding=1), function

    def forward(self, x):
        return self.function(self, x)


def test_numbers_take_over_where_an_operation_swallows_nan():
    net = Net(lambda m, x: torch.where(m.conv(x) > 0, 1.0, -1.0))
    proof = verify(trace(net, (1, 2, 13, 13)), unit=(6, 6))
    assert proof.method == "numbers"
    assert not proof.found.is_empty
    assert proof.agrees


def test_a_swallowed_dependence_that_the_trace_does_not_claim_is_exposed():
    net = Net(lambda m, x: torch.where(F.conv2d(x, m.conv.weight, padding=m.reach, dilation=m.reach) > 0, 1.0, -1.0))
    net.reach = 1
    traced = trace(net, (1, 2, 19, 19))
    net.reach = 5
    proof = verify(traced, unit=(9, 9))
    assert proof.method == "numbers"
    assert not proof.agrees


def test_taps_of_weight_zero_are_no_dependence():
    net = Net(lambda m, x: F.interpolate(m.conv(x), size=(25, 25), mode="bilinear", align_corners=True))
    traced = trace(net, (1, 2, 13, 13))
    proof = verify(traced, unit=(12, 12))
    assert proof.agrees
    assert proof.found == Box((5, 5), (7, 7))
    assert proof.method == "NaN and numbers"


def test_integers_change_places():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.conv = nn.Embedding(9, 4), nn.Conv1d(4, 3, 3, padding=1)

        def forward(self, ids):
            return self.conv(self.embed(ids).transpose(1, 2))

    torch.manual_seed(0)
    traced = trace(Text(), input_data=torch.randint(0, 9, (1, 30)))
    proof = verify(traced, unit=(12,))
    assert (proof.agrees, proof.method, proof.found) == (True, "numbers", Box((11,), (13,)))
    with pytest.raises(ValueError, match="one integer throughout"):
        verify(trace(Text(), input_data=torch.ones(1, 30, dtype=torch.long)))


# ------------------------------------------------------------------------------------------------ given back


def state_of(model):
    return {
        "tensors": {name: t.clone() for name, t in (*model.named_parameters(), *model.named_buffers())},
        "identity": {name: id(t) for name, t in (*model.named_parameters(), *model.named_buffers())},
        "modes": [m.training for m in model.modules()],
        "grads": [p.requires_grad for p in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "keys": [sorted(vars(m)) for m in model.modules()],
        "rng": torch.get_rng_state(),
    }


def assert_same_state(a, b):
    assert a["tensors"].keys() == b["tensors"].keys()
    for name, tensor in a["tensors"].items():
        assert torch.equal(tensor, b["tensors"][name]), name
    assert torch.equal(a.pop("rng"), b.pop("rng"))
    assert {k: v for k, v in a.items() if k != "tensors"} == {k: v for k, v in b.items() if k != "tensors"}


class Forgetful(nn.Module):
    """Keeps what it sees, averages it, replaces a buffer, draws random numbers."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.frozen = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.conv.weight.requires_grad_(False)
        self.register_buffer("average", torch.zeros(3))

    def forward(self, x):
        y = self.conv(x)
        self.last = y
        self.average = 0.9 * self.average + 0.1 * y.mean((0, 2, 3))
        return self.drop(self.frozen(y)) + self.norm(y)


def test_the_model_comes_back_bit_for_bit():
    model = Forgetful().train()
    model.frozen.eval()
    traced = trace(model, (2, 2, 9, 9))
    before = state_of(model)
    assert verify(traced).agrees
    assert_same_state(before, state_of(model))
    assert all(torch.isfinite(t).all() for t in model.state_dict().values())


def test_it_comes_back_also_when_the_model_raises():
    class Fussy(Forgetful):
        def forward(self, x):
            out = super().forward(x)
            if bool(x.isnan().any()):
                raise FloatingPointError("NaN is not welcome")
            return out

    model = Fussy().train()
    model.frozen.eval()
    traced = trace(Forgetful().train(), (2, 2, 9, 9))
    traced = trace(model, (2, 2, 9, 9)) if traced.error is None else traced
    before = state_of(model)
    with pytest.raises(FloatingPointError, match="not welcome"):
        verify(traced)
    assert_same_state(before, state_of(model))


def test_verify_leaves_gradients_alone():
    model = small()
    model(torch.rand(2, 2, 9, 9)).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    verify(trace(model, (1, 2, 9, 9)))
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, model.parameters(), strict=True))


# ------------------------------------------------------------------------------------------------ bad input


def test_what_cannot_be_verified_says_why():
    traced = trace(small().eval(), (1, 2, 17, 19))
    with pytest.raises(ValueError, match="'depth' is no input of this trace"):
        verify(traced, input="depth")
    with pytest.raises((ValueError, IndexError), match="40"):
        verify(traced, unit=(40, 2))
    with pytest.raises((ValueError, KeyError), match="layer9"):
        verify(traced, "layer9")
    called = trace(nn.Sequential(OrderedDict(body=Net(lambda m, x: F.relu(m.conv(x))))), (1, 2, 9, 9))
    with pytest.raises(ValueError, match=r"function call, and .* the module around it, 'body', would work"):
        verify(called, "body.relu")
    with pytest.raises(ValueError, match="meta device"):
        verify(trace(small().eval().to("meta"), (1, 2, 17, 19)))
    with pytest.raises(ValueError, match="lazy parameters"):
        verify(trace(nn.LazyConv2d(2, 3), (1, 2, 17, 19)))


def test_a_model_that_makes_nan_itself_proves_nothing():
    class Log(nn.Module):
        def forward(self, x):
            return torch.log(-x.abs() - 1)

    with pytest.raises(RuntimeError, match="is NaN for an unchanged input"):
        verify(trace(Log(), (1, 2, 9, 9)))
