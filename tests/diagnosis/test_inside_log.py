"""A run that is watched from inside is the run that nobody watches, bit for bit; and what is seen is what it did."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from convlab.data.resolve import resolve
from convlab.diagnosis.inside import NUMBERS
from convlab.diagnosis.inside_log import MOST, watch_inside
from convlab.models.gallery import lenet
from convlab.models.live import Edit
from convlab.spec import TrainSpec
from convlab.training.lending import checksum
from convlab.training.run import Run

torch.set_num_threads(1)


def network():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(384, 10),
    )


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


SPECS = {
    "sgd": TrainSpec(epochs=3, optimizer="sgd", momentum=0.9, weight_decay=1e-3),
    "adamw": TrainSpec(epochs=3, optimizer="adamw", lr=1e-3),
    "clipped": TrainSpec(epochs=3, clip_grad_norm=0.5, micro_batch_size=20),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("held", [False, True])
def test_training_is_bit_for_bit_the_same(name, held):
    def trained(watched):
        model, data = network(), resolve("digits")
        run = Run(model, data, SPECS[name])
        log = watch_inside(run, budget=1) if watched else None
        if held:
            # Standing before the step that is looked at, after it, and ended in mid-epoch.
            run.step(43).step(1).step(1)
            assert hooks(model) == 0
            run.step(60).stop()
        else:
            run.start().wait()
        assert log is None or log.looks
        return run, checksum(model, data, run.optimizer), run._trainer.streams()

    alone, watched = trained(False), trained(True)
    assert watched[0].history.train_loss.tolist() == alone[0].history.train_loss.tolist()
    assert [one.valid_loss for one in watched[0].history.epochs] == [one.valid_loss for one in alone[0].history.epochs]
    assert watched[1] == alone[1]
    assert repr(watched[2]) == repr(alone[2])
    assert hooks(watched[0].model) == 0


def test_what_is_seen_is_what_the_step_did():
    model = network()
    run = Run(model, "digits", TrainSpec(epochs=1, lr=0.1, momentum=0.0))
    log = watch_inside(run)
    run.step(43)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    run.step(1)
    (look,) = log.looks
    assert (look.step, look.loss, look.samples) == (44, run.history.train_loss[-1], 32)
    conv = look.layer("0")
    conv_now = model[0].weight.detach(), model[0].bias.detach()
    conv_then = before["0.weight"], before["0.bias"]
    changed = [float((now - then).norm()) for now, then in zip(conv_now, conv_then, strict=True)]
    weights = [float(then.norm()) for then in conv_then]
    assert conv.update_to_weight == pytest.approx(np.hypot(*changed) / np.hypot(*weights), rel=1e-5)
    # Plain SGD: the update is the learning rate times the gradient.
    assert conv.gradient_norm == pytest.approx(np.hypot(*changed) / 0.1, rel=1e-4)
    assert look.layer("1").mean == pytest.approx(float(before["1.bias"].mean()), abs=1e-5)
    assert math.isnan(look.layer("2").update_to_weight)


def test_the_first_epoch_is_looked_at_and_a_budget_of_nothing_ends_it_there():
    run = Run(lenet(), "digits", TrainSpec(epochs=4))
    nothing, everything = watch_inside(run, 0), watch_inside(run, 1)
    run.start().wait()
    assert [look.step for look in nothing.looks] == [44]
    assert [look.step for look in everything.looks] == [44, 89, 134, 179]
    assert everything.share > 0


@pytest.mark.slow
def test_a_budget_is_kept():
    run = Run(lenet(), "digits", TrainSpec(epochs=60))
    log = watch_inside(run, 0.02)
    run.start().wait()
    # A look is begun only where the dearest so far would fit.
    assert log.seconds <= 0.02 * log._trained + log._dearest


def test_looks_are_bounded_and_evenly_spread():
    run = Run(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits", TrainSpec(epochs=MOST + 40, batch_size=1024))
    log = watch_inside(run, 1)
    run.start().wait()
    steps = [look.step for look in log.looks]
    assert len(steps) <= MOST
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    table = log.to_dataframe()
    assert {"step", "path", *NUMBERS} <= set(table.columns)
    assert len(table) == 2 * len(steps)


def test_an_edit_in_flight_is_seen_and_stop_ends_it():
    run = Run(lenet(), "digits", TrainSpec(epochs=4))
    log = watch_inside(run, 1)
    run.step(50)
    path = next(name for name, module in run.model.named_modules() if isinstance(module, nn.Conv2d))
    run.apply(Edit(path, {"out_channels": 9}, seed=0))
    run.step(50)
    assert [look.layer(path).channels for look in log.looks][-1] == 9
    log.stop()
    log.stop()
    run.resume().wait()
    assert len(log.looks) == 2


class Endless(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for label in range(48):
            yield torch.rand(1, 8, 8, generator=generator), label % 10


def test_where_nobody_knows_the_last_step_the_next_epochs_first_is_looked_at():
    run = Run(lenet(), (DataLoader(Endless(), 16), None), TrainSpec(epochs=3))
    log = watch_inside(run, 1)
    run.start().wait()
    assert [look.step for look in log.looks] == [4, 7]


def test_a_look_that_fails_harms_nobody(monkeypatch):
    def broken(module, output):
        raise LookupError("nothing to see")

    alone = Run(network(), "digits", TrainSpec(epochs=2)).start().wait()
    monkeypatch.setattr("convlab.diagnosis.layer_stats._part", broken)
    run = Run(network(), "digits", TrainSpec(epochs=2))
    log = watch_inside(run, 1)
    run.start().wait()
    assert run.state == "finished"
    assert run.history.train_loss.tolist() == alone.history.train_loss.tolist()
    assert log.note == "Looking inside failed and has ended: LookupError: nothing to see. Training goes on."
    assert log.looks == []
    assert hooks(run.model) == 0


def test_a_step_that_fails_leaves_no_hook():
    calls = iter(range(1, 1000))

    def criterion(output, target):
        return F.cross_entropy(output, target) * (math.inf if next(calls) == 44 else 1)

    model = network()
    run = Run(model, "digits", TrainSpec(epochs=2), criterion=criterion)
    log = watch_inside(run, 1)
    run.start().wait()
    assert (run.state, run.history.num_steps) == ("failed", 43)
    assert (log.looks, log.note) == ([], "")
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((lenet(),), r"run must be a Run, got"),
        ((None, 1.5), r"budget must be a share from 0 to 1, got 1.5; try budget=0.02"),
        ((None, "2%"), r"budget must be a share"),
        ((None, True), r"budget must be a share"),
    ],
)
def test_log_errors_name_the_argument(arguments, sentence):
    run = Run(lenet(), "digits", TrainSpec(epochs=1))
    first, *rest = arguments
    with pytest.raises((TypeError, ValueError), match=sentence):
        watch_inside(run if first is None else first, *rest)
    run.start().wait()
    with pytest.raises(RuntimeError, match=r"this run is finished and takes no more steps; look_inside\(run\)"):
        watch_inside(run)


def test_the_log_is_drawn():
    run = Run(network(), "digits", TrainSpec(epochs=3))
    log = watch_inside(run, 1)
    assert not log.plot().lines
    run.start().wait()
    axes = log.plot()
    assert [line.get_label() for line in axes.lines] == ["0", "1", "5"]
    assert axes.get_yscale() == "log"
    assert "3 looks" in repr(log)
