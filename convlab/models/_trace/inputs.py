"""What a user says about a model's input, as tensors without storage and a name for each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from convlab.models._trace.axis import Axis
from convlab.models._trace.states import State
from convlab.models._trace.tracer import META


@dataclass
class Inputs:
    """The arguments of a forward; ``named`` are the tensors in them, by the name that a record uses."""

    args: tuple[Any, ...]
    keywords: dict[str, Any]
    named: dict[str, torch.Tensor] = field(default_factory=dict)
    has_batch: bool = True

    def axes(self) -> list[tuple[str, int]]:
        """Return every tracked axis: the spatial dimensions of every input."""
        return [(name, dim) for name, tensor in self.named.items() for dim in self._spatial_dims(tensor.dim())]

    def _spatial_dims(self, ndim: int) -> range:
        return spatial_dims(ndim) if self.has_batch else range(1, ndim)

    def states(self) -> list[State]:
        """Return the state of each named tensor: each index of its own axes depends on itself."""
        axes = self.axes()
        return [
            tuple(Axis.of_input(tensor.shape, dim) if owner == name else None for owner, dim in axes)
            for name, tensor in self.named.items()
        ]


def spatial_dims(ndim: int) -> range:
    """Return the spatial dimensions: those behind batch and channels, or behind the batch if there are but two."""
    return range(2 if ndim > 2 else 1, ndim)


def read_inputs(model: nn.Module, input_size: object, input_data: object) -> Inputs:
    """Check what was given and bring it into the shape of forward's arguments."""
    if (input_size is None) == (input_data is None):
        if input_size is None:
            raise ValueError(
                f"{type(model).__name__} needs an input size, batch dimension included; "
                "input_size=(1, 3, 224, 224) would work for one RGB image"
            )
        raise ValueError("give input_size or input_data, not both; input_size=(1, 3, 224, 224) would work")
    given = _sized(input_size, _dtype_of(model)) if input_data is None else input_data
    if input_data is not None and not any(True for _ in _named("", input_data)):
        raise TypeError(
            f"input_data must be a tensor, or a tuple or dict with tensors, got {type(input_data).__name__}; "
            "torch.rand(1, 3, 224, 224) would work"
        )
    return _bound(model, given)


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.get_default_dtype())


def _sized(size: object, dtype: torch.dtype) -> Any:
    """Return ``input_size`` with each size in it turned into a tensor without storage."""
    if isinstance(size, Mapping):
        if not size:
            raise ValueError('input_size must name an input, got {}; {"x": (1, 3, 224, 224)} would work')
        return {name: _sized(part, dtype) for name, part in size.items()}
    if isinstance(size, Sequence) and not isinstance(size, str):
        if not size:
            raise ValueError("input_size must have at least one dimension, got (); (1, 3, 224, 224) would work")
        if all(isinstance(part, (Sequence, Mapping)) and not isinstance(part, str) for part in size):
            parts = [_sized(part, dtype) for part in size]
            return tuple(parts)
        return torch.empty(tuple(_extent(part, size) for part in size), dtype=dtype, device=META)
    raise TypeError(
        f"input_size must be a tuple of whole numbers, batch included, got {size!r}; (1, 3, 224, 224) would work"
    )


def _extent(value: Any, size: object) -> int:
    if isinstance(value, (bool, str, float)) or not hasattr(value, "__index__"):
        raise TypeError(f"input_size must hold whole numbers, got {value!r} in {size!r}; (1, 3, 224, 224) would work")
    extent = int(value)
    if extent < 1:
        works = (
            tuple(n if isinstance(n, int) and n > 0 else 1 for n in size)
            if isinstance(size, Sequence)
            else (1, 3, 224, 224)
        )
        raise ValueError(f"input_size must hold numbers of at least 1, got {value!r} in {size!r}; {works} would work")
    return extent


def _bound(model: nn.Module, given: Any) -> Inputs:
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a forward that is not written in Python
        signature = inspect.Signature([inspect.Parameter("input", inspect.Parameter.VAR_POSITIONAL)])
    made = _matched(signature, given)
    try:
        signature.bind(*made.args, **made.keywords)
    except TypeError as refusal:
        takes = [name for name, p in signature.parameters.items() if p.default is p.empty] or list(signature.parameters)
        works = dict.fromkeys(takes, (1, 3, 224, 224))
        raise ValueError(
            f"{type(model).__name__}.forward takes {', '.join(signature.parameters)}, not what was given ({refusal}); "
            f"input_size={works} would work for RGB images"
        ) from None
    return made


def _matched(signature: inspect.Signature, given: Any) -> Inputs:
    """Spread what was given over forward's parameters, or hand it on as a whole where there is but one for it."""
    kinds = inspect.Parameter
    parameters = signature.parameters.values()
    positional = [p.name for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    if isinstance(given, Mapping):
        if takes_any or set(given) <= set(named):
            names = [*(name for name in named if name in given), *(name for name in given if name not in named)]
            return _inputs((), {name: given[name] for name in names}, names)
        needed = [p for p in parameters if p.default is p.empty and p.name in positional]
        if len(needed) > 1 or set(given) & set(named):
            return _inputs((), dict(given), list(given))
        return _inputs((dict(given),), {}, [""])
    if isinstance(given, torch.Tensor):
        return _inputs((given,), {}, positional[:1] or ["input"])
    args = tuple(given)
    takes_more = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    if len(args) > len(positional) == 1 and not takes_more:
        return _inputs((list(args) if isinstance(given, list) else args,), {}, positional)
    return _inputs(args, {}, [*positional, *(f"args.{i}" for i in range(len(args) - len(positional)))])


def _inputs(args: tuple[Any, ...], keywords: dict[str, Any], names: list[str]) -> Inputs:
    values = [*args, *keywords.values()]
    made = Inputs(args, keywords)
    for name, value in zip(names, values, strict=False):
        made.named.update(_named(name, value))
    return made


def _named(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name or "input", value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), part)
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            yield from _named(f"{name}.{i}" if name else str(i), part)


def replaced(inputs: Inputs, tensors: dict[str, torch.Tensor]) -> Inputs:
    """Return the same arguments with other tensors in place of the named ones."""
    by_id = {id(old): tensors[name] for name, old in inputs.named.items()}

    def swap(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return by_id.get(id(value), value)
        if isinstance(value, Mapping):
            return {key: swap(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(swap, value)) if type(value) in (list, tuple) else value
        return value

    return Inputs(swap(inputs.args), swap(inputs.keywords), dict(tensors), inputs.has_batch)


def without_storage(inputs: Inputs) -> Inputs:
    """Return the arguments with twins that hold no values (a fresh tensor each, so that the user's stay untagged)."""
    return replaced(
        inputs, {name: torch.empty(t.shape, dtype=t.dtype, device=META) for name, t in inputs.named.items()}
    )


def with_values(inputs: Inputs, device: torch.device) -> Inputs:
    """Return the arguments with values: the user's own where there are some, random ones elsewhere."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, tensor in inputs.named.items():
        if tensor.device.type != "meta":
            made[name] = tensor.detach().clone()  # a layer may work in place
        elif tensor.dtype.is_floating_point:
            made[name] = torch.rand(tensor.shape, generator=generator, dtype=torch.float32).to(device, tensor.dtype)
        else:
            made[name] = torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    return replaced(inputs, made)
