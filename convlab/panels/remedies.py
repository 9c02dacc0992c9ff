"""A remedy on the bench: made, and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convlab.data.data import Data
from convlab.diagnosis.finding import Remedy
from convlab.models.live import Edit
from convlab.spec import TrainSpec

if TYPE_CHECKING:
    from convlab.panels.lab import Lab


@dataclass(frozen=True, eq=False)
class Applied:
    """A remedy in force, and what it replaced.

    Attributes:
        remedy: what was done.
        before: the settings that it changed, as they were.
        edits: those that were made on the network.
        data: the data before, where they were changed.
        went_back: whether the weights were put back to the first ones for it.
        note: what happened, in a sentence.
    """

    remedy: Remedy
    before: dict[str, Any]
    edits: tuple[Edit, ...]
    data: Data | None
    went_back: bool
    note: str


def apply(lab: Lab, remedy: Remedy, kept: list[Applied]) -> None:
    """Put a remedy in force: in the run that is on, or, where it has ended, for the next one from its first weights.

    Args:
        lab: the bench.
        remedy: what to do.
        kept: what it replaced goes to the end of this list, for `undo`.

    Raises:
        SpecError, EditError, ValueError: it cannot be here; the bench is as it was.
    """
    with lab.hand:
        run = lab.current
        over = run is not None and run.ended and run.history.num_steps > 0 and run.model is lab.model
        data = lab.data if remedy.data is not None else None
        changed = None if remedy.data is None else remedy.data(lab.data)
        before = {name: getattr(lab.spec, name) for name in remedy.changes}
        spec = lab.spec
        if over:
            lab.rewind(0)
            lab.show_spec(spec)
        made: list[Edit] = []
        try:
            for edit in remedy.edits:
                lab.edit(edit)
                made.append(edit)
            if remedy.changes:
                lab.set(**remedy.changes)
        except Exception:
            _take_back(lab, made)
            if over:
                lab.rewind(None)
            lab.show_spec(spec)
            raise
        note = f"Applied: {remedy.text}."
        if over:
            note += " The first weights of the run are back; Run trains from there."
        elif data is not None:
            note += " A run that was on is stopped; Run trains on the changed data."
        elif run is not None and not run.ended:
            note += " The run goes on with it."
        kept.append(Applied(remedy, before, tuple(made), data, over and changed is None, note))
        if changed is not None:
            lab.use(data=changed)  # makes the panels anew, which show what is kept


def take_over(lab: Lab, spec: TrainSpec, edits: tuple[Edit, ...], data: Data) -> None:
    """Put on the bench what a tour has found: its recipe, its edits of the network, its data.

    Raises:
        SpecError, EditError: it cannot be here.
    """
    with lab.hand:
        lab.stop()
        run = lab.current
        if run is not None and run.model is lab.model and run.history.num_steps and run.shown_step != 0:
            lab.rewind(0)
        for edit in edits:
            lab.edit(edit)
        lab.show_spec(spec)
        if data is not lab.data:
            lab.use(data=data)


def undo(lab: Lab, applied: Applied) -> str:
    """Take it back; what was trained since stays in the table of runs.

    Raises:
        RuntimeError: the network was edited since, which must be undone first.
    """
    with lab.hand:
        count = len(applied.edits)
        if count and lab.edits[-count:] != applied.edits:
            raise RuntimeError("the network was edited since; undo that first, in the Architecture tab.")
        _take_back(lab, list(applied.edits))
        if applied.before:
            lab.set(**applied.before)
        if applied.data is not None:
            lab.use(data=applied.data)
        run = lab.current
        if applied.went_back and run is not None and run.ended and run.shown_step == 0:
            spec = lab.spec
            lab.rewind(None)
            lab.show_spec(spec)
            return "Taken back; the weights are those of the end of the run again."
        return "Taken back."


def _take_back(lab: Lab, edits: list[Edit]) -> None:
    for _ in edits:
        lab.edit("undo")
