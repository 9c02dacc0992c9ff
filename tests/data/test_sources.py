"""Sources: DataLoader's batches bit for bit, from any sample on, without touching the global generator."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from convlab.data import sources
from convlab.data.sources import DatasetSource, LoaderSource, Source, TensorSource

CPU = torch.device("cpu")
PLAIN, LAST = torch.contiguous_format, torch.channels_last


class Items(Dataset):
    """A map-style data set that is no TensorDataset."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.x[i], int(self.y[i])


class Stream(IterableDataset):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self):
        return zip(self.x, self.y, strict=True)


def some(n: int = 103) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    return torch.rand(n, 3, 5, 4, generator=g), torch.randint(10, (n,), generator=g)


def same(got, expected) -> bool:
    got, expected = list(got), list(expected)
    return len(got) == len(expected) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(got, expected, strict=True)
    )


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("make", [TensorSource, Items], ids=["tensors", "items"])
@pytest.mark.parametrize("memory_format", [PLAIN, LAST])
def test_the_batches_are_dataloaders_bit_for_bit_over_epochs(make, memory_format, drop_last):
    x, y = some()
    source: Source = make(x, y) if make is TensorSource else DatasetSource(make(x, y))
    torch.manual_seed(11)
    loader = DataLoader(TensorDataset(x, y), 16, shuffle=True, drop_last=drop_last)
    epochs = [list(loader) for _ in range(3)]
    generator = torch.Generator().manual_seed(11)
    for epoch in epochs:
        batches = list(source.batches(source.order(generator), 0, 16, CPU, memory_format, drop_last))
        assert same(batches, epoch)
        assert all(a.is_contiguous(memory_format=memory_format) for a, _ in batches)


def test_an_order_leaves_its_generator_where_dataloader_leaves_the_default_one():
    x, y = some()
    torch.manual_seed(4)
    list(DataLoader(TensorDataset(x, y), 16, shuffle=True))
    generator = torch.Generator().manual_seed(4)
    TensorSource(x, y).order(generator)
    assert torch.equal(generator.get_state(), torch.get_rng_state())


def test_a_chunk_of_several_batches_changes_nothing(monkeypatch):
    x, y = some()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    whole = list(TensorSource(x, y).batches(order, 0, 16, CPU, PLAIN))
    for limit in (1, 2 * 16 * 60 * 4 + 1, 2**30):
        monkeypatch.setitem(sources._CHUNK_BYTES, "cpu", limit)
        assert same(TensorSource(x, y).batches(order, 0, 16, CPU, PLAIN), whole)
    monkeypatch.setattr(sources, "_RESIDENT_BYTES", 0)
    batches = list(TensorSource(x, y).batches(order, 0, 16, CPU, LAST))
    assert same(batches, whole)
    assert batches[0][0].is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("kind", ["tensors", "items"])
@pytest.mark.parametrize("start", [0, 1, 32, 102, 103])
def test_the_rest_of_an_epoch_follows_from_any_sample_with_any_batch_size(kind, start):
    x, y = some()
    source = TensorSource(x, y) if kind == "tensors" else DatasetSource(Items(x, y))
    for order in (None, source.order(torch.Generator().manual_seed(1))):
        index = torch.arange(len(x)) if order is None else order
        expected = [(x[i], y[i]) for i in index[start:].split(7) if len(i)]
        assert same(source.batches(order, start, 7, CPU, PLAIN), expected)
        assert same(source.batches(order, start, 7, CPU, PLAIN, True), [b for b in expected if len(b[0]) == 7])


def test_reading_in_sequence_copies_nothing():
    x, y = some()
    source = TensorSource(x, y)
    assert source.order(None) is None
    first, labels = next(source.batches(None, 10, 16, CPU, PLAIN))
    assert first.data_ptr() == x[10:].data_ptr()
    assert labels.data_ptr() == y[10:].data_ptr()


def test_batches_kept_by_the_caller_are_not_overwritten():
    x, y = some()
    source = TensorSource(x, y)
    order = source.order(torch.Generator().manual_seed(0))
    kept = list(source.batches(order, 0, 16, CPU, LAST))
    list(source.batches(order.flip(0), 0, 16, CPU, LAST))
    assert same(kept, [(x[i], y[i]) for i in order.split(16)])


def test_tensors_leave_the_global_generator_alone():
    source = TensorSource(*some())
    torch.manual_seed(9)
    before = torch.get_rng_state()
    list(source.batches(source.order(torch.Generator().manual_seed(0)), 0, 16, CPU, LAST))
    assert torch.equal(before, torch.get_rng_state())


def test_a_loader_is_iterated_as_it_is():
    x, y = some()
    source = LoaderSource(DataLoader(TensorDataset(x, y), 16, drop_last=True))
    assert (source.resizable, source.batch_size, source.num_samples, source.input_size) == (False, 16, 96, (3, 5, 4))
    assert source.order(torch.Generator()) is None
    expected = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 96, 16)]
    assert same(source.batches(None, 0, 64, CPU, PLAIN), expected)
    assert same(source.batches(None, 32, 64, CPU, PLAIN), expected[2:])
    assert same(source.batches(None, 40, 64, CPU, PLAIN), [(x[40:48], y[40:48]), *expected[3:]])


def test_a_loaders_short_last_batch_can_be_left_out():
    source = LoaderSource(DataLoader(TensorDataset(*some()), 16))
    assert source.num_samples == 103
    assert [len(x) for x, _ in source.batches(None, 0, 16, CPU, PLAIN)] == [16] * 6 + [7]
    assert [len(x) for x, _ in source.batches(None, 0, 16, CPU, PLAIN, True)] == [16] * 6


def test_a_loader_over_a_stream_has_an_unknown_length():
    x, y = some()
    source = LoaderSource(DataLoader(Stream(x, y), 50))
    assert source.num_samples == -1
    assert same(source.batches(None, 0, 50, CPU, LAST), [(x[:50], y[:50]), (x[50:100], y[50:100]), (x[100:], y[100:])])


def test_a_data_set_is_fetched_by_its_own_many_at_once_method():
    class Many(Items):
        calls = 0

        def __getitems__(self, index: list[int]) -> list[tuple[Tensor, int]]:
            Many.calls += 1
            return [self[i] for i in index]

    x, y = some(40)
    assert same(DatasetSource(Many(x, y)).batches(None, 0, 20, CPU, PLAIN), [(x[:20], y[:20]), (x[20:], y[20:])])
    assert Many.calls == 2


def test_numbers_become_float32_and_labels_int64():
    x, _ = some(4)
    numbers = [(picture, 0.5 * i) for i, picture in enumerate(x)]
    (_, y), *_ = DatasetSource(numbers).batches(None, 0, 4, CPU, PLAIN)
    assert torch.equal(y, torch.tensor([0.0, 0.5, 1.0, 1.5]))
    labels = DataLoader(TensorDataset(x, torch.arange(4, dtype=torch.int32)), 4)
    (_, y), *_ = LoaderSource(labels).batches(None, 0, 4, CPU, PLAIN)
    assert torch.equal(y, torch.arange(4))


def test_the_layout_of_a_large_split_is_kept_between_epochs():
    source = TensorSource(*some())
    pointers = {next(source.batches(None, 0, 16, CPU, LAST))[0].data_ptr() for _ in itertools.repeat(None, 3)}
    assert len(pointers) == 1
