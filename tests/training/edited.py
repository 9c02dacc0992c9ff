"""Runs whose network and settings are changed at random, for tests of what repeats them."""

import sys
from pathlib import Path

import torch
from hypothesis import strategies as st
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn

from convlab.models._edit.plan import describe
from convlab.models.gallery import lenet, net
from convlab.models.live import Edit, EditError, bind
from convlab.spec import SpecError, TrainSpec
from convlab.training.run import Run
from convlab.training.script import save_start

sys.path.append(str(Path(__file__).parents[1] / "models"))
import edit_nets

DATA = some_digits(61)  # one is left over, which BatchNorm may not take

NETS = {
    "lenet": lenet,
    "resnet": lambda: net("resnet", input_size=(1, 8, 8), num_classes=10, out_channels=6),
    "inception": lambda: net("inception", input_size=(1, 8, 8), num_classes=10, out_channels=8),
    "own": lambda: made(Regularised),
    **{f"own {name}": (lambda name=name: edit_nets.made(name).train()) for name in edit_nets.NETS if name != "lenet"},
}

VALUES = {
    "out_channels": st.sampled_from([2, 4, 6, 8]),
    "out_features": st.integers(10, 14),
    "kernel_size": st.integers(1, 5),
    "stride": st.integers(1, 2),
    "padding": st.integers(0, 2) | st.just("same"),
    "groups": st.sampled_from([1, 2]),
    "num_groups": st.sampled_from([1, 2]),
    "bias": st.booleans(),
    "p": st.sampled_from([0.1, 0.6]),
    "momentum": st.just(0.3),
    "activation": st.sampled_from(["ReLU", "PReLU", "GELU", "Tanh"]),
    "norm": st.sampled_from(["batch", "group", "instance", "layer", "none"]),
    "pool": st.sampled_from(["max", "avg"]),
}
LAYERS = ["batchnorm", "groupnorm", "layernorm", "Dropout", nn.PReLU(), nn.Conv2d(1, 4, 3, padding=1), nn.Linear(1, 5)]
SCHEMES = ["default", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "orthogonal", "zeros"]
SETTINGS = {
    "lr": st.sampled_from([0.01, 0.003]),
    "momentum": st.sampled_from([0.0, 0.5]),
    "weight_decay": st.just(1e-3),
    "dropout": st.sampled_from([None, 0.3]),
    "batch_size": st.sampled_from([7, 20]),
    "clip_grad_norm": st.sampled_from([None, 1.0]),
    "label_smoothing": st.just(0.1),
}
ACTS = ("set", "set", "set", "insert", "insert_after", "replace", "remove", "freeze", "thaw", "redraw", "undo", "undo",
        "redo", "setting", "setting")  # fmt: skip


def act(run: Run, data: st.DataObject) -> None:
    """Do something to a run that stands still; what is refused changes nothing."""
    what = data.draw(st.sampled_from(ACTS), "act")
    seed = data.draw(st.integers(0, 5), "seed")
    try:
        if what == "setting":
            name = data.draw(st.sampled_from(sorted(SETTINGS)), "name")
            run.set(**{name: data.draw(SETTINGS[name], "value")})
        elif what in ("undo", "redo"):
            run.apply(what)
        else:
            run.apply(edit(run, data, what, seed))
    except (EditError, LookupError, SpecError):
        pass


def edit(run: Run, data: st.DataObject, what: str, seed: int) -> Edit:
    live = run._trainer.live or bind(run.model, (1, 1, 8, 8))
    run._trainer.live = live
    layers = live.layers
    if what == "set":
        paths = [path for path, layer in layers.items() if set(layer.settings) & set(VALUES)]
        path = data.draw(st.sampled_from(paths), "path")
        name = data.draw(st.sampled_from(sorted(set(layers[path].settings) & set(VALUES))), "name")
        return Edit(path, {name: data.draw(VALUES[name], "value")}, "set", seed)
    path = data.draw(st.sampled_from(list(layers)), "path")
    if what == "redraw":
        return Edit(path, {"scheme": data.draw(st.sampled_from(SCHEMES), "scheme")}, what, seed)
    if what in ("remove", "freeze", "thaw"):
        return Edit(path, {}, what, seed)
    layer = data.draw(st.sampled_from(LAYERS), "layer")
    settings = describe(layer, live.model, live.trace, path, before=what != "insert_after")
    return Edit(path, settings, what, seed)


def changed_at_random(name: str, data: st.DataObject, epochs: int = 3) -> Run:
    """A finished run on that net; a net that learns too fast for its numbers fails, which ends it too."""
    optimizer = data.draw(st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]), "optimizer")
    spec = TrainSpec(epochs=epochs, batch_size=15, optimizer=optimizer, lr=0.02 if optimizer == "sgd" else 0.001)
    run = Run(NETS[name](), DATA, spec)
    torch.manual_seed(0)
    for _ in range(data.draw(st.integers(1, 6), "acts")):
        run.step(data.draw(st.integers(1, 3), "steps"))
        if run.ended:
            break
        act(run, data)
    return run if run.ended else run.resume().wait()


def same_from(run: Run, folder: Path, **names: object) -> str:
    """Assert that the script of a run gives its losses and weights bit for bit; returns the script."""
    assert run.state == "finished", run.traceback
    text = run.code()
    if "torch.load(" in text:
        save_start(run, folder / "weights.pt")
        text = run.code(str(folder / "weights.pt"))
    train, valid = run.data.train, run.data.valid
    names |= {"TRAIN": (train.x, train.y), "VALID": (valid.x, valid.y)}
    filled = text.replace("x_train, y_train = ...", "x_train, y_train = TRAIN")
    filled = filled.replace("x_valid, y_valid = ...", "x_valid, y_valid = VALID").replace("# Put your own", "#")
    exec(compile(filled, "<script>", "exec"), names)
    assert names["losses"] == run.history.train_loss.tolist(), [str(change) for change in run.journal]
    assert same(state_of(names["model"]), state_of(run.model))
    return text
