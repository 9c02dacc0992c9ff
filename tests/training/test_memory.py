"""Memory runs out in mid-run: the batch is taken up in parts, with the gradients of the whole."""

import pytest
import torch
from test_rewind import droppy
from textbook import same, some_digits, state_of
from torch import nn

from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit
from convlab.training.memory import is_out_of_memory, smaller_parts
from convlab.training.run import Run

DATA = some_digits(200)
SPEC = TrainSpec(epochs=2, batch_size=50, lr=0.05)


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).double()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("parts", [1, 7, 25, 49])
def test_parts_of_a_batch_make_its_step(parts, optimizer):
    data = some_digits(200)
    data.train.x, data.valid.x = data.train.x.double(), data.valid.x.double()
    spec = SPEC.replace(optimizer=optimizer, clip_grad_norm=0.5)
    whole, split = fit(plain(), data, spec), fit(plain(), data, spec.replace(micro_batch_size=parts))
    for a, b in zip(state_of(whole.model), state_of(split.model), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-9)
    assert whole.history.train_loss == pytest.approx(split.history.train_loss)
    assert whole.history.epochs[-1].train_accuracy == split.history.epochs[-1].train_accuracy


def test_parts_as_large_as_the_batch_change_no_bit():
    whole, split = fit(droppy(), DATA, SPEC), fit(droppy(), DATA, SPEC.replace(micro_batch_size=200))
    assert whole.history.train_loss.tolist() == split.history.train_loss.tolist()


class Small(nn.Module):
    """Has room for so many samples."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.inner, self.room = droppy(), room

    def forward(self, x):
        if len(x) > self.room and self.training:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return self.inner(x)


def test_a_run_that_found_no_memory_goes_on_in_halves_and_loses_no_sample():
    run = Run(Small(15), DATA, SPEC, name="run").start().wait()
    assert run.state == "failed"
    assert is_out_of_memory(run.error)
    tried = []
    while run.state == "failed":
        tried.append(smaller_parts(run))
        run = run.fork(micro_batch_size=tried[-1]).start().wait()
    assert tried == [25, 12]
    assert run.state == "finished"
    assert run.history.num_steps == 8
    again = fit(Small(15), DATA, SPEC.replace(micro_batch_size=12))
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert same(state_of(again.model), state_of(run.model))


def test_a_real_refusal_is_known_and_one_sample_cannot_be_halved():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("shape"))
    assert not is_out_of_memory(None)
    assert smaller_parts(Run(droppy(), DATA, SPEC.replace(batch_size=8, micro_batch_size=1))) is None
    with pytest.raises(SpecError, match="micro_batch_size must be"):
        SPEC.replace(micro_batch_size=0)
