"""A layer that is given what it was given before makes what it made before: a trial runs only what an edit reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convlab.models._edit import labels as names
from convlab.models._edit.flow import Flow, Use, labels_of
from convlab.models._edit.kinds import arguments_of
from convlab.models._edit.labels import Labelled

Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


@dataclass(frozen=True)
class Call:
    """One call of a layer: what it was, what it was given, what it made of it."""

    kind: type[nn.Module]
    arguments: dict[str, Any]
    given: Layout
    found: Labelled
    made: Layout
    labels: Labelled
    uses: tuple[Use, ...]
    is_in_place: bool


def called(
    flow: Flow, layer: nn.Module, token: int, x: Tensor, found: Labelled, rule: Callable[[], Any], native: Any
) -> Any:
    """Run a layer's rule, or do again what it did in the run that is known."""
    number = flow.counts[token] = flow.counts.get(token, -1) + 1
    known: Call | None = flow.known.get((token, number))
    if known is not None and _is_same(known, layer, x, found):
        made = x if known.is_in_place else torch.empty_strided(*known.made[:2], dtype=known.made[2], device=x.device)
        flow.put(made, known.labels.channel, known.labels.place)
        for use in known.uses:
            flow.note(token, use.taken, use.made)
        return made
    given, lost, noted = _layout(x), flow.unknown, len(flow.uses.get(token, ()))
    output = rule()
    if flow.is_trial:
        flow.is_unsure |= not _runs(layer, x, native, output)
    elif flow.is_binding and isinstance(output, Tensor) and flow.unknown == lost:
        labels = labels_of(output)
        if labels is not None:
            uses = tuple(flow.uses.get(token, ())[noted:])
            call = Call(
                type(layer), arguments_of(layer), given, found, _layout(output), labels, uses, is_in_place=output is x
            )
            flow.calls[token, number] = call
    return output


def _layout(tensor: Tensor) -> Layout:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def _is_same(known: Call, layer: nn.Module, x: Tensor, found: Labelled) -> bool:
    return (
        known.kind is type(layer)
        and known.given == _layout(x)
        and known.arguments == arguments_of(layer)
        and _are_equal(known.found.channel, found.channel)
        and _are_equal(known.found.place, found.place)
    )


def _are_equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride() and one.shape == other.shape:
        return True
    one, other = names.compact(one), names.compact(other)
    return one.shape == other.shape and torch.equal(one, other)


def _runs(layer: nn.Module, x: Tensor, native: Any, expected: Any) -> bool:
    """Whether the layer itself takes what its rule took, and makes as much of it: else a trace has to tell."""
    trains = layer.training
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.training = False  # as in a trace, see `plan`
    try:
        output = native(x)
    except Exception:  # whatever torch raises
        return False
    finally:
        layer.training = trains
    if not isinstance(output, Tensor) or not isinstance(expected, Tensor):
        return False
    return output.shape == expected.shape
