"""Which changes a run can make in flight."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from convlab.spec import SpecError
from convlab.training.journal import LIVE_SETTINGS
from convlab.training.schedules import throwaway
from convlab.training.trainer import NO_DROPOUT

if TYPE_CHECKING:
    from convlab.training.run import Run

# Held at an lr, not scaled to it and then held; a schedule begins at the lr that comes with it.
_FIRST: Final = ("schedule_mode", "lr")


def in_order(changes: Mapping[str, object]) -> dict[str, object]:
    """Changes that are made together, in the order in which they mean what a person means by them."""
    return {name: changes[name] for name in sorted(changes, key=_urgency)}


def _urgency(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def check_changes(run: "Run", changes: Mapping[str, object]) -> None:
    """Refuse what `run` cannot change.

    Raises:
        SpecError: a name or a value cannot be.
    """
    for name in changes:
        if name not in LIVE_SETTINGS:
            raise SpecError(f"{name} cannot change during a run; {', '.join(LIVE_SETTINGS)} can.")
    changed = run.settings.changed(**changes)
    if changed.schedule is not None and "schedule" in changes:
        throwaway(changed.schedule, changed)  # torch's own class may refuse what its arguments allow one by one
    if "batch_size" in changes and not run.data.train.resizable:
        raise SpecError("batch_size is fixed by your own DataLoader; pass (X, y) or a data set to change it here.")
    if "dropout" in changes and not run._trainer.dropouts:
        raise SpecError(f"dropout cannot be set: the model has no dropout layer; {NO_DROPOUT}")
    group: dict[str, Any] = run.optimizer.param_groups[0]
    for name in ("momentum", "betas"):
        if name in changes and name not in group:
            other = "betas" if name == "momentum" else "momentum"
            raise SpecError(f"{name} is no setting of {run.spec.optimizer}; it has {other}.")
