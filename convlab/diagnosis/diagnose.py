"""`convlab.diagnose`: what went wrong in a training, or would, and what to try."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

import numpy as np
from torch import nn

from convlab.data.resolve import resolve
from convlab.diagnosis import curve, inputs, recipe, signals, structure
from convlab.diagnosis.case import Case, case_of_model, case_of_run
from convlab.diagnosis.finding import Finding
from convlab.spec import TrainSpec
from convlab.training.run import Run
from convlab.training.trainer import Criterion

TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("unnormalised", "unbalanced", "leaking", "at_chance"),
    "learning rate": (
        *("lr_of_another_optimizer", "cadence", "diverged", "oscillating", "plateau", "too_slow", "stuck"),
        *("unfit_init", "exploding", "vanishing", "saturated", "dead_relus"),
    ),
    "epochs": ("overfitting", "underfitting"),
    "optimizer": ("momentum_too_high", "batch_too_small", "batch_too_large", "memory_short"),
    "regularisation": ("decayed_away", "dropout_too_strong"),
    "network": (
        *("skips_pixels", "field_too_small", "field_beyond_input", "padding_dominates", "one_layer_holds_most"),
    ),
}
"""The rules by what they are about, in the order of looking. Data come first: no setting helps against them."""

_CURVE: Final = ("diverged", "oscillating", "plateau", "too_slow", "stuck", "underfitting")
EXPLAINS: Final[Mapping[str, tuple[str, ...]]] = {
    "unnormalised": (*_CURVE, "at_chance", "saturated", "dead_relus", "exploding", "vanishing", "unfit_init"),
    "unfit_init": (*_CURVE, "at_chance", "saturated", "dead_relus", "exploding", "vanishing"),
    "exploding": ("diverged", "oscillating", "stuck", "dead_relus"),
    "vanishing": (*_CURVE, "at_chance", "dead_relus", "saturated"),
    "saturated": (*_CURVE, "at_chance", "vanishing"),
    "dead_relus": (*_CURVE, "at_chance", "vanishing"),
    "momentum_too_high": (*_CURVE, "dead_relus", "saturated", "vanishing", "exploding"),
    "lr_of_another_optimizer": (*_CURVE, "dead_relus", "saturated", "vanishing", "exploding"),
    "batch_too_small": (*_CURVE, "dead_relus", "saturated", "vanishing"),
    "batch_too_large": ("too_slow", "underfitting", "stuck"),
    "dropout_too_strong": ("too_slow", "underfitting", "plateau", "stuck"),
    "field_beyond_input": ("too_slow", "underfitting", "padding_dominates"),
    "diverged": ("dead_relus", "saturated", "vanishing", "exploding"),
    "oscillating": ("dead_relus", "saturated", "vanishing", "exploding"),
    "plateau": ("dead_relus", "saturated"),
    "underfitting": ("saturated",),
    "decayed_away": ("dead_relus", "vanishing"),
    "stuck": ("vanishing",),
}
"""What a finding accounts for: a rule that is found is silent where one before it explains what it sees."""


def diagnose(
    run: Run | nn.Module, data: object = None, spec: TrainSpec | None = None, *, criterion: Criterion | None = None
) -> list[Finding]:
    """What the rules see in a training, in the order in which one would look; empty where there is nothing to be said.

    Of a run its curve, settings, data and shapes are read; where it stands or has ended, also what goes through the
    network, at its start and now. Everything is given back as it was.

    Args:
        run: at any time; with fewer than four epochs its curve has no shape. Or a network that is not trained yet.
        data: what `convlab.fit` takes; needed for a network, the run's own for a run.
        spec: how a network would be trained.
        criterion: the network's, as for `fit`.

    Raises:
        TypeError, ValueError: an argument cannot be; the message says why.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.training.fit import fit
        >>> [finding.rule for finding in diagnose(fit(lenet(), "digits", TrainSpec(epochs=5, lr=1e-5)))]
        ['too_slow']
        >>> diagnose(lenet(), "digits")
        []
    """
    if isinstance(run, Run):
        if data is not None or spec is not None or criterion is not None:
            raise TypeError("data, spec and criterion are a run's own; try diagnose(run), or diagnose(model, data).")
        return findings(case_of_run(run))
    if not isinstance(run, nn.Module):
        raise TypeError(f"run must be a Run or an nn.Module, got {type(run).__name__}; try diagnose(run).")
    if data is None:
        raise ValueError('data is missing; try diagnose(model, "digits"), or diagnose(run).')
    return findings(case_of_model(run, resolve(data), spec or TrainSpec(), criterion))


def findings(case: Case) -> list[Finding]:
    """What the rules see in a case: causes before what they explain, then in the order of `TOPICS`."""
    kept: list[Finding] = []
    explained: set[str] = set()
    for finding in _seen(case):
        if finding.rule in explained or finding.rule in {one.rule for one in kept}:
            continue
        kept.append(finding)
        explained |= {*EXPLAINS.get(finding.rule, ())}
        if finding.rule in curve.ONE_OF:
            explained |= {*curve.ONE_OF}
    order = [rule for rules in TOPICS.values() for rule in rules]
    return sorted(kept, key=lambda one: order.index(one.rule))


def topic_of(finding: Finding) -> str:
    """What it is about, one of `TOPICS`."""
    return next(topic for topic, rules in TOPICS.items() if finding.rule in rules)


Seen = TypeVar("Seen")


def _seen(case: Case) -> Iterator[Finding]:
    """Causes first: data, first weights, shapes, settings; then the curve, then what it did to the network."""
    with np.errstate(all="ignore"):  # of numbers that are none yet
        yield from _said(inputs.RULES, case.facts)
        yield from _said(signals.RULES, case.start)
        yield from _said(structure.RULES, case.shape)
        yield from _said(recipe.RULES, case.recipe)
        yield from _said(curve.RULES, case.curve)
        yield from _said(signals.RULES, case.now)


def _said(rules: Iterable[Callable[[Seen], Finding | None]], evidence: Seen | None) -> Iterator[Finding]:
    if evidence is not None:
        yield from (found for rule in rules if (found := rule(evidence)) is not None)
