"""The parts of the bench, each by itself and without a browser."""

import threading

import pytest
import torch
from torch import nn
from waiting import until

import convlab
from convlab.panels.curve import Curve
from convlab.panels.lab import Lab
from convlab.panels.messages import Messages
from convlab.panels.settings import Settings
from convlab.panels.transport import Transport, describe
from convlab.plots.picture import drawing, picture, table
from convlab.spec import SpecError
from convlab.training.progress import Progress

X = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
EVIL = "<img src=x onerror=alert(1)>"


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.fixture
def lab():
    lab = Lab(tiny(), ((X, Y), (X[:6], Y[:6])), convlab.TrainSpec(epochs=3, batch_size=8))
    yield lab
    lab.close()


# -- transport --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "works"),
    [
        ("pending", {"run", "step"}),
        ("running", {"pause", "step", "stop"}),
        ("paused", {"run", "step", "stop", "reset"}),
        ("stepping", {"run", "step", "stop", "reset"}),
        ("stopped", {"run", "step", "reset"}),
        ("failed", {"run", "step", "reset"}),
    ],
)
def test_a_button_is_enabled_where_it_works(state, works):
    pressed = []
    names = ("run", "pause", "step", "stop", "reset")
    transport = Transport({name: lambda name=name: pressed.append(name) for name in names})
    transport.show(state, Progress(1, 2, 10, 20, 100.0, 1.0))
    assert {name for name, button in transport.buttons.items() if not button.disabled} == works
    assert transport.buttons["run"].description == ("Resume" if state in {"paused", "stepping"} else "Run")
    assert transport.bar.value == 0.5
    for button in transport.buttons.values():
        button.click()
    assert pressed == list(names)


def test_the_line_says_where_a_run_is():
    assert describe("pending", None) == "ready"
    assert "11,000 images/s · 1:02:05 left" in describe("running", Progress(1, 2, 3, 4, 11_234.0, 3725.0))
    assert "images" not in describe("paused", Progress(1, 2, 3, 4, 11_234.0, 3725.0))


# -- settings ---------------------------------------------------------------------------------------------------------


def settings(**spec):
    return Settings(convlab.TrainSpec(**spec), dropout=None, resizable=True)


def test_a_control_writes_the_spec_and_follows_it():
    panel = settings(lr=0.05)
    panel.controls["lr"].value = 0.1
    assert panel.spec.lr == 0.1
    panel.change(lr=0.012345, batch_size=48, epochs=7)
    shown = {name: control.value for name, control in panel.controls.items()}
    assert (shown["lr"], shown["batch_size"], shown["epochs"]) == (0.012345, 48, 7)
    assert 0.012345 in [value for _, value in panel.controls["lr"].options]
    with pytest.raises(SpecError):
        panel.change(lr=-1)
    assert panel.controls["lr"].value == panel.spec.lr == 0.012345


def test_what_cannot_change_is_locked_and_says_why():
    panel = settings(optimizer="adam")
    assert panel.controls["momentum"].disabled
    assert "betas" in panel.controls["momentum"].tooltip
    panel.set_running(True)
    assert panel.controls["optimizer"].disabled
    assert panel.controls["seed"].disabled
    assert "Locked while a run is on" in panel.controls["seed"].tooltip
    assert "Locked while a run is on" in panel.controls["optimizer"].description
    assert not panel.controls["lr"].disabled
    panel.set_running(False)
    assert not panel.controls["optimizer"].disabled


def test_hands_on_two_threads_lose_nothing():
    panel = settings()
    values = {"lr": [v for _, v in panel.controls["lr"].options], "momentum": [0.1, 0.5, 0.8, 0.0]}

    def move(name):
        for value in values[name] * 5:
            panel.controls[name].value = value

    threads = [threading.Thread(target=move, args=(name,)) for name in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: getattr(panel.spec, name) for name in values} == {name: v[-1] for name, v in values.items()}
    assert {name: panel.controls[name].value for name in values} == {name: v[-1] for name, v in values.items()}


# -- messages ---------------------------------------------------------------------------------------------------------


def test_messages_escape_and_offer():
    messages, done = Messages(), []
    messages.error(EVIL, f"Traceback {EVIL}")
    assert "<img" not in messages._line.value
    assert messages._line.value.count("&lt;img") == 2
    messages.offer("Mend", "Makes it good.", lambda: done.append(1))
    assert messages.remedy.layout.display is None
    messages.remedy.click()
    messages.clear()
    assert messages.remedy.layout.display == "none"
    messages.remedy.click()
    assert done == [1]
    assert messages.text == ""


def test_an_exception_of_convlab_speaks_for_itself_and_any_other_brings_its_type():
    messages = Messages()
    for act, said in ((lambda: convlab.TrainSpec(lr=-1), "lr must be"), (lambda: {}["x"], "KeyError: 'x'")):
        try:
            act()
        except Exception as error:
            messages.exception(error)
        assert messages.text.startswith(said)
    assert "Traceback" in messages._line.value


# -- curve ------------------------------------------------------------------------------------------------------------


def test_the_curve_sends_each_point_once_and_keeps_earlier_runs_as_ghosts():
    curve, sent = Curve(), []
    curve.chart.send = lambda content, buffers=None: sent.append(content)

    def fit(name):
        run = convlab.Run(tiny(), (X, Y), convlab.TrainSpec(epochs=2, batch_size=8), name=name)
        run.watch(curve.update)
        run.step(2)
        run.set(lr=0.01)
        run.resume().wait()
        return run

    first = fit("run 1")
    assert [mark["label"] for mark in curve.chart.marks] == ["lr 0.05 → 0.01"]
    points = sum(dict(message["header"]).get("train_loss", 0) for message in sent if message["type"] == "extend")
    assert points == first.history.num_steps == 6
    assert curve.chart.ghosts == []
    fit("run 2")
    assert curve.chart.ghosts == ["run 1"]
    curve.clear()
    curve.clear()
    assert curve.chart.ghosts == ["run 1", "run 2"]
    assert curve.chart.marks == []
    assert curve.chart.provider()["train_loss"][0].tolist() == []


# -- the bench --------------------------------------------------------------------------------------------------------


def test_no_button_goes_from_under_a_hand_while_it_steps(lab):
    lab.set(epochs=1000)
    lab.step()
    gate = threading.Event()
    hook = lab.model.register_forward_pre_hook(lambda *_: gate.wait() and None)
    works = {name: not button.disabled for name, button in lab.transport.buttons.items()}
    lab.step(wait=False)
    until(lambda: lab.current.stepping)
    until(lambda: lab.transport.line.value.startswith("stepping"))
    assert {name: not button.disabled for name, button in lab.transport.buttons.items()} == works
    assert lab.transport.buttons["run"].description == "Resume"
    lab.transport.buttons["run"].click()
    assert not lab.current.stepping
    gate.set()
    hook.remove()
    until(lambda: lab.transport.line.value.startswith("running"))
    assert lab.transport.buttons["run"].disabled
    lab.stop()


def test_without_anybody_run_waits(lab):
    before = [p.clone() for p in lab.model.parameters()]
    run = lab.run()
    assert run.state == "finished"
    assert lab.transport.line.value == "finished · epoch 3 of 3 · step 9 of 9"
    lab.reset()
    assert all(torch.equal(p, was) for p, was in zip(lab.model.parameters(), before, strict=True))
    assert lab.curve.chart.ghosts == ["run 1"]
    lab.step()
    assert (lab.current.state, lab.current.history.num_steps) == ("paused", 1)


def test_a_refused_run_leaves_no_trace(lab):
    other = Lab(lab.model, (X, Y))
    other.step()
    with pytest.raises(RuntimeError, match="already being trained"):
        lab.run()
    assert lab.runs == []
    other.close()
    assert lab.run().state == "finished"


def test_a_failed_run_raises_for_a_script_and_says_so_on_the_panel(lab):
    def broken(output, target):
        raise ValueError(EVIL)

    lab.criterion = broken
    with pytest.raises(ValueError, match="img"):
        lab.run()
    assert "<img" not in lab.messages._line.value
    assert "Training stopped in step 1: ValueError" in lab.messages.text
    html = table(lab.current, lab.spec, EVIL)["text/html"] + picture(lab.current, lab.spec, EVIL)["text/html"]
    assert "<img" not in html
    assert html.count("&lt;img") == 4
    assert "image/png" not in drawing(lab.current)


def test_nan_offers_the_weights_that_were_good(lab):
    lab.step()
    start = [p.clone() for p in lab.model.parameters()]
    lab.stop()
    lab.criterion = lambda output, target: output.sum() * float("nan")
    with pytest.warns(RuntimeWarning, match="nan"):
        lab.run()
    assert lab.messages.remedy.description == "Restore start weights"
    with torch.no_grad():
        lab.model[1].weight.fill_(7.0)
    lab.messages.remedy.click()
    assert all(torch.equal(p, was) for p, was in zip(lab.model.parameters(), start, strict=True))
    assert "are back" in lab.messages.text


def test_close_takes_every_widget_along(lab):
    from ipywidgets.widgets.widget import _instances

    open_before = set(_instances)
    more = Lab(tiny(), (X, Y))
    assert len(_instances) > len(open_before) + 20
    more.close()
    assert set(_instances) == open_before


class UnsoundInEval(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * (1.0 if self.training else float("nan"))


def test_a_validation_loss_that_is_no_number_is_said_while_training_goes_on():
    lab = Lab(UnsoundInEval(*tiny()), ((X, Y), (X[:6], Y[:6])), convlab.TrainSpec(epochs=3, batch_size=8))
    assert lab.run(wait=True).state == "finished"
    assert "validation loss became nan in epoch 1; training goes on" in lab.messages.text
    lab.close()
