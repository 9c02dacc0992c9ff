"""The advice panel: what the rules see in the bench's run, why it matters, and a remedy to apply."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import ipywidgets as widgets

from convlab.diagnosis.case import Case, case_of_model, case_of_run
from convlab.diagnosis.diagnose import findings, topic_of
from convlab.diagnosis.finding import Finding
from convlab.diagnosis.signals import Signals
from convlab.frontend.style import Style
from convlab.panels.finding_card import FindingCard
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.panels.remedies import Applied, apply, undo
from convlab.panels.tabs import close_whole
from convlab.training.run import Run

if TYPE_CHECKING:
    from convlab.panels.lab import Lab

SOONEST: Final = 1.0
"""Seconds between two looks at a run that trains, at least."""

_SHARE: Final = 0.02
"""Of the time that goes into looking meanwhile, at most."""


class Advice(widgets.VBox):
    """Findings on the bench's run as it stands, each with its evidence and a remedy; they follow the run by epoch.

    Args:
        lab: the bench.
        is_shown: whether anybody sees the panel; it looks only then.
        applied: remedies in force that can be taken back, oldest first; the list outlives the panel.

    Attributes:
        found: the findings as they are shown.
        applied: as above.
    """

    def __init__(
        self, lab: Lab, is_shown: Callable[[], bool] = lambda: True, applied: list[Applied] | None = None
    ) -> None:
        self._lab, self._is_shown = lab, is_shown
        self.found: list[Finding] = []
        self.applied: list[Applied] = [] if applied is None else applied
        self._start: tuple[object, Signals | None] | None = None
        self._seen: object = None
        self._next = 0.0
        self._messages = Messages()
        self.heading = widgets.HTML()
        self.heading.add_class("convlab-advice-heading")
        self.cards = widgets.VBox()
        self.undo_button = widgets.Button(
            description="Undo", icon="undo", tooltip="Take the last remedy back.", disabled=True
        )
        self.undo_button.on_click(lambda _: self._messages.guard(self.undo))
        self._latest = Latest(self._messages.exception)
        top = widgets.HBox([self.heading, self.undo_button])
        top.add_class("convlab-advice-top")
        super().__init__([Style(), top, self._messages, self.cards])
        self.add_class("convlab").add_class("convlab-advice")
        if self.applied:
            self._messages.note(self.applied[-1].note)
        self._offer_undo()
        self.look()

    # -- looking ------------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """The run got further: look again, if it is time and somebody sees it."""
        run = self._lab.current
        if self._is_shown() and (run is None or run.state != "running" or time.monotonic() >= self._next):
            self._next = math.inf  # until this look is done
            self.look()

    def look(self) -> None:
        """Look at the bench as it is, in another thread; nothing where nothing has changed since."""
        self._latest(self._look)

    def settle(self) -> None:
        """Block until all looks are done."""
        self._latest.wait()

    def _look(self) -> None:
        began = time.monotonic()
        try:
            self._look_now()
        finally:
            now = time.monotonic()
            self._next = now + max(SOONEST, (now - began) / _SHARE)

    def _look_now(self) -> None:
        lab, run = self._lab, self._lab.current
        state = (
            *(None if run is None else (id(run), run.history.num_epochs, run.state, run.shown_step),),
            *(id(lab.model), lab.edits),
            *(lab.spec.to_json(), lab.data.fingerprint),
        )
        if state == self._seen or self.comm is None:
            return
        with lab.hand:  # nobody begins a run meanwhile
            case = self._case(run)
        self._seen = state
        self.found = findings(case)
        self._show(None if case.curve.step == 0 else run)

    def _case(self, run: Run | None) -> Case:
        lab = self._lab
        if run is None or (run.ended and run.shown_step == 0) or run.model is not lab.model:
            return case_of_model(lab.model, lab.data, lab.spec, lab.criterion)
        known = self._start[1] if self._start is not None and self._start[0] is run else None
        try:
            live = lab.live
        except (TypeError, ValueError):  # it does not take part in tracing: its curve is judged
            live = None
        case = case_of_run(run, known, live=live)
        if case.start is not None:
            self._start = run, case.start
        return case

    # -- showing ------------------------------------------------------------------------------------------------------

    def _show(self, run: Run | None) -> None:
        self._say(run)
        before = {card.finding.rule: card for card in self.cards.children}
        cards = [before.pop(one.rule, None) or FindingCard(self._try_to_apply) for one in self.found]
        for i, (card, finding) in enumerate(zip(cards, self.found, strict=True)):
            card.show(finding, is_first=i == 0)
        if tuple(cards) != self.cards.children:
            self.cards.children = cards
        for card in before.values():
            close_whole(card)

    def _say(self, run: Run | None) -> None:
        count = len(self.found)
        what = "the network, its data and settings, before training"
        if run is not None:
            epochs = run.history.num_epochs
            what = f"{run.name}, {epochs} epoch{'' if epochs == 1 else 's'}, {run.state}"
        told = f"{count} finding{'s' if count != 1 else ''}" if count else "Nothing to say: no rule has evidence"
        status = f'<strong role="status" aria-live="polite">{told}</strong>'
        self.heading.value = f"{status} <span>{html.escape(what)}</span>"
        self._lab.advised = [
            f"{told}; {what}",
            *(f"{topic_of(one)}: {one.seen} Try {one.remedy.text}." for one in self.found),
        ]
        if run is None or run.ended or run.standing:
            self._lab.saved.update_soon()

    # -- remedies -----------------------------------------------------------------------------------------------------

    def apply(self, finding: Finding) -> None:
        """Put its remedy in force on the bench; `undo` takes it back.

        Raises:
            SpecError, EditError, ValueError: it cannot be here; the bench is as it was.
        """
        apply(self._lab, finding.remedy, self.applied)
        self._messages.note(self.applied[-1].note)
        self._after()

    def _try_to_apply(self, finding: Finding) -> None:
        self._messages.guard(lambda: self.apply(finding))

    def undo(self) -> None:
        """Take the last remedy back.

        Raises:
            LookupError: there is none.
        """
        if not self.applied:
            raise LookupError("there is no remedy to take back.")
        applied = self.applied.pop()
        try:
            self._messages.note(undo(self._lab, applied))
        except Exception:
            self.applied.append(applied)
            raise
        self._after()

    def _after(self) -> None:
        self._offer_undo()
        self._seen = None
        self.look()

    def _offer_undo(self) -> None:
        last = self.applied[-1:]
        self.undo_button.disabled = not last
        self.undo_button.tooltip = f"Take back: {last[0].remedy.text}." if last else "Take the last remedy back."
