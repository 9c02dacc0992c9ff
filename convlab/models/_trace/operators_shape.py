"""Rules for operators that move data, reduce it or pick from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from convlab.models._trace import states, table
from convlab.models._trace.operator import Operator, operators
from convlab.models._trace.states import State
from convlab.models._trace.table import IntArray

aten = torch.ops.aten


@operators("cat", "concat")
def _cat(op: Operator) -> State:
    tensors = op.args[0]
    ndim = op.made.dim()
    return states.concatenate(
        list(map(op.tracer.state, tensors)), [t.shape for t in tensors], (op["dim"] or 0) % ndim, ndim
    )


@operators("stack")
def _stack(op: Operator) -> State:
    ndim = op.made.dim()
    dim = (op["dim"] or 0) % ndim
    parts, shapes = [], []
    for tensor in op.args[0]:
        parts.append(states.rearrange(op.tracer.state(tensor), lambda a: np.expand_dims(a, dim)))
        shapes.append([*tensor.shape[:dim], 1, *tensor.shape[dim:]])
    return states.concatenate(parts, shapes, dim, ndim)


@operators("permute")
def _permute(op: Operator) -> State:
    order = [dim % op.x.dim() for dim in op["dims"]]
    return states.rearrange(op.state, lambda a: a.transpose(order))


@operators("transpose", "t", "swapaxes", "numpy_T", "mT", "adjoint")
def _transpose(op: Operator) -> State:
    ndim = op.x.dim()
    if ndim < 2:
        return op.state
    order = list(range(ndim))
    a, b = (op["dim0"] % ndim, op["dim1"] % ndim) if op.name == "transpose" else (ndim - 2, ndim - 1)
    if op.name == "swapaxes":
        a, b = op["axis0"] % ndim, op["axis1"] % ndim
    if op.name == "numpy_T":
        order.reverse()
    else:
        order[a], order[b] = order[b], order[a]
    return states.rearrange(op.state, lambda array: array.transpose(order))


@operators("view_as_real")
def _view_as_real(op: Operator) -> State:
    return states.rearrange(op.state, lambda a: a[..., None])


@operators("view_as_complex")
def _view_as_complex(op: Operator) -> State:
    real = states.rearrange(op.state, lambda a: a[..., 0])
    imaginary = states.rearrange(op.state, lambda a: a[..., -1])
    return states.union([real, imaginary], op.made.dim())


@operators("as_strided")
def _as_strided(op: Operator) -> State:
    if not op.x.is_contiguous():
        op.tracer.note("as_strided of a tensor that is not contiguous counts as mixing the whole input")
        return states.depends_on_all(op.state, op.made.dim())
    size, stride, offset = op["size"], op["stride"], op["storage_offset"] or 0
    return states.move(op.state, op.x.shape, lambda t, _: t.contiguous().as_strided(size, stride, offset))


@operators("roll")
def _roll(op: Operator) -> State:
    amounts, dims = op["shifts"], op["dims"]
    if not dims:
        return states.move(op.state, op.x.shape, lambda t, _: op.function(t, amounts))
    amounts = amounts if isinstance(amounts, (list, tuple)) else [amounts]
    dims = dims if isinstance(dims, (list, tuple)) else [dims]

    def roll(array: IntArray) -> IntArray:
        for amount, dim in zip(amounts, dims, strict=True):
            array = np.roll(array, amount, dim) if array.shape[dim] > 1 else array
        return array

    return states.rearrange(op.state, roll)


@operators("flip")
def _flip(op: Operator) -> State:
    return states.rearrange(op.state, lambda a: np.flip(a, op["dims"]))


def _picked(dim: int, index: int) -> Callable[[IntArray], IntArray]:
    def pick(array: IntArray) -> IntArray:
        return np.asarray(array.take(0 if array.shape[dim] == 1 else index, dim))

    return pick


@operators("select")
def _select(op: Operator) -> State:
    return states.rearrange(op.state, _picked(op["dim"] % op.x.dim(), op["index"]))


@operators("unbind")
def _unbind(op: Operator) -> list[State]:
    dim = (op["dim"] or 0) % op.x.dim()
    return [states.rearrange(op.state, _picked(dim, i)) for i in range(len(op.output))]


@operators("unsqueeze")
def _unsqueeze(op: Operator) -> State:
    dim = op["dim"] % (op.x.dim() + 1)
    return states.rearrange(op.state, lambda a: np.expand_dims(a, dim))


@operators(
    "squeeze", "reshape_as", "view_as", "view", "_unsafe_view", "reshape", "flatten", "unflatten", "_reshape_copy"
)
def _reshape(op: Operator) -> State:
    return states.reshape(op.state, op.x.shape, op.made.shape)


@operators(
    "clone", "detach", "alias", "_to_copy", "to", "contiguous", "lift_fresh", "type_as", "real", "view_as_real_copy"
)
def _same(op: Operator) -> State:
    return op.state


@operators("expand", "expand_as", "broadcast_to")
def _expand(op: Operator) -> State:
    return states.union((op.state,), op.made.dim())


@operators(
    "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk", "tensor_split"
)
def _split(op: Operator) -> list[State]:
    dim = (op["dim"] or 0) % op.x.dim()
    pieces = states.shifts(part.shape[dim] for part in op.output)
    size = op.x.shape[dim]
    return [states.read(op.state, [(dim, table.part(size, a, b))], op.x.dim()) for a, b in pieces]


@operators("slice")
def _slice(op: Operator) -> State:
    dim = (op["dim"] or 0) % op.x.dim()
    size = op.x.shape[dim]
    start, stop, step = slice(op["start"], op["end"], op["step"] or 1).indices(size)
    return states.read(op.state, [(dim, table.part(size, start, stop, step))], op.x.dim())


@operators("repeat")
def _repeat(op: Operator) -> State:
    counts = op["repeats"]
    more = len(counts) - op.x.dim()

    def repeat(array: IntArray) -> IntArray:
        array = array.reshape((1,) * more + array.shape)
        for dim, count in enumerate(counts):
            if count > 1 and array.shape[dim] > 1:
                array = np.concatenate([array] * count, dim)
        return array

    return states.rearrange(op.state, repeat)


@operators("glu")
def _glu(op: Operator) -> State:
    ndim = op.x.dim()
    dim = op["dim"] % ndim
    size = op.x.shape[dim]
    halves = (table.part(size, 0, size // 2), table.part(size, size // 2, size))
    return states.union((states.read(op.state, [(dim, half)], ndim) for half in halves), ndim)


@operators("slice_scatter", "select_scatter")
def _scatter_view(op: Operator) -> State:
    base, source, *where = op.args
    view = aten.slice.Tensor if op.name == "slice_scatter" else aten.select.int
    written = op.tracer.state(source)
    return states.write_into(op.tracer.state(base), base.shape, written, lambda t: view(t, *where, **op.keywords))


# --- picking by index -----------------------------------------------------------------------------------------


@operators("index")
def _index(op: Operator) -> State:
    x, indices = op.args[:2]
    state = op.tracer.state(x)
    by_index = [op.tracer.state(i) for i in indices if i is not None]
    if all(s is None for s in by_index) and all(i is None or i.device.type != "meta" for i in indices):
        indices = [None if i is None else i.cpu() for i in indices]
        return states.move(state, x.shape, lambda t, _: op.function(t, indices))
    dims = [dim for dim, i in enumerate(indices) if i is not None]
    ndim = op.made.dim()
    shared = states.depends_on_all(states.union((states.depends_on_all(s, 1) for s in by_index), 1), ndim)
    if len(dims) != 1 or indices[dims[0]].dtype in (torch.bool, torch.uint8):
        return states.union((states.depends_on_all(state, ndim), shared), ndim)
    zeros = [None if i is None else torch.zeros(i.shape, dtype=torch.long) for i in indices]
    reduced = states.reduce(state, dims, x.dim())
    picked = states.move(reduced, x.shape, lambda t, _: op.function(t, zeros))
    return states.union((picked, shared), ndim)


@operators("index_select")
def _index_select(op: Operator) -> State:
    x, dim, index = op.args[:3]
    by_index = op.tracer.state(index)
    if index.device.type != "meta" and by_index is None:
        return states.move(op.state, x.shape, lambda t, _: op.function(t, dim, index.cpu()))
    reduced = states.reduce(op.tracer.state(x), [dim], x.dim())
    return states.union((reduced, states.depends_on_all(by_index, x.dim())), x.dim())


@operators("gather", "take_along_dim")
def _gather(op: Operator) -> State:
    ndim = op.made.dim()
    return states.union((states.depends_on_all(state, ndim) for state in op.states), ndim)


@operators("embedding")
def _embedding(op: Operator) -> State:
    table_state, index_state = (op.tracer.state(t) for t in op.args[:2])
    picked = states.rearrange(index_state, lambda a: a[..., None])
    ndim = op.made.dim()
    return states.union((picked, states.depends_on_all(table_state, ndim)), ndim)


# --- reductions and recurrences -------------------------------------------------------------------------------


@operators(
    *("sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "norm", "aminmax"),
    *(
        "linalg_vector_norm",
        "logsumexp",
        "median",
        "nanmean",
        "any",
        "all",
        "argmax",
        "argmin",
        "count_nonzero",
        "nansum",
    ),
)
def _reduce(op: Operator) -> State:
    ndim = op.x.dim()
    if op.name in ("max", "min") and len(op.tensors) == 2:
        return states.union(op.states, op.made.dim())
    dims = op["dim"]
    dims = list(range(ndim)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return states.reduce(op.state, dims, ndim, keepdim=op.made.dim() == ndim and ndim > 0)


@operators("_softmax", "_log_softmax", "softmax", "log_softmax", "_safe_softmax")
def _softmax(op: Operator) -> State:
    return states.union((op.state, states.reduce(op.state, [op["dim"]], op.x.dim())), op.x.dim())


@operators("sort", "topk", "argsort", "kthvalue", "mode")
def _order(op: Operator) -> State:
    dim = -1 if op["dim"] is None else op["dim"]
    return states.reduce(op.state, [dim], op.x.dim(), keepdim=op.made.dim() == op.x.dim())


@operators("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
def _cumulate(op: Operator) -> State:
    return states.accumulate(op.state, op["dim"] % op.x.dim())


@operators("_fft_r2c", "_fft_c2r", "_fft_c2c")
def _fourier(op: Operator) -> State:
    return states.reduce(op.state, op["dim"], op.x.dim())


@operators("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(op: Operator) -> list[State]:
    x = op.x
    time = 1 if op["batch_first"] and x.dim() == 3 else 0
    _count_recurrent(op, x.shape[0] * x.shape[1] if x.dim() == 3 else x.shape[0])
    by_step = states.reduce(op.state, [-1], x.dim())
    y = states.reduce(by_step, [time], x.dim()) if op["bidirectional"] else states.accumulate(by_step, time)
    return [y, *(states.depends_on_all(op.state, out.dim()) for out in op.output[1:])]


def _count_recurrent(op: Operator, steps: int) -> None:
    weights: Any = op["params"] or ()
    op.tracer.mult_adds(steps * sum(weight.numel() for weight in weights))
