"""Scripts for what is a user's own: data sets, loaders, a criterion, a network, in an interpreter of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import students
import torch
from textbook import made
from torch import nn

from convlab.models.gallery import lenet
from convlab.models.live import Edit, bind
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.journal import Change
from convlab.training.run import Run
from convlab.training.script import save_start

SPEC = TrainSpec(epochs=2, batch_size=16, lr=0.02)
RESIZED = [Change(3, "batch_size", 16, 7), Change(9, "lr", 0.02, 0.01)]


def pair(maker: str, kind: str) -> dict[str, str]:
    """What a person writes where the script asks for data."""
    parts = [f"{part}_{kind}" for part in ("train", "valid")]
    return {f"{part} = ...": f"{part} = students.{maker}()[{i}]" for i, part in enumerate(parts)}


TENSORS = {f"x_{part}, y_{part} = ...": f"x_{part}, y_{part} = students.numbers()[{i}]"
           for i, part in enumerate(("train", "valid"))}  # fmt: skip


def edited_before() -> nn.Module:
    model = made(students.Net)
    live = bind(model, (1, 1, 8, 8))
    live.edit("conv2", out_channels=8)
    live.insert_after("head.2", "layernorm")
    live.edit("act", activation="gelu")
    return model


def edited_in_flight(**settings) -> Run:
    run = Run(made(students.Net), students.sets(), SPEC.replace(**settings)).step(3)
    run.edit("conv1", out_channels=9).step(2)
    run.apply(Edit("head.3", {"layer": "Linear", "out_features": 12}, "insert")).step(2)
    run.edit("act", activation="prelu").set(lr=0.01)
    run.apply("undo").step(1)
    return run.apply("redo").resume().wait()


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[Run, dict[str, str]]]:
    regression = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
    return {
        "sets": (fit(lenet(), students.sets(), SPEC), pair("sets", "set")),
        "sets of any batch size": (fit(lenet(), students.sets(), SPEC, journal=RESIZED), pair("sets", "set")),
        "loaders": (fit(lenet(), students.loaders(), SPEC), pair("loaders", "loader")),
        "criterion": (fit(made(students.Net), students.sets(), SPEC, criterion=students.softened), pair("sets", "set")),
        "parts of sets": (fit(lenet(), students.sets(), SPEC.replace(micro_batch_size=5)), pair("sets", "set")),
        "regression": (fit(made(lambda: regression), students.numbers(), SPEC.replace(optimizer="adam")), TENSORS),
        "edited before": (fit(edited_before(), students.loaders(), SPEC), pair("loaders", "loader")),
        "edited in flight": (edited_in_flight(), pair("sets", "set")),
        "edited in flight, adamw": (edited_in_flight(optimizer="adamw", lr=0.002), pair("sets", "set")),
    }


RUNNER = """
import json, runpy, sys
sys.modules["convlab"] = None
for path in sys.argv[1:]:
    print(json.dumps(runpy.run_path(path)["losses"]))
"""


@pytest.mark.slow
def test_losses_are_the_same_bits(runs, tmp_path: Path):
    paths = []
    for number, (name, (run, data)) in enumerate(runs.items()):
        assert run.state == "finished", (name, run.traceback)
        weights = tmp_path / f"{number}.pt"
        save_start(run, weights)
        text = run.code()
        assert ("weights.pt" in text) == (name in ("regression", "edited before")), name
        text = run.code(str(weights)) if "weights.pt" in text else text
        for asked, given in data.items():
            assert asked in text, name
            text = text.replace(asked, given)
        paths.append(tmp_path / f"script_{number}.py")
        paths[-1].write_text(f"import students\n{text}")
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *map(str, paths)],
        capture_output=True, text=True, timeout=200, check=False, env={"PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    for (name, (run, _)), found in zip(runs.items(), losses, strict=True):
        assert found == run.history.train_loss.tolist(), name


def test_an_own_class_is_called_and_then_made_what_it_is_now(runs):
    text = runs["edited before"][0].code()
    assert "from students import Net" in text
    head = text[text.index("model = Net()") :].partition("# The weights")[0]
    assert head == (
        "model = Net()\n"
        "model.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)\n"
        "model.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1)\n"
        "model.act = nn.GELU()\n"
        "model.same_act = model.act\n"
        "model.norm = nn.BatchNorm2d(8)\n"
        "model.head = nn.Sequential(\n"
        "    nn.MaxPool2d(2),\n"
        "    nn.Flatten(),\n"
        "    nn.Dropout(0.2),\n"
        "    nn.LayerNorm(128),\n"
        "    nn.Linear(128, 10),\n"
        ")\n"
    )


def test_the_arguments_of_an_own_class_are_told_by_its_attributes():
    model = made(lambda: students.Net(4))
    run = Run(model, students.sets(), SPEC)
    assert "model = Net(width=4)" in run.code()
    torch.manual_seed(0)
