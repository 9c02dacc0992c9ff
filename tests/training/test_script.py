"""The script that a bench shows gives the bench's losses bit for bit, without the bench."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scheduled import DATA, SPEC, hands, ran, small
from test_schedules import NAMES, SPECS
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn

from convlab.data import resolve, shapes
from convlab.models.gallery import lenet, net
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.journal import Change
from convlab.training.run import Run
from convlab.training.script import save_start, script, script_for

S = ScheduleSpec


@pytest.fixture(autouse=True)
def torch_left_as_it_was():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def filled(text: str) -> str:
    """A user's data put where the script asks for them."""
    return text.replace("x_train, y_train = ...", "x_train, y_train = TRAIN").replace(
        "x_valid, y_valid = ...", "x_valid, y_valid = VALID"
    )


def executed(run: Run, text: str | None = None) -> dict:
    """What the script of a run leaves."""
    train, valid = run.data.train, run.data.valid
    names = {"TRAIN": (train.x, train.y), "VALID": valid and (valid.x, valid.y)}
    exec(compile(filled(text or run.code()), "<script>", "exec"), names)
    return names


def agrees(run: Run, text: str | None = None) -> None:
    assert run.state == "finished", run.traceback
    names = executed(run, text)
    assert names["losses"] == run.history.train_loss.tolist()
    assert same(state_of(names["model"]), state_of(run.model))


def dropout_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Dropout2d(0.1),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip


RECIPES = {
    "plain": TrainSpec(),
    "adamw": TrainSpec(optimizer="adamw", lr=3e-3, betas=(0.8, 0.99)),
    "rmsprop": TrainSpec(optimizer="rmsprop", lr=1e-3, momentum=0.5, weight_decay=1e-4),
    "dropout of the recipe": TrainSpec(optimizer="adam", lr=3e-3, dropout=0.4),
    "smoothing and clipping": TrainSpec(label_smoothing=0.1, clip_grad_norm=0.3, lr=0.5),
    "early stopping": TrainSpec(lr=0.3, patience=1),
    "bf16": TrainSpec(bf16=True),
    "channels last": TrainSpec(channels_last=True),
    "batches in parts": TrainSpec(micro_batch_size=13),
}
MADE = {name: spec.replace(epochs=5 if spec.patience else 2, seed=3) for name, spec in RECIPES.items()}


@pytest.mark.parametrize("recipe", MADE)
def test_same_losses_and_weights(recipe):
    agrees(fit(made(dropout_net), some_digits(), MADE[recipe]))


def test_batches_that_went_in_parts_from_some_step_on():
    journal = [Change(3, "micro_batch_size", None, 10), Change(9, "micro_batch_size", 10, None)]
    agrees(fit(made(dropout_net), some_digits(), TrainSpec(epochs=2, lr=0.02), journal=journal))


def test_early_stopping_stops_and_restores():
    run = fit(made(dropout_net), some_digits(), TrainSpec(lr=0.3, patience=1, epochs=20))
    assert run.history.num_epochs < 20
    agrees(run)


@pytest.mark.parametrize("cadence", ["step", "epoch"])
@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_every_schedule(spec, cadence):
    agrees(fit(small(), DATA, SPEC.replace(schedule=spec.replace(cadence=cadence), epochs=5)))


def test_plateau_of_a_maximum_follows_the_accuracy():
    schedule = S("ReduceLROnPlateau", mode="max", patience=0, factor=0.3, cadence="epoch")
    agrees(fit(small(), DATA, SPEC.replace(schedule=schedule)))


@settings(max_examples=25, deadline=None)
@given(schedule=st.sampled_from([None, *SPECS]), hands=hands, cadence=st.sampled_from(["step", "epoch"]))
def test_any_journal(schedule, hands, cadence):
    run = ran(schedule and schedule.replace(cadence=cadence), hands)
    agrees(run)


JOURNAL = (
    Change(0, "weight_decay", 0.0, 1e-3),
    Change(3, "dropout", None, 0.5),
    Change(4, "lr", 0.05, 0.02),
    Change(5, "batch_size", 32, 12),
    Change(9, "clip_grad_norm", None, 0.5),
    Change(11, "label_smoothing", 0.0, 0.2),
    Change(12, "momentum", 0.9, 0.0),
    Change(14, "dropout", 0.5, None),
    Change(17, "momentum", 0.0, 0.8),
    Change(20, "epochs", 2, 3),
)


@pytest.mark.parametrize("schedule", [None, S("StepLR", step_size=7)])
def test_every_setting_changed_in_flight(schedule):
    agrees(fit(made(dropout_net), some_digits(), TrainSpec(epochs=2, schedule=schedule), journal=JOURNAL))


def test_a_remainder_of_one_is_left_out_as_on_the_bench():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))

    agrees(fit(made(build), some_digits(33), TrainSpec(epochs=2, batch_size=4)))


def test_frozen_layers_stay():
    model = made(dropout_net)
    model[0].requires_grad_(False)
    agrees(fit(model, some_digits(), TrainSpec(epochs=2)))


def test_a_users_own_class_is_imported():
    run = fit(made(Regularised), some_digits(), TrainSpec(epochs=2))
    text = run.code()
    assert "from textbook import Regularised" in text
    agrees(run, text)


def test_weights_that_no_seed_explains_are_loaded(tmp_path):
    model = lenet()
    with torch.no_grad():
        model.fc2.bias.add_(0.25)
    run = fit(model, some_digits(), TrainSpec(epochs=2))
    path = str(tmp_path / "began.pt")
    save_start(run, path)
    assert "weights.pt" in run.code()
    agrees(run, script(run, path))


def test_shapes_are_made_in_plain_code():
    model = made(lambda: nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.Flatten(), nn.Linear(196, 10)))
    agrees(fit(model, shapes(5, num_samples=100), TrainSpec(epochs=2)))


def test_arrays_are_parted_as_here():
    x, y = resolve("digits").train.x[:200], resolve("digits").train.y[:200]
    run = fit(small(), (x, y), TrainSpec(epochs=2))
    text = run.code()
    names = {"X": x, "y": y}
    exec(compile(text.replace("X, y = ...", ""), "<script>", "exec"), names)
    assert names["losses"] == run.history.train_loss.tolist()


def texts() -> list[str]:
    """Scripts with most of what one can hold."""
    rest = [
        S("SequentialLR", schedulers=[S("LinearLR"), S("LambdaLR", lr_lambda="0.5 ** (epoch // 3)")], milestones=[9])
    ]
    journal = (*JOURNAL, Change(21, "schedule", None, SPECS[1]), Change(22, "schedule_mode", "scale", "hold"))
    own = some_digits(60)
    return [
        script_for(lenet(), "digits", TrainSpec(epochs=2)),
        script_for(made(Regularised), own, TrainSpec(schedule=rest[0], patience=2), JOURNAL),
        script_for(made(dropout_net), own, TrainSpec(optimizer="adamw", bf16=True), journal),
        script_for(made(lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten())), shapes(7), TrainSpec(momentum=0.0)),
        *(script_for(small(), own, TrainSpec(schedule=spec), [Change(2, "lr", 0.05, 0.1)]) for spec in SPECS),
    ]


def test_scripts_are_formatted_and_free_of_the_bench(tmp_path):
    for number, text in enumerate(texts()):
        assert "convlab" not in text
        (tmp_path / f"script_{number}.py").write_text(text)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--diff"], ["check", "--extend-select", "I", "--ignore", "E402"]):
        done = subprocess.run(
            [*ruff, *command, "--isolated", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_scripts_run_in_an_interpreter_of_their_own(tmp_path: Path):
    runs = [
        fit(lenet(), "digits", TrainSpec(epochs=1)),
        fit(
            lenet(seed=4), "digits", TrainSpec(epochs=2, optimizer="adamw", lr=3e-3), journal=[Change(9, "lr", 0, 1e-3)]
        ),
        fit(lenet(), "digits", TrainSpec(epochs=1, schedule=S("OneCycleLR", max_lr=0.2, total_steps=45))),
    ]
    paths = []
    for number, run in enumerate(runs):
        paths.append(tmp_path / f"script_{number}.py")
        paths[-1].write_text(run.code())
    runner = "import json, runpy, sys\nfor p in sys.argv[1:]:\n    print(json.dumps(runpy.run_path(p)['losses']))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['convlab'] = None\n{runner}", *map(str, paths)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert losses == [run.history.train_loss.tolist() for run in runs]
    assert done.stdout.count("epoch ") == 4


@pytest.mark.slow
def test_writing_a_script_of_a_network_that_trains_meanwhile_changes_none_of_its_bits():
    def make():
        return net("resnet", input_size=(1, 8, 8), num_classes=10)

    spec = TrainSpec(epochs=3, threads=1)
    run = Run(make(), some_digits(), spec).start()
    script_for(run.model, some_digits(), TrainSpec())
    while not run.ended:
        script_for(run.model, some_digits(), TrainSpec())
    assert run.state == "finished", run.traceback
    assert run.history.train_loss.tolist() == fit(make(), some_digits(), spec).history.train_loss.tolist()
