"""The proof of a receptive field: perturb the real model and see which input pixels reach a unit.

The main tool is NaN. Lines of the input (rows, columns, planes) become NaN, the model runs with its own weights, and a
unit that depends on them turns NaN: ``0 * NaN`` is NaN, neither a ReLU nor a maximum hides it, and nothing underflows,
which is why plain gradients are no proof (they lose the rim of deep networks). Since more NaN never clears a unit, the
first and last line are found by bisection, and a right claim is confirmed by two runs a side.

NaN fails in two ways, and numbers settle both. An operation may swallow it (``where``, ``argmax``, ``topk``): then
other numbers outside the box that NaN found change the unit. Or a tap has weight exactly 0 (bilinear interpolation at
whole positions), which NaN passes and numbers do not: then a copy of the model in double precision decides.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_flatten, tree_unflatten

from convlab.geometry import Box
from convlab.models._trace.give_back import given_back
from convlab.models._trace.inputs import with_values
from convlab.models.borrow import borrowed
from convlab.models.streams import own_stream
from convlab.models.trace import Record, Trace

_TRIES = 4
_NOISE = {torch.float64: 1e-13, torch.float32: 1e-6}


@dataclass(frozen=True, slots=True)
class Verification:
    """What a perturbed model says about one unit's claimed receptive field.

    ``path``, ``unit``, ``input``
        The module, the unit of its output, the name of the input.
    ``claimed``, ``found``
        The box of input pixels that the trace names, and the one that the real model shows.
    ``agrees``
        Whether they are the same; for a *global* or *irregular* field, and where the model hides NaN, whether no pixel
        is missing from the claim.
    ``method``
        ``"NaN"``; ``"NaN and numbers"`` if NaN passed weights of 0; ``"numbers"`` if the model hides NaN or the input
        holds integers: then ``found`` holds the pixels that were seen to matter, and there may be more.
    ``num_runs``
        How often the model ran.
    """

    path: str
    unit: tuple[int, ...]
    input: str
    claimed: Box
    found: Box
    agrees: bool
    method: str
    num_runs: int

    def __str__(self) -> str:
        where = (f"unit {self.unit} of " if self.unit else "") + (self.path or "the output")
        proof = f"({self.method}, {self.num_runs} runs of the real model)"
        if not self.agrees:
            return f"{where} sees {_words(self.found)}, but the trace claims {_words(self.claimed)} {proof}."
        if self.found == self.claimed:
            return f"{where} sees exactly {_words(self.found)}, as the trace says {proof}."
        return f"{where} sees {_words(self.found)}, within the {_words(self.claimed)} that the trace allows {proof}."


def _words(box: Box) -> str:
    return "no pixel" if box.is_empty else "pixels " + " x ".join(f"{first}..{last}" for first, last in box)


def verify(
    trace: Trace, record: Record | str | None = None, *, unit: tuple[int, ...] | None = None, input: str | None = None
) -> Verification:
    """Find by perturbing the real model which input pixels reach a unit, and compare with the trace.

    Args:
        trace: what `convlab.trace` returned for a model with real weights.
        record: which output to look at, as a record or as a module's path; the model's own output if left out.
        unit: indices of the unit, as for ``record.field``; the middle one if left out.
        input: name of the input, where the model has several; the first if left out.

    The model runs about a dozen times in the modes that it has (BatchNorm, as in the trace, in eval mode) and is given
    back bit for bit: weights, buffers, modes, random numbers. Nothing NaN stays behind, also when it raises.

    Raises:
        ValueError: if the record is no module's output, the unit lies outside it, the model has no real weights (meta,
            lazy) or the trace stopped with an error before the record.
        RuntimeError: if the model's own output is NaN already.

    Example:
        >>> import convlab
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2))
        >>> print(convlab.verify(convlab.trace(net, (1, 3, 32, 32)), unit=(0, 3)))
        unit (0, 3) of the output sees exactly pixels 0..3 x 6..9, as the trace says (NaN, 12 runs of the real model).
    """
    chosen = _chosen(trace, record)
    name = next(iter(trace.input_sizes)) if input is None else input
    if name not in trace.input_sizes:
        raise ValueError(f"input={name!r} is no input of this trace; it has {', '.join(map(repr, trace.input_sizes))}")
    unit = tuple(chosen.output_size[dim] // 2 for dim in chosen.spatial_dims) if unit is None else tuple(unit)
    claimed = chosen.field(unit, input=name)
    field = chosen.receptive_fields.get(name)
    reach = field.reach if field else ("local",) * len(claimed.first)
    model = _real(trace.model)
    # A forward may hang activations on its modules (`self.attention = ...`) or replace a buffer; poisoned ones must go.
    # cuDNN may pick Winograd or FFT kernels, which smear NaN over neighbours.
    with borrowed(model), given_back(model), torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.training = False  # as the trace reads it
        dims = [dim for owner, dim in trace.inputs.axes() if owner == name]
        probe = _Probe(model, _inputs(trace, model, name), dims, chosen, unit)
        found, method = _found(probe, claimed, model)
        runs = probe.num_runs
    exact = [how == "local" and method != "numbers" for how in reach]
    return Verification(chosen.path, unit, name, claimed, found, _agrees(claimed, found, exact), method, runs)


def _chosen(trace: Trace, record: Record | str | None) -> Record:
    if isinstance(record, str):
        record = trace[record]
    elif record is None:
        record = trace.output
    if _module_and_position(record.path)[0] not in dict(trace.model.named_modules()):
        raise ValueError(
            f"record={record.path!r} is a function call, and only a module's output can be watched; the module around "
            f"it, {record.path.rpartition('.')[0]!r}, would work"
        )
    return record


def _module_and_position(path: str) -> tuple[str, int]:
    """Split ``"encoder[1]"``, the second tensor that ``encoder`` returns, into the two."""
    name, bracket, position = path.partition("[")
    return name, int(position.rstrip("]")) if bracket else 0


def _real(model: nn.Module) -> nn.Module:
    tensors = [*model.parameters(), *model.buffers()]
    if any(is_lazy(tensor) for tensor in tensors):
        raise ValueError(
            "the model has lazy parameters without weights; run one forward pass, trace it again, then verify"
        )
    if any(tensor.is_meta for tensor in tensors):
        raise ValueError("the model is on the meta device and computes nothing; verify one with real weights")
    return model


def _agrees(claimed: Box, found: Box, exact: list[bool]) -> bool:
    """Whether the boxes are equal along the axes that must be exact, and nothing found is missing along the others."""
    if found == claimed or found.is_empty:
        return found == claimed or not any(exact)
    return not claimed.is_empty and all(
        seen == allowed or (not must_equal and allowed[0] <= seen[0] and seen[1] <= allowed[1])
        for seen, allowed, must_equal in zip(found, claimed, exact, strict=True)
    )


class _Reached(Exception):  # noqa: N818 - no error: it ends a forward pass that has shown enough
    pass


class _Probe:
    """Runs the model on changed inputs and looks at one unit."""

    def __init__(
        self,
        model: nn.Module,
        call: tuple[list[Any], Any, int],
        dims: list[int],
        record: Record,
        unit: tuple[int, ...],
    ) -> None:
        self.model, self.call, self.record, self.unit, self.num_runs = model, call, record, unit, 0
        self.leaves, self.spec, self.which = call
        self.image: Tensor = self.leaves[self.which]
        self.dims = dims
        self.path, self.position = _module_and_position(record.path)
        self.at = _index(record, unit)
        self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        self.clean = self.run(self.image)
        if not self.image.is_floating_point() and bool((self.image == self.image.flatten()[0]).all()):
            raise ValueError("the input holds one integer throughout; trace with input_data whose values differ")
        if bool(self.clean.isnan().any()):
            raise RuntimeError(f"unit {unit} of {record.path!r} is NaN for an unchanged input, so NaN proves nothing")

    def on(self, model: nn.Module) -> _Probe:
        """Return the same probe on a copy of the model in double precision."""
        leaves = [
            leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf for leaf in self.leaves
        ]
        return _Probe(model, (leaves, *self.call[1:]), self.dims, self.record, self.unit)

    def run(self, image: Tensor) -> Tensor:
        """Return the unit's values, one for each channel."""
        for buffer, was in self.buffers:  # BatchNorm in train mode averages the NaN of the last run
            buffer.copy_(was)
        args, kwargs = tree_unflatten([*self.leaves[: self.which], image, *self.leaves[self.which + 1 :]], self.spec)
        seen: list[Tensor] = []
        calls = 0

        def look(_module: nn.Module, _args: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == self.record.call + 1:
                tensors = [t for t in tree_flatten(output)[0] if isinstance(t, Tensor)]
                seen.append(tensors[self.position][self.at].clone())
                raise _Reached

        handle = self.model.get_submodule(self.path).register_forward_hook(look)
        self.num_runs += 1
        try:
            with own_stream():
                torch.manual_seed(0)  # the same dropout each time, on every device
                self.model(*args, **kwargs)
        except _Reached:
            return seen[0]
        finally:
            handle.remove()
        raise RuntimeError(f"{self.record.path!r} was not called again as in the trace; the model decides on values")

    def poisons(self, axis: int, start: int, stop: int) -> bool:
        """Whether the unit turns NaN when lines ``start`` to ``stop - 1`` of an axis do."""
        if start >= stop:
            return False
        image = self.image.clone()
        image.narrow(self.dims[axis], start, stop - start).fill_(torch.nan)
        return bool(self.run(image).isnan().any())

    def moves(self, axis: int, start: int, stop: int) -> bool:
        """Whether the unit changes when those lines hold other numbers."""
        if start >= stop:
            return False
        mask = torch.zeros(self.image.shape[self.dims[axis]], dtype=torch.bool, device=self.image.device)
        mask[start:stop] = True
        return self.moves_where(mask.view(-1, *[1] * (self.image.dim() - 1 - self.dims[axis])))

    def moves_where(self, mask: Tensor) -> bool:
        """Whether the unit changes when the pixels under a mask hold other numbers."""
        if not bool(mask.any()):
            return False
        noise = _NOISE.get(self.clean.dtype, 1e-2) * max(float(self.clean.abs().max()), 1e-30)
        for seed in range(1, _TRIES + 1):
            other = _numbers(self.image, seed)
            if other.is_floating_point():
                other = other * 2.0**seed
            if bool(((self.run(torch.where(mask, other, self.image)) - self.clean).abs() > noise).any()):
                return True
        return False

    def outside(self, box: Box) -> Tensor:
        """Return the mask of all pixels which are not in a box."""
        mask = torch.ones(self.image.shape[self.dims[0] :], dtype=torch.bool, device=self.image.device)
        mask[box.slices] = False
        return mask


def _index(record: Record, unit: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Return what picks the unit out of the output: all of each dimension that ``unit`` says nothing about."""
    ndim, spatial = len(record.output_size), record.spatial_dims
    dims = {ndim: range(ndim), ndim - 1: range(1, ndim), len(spatial): spatial}[len(unit)]
    chosen = dict(zip(dims, unit, strict=True))
    return tuple(chosen.get(dim, slice(None)) for dim in range(ndim))


def _inputs(trace: Trace, model: nn.Module, name: str) -> tuple[list[Any], Any, int]:
    """Leaves of the call's arguments with values in them, their tree, and the position of the named input."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    inputs = with_values(trace.inputs, device)
    leaves, spec = tree_flatten((inputs.args, inputs.keywords))
    return leaves, spec, next(k for k, leaf in enumerate(leaves) if leaf is inputs.named[name])


def _numbers(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if not like.is_floating_point():  # indices: the values that are there are known to be good, so they change places
        return like.flatten()[torch.randperm(like.numel(), generator=generator).to(like.device)].view_as(like)
    return (torch.rand(like.shape, generator=generator, dtype=torch.float64) - 0.5).to(like.device, like.dtype)


def _found(probe: _Probe, claimed: Box, model: nn.Module) -> tuple[Box, str]:
    """Return the box that reaches the unit, and by which means it was found."""
    sizes = [probe.image.shape[dim] for dim in probe.dims]
    if not probe.image.is_floating_point():
        moved = [_hull(_on(probe.moves, axis), n, _claim(claimed, axis)) for axis, n in enumerate(sizes)]
        return _union(Box.empty(len(sizes)), moved), "numbers"
    hulls = [_hull(_on(probe.poisons, axis), n, _claim(claimed, axis)) for axis, n in enumerate(sizes)]
    by_nan = Box.empty(len(sizes)) if None in hulls else Box.of([hull for hull in hulls if hull is not None])
    if probe.moves_where(probe.outside(by_nan)):  # something swallowed the NaN
        moved = [_hull(_on(probe.moves, axis), n, _claim(claimed, axis)) for axis, n in enumerate(sizes)]
        return _union(by_nan, moved), "numbers"
    if by_nan != claimed and not claimed.is_empty and _within(claimed, by_nan):
        return (claimed, "NaN and numbers") if _zero_beyond(probe, claimed, model) else (by_nan, "NaN")
    return by_nan, "NaN"


def _on(hits: Callable[[int, int, int], bool], axis: int) -> Callable[[int, int], bool]:
    return lambda start, stop: hits(axis, start, stop)


def _claim(claimed: Box, axis: int) -> tuple[int, int]:
    return (0, -1) if claimed.is_empty else (claimed.first[axis], claimed.last[axis])


def _hull(hits: Callable[[int, int], bool], n: int, guess: tuple[int, int]) -> tuple[int, int] | None:
    """First and last of the ``n`` lines that hit, trying the guessed ones first; ``None`` if none does."""
    low, high = guess
    right_start = low <= high and hits(0, low + 1)
    if not right_start and not hits(0, n):
        return None
    if right_start and not hits(0, low):
        first = low
    else:
        first = _bisect(lambda k: hits(0, k + 1), 0, low if right_start else n - 1)
    if low <= high < n - 1 and hits(high, n) and not hits(high + 1, n):
        return first, high
    return first, n - 1 - _bisect(lambda k: hits(n - 1 - k, n), 0, n - 1 - first)


def _bisect(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the smallest number in ``low..high`` that ``holds``; so do all above it, and ``high`` surely does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _union(box: Box, hulls: Sequence[tuple[int, int] | None]) -> Box:
    known = [hull for hull in hulls if hull is not None]
    if len(known) < len(hulls):
        return box
    if box.is_empty:
        return Box.of(known)
    return Box.of([(min(a, c), max(b, d)) for (a, b), (c, d) in zip(box, known, strict=True)])


def _within(inner: Box, outer: Box) -> bool:
    return all(c <= a and b <= d for (a, b), (c, d) in zip(inner, outer, strict=True))


def _zero_beyond(probe: _Probe, claimed: Box, model: nn.Module) -> bool:
    """Whether no pixel beyond the claim changes the unit in double precision: NaN went through weights of 0."""
    try:
        double = copy.deepcopy(model).double()
    except (RuntimeError, ValueError, TypeError):
        return False  # some modules refuse to be copied (the old weight_norm); then NaN has the last word
    precise = probe.on(double)
    moved = precise.moves_where(precise.outside(claimed))
    probe.num_runs += precise.num_runs
    return not moved
