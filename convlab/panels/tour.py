"""The guided tour: a checklist from defaults to a tuned network, one change at a time, each tried as an A/B."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from typing import Final

import ipywidgets as widgets
from torch import nn

from convlab.data.resolve import Data
from convlab.diagnosis.tour import ORDER, Outcome, Proposal, Topic, Tour
from convlab.frontend.style import Style
from convlab.models.live import Edit
from convlab.net_spec import NetSpec
from convlab.panels.messages import Messages
from convlab.spec import TrainSpec
from convlab.training.run import Run
from convlab.training.trainer import Criterion

QUESTIONS: Final[dict[Topic, str]] = {
    "data": "Are inputs on a good scale, classes balanced, validation apart from training?",
    "learning rate": "Is it as large as it can be?",
    "epochs": "Long enough, and not too long?",
    "optimizer": "Would a schedule, another optimizer or batch size get further?",
    "regularisation": "Is there a gap between training and validation to close?",
    "network": "Do its shapes suit the pictures?",
}


class TourPanel(widgets.VBox):
    """The checklist, the change that comes next, and what became of those before.

    Args:
        network, data, spec: what the bench has when the tour begins.
        use: puts a recipe and edits on the bench.
        add: takes each run, for the table of runs.
        free: raises where something else trains just now.
        criterion: the user's, if any.

    Attributes:
        tour: the one that is on, or None.
        proposal: the change that comes next, or None.
    """

    def __init__(
        self,
        network: Callable[[], nn.Module | NetSpec],
        data: Callable[[], Data],
        spec: Callable[[], TrainSpec],
        use: Callable[[TrainSpec, tuple[Edit, ...], Data], object],
        add: Callable[[Run], object] = lambda _: None,
        free: Callable[[], object] = lambda: None,
        criterion: Criterion | None = None,
    ) -> None:
        self._network, self._data, self._spec, self._use = network, data, spec, use
        self._add, self._free, self._criterion = add, free, criterion
        self.tour: Tour | None = None
        self.proposal: Proposal | None = None
        self._thread: threading.Thread | None = None
        self._run: Run | None = None
        self._going = False
        self.seeds = widgets.BoundedIntText(2, min=1, max=20, description="Seeds", style={"description_width": "auto"})
        self.seeds.tooltip = "Pairs of runs for each change; more of them tell an effect from luck, and take longer."
        self.seeds.add_class("convlab-seeds")
        self.begin_button = self._button(
            "Begin", "flag", "Train once with the bench's settings, and look what comes first.", self.begin
        )
        self.try_button = self._button("Try it", "play", "Train with and without the change, in copies.", self.take)
        self.skip_button = self._button("Skip", "forward", "Go on without this change.", self.skip)
        self.stop_button = self._button("Stop", "stop", "End the training; outcomes are kept.", self.stop)
        self.use_button = self._button(
            "Use on the bench", "share", "Put the best settings and changes so far on the bench.", self.use
        )
        self.checklist, self.next_line, self.table = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.status = widgets.HTML()
        self._messages = Messages()
        row = widgets.HBox(
            [self.seeds, self.begin_button, self.try_button, self.skip_button, self.stop_button, self.use_button]
        )
        row.add_class("convlab-ab")
        super().__init__([Style(), self.checklist, row, self.status, self.next_line, self._messages, self.table])
        self.add_class("convlab").add_class("convlab-tour")
        self._show()

    def _button(self, text: str, icon: str, tooltip: str, act: Callable[[], object]) -> widgets.Button:
        button = widgets.Button(description=text, icon=icon, tooltip=tooltip)
        button.on_click(lambda _: self._messages.guard(act))
        return button

    # -- the same as the buttons --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new tour from the bench as it stands.

        Raises:
            RuntimeError: something else trains.
        """
        self._free()
        self.tour = Tour(
            self._network(), self._data(), self._spec(), seeds=int(self.seeds.value), criterion=self._criterion
        )
        self.proposal = None
        self._start(lambda: None)

    def take(self) -> None:
        """Try the change that comes next."""
        tour, proposal = self.tour, self.proposal
        if tour is not None and proposal is not None:
            self._free()
            tour.seeds = int(self.seeds.value)
            self._start(lambda: tour.take(proposal, self._watch, lambda: self._going))

    def skip(self) -> None:
        """Go on without it."""
        tour, proposal = self.tour, self.proposal
        if tour is not None and proposal is not None:
            self._start(lambda: tour.skip(proposal))

    def stop(self) -> None:
        """End the training that is on."""
        self._going = False
        if self._run is not None:
            self._run.stop(wait=False)

    def use(self) -> None:
        """Put the best so far on the bench."""
        if self.tour is not None:
            self._use(self.tour.spec, self.tour.edits, self.tour.data)
            self._messages.note("The bench has the settings and changes that were kept; Run trains with them.")

    def wait(self) -> None:
        """Block until what is on is done."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End it, and take the panel away."""
        self.stop()
        super().close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _start(self, work: Callable[[], Outcome | None]) -> None:
        if self._going:
            raise RuntimeError("the tour is training; stop it first.")
        self._messages.clear()
        self._going = True
        self._show()
        self._thread = threading.Thread(target=self._work, args=(work,), name="convlab-tour")
        self._thread.start()

    def _work(self, work: Callable[[], Outcome | None]) -> None:
        assert self.tour is not None
        try:
            outcome = work()
            if outcome is not None and outcome not in self.tour.outcomes:
                self._messages.note(outcome.verdict)
            if self._going or self.tour.loss is not None:
                self.proposal = self.tour.next(self._watch)
        except Exception as error:
            self._messages.exception(error)
        finally:
            self._going, self._run = False, None
            self._say("")
            self._show()

    def _watch(self, run: Run) -> None:
        self._run = run
        self._say(f"Training {run.name}.")
        self._add(run)
        if not self._going:
            run.stop(wait=False)

    def _say(self, text: str) -> None:
        self.status.value = f'<div role="status" aria-live="polite">{html.escape(text)}</div>'

    def _show(self) -> None:
        tour, going = self.tour, self._going
        self.begin_button.disabled = self.seeds.disabled = going
        self.begin_button.description = "Begin" if tour is None else "Begin again"
        self.try_button.disabled = self.skip_button.disabled = going or self.proposal is None
        self.stop_button.disabled = not going
        self.use_button.disabled = going or tour is None or not any(one.kept for one in tour.outcomes)
        self.checklist.value = _checklist(tour)
        self.next_line.value = _next(tour, self.proposal, going)
        self.table.value = _table(tour)


def _checklist(tour: Tour | None) -> str:
    now = None if tour is None else tour.topic
    items = []
    for topic in ORDER:
        done = tour is not None and topic in tour.done
        mark, word = ("✓", "done") if done else ("▸", "now") if topic == now else ("○", "to come")
        current = ' aria-current="step"' if topic == now else ""
        items.append(
            f'<li{current}><span aria-hidden="true">{mark}</span> <strong>{topic}</strong> '
            f"<span class='convlab-faint'>{QUESTIONS[topic]} ({word})</span></li>"
        )
    return f'<ol class="convlab-checklist">{"".join(items)}</ol>'


def _next(tour: Tour | None, proposal: Proposal | None, going: bool) -> str:
    if tour is None or going:
        return ""
    if proposal is None:
        loss = "" if tour.loss is None else f" The last loss is {tour.loss:.3g}."
        return f"<p><strong>The checklist is done.</strong>{loss}</p>" if tour.topic is None else ""
    return f"<p><strong>Next: {html.escape(proposal.remedy.text)}.</strong> {html.escape(proposal.why)}</p>"


def _table(tour: Tour | None) -> str:
    if tour is None or not tour.outcomes:
        return ""
    rows = "".join(
        f"<tr><td>{one.proposal.topic}</td><td>{html.escape(one.proposal.remedy.text)}</td>"
        f"<td>{'yes' if one.kept else 'no'}</td><td>{html.escape(one.verdict)}</td></tr>"
        for one in tour.outcomes
    )
    head = "".join(f'<th scope="col">{word}</th>' for word in ("about", "change", "kept", "outcome"))
    return f'<table class="convlab-outcomes"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
