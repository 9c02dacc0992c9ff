"""`convlab.watch_inside`: what is inside a network, epoch by epoch, while it trains."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from torch import Tensor, nn
from typing_extensions import override

from convlab.diagnosis.inside import Inside, Of, histograms, inside, norm, over
from convlab.diagnosis.layer_stats import Gathering, Ints, gathered, layers_of, own_params
from convlab.training.run import Run
from convlab.training.step_watch import StepWatcher
from convlab.training.trainer import Trainer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST: Final = 128
"""Looks that are kept of one run, evenly spread, the first and the latest among them."""


@dataclass(frozen=True, eq=False)
class _Looking:
    """A look in progress: hooks on the layers, and the weights as they were before the step."""

    hooks: contextlib.ExitStack
    seen: Gathering
    weights: dict[str, tuple[nn.Module, list[Tensor]]]


@final
class InsideLog(StepWatcher):
    """Looks into a run's network, each during a step at the end of an epoch; see `watch_inside`.

    A look reads what that very step computes (its forward, its gradients, what it changed), so that it costs no pass of
    its own and changes no number.

    Attributes:
        looks: oldest first.
        seconds: what all looks took.
        note: a sentence where a look failed, which ended the watching; else empty.
    """

    def __init__(self, run: Run, budget: float) -> None:
        self.budget = budget
        self.looks: list[Inside] = []
        self.seconds, self.note = 0.0, ""
        self._watchers = run._trainer.watchers
        self._trained = self._dearest = 0.0
        self._epoch = 0
        self._looking: _Looking | None = None
        self._began = 0.0
        self._count = 0

    @property
    def share(self) -> float:
        """What the looks took over what the steps took, validation and reading of data left out."""
        return over(self.seconds, self._trained) if self.seconds else 0.0

    def stop(self) -> None:
        """Look no more."""
        with contextlib.suppress(ValueError):  # it has stopped already
            self._watchers.remove(self)

    @override
    def before(self, trainer: Trainer, count: int) -> None:
        self._began = began = time.perf_counter()
        self._looking, self._count = None, count
        if not self._is_due(trainer, count):
            return
        self._epoch = trainer.epoch
        try:
            self._looking = _looking(trainer.model, self._failed)
        except Exception as error:
            self._failed(error)
        self.seconds += time.perf_counter() - began

    @override
    def after(self, trainer: Trainer, loss: float | None) -> None:
        now, looking, self._looking = time.perf_counter(), self._looking, None
        if looking is None:
            self._trained += now - self._began
            return
        cost = looking.seen.seconds
        try:
            looking.hooks.close()
            if loss is not None and not self.note:
                self._keep(inside(looking.seen, trainer.history.num_steps, loss, self._count, _updates(looking)))
        except Exception as error:
            self._failed(error)
        cost += time.perf_counter() - now
        self.seconds += cost
        self._dearest = max(self._dearest, cost)

    def _is_due(self, trainer: Trainer, count: int) -> bool:
        """In the last full batch of an epoch, the first one of the next where nobody knows which is the last."""
        if trainer.epoch == self._epoch or self.note:
            return False
        samples = trainer.data.train.num_samples
        at_end = samples - trainer.position < count if samples > 0 else trainer.stepped == 0 and trainer.epoch > 1
        return at_end and (not self.looks or self.seconds + self._dearest <= self.budget * self._trained)

    def _keep(self, look: Inside) -> None:
        looks = [*self.looks, look]
        if len(looks) > MOST:
            del looks[min(range(1, MOST), key=lambda i: looks[i + 1].step - looks[i - 1].step)]
        self.looks = looks  # at once: another thread may be reading the list

    def _failed(self, error: Exception) -> None:
        self.note = f"Looking inside failed and has ended: {type(error).__name__}: {error}. Training goes on."

    def histograms(self, path: str, of: Of = "weight") -> tuple[list[int], Ints]:
        """The histograms of a layer at each look that has one: steps, and counts of shape (looks, 81).

        Args:
            path: the layer's name.
            of: ``"weight"`` or ``"gradient"``.

        Raises:
            ValueError: `of` is something else.
        """
        return histograms(self.looks, path, of)

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each layer at each look, with its step."""
        import pandas as pd

        tables = [look.to_dataframe() for look in self.looks]
        for table, look in zip(tables, self.looks, strict=True):
            table.insert(0, "step", look.step)
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def plot(self, ax: Axes | None = None, number: str = "update_to_weight") -> Axes:
        """Draw one number of every layer over the steps, on `ax` or on a figure of its own.

        Raises:
            ValueError: there is no such number.
        """
        from convlab.plots.inside import plot_inside_log

        return plot_inside_log(self, ax, number)

    def __repr__(self) -> str:
        return (
            f"InsideLog({len(self.looks)} looks, {1000 * self.seconds:.3g} ms, {100 * self.share:.2g} % of the steps)"
        )


def watch_inside(run: Run, budget: float = 0.02) -> InsideLog:
    """Look inside the network of a run while it trains: once an epoch, as far as the budget goes.

    It looks in the last full batch of an epoch: a few samples that are left over would say little of a channel. The
    first look comes at the end of the first epoch; a further one is skipped where it would bring the cost of all
    above `budget` times that of the training steps. Losses and weights are those of a run that nobody watches, bit for
    bit. Gradients are those that the optimizer is given, after clipping; `update_to_weight` is over that real step.

    Args:
        run: one that has not ended.
        budget: share of the time of the training steps, from 0 (only the first look) to 1.

    Raises:
        TypeError, ValueError: an argument cannot be.
        RuntimeError: the run has ended.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.spec import TrainSpec
        >>> run = Run(lenet(), "digits", TrainSpec(epochs=3))
        >>> log = watch_inside(run, budget=1)
        >>> _ = run.start().wait()
        >>> [look.step for look in log.looks]
        [44, 89, 134]
    """
    if not isinstance(run, Run):
        raise TypeError(f"run must be a Run, got {type(run).__name__}; try watch_inside(Run(model, data, spec)).")
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget <= 1:
        raise ValueError(f"budget must be a share from 0 to 1, got {budget!r}; try budget=0.02, two per cent.")
    if run.ended:
        raise RuntimeError(f"this run is {run.state} and takes no more steps; look_inside(run) looks at it as it is.")
    log = InsideLog(run, float(budget))
    run._trainer.watchers.append(log)
    return log


def _looking(model: nn.Module, on_error: Callable[[Exception], None]) -> _Looking:
    weights = {
        path: (module, [param.detach().clone() for param in own_params(module)]) for path, module in layers_of(model)
    }
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(gathered(model, on_error))
        return _Looking(stack.pop_all(), seen, weights)


def _updates(looking: _Looking) -> dict[str, float]:
    """By path: the norm of what the step changed over that of the weights before."""
    return {
        path: over(
            norm([now.detach() - was for now, was in zip(own_params(module), before, strict=True)]), norm(before)
        )
        for path, (module, before) in looking.weights.items()
        if before
    }
