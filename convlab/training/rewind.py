"""Going back in a run, and starting another from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from convlab.models._edit.history import capture as structure_of
from convlab.models._edit.history import put_back as put_structure_back
from convlab.models.borrow import Snapshot, restore, snapshot
from convlab.models.live import Edit
from convlab.training.active import active_runs, busy
from convlab.training.journal import LIVE_SETTINGS, Change
from convlab.training.live_checks import check_changes
from convlab.training.snapshots import RunSnapshot
from convlab.training.state import put_back, put_model_back

if TYPE_CHECKING:
    from convlab.training.run import Run


@dataclass(frozen=True)
class Branch:
    """Where a forked run comes from: a run's name, and how many steps it has from it."""

    name: str
    step: int


def rewind(run: Run, step: int | None) -> RunSnapshot | None:
    """See `Run.rewind`."""
    refuse_others(run)
    if not run.ended and not run.standing:
        raise RuntimeError("this run is training right now; run.pause() first, then run.rewind(step).")
    if step is None:
        _return(run)
        return None
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise ValueError(f"step must be a whole number of at least 0, or None, got {step!r}; try run.rewind(0).")
    found = run.snapshots.at(step)
    if run._present is None and not run.ended:
        live = run._trainer.live
        run._present, run._place = structure_of(run.model), None if live is None else live.place()
    put_model_back(run.model, found.state, run._trainer.live)
    run.shown_step = found.step
    return found


def come_back(run: Run) -> None:
    """Give a paused run that is shown at an earlier step its present weights back."""
    if run.shown_step is not None:
        _return(run)


def _return(run: Run) -> None:
    if run._present is not None:
        put_structure_back(run.model, run._present)
        if run._trainer.live is not None and run._place is not None:
            run._trainer.live.move_to(run._place)
        run._present = None
    elif run.end_state is not None:
        put_model_back(run.model, run.end_state, run._trainer.live)
    run.shown_step = None
    run._trainer.renew_dropout()  # it may have been set meanwhile


def restore_point(run: Run, point: str) -> None:
    """See `Run.restore`."""
    if any(not other.standing for other in active_runs(run.model)):
        raise RuntimeError(f"{type(run.model).__name__} is training right now; run.pause() or run.stop() first.")
    come_back(run)
    if "last" not in run._points or run._last_step != run.history.num_steps:
        run._points["last"], run._last_step = snapshot(run.model), run.history.num_steps
    if point == "best":
        if run._trainer.best is None:
            raise RuntimeError('no epoch has ended yet, so none is best; try run.restore("start").')
        restore(run._trainer.best[1], modes=False)
    elif point in run._points:
        if not _has_place(run.model, run._points[point]):
            raise RuntimeError(
                "the network was edited since this run began, so its first weights have no place any more; "
                "run.rewind(0) gives both back."
            )
        restore(run._points[point], modes=False)
    else:
        raise ValueError(f"point must be 'start', 'best' or 'last', got {point!r}; try run.restore('best').")


def _has_place(model: nn.Module, saved: Snapshot) -> bool:
    there = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return all(id(tensor) in there for tensor, _ in saved.tensors)


def fork(run: Run, step: int | None, changes: Mapping[str, object], edit: Edit | None, name: str, later: bool) -> Run:
    """See `Run.fork`."""
    from convlab.training.run import Run

    refuse_others(run)
    began = run.snapshots.at(step)
    for change in changes:
        if change not in LIVE_SETTINGS:
            raise ValueError(
                f"{change} cannot change in a fork, which goes on from an optimizer at work; "
                f"{', '.join(LIVE_SETTINGS)} can. For another start a run of its own: Run(model, data, spec)."
            )
    began.state.settings.changed(**changes)
    if not run.ended:
        run.stop()
    # The recipe and the first weights are the first run's: with its journal they tell the whole of this one.
    put_model_back(run.model, began.state, run._trainer.live)
    new = Run(
        run.model,
        run.data,
        run.spec,
        criterion=run._trainer._own_criterion,
        metrics=run._trainer.scoring.own,
        name=name,
        snapshot_bytes=run.snapshots.budget,
    )
    # The same optimizer: what was edited may be undone, and its state with it.
    new._trainer.take_optimizer(run.optimizer)
    new._trainer.live = run._trainer.live
    put_back(new._trainer, began.state)
    new._trainer.threads = run.threads  # of the network as it was at the start: another number rounds otherwise
    new._trainer.history = run.history.until(began.state.mark)
    new.parent = Branch(run.name, began.step)
    new.taken_up(run.beginning)
    for one in run.snapshots:
        if one.step <= began.step:
            new.snapshots.add(one)
    check_changes(new, changes)
    made = [Change(began.step, key, getattr(new.settings, key), changes[key]) for key in changes]
    if edit is not None:
        made.append(Change(began.step, "edit", None, edit))
    new._to_replay.extend(made)
    if later:
        new._to_replay.extend(change for change in run.journal[len(began.state.journal) :])
    new.name = name or f"{run.name or 'run'}, {_told(made)} from step {began.step:,}"
    return new


def _told(changes: list[Change]) -> str:
    return ", ".join(map(str, changes)) or "again"


@contextmanager
def as_it_is(run: Run) -> Iterator[None]:
    """Inside, the model is the run's own, at the step that it is shown at, and at its last if that is no other.

    Raises:
        RuntimeError: the run, or another one, is training the model right now.
    """
    refuse_others(run)
    if run.state != "pending" and not run.ended and not run.standing:
        raise RuntimeError("this run is training right now; run.pause() it first.")
    if run.end_state is None or run.shown_step is not None:
        yield
        return
    now = structure_of(run.model)
    put_structure_back(run.model, run.end_state.structure)
    try:
        yield
    finally:
        put_structure_back(run.model, now)


def refuse_others(run: Run) -> None:
    """Another run may be training the model by now."""
    for other in active_runs(run.model):
        if other is not run:
            raise RuntimeError(busy(run.model, other))
