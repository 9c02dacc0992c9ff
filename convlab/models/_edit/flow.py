"""A forward on labels: which channels of which layers every weight meets.

The model's twin on the meta device runs once. Each activation carries labels (see `labels`); what moves elements moves
the labels, what works element by element hands them on and ties those of its arguments to each other, and every layer
with weights notes what it was given, makes itself fit, and puts out labels of its own. Comparing what is noted before
an edit and after it tells where each weight belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convlab.models._edit import labels as names
from convlab.models._edit.labels import Keys, Labelled, Labels
from convlab.models._trace.inputs import Inputs, without_storage

_TAG = "_convlab_labels"


def labels_of(tensor: Tensor) -> Labelled | None:
    """What an activation carries; None for constants and weights."""
    return tensor.__dict__.get(_TAG)


@dataclass(frozen=True)
class Use:
    """One call of a layer with weights: keys of what it takes, labels of what it makes; None where unknown."""

    taken: Keys | None
    made: Keys | None


@dataclass
class Flow:
    """What one run found.

    ``uses``
        Calls of each layer, by the id of the layer.
    ``pins``, ``ties``
        Why the channel of a label must stay, and which labels must stay or go together.
    ``outputs``
        Size of each tensor that came out, and the labels in it.
    """

    labels: Labels
    is_binding: bool = True
    """Whether it is of interest what holds channels together."""
    uses: dict[int, list[Use]] = field(default_factory=dict)
    outputs: list[tuple[tuple[int, ...], Keys]] = field(default_factory=list)
    pins: dict[int, str] = field(default_factory=dict)
    ties: dict[int, int] = field(default_factory=dict)
    where: list[str] = field(default_factory=list)
    failed: str | None = None
    running: bool = False
    unknown: int = 0
    sources: dict[int, str] = field(default_factory=dict)
    """Where what cannot be followed came from."""
    calls: dict[tuple[int, int], Any] = field(default_factory=dict)
    """Of a run that binds: what each call of a layer made of what, by the layer and the number of the call."""
    known: Mapping[tuple[int, int], Any] = field(default_factory=dict)
    """Those of another run, which need not be done again."""
    counts: dict[int, int] = field(default_factory=dict)
    _roots: dict[int, list[int]] = field(default_factory=dict)
    is_trial: bool = False
    """Whether layers themselves are run too where something is new, so that no trace is needed if they all do."""
    is_unsure: bool = False
    """Whether one of them did not."""

    # -- labels on tensors ---------------------------------------------------------------------------------------

    def put(self, tensor: Tensor, channel: Tensor, place: Tensor) -> None:
        """Hang labels on an activation."""
        tensor.__dict__[_TAG] = Labelled(channel, place)

    def fresh(self, tensor: Tensor, channels: Tensor, dim: int, spatial: Sequence[int] = ()) -> None:
        """A layer's own channels along `dim`."""
        shape = tuple(tensor.shape)
        self.put(tensor, names.along(channels, dim, shape), names.grid(shape, spatial))

    def lose(self, outputs: Iterable[Tensor], given: Iterable[Tensor], what: str) -> None:
        """Something that cannot be followed: what goes in must keep its size, what comes out is nobody's channel."""
        for tensor in given:
            if (found := labels_of(tensor)) is not None:
                self.pin(found.channel, f"goes into {what}, through which channels cannot be followed")
        self.unknown += 1
        label = self.labels.one(("unknown", self.unknown))
        self.sources[label] = what
        for tensor in outputs:
            shape = tuple(tensor.shape)
            self.put(tensor, names.everywhere(label, shape), names.everywhere(0, shape))

    # -- what holds channels together ----------------------------------------------------------------------------

    def pin(self, channel: Tensor, reason: str) -> None:
        """Note why these channels must stay as many as they are."""
        if not self.is_binding:
            return
        for label in names.compact(channel).unique().tolist():
            self.pins.setdefault(self._base(label), reason)

    def _base(self, label: int) -> int:
        key = self.labels.keys[label]
        while isinstance(key, tuple) and key[0] == "depthwise":
            label = key[2]
            key = self.labels.keys[label]
        return label

    def _is_free(self, label: int) -> bool:
        key = self.labels.keys[label]
        return isinstance(key, tuple) and key[0] == "out"

    def is_spread(self, label: int) -> bool:
        """Whether something with this label all along a dimension was one channel before it was expanded."""
        key = self.labels.keys[label]
        return isinstance(key, tuple) and key[0] in ("out", "reduced", "depthwise")

    def _is_reduced(self, label: int) -> bool:
        key = self.labels.keys[label]
        return isinstance(key, tuple) and key[0] == "reduced"

    def roots_of(self, layer: nn.Module) -> list[int]:
        """The labels that stand for a layer's channels, once the run is over."""
        if id(layer) not in self._roots:
            count = getattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels")
            labels = self.labels.outputs(id(layer), count, getattr(layer, "groups", 1))
            self._roots[id(layer)] = [self.root(label) for label in labels.tolist()]
        return self._roots[id(layer)]

    def tie(self, a: Tensor, b: Tensor, what: str) -> None:
        """Note that channels meet element by element; `a` and `b` have one shape."""
        if not self.is_binding:
            return
        a, b = self._both(a, b)
        different = a != b
        if not bool(different.any()):
            return
        for one, other in torch.stack((a[different], b[different])).unique(dim=1).T.tolist():
            if self._is_reduced(one) or self._is_reduced(other):
                continue
            if self._is_free(one) and self._is_free(other):
                self.ties[self.root(one)] = self.root(other)
            else:
                for label, with_ in ((one, other), (other, one)):
                    self.pins.setdefault(self._base(label), f"meets {self.described(with_)} in {what}")

    @staticmethod
    def _both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        for dim in range(a.dim()):
            if a.shape[dim] > 1 and a.stride()[dim] == 0 and b.stride()[dim] == 0:
                a, b = a.narrow(dim, 0, 1), b.narrow(dim, 0, 1)
        return a, b

    def root(self, label: int) -> int:
        """The label that stands for all that are tied to this one."""
        while (above := self.ties.get(label, label)) != label:
            self.ties[label] = self.ties.get(above, above)
            label = above
        return label

    @cached_property
    def tied(self) -> dict[int, set[int]]:
        """By the label that stands for them: the layers whose channels are tied."""
        found: dict[int, set[int]] = {}
        for label in {*self.ties, *self.ties.values()}:
            key = self.labels.keys[label]
            if isinstance(key, tuple) and key[0] == "out":
                found.setdefault(self.root(label), set()).add(key[1])
        return found

    def described(self, label: int) -> str:
        """What a label stands for, in words."""
        key = self.labels.keys[label]
        if isinstance(key, tuple) and key[0] == "input":
            return f"the model's input {key[1]}".rstrip()
        if isinstance(key, tuple) and key[0] == "unknown":
            return f"what comes out of {self.sources[label]}, through which channels cannot be followed,"
        if isinstance(key, tuple) and key[0] == "depthwise":
            return "a channel that a depthwise layer makes"
        return "another channel" if label else "a tensor of fixed size"

    # -- reading -------------------------------------------------------------------------------------------------

    def note(self, layer: int, taken: Keys | None, made: Keys | None) -> None:
        """A call of a layer with weights."""
        self.uses.setdefault(layer, []).append(Use(taken, made))

    @property
    def path(self) -> str:
        """Path of the module that runs."""
        return self.where[-1] if self.where else ""

    def place_of(self, function: str) -> str:
        """A function, and where it is called."""
        return f"{function} in {self.path}" if self.path else function


def begin(flow: Flow, inputs: Inputs) -> Inputs:
    """The model's arguments without storage, labelled."""
    fed = without_storage(inputs)
    for name, tensor in fed.named.items():
        shape = tuple(tensor.shape)
        first = 2 if fed.has_batch else 1
        label = flow.labels.one(("input", name))
        flow.put(tensor, names.everywhere(label, shape), names.grid(shape, range(first, len(shape))))
    return fed


def end(flow: Flow, outputs: Iterable[Tensor]) -> None:
    """Note what came out."""
    for tensor in outputs:
        found = labels_of(tensor)
        held = np.unique(names.compact(found.channel).numpy()) if found is not None else np.zeros(0, np.int64)
        flow.outputs.append((tuple(tensor.shape), held))


class Following(TorchDispatchMode):
    """Hand labels on from the arguments of every operator to what it makes."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flow = flow

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        from convlab.models._edit.flow_rules import hand_on

        return hand_on(self.flow, func, args, kwargs or {})


def parameters_of(module: nn.Module) -> list[Tensor]:
    """The weights that a module itself holds."""
    return [tensor for tensor in module._parameters.values() if tensor is not None]
