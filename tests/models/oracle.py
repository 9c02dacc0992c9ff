"""The truth about receptive fields, found on the real model with nothing of convlab in it.

One line of the input (a row, a column, a plane) is changed, the model runs, and hooks on every module say which units
of every output noticed. Two ways of changing bracket the truth from both sides:

* ``nan``: the line becomes NaN. ``0 * NaN`` is NaN, no ReLU or max pooling hides it and nothing underflows, so a unit
  that depends on the line turns NaN. It only over-reports taps whose weight is exactly 0.
* ``moved``: the line gets other numbers, in double precision. A unit that changes does depend on the line. ReLUs and
  maxima would hide most changes, so these runs leak a little of every input of such a gate into its output, which
  opens no new path. What is left to under-report is underflow.

So ``moved <= truth <= nan``, and where both agree the truth is proven. The upper side fails only for operations that
swallow NaN (argmax, where, topk, a Python ``if``): a poisoned run under a dispatch mode looks for them, and
``moved <= nan`` is checked for every unit.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

FAR = 1 << 30
Key = tuple[str, int, int]
Axis = tuple[int, int]


class SwallowedNaNError(RuntimeError):
    """The model contains operations that hide NaN, so that the sweep proves no upper bound."""


@dataclass
class Hull:
    """First and last line of one input axis that each unit depends on; first > last where there is none."""

    first: np.ndarray
    last: np.ndarray

    @classmethod
    def empty(cls, size: tuple[int, ...]) -> "Hull":
        return cls(np.full(size, FAR, np.int32), np.full(size, -1, np.int32))

    def add(self, line: int, hit: np.ndarray) -> None:
        np.copyto(self.first, np.minimum(self.first, line), where=hit)
        np.copyto(self.last, np.maximum(self.last, line), where=hit)

    def same(self, other: "Hull") -> np.ndarray:
        return (self.first == other.first) & (self.last == other.last)

    def within(self, other: "Hull") -> np.ndarray:
        return (self.last < 0) | ((self.first >= other.first) & (self.last <= other.last))


@dataclass
class Truth:
    """What one tensor that a module returned depends on: per (which tensor of the input, its axis) the two hulls."""

    size: tuple[int, ...]
    nan: dict[Axis, Hull] = field(default_factory=dict)
    moved: dict[Axis, Hull] = field(default_factory=dict)


@dataclass
class Sweep:
    """All tensors that came out of all modules: ``truths[path, call, position among the output's tensors]``."""

    truths: dict[Key, Truth]
    sizes: dict[Key, tuple[int, ...]]
    swallowers: tuple[str, ...]

    @property
    def output(self) -> Truth:
        return self.truths["", 0, 0]


def random_tensor(size: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1


def spatial_axes(tensor: torch.Tensor) -> range:
    return range(2, tensor.dim()) if tensor.is_floating_point() else range(0)


def sweep(
    model: nn.Module,
    *args: Any,
    kwargs: dict[str, Any] | None = None,
    lines_per_run: int = 32,
    independent: bool = True,
    allow_swallowed: bool = False,
) -> Sweep:
    """Sweep NaN and other numbers over every line of every axis of every floating input.

    ``args`` and ``kwargs`` are trees of tensors with batch size 1. ``independent=False`` says that samples of a batch
    influence each other; then every line costs runs of its own. The model is made over to double precision, so hand in
    one that nobody else needs; its mode is kept.
    """
    model = model.double()
    leaves, spec = tree_flatten((args, kwargs or {}))
    leaves = [_double(leaf) for leaf in leaves]
    run = _Run(model, spec)
    with run, torch.no_grad():
        run(leaves)
        if any(bool(t.isnan().any()) for t in run.seen.values()):
            raise RuntimeError("the clean run holds NaN")
        sizes = dict(run.sizes)
        swallowers = find_swallowers(model, leaves, spec)
        if swallowers and not allow_swallowed:
            raise SwallowedNaNError(f"these operations hide NaN: {', '.join(swallowers)}")
        with LeakyGates():
            clean = run(leaves)
        result = {key: Truth(tuple(t.shape)) for key, t in clean.items()}
        tensors = [k for k, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        for which, position in enumerate(tensors):
            leaf = leaves[position]
            for axis in spatial_axes(leaf):
                for truth in result.values():
                    truth.nan[which, axis] = Hull.empty(truth.size)
                    truth.moved[which, axis] = Hull.empty(truth.size)
                for kind in ("nan", "moved"):
                    lines = list(range(leaf.shape[axis]))
                    while lines:
                        part = lines[: lines_per_run if independent else 1]
                        with LeakyGates() if kind == "moved" else nullcontext():
                            outs = run(_changed(leaves, position, axis, part, kind))
                        if len(part) > 1 and not _batched(outs, clean, len(part)):
                            independent = False
                            continue
                        _note(result, clean, outs, (which, axis), part, kind)
                        lines = lines[len(part) :]
    if not swallowers:
        _check_bracket(result)
    return Sweep(result, sizes, swallowers)


def _double(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


class _Run:
    """Runs a model and collects what every module returned, as the module returned it."""

    def __init__(self, model: nn.Module, spec: Any) -> None:
        self.model, self.spec = model, spec
        self.sizes: dict[Key, tuple[int, ...]] = {}

    def __enter__(self) -> "_Run":
        self.handles = [module.register_forward_hook(self._hook(path)) for path, module in self.model.named_modules()]
        self.buffers = {name: b.clone() for name, b in self.model.named_buffers()}
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _hook(self, path: str):
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            call = self.calls[path] = self.calls.get(path, -1) + 1
            tensors = [t for t in tree_flatten(output)[0] if isinstance(t, torch.Tensor)]
            for position, tensor in enumerate(tensors):
                self.sizes[path, call, position] = tuple(tensor.shape)
                if tensor.is_floating_point():
                    self.seen[path, call, position] = tensor.detach().clone()

        return hook

    def __call__(self, leaves: list[Any]) -> dict[Key, torch.Tensor]:
        self.calls: dict[str, int] = {}
        self.seen: dict[Key, torch.Tensor] = {}
        for name, buffer in self.model.named_buffers():  # NaN must not survive in BatchNorm's averages
            buffer.copy_(self.buffers[name])
        torch.manual_seed(0)
        args, kwargs = tree_unflatten(leaves, self.spec)
        self.model(*args, **kwargs)
        return self.seen


def _changed(leaves: list[Any], which: int, axis: int, lines: list[int], kind: str) -> list[Any]:
    n = len(lines)
    batch = [
        leaf.repeat(n, *[1] * (leaf.dim() - 1)) if isinstance(leaf, torch.Tensor) and leaf.dim() and n > 1 else leaf
        for leaf in leaves
    ]
    batch[which] = batch[which].clone()
    per_line = batch[which].shape[0] // n
    for k, line in enumerate(lines):
        target = batch[which][k * per_line : (k + 1) * per_line].select(axis, line)
        if kind == "nan":
            target.fill_(math.nan)
        else:
            target.copy_(random_tensor(tuple(target.shape), seed=line + 1) * 4 - 2)
    return batch


def _batched(outs: dict[Key, torch.Tensor], clean: dict[Key, torch.Tensor], n: int) -> bool:
    return outs.keys() == clean.keys() and all(
        clean[key].dim() and clean[key].shape[0] == 1 and t.shape == (n, *clean[key].shape[1:])
        for key, t in outs.items()
    )


def _note(result, clean, outs, axis, lines, kind):
    for key, out in outs.items():
        truth = result.get(key)
        if truth is None or (len(lines) == 1 and out.shape != clean[key].shape):
            continue  # data-dependent control flow made another call; find_swallowers has reported it
        hit = (out.isnan() if kind == "nan" else _differs(out, clean[key])).numpy()
        hull = (truth.nan if kind == "nan" else truth.moved)[axis]
        for k, line in enumerate(lines):
            hull.add(line, hit[k : k + 1] if len(lines) > 1 else hit)


def _differs(out: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    # A vectorised kernel rounds otherwise at another place of the batch, so equality would see ghosts.
    return (out - clean).abs() > 1e-13 * clean.abs().max()


def _check_bracket(result: dict[Key, Truth]) -> None:
    for key, truth in result.items():
        for axis, upper in truth.nan.items():
            if not truth.moved[axis].within(upper).all():
                raise SwallowedNaNError(f"{key}: units change with lines that never turned them NaN (axis {axis})")


# ------------------------------------------------------------------------------------------------ gates that leak

LEAK = 0.1
_GATES = {F.relu, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.softshrink, F.hardshrink, F.threshold}
_GATES |= {torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, torch.clamp, torch.Tensor.clamp}
_POOLS = {F.max_pool1d: (F.conv1d, 1), F.max_pool2d: (F.conv2d, 2), F.max_pool3d: (F.conv3d, 3)}
_MAXIMA = {torch.max, torch.Tensor.max, torch.amax, torch.Tensor.amax, torch.min, torch.Tensor.min}
_ADAPTIVE = {
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
    F.adaptive_max_pool3d: F.adaptive_avg_pool3d,
}


class LeakyGates(TorchFunctionMode):
    """Adds a little of each input that a ReLU or a maximum looks at to what comes out."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaky = _GATES_TABLE.get(func)
        return func(*args, **kwargs) if leaky is None else leaky(func, *args, **kwargs)


def _leaky_gate(func: Callable[..., Any], x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    before = x.clone()
    out = func(x, *args, **kwargs)
    return out.add_(before, alpha=LEAK) if out is x else out + LEAK * before


def _leaky_pool(func: Callable[..., Any], x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    values = dict(zip(("kernel_size", "stride", "padding", "dilation"), args, strict=False)) | kwargs
    out = func(x, *args, **kwargs)
    pooled = out[0] if isinstance(out, tuple) else out
    conv, nd = _POOLS[func]
    kernel = _per_axis(values["kernel_size"], nd)
    stride = _per_axis(values.get("stride") or kernel, nd)
    padding, dilation = _per_axis(values.get("padding", 0), nd), _per_axis(values.get("dilation", 1), nd)
    margins = [
        m for axis in reversed(range(nd)) for m in (padding[axis], padding[axis] + kernel[axis] * dilation[axis])
    ]
    ones = x.new_ones(x.shape[1], 1, *kernel)
    sums = conv(F.pad(x, margins), ones, stride=stride, dilation=dilation, groups=x.shape[1])
    sums = sums[(..., *(slice(n) for n in pooled.shape[-nd:]))]
    return (pooled + LEAK * sums, *out[1:]) if isinstance(out, tuple) else pooled + LEAK * sums


def _leaky_adaptive(func: Callable[..., Any], x: torch.Tensor, output_size: Any, *rest: Any, **kwargs: Any) -> Any:
    return func(x, output_size, *rest, **kwargs) + LEAK * _ADAPTIVE[func](x, output_size)


def _leaky_maximum(func: Callable[..., Any], x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    out = func(x, *args, **kwargs)
    if isinstance(out, tuple):
        dim = kwargs.get("dim", args[0] if args else None)
        keepdim = kwargs.get("keepdim", args[1] if len(args) > 1 else False)
        return type(out)((out[0] + LEAK * x.mean(dim, keepdim=keepdim), out[1]))
    if func in (torch.amax, torch.Tensor.amax):
        return out + LEAK * x.mean(*args, **kwargs)
    return out


def _per_axis(value: Any, nd: int) -> tuple[int, ...]:
    return tuple(value) * (nd if len(value) == 1 else 1) if isinstance(value, tuple | list) else (value,) * nd


_GATES_TABLE: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_GATES, _leaky_gate),
    **dict.fromkeys(_POOLS, _leaky_pool),
    **dict.fromkeys(_ADAPTIVE, _leaky_adaptive),
    **dict.fromkeys(_MAXIMA, _leaky_maximum),
}


# ------------------------------------------------------------------------------------------------ swallowed NaN

_MAKES_NEW_NUMBERS = (
    "zeros", "ones", "empty", "full", "rand", "fill_", "zero_", "bernoulli_", "copy_", "uniform_", "normal_", "arange",
)  # fmt: skip


# A window may lie in padding, all of it; LPPool multiplies by a sign (alone, that is caught by the bracket).
_HARMLESS = ("conv", "pool", "pad", "upsample", "sign")
_REORDER_OR_DECIDE = {"_local_scalar_dense", "is_nonzero", "equal", "sort", "topk", "kthvalue", "mode", "msort"}


class _SwallowDetector(TorchDispatchMode):
    """Notes operations that read NaN and return none, and uses of integers or booleans that came out of NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}
        self.tainted: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        name = func.overloadpacket.__name__
        makes_new = any(word in name for word in _MAKES_NEW_NUMBERS)
        floats = [t for t in tensors if _holds_nan(t)]
        poisoned = any(bool(t.isnan().any()) for t in floats)
        uses_taint = any(id(t) in self.tainted for t in tensors)
        out = func(*args, **kwargs)
        if makes_new:
            return out
        results = [t for t in tree_flatten(out)[0] if isinstance(t, torch.Tensor)]
        if name == "grid_sampler_2d" and bool(args[1].isnan().any()):
            self.found["grid_sample with a grid made from the input"] = None
        if poisoned and name in _REORDER_OR_DECIDE:
            self.found[name] = None
        is_view = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if uses_taint and not is_view:
            self.found[f"{name} of an index or a mask"] = None
        for t in results:
            if not _holds_nan(t) and (poisoned or uses_taint):
                self.tainted[id(t)] = t
        kept = [t for t in results if _holds_nan(t) and t.numel()]
        harmless = is_view or any(word in name for word in _HARMLESS)
        if poisoned and kept and not harmless and not any(bool(t.isnan().any()) for t in kept):
            self.found[name] = None
        return out


def _holds_nan(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def find_swallowers(model: nn.Module, leaves: list[Any], spec: Any) -> tuple[str, ...]:
    """Names of operations that would hide NaN: seen in one run whose floating inputs are NaN throughout."""
    poisoned = [
        torch.full_like(leaf, math.nan) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
        for leaf in leaves
    ]
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    args, kwargs = tree_unflatten(poisoned, spec)
    detector = _SwallowDetector()
    try:
        with torch.no_grad(), detector:
            model(*args, **kwargs)
    except (RuntimeError, ValueError, IndexError) as error:  # control flow that NaN breaks
        detector.found[f"{type(error).__name__} with NaN as input"] = None
    finally:
        with torch.no_grad():
            for name, b in model.named_buffers():
                b.copy_(buffers[name])
    return tuple(detector.found)


# ------------------------------------------------------------------------------------------------ one claim, cheaply


def confirms(
    model: nn.Module, inputs: list[torch.Tensor], axis: int, claims: dict[tuple[int, ...], tuple[int, int]]
) -> dict[tuple[int, ...], bool]:
    """Whether each unit of the model's first output sees exactly ``first..last`` of ``axis`` of the first input.

    Four samples a claim: NaN before ``first``, at ``first``, at ``last``, after ``last``; only the middle two may
    reach the unit. Units are indices after the channel. This proves the hull without a sweep, on inputs of any size.
    """
    x = inputs[0].double()
    n = x.shape[axis]
    batch = x.repeat(4 * len(claims), *[1] * (x.dim() - 1))
    for k, (first, last) in enumerate(claims.values()):
        for j, (a, b) in enumerate(((0, first), (first, first + 1), (last, last + 1), (last + 1, n))):
            batch[4 * k + j].narrow(axis - 1, a, max(b - a, 0)).fill_(math.nan)
    rest = [t.double().expand(len(batch), *t.shape[1:]) for t in inputs[1:]]
    with torch.no_grad():
        out = model.double()(batch, *rest)
    out = next(t for t in tree_flatten(out)[0] if isinstance(t, torch.Tensor))
    answer = {}
    for k, unit in enumerate(claims):
        hits = [bool(out[(4 * k + j, slice(None), *unit)].isnan().any()) for j in range(4)]
        answer[unit] = hits == [False, True, True, False]
    return answer
