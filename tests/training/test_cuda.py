"""What holds on the CPU holds on CUDA: the same curve again, borrowed and given back, kept and gone on with."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import convlab
from convlab import TrainSpec
from convlab.models._edit.edits import Edit
from convlab.models.gallery import lenet
from convlab.panels.lab import Lab
from convlab.training.memory import is_out_of_memory, smaller_parts
from convlab.training.run import Run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SPEC = TrainSpec(epochs=3, lr=0.05, batch_size=64, device="cuda")


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(512, 10)
    )


def weights(model):
    return [tensor.detach().cpu().clone() for tensor in (*model.parameters(), *model.buffers())]


def same(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_same_seed_is_the_same_curve(optimizer, bf16):
    spec = replace(SPEC, optimizer=optimizer, lr=0.01, bf16=bf16)
    one, two = convlab.fit(net(), "digits", spec), convlab.fit(net(), "digits", spec)
    assert one.device.type == "cuda"
    assert one.history.num_epochs == 3
    assert one.history.train_loss.tolist() == two.history.train_loss.tolist()
    assert same(weights(one.model), weights(two.model))


def test_it_comes_near_to_the_cpu():
    found = [convlab.fit(net(), "digits", replace(SPEC, device=device, lr=0.01)) for device in ("cuda", "cpu")]
    accuracies = [run.history.epochs[-1].valid_accuracy for run in found]
    assert abs(accuracies[0] - accuracies[1]) < 0.05


def test_paused_changed_rewound_forked_and_kept(tmp_path):
    lab = Lab(net(), "digits", replace(SPEC, epochs=6))
    try:
        lab.step()
        lab.current.step(40)
        lab.set(lr=0.02)
        lab.run(wait=True)
        run = lab.current
        assert run.device.type == "cuda"
        again = convlab.replay(run)
        assert again.is_same, again
        run.save(tmp_path / "run.safetensors")
        loaded = Run.load(tmp_path / "run.safetensors", net(1), "digits")
        assert same(weights(loaded.model), weights(run.model))
        fork = lab.fork(2 * 23, wait=True)
        assert fork.history.train_loss.tolist() == run.history.train_loss.tolist()
    finally:
        lab.close()


def test_the_finder_gives_everything_back():
    model = net()
    convlab.fit(model, "digits", replace(SPEC, epochs=1))
    before, stream = weights(model), torch.cuda.get_rng_state()
    sweep = convlab.range_test(model, "digits", SPEC)
    assert sweep.given_back
    assert same(weights(model), before)
    assert torch.equal(torch.cuda.get_rng_state(), stream)


def test_an_edit_in_mid_run():
    lab = Lab(lenet(), "digits", replace(SPEC, epochs=4))
    try:
        lab.step()
        lab.current.step(30)
        lab.edit(Edit("conv1", {"out_channels": 12}))
        lab.run(wait=True)
        assert lab.current.state == "finished"
        assert all(param.device.type == "cuda" for param in lab.model.parameters())
        assert convlab.replay(lab.current).is_same
    finally:
        lab.close()


def test_a_look_inside_and_a_diagnosis_change_nothing():
    run = convlab.fit(net(), "digits", SPEC)
    before = weights(run.model)
    convlab.look_inside(run.model, run.data)
    convlab.diagnose(run)
    assert same(weights(run.model), before)


def test_two_processes_need_two_devices():
    with pytest.raises(ValueError, match="processes"):
        convlab.fit(net(), "digits", SPEC, processes=torch.cuda.device_count() + 1)


class Hungry(nn.Module):
    """Takes more memory than there is for more than 20 samples at once."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        if len(x) > 20:
            torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device=x.device)
        return self.fc(x.flatten(1))


def test_memory_that_runs_out_is_told_and_gone_on_with_in_parts():
    run = Run(Hungry(), "digits", SPEC).start().wait()
    assert run.state == "failed"
    assert is_out_of_memory(run.error)
    parts = smaller_parts(run)
    assert parts == 32
    fork = run.fork(micro_batch_size=16).start().wait()
    assert fork.state == "finished"
