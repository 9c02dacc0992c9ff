"""The network panel without a browser: what its sliders show, what it says when nothing can be shown."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlab.frontend.summary import COLUMNS, SummaryTable
from convlab.models.gallery import lenet
from convlab.models.summary import summarize
from convlab.models.trace import trace
from convlab.panels.network import Network

SIZE = (1, 1, 8, 8)


def cells(panel, path, call=0):
    return next(row for row in panel.table.rows if (row["path"], row["call"]) == (path, call))


def choose(panel, path, **values):
    panel.layer.value = path
    for name, value in values.items():
        panel.sliders[name].value = value
    panel.settle()
    return panel


@pytest.fixture
def panel():
    made = Network(lenet(), SIZE)
    made.settle()
    return made


def test_it_opens_with_the_live_model(panel):
    assert [row["path"] for row in panel.table.rows] == [r.path for r in trace(panel.model, SIZE).records]
    assert cells(panel, "conv1")["output_size"] == [1, 16, 8, 8]
    assert all(cell["before"] == {} for cell in panel.table.rows)
    assert [layer for layer, _ in panel.layer.options] == ["the live model", "conv1", "pool1", "conv2", "pool2"]
    assert all(slider.disabled for slider in panel.sliders.values())
    assert panel._messages.text == ""


def test_choosing_a_layer_puts_the_sliders_where_it_is_and_shows_the_live_model(panel):
    choose(panel, "conv2")
    assert {name: slider.value for name, slider in panel.sliders.items()} == {
        "kernel_size": 3,
        "stride": 1,
        "padding": 1,
        "dilation": 1,
    }
    assert all(cell["before"] == {} for cell in panel.table.rows)
    choose(panel, "pool1")
    assert (panel.sliders["kernel_size"].value, panel.sliders["stride"].value) == (2, 2)
    assert not panel.sliders["dilation"].disabled


def test_a_slider_shows_what_would_be_beside_what_is_and_the_model_stays(panel):
    choose(panel, "conv2", kernel_size=5)
    assert panel.sliders["padding"].value == 2
    assert panel.trace["conv2"].output_size == (1, 32, 4, 4)
    assert cells(panel, "conv2")["before"]["num_params"] == 16 * 32 * 9 + 32
    assert cells(panel, "conv2")["num_params"] == 16 * 32 * 25 + 32
    assert panel.model.conv2.kernel_size == (3, 3)
    assert panel.model.conv2.weight.shape[-1] == 3
    totals = {name: (now, was) for name, now, was, _ in panel.table.totals}
    assert totals["parameters"] == ("21,898", "13,706")
    assert totals["input"] == ("0.0003 MB", "")
    choose(panel, None)
    assert all(cell["before"] == {} for cell in panel.table.rows)


def test_padding_keeps_the_size_only_while_that_is_wanted_and_never_on_stride(panel):
    choose(panel, "conv1", stride=2)
    assert panel.sliders["padding"].value == 1
    choose(panel, None)
    panel.keep_size.value = False
    choose(panel, "conv1", kernel_size=5)
    assert panel.sliders["padding"].value == 1
    assert panel.trace["conv1"].output_size[2:] == (6, 6)
    panel.keep_size.value = True
    choose(panel, "conv1", kernel_size=7)
    assert panel.sliders["padding"].value == 3
    assert panel.trace["conv1"].output_size[2:] == (8, 8)
    choose(panel, "conv1", dilation=2)
    assert panel.sliders["padding"].value == 6
    assert panel.trace["conv1"].output_size[2:] == (8, 8)


def test_a_layer_that_no_longer_fits_is_named_with_the_repair_and_the_rows_stay(panel):
    before = [row["path"] for row in panel.table.rows]
    choose(panel, "conv2", kernel_size=4)
    assert "fc1.in_features should be 32, is 128" in panel._messages.text
    assert panel._messages.text.count("\n") == 0
    assert [row["path"] for row in panel.table.rows] == before
    assert cells(panel, "fc1")["state"] == "failed"
    assert cells(panel, "fc2")["state"] == "unreached"
    choose(panel, "conv2", kernel_size=3)
    assert panel._messages.text == ""
    assert cells(panel, "fc1")["state"] == "ok"


def test_refitting_shows_the_linear_layer_that_would_fit(panel):
    panel.refit.value = True
    choose(panel, "conv2", stride=2)
    assert panel._messages.text == "Shown with fc1.in_features = 32."
    assert cells(panel, "fc1")["before"]["num_params"] == 128 * 64 + 64
    assert panel.model.fc1.in_features == 128


def test_an_impossible_kernel_is_one_sentence_and_the_table_keeps_its_rows(panel):
    before = [row["path"] for row in panel.table.rows]
    panel.keep_size.value = False
    choose(panel, "conv2", kernel_size=11)
    assert "conv2" in panel._messages.text
    assert "kernel_size" in panel._messages.text
    assert [row["path"] for row in panel.table.rows] == before
    assert cells(panel, "conv2")["state"] == "failed"
    assert cells(panel, "fc2")["num_params"] == 650


def test_what_torch_refuses_leaves_the_last_good_table():
    panel = Network(nn.Sequential(nn.Conv2d(1, 2, 3, padding="same"), nn.ReLU()), SIZE)
    choose(panel, "0", kernel_size=5)
    assert panel.trace["0"].output_size == (1, 2, 8, 8)
    good = panel.table.rows
    choose(panel, "0", stride=2)
    assert "padding='same' is not supported for strided convolutions" in panel._messages.text
    assert panel.table.rows == good


def test_settings_that_are_no_number_stay_until_their_slider_is_moved():
    panel = Network(nn.Sequential(nn.Conv2d(1, 2, (3, 5), padding="same"), nn.Conv2d(2, 2, 1)), SIZE)
    choose(panel, "0")
    assert "kernel_size (3, 5) and padding 'same'" in panel._messages.text
    choose(panel, "0", dilation=2)
    assert panel.trace["0"].receptive_field.size == (5, 9)
    choose(panel, "0", kernel_size=4)
    assert panel.trace["0"].receptive_field.size == (7, 7)


def test_sliders_reach_as_far_as_the_layer_does():
    panel = Network(nn.Sequential(nn.Conv2d(3, 8, 16, stride=16)), (1, 3, 64, 64))
    choose(panel, "0")
    assert (panel.sliders["kernel_size"].value, panel.sliders["stride"].value) == (16, 16)
    choose(panel, "0", stride=8)
    assert panel.trace["0"].output_size == (1, 8, 7, 7)


def test_a_model_that_is_one_layer():
    panel = Network(nn.Conv2d(1, 2, 3), SIZE)
    assert [value for _, value in panel.layer.options] == [None, ""]
    choose(panel, "", kernel_size=5)
    assert panel.trace.output.output_size == (1, 2, 6, 6)


def test_a_model_that_does_not_fit_opens_all_the_same():
    panel = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(7, 2, 3)), SIZE)
    panel.settle()
    assert "1" in panel._messages.text
    assert [cell["state"] for cell in panel.table.rows] == ["ok", "failed"]


def test_refresh_sees_a_model_that_was_changed(panel):
    choose(panel, "conv1", kernel_size=5)
    panel.model.conv1 = nn.Conv2d(1, 16, 5, padding=2)
    del panel.model.pool2
    panel.model.fc1 = nn.Linear(512, 64)
    panel.refresh()
    panel.settle()
    assert [value for _, value in panel.layer.options] == [None, "conv1", "pool1", "conv2"]
    assert cells(panel, "conv1")["kernel_size"] == [5, 5]
    assert panel.trace.error is None


def test_every_click_on_a_name_is_told_also_the_second(panel):
    told = []
    panel.observe(lambda change: told.append(change["new"]), "selected")
    for path in ("conv2", "conv2", "pool1"):
        panel.table._handle_custom_msg({"pick": path}, [])
    assert told == ["conv2", "conv2", "pool1"]
    assert panel.table.selected == panel.selected == "pool1"


def test_names_with_markup_in_them_are_data_only():
    bad = "<img src=x onerror=alert(1)>"
    model = nn.Sequential()
    model.add_module(bad, nn.Conv2d(1, 2, 3))
    model.add_module("next", nn.Conv2d(5, 2, 3))
    panel = Network(model, SIZE)
    panel.settle()
    assert panel.table.rows[0]["path"] == bad
    choose(panel, bad, kernel_size=9)
    assert "<img" not in panel._messages.children[0].value


def test_nested_and_shared_rows_and_frozen_layers():
    block = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
    model = nn.Sequential(block, block, nn.Sequential(nn.Conv2d(1, 2, 3))).requires_grad_(False)
    panel = Network(model, SIZE)
    panel.settle()
    assert [(row["path"], row["call"]) for row in panel.table.rows] == [
        *(("0", 0), ("0.0", 0), ("0.1", 0), ("0", 1), ("0.0", 1), ("0.1", 1)),
        *(("2", 0), ("2.0", 0)),
    ]
    assert (cells(panel, "0.0")["num_params"], cells(panel, "0.0")["trainable"]) == (10, 0)


def test_the_table_by_itself_tells_its_error_and_takes_columns():
    summary = summarize(trace(nn.Sequential(nn.Conv2d(2, 1, 3)), SIZE))
    table = SummaryTable(columns=["num_params", "mult_adds"])
    table.show(summary)
    assert table.error == summary.error != ""
    assert set(table.columns) < set(COLUMNS)
    with pytest.raises(TypeError, match="no setting 'colums'; it has columns"):
        SummaryTable(colums=[])
    with pytest.raises(Exception, match="nonsense"):
        SummaryTable(columns=["nonsense"])


def train(model, stop=None, steps=10**9):
    torch.manual_seed(0)
    x, y = torch.rand(64, 1, 8, 8), torch.arange(64) % 10
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(steps):
        if stop is not None and stop.is_set():
            break
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            model(x)
        assert not any(m.training for m in model.modules()), step
    return [t.clone() for t in (*model.parameters(), *model.buffers())]


def normed():
    torch.manual_seed(3)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)),
    )


def test_sliding_while_the_same_model_trains_changes_nothing_in_it():
    alone, watched, result = train(normed(), steps=60), normed(), []
    panel = Network(watched, SIZE)
    # Opening a panel draws no random number.
    thread = threading.Thread(target=lambda: result.append(train(watched, steps=60)))
    thread.start()
    tried = 0
    while thread.is_alive():
        choose(panel, "0", kernel_size=1 + tried % 5, stride=1 + tried % 2)
        assert panel.trace.error is None
        tried += 1
    thread.join()
    assert tried > 3
    assert all(torch.equal(a, b) for a, b in zip(alone, result[0], strict=True))
