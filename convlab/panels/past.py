"""The bench looks back, forks, and takes up what lies on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlab.models.live import Edit
from convlab.training.autosave import Autosave
from convlab.training.checkpoint import CheckpointError
from convlab.training.run import Run

if TYPE_CHECKING:
    from convlab.panels.lab import Lab


def rewind(lab: Lab, step: int | None, run: Run | None) -> None:
    """See `Lab.rewind`."""
    with lab.hand:
        run = run or lab.current
        if run is None:
            raise LookupError("there is no run to look back in; lab.run() makes one.")
        _of_this_network(lab, run)
        found = run.rewind(step)
        with lab.settings.moving:  # a change from a cell may come into force at this moment
            present = lab.spec_of_present or lab.spec
            lab.spec_of_present = None if found is None else present
            lab.show_spec(present if found is None else found.state.settings)
        lab.timeline.show(lab.current)
    for panel in (*lab.looking, *lab.rewound):
        panel.refresh()


def fork(lab: Lab, step: int | None, run: Run | None, edit: Edit | None, name: str, changes: dict[str, Any]) -> Run:
    """See `Lab.fork`."""
    with lab.hand:
        run = run or lab.current
        if run is None:
            raise LookupError("there is no run to fork; lab.run() makes one.")
        _of_this_network(lab, run)
        step = run.shown_step if step is None else step
        if not changes and run.shown_step is not None:
            changes = run.snapshots.at(step).state.settings.changes_to(lab.spec)
        new = run.fork(step, edit=edit, name=name, **changes)
        if lab.autosave is not None:
            new.autosave = Autosave(lab.autosave, new.name)
        lab.spec_of_present = None
        lab.show_spec(new.settings.changed(**changes))
        lab.take(new, Run.start)
    return new


def _of_another_network(lab: Lab, path: str | Path, error: CheckpointError) -> Run:
    """The run with the network that it brings along, which the bench takes; where it brings none, `error` holds."""
    try:
        run = Run.load(path, None, lab.data, criterion=lab.criterion, autosave=lab.autosave)
    except CheckpointError:
        raise error from None
    lab.use(run.model)
    return run


def _of_this_network(lab: Lab, run: Run) -> None:
    if run.model is not lab.model:
        raise LookupError(f"{run.name} has trained another network; take that back first: lab.use(run.model).")


def load(lab: Lab, path: str | Path, resume: bool) -> Run:
    """See `Lab.load`."""
    with lab.hand:
        lab.free_to_train()
        try:
            run = Run.load(path, lab.model, lab.data, criterion=lab.criterion, autosave=lab.autosave)
        except CheckpointError as error:
            run = _of_another_network(lab, path, error)
        lab.spec_of_present = None
        lab.show_spec(run.settings)
        lab.take(run, Run.start if resume and not run.ended else lab.on_run)
    lab.look()
    return run
