"""The bench as one string: it comes back as it was, and whatever somebody made of it is refused in one sentence."""

import contextlib
import json
import os
import sys

import lab_states
import net_specs
import pytest
from hypothesis import HealthCheck, given, settings

import convlab.lab_state as module
from convlab._version import __version__
from convlab.lab_state import MOST_CHARACTERS, LabState
from convlab.limits import SpecError
from convlab.models._edit.edits import Edit
from convlab.models.build import build
from convlab.models.plan import num_params
from convlab.net_spec import Block, Head, NetSpec
from convlab.spec import TrainSpec

RICH = LabState(
    net=NetSpec(
        input_size=(1, 8, 8), blocks=(Block(8, kind="residual", padding="keras_same"), Block(16, norm="batch"))
    ),
    seed=7,
    edits=(Edit("conv3", {"out_channels": 24}, seed=1), Edit("fc1", {"layer": "Linear", "bias": True}, "replace")),
    train=TrainSpec(lr=0.1, optimizer="adamw", schedule=lab_states.SCHEDULES[-1]),
)
OWN = LabState(data=None, own={"model": "MyNet", "data": "arrays: 3x32x32, 4 classes"})
CORPUS = [
    state.to_json() for state in (RICH, OWN, LabState(net="lenet5", train=TrainSpec(schedule=lab_states.SCHEDULES[2])))
]


@given(lab_states.lab_states())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_state_comes_back_as_it_was(state):
    text = state.to_json()
    assert LabState.from_json(text) == state
    assert LabState.from_json(text).to_json() == text
    assert text.isascii()
    assert "\n" not in text


def test_every_field_is_in_the_string():
    for name, other in {
        "net": NetSpec(num_classes=3),
        "seed": 3,
        "edits": (Edit("conv1", {"padding": (1, 2)}),),
        "train": TrainSpec(lr=0.3),
        "data": "shapes",
        "own": {"criterion": "MSELoss"},
    }.items():
        state = LabState(**{"net": "lenet5", name: other})
        assert getattr(LabState.from_json(state.to_json()), name) == other
    assert json.loads(RICH.to_json())["convlab"] == __version__


@given(net_specs.chains() | net_specs.unets())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_parameters_are_counted_as_torch_has_them(spec):
    assert num_params(spec) == sum(param.numel() for param in build(spec).parameters())


# -- hostility ---------------------------------------------------------------------------------------------------------

_FORBIDDEN = ("open", "os.", "subprocess.", "socket.", "import", "pickle.", "shutil.", "ctypes.", "marshal.", "urllib.")
_watched = []
for text in CORPUS:
    LabState.from_json(text)  # what is imported on first use


def is_one_sentence(text):
    return text.endswith((".", "?")) and "\n" not in text and len(text) < 1200


def _audit(event, arguments):
    if not _watched:
        return
    if event.startswith(_FORBIDDEN) or (event == "exec" and arguments[0].co_filename != "<formula>"):
        _watched.append(event)


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched():
    """Gives everything forbidden that Python does meanwhile, by its own audit."""
    _watched.append("watching")
    seen = []
    try:
        yield seen
    finally:
        seen += _watched[1:]
        _watched.clear()


def test_the_watch_sees_what_it_forbids(tmp_path):
    with watched() as seen:
        os.system("true")
        (tmp_path / "file").touch()
        eval("1")
    assert {"os.system", "open", "exec"} <= set(seen)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_states_load_or_are_refused(seed):
    loaded, sentences = 0, []
    for text in lab_states.mutants(CORPUS, 1000, seed):
        try:
            with watched() as seen:
                state = LabState.from_json(text)
        except SpecError as error:
            sentences.append(str(error))
            assert not seen
            continue
        loaded += 1
        assert LabState.from_json(state.to_json()) == state
        assert not seen
    assert loaded > 10
    assert len(sentences) > 500
    assert all(is_one_sentence(text) for text in sentences)


@pytest.mark.parametrize("value", lab_states.HOSTILE, ids=range(len(lab_states.HOSTILE)))
def test_a_hostile_value_anywhere_is_no_surprise(value):
    values = json.loads(CORPUS[0])
    for holder, name in lab_states.places(values):
        kept, holder[name] = holder[name], value
        text = json.dumps(values)
        holder[name] = kept
        with watched() as seen, contextlib.suppress(SpecError):
            LabState.from_json(text)
        assert not seen


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a JSON object such as lab.state gives, got ''"),
        ("[1]", r"must be a JSON object such as lab.state gives, got \[1\]"),
        ('{"version": 1', "copy it again, whole and with straight quotes"),
        ("{“version”: 1}", "straight quotes"),
        ("[" * 10**5, "must be a JSON object"),
        ('{"a": ' * 60 + "1" + "}" * 60, "at most 24 levels deep"),
        ("{" + " " * MOST_CHARACTERS + "}", "at most 200,000 characters long, got 200,002"),
        ('{"version": 1, "version": 1}', "name each thing once, got 'version' twice"),
        ('{"version": 1, "train": {"lr": NaN}}', "finite numbers, got NaN"),
        ('{"version": 1, "train": {"lr": 1e999}}', "'lr' must be a number below .*, got inf"),
        ('{"version": 1, "seed": 1' + "0" * 400 + "}", "'seed' must be a number below"),
        ('{"version": 1, "data": "a\\ud800"}', "'data' must be text that can be printed"),
        ('{"version": 1, "nets": 1}', "no argument 'nets'; did you mean net?"),
        ('{"version": 1, "net": 3}', "net must be a NetSpec, a name of the gallery or null, got 3"),
        ('{"version": 1}', "net must be null exactly where own has 'model'"),
        ('{"version": 1, "net": "lenet5", "own": {"data": "x"}}', "data must be null exactly where own has 'data'"),
        ('{"version": 1, "net": "lenet5", "own": {"path": "x"}}', "own has no argument 'path'"),
        ('{"version": 1, "net": "lenet5", "edits": [{"path": 3}]}', "edit 1: path must be a text"),
        (
            '{"version": 1, "net": "lenet5", "edits": [{"path": "a", "action": "undo"}]}',
            "edit 1: action must be one that changes something, got 'undo'",
        ),
        (
            '{"version": 1, "net": "lenet5", "edits": [{"path": "a", "settings": {"out_channels": 2147483648}}]}',
            "edit 1: 'out_channels' must be a number from -65536 to 65536",
        ),
        ('{"net": "lenet5"}', "needs its version"),
        ('{"version": true, "net": "lenet5"}', "version must be a whole number from 1 to 1, got True"),
        ('{"version": 0, "net": "lenet5"}', "version must be a whole number from 1 to 1, got 0"),
        ('{"version": 9, "convlab": "4.2"}', f"was written by convlab 4.2; this is convlab {__version__}.*upgrade"),
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(SpecError, match=sentence):
        LabState.from_json(text)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (NetSpec(blocks=(Block(4096, pool="none"),) * 64, head=Head("avg")), "at most 134,217,728 parameters, got 9,5"),
        (NetSpec(head=Head(hidden=(65536, 65536))), "at most 134,217,728 parameters, got 4,398,518,986"),
        (NetSpec(blocks=(Block(8, repeat=32, pool="none"),) * 64), "repeat its blocks at most 512 times in all"),
        (
            NetSpec(blocks=(Block(1, repeat=8, kernel_size=1, padding=63, pool="none"),) * 64, head=Head("avg")),
            "at most 67,108,864 values in its feature maps",
        ),
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_made(net, sentence):
    with pytest.raises(SpecError, match=sentence):
        LabState(net=net)
    with pytest.raises(SpecError, match=sentence):
        LabState.from_json(json.dumps({"version": 1, "net": net.to_dict()}))


# -- versions ----------------------------------------------------------------------------------------------------------


def test_an_older_version_is_brought_up_step_by_step(monkeypatch):
    def first(values):
        return {"nett": values["network"]}

    def second(values):
        return {"net": values["nett"]}

    monkeypatch.setattr(module, "VERSION", 3)
    monkeypatch.setattr(module, "UPGRADES", {1: first, 2: second})
    assert LabState.from_json('{"version": 1, "network": "lenet5"}').net == "lenet5"
    assert LabState.from_json('{"version": 2, "nett": "lenet5"}').net == "lenet5"
    assert LabState.from_json('{"version": 3, "net": "lenet5"}').net == "lenet5"


def test_every_older_version_has_its_upgrade():
    assert set(module.UPGRADES) == set(range(1, module.VERSION))


# -- text or path ------------------------------------------------------------------------------------------------------


def test_a_state_is_read_from_its_text_or_from_a_file(tmp_path):
    text = RICH.to_json()
    file = tmp_path / "{odd}.json"
    file.write_text(f"\ufeff{text}\n", "utf-8")
    for source in (text, f"  \n{text}\n", f"\ufeff{text}", str(file), file):
        assert LabState.load(source) == RICH


@pytest.mark.parametrize(
    "source", ["nowhere.json", "", "a" * 10_000, "a\0b", "/dev/zero", ".", "[]", "\ud800", 3, None]
)
def test_what_is_neither_text_nor_file_is_refused(source):
    with pytest.raises(SpecError, match=r"a state (is a text that begins with|must be the text of lab\.state)"):
        LabState.load(source)


def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path):
    file = tmp_path / "state"
    for content in (b"\x80\x04\x95", b"{" + b" " * MOST_CHARACTERS):
        file.write_bytes(content)
        with pytest.raises(SpecError, match="a state"):
            LabState.load(file)
