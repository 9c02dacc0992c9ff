"""What goes wrong around a run: disks, signals, workers, clocks, memory, odd models."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from driving import ENVIRONMENT, goes_on
from killed import large
from test_rewind import droppy, losses
from textbook import same, some_digits, state_of
from torch import nn
from torch.utils.data import DataLoader, Dataset
from waiting import until

from convlab.spec import TrainSpec
from convlab.training.autosave import saved_runs
from convlab.training.checkpoint import read
from convlab.training.fit import fit
from convlab.training.run import Run

HERE = Path(__file__).parent
DATA = some_digits(200)
SPEC = TrainSpec(epochs=4, batch_size=24, lr=0.01)


# -- disks ------------------------------------------------------------------------------------------------------------


def test_on_a_full_disk_training_goes_on_and_the_last_file_stays(tmp_path):
    run = Run(droppy(), DATA, SPEC, name="run", autosave=tmp_path).step(10)
    until(lambda: "Saved at step 9" in run.autosave.note)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, before[1]))
    try:
        run.step(10)
        until(lambda: run.autosave.failed)
        with pytest.raises(OSError, match="File too large"):
            run.save(tmp_path / "run.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large. Training goes on" in run.autosave.note
    assert [one.step for one in saved_runs(tmp_path)] == [9]
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]
    run.resume().wait()
    assert run.state == "finished"
    assert not run.autosave.failed
    assert [one.step for one in saved_runs(tmp_path)] == [36]
    assert losses(run) == losses(fit(droppy(), DATA, SPEC))


def test_where_nobody_may_write(tmp_path):
    run = Run(droppy(), DATA, SPEC.replace(epochs=1), autosave="/proc/convlab").start().wait()
    assert run.state == "finished"
    assert run.autosave.failed
    with pytest.raises(OSError, match="/proc"):
        run.save("/proc/convlab.safetensors")


def test_runs_of_one_name_that_begin_together_are_kept_apart(tmp_path):
    runs = [Run(droppy(), DATA, SPEC.replace(lr=lr), name="a/b", autosave=tmp_path) for lr in (0.01, 0.02, 0.03)]
    for run in runs:
        run.start()
    for run in runs:
        run.wait()
    assert sorted(path.name for path in tmp_path.iterdir() if ".before" not in path.name) == [
        "a-b-2.safetensors",
        "a-b-3.safetensors",
        "a-b.safetensors",
    ]
    loaded = [Run.load(run.autosave.path, data=DATA) for run in runs]
    assert [run.spec.lr for run in loaded] == [0.01, 0.02, 0.03]


def test_a_run_taken_up_from_the_file_before_keeps_it_until_the_next_is_whole(tmp_path):
    run = Run(droppy(), DATA, SPEC, name="run", autosave=tmp_path).start().wait()
    path = run.autosave.path
    stale = tmp_path / f".{path.name}.123-0.tmp"
    for damaged in (path, stale):
        damaged.write_bytes(b"damaged")
    (found,) = saved_runs(tmp_path)
    assert found.path.name == "run.before.safetensors"
    assert found.step in (27, 36)
    again = Run.load(found.path, data=DATA, autosave=tmp_path)
    assert not stale.exists()
    assert again.autosave.path == path
    again.start().wait()
    assert [one.path for one in saved_runs(tmp_path)] == [path]
    assert read(path.with_name("run.before.safetensors"))[1]["history"]["num_steps"] == found.step
    assert losses(again) == losses(run)


# -- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupt_while_a_file_is_written_leaves_the_old_one_and_the_run_goes_on(tmp_path):
    rng, path = random.Random(0), tmp_path / "run.safetensors"
    run = Run(large(), DATA, SPEC.replace(epochs=10**5, batch_size=10)).start()
    run.save(path)
    for _ in range(25):
        timer = threading.Timer(rng.uniform(0, 0.2), os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # wherever it strikes
            timer.start()
            while True:
                run.save(path)
        timer.join()
        read(path)
        assert [one.name for one in tmp_path.iterdir()] == [path.name]
        goes_on(run)
    run.stop()
    Run.load(path, data=DATA)


@pytest.mark.slow
def test_an_interrupt_of_a_script_stops_its_run_after_a_step(tmp_path):
    script = """
import sys
from test_failures import DATA, SPEC
from test_rewind import droppy
from convlab.training.run import Run
run = Run(droppy(), DATA, SPEC.replace(epochs=10**5), name="run", autosave=sys.argv[1]).start()
print("begun", flush=True)
run.wait()
print(run.state, run.history.num_steps, flush=True)
"""
    for number, delay in enumerate((0.0, 0.05, 0.4)):
        home = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c", script, home],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
        state, steps = told.split()
        assert (process.returncode, state) == (0, "stopped")
        (found,) = saved_runs(home)
        assert (found.step, found.state) == (int(steps), "stopped")


# -- workers and clocks -----------------------------------------------------------------------------------------------


class Deadly(Dataset):
    """Its process dies at one sample, once it is armed."""

    armed = False

    def __len__(self):
        return 200

    def __getitem__(self, i):
        if self.armed and i == 150 and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return DATA.train.x[i], DATA.train.y[i]


@pytest.mark.slow
def test_a_worker_that_dies_fails_the_run_in_a_sentence():
    data = Deadly()
    run = Run(droppy(), DataLoader(data, batch_size=20, num_workers=2), SPEC)
    run.step(3)
    before = state_of(run.model)
    run.step(7)
    data.armed = True  # the workers of the next epoch are born with it
    run.resume().wait(60)
    assert run.state == "failed"
    assert "DataLoader worker" in str(run.error)
    assert any(word in str(run.error) for word in ("killed", "exited unexpectedly"))  # whichever is seen first
    assert all(tensor.isfinite().all() for tensor in state_of(run.model))
    assert not same(before, state_of(run.model))
    data.armed = False
    assert run.fork().start().wait().state == "finished"


def test_a_clock_that_jumps_moves_nothing(tmp_path, monkeypatch):
    jumps = iter(range(10**9, 0, -100_000))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    run = Run(droppy(), DATA, SPEC, name="run", autosave=tmp_path).start().wait()
    assert run.state == "finished"
    assert all(0 <= one.seconds < 100 for one in run.history.epochs)
    assert [one.step for one in saved_runs(tmp_path)] == [36]
    assert Run.load(run.autosave.path, data=DATA).state == "finished"


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_real_lack_of_memory_is_known_and_smaller_parts_go_on():
    command = [sys.executable, HERE / "starved.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout == "finished 1 256 True\n", done.stderr


# -- odd models -------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Its forward gives back what `act` makes of the logits."""

    def __init__(self, act):
        super().__init__()
        self.inner, self.act = droppy(), act

    def forward(self, x):
        return self.act(self.inner(x))


@pytest.mark.parametrize(
    ("act", "kind", "pick"),
    [
        (lambda out: (out, 0), "tuple", lambda out: out[0]),
        (lambda out: {"logits": out}, "dict", lambda out: out["logits"]),
        (lambda out: [out], "list", lambda out: out[0]),
        (lambda out: None, "NoneType", None),
    ],
)
def test_outputs_of_every_shape(act, kind, pick):
    run = Run(Odd(act), DATA, SPEC).start().wait()
    assert run.state == "failed"
    assert f"Odd.forward returned a {kind}, not a tensor; pass criterion=" in str(run.error)
    if pick is not None:
        run = Run(Odd(act), DATA, SPEC, criterion=lambda out, y: nn.functional.cross_entropy(pick(out), y))
        plain = fit(droppy(), DATA, SPEC)
        assert run.start().wait().history.train_loss.tolist() == plain.history.train_loss.tolist()


def test_a_forward_of_several_inputs_says_what_is_missing():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = droppy()

        def forward(self, x, scale):
            return self.inner(x * scale)

    run = Run(Two(), DATA, SPEC).start().wait()
    assert run.state == "failed"
    assert "missing 1 required positional argument: 'scale'" in str(run.error)
