"""What the curves send to a page, and take from one."""

import numpy as np
import pytest

from convlab.frontend.curves import Curves, Line, Mark


@pytest.fixture
def curves(monkeypatch):
    """Curves whose messages are kept."""
    sent = []
    curves = Curves(x_label="x")
    monkeypatch.setattr(curves, "send", lambda content, buffers: sent.append((content, buffers)))
    curves.sent = sent
    return curves


def test_lines_go_out_in_one_binary_message(curves):
    line = Line("<b>", [1, 2], [3, np.nan], colour=2, style="dash", band=([0, 1], [5, 6]))
    curves.show([line, Line("b", [9], [8])], [Mark(1.5, "here")])
    ((content, (buffer,)),) = curves.sent
    assert content["header"] == [
        {"name": "<b>", "length": 2, "colour": 2, "style": "dash", "band": True},
        {"name": "b", "length": 1, "colour": 0, "style": "solid", "band": False},
    ]
    assert content["marks"] == [{"x": 1.5, "text": "here"}]
    assert np.array_equal(np.frombuffer(buffer), [1, 2, 3, np.nan, 0, 1, 5, 6, 9, 8], equal_nan=True)


def test_a_page_that_joins_is_sent_what_is_shown(curves):
    curves.show([Line("a", [1], [2])])
    curves._told(curves, {"type": "hello"}, [])
    assert curves.sent[0] == curves.sent[1]


def test_picks_and_traces_reach_whoever_listens(curves):
    seen = []
    curves.on_pick(lambda x, y: seen.append((x, y)))
    curves.on_draw(lambda xs, ys: seen.append((xs.tolist(), ys.tolist())))
    curves._told(curves, {"type": "pick", "x": 1, "y": 2}, [])
    drawn = {"type": "drawn", "xs": [1, 2], "ys": [3, 4]}
    curves._told(curves, drawn, [])
    assert seen == [(1.0, 2.0)]
    curves.drawable = True
    curves._told(curves, drawn, [])
    curves._told(curves, {**drawn, "ys": []}, [])
    assert seen[1:] == [([1.0, 2.0], [3.0, 4.0])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            Line("a", [1, 2], [1]),
            r"a: x, y and band must be one-dimensional and of one length, got shapes \(2,\), \(1,\)",
        ),
        (Line("a", [1], [1], style="wavy"), "style must be one of solid, dash, faint, points, got 'wavy'"),
    ],
)
def test_impossible_lines_are_refused_and_nothing_changes(curves, line, message):
    curves.show([Line("a", [1], [2])])
    with pytest.raises(ValueError, match=message):
        curves.show([line])
    assert [line.name for line in curves.lines] == ["a"]
    with pytest.raises(TypeError, match="Curves has no setting 'color'"):
        Curves(color=1)
