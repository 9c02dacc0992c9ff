"""A bench comes back from its string as it began: the same string again, the same weights, the same curve."""

import contextlib
import json

import net_specs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import convlab
from convlab.lab_state import LabState
from convlab.models.build import build
from convlab.models.live import Edit, EditError, bind
from convlab.net_spec import Block, Head, NetSpec
from convlab.panels.lab import Lab
from convlab.panels.start import make_edits, state_of
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import SpecError, TrainSpec

ONE_CYCLE = ScheduleSpec("OneCycleLR", max_lr=0.2, total_steps=45)
SMALL = NetSpec((1, 8, 8), blocks=(Block(8, norm="batch", dropout=0.2), Block(12, kind="residual")), head=Head("avg"))
EDITS = (
    Edit("conv2", {"out_channels": 48}, seed=3),
    Edit("relu1", {"activation": "GELU"}),
    Edit("conv2", {"layer": "BatchNorm2d"}, "insert_after", seed=5),
    Edit("conv1", {"scheme": "orthogonal"}, "redraw", 9),
    Edit("fc1", {}, "freeze"),
)


def wide(path):
    return Edit(path, {"out_channels": 2**16})


VALUES = {
    "out_channels": st.integers(1, 9),
    "out_features": st.integers(1, 9),
    "kernel_size": st.integers(1, 4) | st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "padding": st.integers(0, 3) | st.just("same"),
    "bias": st.booleans(),
    "activation": st.sampled_from(["ReLU", "PReLU", "GELU"]),
    "norm": st.sampled_from(["batch", "group", "none"]),
    "pool": st.sampled_from(["max", "avg"]),
}
UP = Edit("conv1", {"layer": "ConvTranspose2d", "out_channels": 1, "kernel_size": 16, "stride": 16}, "insert")
PICTURES = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def benches():
    made = []

    def keep(lab):
        made.append(lab)
        return lab

    yield keep
    for lab in made:
        lab.close()


def curve(lab):
    lab.set(epochs=1)
    run = lab.run(wait=True)
    assert run.state == "finished", run.error
    return [*run.history.train_loss[:], run.history.epochs[-1].valid_loss]


def weights(lab):
    return lab.model.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def default(keep):
    return keep(Lab())


def edited(keep):
    lab = keep(Lab())
    for edit in EDITS:
        lab.edit(edit)
    lab.edit("undo")
    lab.edit("redo")
    return lab


def set_otherwise(keep):
    lab = keep(Lab())
    lab.set(lr=0.1, schedule=ONE_CYCLE, optimizer="adamw", batch_size=64, seed=11)
    return lab


def of_a_spec(keep):
    return keep(Lab.from_state(LabState(net=SMALL, seed=6).to_json()))


def of_the_gallery(keep):
    return keep(Lab.from_state(LabState(net="single_conv_dropout", seed=2, data="digits", edits=EDITS[:0]).to_json()))


@pytest.mark.parametrize("make", [default, edited, set_otherwise, of_a_spec, of_the_gallery])
def test_a_bench_comes_back_from_its_string(benches, make):
    lab = make(benches)
    text = lab.state
    other = benches(Lab.from_state(text))
    assert other.state == text
    assert str(other.model) == str(lab.model)
    assert same(weights(other), weights(lab))
    assert [p.requires_grad for p in other.model.parameters()] == [p.requires_grad for p in lab.model.parameters()]
    assert other.spec == lab.spec
    assert curve(other) == curve(lab)
    assert state_of(lab).edits == state_of(other).edits  # trained or not, it tells how it began
    again = benches(Lab.from_state(lab.state))
    assert not same(weights(again), weights(lab))


def test_the_seed_decides_the_weights(benches):
    assert same(weights(of_a_spec(benches)), build(SMALL, 6).state_dict())


def test_whatever_was_drawn_before_the_weights_are_the_same(benches):
    lab = edited(benches)
    torch.manual_seed(123)
    torch.rand(7)
    assert same(weights(benches(Lab.from_state(lab.state))), weights(lab))


def test_a_state_lies_in_a_file(benches, tmp_path):
    lab = set_otherwise(benches)
    (tmp_path / "bench.json").write_text(lab.state)
    assert benches(Lab.from_state(tmp_path / "bench.json")).state == lab.state
    assert benches(Lab.from_state(str(tmp_path / "bench.json"))).spec == lab.spec


@given(net_specs.chains(), st.integers(0, 2**63 - 1), st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@pytest.mark.slow
def test_random_edits_of_random_networks_are_made_again_bit_for_bit(spec, seed, data):
    live = bind(build(spec, seed), (1, *spec.input_size))
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(sorted(live.layers)))
        known = sorted(VALUES.keys() & live.layers[path].settings.keys())
        name = data.draw(st.sampled_from([*known, "redraw", "freeze", "remove", "insert_after"]))
        with contextlib.suppress(EditError):
            if name in VALUES:
                live.edit(path, seed=data.draw(st.integers(0, 99)), **{name: data.draw(VALUES[name])})
            elif name == "insert_after":
                live.insert_after(path, data.draw(st.sampled_from(["batch", "Dropout", nn.Conv2d(1, 3, 1)])))
            else:
                getattr(live, name)(path)
    state = LabState.from_json(LabState(net=spec, seed=seed, edits=live.journal).to_json())
    again = bind(build(state.net, state.seed), (1, *spec.input_size))
    make_edits(again, state.edits)
    assert again.journal == live.journal
    assert str(again.model) == str(live.model)
    assert same(again.model.state_dict(), live.model.state_dict())


# -- a person's own ----------------------------------------------------------------------------------------------------


class Mine(nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 4, 3, padding=1)
        self.fc = nn.Linear(64, 3)

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x).relu()).flatten(1))


def squared(output, target):
    return (output.softmax(1) - nn.functional.one_hot(target, output.shape[1])).square().mean()


DATA = ((PICTURES, torch.arange(24) % 3), (PICTURES[:6], torch.arange(6) % 3))


def mine(seed=0):
    torch.manual_seed(seed)
    return Mine()


def test_what_is_ones_own_is_passed(benches):
    lab = benches(Lab(mine(), DATA, TrainSpec(batch_size=8), criterion=squared))
    lab.edit(Edit("conv1", {"out_channels": 7}, seed=1))
    state = lab.state
    assert json.loads(state)["own"] == {
        "model": "Mine",
        "data": "arrays, 1x4x4, 3 classes",
        "criterion": "squared",
    }
    other = benches(Lab.from_state(state, model=mine(), data=DATA, criterion=squared))
    assert other.state == state
    assert other.model.conv2.in_channels == 7
    assert curve(other) == curve(lab)


@pytest.mark.parametrize("missing", ["model", "data", "criterion"])
def test_what_is_missing_is_told(benches, missing):
    lab = benches(Lab(mine(), DATA, criterion=squared))
    given = {"model": mine(), "data": DATA, "criterion": squared}
    del given[missing]
    told = {"model": "Mine", "data": "arrays, 1x4x4, 3 classes", "criterion": "squared"}[missing]
    with pytest.raises(SpecError, match=f"own, '{told}', which no text holds; pass it: .*{missing}=..."):
        Lab.from_state(lab.state, **given)


def test_a_model_that_does_not_take_the_edits_says_which(benches):
    lab = edited(benches)
    with pytest.raises(EditError, match="conv2 cannot be edited: the model has no such layer"):
        Lab.from_state(lab.state, model=nn.Sequential(mine().conv1, nn.Flatten(), nn.Linear(320, 10)))


def test_digits_split_otherwise_are_ones_own():
    data = convlab.data.resolve("digits", valid_fraction=0.5)
    lab = Lab(data=data)
    assert state_of(lab).data is None
    lab.close()
    lab = Lab(data=convlab.data.resolve("shapes:4"))
    assert state_of(lab).data == "shapes:4"
    lab.close()


# -- what does not go together, and what would fill the memory --------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"net": NetSpec((1, 28, 28))}, r"net takes pictures of \(1, 28, 28\) .* digits has pictures of \(1, 8, 8\)"),
        ({"net": NetSpec((1, 8, 8), num_classes=3)}, "tells 3 classes apart, and digits .* 10 classes"),
        ({"net": "lenet5"}, "lenet5 takes no pictures of 8x8"),
        ({"net": "lenet55"}, "net must be one of .*, got 'lenet55'; try net='lenet5'"),
        ({"data": "cifar"}, "data='cifar' is no built-in"),
        ({"edits": (Edit("conv9", {"bias": False}),)}, "conv9 cannot be edited: the model has no such layer"),
        ({"edits": (Edit("pool2", {"kernel_size": 9}),)}, "pool2.kernel_size=9 cannot be"),
        ({"edits": (wide("conv1"), wide("conv2"))}, "an edit would give it 38,[0-9,]+ and"),
        ({"edits": (Edit("conv1", {"padding": 2**15}),)}, "might give a map .* rows, and at most 4,096 are opened"),
        ({"edits": (UP,) * 4}, "might give a map .* rows"),
        ({"edits": (Edit("pool1", {"layer": "AdaptiveAvgPool2d", "output_size": 60_000}, "replace"),)}, "might give"),
        ({"edits": (Edit("conv1", {"layer": "os.system", "bias": 1}, "replace"),)}, "there is no layer 'os.system'"),
        ({"edits": (Edit("conv1", {"layer": "Conv2d", "device": "cuda"}, "replace"),)}, "device"),
        ({"edits": (Edit("conv1", {"layer": "Conv2d", "out_channels": "x"}, "replace"),)}, "conv1|edit 1"),
        ({"edits": (Edit("conv1", {"scheme": "__reduce__"}, "redraw"),)}, "__reduce__"),
        ({"edits": (Edit("fc1", {"out_features": -3}),)}, "-3"),
    ],
)
def test_a_state_that_cannot_be_opened_says_why(changes, sentence):
    net = NetSpec((1, 8, 8), blocks=Block.ladder(16, 32), head=Head(hidden=(64,)))
    state = LabState(**{"net": net, **changes})
    with pytest.raises(ValueError, match=sentence) as caught:
        Lab.from_state(state.to_json())
    assert "\n" not in str(caught.value)
