"""Trainings that are killed, over and over: ``python killed.py FOLDER`` prints a line of JSON for each chain.

A life is a forked child of a parent that has trained once, so that torch has loaded what it puts off, and that has one
thread only, so that no lock is held for ever. Each takes up what the one before left in the directory. The parent
kills it some time after its birth, or after it began to write a file.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from test_rewind import droppy
from textbook import some_digits
from torch import nn
from waiting import until

from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.autosave import saved_runs
from convlab.training.checkpoint import CheckpointError, read
from convlab.training.fit import fit
from convlab.training.run import Run

DATA = some_digits(96)
SPEC = TrainSpec(
    optimizer="adamw",
    lr=0.01,
    batch_size=24,
    epochs=200,
    threads=1,
    schedule=ScheduleSpec("OneCycleLR", max_lr=0.02, total_steps=800),
)


def large() -> nn.Module:
    """Some 25 MB on disk, with its moments, its beginning and its best."""
    torch.manual_seed(0)
    layers = (nn.Linear(64, 8000), nn.BatchNorm1d(8000), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8000, 80), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(80, 10))


NETS = {"small": (droppy, SPEC), "large": (large, SPEC.replace(epochs=24))}


def live(net: str, home: Path, told: int) -> None:
    """One life: take up what there is, train to the end, tell how it went."""
    make, spec = NETS[net]
    found = saved_runs(home)
    if found:
        run = Run.load(found[0].path, data=DATA, autosave=home)
    else:
        run = Run(make(), DATA, spec, name="run", autosave=home)
    run.watch(lambda run: os.write(told, f"{run.autosave.note}\n".encode()))
    if not run.ended:
        run.start().wait()
    assert run.state == "finished", run.traceback
    weights = hashlib.sha256()
    for tensor in (*run.model.parameters(), *run.model.buffers()):
        weights.update(tensor.detach().numpy().tobytes())
    epochs = [(one.train_loss, one.valid_loss, one.train_accuracy, one.lr) for one in run.history.epochs]
    curve = run.history.train_loss.tolist(), run.history.lr.tolist()
    result = {"weights": weights.hexdigest(), "curve": curve, "epochs": epochs, "best": run.best.epoch}
    (home.parent / f"{home.name}.json").write_text(json.dumps(result))


def born(net: str, home: Path) -> tuple[int, int]:
    """The process of a life, and what it tells."""
    ours, theirs = os.pipe()
    sys.stdout.flush()
    if child := os.fork():
        os.close(theirs)
        return child, ours
    try:
        live(net, home, theirs)
    except BaseException as error:
        (home.parent / f"{home.name}.json").write_text(json.dumps({"error": repr(error)}))
    finally:
        os._exit(0)


def is_whole(path: Path) -> bool:
    """Whether the file could be loaded."""
    try:
        read(path)
    except (CheckpointError, OSError):
        return False
    return True


def writes(home: Path) -> bool:
    """Whether a file is being written."""
    return any(home.glob(".*.tmp"))


def killed(net: str, home: Path, rng: random.Random) -> dict[str, object]:
    """One life and its end, by a kill if it does not come to its end before."""
    began = time.monotonic()
    child, told = born(net, home)
    aim = rng.choice(["soon", "later", "writing", "writing"])
    if aim == "writing":
        for _ in range(rng.randrange(1, 4)):
            for now in (False, True):
                while writes(home) != now and time.monotonic() < began + 2:
                    time.sleep(0.0002)
        time.sleep(rng.uniform(0, 0.08 if net == "large" else 0.003))
    else:
        time.sleep(rng.uniform(0, 0.15 if aim == "soon" else 0.5))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    notes = b""
    while some := os.read(told, 2**16):
        notes += some
    os.close(told)
    steps = [line.split()[3] for line in notes.decode().splitlines() if line.startswith("Saved at step")]
    names = sorted(path.name for path in home.iterdir()) if home.exists() else []
    left = [name for name in names if name.startswith(".")]
    return {
        "aim": aim,
        "by": "kill" if os.WIFSIGNALED(status) else "end",
        "told": int(steps[-1].replace(",", "")) if steps else 0,
        "steps": [one.step for one in saved_runs(home)] if home.exists() else [],
        "left": left,
        "broken": [
            name for name in names if name not in left and (home / name).stat().st_size and not is_whole(home / name)
        ],
    }


def chain(net: str, home: Path, seed: int, kills: int) -> dict[str, object]:
    """Lives until so many were killed, and a last one that is not."""
    rng = random.Random(seed)
    ends: list[dict[str, object]] = []
    while len(ends) < kills and (not ends or ends[-1]["by"] == "kill"):
        ends.append(killed(net, home, rng))
    child, told = born(net, home)
    while os.read(told, 2**16):
        pass
    os.waitpid(child, 0)
    result = json.loads((home.parent / f"{home.name}.json").read_text())
    return {"net": net, "ends": ends, "result": result, "left": sorted(path.name for path in home.iterdir())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    fit(droppy(), DATA, SPEC.replace(epochs=1))
    until(lambda: len(list(Path("/proc/self/task").iterdir())) == 1)
    for net in NETS:
        print(json.dumps(chain(net, folder / f"{net}-whole", 0, 0)), flush=True)
        for seed in range(3):
            print(json.dumps(chain(net, folder / f"{net}-{seed}", seed, 9)), flush=True)
