"""Rules that read what goes through a network: its first weights, its activations and its gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from convlab.diagnosis.finding import Exhibit, Finding, Remedy, named
from convlab.diagnosis.inside import Inside, LayerInside
from convlab.models.live import Edit, EditError, LiveModel

_GLOROT: Final = "Glorot, Bengio, Understanding the difficulty of training deep networks (2010)"
_HE: Final = "He et al., Delving deep into rectifiers (2015)"
_NORMS: Final = ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm")


@dataclass(frozen=True)
class FirstWeights:
    """How a layer's weights were drawn.

    Attributes:
        path: the layer's name.
        scheme: what its activation asks for.
        ratio: the weights' standard deviation over the activation's gain / sqrt(fan_in), by which a signal keeps its
            size (He et al., 2015).
        is_scaled: whether a normalisation follows, which makes the scale indifferent.
    """

    path: str
    scheme: str
    ratio: float
    is_scaled: bool


@dataclass(frozen=True, eq=False)
class Signals:
    """What goes through a network.

    Attributes:
        inside: activations and gradients.
        guessing: the loss of guessing; NaN where nobody knows it.
        weights: how each layer was drawn, known at the start only.
        live: the network, bound; None where it cannot be edited.
        at_start: whether this is before any training.
    """

    inside: Inside
    guessing: float
    weights: tuple[FirstWeights, ...]
    live: LiveModel | None
    at_start: bool

    @property
    def trained(self) -> list[LayerInside]:
        """Layers whose weights have a gradient, those of a normalisation left out."""
        return [one for one in self.inside.layers if math.isfinite(one.gradient_to_weight) and not _is_norm(one.kind)]


def first_weights(live: LiveModel) -> tuple[FirstWeights, ...]:
    """How the weights of a network's convolutions and linear layers are drawn, as they stand."""
    records = live.trace.records
    found = []
    for i, record in enumerate(records):
        layer = live.layers.get(record.path)
        if layer is None or layer.family not in ("conv", "linear") or record.call:
            continue
        try:
            facts = live.init_facts(record.path)
        except (EditError, LookupError):
            continue
        scheme = "xavier_uniform" if facts.activation in ("tanh", "sigmoid", "linear") else "kaiming_uniform"
        follows = records[i + 1].kind if i + 1 < len(records) else ""
        wanted = facts.gain / math.sqrt(max(facts.fan_in, 1))
        found.append(FirstWeights(record.path, scheme, facts.std / wanted, _is_norm(follows)))
    return tuple(found)


def unfit_init(seen: Signals) -> Finding | None:
    """First weights many times larger or smaller than the activation asks for."""
    off = [one for one in seen.weights if not one.is_scaled and not 0.1 <= one.ratio <= 2.5]
    # The last layer may begin at zero: that is a habit, and does no harm.
    off = [one for one in off if one.ratio > 1 or one is not seen.weights[-1]]
    if not seen.at_start or not off:
        return None
    worst = max(off, key=lambda one: abs(math.log(max(one.ratio, 1e-9))))
    said = (
        f"{named(worst.path)} was drawn with {worst.ratio:.2g} times the standard deviation that keeps a signal's size"
        f"{f', and {len(off) - 1} other layers likewise' if len(off) > 1 else ''}; the loss begins at "
        f"{seen.inside.loss:.3g}{'' if math.isnan(seen.guessing) else f', where guessing has {seen.guessing:.3g}'}."
    )
    why = "From layer to layer the signal grows or fades by such a factor, and the gradient on its way back, too."
    edits = tuple(Edit(one.path, {"scheme": one.scheme}, "redraw", 0) for one in off)
    text = "drawing these weights anew, as the activation asks: " + ", ".join(
        f"{edit.path} by {edit.settings['scheme']}" for edit in edits[:4]
    )
    names = tuple(one.path for one in seen.weights)
    ratios = np.array([one.ratio for one in seen.weights])
    picture = Exhibit("First weights", names, {"deviation": ratios}, "layer", "times the wanted", ("wanted", 1.0), True)
    remedy = Remedy(text + (", …" if len(edits) > 4 else ""), edits=edits if seen.live else ())
    return Finding("unfit_init", said, why, remedy, "sure", _HE, {"ratio": worst.ratio}, picture)


def dead_relus(seen: Signals) -> Finding | None:
    """ReLU layers most of whose channels are 0 for every sample."""
    dead = [one for one in seen.inside.layers if one.kind == "ReLU" and one.channels and one.dead / one.channels >= 0.6]
    if not dead:
        return None
    worst = max(dead, key=lambda one: one.dead / one.channels)
    said = (
        f"In {named(worst.path)} {worst.dead} of {worst.channels} channels are 0 for each of {seen.inside.samples} "
        f"samples"
        f"{' before any training' if seen.at_start else ''}"
        f"{f', in {len(dead) - 1} other layers likewise' if len(dead) > 1 else ''}."
    )
    why = "What is always 0 has no gradient, so that it stays so: these channels take no part in training any more."
    names = ", ".join(named(one.path) for one in dead[:4])
    remedy = Remedy(
        f"a leaky ReLU in {names}, whose gradient is never 0; and a lower lr",
        edits=tuple(Edit(one.path, {"activation": "LeakyReLU"}) for one in dead) if seen.live else (),
    )
    if seen.at_start:
        edits = _redrawn(seen, [one.path for one in dead])
        remedy = Remedy(f"drawing anew the weights and biases that {names} follow", edits=edits)
    relus = [one for one in seen.inside.layers if one.kind == "ReLU"]
    shares = np.array([100 * one.dead / max(one.channels, 1) for one in relus])
    picture = Exhibit("Dead channels", tuple(one.path for one in relus), {"dead": shares}, "layer", "% of channels")
    source = "Maas, Hannun, Ng, Rectifier nonlinearities (2013)"
    numbers = {"share": worst.dead / worst.channels}
    return Finding("dead_relus", said, why, remedy, "sure", source, numbers, picture)


def saturated(seen: Signals) -> Finding | None:
    """Sigmoids or tanhs that are at their ends for most inputs."""
    full = [one for one in seen.inside.layers if one.saturated > 0.5]
    if not full:
        return None
    worst = max(full, key=lambda one: one.saturated)
    said = f"{100 * worst.saturated:.0f} % of the outputs of {named(worst.path)} ({worst.kind}) are at its ends."
    why = "There its slope is next to 0, so that hardly any gradient comes through."
    edits = _norms_before(seen.live, [one.path for one in full])
    names = ", ".join(one.path for one in full[:4])
    remedy = Remedy(f"batch normalisation before {names}, which keeps its inputs near 0", edits=edits)
    squashing = [one for one in seen.inside.layers if math.isfinite(one.saturated)]
    shares = np.array([100 * one.saturated for one in squashing])
    paths = tuple(one.path for one in squashing)
    picture = Exhibit("At the ends", paths, {"saturated": shares}, "layer", "% of outputs")
    source = "Ioffe, Szegedy, Batch normalization (2015)"
    return Finding("saturated", said, why, remedy, "likely", source, {"share": worst.saturated}, picture)


def vanishing(seen: Signals) -> Finding | None:
    """Gradients that fade on their way to the first layers."""
    layers = seen.trained
    if len(layers) < 3:
        return None
    first, last = layers[0], max(layers, key=lambda one: one.gradient_to_weight)
    if not last.gradient_to_weight or not 0 < first.gradient_to_weight < 0.005 * last.gradient_to_weight:
        return None
    ratio = first.gradient_to_weight / last.gradient_to_weight
    said = (
        f"The gradient of {named(first.path)}, relative to its weights, is {ratio:.1g} times that of "
        f"{named(last.path)}: "
        f"{first.gradient_to_weight:.1g} against {last.gradient_to_weight:.1g}."
    )
    why = "The first layers hardly move, however long one trains."
    squashing = [one.path for one in seen.inside.layers if one.kind == "Sigmoid"]
    behind = [one.path for one in layers[:-1]]
    edits = _norms_after(seen.live, behind)
    text = "batch normalisation behind each layer"
    if squashing and seen.live is not None:
        edits = (*(Edit(path, {"activation": "ReLU"}) for path in squashing), *edits)
        text += ", and ReLU in place of " + ", ".join(map(named, squashing[:4]))
    return Finding(
        "vanishing", said, why, Remedy(text, edits=edits), "likely", _GLOROT, {"ratio": ratio}, _gradients(seen)
    )


def exploding(seen: Signals) -> Finding | None:
    """Gradients many times the size of the weights."""
    layers = [one for one in seen.trained if one.path not in {w.path for w in seen.weights if w.is_scaled}]
    worst = max(layers, key=lambda one: one.gradient_to_weight, default=None)
    if worst is None or worst.gradient_to_weight < 5:
        return None
    said = f"The gradient of {named(worst.path)} is {worst.gradient_to_weight:.2g} times as long as its weights."
    why = "One step throws the weights far beyond where the gradient was true."
    remedy = Remedy("gradients clipped to length 1: clip_grad_norm=1.0", {"clip_grad_norm": 1.0})
    source = "Pascanu, Mikolov, Bengio, On the difficulty of training recurrent networks (2013)"
    numbers = {"ratio": worst.gradient_to_weight}
    return Finding("exploding", said, why, remedy, "likely", source, numbers, _gradients(seen))


def _gradients(seen: Signals) -> Exhibit:
    layers = seen.trained
    values = np.array([one.gradient_to_weight for one in layers])
    names = tuple(one.path for one in layers)
    return Exhibit("Gradients", names, {"gradient": values}, "layer", "gradient / weight", None, True)


def _redrawn(seen: Signals, paths: list[str]) -> tuple[Edit, ...]:
    """The last layer with weights before each of these, drawn as torch does, its bias too."""
    if seen.live is None:
        return ()
    weights = {path for path, layer in seen.live.layers.items() if layer.family in ("conv", "linear")}
    edits: dict[str, Edit] = {}
    last = ""
    for record in seen.live.trace.records:
        last = record.path if record.path in weights else last
        if record.path in paths and last:
            edits[last] = Edit(last, {"scheme": "default"}, "redraw", 0)
    return tuple(edits.values())


def _norms_before(live: LiveModel | None, paths: list[str]) -> tuple[Edit, ...]:
    return _norms(live, paths, after=False)


def _norms_after(live: LiveModel | None, paths: list[str]) -> tuple[Edit, ...]:
    return _norms(live, paths, after=True)


def _norms(live: LiveModel | None, paths: list[str], after: bool) -> tuple[Edit, ...]:
    """Insertions of a batch normalisation, those that the network takes."""
    edits = []
    for path in reversed(paths):  # from the last on: an insertion moves the numbers of those behind it
        if live is None:
            break
        try:
            edit = live.insertion(path, "batchnorm", after=after)
            live.plan(edit)
        except (EditError, LookupError, ValueError):
            continue
        edits.append(edit)
    return tuple(edits)


def _is_norm(kind: str) -> bool:
    return kind.startswith(_NORMS)


Rule = Callable[[Signals], Finding | None]
RULES: Final[tuple[Rule, ...]] = (unfit_init, dead_relus, saturated, vanishing, exploding)
