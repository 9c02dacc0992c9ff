"""A/B: two runs that differ in one thing, over as many seeds as it takes not to read noise as an effect."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from torch import nn

from convlab.data.resolve import resolve
from convlab.limits import SpecError, check_choice
from convlab.models.build import build
from convlab.models.live import Edit, bind
from convlab.net_spec import NetSpec
from convlab.spec import TrainSpec
from convlab.training.journal import Change
from convlab.training.run import Run
from convlab.training.runs import Runs
from convlab.training.trainer import Criterion

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Metric = Literal["valid_loss", "valid_accuracy", "train_loss", "best_valid_loss"]
METRICS: Final = ("valid_loss", "valid_accuracy", "train_loss", "best_valid_loss")
_WORDS: Final = {
    "valid_loss": "validation loss",
    "valid_accuracy": "validation accuracy",
    "train_loss": "training loss",
    "best_valid_loss": "best validation loss",
}
Start = nn.Module | NetSpec | Callable[[int], nn.Module]


@dataclass(frozen=True, eq=False)
class ABResult:
    """Pairs of runs, a pair for each seed.

    Attributes:
        difference: what B has that A has not, in words.
        a, b: the runs, in the order of `seeds`.
        seeds: they decide the order of samples, the model's random numbers, and the weights where a `NetSpec` or a
            function makes the model.
        whole: whether all seeds were trained to the end.
    """

    difference: str
    a: Runs
    b: Runs
    seeds: tuple[int, ...]
    whole: bool

    def differences(self, metric: Metric = "valid_loss") -> list[float]:
        """B minus A, for each seed.

        Raises:
            SpecError: there is no such metric.
            ValueError: a run has no such number, as without validation data.
        """
        check_choice("metric", metric, METRICS)
        return [_score(b, metric) - _score(a, metric) for a, b in zip(self.a, self.b, strict=True)]

    def interval(self, metric: Metric = "valid_loss") -> tuple[float, float] | None:
        """Where the mean difference lies with 95 % confidence, by Student's paired t-test; None for one seed.

        Source: Student, "The probable error of a mean", Biometrika 6 (1908).
        """
        found = self.differences(metric)
        if len(found) < 2:
            return None
        from scipy.special import stdtrit

        mean, error = statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))
        reach = float(stdtrit(len(found) - 1, 0.975)) * error
        return mean - reach, mean + reach

    def verdict(self, metric: Metric = "valid_loss") -> str:
        """What can be said, in a sentence or two."""
        if not self.a:
            return "No pair of runs was trained to its end."
        found, word = self.differences(metric), _WORDS[metric]
        mean = statistics.fmean(found)
        if not all(map(math.isfinite, found)):
            bad = [run.name for run in (*self.a, *self.b) if not math.isfinite(_score(run, metric))]
            return f"The {word} is not finite in {', '.join(bad)}."
        way = "lower" if mean < 0 else "higher"
        told = f"With {self.difference} the {word} is {way} by {abs(mean):.3g}"
        interval = self.interval(metric)
        if interval is None:
            return f"{told}, with one seed: it may be noise. Try seeds=5."
        low, high = interval
        spread = f"{told} on average, {min(found):+.3g} to {max(found):+.3g} over {len(found)} seeds"
        if low <= 0 <= high:
            return f"{spread}: no evidence of an effect, as the mean may be anything from {low:+.3g} to {high:+.3g}."
        return f"{spread}: an effect, as the mean lies between {low:+.3g} and {high:+.3g} with 95 % confidence."

    def to_dataframe(self) -> pd.DataFrame:
        """The table of all runs, with columns seed and side (A or B) before those of `Runs.to_dataframe`."""
        import pandas as pd

        tables = []
        for side, runs in (("A", self.a), ("B", self.b)):
            table = runs.to_dataframe()
            table.insert(0, "side", side)
            table["seed"] = list(self.seeds)
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the validation curves, one colour a side, on `ax` or on a figure of its own; return the axes."""
        from convlab.plots.ab import plot_ab

        return plot_ab(self, ax)

    def __repr__(self) -> str:
        return f"ABResult({self.difference}: {self.verdict()})"


def ab(
    model: Start,
    data: object,
    spec: TrainSpec | None = None,
    *,
    seeds: int = 1,
    edit: Edit | Sequence[Edit] | None = None,
    criterion: Criterion | None = None,
    on_run: Callable[[Run], object] | None = None,
    go_on: Callable[[], bool] = lambda: True,
    **change: object,
) -> ABResult:
    """Train twice from the same weights, with the same seed and order of samples, and one thing changed.

    Args:
        model: a network, trained in copies and left as it is; or a `NetSpec`, or a function from a seed to a network,
            for first weights that differ between the seeds.
        data: what `convlab.fit` takes.
        spec: the recipe of A.
        seeds: how many pairs; their seeds count up from the recipe's.
        edit: a change of the network for B, or several, one after the other.
        criterion: as for `fit`.
        on_run: called with each run before it starts, to watch it.
        go_on: asked before each run; False ends with the pairs that are whole. A run that is stopped ends it, too.
        change: arguments of `TrainSpec` for B: one, or several that belong together.

    Raises:
        SpecError, ValueError, TypeError: an argument cannot be; the message names it and what would work.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> result = ab(lenet(), "digits", TrainSpec(epochs=2), seeds=2, momentum=0.0)
        >>> result.difference
        'momentum 0.9 → 0'
        >>> len(result.differences("valid_loss"))
        2
    """
    spec = spec or TrainSpec()
    if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= 1000:
        raise SpecError(f"seeds must be a whole number from 1 to 1000, got {seeds!r}; try seeds=5.")
    edits = () if edit is None else (edit,) if isinstance(edit, Edit) else tuple(edit)
    if not change and not edits:
        raise SpecError("nothing differs between A and B; try ab(model, data, spec, momentum=0.0).")
    other = spec.replace(**change)
    told = [str(Change(0, name, getattr(spec, name), getattr(other, name))) for name in change]
    difference = ", ".join([*told, *map(str, edits)])
    found = resolve(data)
    sides: tuple[Runs, Runs] = Runs(), Runs()
    done: list[int] = []
    for seed in range(spec.seed, spec.seed + seeds):
        pair = []
        for side, recipe in (("A", spec), ("B", other)):
            if not go_on():
                return ABResult(difference, *sides, tuple(done), whole=False)
            network = _network(model, seed)
            if edits and side == "B":
                live = bind(network, (1, *found.input_size))
                for one in edits:
                    live.apply(one)
            run = Run(network, found, recipe.replace(seed=seed), criterion=criterion, name=f"{side}, seed {seed}")
            if on_run is not None:
                on_run(run)
            if not go_on():
                run.stop()
            if _train(run) == "stopped":
                return ABResult(difference, *sides, tuple(done), whole=False)
            pair.append(run)
        for runs, run in zip(sides, pair, strict=True):
            runs.append(run)
        done.append(seed)
    return ABResult(difference, *sides, tuple(done), whole=True)


def _train(run: Run) -> str:
    try:
        run.start()
    except RuntimeError:
        if run.state != "stopped":  # before it began, by whoever was told of it
            raise
    return run.wait().state


def _network(model: Start, seed: int) -> nn.Module:
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    made: Any = build(model, seed) if isinstance(model, NetSpec) else model(seed) if callable(model) else None
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"model must be an nn.Module, a NetSpec or a function from a seed to an nn.Module, got {model!r:.60}; "
            "try model=NetSpec()."
        )
    return made


def _score(run: Run, metric: Metric) -> float:
    if run.state == "failed":
        return math.nan
    value: float | None = None
    if metric == "best_valid_loss":
        value = run.best.valid_loss if run.best else None
    elif run.history.epochs:
        value = getattr(run.history.epochs[-1], metric)
    if value is None:
        raise ValueError(f"{run.name} has no {metric}; try metric='train_loss'.")
    return float(value)
