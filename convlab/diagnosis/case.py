"""What the rules are shown of a training: curve, settings, data, shapes, and what goes through the network."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from convlab.data.data import Data
from convlab.diagnosis.curve import Curve
from convlab.diagnosis.inputs import DataFacts
from convlab.diagnosis.inside import Inside, look_inside
from convlab.diagnosis.recipe import Recipe, free_bytes
from convlab.diagnosis.signals import Signals, first_weights
from convlab.diagnosis.structure import Shape
from convlab.models.borrow import private_copy
from convlab.models.live import LiveModel, bind
from convlab.spec import TrainSpec
from convlab.training.progress import batch_size, steps_per_epoch
from convlab.training.run import Run
from convlab.training.saved_state import names_of
from convlab.training.trainer import Criterion

SAMPLES: Final = 128
"""Pictures that are put through the network: as many as tell a dead channel from one that is seldom used."""

_KEPT: Final = 8


@dataclass(frozen=True, eq=False)
class Case:
    """All evidence there is; what is missing is None, and the rules that would read it are silent."""

    recipe: Recipe
    facts: DataFacts | None
    shape: Shape | None
    start: Signals | None
    now: Signals | None

    @property
    def curve(self) -> Curve:
        """The losses."""
        return self.recipe.curve


def case_of_run(
    run: Run, start: Signals | None = None, now: Inside | None = None, live: LiveModel | None = None
) -> Case:
    """Of a run as it stands. One that is training right now is not looked into, but by what is passed.

    Args:
        run: at any time.
        start: what went through the network before it began; looked at here where it is left out.
        now: what goes through it now, likewise.
        live: the network, where it is bound already.
    """
    curve = Curve.of(run)
    live = live or _bound(run.model, run.data)
    shape = None if live is None else Shape(run.model, live.trace)
    if run.ended or run.standing:
        if now is None and run.shown_step is None:
            now = _inside(run, private_copy(run.model, trainable=True))
        if start is None and (first := _as_it_began(run)) is not None:
            start = _at_start(curve.guessing, _inside(run, first), _bound(first, run.data))
    signals = (
        None if now is None or not run.history.num_steps else Signals(now, curve.guessing, (), live, at_start=False)
    )
    return Case(_recipe(curve, run.data, run.model, shape, run.device), facts_of(run.data), shape, start, signals)


def case_of_model(model: nn.Module, data: Data, spec: TrainSpec, criterion: Criterion | None = None) -> Case:
    """Of a training that has not begun."""
    guessing = math.log(data.num_classes) if data.num_classes and criterion is None else math.nan
    curve, live = Curve.none(spec, guessing), _bound(model, data)
    shape = None if live is None else Shape(model, live.trace)
    inside = look_inside(model, data, criterion=criterion, samples=SAMPLES)
    device = next((param.device for param in model.parameters()), torch.device("cpu"))
    start = _at_start(guessing, inside, live)
    return Case(_recipe(curve, data, model, shape, device), facts_of(data), shape, start, None)


def _at_start(guessing: float, inside: Inside | None, live: LiveModel | None) -> Signals | None:
    if inside is None:
        return None
    return Signals(inside, guessing, first_weights(live) if live is not None else (), live, at_start=True)


_facts: OrderedDict[str, DataFacts] = OrderedDict()


def facts_of(data: Data) -> DataFacts | None:
    """What the data are like, looked at once; None where they cannot be read just now."""
    if data.fingerprint not in _facts:
        try:
            _facts[data.fingerprint] = DataFacts.of(data)
        except Exception:  # it is a user's own data set that raises
            return None
        while len(_facts) > _KEPT:
            _facts.popitem(last=False)
    return _facts[data.fingerprint]


def _recipe(curve: Curve, data: Data, model: nn.Module, shape: Shape | None, device: torch.device) -> Recipe:
    dropouts = [one.p for one in model.modules() if isinstance(one, nn.modules.dropout._DropoutNd)]
    return Recipe(
        curve=curve,
        batch_size=min(batch_size(data, curve.spec), data.train.num_samples if data.train.num_samples > 0 else 2**20),
        per_epoch=steps_per_epoch(data, curve.spec),
        resizable=data.train.resizable,
        dropout=max(dropouts, default=0.0),
        sample_bytes=sum(record.memory for record in shape.trace.records) if shape is not None else 0,
        weight_bytes=sum(param.numel() * param.element_size() for param in model.parameters()),
        free_bytes=free_bytes(device),
    )


def _bound(model: nn.Module, data: Data) -> LiveModel | None:
    try:
        return bind(model, (1, *data.input_size))
    except Exception:  # a network that does not take part in tracing is judged by its curve
        return None


def _inside(run: Run, model: nn.Module) -> Inside | None:
    try:
        seen = look_inside(model, run.data, criterion=run._trainer.criterion, samples=SAMPLES)
    except Exception:  # of a user's own forward or criterion: the run has said it, and its curve is judged still
        return None
    return replace(seen, step=run.history.num_steps)


def _as_it_began(run: Run) -> nn.Module | None:
    """A copy of the network with its first weights; None where its structure is another by now.

    The network itself is left alone: a cell may change it while a panel looks.
    """
    if not run.history.num_steps:
        return private_copy(run.model, trainable=True)
    if run.beginning is None:
        return None
    names, kept = names_of(run.model), run.beginning.weights.tensors
    if len(kept) != len(names) or not all(id(tensor) in names for tensor, _ in kept):
        return None
    model = private_copy(run.model, trainable=True)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for tensor, value in kept:
            own[names[id(tensor)]].copy_(value)
    return model
