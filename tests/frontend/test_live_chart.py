"""What the live chart sends, seen from where the browser would stand."""

import threading
from typing import Any

import comm
import numpy as np
import pytest
import traitlets
from comm.base_comm import BaseComm

from convlab.frontend.chart import MAX_GHOSTS, MAX_MARKS, LiveChart


class Wire(BaseComm):
    """A comm whose other end is the test: it keeps what was sent."""

    sent: list[tuple[dict[str, Any], list[Any]]]

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        self.__dict__.setdefault("sent", []).append((data or {}, buffers or []))

    def custom(self) -> list[tuple[dict[str, Any], list[bytes]]]:
        return [(data["content"], buffers) for data, buffers in self.sent if data.get("method") == "custom"]

    def say(self, content: dict[str, Any]) -> None:
        self.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


@pytest.fixture
def chart(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    chart = LiveChart()
    yield chart
    chart.close()


def unpack(header, buffer) -> dict[str, tuple[list[float], list[float]]]:
    numbers = np.frombuffer(buffer, dtype="<f8").tolist()
    points = {}
    for name, length in header:
        points[name] = (numbers[:length], numbers[length : 2 * length])
        numbers = numbers[2 * length :]
    assert not numbers
    return points


def test_a_call_is_one_message_with_the_new_points_alone(chart):
    chart.extend({"train_loss": (range(1000), np.ones(1000)), "lr": (0, 0.1)})
    chart.append("train_loss", [1000, 1001], [0.5, 0.25])
    first, second = chart.comm.custom()
    assert first[0]["type"] == second[0]["type"] == "extend"
    assert len(first[1]) == len(second[1]) == 1
    assert unpack(first[0]["header"], first[1][0])["lr"] == ([0.0], [0.1])
    assert unpack(second[0]["header"], second[1][0]) == {"train_loss": ([1000.0, 1001.0], [0.5, 0.25])}


def test_steps_and_values_arrive_exactly_and_what_is_not_finite_too(chart):
    step, loss = 2**24 + 1, 0.1
    chart.append("train_loss", [step, step + 1, step + 2], [loss, float("nan"), float("inf")])
    [(content, [buffer])] = chart.comm.custom()
    x, y = unpack(content["header"], buffer)["train_loss"]
    assert x[0] == step
    assert y[0] == loss
    assert np.isnan(y[1])
    assert y[2] == np.inf


def test_tensors_and_numbers_are_taken(chart):
    torch = pytest.importorskip("torch")
    chart.append("valid_accuracy", torch.tensor([1, 2]), torch.tensor([0.5, 0.75]))
    chart.append("epoch", 3, 1)
    points = [unpack(content["header"], buffer) for content, [buffer] in chart.comm.custom()]
    assert points == [{"valid_accuracy": ([1.0, 2.0], [0.5, 0.75])}, {"epoch": ([3.0], [1.0])}]


def test_no_points_no_message(chart):
    chart.extend({})
    chart.append("train_loss", [], [])
    assert chart.comm.custom() == []


def test_hello_is_answered_with_everything(chart):
    chart.provider = lambda: {"train_loss": ([1, 2], [3.0, 4.0])}
    chart.set_ghosts([{"name": "<b>first</b>", "series": {"train_loss": ([1], [9.0])}}])
    before = len(chart.comm.custom())
    chart.comm.say({"type": "hello"})
    replace, ghosts = chart.comm.custom()[before:]
    assert replace[0]["type"] == "replace"
    assert unpack(replace[0]["header"], replace[1][0]) == {"train_loss": ([1.0, 2.0], [3.0, 4.0])}
    assert ghosts[0]["type"] == "ghosts"
    [ghost] = ghosts[0]["header"]
    assert ghost["name"] == "<b>first</b>"
    assert unpack(ghost["header"], ghosts[1][0]) == {"train_loss": ([1.0], [9.0])}


def test_hello_without_content_and_other_words_are_not_answered(chart):
    chart.comm.say({"type": "hello"})
    chart.comm.say({"type": "something else"})
    assert chart.comm.custom() == []


def test_a_point_made_while_the_provider_answers_comes_after_the_answer(chart):
    """Else the answer, which does not hold the point, would wipe it out."""
    started = threading.Event()
    points = {"train_loss": ([1.0], [1.0])}

    def worker():
        started.set()
        chart.append("train_loss", 2, 2.0)

    thread = threading.Thread(target=worker)

    def provider():
        thread.start()
        assert started.wait(5)
        thread.join(0.2)
        return points

    chart.provider = provider
    chart.comm.say({"type": "hello"})
    thread.join(5)
    assert [content["type"] for content, _ in chart.comm.custom()] == ["replace", "extend"]


def test_marks_are_state_and_bounded(chart):
    chart.mark(np.int64(3), "lr 0.1 → 0.01")
    assert chart.marks == [{"step": 3.0, "label": "lr 0.1 → 0.01"}]
    for step in range(2 * MAX_MARKS):
        chart.mark(step, str(step))
    assert [mark["label"] for mark in chart.marks] == [str(s) for s in range(MAX_MARKS, 2 * MAX_MARKS)]
    assert chart.get_state()["marks"] == chart.marks


def test_ghosts_are_bounded_and_replaced(chart):
    chart.set_ghosts([{"name": f"run {i}", "series": {}} for i in range(MAX_GHOSTS + 2)])
    assert chart.ghosts == [f"run {i}" for i in range(2, MAX_GHOSTS + 2)]
    chart.set_ghosts([])
    assert chart.ghosts == []
    assert chart.comm.custom()[-1][0] == {"type": "ghosts", "header": []}


def test_clear_takes_curves_and_marks(chart):
    chart.append("train_loss", 1, 1.0)
    chart.mark(1, "here")
    chart.clear()
    assert chart.marks == []
    assert chart.comm.custom()[-1][0] == {"type": "replace", "header": []}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda chart: chart.append("loss", 1, 1), r"series='loss' is not one .* train_loss"),
        (lambda chart: chart.append("lr", [1, 2], [1]), r"lr: x has shape \(2,\) and y \(1,\)"),
        (lambda chart: chart.append("lr", [[1, 2]], [[1, 2]]), "one-dimensional"),
        (lambda chart: chart.mark(float("nan"), "here"), "step=nan is not a place"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_it_is_sent(chart, call, message):
    with pytest.raises(ValueError, match=message):
        call(chart)
    assert chart.comm.custom() == []
    assert chart.marks == []


def test_looks_are_checked(chart):
    assert LiveChart(smoothing=0.0, log_scale=True).log_scale
    for wrong in (-0.1, 1.0):
        with pytest.raises(traitlets.TraitError, match="smoothing"):
            chart.smoothing = wrong
    with pytest.raises(TypeError, match="smothing"):
        LiveChart(smothing=0.5)
