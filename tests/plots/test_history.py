"""The picture of a run: drawn without pyplot, from any thread, whatever people call things."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convlab.models.gallery import lenet
from convlab.plots.figure import new_figure, png
from convlab.plots.history import plot_accuracy, plot_history, plot_run
from convlab.spec import TrainSpec
from convlab.training.history import EpochRecord, History
from convlab.training.journal import Change
from convlab.training.run import Run


def filled(steps=20, epochs=2, valid=True, **more):
    history = History(**more)
    for step in range(1, steps + 1):
        history.add_step(2.0 / step, 0.1)
    for epoch in range(1, epochs + 1):
        step = epoch * steps // epochs
        history.add_epoch(
            EpochRecord(epoch, step, 1.0, 0.5, 1.5 / epoch if valid else None, 0.6 if valid else None, 0.1, 1.0)
        )
    return history


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_draws_the_numbers_of_the_history():
    history = filled()
    ax = history.plot()
    assert isinstance(ax, Axes)
    drawn = lines(ax)
    np.testing.assert_array_equal(drawn["train, per step"], np.column_stack([history.step, history.train_loss]))
    np.testing.assert_array_equal(drawn["validation"], [[10, 1.5], [20, 0.75]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    assert not ax.collections


def test_draws_on_the_axes_given():
    ax = new_figure().add_subplot()
    assert filled().plot(ax) is ax
    assert plot_accuracy(filled(), ax) is ax


def test_shades_the_range_of_merged_rows():
    history = filled(100, step_rows=16)
    assert history.stride > 1
    ax = plot_history(history)
    (band,) = ax.collections
    top = band.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(2.0)


def test_accuracy_is_drawn_in_percent():
    ax = plot_accuracy(filled())
    np.testing.assert_array_equal(lines(ax)["train"], [[10, 0.5], [20, 0.5]])
    np.testing.assert_array_equal(lines(ax)["validation"], [[10, 0.6], [20, 0.6]])
    assert ax.yaxis.get_major_formatter()(0.5) == "50%"


@pytest.mark.parametrize("history", [History(), filled(1, 0), filled(valid=False), filled(5, 1)])
def test_little_or_nothing_to_draw(history):
    for plot in (plot_history, plot_accuracy):
        ax = plot(history)
        assert png(ax.figure).startswith(b"\x89PNG")
    assert "validation" not in lines(plot_history(filled(valid=False)))


def test_changes_are_marked_where_they_were_made():
    changes = [Change(5, "lr", 0.1, 0.05), Change(9, "momentum", 0.9, 0.5)]
    ax = plot_history(filled(), journal=changes)
    assert [text.get_text() for text in ax.texts] == ["lr 0.1 → 0.05", "momentum 0.9 → 0.5"]
    marks = [line.get_xdata()[0] for line in ax.get_lines() if line.get_label().startswith("_")]
    assert marks == [5, 9]


def test_hostile_names_are_text():
    ax = plot_history(filled(), journal=[Change(5, r"$\foo$ <b>", "$", r"\frac{")])
    assert png(ax.figure).startswith(b"\x89PNG")


def test_ticks_of_an_accuracy_that_hardly_moves_differ():
    run = Run(lenet(), "digits", TrainSpec(epochs=3, lr=1e-5)).start().wait()
    figure = plot_run(run)
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert len(set(ticks)) == len(ticks) > 2


def test_a_run_in_one_picture():
    run = Run(lenet(), "digits", TrainSpec(epochs=2))
    run.set(lr=0.1).start().wait()
    figure = plot_run(run)
    assert isinstance(figure, Figure)
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy")
    assert [text.get_text() for text in left.texts] == ["lr 0.05 → 0.1"]
    assert len(lines(right)["validation"]) == 2


@pytest.mark.slow
def test_drawn_while_it_trains_from_another_thread():
    run = Run(lenet(), "digits", TrainSpec(epochs=10**6)).start()
    errors = []

    def draw():
        try:
            for _ in range(3):
                png(plot_run(run))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.stop()
    assert not errors


def test_pyplot_is_never_imported_and_matplotlib_only_to_draw():
    code = """
import sys
from convlab.training.history import History
history = History()
history.add_step(1.0, 0.1)
print("matplotlib" in sys.modules, "pandas" in sys.modules)
history.plot()
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == ["False", "False", "True", "False"]
