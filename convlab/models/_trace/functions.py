"""Rules for torch's other hot functions: elementwise, matrices, shapes. All else is watched one level below."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convlab.models._trace import states
from convlab.models._trace.errors import Misfit
from convlab.models._trace.registry import PASS_ON, Arguments, Keywords, bind, rule
from convlab.models._trace.states import State
from convlab.models._trace.tracer import Tag, Tracer, View, put_tag

_INPLACE_ARGUMENT = {
    F.relu: 1,
    F.relu6: 1,
    F.silu: 1,
    F.hardswish: 1,
    F.leaky_relu: 2,
    F.elu: 2,
    F.hardsigmoid: 1,
    F.mish: 1,
}
_INPLACE_ARGUMENT |= dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.hardtanh, F.threshold), 3)

_ELEMENTWISE = [
    *(
        F.relu,
        F.relu6,
        F.leaky_relu,
        F.elu,
        F.selu,
        F.celu,
        F.gelu,
        F.silu,
        F.mish,
        F.hardswish,
        F.hardsigmoid,
        F.hardtanh,
    ),
    *(F.sigmoid, F.tanh, F.softplus, F.logsigmoid, F.softsign, F.tanhshrink, F.hardshrink, F.softshrink, F.threshold),
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, F.rrelu),
    *(
        torch.relu,
        torch.sigmoid,
        torch.tanh,
        torch.exp,
        torch.sqrt,
        torch.rsqrt,
        torch.abs,
        torch.neg,
        torch.clamp,
        torch.square,
    ),
    *(
        Tensor.relu,
        Tensor.sigmoid,
        Tensor.tanh,
        Tensor.exp,
        Tensor.sqrt,
        Tensor.abs,
        Tensor.__neg__,
        Tensor.clamp,
        Tensor.square,
    ),
    *(Tensor.contiguous,),
]


@rule(*_ELEMENTWISE)
def _elementwise(tracer: Tracer, function: Any, args: Arguments, keywords: Keywords) -> Any:
    x = args[0] if args else keywords["input"]
    at = _INPLACE_ARGUMENT.get(function, len(args))
    inplace = keywords.get("inplace", args[at] if at < len(args) else False)
    if not x.dtype.is_floating_point or any(isinstance(more, Tensor) for more in args[1:]):
        return PASS_ON
    if inplace:
        return PASS_ON if tracer.is_view(x) else x
    return tracer.tensor(x.shape, x, tracer.state(x))


@rule(torch.relu_, Tensor.relu_, Tensor.sigmoid_, Tensor.tanh_, Tensor.clamp_)
def _elementwise_inplace(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    return PASS_ON if tracer.is_view(args[0]) or len(args) + len(keywords) > 3 else args[0]


@rule(F.prelu)
def _prelu(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "weight"), args, keywords)
    x, weight = v["input"], v["weight"]
    if weight.numel() != 1 and x.dim() > 1 and weight.numel() != x.shape[1]:
        raise Misfit(
            weight.numel(), x.shape[1], f"{{of}}num_parameters should be {x.shape[1]} or 1, is {weight.numel()}"
        )
    tracer.mult_adds(x.shape[0] * weight.numel())
    return tracer.tensor(x.shape, x, tracer.state(x))


def broadcast(a: Sequence[int], b: Sequence[int], name: str) -> Sequence[int]:
    """Return the broadcast shape; shapes that do not fit are told with the dimension that differs."""
    if a == b:
        return a
    try:
        shape: Sequence[int] = torch.broadcast_shapes(a, b)
    except RuntimeError:
        pairs = zip(reversed(a), reversed(b), strict=False)
        axis, (m, n) = next((i, pair) for i, pair in enumerate(pairs) if 1 not in pair and pair[0] != pair[1])
        dim = max(len(a), len(b)) - 1 - axis
        raise Misfit(
            f"two inputs of one shape in {name}",
            f"{tuple(a)} and {tuple(b)}",
            f"{{of}}inputs should agree along dimension {dim}, one has {m} and the other {n}",
        ) from None
    return shape


_ARITHMETIC = [
    *(torch.add, torch.mul, torch.sub, torch.div, torch.true_divide, torch.multiply, torch.maximum, torch.minimum),
    *(Tensor.add, Tensor.mul, Tensor.sub, Tensor.div, Tensor.multiply, Tensor.__add__, Tensor.__mul__, Tensor.__sub__),
    *(Tensor.__truediv__, Tensor.__radd__, Tensor.__rmul__, Tensor.__rsub__),
]


@rule(*_ARITHMETIC)
def _arithmetic(tracer: Tracer, function: Any, args: Arguments, keywords: Keywords) -> Any:
    if len(args) != 2 or (keywords and set(keywords) - {"alpha"}):
        return PASS_ON
    a, b = args
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        x = a if isinstance(a, Tensor) else b
        return tracer.tensor(x.shape, x, tracer.state(x)) if x.dtype.is_floating_point else PASS_ON
    if a.dtype is not b.dtype or (a.device.type != "meta" and b.device.type != "meta"):
        return PASS_ON
    shape = broadcast(a.shape, b.shape, function.__name__.strip("_"))
    return tracer.tensor(shape, a, states.union((tracer.state(a), tracer.state(b)), len(shape)))


@rule(
    Tensor.__iadd__,
    Tensor.__imul__,
    Tensor.__isub__,
    Tensor.__itruediv__,
    Tensor.add_,
    Tensor.mul_,
    Tensor.sub_,
    Tensor.div_,
)
def _arithmetic_inplace(tracer: Tracer, function: Any, args: Arguments, _keywords: Keywords) -> Any:
    if len(args) != 2 or not tracer.is_ours(args[0]) or tracer.is_view(args[0]):
        return PASS_ON
    a, b = args
    if isinstance(b, Tensor):
        if tuple(broadcast(a.shape, b.shape, function.__name__.strip("_"))) != tuple(a.shape):
            raise Misfit(tuple(a.shape), tuple(b.shape), "{of}result would be larger than the tensor it is written to")
        tracer.write(a, states.union((tracer.state(a), tracer.state(b)), a.dim()))
    return a


# --- matrices -------------------------------------------------------------------------------------------------


@rule(F.linear)
def _linear(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "weight", "bias"), args, keywords)
    x, weight, bias = v["input"], v["weight"], v.get("bias")
    if tracer.state(weight) is not None or x.dim() == 0:
        return PASS_ON
    if x.shape[-1] != weight.shape[-1]:
        raise Misfit(
            f"{weight.shape[-1]} features",
            f"{x.shape[-1]} in an input of {tuple(x.shape)}",
            f"{{of}}in_features should be {x.shape[-1]}, is {weight.shape[-1]}",
        )
    shape = (*x.shape[:-1], *weight.shape[:-1])
    tracer.mult_adds(prod(x.shape[:-1]) * (weight.numel() + (0 if bias is None else bias.numel())))
    return tracer.tensor(
        shape, x, states.reduce(tracer.state(x), [-1], x.dim()) if weight.dim() == 2 else _dot(tracer, x)
    )


def _dot(tracer: Tracer, x: Tensor) -> State:
    return states.reduce(tracer.state(x), [-1], x.dim(), keepdim=False)


def product(a: State, b: State, a_ndim: int, b_ndim: int, ndim: int) -> State:
    """Return the state of ``a @ b``; scores of queries and keys keep the line of the queries, the rows."""
    rows, columns = states.reduce(a, [-1], a_ndim), states.reduce(b, [-2], b_ndim)
    return states.union((rows, states.without_lines_across(columns, rows, ndim)), ndim)


@rule(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)
def _matmul(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    if len(args) != 2 or keywords:
        return PASS_ON
    a, b = args
    if a.dim() < 2 or b.dim() < 2:
        return PASS_ON
    if a.shape[-1] != b.shape[-2]:
        raise Misfit(
            f"{a.shape[-1]} rows in the second matrix",
            f"{b.shape[-2]} ({tuple(a.shape)} @ {tuple(b.shape)})",
            f"{{of}}inner sizes should agree, are {a.shape[-1]} and {b.shape[-2]}",
        )
    shape = (*broadcast(a.shape[:-2], b.shape[:-2], "matmul"), a.shape[-2], b.shape[-1])
    tracer.mult_adds(prod(shape) * a.shape[-1])
    like = a if a.device.type == "meta" else b
    return tracer.tensor(shape, like, product(tracer.state(a), tracer.state(b), a.dim(), b.dim(), len(shape)))


def attend(query: State, key: State, value: State, ndim: int) -> State:
    """Return the state of attention: each output depends on its own query and on all keys and values."""
    parts = (states.reduce(query, [-1], ndim), states.reduce(key, [-1, -2], ndim), states.reduce(value, [-2], ndim))
    return states.union(parts, ndim)


@rule(F.scaled_dot_product_attention)
def _attention(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("query", "key", "value", "attn_mask"), args[:4], keywords)
    q, k, value, mask = v["query"], v["key"], v["value"], v.get("attn_mask")
    if v.get("enable_gqa") or not q.dim() == k.dim() == value.dim():
        return PASS_ON
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != value.shape[-2]:
        return PASS_ON
    shape = (*broadcast(q.shape[:-2], value.shape[:-2], "scaled_dot_product_attention"), q.shape[-2], value.shape[-1])
    tracer.mult_adds(prod(shape[:-1]) * k.shape[-2] * (q.shape[-1] + value.shape[-1]))
    state = attend(tracer.state(q), tracer.state(k), tracer.state(value), q.dim())
    if mask is not None and tracer.state(mask) is not None:
        state = states.union((state, states.reduce(tracer.state(mask), [-1], mask.dim())), q.dim())
    return tracer.tensor(shape, q, state)


@rule(F.softmax, torch.softmax, Tensor.softmax, F.log_softmax, torch.log_softmax)
def _softmax(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "dim"), args[:2], keywords)
    x, dim = v["input"], v.get("dim")
    if dim is None or v.get("dtype") is not None or not -x.dim() <= dim < x.dim():
        return PASS_ON
    return tracer.tensor(
        x.shape, x, states.union((tracer.state(x), states.reduce(tracer.state(x), [dim], x.dim())), x.dim())
    )


# --- shapes ---------------------------------------------------------------------------------------------------


@rule(torch.cat, torch.concat)
def _cat(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("tensors", "dim"), args, keywords)
    tensors = list(v["tensors"])
    head = tensors[0]
    if any(t.dim() != head.dim() or t.dtype is not head.dtype for t in tensors) or not isinstance(v.get("dim", 0), int):
        return PASS_ON
    if not -head.dim() <= v.get("dim", 0) < head.dim():
        return PASS_ON
    dim = v.get("dim", 0) % head.dim()
    shape = list(head.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    for t in tensors[1:]:
        for d, (m, n) in enumerate(zip(head.shape, t.shape, strict=True)):
            if d != dim and m != n:
                raise Misfit(
                    f"tensors that agree in all dimensions but {dim}",
                    " and ".join(str(tuple(t.shape)) for t in tensors),
                    f"{{of}}inputs should agree along dimension {d}, one has {m} and another {n}",
                )
    state = states.concatenate([tracer.state(t) for t in tensors], [t.shape for t in tensors], dim, head.dim())
    return tracer.tensor(shape, head, state)


def reshaped(tracer: Tracer, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of ``x`` with another shape."""
    made = tracer.tensor(shape, x, None)
    tag = Tag(
        states.reshape(tracer.state(x), x.shape, shape), View(x, torch.ops.aten.reshape.default, (list(shape),), {})
    )
    put_tag(made, tag)
    return made


@rule(Tensor.reshape, torch.reshape, Tensor.view)
def _reshape(tracer: Tracer, function: Any, args: Arguments, keywords: Keywords) -> Any:
    x, *wanted = args
    if len(wanted) == 1 and isinstance(wanted[0], (tuple, list)):
        wanted = list(wanted[0])
    if keywords or not wanted or not all(type(n) is int for n in wanted):
        return PASS_ON
    if function is Tensor.view and not x.is_contiguous():
        return PASS_ON
    held, shape = x.numel(), list(wanted)
    if shape.count(-1) == 1:
        rest = prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = held // rest if rest else -1
    if prod(shape) != held or -1 in shape:
        raise Misfit(
            f"{abs(prod(wanted))} elements" if -1 not in wanted else f"a multiple of {abs(prod(wanted))} elements",
            f"{held} in an input of {tuple(x.shape)}",
            _reshape_repair(x, wanted, function.__name__),
        )
    return reshaped(tracer, x, shape)


def _reshape_repair(x: Tensor, wanted: Sequence[int], name: str) -> str:
    batch = x.shape[0] if x.dim() else 1
    if len(wanted) == 2 and batch and x.dim() > 2:
        return f"{name} to {tuple(wanted)} should be to ({batch}, {x.numel() // batch})"
    held = f"the {x.numel()} elements of {tuple(x.shape)}"
    return f"{name} to {tuple(wanted)} does not hold {held}; use -1 for the size that follows"


@rule(torch.flatten, Tensor.flatten)
def _flatten(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "start_dim", "end_dim"), args, keywords)
    x = v["input"]
    start, end = v.get("start_dim", 0), v.get("end_dim", -1)
    if x.dim() == 0 or not isinstance(start, int):
        return PASS_ON
    start, end = start % x.dim(), end % x.dim()
    if start > end:
        return PASS_ON
    return reshaped(tracer, x, [*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :]])


@rule(torch.mean, Tensor.mean, torch.sum, Tensor.sum)
def _mean(tracer: Tracer, _: Any, args: Arguments, keywords: Keywords) -> Any:
    v = bind(("input", "dim", "keepdim"), args, keywords)
    x, dim, keep = v["input"], v.get("dim"), v.get("keepdim", False)
    dims: list[Any] = list(dim) if isinstance(dim, (tuple, list)) else [dim]
    if v.get("dtype") is not None or not dims or not all(type(d) is int for d in dims) or not x.dtype.is_floating_point:
        return PASS_ON
    if not all(-x.dim() <= d < x.dim() for d in dims):
        return PASS_ON
    dims = [d % x.dim() for d in dims]
    shape = [1 if d in dims else n for d, n in enumerate(x.shape) if keep or d not in dims]
    return tracer.tensor(shape, x, states.reduce(tracer.state(x), dims, x.dim(), bool(keep)))
