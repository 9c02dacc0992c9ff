"""What an edit would do, found out on a twin: what it changes and repairs, or why it cannot be."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from convlab.models._edit.edits import Edit
from convlab.models._edit.errors import EditError, Refusal
from convlab.models._edit.flow import Flow, parameters_of
from convlab.models._edit.flow_rules import AsksForValues
from convlab.models._edit.kinds import arguments_of, choice_of, kind_of, settings_of
from convlab.models._edit.labels import Labels, channels_in
from convlab.models._edit.structure import (
    described,
    inserted,
    layer_at,
    new_layer,
    place_of,
    removed,
    replaced,
    set_otherwise,
)
from convlab.models._edit.twin import Twin
from convlab.models._edit.weights import Carry, carries
from convlab.models._trace.inputs import Inputs
from convlab.models.trace import Trace, trace


@dataclass(frozen=True)
class Repair:
    """One setting that an edit changes: the asked one, or one that must follow."""

    path: str
    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}.{self.name} {self.old} → {self.new}"


@dataclass
class Rebuilt:
    """A layer that gets other arguments: the live one, its twin, and how its weights go over."""

    live: nn.Module
    twin: nn.Module
    carries: dict[str, Carry]
    is_new: bool
    """Whether another object takes its place."""


@dataclass
class Base:
    """The model as it is now: the labels that it was run with, what that showed, and its trace."""

    inputs: Inputs
    labels: Labels
    flow: Flow | None
    trace: Trace
    why: str = ""
    """Why its channels cannot be followed, if they cannot."""
    found: dict[Hashable, Any] = field(default_factory=dict)
    """What took its time to find out, and holds as long as the model stays as it is."""


@dataclass
class EditPlan:
    """What an edit would do; nothing has changed yet. `LiveModel.apply` carries it out.

    ``trace``
        Of the model as it would be.
    ``changes``
        Each setting that would change, the asked ones first, then those that follow.
    ``notes``
        What else a person should know: an output of another size, a layer that loses most of its weights.
    """

    edit: Edit
    trace: Trace
    changes: tuple[Repair, ...]
    notes: tuple[str, ...]
    twin: Twin = field(repr=False)
    rebuilt: list[Rebuilt] = field(repr=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the layers that would change."""
        return tuple(dict.fromkeys(change.path for change in self.changes))


def base_of(model: nn.Module, inputs: Inputs, traced: Trace) -> Base:
    """Look at a model as it is; its trace tells whether the input has a batch dimension."""
    inputs.has_batch = traced.inputs.has_batch
    base = Base(inputs, Labels(), None, traced)
    try:
        base.flow = Twin(model).run(inputs, base.labels)
    except AsksForValues:
        base.why = "the forward asks for the value of an activation, so that channels cannot be followed through it"
    except Exception as failure:  # whatever a person's forward raises on tensors without values
        base.why = f"channels cannot be followed through its forward ({type(failure).__name__}: {_first_line(failure)})"
    return base


def _first_line(failure: Exception) -> str:
    return str(failure).strip().partition("\n")[0].rstrip(".")


def plan(model: nn.Module, base: Base, edit: Edit) -> EditPlan:
    """Try an edit out on a twin.

    Raises:
        EditError, Refusal: it cannot be.
    """
    twin, found, notes, rebuilt = _tried(model, base, edit, is_trial=False)
    assert found is not None
    notes += _losses(model, rebuilt)
    changes = _changes(model, twin, edit.path)
    return EditPlan(edit, found, changes, notes, twin, rebuilt)


def check(model: nn.Module, base: Base, edit: Edit) -> None:
    """Whether `plan` would plan an edit, in less time.

    Raises:
        EditError, Refusal: it would not, for the same reason.
    """
    _tried(model, base, edit, is_trial=True)


def _tried(
    model: nn.Module, base: Base, edit: Edit, *, is_trial: bool
) -> tuple[Twin, Trace | None, tuple[str, ...], list[Rebuilt]]:
    """The twin with the edit made, its trace (in a trial only where it may fail), notes, and what is rebuilt."""
    if base.flow is None:
        raise EditError(edit.path, base.why)
    twin = Twin(model)
    targets = _change(twin, base, base.flow, edit)
    flow = _run(twin, base, base.flow, is_trial=is_trial)
    _check_calls(twin, flow)
    found = _traced(twin, base) if not is_trial or flow.is_unsure else None
    notes = _check_outputs(base, base.flow, flow, targets)
    return twin, found, notes, _rebuilt(model, twin, base.flow, flow)


def _change(twin: Twin, base: Base, flow: Flow, edit: Edit) -> set[int]:
    """Do to the twin what the edit asks for; returns the layers whose number of channels it sets."""
    model, path, settings = twin.live, edit.path, edit.settings
    layer = layer_at(model, path, base.trace)
    if edit.action == "set":
        return set_otherwise(twin, flow, path, layer, settings, base.trace)
    parent, name = place_of(model, path)
    twins = twin.of(parent)
    assert isinstance(twins, nn.Sequential)
    if edit.action == "remove":
        if len(twins._modules) == 1:
            raise EditError(path, "it is the only layer of its nn.Sequential")
        removed(twins, name)
        return {id(layer)}
    size = _size_at(base.trace, path, before=edit.action != "insert_after")
    new = new_layer(path, settings, size, _like(model, layer))
    new.training = parent.training
    if edit.action == "replace":
        replaced(twin, path, twin.of(layer), new)
        if _makes_channels(new) != _makes_channels(layer):
            twin.instead_of.pop(id(new))  # none of its weights has a place in the other
    else:
        inserted(twins, name, new, after=edit.action == "insert_after")
    return {id(layer), twin.token(new)}


def _makes_channels(layer: nn.Module) -> type[nn.Module] | None:
    kind = kind_of(layer)
    return type(layer) if kind is not None and kind.family in ("conv", "linear") else None


def _like(model: nn.Module, layer: nn.Module) -> nn.Module | None:
    for module in (layer, *model.modules()):
        if any(p is not None for p in module._parameters.values()):
            return module
    return None


def _size_at(found: Trace, path: str, *, before: bool) -> tuple[int, ...]:
    try:
        record = found[path]
    except KeyError:
        raise EditError(path, "the forward does not call it, so that nothing tells what stands there") from None
    return record.input_size if before else record.output_size


def _run(twin: Twin, base: Base, known: Flow, *, is_trial: bool) -> Flow:
    try:
        return twin.run(base.inputs, base.labels, known=known, is_trial=is_trial)
    except (Refusal, EditError):
        raise
    except Exception as failure:
        # The trace says it better: which layer, and what would fit.
        found = _traced(twin, base)
        raise Refusal(f"the model would no longer run ({type(failure).__name__}: {_first_line(failure)})") from (
            found.error or failure
        )


def _check_calls(twin: Twin, flow: Flow) -> None:
    """Refuse where a layer that is called several times would be given other numbers of channels."""
    for path, module in twin.model.named_modules():
        counts = [len(use.taken) for use in flow.uses.get(twin.token(module), []) if use.taken is not None]
        if len(set(counts)) > 1:
            words = " and ".join(map(str, dict.fromkeys(counts)))
            raise Refusal(f"{path} is called {len(counts)} times in a forward, and would be given {words} channels")


def _traced(twin: Twin, base: Base) -> Trace:
    # In train mode one with a plain average asks for a value, which a model without values cannot tell.
    norms = [m for m in twin.model.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.training]
    for norm in norms:
        norm.training = False
    try:
        found = trace_of(twin.model, base.inputs)
    finally:
        for norm in norms:
            norm.training = True
    if found.error is not None:
        raise Refusal(str(found.error).rstrip("."))
    return found


def trace_of(model: nn.Module, inputs: Inputs) -> Trace:
    """Trace a model on what was bound."""
    data: Any = (inputs.args, inputs.keywords)
    if inputs.keywords and not inputs.args:
        data = inputs.keywords
    elif not inputs.keywords:
        data = inputs.args if len(inputs.args) > 1 or not isinstance(inputs.args[0], torch.Tensor) else inputs.args[0]
    return trace(model, input_data=data)


def _check_outputs(base: Base, before: Flow, after: Flow, targets: set[int]) -> tuple[str, ...]:
    """Refuse what would mix samples, or change what comes out where nobody asked for it."""
    if len(before.outputs) != len(after.outputs):
        raise Refusal("the model would return another number of tensors")
    notes = []
    for (was, _), (size, held) in zip(before.outputs, after.outputs, strict=True):
        if size == was:
            continue
        asked = any(_owner(base.labels, label) in targets for label in held.tolist())
        if len(size) != len(was) or (base.inputs.has_batch and size[:1] != was[:1]):
            reason = f"the model would return {size} instead of {was}, as its forward reshapes to a fixed size"
            raise Refusal(f"{reason}; torch.flatten(x, 1) would follow")
        channel = 1 if base.inputs.has_batch else 0
        if size[channel : channel + 1] != was[channel : channel + 1] and not asked:
            raise Refusal(f"the model would return {size} instead of {was}")
        notes.append(f"the model returns {size} now, it was {was}")
    return tuple(notes)


def _owner(labels: Labels, label: int) -> int | None:
    key = labels.keys[label]
    return key[1] if isinstance(key, tuple) and key[0] in ("out", "depthwise") else None


def _rebuilt(model: nn.Module, twin: Twin, before: Flow, after: Flow) -> list[Rebuilt]:
    shared = _shared_weights(model)
    paths = {id(module): path for path, module in model.named_modules()}
    found = []
    for module in twin.model.modules():
        live = twin.stands_for.get(id(module)) or twin.instead_of.get(id(module))
        if live is None or kind_of(module) is None or kind_of(live) is None:
            continue
        if type(live) is type(module) and arguments_of(live) == arguments_of(module):
            _check_places(paths[id(live)], live, before, after)
            continue
        path = paths[id(live)]
        if parameters_of(live) and not before.uses.get(id(live)):
            raise Refusal(f"the forward does not call {path}, so that nothing tells who reads its weights", never=True)
        if id(live) in shared and _shapes(live) != _shapes(module):
            raise Refusal(
                f"{path} shares its weights with {shared[id(live)]}, whose shape would change too", never=True
            )
        try:
            how = carries(live, module, before.uses.get(id(live), []), after.uses.get(id(live), []))
        except Refusal as refusal:
            raise Refusal(f"{path} cannot follow, as {refusal.reason}", never=True) from None
        found.append(Rebuilt(live, module, how, is_new=id(module) in twin.instead_of))
    return found


def _losses(model: nn.Module, rebuilt: list[Rebuilt]) -> tuple[str, ...]:
    """Say it where most of a layer's weights have no place any more: what it has learned is gone."""
    paths = {id(module): path for path, module in model.named_modules()}
    notes = []
    for one in rebuilt:
        old, new = one.live._parameters.get("weight"), one.twin._parameters.get("weight")
        if old is None or new is None:
            continue
        carry = one.carries.get("weight")
        kept = carry.kept(old.shape, new.shape) if carry is not None else 0
        if 2 * kept < old.numel():
            notes.append(f"{paths[id(one.live)]} keeps {kept} of its {old.numel()} weights")
    return tuple(notes)


def _check_places(path: str, live: nn.Module, before: Flow, after: Flow) -> None:
    """What takes as many as before may still take others: channels that changed places."""
    for was, now in zip(before.uses.get(id(live), []), after.uses.get(id(live), []), strict=False):
        if was.taken is now.taken:
            continue
        if was.taken is not None and now.taken is not None and len(was.taken) == len(now.taken):
            old, new = set(channels_in(was.taken).tolist()), set(channels_in(now.taken).tolist())
            if old != new and old & new:
                raise Refusal(f"{path} would take as many channels as before, but others")


def _shapes(layer: nn.Module) -> list[tuple[int, ...] | None]:
    return [None if p is None else tuple(p.shape) for p in layer._parameters.values()]


def _shared_weights(model: nn.Module) -> dict[int, str]:
    """For each module that shares a parameter, the path of another that has it too."""
    holders: dict[int, list[tuple[nn.Module, str]]] = {}
    for path, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                holders.setdefault(id(parameter), []).append((module, path))
    found = {}
    for group in holders.values():
        for module, _ in group:
            other = next((path for other, path in group if other is not module), None)
            if other is not None:
                found[id(module)] = other
    return found


def _changes(model: nn.Module, twin: Twin, first: str) -> tuple[Repair, ...]:
    found = []
    old_paths = {id(module): path for path, module in model.named_modules()}
    kept = set()
    for path, module in twin.model.named_modules():
        live = twin.stands_for.get(id(module)) or twin.instead_of.get(id(module))
        if live is None:
            found.append(Repair(path, "layer", None, type(module).__name__))
            continue
        kept.add(id(live))
        found.extend(_differences(old_paths[id(live)], live, module))
    found += [
        Repair(path, "layer", type(module).__name__, None)
        for path, module in model.named_modules()
        if id(module) not in kept
    ]
    return tuple(sorted(found, key=lambda change: change.path != first))


def _differences(path: str, live: nn.Module, module: nn.Module) -> list[Repair]:
    kind = kind_of(module)
    if kind is None or kind_of(live) is None:
        return []
    if type(live) is not type(module):
        name = kind.choice if kind.choice and kind.choice == getattr(kind_of(live), "choice", "") else "layer"
        if name == "layer":
            return [Repair(path, name, type(live).__name__, type(module).__name__)]
        return [Repair(path, name, choice_of(live), choice_of(module))]
    old, new = arguments_of(live) | settings_of(live), arguments_of(module) | settings_of(module)
    return [Repair(path, name, old[name], new[name]) for name in old if old[name] != new[name]]


def describe(layer: object, model: nn.Module, found: Trace, path: str, *, before: bool) -> Mapping[str, Any]:
    """A layer to be put at `path`, as plain data."""
    layer_at(model, path, found)
    return described(layer, path, _size_at(found, path, before=before))
