"""A curve in bounded memory: exact while it is short, then means and extremes of equal groups."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlab.training.history import STEP_ROWS, EpochRecord, History


def record(epoch, valid_loss=1.0):
    return EpochRecord(epoch, epoch * 10, 0.5, 0.9, valid_loss, 0.8, 0.1, 1.5)


def filled(losses, **more):
    history = History(**more)
    for i, loss in enumerate(losses):
        history.add_step(float(loss), lr=1.0 / (i + 1))
    return history


def test_every_step_has_its_own_row_up_to_the_limit():
    losses = np.random.default_rng(0).normal(size=STEP_ROWS - 1)
    history = filled(losses)
    assert history.stride == 1
    assert history.train_loss.tolist() == losses.tolist()
    assert history.step.tolist() == list(range(1, STEP_ROWS))
    assert history.lr.tolist() == [1.0 / (i + 1) for i in range(STEP_ROWS - 1)]
    history.add_step(0.0, 0.1)
    assert (history.stride, history.num_steps, len(history.step)) == (2, STEP_ROWS, STEP_ROWS // 2)


@given(losses=st.lists(st.floats(-1e6, 1e6), max_size=200), rows=st.sampled_from([2, 4, 8, 10, 64]))
def test_rows_are_means_and_extremes_of_their_steps(losses, rows):
    history = filled(losses, step_rows=rows)
    assert history.num_steps == len(losses)
    frame, stride = history.to_dataframe(), history.stride
    assert stride & (stride - 1) == 0
    groups = [losses[i : i + stride] for i in range(0, len(losses), stride)]
    assert len(frame) == len(groups) <= rows
    assert frame.step.tolist() == [min((i + 1) * stride, len(losses)) for i in range(len(groups))]
    np.testing.assert_allclose(frame.train_loss, [np.mean(g) for g in groups], rtol=1e-9, atol=1e-6)
    assert frame.train_loss_min.tolist() == [min(g) for g in groups]
    assert frame.train_loss_max.tolist() == [max(g) for g in groups]
    assert frame.lr.tolist() == [1.0 / step for step in frame.step]
    assert history.train_loss.tolist() == frame.train_loss.tolist()
    complete = len(losses) // stride
    for row in (0, complete // 2, complete):
        since = history.since(row)
        assert since["step"].tolist() == frame.step[row:complete].tolist()
        for name in ("train_loss", "train_loss_min", "train_loss_max", "lr"):
            assert since[name].tolist() == frame[name][row:complete].tolist()


@given(count=st.integers(0, 60), limit=st.integers(2, 9))
def test_epochs_are_thinned_the_ends_stay(count, limit):
    history = History(epoch_rows=limit)
    for epoch in range(1, count + 1):
        history.add_epoch(record(epoch))
    kept = [r.epoch for r in history.epochs]
    assert len(kept) <= limit
    assert kept == sorted(set(kept))
    if count:
        assert (kept[0], kept[-1]) == (1, count)
    assert history.num_epochs == count
    if count <= limit:
        assert kept == list(range(1, count + 1))


@given(st.lists(st.none() | st.floats(0, 10) | st.sampled_from([float("nan"), float("inf")]), max_size=30))
def test_best_is_the_lowest_finite_validation_loss_thinned_out_or_not(losses):
    history = History(epoch_rows=3)
    for epoch, loss in enumerate(losses, 1):
        history.add_epoch(record(epoch, loss))
    finite = [(loss, epoch) for epoch, loss in enumerate(losses, 1) if loss is not None and np.isfinite(loss)]
    best = history.best()
    assert (best and (best.valid_loss, best.epoch)) == (min(finite) if finite else None)


@pytest.mark.slow
def test_a_long_run_takes_no_more_memory_than_its_beginning():
    history = History()
    tracemalloc.start()
    try:
        for step in range(300_000):
            history.add_step(1.0, 0.1)
            if step == 70_000:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert history.num_steps == 300_000
    assert history._rows.nbytes <= 3 * 2**20
    # One merge holds a copy of half the rows for a moment.
    assert grown < 4 * 2**20


def test_a_small_history_stays_small():
    """The same as a long run at the real size, at a size that is quick."""
    history = History(step_rows=64, epoch_rows=8)
    tracemalloc.start()
    try:
        for step in range(20_000):
            history.add_step(1.0, 0.1)
            if step % 10 == 0:
                history.add_epoch(record(step))
            if step == 200:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (history.num_steps, history.num_epochs) == (20_000, 2_000)
    assert grown < 20_000


def test_tables():
    history = filled([3.0, 2.0])
    history.add_epoch(record(1))
    steps, epochs = history.to_dataframe(), history.to_dataframe("epoch")
    assert list(steps) == ["step", "train_loss", "train_loss_min", "train_loss_max", "lr"]
    assert steps.step.dtype == np.int64
    assert list(epochs) == list(EpochRecord.__dataclass_fields__)
    assert epochs.loc[0].to_dict() == record(1).__dict__
    assert list(History().to_dataframe("epoch")) == list(epochs)
    assert len(History().to_dataframe()) == 0
    with pytest.raises(ValueError, match="'day'; try per='epoch'"):
        history.to_dataframe("day")


def test_what_a_caller_gets_is_a_copy():
    history = filled([3.0, 2.0])
    history.train_loss[:] = 0
    history.since(0)["train_loss"][:] = 0
    assert history.train_loss.tolist() == [3.0, 2.0]


def test_repr_tells_where_it_stands():
    history = filled([3.0])
    assert repr(history) == "History(1 steps, 0 epochs)"
    history.add_epoch(record(1))
    assert "train_loss 0.5" in repr(history)
    assert "valid_accuracy 80.0%" in repr(history)


@pytest.mark.parametrize("sizes", [{"step_rows": 5}, {"step_rows": 0}, {"epoch_rows": 1}])
def test_impossible_sizes(sizes):
    with pytest.raises(ValueError, match=f"{next(iter(sizes))} must be .*try"):
        History(**sizes)
