"""`convlab.Tour`: from defaults to a tuned network, one change at a time, each an A/B."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from torch import nn

from convlab.data.resolve import Data, resolve
from convlab.diagnosis.curve import Curve
from convlab.diagnosis.diagnose import diagnose, topic_of
from convlab.diagnosis.finding import Finding, Remedy
from convlab.limits import SpecError
from convlab.models.build import build
from convlab.models.live import Edit, bind
from convlab.net_spec import NetSpec
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.ab import ABResult, ab
from convlab.training.run import Run
from convlab.training.trainer import Criterion

if TYPE_CHECKING:
    import pandas as pd

Topic = Literal["data", "learning rate", "epochs", "optimizer", "regularisation", "network"]
ORDER: Final[tuple[Topic, ...]] = ("data", "learning rate", "epochs", "optimizer", "regularisation", "network")
"""The order of looking: what is wrong with the data no setting mends, and a wrong lr spoils every other comparison."""

LARGER_DECAY: Final = 5e-4
"""A weight decay that is usual with pictures."""

MOST_PER_TOPIC: Final = 4
"""Changes tried in one topic: the lr moves by a factor of three each."""


@dataclass(frozen=True)
class Proposal:
    """One change to try next.

    Attributes:
        topic: which part of the checklist.
        why: a sentence.
        remedy: the change.
        finding: the rule's, where one asks for it; None where practice does.
    """

    topic: Topic
    why: str
    remedy: Remedy
    finding: Finding | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a proposal.

    Attributes:
        proposal: what was tried.
        result: the A/B; None where it was skipped, or is about the data.
        kept: whether the change stands.
        verdict: in a sentence.
    """

    proposal: Proposal
    result: ABResult | None
    kept: bool
    verdict: str


class Tour:
    """A checklist that is gone through topic by topic; what helps is kept.

    Args:
        model: a network, left as it is and trained in copies; or a `NetSpec`, whose weights each seed draws anew.
        data: what `convlab.fit` takes.
        spec: the recipe to begin with.
        seeds: pairs of runs for each change.
        criterion: as for `fit`.

    Attributes:
        spec, edits, data: the best so far: settings, changes of the network, data.
        outcomes: what was tried, in order.
        done: topics that are gone through.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> tour = Tour(lenet(), "digits", TrainSpec(epochs=4, lr=0.001), seeds=1)
        >>> proposal = tour.next()
        >>> proposal.topic, proposal.remedy.changes
        ('learning rate', {'lr': 0.01})
        >>> tour.take(proposal).kept
        True
    """

    def __init__(
        self,
        model: nn.Module | NetSpec,
        data: object,
        spec: TrainSpec | None = None,
        *,
        seeds: int = 2,
        criterion: Criterion | None = None,
    ) -> None:
        if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= 100:
            raise SpecError(f"seeds must be a whole number from 1 to 100, got {seeds!r}; try seeds=2.")
        self._model = model if isinstance(model, NetSpec) else copy.deepcopy(model)
        self.data: Data = resolve(data)
        self.spec, self.seeds, self._criterion = spec or TrainSpec(), seeds, criterion
        self.edits: tuple[Edit, ...] = ()
        self.outcomes: list[Outcome] = []
        self.done: list[Topic] = []
        self._best: Run | None = None

    @property
    def topic(self) -> Topic | None:
        """The one that is looked at now; None at the end."""
        return next((topic for topic in ORDER if topic not in self.done), None)

    @property
    def loss(self) -> float | None:
        """The last validation loss of the best so far; None before the first training."""
        return None if self._best is None else _last_loss(self._best)

    def next(self, on_run: Callable[[Run], object] | None = None) -> Proposal | None:
        """What to try next; None where the checklist is done. The first call trains once, to have something to see.

        Args:
            on_run: called with that run before it starts.
        """
        if self._best is None:
            self._best = self._trained(on_run)
        while (topic := self.topic) is not None:
            proposal = next((one for one in self._proposals(topic) if not self._tried(one)), None)
            tries = sum(one.proposal.topic == topic for one in self.outcomes)
            if proposal is not None and tries < MOST_PER_TOPIC:
                return proposal
            self.done.append(topic)
        return None

    def take(
        self,
        proposal: Proposal,
        on_run: Callable[[Run], object] | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Outcome:
        """Try it as an A/B against the best so far, and keep it where it helps.

        Args:
            proposal: of `next`.
            on_run, go_on: as for `convlab.ab`.

        Raises:
            EditError, SpecError: it cannot be; nothing was trained.
        """
        remedy = proposal.remedy
        if remedy.data is not None:
            self.data = remedy.data(self.data)
            self._best = self._trained(on_run)
            return self._noted(
                Outcome(proposal, None, True, "The data were changed; all that follows is compared on them.")
            )
        result = ab(
            self._network(),
            self.data,
            self.spec,
            seeds=self.seeds,
            edit=remedy.edits or None,
            criterion=self._criterion,
            on_run=on_run,
            go_on=go_on,
            **remedy.changes,
        )
        if not result.a:
            return Outcome(proposal, result, False, "Stopped before a pair was whole; nothing is recorded.")
        kept = _is_better(result, or_as_good="patience" in remedy.changes)
        if kept:
            self.spec, self.edits = remedy.applied(self.spec), (*self.edits, *remedy.edits)
        self._best = (result.b if kept else result.a)[-1]
        verdict = result.verdict("best_valid_loss" if self.data.valid is not None else "train_loss")
        return self._noted(Outcome(proposal, result, kept, f"{'Kept' if kept else 'Not kept'}. {verdict}"))

    def skip(self, proposal: Proposal) -> Outcome:
        """Go on without it."""
        return self._noted(Outcome(proposal, None, False, "Skipped."))

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each outcome: topic, change, kept, and what B's validation loss has over A's, on average."""
        import pandas as pd

        rows = []
        for one in self.outcomes:
            found = _differences(one.result) if one.result is not None else []
            rows.append(
                {
                    "topic": one.proposal.topic,
                    "change": one.proposal.remedy.text,
                    "kept": one.kept,
                    "difference": statistics.fmean(found) if found else float("nan"),
                    "verdict": one.verdict,
                }
            )
        return pd.DataFrame(rows, columns=["topic", "change", "kept", "difference", "verdict"])

    def model(self) -> nn.Module:
        """The network with the changes that were kept, and first weights."""
        network = self._network()
        return network if isinstance(network, nn.Module) else build(network, self.spec.seed)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _network(self) -> nn.Module | NetSpec:
        if not self.edits and isinstance(self._model, NetSpec):
            return self._model
        model = build(self._model, self.spec.seed) if isinstance(self._model, NetSpec) else copy.deepcopy(self._model)
        live = bind(model, (1, *self.data.input_size))
        for edit in self.edits:
            live.apply(edit)
        return model

    def _trained(self, on_run: Callable[[Run], object] | None) -> Run:
        run = Run(self.model(), self.data, self.spec, criterion=self._criterion, name="tour, to begin with")
        if on_run is not None:
            on_run(run)
        return run.start().wait()

    def _noted(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        return outcome

    def _tried(self, proposal: Proposal) -> bool:
        return any(one.proposal.remedy.text == proposal.remedy.text for one in self.outcomes)

    def _proposals(self, topic: Topic) -> Iterator[Proposal]:
        """Of a topic: first what a rule asks for, then what practice would try."""
        assert self._best is not None
        for finding in diagnose(self._best):
            if topic_of(finding) == topic and finding.remedy.can_be_applied:
                yield Proposal(topic, f"{finding.seen} {finding.why}", finding.remedy, finding)
        usual = {
            "learning rate": self._usual_lr,
            "epochs": self._usual_epochs,
            "optimizer": self._usual_optimizer,
            "regularisation": self._usual_regularisation,
        }
        if topic in usual:
            yield from usual[topic]()

    def _usual_lr(self) -> Iterator[Proposal]:
        said = "The lr matters most. Where three times as much helps it is tried again, else a third."
        tried = [one for one in self.outcomes if one.proposal.topic == "learning rate" and one.result is not None]
        downwards = bool(tried) and not tried[-1].kept
        for factor, word in ((1 / 3, "a third of the lr"), (3.0, "three times the lr"))[:: 1 if downwards else -1]:
            lr = float(f"{self.spec.lr * factor:.2g}")
            seen = [one.result.b[0].spec.lr for one in tried if one.result is not None and one.result.b]
            if 1e-6 <= lr <= 10 and not any(abs(lr / other - 1) < 0.2 for other in seen):
                yield Proposal("learning rate", said, Remedy(f"{word}, {lr:g}", {"lr": lr}))

    def _usual_epochs(self) -> Iterator[Proposal]:
        assert self._best is not None
        curve = Curve.of(self._best)
        if len(curve.train) < 4 or curve.failed:
            return
        held = curve.train if self.data.valid is None else curve.valid
        if held[-1] <= 1.01 * held.min():
            epochs = min(2 * self.spec.epochs, 1000)
            said = f"The loss was lowest at the end, {held[-1]:.3g}: it may fall further."
            yield Proposal("epochs", said, Remedy(f"twice the epochs, {epochs}", {"epochs": epochs}))
        elif self.spec.patience is None:
            said = f"The loss was lowest in epoch {int(held.argmin()) + 1} of {len(held)}: later ones are for nothing."
            yield Proposal("epochs", said, Remedy("stopping early: patience=5", {"patience": 5}))

    def _usual_optimizer(self) -> Iterator[Proposal]:
        if self.spec.schedule is None:
            cosine = ScheduleSpec("CosineAnnealingLR", T_max=self.spec.epochs, cadence="epoch")
            said = "Large steps first, small ones at the end: a cosine brings the lr to 0 over the epochs."
            yield Proposal("optimizer", said, Remedy("a cosine schedule", {"schedule": cosine}))
        if self.spec.optimizer == "sgd":
            said = "AdamW gives each weight a step of its own; its lr is another, 0.002 to begin with."
            yield Proposal(
                "optimizer", said, Remedy("AdamW", {"optimizer": "adamw", "lr": 0.002, **self._rescheduled()})
            )

    def _rescheduled(self) -> dict[str, object]:
        """A schedule's own rates belong to the lr that it was made for."""
        return {} if self.spec.schedule is None else {"schedule": self.spec.schedule.scaled(0.002 / self.spec.lr)}

    def _usual_regularisation(self) -> Iterator[Proposal]:
        assert self._best is not None
        curve = Curve.of(self._best)
        if self.data.valid is None or not len(curve.train) or curve.valid[-1] < 1.2 * curve.train[-1]:
            return
        said = f"Validation ({curve.valid[-1]:.3g}) is well above training ({curve.train[-1]:.3g})."
        decay = LARGER_DECAY if self.spec.weight_decay < LARGER_DECAY else 10 * self.spec.weight_decay
        yield Proposal("regularisation", said, Remedy(f"a weight decay of {decay:g}", {"weight_decay": decay}))
        if any(isinstance(one, nn.modules.dropout._DropoutNd) for one in self._best.model.modules()):
            yield Proposal("regularisation", said, Remedy("a dropout of 0.3", {"dropout": 0.3}))


def _is_better(result: ABResult, *, or_as_good: bool) -> bool:
    """Whether B's best validation loss is lower on average, and for most seeds; as good will do where B is shorter."""
    found = _differences(result)
    if or_as_good and max(found) <= 0:
        return True
    lower = sum(one < 0 for one in found)
    return statistics.fmean(found) < 0 and lower > len(found) / 2


def _differences(result: ABResult) -> list[float]:
    has_valid = bool(result.a) and result.a[0].data.valid is not None
    found = result.differences("best_valid_loss" if has_valid else "train_loss")
    # A run that failed is worse than any number.
    return [
        one if one == one else (float("inf") if b.state == "failed" else float("-inf"))
        for one, b in zip(found, result.b, strict=True)
    ]


def _last_loss(run: Run) -> float | None:
    if not run.history.epochs:
        return None
    last = run.history.epochs[-1]
    return last.train_loss if last.valid_loss is None else last.valid_loss
