"""How many threads a run takes: from its work, never from the clock or from what a cell left behind."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from textbook import some_digits
from torch import nn

from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.run import Run
from convlab.training.threads import AVAILABLE, WORK_PER_THREAD, mult_adds, num_threads, own_threads


def test_one_more_for_each_share_of_work():
    assert num_threads(0, 8) == 1
    assert num_threads(WORK_PER_THREAD - 1, 8) == 1
    assert num_threads(WORK_PER_THREAD, 8) == 2
    assert num_threads(100 * WORK_PER_THREAD, 8) == 8
    assert num_threads(100 * WORK_PER_THREAD, 1) == 1


def test_work_is_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 100, 10))
    sample = torch.zeros(1, 3, 10, 10)
    assert mult_adds(model, sample) == 8 * 3 * 9 * 100 + 8000
    assert mult_adds(model, sample.repeat(5, 1, 1, 1)) == 5 * mult_adds(model, sample)


def test_counting_changes_nothing_and_survives_a_broken_model():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout())
    model[1].eval()
    state = torch.get_rng_state()
    mult_adds(model, torch.ones(1, 1, 8, 8))
    assert (model.training, model[1].training) == (True, False)
    assert int(model[1].num_batches_tracked) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert mult_adds(nn.Linear(3, 3), torch.ones(1, 1, 8, 8)) == 0


def test_recorded_applied_and_given_back():
    torch.set_num_threads(2)
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = lenet()

        def forward(self, x):
            if self.training:
                seen.append(torch.get_num_threads())
            return self.net(x)

    data = some_digits()
    for spec, expected in ((TrainSpec(), 1), (TrainSpec(threads=2), 2), (TrainSpec(threads=3), 3)):
        seen.clear()
        run = Run(Net(), data, spec.replace(epochs=1)).start().wait()
        assert run.threads == expected
        assert set(seen) == {expected}
        assert torch.get_num_threads() == 2
        assert in_a_new_thread(torch.get_num_threads) == 2


def test_more_work_more_threads():
    heavy = Run(lenet(), some_digits(), TrainSpec(batch_size=4096))
    work = mult_adds(lenet(), torch.zeros(1, 1, 8, 8)) * 4096
    assert heavy.threads == num_threads(work) == max(1, min(AVAILABLE, 1 + work // WORK_PER_THREAD))


def test_two_runs_at_once_give_back_what_was_there_before_both():
    torch.set_num_threads(2)
    first = Run(lenet(), some_digits(), TrainSpec(epochs=10**6)).step()
    second = Run(lenet(), some_digits(), TrainSpec(epochs=10**6, threads=3)).step()
    first.stop()
    second.step()
    second.stop()
    assert in_a_new_thread(torch.get_num_threads) == 2
    assert torch.get_num_threads() == 2


def test_given_back_after_an_error():
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError), own_threads(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


def in_a_new_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


TOLD = """
import torch
torch.set_num_threads(7)
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.run import Run
from convlab.training.threads import AVAILABLE
part = torch.zeros(20, 1, 8, 8), torch.arange(20) % 10
print(AVAILABLE, Run(lenet(), (part, part), TrainSpec(batch_size=4096)).threads)
"""


@pytest.mark.parametrize("told", ["3", "many"])
def test_available_is_told_by_the_environment_not_by_torch(told):
    env = {**os.environ, "OMP_NUM_THREADS": told}
    command = [sys.executable, "-W", "ignore", "-c", TOLD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
    available = 3 if told == "3" else len(os.sched_getaffinity(0))
    work = mult_adds(lenet(), torch.zeros(1, 1, 8, 8)) * 4096
    assert work > 2 * WORK_PER_THREAD
    assert done.stdout.split() == [str(available), str(min(available, 1 + work // WORK_PER_THREAD))]
