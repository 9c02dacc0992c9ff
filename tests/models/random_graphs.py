"""Random graphs of operations for hypothesis: every step is a module, so that every tensor is swept and traced."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

C = 4  # channels of every node, so that any two nodes can meet


@dataclass(frozen=True)
class Op:
    """What to do with a node: a name for the report, and a recipe that makes the module for a given input size."""

    name: str
    make: Callable[[tuple[int, ...]], nn.Module]

    def __repr__(self) -> str:
        return self.name


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Tensor:
        return self.function(*xs)


class Graph(nn.Module):
    """Steps which read earlier nodes; node 0 is the input. Returns every node that nobody reads."""

    def __init__(self, steps: list[tuple[nn.Module, tuple[int, ...]]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(step for step, _ in steps)
        self.reads = [reads for _, reads in steps]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        nodes = [x]
        for step, reads in zip(self.steps, self.reads, strict=True):
            nodes.append(step(*(nodes[k] for k in reads)))
        read = {k for reads in self.reads for k in reads}
        return tuple(node for k, node in enumerate(nodes) if k not in read)


def _layer(name: str, nd: int) -> Any:
    return getattr(nn, f"{name}{nd}d")


def _call(function: Callable[..., Tensor]) -> Callable[[tuple[int, ...]], nn.Module]:
    return lambda size: Call(function)


@st.composite
def convolutions(draw: st.DrawFn, nd: int) -> Op:
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(nd))
    dilation = tuple(draw(st.sampled_from((1, 1, 2, 3))) for _ in range(nd))
    options: dict[str, Any] = {"dilation": dilation, "groups": draw(st.sampled_from((1, 2, C)))}
    if draw(st.integers(0, 4)) == 0:
        options["padding"] = "same"
    else:
        options["stride"] = tuple(draw(st.integers(1, 3)) for _ in range(nd))
        options["padding"] = tuple(draw(st.integers(0, 3)) for _ in range(nd))
    options["padding_mode"] = draw(st.sampled_from(("zeros", "zeros", "zeros", "reflect", "replicate", "circular")))
    return Op(f"Conv{nd}d({kernel}, {options})", lambda size: _layer("Conv", nd)(C, C, kernel, **options))


@st.composite
def transposed(draw: st.DrawFn, nd: int) -> Op:
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2))
    options = {
        "stride": stride,
        "padding": draw(st.integers(0, 2)),
        "dilation": dilation,
        "output_padding": draw(st.integers(0, max(stride, dilation) - 1)),
        "groups": draw(st.sampled_from((1, 2))),
    }
    return Op(
        f"ConvTranspose{nd}d({kernel}, {options})", lambda size: _layer("ConvTranspose", nd)(C, C, kernel, **options)
    )


@st.composite
def pools(draw: st.DrawFn, nd: int) -> Op:
    kernel = draw(st.integers(1, 4))
    options: dict[str, Any] = {"stride": draw(st.integers(1, 3)), "ceil_mode": draw(st.booleans())}
    kind = draw(st.sampled_from(("MaxPool", "AvgPool", "LPPool")))
    if kind != "LPPool":
        options["padding"] = draw(st.integers(0, kernel // 2))
    if kind == "MaxPool":
        options["dilation"] = draw(st.integers(1, 2))
    if kind == "AvgPool":
        options["count_include_pad"] = draw(st.booleans())
    args = (2, kernel) if kind == "LPPool" else (kernel,)
    return Op(f"{kind}{nd}d({args}, {options})", lambda size: _layer(kind, nd)(*args, **options))


@st.composite
def adaptive(draw: st.DrawFn, nd: int) -> Op:
    kind, out = draw(st.sampled_from(("Avg", "Max"))), draw(st.integers(1, 9))
    return Op(f"Adaptive{kind}Pool{nd}d({out})", lambda size: _layer(f"Adaptive{kind}Pool", nd)(out))


@st.composite
def resizes(draw: st.DrawFn, nd: int) -> Op:
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[nd]
    mode = draw(st.sampled_from(("nearest", "nearest-exact", linear)))
    options: dict[str, Any] = {"mode": mode}
    if mode == linear:
        options["align_corners"] = draw(st.booleans())
    # 1-D nearest to a size rounds otherwise in double precision, in which the oracle works, than in single.
    if draw(st.booleans()) and not (nd == 1 and mode != linear):
        options["size"] = tuple(draw(st.integers(2, 23 if nd < 3 else 8)) for _ in range(nd))
    else:
        options["scale_factor"] = draw(st.sampled_from((0.5, 1.5, 2, 3)))
    return Op(f"interpolate({options})", lambda size: Call(lambda x: F.interpolate(x, **options)))


@st.composite
def paddings(draw: st.DrawFn, nd: int) -> Op:
    mode = draw(st.sampled_from(("constant", "reflect", "replicate", "circular")))
    low = -2 if mode == "constant" else 0
    margins = [draw(st.integers(low, 3)) for _ in range(2 * nd)]
    return Op(f"pad({margins}, {mode})", lambda size: Call(lambda x: F.pad(x, margins, mode=mode)))


@st.composite
def moves(draw: st.DrawFn, nd: int) -> Op:
    dim = draw(st.integers(2, 1 + nd))
    a, b = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    index = (slice(None),) * dim
    choices: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
        f"x[{a}::{b}] on {dim}": _call(lambda x: x[(*index, slice(a, None, b))]),
        f"x[:-{b}] on {dim}": _call(lambda x: x[(*index, slice(None, -b))]),
        f"roll({a}) on {dim}": _call(lambda x: torch.roll(x, a, dim)),
        f"flip on {dim}": _call(lambda x: torch.flip(x, (dim,))),
        f"halves swapped on {dim}": _call(lambda x: torch.cat(x.chunk(2, dim)[::-1], dim)),
        f"joined with itself on {dim}": _call(lambda x: torch.cat((x, x), dim)),
        "there and back": _call(lambda x: x.flatten(2).transpose(1, 2).tanh().transpose(1, 2).reshape(x.shape)),
        f"regrouped by {b} on {dim}": lambda size: _Regroup(dim, b, size),
        "channels shuffled": _call(lambda x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)),
        "channels last": _call(lambda x: F.gelu(x.movedim(1, -1)).movedim(-1, 1)),
    }
    if nd == 2:
        choices["transpose"] = _call(lambda x: x.transpose(2, 3))
        choices["pixel_unshuffle"] = lambda size: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * C, C, 1))
        choices["pixel_shuffle"] = lambda size: nn.Sequential(nn.Conv2d(C, 4 * C, 1), nn.PixelShuffle(2))
        choices["unfold and linear"] = lambda size: _Unfold(2 if a < 2 else 3, b)
        choices["window attention"] = lambda size: _Windows()
    name = draw(st.sampled_from(sorted(choices)))
    return Op(name, choices[name])


class _Regroup(nn.Module):
    """Splits an axis into groups, sums within each: a strided pooling written with reshape."""

    def __init__(self, dim: int, by: int, size: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.by = dim, by

    def forward(self, x: Tensor) -> Tensor:
        groups = x.shape[self.dim] // self.by
        return x.narrow(self.dim, 0, groups * self.by).unflatten(self.dim, (groups, self.by)).sum(self.dim + 1)


class _Unfold(nn.Module):
    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.linear = kernel, stride, nn.Linear(C * kernel**2, C)

    def forward(self, x: Tensor) -> Tensor:
        h, w = ((n - self.kernel) // self.stride + 1 for n in x.shape[2:])
        columns = F.unfold(x, self.kernel, stride=self.stride)
        return self.linear(columns.transpose(1, 2)).transpose(1, 2).reshape(x.shape[0], C, h, w)


class _Windows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = (n // 4 * 4 for n in x.shape[2:])
        t = x[:, :, :h, :w].unflatten(3, (w // 4, 4)).unflatten(2, (h // 4, 4)).permute(0, 2, 4, 3, 5, 1)
        t = t.reshape(x.shape[0], h * w // 16, 16, C)
        t = (t @ t.transpose(-1, -2)).softmax(-1) @ t
        t = t.view(x.shape[0], h // 4, w // 4, 4, 4, C).permute(0, 5, 1, 3, 2, 4)
        return t.reshape(x.shape[0], C, h, w)


@st.composite
def mixers(draw: st.DrawFn, nd: int) -> Op:
    norm, spatial = _layer("BatchNorm", nd), tuple(range(2, 2 + nd))
    dim = draw(st.integers(2, 1 + nd))
    choices: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
        "batch norm": lambda size: norm(C).eval(),
        "relu": lambda size: nn.ReLU(inplace=False),
        "hardswish in place": _call(lambda x: F.hardswish(x.clone(), inplace=True)),
        "group norm": lambda size: nn.GroupNorm(2, C),
        "instance norm": lambda size: _layer("InstanceNorm", nd)(C),
        "squeeze and excite": _call(lambda x: x * x.mean(spatial, keepdim=True).sigmoid()),
        f"softmax over {dim}": _call(lambda x: x.softmax(dim)),
        f"mean over {dim} kept": _call(lambda x: x - x.mean(dim, keepdim=True)),
        "channel layer norm": _call(lambda x: F.layer_norm(x.movedim(1, -1), (C,)).movedim(-1, 1)),
        "linear over the last axis": lambda size: nn.Linear(size[-1], 7),
    }
    name = draw(st.sampled_from(sorted(choices)))
    return Op(name, choices[name])


def operations(nd: int) -> st.SearchStrategy[Op]:
    local = (convolutions(nd), convolutions(nd), pools(nd), transposed(nd), resizes(nd), paddings(nd), moves(nd))
    return st.one_of(*local, *local, adaptive(nd), mixers(nd))


def _crop(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    common = tuple(slice(min(m, n)) for m, n in zip(a.shape, b.shape, strict=True))
    return a[common], b[common]


def _iadd(a: Tensor, b: Tensor) -> Tensor:
    a, b = _crop(a, b)
    a = a.clone()
    a += b
    return a


MERGES: dict[str, Callable[[], nn.Module]] = {
    "add": lambda: Call(lambda a, b: torch.add(*_crop(a, b))),
    "multiply": lambda: Call(lambda a, b: torch.mul(*_crop(a, b))),
    "add in place": lambda: Call(_iadd),
    "maximum": lambda: Call(lambda a, b: torch.maximum(*_crop(a, b))),
    "concatenate channels": lambda: Call(lambda a, b: torch.cat([t[:, ::2] for t in _crop(a, b)], 1)),
}


@st.composite
def graphs(draw: st.DrawFn, branching: bool) -> tuple[Graph, tuple[int, ...], list[str]]:
    """A graph, the size of its input, and its steps in words. Steps that torch refuses at that size are left out."""
    nd = draw(st.sampled_from((1, 2, 2, 2, 3)))
    size = (1, C, *(draw(st.integers(7, 21) if nd < 3 else st.integers(4, 7)) for _ in range(nd)))
    torch.manual_seed(0)
    nodes = [torch.rand(size)]
    steps: list[tuple[nn.Module, tuple[int, ...]]] = []
    words: list[str] = []
    for _ in range(draw(st.integers(1, 7))):
        at = draw(st.integers(0, len(nodes) - 1)) if branching else len(nodes) - 1
        if branching and len(nodes) > 2 and draw(st.integers(0, 2)) == 0:
            name, reads = draw(st.sampled_from(sorted(MERGES))), (at, len(nodes) - 1)
            module = MERGES[name]()
        else:
            op, reads = draw(operations(nd)), (at,)
            name, module = op.name, op.make(tuple(nodes[at].shape))
        try:
            with torch.no_grad():
                out = module.eval()(*(nodes[k] for k in reads))
        except (RuntimeError, ValueError, IndexError, AssertionError):
            continue
        if out.numel() == 0 or max(out.shape) > (60 if nd < 3 else 16):
            continue
        steps.append((module, reads))
        nodes.append(out)
        words.append(f"{len(steps)} = {name} of {reads}, {tuple(out.shape)}")
    return Graph(steps).eval(), size, words
