"""Files that anybody may have made: each is refused in a sentence or loads; a refusal leaves everything as it was."""

import copy
import hashlib
import json
import random
import re
import resource
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from evil import EVIL_LAYERS, layer, nested
from test_rewind import SCHEDULES, Noisy, droppy
from textbook import Regularised, made, some_digits, state_of
from torch import nn
from torch.utils.data import TensorDataset

from convlab.data import resolve
from convlab.models.gallery import lenet
from convlab.models.live import Edit
from convlab.spec import TrainSpec
from convlab.training.checkpoint import CheckpointError, read
from convlab.training.run import Run
from convlab.training.saved_run import about

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DATA = some_digits(96)
SPEC = TrainSpec(epochs=4, batch_size=24, lr=0.01)
ROOM = 500 * 2**20
"""Bytes that a file may take while it is read."""

ran: list[str] = []
_CODE = ("os.system", "subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "pickle.find_class", "socket.connect")
sys.addaudithook(lambda event, args: ran.append(event) if event in _CODE else None)


class Late(BaseException):
    """A file that takes for ever."""


@contextmanager
def bounded():
    """No more memory than `ROOM`, and an end."""

    def late(*_):
        raise Late

    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    handler = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def sealed(data):
    """The file with the checksum of its content."""
    field = b'"sha256":"'
    at = data.find(field) + len(field)
    blank = data[:at] + b"0" * 64 + data[at + 64 :]
    return blank[:at] + hashlib.sha256(blank).hexdigest().encode() + blank[at + 64 :]


def bytes_of(tensors, record):
    header = {"convlab": record if isinstance(record, str) else json.dumps(record), "sha256": "0" * 64}
    return sealed(safetensors.torch.save({name: one.contiguous().clone() for name, one in tensors.items()}, header))


def noisy():
    return Noisy(own=True), TensorDataset(DATA.valid.x, DATA.valid.y)


def changed():
    run = Run(droppy(), DATA, SPEC.replace(optimizer="adamw", schedule=SCHEDULES[1]), name="<b>run</b>").step(3)
    run.set(lr=0.02, dropout=0.5)
    return run.step(4)


def edited():
    run = Run(lenet(), DATA, SPEC).step(3)
    run.edit("conv2", out_channels=40)
    run.step(1).apply("undo")
    run.step(1).apply("redo")
    run.set(schedule=SCHEDULES[7], schedule_mode="release")
    return run.step(1)


RUNS = {
    "changed": (changed, droppy, lambda: DATA),
    "edited": (edited, lenet, lambda: DATA),
    "own": (lambda: Run(made(Regularised), DATA, SPEC).step(5), lambda: made(Regularised, 3), lambda: DATA),
    "noisy": (lambda: Run(droppy(), noisy(), SPEC.replace(optimizer="rmsprop")).step(5), droppy, noisy),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    found = {}
    for name, (make, _, _) in RUNS.items():
        path = tmp_path_factory.mktemp("runs") / name
        run = make()
        run.save(path)
        run.stop()
        found[name] = path.read_bytes(), *read(path)
    return found


def everything(model):
    """What a refusal must leave alone."""
    return (
        [tensor.numpy().tobytes() for tensor in state_of(model)],
        [module.training for module in model.modules()],
        [(name, param.requires_grad, param.grad is None) for name, param in model.named_parameters()],
        str(model),
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
    )


class Judge:
    """Loads files; keeps count."""

    def __init__(self, path):
        self.path, self.refused, self.loaded, self.longest = path, 0, 0, 0.0
        self.models = {}

    def __call__(self, kind, data, what, passes_model=True):
        self.path.write_bytes(data)
        _, make, make_data = RUNS[kind]
        model = self.models.get(kind) or make()
        model.eval()
        next(model.parameters()).requires_grad_(False)
        before, del_ran, began = everything(model), len(ran), time.perf_counter()
        self.models[kind] = None
        try:
            with bounded():
                Run.load(self.path, model if passes_model or kind == "own" else None, make_data())
        except (CheckpointError, OSError) as error:
            self.refused += 1
            told = str(error)
        except BaseException as error:
            raise AssertionError(f"{kind}: {what}: {type(error).__name__}: {error}") from error
        else:
            self.loaded += 1
            told = ""
        if told or (not passes_model and kind != "own"):
            assert everything(model) == before, what
            self.models[kind] = model
        assert len(told) < 700, (str(what)[:200], told[:900])
        assert not re.search("MemoryError|allocat", told), (str(what)[:200], told)  # refused too late
        self.longest = max(self.longest, time.perf_counter() - began)
        assert len(ran) == del_ran, (what, ran)
        try:
            with bounded():
                str(about(self.path))
        except (CheckpointError, OSError):
            pass


@pytest.fixture
def judge(tmp_path):
    judge = Judge(tmp_path / "file")
    yield judge
    print(f"{judge.refused} refused, {judge.loaded} loaded, longest {judge.longest:.2f} s")


def test_damage_is_always_found_out(files, judge):
    rng = random.Random(1)
    for number in range(600):
        kind = rng.choice(list(RUNS))
        data = bytearray(files[kind][0])
        at = rng.choice([rng.randrange(len(data)), rng.randrange(min(len(data), 5000))])
        match number % 4:
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                del data[at : at + rng.randrange(1, 9)]
        judge(kind, bytes(data), f"damage {number % 4} at {at}")
    assert judge.loaded == 0


NASTY = [
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "cpu", "cuda", "x" * 100_000, "<img src=x onerror=alert(1)>", "__class__", "os.system", "../../etc/passwd"),
    *([], {}, [[]], [1, 2, 3], {"tuple": []}, {"dict": {}}, {"array": ["uint32", []]}, {"tensor": ["uint8", []]}),
    *({"function": "os.system", "args": ["echo"], "keywords": {}}, {"edit": "{}"}, {"schedule": {}}),
    {"schedule": {"scheduler": "LambdaLR", "arguments": {"lr_lambda": "9**9**9**9"}}},
]


def places(value, path=()):
    """Every place in nested plain values."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and len(value) < 100:
        items = enumerate(value)
    else:
        items = ()
    for key, inner in list(items):
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(record, rng):
    """The record with something else at one place, and what was done."""
    record = copy.deepcopy(record)
    place = rng.choice(list(places(record)))
    home = record
    for key in place[:-1]:
        home = home[key]
    key, act = place[-1], rng.randrange(7)
    if act == 0:
        del home[key]
    elif act == 1 and isinstance(home, list):
        home[key:key] = [copy.deepcopy(home[key])] * rng.choice([1, 50])
    elif act == 1:
        home[f"{key}2"] = copy.deepcopy(home[key])
    elif act == 2 and isinstance(home[key], int | float) and not isinstance(home[key], bool):
        home[key] = rng.choice([-home[key], home[key] + 1, home[key] * 10**6, float(home[key]), str(home[key])])
    elif act == 3:
        other = rng.choice(list(places(record)))
        there = record
        for step in other:
            there = there[step]
        home[key] = copy.deepcopy(there)
    elif act == 4:
        home[key] = nested(rng.choice([3, 200]))
    else:
        home[key] = copy.deepcopy(rng.choice(NASTY))
    return record, f"{'.'.join(map(str, place))}: {act}: {str(home.get(key) if isinstance(home, dict) else home)[:60]}"


def test_records_with_something_else_in_them(files, judge):
    rng = random.Random(2)
    for _ in range(900):
        kind = rng.choice(list(RUNS))
        _, tensors, record = files[kind]
        record, what = mutated(record, rng)
        judge(kind, bytes_of(tensors, record), what, passes_model=rng.random() < 0.5)
    assert judge.refused > 300
    assert judge.loaded > 50  # a name, a note, a date


def test_tensors_of_another_shape_or_type_or_name(files, judge):
    rng = random.Random(3)
    for _ in range(200):
        kind = rng.choice(list(RUNS))
        _, tensors, record = files[kind]
        tensors = dict(tensors)
        name = rng.choice(list(tensors))
        one = tensors[name]
        match rng.randrange(8):
            case 0:
                del tensors[name]
            case 1:
                tensors[name] = one.to(rng.choice([torch.float64, torch.float16, torch.int64, torch.bool]))
            case 2:
                tensors[name] = one.flatten()[: rng.randrange(3)].clone()
            case 3:
                tensors[name] = torch.cat([one.reshape(1, *one.shape)] * 2)
            case 4:
                tensors[
                    rng.choice(["x", f"{name}.x", "optimizer.0.weight.x", "stream.cuda:0", "stream.x", "best."])
                ] = one
            case 5:
                other = rng.choice(list(tensors))
                tensors[name], tensors[other] = tensors[other], one
            case 6:
                tensors[name] = torch.full_like(one, rng.choice([0, 1, 255]))
            case 7:
                tensors[name] = (
                    torch.randint(0, 256, (one.numel() * one.element_size(),), dtype=torch.uint8)
                    .view(one.dtype)
                    .reshape(one.shape)
                )
        judge(kind, bytes_of(tensors, record), f"tensor {name}", passes_model=rng.random() < 0.5)
    assert judge.refused > 90


def blueprint_of(*layers):
    return {"function": "nn.Sequential", "args": list(layers), "keywords": {}}


@pytest.mark.parametrize("evil", range(len(EVIL_LAYERS)))
def test_layers_that_are_none(files, judge, evil):
    _, tensors, record = files["changed"]
    for where in ("start", "blueprint"):
        for whole in (EVIL_LAYERS[evil], blueprint_of(EVIL_LAYERS[evil])):
            bad = copy.deepcopy(record)
            bad["model"]["start"] = None
            bad["model"][where] = whole
            judge("changed", bytes_of(tensors, bad), EVIL_LAYERS[evil], passes_model=False)
    assert judge.loaded <= (where == "blueprint" and evil in (23, 24)) * 4


def edit_to(**settings):
    return {"edit": Edit("conv2", settings).to_json()}


def inserted(**settings):
    return {"edit": Edit("conv2", settings, "insert_after").to_json()}


@pytest.mark.parametrize(
    "edit",
    [
        edit_to(out_channels=10**9),
        edit_to(out_channels=10**6),
        edit_to(kernel_size=10**9, padding=10**9),
        edit_to(padding=10**5),
        edit_to(dilation=10**30),
        inserted(layer="Linear", out_features=10**9),
        inserted(layer="ConvTranspose2d", out_channels=10, kernel_size=3000),
        inserted(layer="Upsample", scale_factor=10**4),
        inserted(layer="Transformer"),
        inserted(layer="Module.__subclasses__"),
        inserted(layer="x" * 10**6),
        {"edit": '{"path": ' + "[" * 10_000},
        {"edit": Edit("", {}, "undo").to_json()},
        {"edit": Edit("conv2", {"scheme": "orthogonal"}, "redraw").to_json()},
        {"edit": Edit("conv2", {"x" * 10**5: 1}).to_json()},
    ],
    ids=range(15),
)
def test_edits_that_build_too_much(files, judge, edit):
    _, tensors, record = files["edited"]
    for times in (1, 40):
        bad = copy.deepcopy(record)
        first = bad["training"]["journal"][0]
        bad["training"]["journal"] = [{**first, "new": edit}] * times + bad["training"]["journal"]
        judge("edited", bytes_of(tensors, bad), edit, passes_model=times > 1)


def put(record, path, value):
    bad = copy.deepcopy(record)
    home = bad
    *way, last = path.split(".")
    for key in way:
        home = home[int(key) if isinstance(home, list) else key]
    home[int(last) if isinstance(home, list) else last] = value
    return bad


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("threads", 10**9),
        ("threads", 0),
        ("spec.epochs", 10**12),
        ("spec.micro_batch_size", 10**12),
        ("training.settings.seed", 5),
        ("training.position", -1),
        ("training.position", 97),
        ("training.epoch", 10**9),
        ("training.groups.0.lr", float("nan")),
        ("training.groups.0.lr", "0.1"),
        ("training.groups.0.params", ["0.weight", "none"]),
        ("training.groups.0.step", 1),
        ("training.groups", []),
        ("training.dropouts", {}),
        ("training.dropouts", {"3": [0.3, 7]}),
        ("training.frozen", ["0.weight", "0.bias", "1.weight", "1.bias", "5.weight", "5.bias"]),
        ("training.scheduled.schedulers.0.step", 1),
        ("training.scheduled.schedulers.0.optimizer", 1),
        ("training.scheduled.schedulers.0.last_epoch", [1]),
        ("training.scheduled.mode", "own"),
        ("training.scheduled.spec.arguments.max_lr", "9**9**9"),
        ("training.streams.python", {"tuple": [3, {"tuple": [0] * 624}, None]}),
        ("training.streams.python", {"tuple": [3, {"tuple": [1] * 624 + [10**6]}, None]}),
        ("training.streams.numpy.dict.state.dict.pos", 10**9),
        ("training.streams.numpy.dict.state.dict.pos", -5),
        ("training.streams.numpy.dict.state.dict.key", {"array": ["uint32", [1, 2]]}),
        ("training.journal.0.step", 10**9),
        ("training.journal.0.name", "device"),
        ("training.journal.0.new", "<b>"),
        ("history.num_steps", 10**12),
        ("history.stride", 3),
        ("history.stride", 2**60),
        ("history.num_epochs", "many"),
        ("history.epochs", [{"epoch": "<b>"}]),
        ("parent", {"name": "x", "step": -3}),
    ],
)
def test_values_that_no_run_has(files, judge, path, value):
    _, tensors, record = files["changed"]
    judge("changed", bytes_of(tensors, put(record, path, value)), path)
    judge("changed", bytes_of(tensors, put(record, path, value)), path, passes_model=False)
    assert judge.loaded == 0


def test_what_a_kernel_would_read_beyond_its_end_is_refused(files, judge):
    _, tensors, record = files["changed"]
    for name in [name for name in tensors if name.startswith("optimizer.") and not name.endswith(".step")]:
        judge("changed", bytes_of({**tensors, name: tensors[name].flatten()[:1]}, record), name)
        judge("changed", bytes_of({**tensors, name: tensors[name].double()}, record), name)
    _, tensors, record = files["noisy"]
    for place in ("0.1.dict.state.dict.state", "0.1.dict.uinteger", "0.0", "0.1.dict.bit_generator"):
        judge("noisy", bytes_of(tensors, put(record, f"training.streams.own.{place}", -(10**40))), place)
    assert judge.loaded == 0


def test_raw_headers(files, judge):
    data, tensors, record = files["changed"]
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(record)
    raw = [
        text[: len(text) // 2],
        "[" * 10**6,
        '{"format": "convlab run", "version": 1, "x": ' + "9" * 10**5 + "}",
        "[" + "[]," * (5 * 10**6) + "[]]",
        text.replace("true", "NaN"),
        "null",
        '"' + "x" * 10**6 + '"',
    ]
    for one in raw:
        judge("changed", bytes_of(tensors, one), one[:30])
    many = {f"x{number}": torch.zeros(1) for number in range(70_000)}
    judge("changed", bytes_of({**tensors, **many}, record), "many tensors")
    header = json.loads(data[8 : 8 + length])
    for field, value in [
        ("data_offsets", [0, 2**50]),
        ("shape", [2**40, 2**40]),
        ("dtype", "F8_E4M3"),
        ("shape", [-1]),
    ]:
        lying = copy.deepcopy(header)
        lying["model.0.weight"][field] = value
        line = json.dumps(lying, separators=(",", ":")).encode()
        judge("changed", sealed(len(line).to_bytes(8, "little") + line + data[8 + length :]), field)
    assert judge.loaded == 0


def test_another_machine_is_named(files, judge, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has what is missed")
    _, tensors, record = files["changed"]
    judge.path.write_bytes(bytes_of(tensors, put(record, "spec.device", "cuda")))
    with pytest.raises(CheckpointError, match=r"device='cuda', which this machine does not have"):
        Run.load(judge.path, data=DATA)


def test_a_refusal_leaves_the_generators_of_the_data_alone(files, judge):
    _, tensors, record = files["noisy"]
    data = resolve(noisy())
    before = str(data.train.dataset.rng.bit_generator.state)
    judge.path.write_bytes(bytes_of(tensors, put(record, "training.groups.0.lr", -1)))
    with pytest.raises(CheckpointError):
        Run.load(judge.path, None, data)
    assert str(data.train.dataset.rng.bit_generator.state) == before


def test_an_own_network_that_fits_no_memory_is_refused_before_it_runs(files, judge):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    run = Run(net, DATA, SPEC).step(1)
    run.save(judge.path)
    run.stop()
    tensors, record = read(judge.path)
    large = [layer("nn.Upsample", scale_factor=20000), layer("nn.AdaptiveAvgPool2d", 8)]
    for where in ("start", "blueprint"):
        record["model"][where]["args"][:0] = large
    names = {name: name.replace("1.", "3.", 1) for name in tensors if ".1." in name}
    tensors = {names.get(name, name): one for name, one in tensors.items()}
    text = json.dumps(record).replace('"1.', '"3.')
    judge("changed", bytes_of(tensors, text), "upsample", passes_model=False)
    assert judge.refused == 1
