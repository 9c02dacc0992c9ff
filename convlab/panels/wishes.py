"""The bench's controls and the run that they steer: what was asked for, until it is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from convlab.spec import SpecError, TrainSpec
from convlab.training.run import Run

if TYPE_CHECKING:
    from convlab.panels.lab import Lab

SCHEDULED: Final = ("lr", "schedule", "schedule_mode")


class Wishes:
    """Sends what a hand sets to the run, and moves the controls after what was set elsewhere.

    Attributes:
        refusal: the run's answer to the latest wish where it was no, else None.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._wishes: list[tuple[str, object]] = []
        self._followed = 0
        self._showing = False
        self.refusal: SpecError | None = None
        lab.settings.observe(self._on_spec, "spec")

    def __len__(self) -> int:
        """How many are not in force yet."""
        return len(self._wishes)

    def begin(self) -> None:
        """Another run is to be followed, from its first change on."""
        self._wishes, self._followed = [], 0

    def follow(self, run: Run) -> None:
        """Move the controls after changes that came from elsewhere, such as ``lab.current.set(lr=0.01)`` in a cell."""
        with self._lab.settings.moving:
            journal = run.journal[self._followed :]
            self._followed += len(journal)
            for change in journal:
                if change.name == "edit":  # of the network: no control of a recipe follows it
                    continue
                wish = (change.name, change.new)
                if wish in self._wishes:
                    # Wishes come true in their order: those before it have, too.
                    del self._wishes[: self._wishes.index(wish) + 1]
                elif change.name not in dict(self._wishes):
                    # These three move one another.
                    names = SCHEDULED if change.name in SCHEDULED else (change.name,)
                    self._take_over({name: getattr(run.settings, name) for name in names})
            # A wish for what is in force already is never written in the journal.
            while self._wishes and getattr(run.settings, self._wishes[0][0]) == self._wishes[0][1]:
                del self._wishes[0]

    def _take_over(self, in_force: dict[str, Any]) -> None:
        lab = self._lab
        if lab.spec_of_present is None:
            self.show(lab.spec.replace(**in_force))
        else:  # the controls show the past
            lab.spec_of_present = lab.spec_of_present.replace(**in_force)

    def show(self, spec: TrainSpec) -> None:
        """Move the controls to what is in force, without asking the run for it."""
        with self._lab.settings.moving:
            self._showing = True
            try:
                self._lab.settings.spec = spec
            finally:
                self._showing = False

    def _on_spec(self, change: Any) -> None:
        run, old, new = self._lab.current, change["old"], change["new"]
        if run is None:
            self._lab.saved.update_soon()
        if run is None or run.ended or run.shown_step is not None or self._showing:
            return
        changes = old.changes_to(new)
        before = len(self._wishes)
        self._wishes += changes.items()
        try:
            run.set(**changes)
        except SpecError as error:
            del self._wishes[before:]
            self.refusal = error
            self._lab.messages.exception(error)
            self.show(old)
        except RuntimeError:
            return  # it ended this very moment: the next run takes the new settings
