"""States of a bench drawn at random, and what an accident or an ill will makes of their text."""

import json
import random

import net_specs
from hypothesis import assume
from hypothesis import strategies as st

from convlab.lab_state import LabState
from convlab.limits import SpecError
from convlab.models._edit.edits import Edit
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import LIMITS, OPTIMIZERS, TrainSpec

WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
VALUES = (
    st.integers(-5, 512) | st.floats(-1, 1) | st.booleans() | st.none() | st.sampled_from(["same", "ReLU", "batch"])
)
SCHEDULES = [
    ScheduleSpec("CosineAnnealingLR", T_max=450, eta_min=0.001),
    ScheduleSpec("OneCycleLR", max_lr=0.1, total_steps=450),
    ScheduleSpec("LambdaLR", lr_lambda="0.95 ** floor(epoch / 2)", cadence="epoch"),
    ScheduleSpec("ReduceLROnPlateau", patience=3, cadence="epoch"),
    ScheduleSpec(
        "SequentialLR",
        schedulers=[ScheduleSpec("LinearLR", total_iters=20), ScheduleSpec("MultiStepLR", milestones=[3, 5])],
        milestones=[20],
    ),
]


def number(name):
    limits = LIMITS[name]
    whole = st.integers(int(limits.low), int(limits.high))
    values = whole if limits.whole else st.floats(limits.low, limits.high, exclude_min=limits.above)
    return values | st.none() if limits.optional else values


RECIPES = st.fixed_dictionaries(
    {
        **{name: number(name) for name in LIMITS},
        "optimizer": st.sampled_from(OPTIMIZERS),
        "betas": st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2),
        "schedule": st.none() | st.sampled_from(SCHEDULES),
        "bf16": st.booleans(),
        "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
    }
).map(lambda values: TrainSpec(**values))

EDITS = st.builds(
    Edit,
    st.sampled_from(["conv1", "conv2", "fc1", "residual1.body.conv1"]),
    st.dictionaries(st.sampled_from(["out_channels", "padding", "bias", "layer"]), VALUES | st.tuples(VALUES, VALUES)),
    st.sampled_from(["set", "insert", "insert_after", "replace", "remove", "freeze", "thaw", "redraw"]),
    st.integers(0, 2**63 - 1),
)


@st.composite
def lab_states(draw):
    """States that are possible."""
    net = draw(net_specs.chains() | net_specs.unets() | st.just("lenet5") | st.none())
    data = draw(st.sampled_from(["digits", "shapes:7", None]))
    own = {name: draw(WORDS) for name, part in (("model", net), ("data", data)) if part is None}
    try:
        return LabState(
            net=net,
            seed=draw(st.integers(0, 2**63 - 1)),
            edits=tuple(draw(st.lists(EDITS, max_size=4))),
            train=draw(RECIPES),
            data=data,
            own=own,
        )
    except SpecError:  # a network too large to be sent
        assume(False)


HOSTILE = [
    *(None, True, False, 0, -1, 1.5, "", "x", [], {}, [[]], [{}], {"": None}),
    *(10**400, -(10**19), 2**63, 2**31, 2**53 + 1, 1e308, -0.0, 5e-324, float("nan"), float("inf")),
    *("\ud800", "\x00", "\u202e", "é" * 3, "9" * 5000, "a" * 150_000, "../../etc/passwd", "\\\\host\\share"),
    *("__import__('os').system('touch CANARY')", "().__class__.__base__.__subclasses__()", "__reduce__", "cls", "self"),
    {"__reduce__": ["os.system", ["touch CANARY"]]},
    {"py/object": "os.system", "__class__": "subprocess.Popen"},
    "!!python/object/apply:os.system ['touch CANARY']",
    "cos\nsystem\n(S'touch CANARY'\ntR.",
    *("9 ** 9 ** 9 ** 9", "floor(9e9) ** floor(9e9)", "floor(1e9) << floor(1e15)", "(" * 400, "-" * 499, "1" * 499),
    " ** ".join(["((1 < 2) + (1 < 2))"] * 8),
    *("epoch if epoch else exit()", "[0 for _ in epoch]", "lambda: 0", "f'{epoch}'", "epoch.real", "1 is 1"),
    {"scheduler": "ChainedScheduler", "arguments": {"schedulers": [{"scheduler": "ConstantLR"}] * 3}},
    {"scheduler": "StepLR", "arguments": {"step_size": 5, "self": 1, "cadence": "step"}},
    {"scheduler": ["StepLR"], "cadence": {}, "arguments": []},
    {"blocks": [{"out_channels": 4096, "kernel_size": 63, "repeat": 32, "pool": "none"}] * 64},
    {"input_size": [4096, 4096, 4096], "blocks": [], "head": {"kind": "flatten", "hidden": [65536] * 16}},
    {"out_channels": 2**31}, {"out_channels": 8, "kind": "inception", "repeat": 32, "norm": "batch"},
    {"path": "conv1", "settings": {"out_channels": 2**62}}, {"path": "", "action": "__init__", "settings": None},
]  # fmt: skip


def mutated(text, rng):
    """One to three changes of a state's text, of its characters or of its structure."""
    for _ in range(rng.randint(1, 3)):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict) and rng.random() < 0.7:
            text = json.dumps(_restructured(values, rng))
        else:
            text = _garbled(text, rng)
    return text


def places(values):
    """Each part of plain values, as what holds it and its name there."""
    found = []
    for name, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
        found.append((values, name))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def _restructured(values, rng):
    found = places(values)
    if not found:
        return rng.choice(HOSTILE)
    holder, name = rng.choice(found)
    other, another = rng.choice(found)
    act = rng.randrange(6)
    if act == 0:
        holder[name] = rng.choice(HOSTILE)
    elif act == 1:
        del holder[name]
    elif act == 2 and isinstance(holder, dict):
        words = [word for word in HOSTILE if isinstance(word, str)]
        holder[rng.choice(words)] = holder.pop(name)
    elif act == 3:
        holder[name] = json.loads(json.dumps(other[another])) if other is not holder else rng.choice(HOSTILE)
    elif act == 4:
        holder[name] = [holder[name]] * rng.choice([1, 3, 1000])
    else:
        for _ in range(rng.choice([1, 5, 40])):
            holder[name] = rng.choice([[holder[name]], {"arguments": holder[name]}])
    return values


def _garbled(text, rng):
    at = rng.randrange(len(text) + 1)
    to = min(len(text), at + rng.choice([1, 1, 2, 30]))
    junk = rng.choice(
        ['"', "{", "}", "[", ",", ":", "-", "9" * 400, "e999", "NaN", "\\ud800", "\x00", "“", "null", " "]
    )
    return rng.choice(
        [
            text[:at],
            text[:at] + text[to:],
            text[:at] + junk + text[at:],
            text[:at] + junk + text[to:],
            text[:at] + text[at:to] * rng.choice([2, 100]) + text[to:],
            text + text,
            "[" * 100_000 + text[at:],
        ]
    )


def mutants(texts, count, seed=0):
    """As many mutated states, the same each time."""
    rng = random.Random(seed)
    return [mutated(rng.choice(texts), rng) for _ in range(count)]
