"""The state of one running trace: tags on tensors, the stack of modules, the calls recorded so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convlab.models._trace import states
from convlab.models._trace.errors import Leak, NeedsValues, NoBatch
from convlab.models._trace.states import State

META = torch.device("meta")
_TAG = "_convlab_tag"


class View:
    """How a tensor is a view of another, so that writes go through and are seen."""

    __slots__ = ("arguments", "base", "function", "keywords", "seen", "shape")

    def __init__(
        self, base: torch.Tensor, function: Callable[..., Any], arguments: Sequence[Any], keywords: dict[str, Any]
    ) -> None:
        self.base, self.shape, self.function = base, tuple(base.shape), function
        self.arguments, self.keywords = arguments, keywords
        self.seen = version_of(base)

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Take the same view of another tensor of the base's shape."""
        viewed: torch.Tensor = self.function(tensor, *self.arguments, **self.keywords)
        return viewed


class Tag:
    """What the tracer knows of one activation; ``sources`` are the indices of the calls that made it."""

    __slots__ = ("sources", "state", "version", "view")

    def __init__(self, state: State, view: View | None = None) -> None:
        self.state, self.view, self.version = state, view, 0
        self.sources: tuple[int, ...] = ()


def tag_of(tensor: torch.Tensor) -> Tag | None:
    """Return the tag of an activation, or ``None`` for a tensor that the trace did not make."""
    return tensor.__dict__.get(_TAG)


def put_tag(tensor: torch.Tensor, tag: Tag) -> None:
    """Hang a tag on an activation; never on a tensor of the user's."""
    tensor.__dict__[_TAG] = tag


def drop_tag(tensor: torch.Tensor) -> None:
    """Take the tag off again (from the user's own input tensors)."""
    tensor.__dict__.pop(_TAG, None)


def version_of(tensor: torch.Tensor) -> int:
    """Return how often the tensor was written to in place."""
    tag = tag_of(tensor)
    return tag.version if tag else 0


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists and dicts (and objects that are mappings or dataclass outputs)."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors_in(value)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return the tensors in a value, the usual case first: it is one."""
    if type(value) is torch.Tensor:
        return [value]
    if type(value) is tuple and len(value) == 1 and type(value[0]) is torch.Tensor:
        return [value[0]]
    return list(tensors_in(value))


class Call:
    """One call of a module or function, as it happened; `record.Record` is its public face."""

    __slots__ = (
        "decided_by_data",
        "depth",
        "input_sizes",
        "is_leaf",
        "itemsize",
        "kind",
        "module",
        "mult_adds",
        "order",
        "output_size",
        "path",
        "sources",
        "state",
        "used",
    )

    def __init__(self, path: str, kind: str, depth: int, is_leaf: bool, module: nn.Module | None) -> None:
        self.path, self.kind, self.depth, self.is_leaf, self.module = path, kind, depth, is_leaf, module
        self.order = 0
        self.input_sizes: list[tuple[int, ...]] = []
        self.output_size: tuple[int, ...] = ()
        self.itemsize = 0
        self.mult_adds = 0
        self.state: State = None
        self.sources: tuple[int, ...] = ()
        self.used: tuple[nn.Parameter, ...] = ()
        self.decided_by_data = False

    def set_output(self, output: torch.Tensor, state: State) -> None:
        """Note size, bytes and dependence of what came out."""
        self.output_size, self.itemsize, self.state = tuple(output.shape), output.element_size(), state


class Tracer:
    """The state of one running trace."""

    def __init__(self, model: nn.Module, *, is_real: bool, watch_all: bool) -> None:
        self.is_real, self.watch_all = is_real, watch_all
        self.model = model
        self.names = {id(module): _without_wrappers(name) for name, module in model.named_modules()}
        self.has_compiled = any(module._compiled_call_impl is not None for module in model.modules())
        self.operators: Any = None  # the mode that watches all operators, on its own or below the functions
        self.generator = torch.Generator().manual_seed(0)
        self.function = ""
        self.stand_ins: dict[int, nn.Module] = {}
        self.twins: dict[int, torch.Tensor] = {}
        self.calls: list[Call] = []
        self.modules: list[Call] = []
        self.stack: list[Call] = []
        self.leaf_depth = 0
        self.pending = 0  # multiply-adds since the last function was written down
        self.decided_by_data = False
        self.notes: list[str] = []
        self.input_states: list[State] = []
        self.input_ndims: tuple[int, ...] = ()
        self.has_batch = True
        self.failed: tuple[str, str, str] | None = None  # path, kind, and how the repair calls it

    # --- dependence -------------------------------------------------------------------------------------------

    def state(self, tensor: torch.Tensor) -> State:
        """Return how a tensor depends on the inputs; ``None`` for constants, parameters and buffers."""
        tag = tensor.__dict__.get(_TAG)
        if tag is None:
            return self._state_of_stranger(tensor)
        view = tag.view
        if view is not None:
            version = version_of(view.base)
            if version != view.seen:
                tag.state = states.move(self.state(view.base), view.shape, lambda t, _: view.of(t))
                view.seen = version
        state: State = tag.state
        return state

    def _state_of_stranger(self, tensor: torch.Tensor) -> State:
        if tensor.device.type != "meta" or isinstance(tensor, nn.Parameter) or id(tensor) in self.constants:
            return None
        if not self.watch_all:
            raise Leak
        self.note(
            "a tensor came out of code that the trace cannot see into; it counts as depending on all of the input"
        )
        ndim = tensor.dim()
        parts = (states.depends_on_all(state, ndim) for state in self.input_states)
        state = states.depends_on_all(states.union(parts, ndim), ndim)
        put_tag(tensor, Tag(state))
        return state

    def check_batch(self, tensor: torch.Tensor, first: int) -> None:
        """Start over if an input turns out to have no batch: ``first`` is a spatial layer's first spatial dimension."""
        if first == 1 and self.has_batch and any(ndim == tensor.dim() for ndim in self.input_ndims):
            raise NoBatch

    def is_ours(self, tensor: torch.Tensor) -> bool:
        """Whether the trace made this tensor, so that it may be written to."""
        return _TAG in tensor.__dict__

    def is_protected(self, tensor: torch.Tensor) -> bool:
        """Whether a write would change a tensor of the model's: a parameter, a buffer, or a view of one."""
        if tensor.device.type == "meta":
            return not self.is_ours(tensor) and id(tensor) in self.constants
        if id(tensor) in self.constants:
            return True
        with torch._C.DisableTorchFunction():
            return tensor.untyped_storage().data_ptr() in self._own_storages

    @cached_property
    def own(self) -> list[torch.Tensor]:
        """The model's parameters, buffers and other tensors that its modules hold."""
        return list(_own_tensors(self.model))

    @cached_property
    def constants(self) -> frozenset[int]:
        """Ids of the model's own tensors."""
        return frozenset(map(id, self.own))

    @cached_property
    def _own_storages(self) -> set[int]:
        return {
            tensor.untyped_storage().data_ptr()
            for tensor in self.own
            if tensor.device.type != "meta" and not is_lazy(tensor)
        } - {0}

    def is_view(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor is known as a view of another."""
        tag = tensor.__dict__.get(_TAG)
        return tag is not None and tag.view is not None

    def tensor(self, shape: Iterable[int], like: torch.Tensor, state: State) -> torch.Tensor:
        """Return a new activation without storage."""
        made = torch.empty(tuple(shape), dtype=like.dtype, device=META)
        made.__dict__[_TAG] = Tag(state)
        return made

    def write(self, tensor: torch.Tensor, state: State) -> None:
        """Note an in-place write: all of ``tensor`` has ``state`` now, and the part of its base that it views too."""
        tag = tag_of(tensor)
        if tag is None:
            put_tag(tensor, Tag(state))
            return
        if state is self.state(tensor):
            return  # x *= 2: what it depends on stays the same, also in the tensor that it views
        tag.state = state
        view = tag.view
        if view is None:
            tag.version += 1
            return
        self.write(view.base, states.write_into(self.state(view.base), view.shape, state, view.of))
        view.seen = version_of(view.base)

    def as_meta(self, value: Any) -> Any:
        """Return a tensor's twin without storage, anything else as it is."""
        if not isinstance(value, torch.Tensor) or value.device.type == "meta":
            return value
        key = id(value)
        twin = self.twins.get(key)
        if twin is None:
            with torch._C.DisableTorchFunction():
                twin = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=META)
            if key in self.constants:  # only those live as long as the trace: ids of others may come again
                self.twins[key] = twin
        return twin

    def decide_by_data(self, what: str) -> None:
        """Note that the value of an activation left the tensors, so that what follows may depend on it."""
        if not self.is_real:
            raise NeedsValues(what)
        self.decided_by_data = True
        where = f" in {self.path}" if self.path else ""
        self.note(
            f"the forward asks for the value of an activation ({what.strip('_')}{where}): "
            "what follows describes the way that this input took"
        )

    # --- bookkeeping ------------------------------------------------------------------------------------------

    def mult_adds(self, count: int) -> None:
        """Add multiply-adds to the call that is running, and to the function that it may be."""
        self.pending += count
        if self.stack:
            self.stack[-1].mult_adds += count

    def note(self, sentence: str) -> None:
        """Say once what a reader of the trace must know."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def add(self, call: Call) -> None:
        """Add a call to the calls of leaves or of containers, in the order in which they began."""
        call.order = len(self.calls) + len(self.modules)
        (self.calls if call.is_leaf else self.modules).append(call)

    @property
    def path(self) -> str:
        """Path of the module that is running."""
        return self.stack[-1].path if self.stack else ""


def _without_wrappers(name: str) -> str:
    """Leave out what torch.compile puts into the paths of the modules that it wraps."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod") if "_orig_mod" in name else name


def _own_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        for held in (module._parameters.values(), module._buffers.values(), module.__dict__.values()):
            for value in held:
                if isinstance(value, torch.Tensor):
                    yield value
                elif isinstance(value, (list, tuple)):
                    yield from (item for item in value if isinstance(item, torch.Tensor))
