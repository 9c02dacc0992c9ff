"""Same seed, same recipe, same journal: the same losses bit for bit, whatever else goes on in the process."""

import random
import threading
import time

import numpy as np
import pytest
import torch
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from convlab.data import resolve
from convlab.models.gallery import lenet
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run
from convlab.training.threads import own_threads

pytestmark = pytest.mark.timeout(200)

SPEC = TrainSpec(epochs=4, batch_size=20, optimizer="adam", lr=3e-3, seed=3)


def trained(data=None, spec=SPEC, build=Regularised, **more):
    model = made(build)
    run = fit(model, data or some_digits(), spec, **more)
    return run.history.train_loss.tolist(), state_of(model), run.history.epochs[-1].valid_loss


def assert_same(a, b):
    assert a[0] == b[0]
    assert same(a[1], b[1])
    assert a[2] == b[2]


def test_twice():
    assert_same(trained(), trained())


def test_another_seed_is_another_curve():
    assert trained()[0] != trained(spec=SPEC.replace(seed=4))[0]


def test_watched_and_steered():
    """Listeners, pauses and single steps change nothing."""
    plain = trained()
    model = made(Regularised)
    run = Run(model, some_digits(), SPEC)
    seen = []
    run.watch(lambda run: seen.append((run.progress, repr(run), run.history.to_dataframe())))
    run.watch(lambda run: torch.rand(3) + np.random.rand() + random.random())
    run.step(3)
    model.eval()
    with torch.no_grad():
        model(torch.zeros(2, 1, 8, 8))
    run.step().resume().pause().resume().wait()
    assert seen
    assert_same(plain, (run.history.train_loss.tolist(), state_of(model), run.history.epochs[-1].valid_loss))


def test_while_cells_draw_and_change_the_threads():
    plain = trained()
    run = Run(made(Regularised), some_digits(), SPEC.replace(epochs=8))
    plain = trained(spec=run.spec)
    run.start()
    while not run.ended:
        torch.rand(10)
        torch.manual_seed(1)
        np.random.rand()
        random.random()
        torch.set_num_threads(2)
        time.sleep(0.0002)
    assert run.history.train_loss.tolist() == plain[0]
    assert same(state_of(run.model), plain[1])


def test_a_second_run_beside_it():
    plain = trained()
    other = Run(made(Regularised, 1), some_digits(100), SPEC.replace(epochs=100, threads=2)).start()
    beside = trained()
    other.stop()
    assert_same(plain, beside)


def test_global_random_numbers_are_left_alone():
    class Model(Regularised):
        def forward(self, x):
            return super().forward(x) * (1 + 0.1 * random.random() + 0.1 * np.random.normal())

    random.seed(5)
    random.gauss(0, 1)
    np.random.seed(5)
    np.random.normal()
    torch.manual_seed(5)
    train = some_digits().train
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for data in ("digits", Augmented(train), DataLoader(Augmented(train), batch_size=30, shuffle=True)):
        fit(made(Model), data, SPEC.replace(epochs=1))
        assert random.getstate() == before[0]
        for a, b in zip(np.random.get_state(), before[1], strict=True):
            assert np.array_equal(a, b)
        assert torch.equal(torch.get_rng_state(), before[2])


class Augmented(Dataset):
    """Draws from every source of random numbers, and not for every sample."""

    def __init__(self, source):
        self.x, self.y = source.x, source.y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        x, y = self.x[index], self.y[index]
        if y in (3, 4):
            x = x + 0.1 * torch.randn_like(x)
        if y == 7:
            x = x * (1 + 0.1 * random.random())
        if y == 8:
            x = x + 0.1 * np.float32(np.random.normal())
        if y == 9:
            x = x.flip(-1) if torch.rand(1) < 0.5 else x
        return x, y


@pytest.mark.parametrize("kind", ["dataset", "loader", "loader of tensors", "validation too"])
def test_data_of_the_users_own(kind):
    def data():
        train = some_digits().train
        return {
            "dataset": lambda: (Augmented(train), None),
            "loader": lambda: DataLoader(Augmented(train), batch_size=15, shuffle=True),
            "loader of tensors": lambda: DataLoader(TensorDataset(train.x, train.y), batch_size=15, shuffle=True),
            "validation too": lambda: (Augmented(train), DataLoader(Augmented(train), batch_size=9, shuffle=True)),
        }[kind]()

    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    first = trained(data())
    torch.manual_seed(2)
    random.seed(2)
    np.random.seed(2)
    assert_same(first, trained(data()))
    assert first[0] != trained(data(), spec=SPEC.replace(seed=9))[0]


def test_a_users_loader_is_the_textbook():
    train = some_digits().train
    dataset = TensorDataset(train.x, train.y)
    torch.manual_seed(3)
    losses, model = [], made(Regularised)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    loader = DataLoader(dataset, batch_size=15, shuffle=True)
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    run = fit(made(Regularised), DataLoader(dataset, batch_size=15, shuffle=True), SPEC.replace(epochs=2))
    assert run.history.train_loss.tolist() == losses


def test_a_model_that_rolls_dice():
    class Depth(Regularised):
        def forward(self, x):
            if random.random() < 0.3:
                x = x * 0.5
            if np.random.rand() < 0.3:
                x = x + 0.1
            return super().forward(x)

    random.seed(1)
    np.random.seed(1)
    first = trained(build=Depth)
    random.seed(2)
    np.random.seed(2)
    assert_same(first, trained(build=Depth))


CHANGES = {
    "lr": lambda r: r.uniform(1e-4, 1e-2),
    "betas": lambda r: (r.uniform(0.5, 0.9), r.uniform(0.9, 0.999)),
    "momentum": lambda r: r.choice([0.0, 0.5, 0.9]),
    "batch_size": lambda r: r.randint(1, 60),
    "dropout": lambda r: r.choice([None, 0.0, 0.2, 0.6]),
    "weight_decay": lambda r: r.uniform(0, 0.1),
    "label_smoothing": lambda r: r.uniform(0, 0.3),
    "clip_grad_norm": lambda r: r.choice([None, 0.1, 1.0]),
    "epochs": lambda r: r.randint(4, 8),
}


@pytest.mark.parametrize("seed", range(6))
def test_the_journal_repeats_a_run(seed):
    dice = random.Random(seed)
    optimizer = dice.choice(["sgd", "adam", "rmsprop"])
    absent = "betas" if optimizer != "adam" else "momentum"
    spec = TrainSpec(epochs=6, batch_size=16, optimizer=optimizer, lr=2e-3, seed=seed)
    run = Run(made(Regularised), some_digits(), spec)
    if dice.random() < 0.5:
        run.set(lr=1e-3)
    run.start()
    for _ in range(40):
        names = dice.sample(sorted(CHANGES.keys() - {absent}), dice.randint(1, 3))
        if run.ended:
            break
        try:
            run.set(**{name: CHANGES[name](dice) for name in names})
        except RuntimeError:
            break
        if dice.random() < 0.2:
            run.step(dice.randint(1, 3)).resume()
        time.sleep(dice.uniform(0, 0.01))
    run.wait()
    assert run.state == "finished"
    assert len(run.journal) > 5
    again = fit(made(Regularised), some_digits(), spec, journal=run.journal)
    assert again.journal == run.journal
    assert again.history.train_loss.tolist() == run.history.train_loss.tolist()
    assert again.history.lr.tolist() == run.history.lr.tolist()
    assert [r.valid_loss for r in again.history.epochs] == [r.valid_loss for r in run.history.epochs]
    assert same(state_of(again.model), state_of(run.model))
    assert again.settings == run.settings


def test_a_journal_that_cannot_be():
    from convlab.spec import SpecError
    from convlab.training.journal import Change

    for change in (Change(3, "seed", 0, 1), Change(3, "lr", 0.1, -1.0), Change(3, "dropout", None, 0.5)):
        with pytest.raises(SpecError, match=change.name):
            Run(lenet(), "digits", journal=[change])


def test_the_seed_is_not_felt_through_torch_threads():
    """The number of threads is the recipe's or the rule's, not what a cell left behind."""
    data = resolve("digits")
    torch.set_num_threads(1)
    one = Run(lenet(), data).threads
    torch.set_num_threads(2)
    assert Run(lenet(), data).threads == one


def test_listeners_in_other_threads_read_while_it_trains():
    run = Run(made(Regularised), some_digits(), SPEC.replace(epochs=10))
    errors, stop = [], threading.Event()

    def read():
        try:
            while not stop.is_set():
                frame = run.history.to_dataframe()
                assert len(frame) == len(set(frame.step))
                _ = run.progress, run.journal, run.settings, run.best, repr(run), run.history.epochs
        except Exception as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    run.start()
    for reader in readers:
        reader.start()
    run.wait()
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert run.history.train_loss.tolist() == trained(spec=run.spec)[0]


def test_a_run_that_begins_beside_another_computes_with_its_own_number_of_threads_from_the_first():
    begun, changed, found = threading.Event(), threading.Event(), []

    def second():
        with own_threads(1):
            begun.set()
            assert changed.wait(30)
            torch.randn(10).sum()
            found.append(torch.get_num_threads())

    with own_threads(2):
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(30)
        torch.set_num_threads(2)  # as at each of the other's steps
        changed.set()
        thread.join()
    assert found == [1]
