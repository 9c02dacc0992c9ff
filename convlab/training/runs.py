"""All runs of a bench, to be laid side by side."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlab.spec import TrainSpec
from convlab.training.run import Run

if TYPE_CHECKING:
    import pandas as pd


class Runs(list[Run]):
    """The runs, oldest first.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.training.fit import fit
        >>> model = lenet()
        >>> runs = Runs(fit(model, "digits", TrainSpec(epochs=1, lr=lr)) for lr in (0.01, 0.1))
        >>> runs.to_dataframe()[["lr", "epochs_done", "steps"]].values.tolist()
        [[0.01, 1.0, 45.0], [0.1, 1.0, 45.0]]
    """

    def named(self, name: str) -> Run:
        """The run of that name.

        Raises:
            LookupError: there is none.
        """
        for run in self:
            if run.name == name:
                return run
        raise LookupError(
            f"no run is called {name!r}; there are {', '.join(repr(run.name) for run in self) or 'none'}."
        )

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each run: results, then the recipe that it began with, then what was changed on the way.

        Columns: run, state, note, model, data, params, steps, epochs_done, seconds, train_loss, valid_loss,
        train_accuracy, valid_accuracy (of the last epoch), best_epoch, best_valid_loss, best_valid_accuracy, one for
        each argument of `TrainSpec`, changes, parent.
        """
        import pandas as pd

        return pd.DataFrame([facts(run) for run in self])

    def to_csv(self, path: str | Path) -> None:
        """Write the table as text, separated by commas."""
        self.to_dataframe().to_csv(path, index=False)


def facts(run: Run) -> dict[str, Any]:
    """A run as a row of the table."""
    epochs, best = run.history.epochs, run.best
    last = epochs[-1] if epochs else None
    return {
        "run": run.name,
        "state": run.state,
        "note": run.note,
        "model": type(run.model).__name__,
        "data": run.data.name,
        "params": run.num_params,
        "steps": run.history.num_steps,
        "epochs_done": run.history.num_epochs,
        "seconds": sum(one.seconds for one in epochs),
        "train_loss": last and last.train_loss,
        "valid_loss": last and last.valid_loss,
        "train_accuracy": last and last.train_accuracy,
        "valid_accuracy": last and last.valid_accuracy,
        "best_epoch": best and best.epoch,
        "best_valid_loss": best and best.valid_loss,
        "best_valid_accuracy": best and best.valid_accuracy,
        **{field.name: _cell(getattr(run.spec, field.name)) for field in fields(TrainSpec)},
        "changes": "; ".join(f"step {change.step}: {change}" for change in run.journal),
        "parent": f"{run.parent.name}, step {run.parent.step}" if run.parent else "",
    }


def _cell(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def differences(run: Run, base: Run) -> dict[str, tuple[object, object]]:
    """What in the settings of `run` is not as in `base`: name -> (there, here); nothing for the same recipe.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> base, other = Run(lenet(), "digits"), Run(lenet(), "digits", TrainSpec(lr=0.1))
        >>> differences(other, base)
        {'lr': (0.05, 0.1)}
    """
    a, b = facts(base), facts(run)
    names = [*(field.name for field in fields(TrainSpec)), "changes", "model", "data", "params", "parent"]
    return {name: (a[name], b[name]) for name in names if a[name] != b[name]}
