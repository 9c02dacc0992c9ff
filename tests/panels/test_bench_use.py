"""The bench takes another network: everything on it follows, and nothing of the old one is left open."""

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from torch import nn

from convlab.lab_state import LabState
from convlab.limits import SpecError
from convlab.models.live import Edit
from convlab.net_spec import Block, NetSpec
from convlab.panels.lab import Lab
from convlab.spec import TrainSpec

torch.set_num_threads(1)
SPEC = TrainSpec(epochs=1, batch_size=200)
TITLES = ("Learning rate", "Schedule", "Runs", "Architecture", "Network", "Receptive field", "Code")


@pytest.fixture
def lab():
    lab = Lab(data="digits", spec=SPEC)
    yield lab
    lab.close()


@pytest.mark.slow
def test_all_panels_are_of_the_new_network_and_the_old_ones_are_closed(lab):
    for title in TITLES:
        lab.tabs.show(title)
    old = [box.children[0] for box in lab.tabs.children[1:] if box.children]
    before = len(_instances)
    lab.run(wait=True)
    lab.use("resnet", seed=3)
    assert all(panel.comm is None for panel in old)
    assert lab.net is not None
    assert lab.seed == 3
    assert lab.current is None
    assert lab.curve.chart.ghosts == ["run 1"]
    for title in TITLES:
        panel = lab.tabs.show(title)
        assert "convlab-error" not in getattr(panel, "value", ""), title
    lab.set(lr=0.01)  # what followed the old panels' controls is gone
    assert lab.tabs.show("Architecture").live is lab.live
    assert lab.live.model is lab.model
    run = lab.run(wait=True)
    assert run.name == "run 2"
    assert [one.name for one in lab.runs] == ["run 1", "run 2"]
    for _ in range(3):
        lab.use("resnet")
    assert len(_instances) < 2 * before


def test_the_dropout_control_comes_and_goes_with_the_layer(lab):
    assert "dropout" not in lab.settings.controls
    lab.use(nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10)))
    assert lab.settings.controls["dropout"].value == 0.3
    assert lab.settings.controls["dropout"] in lab.settings.children
    lab.set(dropout=0.5)
    lab.run(wait=True)
    assert lab.model[1].p == 0.5
    lab.use(NetSpec((1, 8, 8), num_classes=10, blocks=Block.ladder(4)))
    assert "dropout" not in lab.settings.controls
    assert lab.spec.dropout is None
    assert lab.run(wait=True).state == "finished"


def test_a_run_that_is_on_is_stopped_and_reset_gives_the_new_networks_first_weights(lab):
    lab.set(epochs=100_000)
    run = lab.run(wait=False)
    lab.use("resnet", seed=1)
    assert run.state == "stopped"
    first = [tensor.clone() for tensor in lab.model.state_dict().values()]
    lab.set(epochs=1)
    lab.run(wait=True)
    lab.edit(Edit(next(iter(lab.live.layers)), {"out_channels": 12}))
    lab.reset()
    assert all(map(torch.equal, first, lab.model.state_dict().values()))
    with pytest.raises(LookupError, match="has trained another network"):
        lab.fork(0, run=run)
    with pytest.raises(LookupError, match="has trained another network"):
        lab.rewind(0, run=run)


def test_what_does_not_fit_leaves_the_bench_as_it_was(lab):
    model = lab.model
    with pytest.raises(SpecError, match="resnett"):
        lab.use("resnett")
    with pytest.raises(SpecError, match="lenet5 takes no pictures of 8x8"):
        lab.use("lenet5")
    with pytest.raises(SpecError, match="a class for every pixel"):
        lab.use("unet")
    with pytest.raises(SpecError, match="net takes pictures of"):
        lab.use(NetSpec())
    with pytest.raises(TypeError, match="network must be"):
        lab.use(3)
    assert lab.model is model


@pytest.mark.slow
def test_a_bench_opens_with_a_recipe_or_a_name_and_its_state_tells_it():
    for given in ("resnet", NetSpec((1, 8, 8), num_classes=10, blocks=Block.ladder(4))):
        lab = Lab(given, "digits", SPEC)
        again = Lab.from_state(lab.state)
        assert again.state == lab.state
        assert again.run(wait=True).history.train_loss.tolist() == lab.run(wait=True).history.train_loss.tolist()
        lab.close()
        again.close()
    assert LabState.from_json(Lab().state).net is not None
