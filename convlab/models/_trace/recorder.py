"""What is written down while a model runs: each call of a leaf module or function, and of the containers around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from convlab.models._trace import states
from convlab.models._trace.lazy import initialised
from convlab.models._trace.registry import words
from convlab.models._trace.tracer import META, Call, Tag, Tracer, View, put_tag, tag_of, tensors_in, tensors_of

# Functions that change neither shape nor dependence, only where or how a tensor is kept.
_UNTOLD = words(
    "contiguous detach clone to float half double bfloat16 type type_as requires_grad_ cpu cuda alias "
    "item numpy tolist bool_ data retain_grad register_hook new_zeros new_ones new_empty new_full "
    "new_tensor as_subclass"
)
_SPOKEN = {
    "truediv": "div",
    "rtruediv": "div",
    "itruediv": "div",
    "true_divide": "div",
    "multiply": "mul",
    "concat": "cat",
}
_SPOKEN |= {f"{side}{name}": name for side in "ri" for name in ("add", "sub", "mul", "matmul", "pow", "floordiv")}


def spoken(name: str) -> str:
    """Return a function's name as people say it: ``__iadd__`` and ``add_`` are add."""
    plain = name.strip("_")
    return _SPOKEN.get(plain, plain)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one row: it has no children (parametrizations aside), or uses them only for their weights."""
    children = module._modules
    return (
        not children
        or isinstance(module, (nn.MultiheadAttention, torch.jit.ScriptModule))
        or (len(children) == 1 and "parametrizations" in children)
    )


def kind_of(module: nn.Module) -> str:
    """Return the class name, without what parametrizations put before it."""
    if isinstance(module, torch.jit.ScriptModule):
        return "opaque"
    kind = type(module)
    return (kind.__bases__[0] if "parametrizations" in module._modules else kind).__name__


def call_module(
    tracer: Tracer, original: Callable[..., Any], module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Call a module of the traced model, and write down what came out."""
    if type(module).__name__ == "OptimizedModule":  # torch.compile would compile it for tensors without storage
        return call_module(tracer, original, module._modules["_orig_mod"] or module, args, keywords)
    if tracer.leaf_depth:
        return original(module, *args, **keywords)
    run = initialised(tracer, module, args, keywords)
    leaf = is_leaf(run) and (bool(tracer.stack) or type(run).__module__.startswith("torch.nn"))
    call = Call(_path_of(tracer, module), kind_of(module), len(tracer.stack), leaf, run)
    given = tensors_of((args, keywords) if keywords else args)
    with torch._C.DisableTorchFunction():  # reading a shape is a function call to the mode that watches
        call.input_sizes = [tuple(tensor.shape) for tensor in given]
    call.sources = sources_of(given)
    tracer.stack.append(call)
    tracer.leaf_depth += leaf
    if not leaf:
        tracer.add(call)
    is_opaque = isinstance(module, torch.jit.ScriptModule)
    try:
        if is_opaque and not tracer.watch_all:
            with tracer.operators:
                output = original(run, *args, **keywords)
        else:
            output = original(run, *args, **keywords)
    except BaseException:
        if tracer.failed is None:
            tracer.failed = _failed(tracer, call)
        raise
    finally:
        tracer.stack.pop()
        tracer.leaf_depth -= leaf
    with torch._C.DisableTorchFunction():
        if is_opaque:
            _hide_inside(tracer, given, output)
        if leaf and not tracer.is_real:
            output = _renamed(output, given, module)
        _finish(tracer, call, output)
    return output


def _path_of(tracer: Tracer, module: nn.Module) -> str:
    name = tracer.names.get(id(module))
    if name is not None or not tracer.stack:
        return name or ""
    return ".".join(filter(None, (tracer.path, type(module).__name__)))  # made or kept outside of the module tree


def _failed(tracer: Tracer, call: Call) -> tuple[str, str, str]:
    function = spoken(tracer.function)
    if not call.is_leaf:
        path = ".".join(filter(None, (call.path, function)))
        return path, function, f"{path}: "
    if any(kind.__module__.startswith("torch.nn.") and kind is not nn.Module for kind in type(call.module).__mro__):
        return call.path, call.kind, f"{call.path}." if call.path else ""
    return call.path, call.kind, f"{function} in {call.path}: "


def _hide_inside(tracer: Tracer, given: list[torch.Tensor], output: Any) -> None:
    for tensor in tensors_in(output):
        ndim = tensor.dim()
        seen = states.union((states.depends_on_all(tracer.state(t), 1) for t in given), 1)
        put_tag(tensor, Tag(states.depends_on_all(seen, ndim)))


def _renamed(output: Any, given: list[torch.Tensor], module: nn.Module) -> Any:
    """Give a module that returns its input a tensor of its own, so that other readers of it keep their source."""
    if not isinstance(output, torch.Tensor) or getattr(module, "inplace", False):
        return output
    if not any(output is tensor for tensor in given) or tag_of(output) is None:
        return output
    alias = torch.empty_strided(output.size(), output.stride(), dtype=output.dtype, device=META)
    tag = tag_of(output)
    put_tag(alias, Tag(tag.state if tag else None, View(output, torch.ops.aten.alias.default, (), {})))
    return alias


def _finish(tracer: Tracer, call: Call, output: Any) -> None:
    outputs = tensors_of(output)
    if call.is_leaf and len(outputs) > 1:  # a number beside the result (a loss) is no row
        outputs = [tensor for tensor in outputs if tensor.dim()] or outputs
    if tracer.stack:
        tracer.stack[-1].mult_adds += call.mult_adds
    if not call.is_leaf:
        for i, tensor in enumerate(outputs):
            part = call if i == 0 else _beside(tracer, call, i)
            part.set_output(tensor, tracer.state(tensor))
            part.sources = sources_of([tensor])
            part.decided_by_data = tracer.decided_by_data
        return
    tracer.add(call)
    for i, tensor in enumerate(outputs):
        part = call if i == 0 else _beside(tracer, call, i)
        part.set_output(tensor, tracer.state(tensor))
        part.decided_by_data = tracer.decided_by_data
        tag = tag_of(tensor)
        if tag is not None:
            tag.sources = (len(tracer.calls) - 1,)


def _beside(tracer: Tracer, call: Call, index: int) -> Call:
    """Return the row of a further tensor that came out of the same call."""
    beside = Call(f"{call.path}[{index}]", call.kind, call.depth, call.is_leaf, None)
    beside.input_sizes, beside.sources = call.input_sizes, call.sources
    tracer.add(beside)
    return beside


def sources_of(tensors: list[torch.Tensor]) -> tuple[int, ...]:
    """Return the calls that made these tensors."""
    found: set[int] = set()
    for tensor in tensors:
        tag = tag_of(tensor)
        if tag is not None:
            found.update(tag.sources)
    return tuple(sorted(found))


def record_function(tracer: Tracer, name: str, args: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
    """Write down a function that a container called on activations."""
    if tracer.leaf_depth or not tracer.stack:
        return
    made = [tensor for tensor in tensors_in(output) if tag_of(tensor) is not None]
    if not made or all(tracer.state(tensor) is None for tensor in made):
        return
    given = list(tensors_in((args, keywords)))
    sources = sources_of(given)
    parent = tracer.stack[-1]
    if name not in _UNTOLD:
        kind = spoken(name)
        name = f"{kind}()" if parent.module is not None and kind in parent.module._modules else kind
        call = Call(f"{parent.path}.{name}" if parent.path else name, kind, parent.depth + 1, True, None)
        call.input_sizes = [tuple(tensor.shape) for tensor in given]
        call.sources = sources
        call.used = tuple(tensor for tensor in given if isinstance(tensor, nn.Parameter))
        call.mult_adds, tracer.pending = tracer.pending, 0
        tracer.add(call)
        for i, tensor in enumerate(made):
            part = call if i == 0 else _beside(tracer, call, i)
            part.set_output(tensor, tracer.state(tensor))
            part.decided_by_data = tracer.decided_by_data
            tag = tag_of(tensor)
            if tag is not None:
                tag.sources = (len(tracer.calls) - 1,)
        return
    for tensor in made:
        tag = tag_of(tensor)
        if tag is not None and not tag.sources:
            tag.sources = sources
