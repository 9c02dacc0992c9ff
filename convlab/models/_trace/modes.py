"""Interception: torch's functions where there is a rule, and all operators below the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from convlab.models._trace import functions, functions_spatial, operators_shape, operators_spatial, states
from convlab.models._trace.operator import OPERATORS, Operator
from convlab.models._trace.recorder import record_function
from convlab.models._trace.registry import FUNCTIONS, PASS_ON, words
from convlab.models._trace.states import State
from convlab.models._trace.tracer import META, Tag, Tracer, View, put_tag, tag_of, tensors_in

RULE_BOOKS = (functions, functions_spatial, operators_shape, operators_spatial)  # importing them registers their rules

_FACTORIES = words(
    "empty zeros ones full arange linspace logspace rand randn eye empty_strided scalar_tensor new_empty "
    "new_zeros new_ones new_full new_empty_strided zeros_like ones_like full_like empty_like rand_like "
    "randn_like randint_like randperm randint tensor hann_window hamming_window tril_indices triu_indices"
)
_MOVES = words(
    "as_strided narrow diagonal movedim unfold tril triu rot90 pixel_shuffle pixel_unshuffle "
    "channel_shuffle view_copy native_channel_shuffle squeeze_ unsqueeze_ transpose_ t_ swapdims moveaxis "
    "diag_embed repeat_interleave tile unfold_copy permute_copy expand_copy take select_copy slice_copy"
)
ELEMENTWISE = words(
    "where masked_fill dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout lerp "
    "rrelu_with_noise rrelu prelu _prelu_kernel gelu addcmul addcdiv copy bernoulli normal polar complex "
    "clamp hardtanh hardswish threshold floor_divide"
)
_KEPT = "the forward writes an activation to a tensor that the model keeps; the trace leaves that tensor as it was"
_ESCAPES = frozenset(("_local_scalar_dense", "item", "is_nonzero", "equal"))


class OperatorMode(TorchDispatchMode):
    """Watch every operator: run it on tensors without storage (or for real), and its rule on the states."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracer = tracer
        tracer.operators = self

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        op = Operator(self.tracer, func, args, kwargs or {})
        depends = any(self.tracer.state(tensor) is not None for tensor in op.tensors)
        if not depends:
            return self._constant(op)
        if _writes_in_place(op):
            return self._write(op)
        if not _has_rule(op):
            with self:
                output = func.decompose(*args, **op.keywords)
            if output is not NotImplemented:
                return output
        op.output = self._run(op)
        self._tag(op, self._result(op))
        return op.output

    def _run(self, op: Operator) -> Any:
        if op.name in _ESCAPES:
            self.tracer.decide_by_data(op.name)
        keywords = self._with_generator(op)
        if not any(tensor.device.type == "meta" for tensor in op.tensors):
            return op.function(*self._spared(op), **keywords)
        args, keywords = tree_map(self.tracer.as_meta, (op.args, keywords))
        if keywords.get("device") is not None:
            keywords["device"] = META
        args = [META if isinstance(a, torch.device) else a for a in args]
        return op.function(*args, **keywords)

    def _spared(self, op: Operator) -> tuple[Any, ...]:
        """Return the arguments with copies of the statistics that a normalisation in training would move on."""
        if "norm" not in op.name:
            return op.args
        names = [argument.name for argument in op.function._schema.arguments]
        return tuple(
            value.clone() if name.startswith("running_") and isinstance(value, torch.Tensor) else value
            for name, value in zip(names, op.args, strict=False)
        )

    def _with_generator(self, op: Operator) -> dict[str, Any]:
        """Draw from a generator of the trace's own, so that nobody else's stream of random numbers moves on."""
        if any(argument.name == "generator" for argument in op.function._schema.arguments) and op["generator"] is None:
            return op.keywords | {"generator": self.tracer.generator}
        return op.keywords

    # --- constants --------------------------------------------------------------------------------------------

    def _constant(self, op: Operator) -> Any:
        """Run what depends on no input: indices for real, so that their values survive; weights without storage."""
        if op.function._schema.is_mutable and any(map(self.tracer.is_protected, _targets(op))):
            return _targets(op)[0]  # a statistic of the user's model: it stays as it is
        if self.tracer.is_real:
            return self._made(op, op.function(*op.args, **self._with_generator(op)))
        if op.name in _FACTORIES or not op.tensors:
            return self._made(op, self._factory(op))
        if any(tensor.device.type == "meta" or isinstance(tensor, torch.nn.Parameter) for tensor in op.tensors):
            args, keywords = tree_map(self.tracer.as_meta, (op.args, op.keywords))
            if keywords.get("device") is not None:
                keywords["device"] = META
            return self._made(op, op.function(*args, **keywords))
        return self._made(op, op.function(*op.args, **self._with_generator(op)))

    def _factory(self, op: Operator) -> Any:
        keywords = self._with_generator(op)
        if str(keywords.get("device") or "") == "meta":
            keywords = keywords | {"device": torch.device("cpu")}
        if op.tensors and op.tensors[0].device.type == "meta" and not op.name.startswith("empty"):
            return self._like_meta(op, keywords)
        drawn = self._drawn(op, keywords)
        return op.function(*op.args, **keywords) if drawn is None else drawn

    def _like_meta(self, op: Operator, keywords: dict[str, Any]) -> Any:
        args, keywords = tree_map(self.tracer.as_meta, (op.args, keywords))
        return op.function(*args, **{k: v for k, v in keywords.items() if k not in ("device", "generator")})

    def _drawn(self, op: Operator, keywords: dict[str, Any]) -> Any:
        """Draw random numbers with the trace's own generator where the operator has an overload for that."""
        if op.name not in ("rand", "randn", "randint", "randperm") or "generator" in keywords:
            return None
        overload = "low_generator" if op.function._schema.overload_name == "low" else "generator"
        return getattr(op.function.overloadpacket, overload)(*op.args, **keywords, generator=self.tracer.generator)

    def _made(self, op: Operator, output: Any) -> Any:
        for tensor in tensors_in(output):
            if not self.tracer.is_ours(tensor) and not any(tensor is given for given in op.tensors):
                put_tag(tensor, Tag(None))
                if op.function.is_view and len(op.tensors) == 1 and self.tracer.is_ours(op.tensors[0]):
                    put_tag(tensor, Tag(None, _view(op)))
        return output

    # --- writes -----------------------------------------------------------------------------------------------

    def _write(self, op: Operator) -> torch.Tensor:
        target = _targets(op)[0]
        if self.tracer.is_protected(target):
            self.tracer.note(_KEPT)
            return target
        self._run(op)
        ndim = target.dim()
        known = op.states
        if op.name == "copy_":
            state = states.union(known[1:2], ndim)
        elif op.name in ("zero_", "fill_"):
            state = states.union((states.depends_on_all(s, ndim) for s in known[1:]), ndim)
        elif _is_pointwise(op):
            state = states.union(known, ndim)
        else:
            state = states.union((states.depends_on_all(s, ndim) for s in known), ndim)
        self.tracer.write(target, state)
        return target

    # --- results ----------------------------------------------------------------------------------------------

    def _result(self, op: Operator) -> State | list[State]:
        rule = OPERATORS.get(op.name)
        if rule is not None:
            return rule(op)
        if op.name in _FACTORIES:
            return None
        if op.name in _MOVES or (op.function.is_view and len(op.tensors) == 1):
            return self._moved(op)
        if _is_pointwise(op):
            return states.union(op.states, op.made.dim())
        if isinstance(op.made, torch.Tensor):
            self.tracer.note(f"{op.name} is unknown to the trace; it counts as mixing the whole input")
            ndim = op.made.dim()
            return states.union((states.depends_on_all(state, ndim) for state in op.states), ndim)
        return None

    def _moved(self, op: Operator) -> State | list[State]:
        more, keywords, shape = op.args[1:], op.keywords, op.x.shape

        def again(t: torch.Tensor, _: int) -> Any:
            return op.function(t, *more, **keywords)

        if isinstance(op.output, (tuple, list)):
            return states.move_to_many(op.state, shape, again, len(op.output))
        return states.move(op.state, shape, again)

    def _tag(self, op: Operator, result: State | list[State]) -> None:
        outputs = op.output if isinstance(op.output, (tuple, list)) else [op.output]
        if isinstance(result, list):
            for tensor, state in zip(outputs, result, strict=False):
                put_tag(tensor, Tag(state))
            return
        for tensor in outputs:
            if isinstance(tensor, torch.Tensor) and not any(tensor is given for given in op.tensors):
                put_tag(tensor, Tag(_of_dimensions(result, tensor.dim())))
        if op.function.is_view and len(op.tensors) == 1 and isinstance(op.output, torch.Tensor):
            put_tag(op.output, Tag(result, _view(op)))


def _view(op: Operator) -> View:
    return View(op.x, op.function, op.args[1:], op.keywords)


def _of_dimensions(state: State, ndim: int) -> State:
    """Indices and statistics that come beside a result of another shape depend on all of it."""
    if state is None or all(axis is None or axis.lo.ndim == ndim for axis in state):
        return state
    return states.depends_on_all(state, ndim)


def _is_pointwise(op: Operator) -> bool:
    """Whether each element of the result comes from the same element of the arguments; torch tags most, not all."""
    if torch.Tag.pointwise in op.function.tags:
        return True
    name = op.name.removesuffix("_")
    twin = getattr(torch.ops.aten, name, None) if name != op.name else None
    tagged = twin is not None and any(torch.Tag.pointwise in getattr(twin, o).tags for o in twin.overloads())
    return tagged or name in ELEMENTWISE


def _has_rule(op: Operator) -> bool:
    return (
        op.name in OPERATORS
        or op.name in _MOVES
        or op.name in _FACTORIES
        or op.name in _ESCAPES
        or op.function.is_view
        or _is_pointwise(op)
    )


def _writes_in_place(op: Operator) -> bool:
    return bool(op.function._schema.is_mutable) and bool(_targets(op)) and op.name not in OPERATORS


def _targets(op: Operator) -> list[torch.Tensor]:
    """Return the tensors that the operator writes to: the first of an in-place one, else its ``out``."""
    schema = op.function._schema
    return [
        value
        for argument in schema.arguments
        if argument.alias_info is not None
        and argument.alias_info.is_write
        and isinstance(value := op[argument.name], torch.Tensor)
    ]


# Attributes and questions which make no tensor: not worth watching.
_QUESTIONS = words(
    "size dim is_contiguous numel stride is_floating_point __len__ ndimension get_device element_size "
    "is_complex storage_offset is_grad_enabled _assert is_scripting is_tracing __repr__ __format__ "
    "__hash__ is_same_size"
)
_VALUES = frozenset(
    ("numpy", "tolist", "__array__", "__bool__", "__int__", "__float__", "__index__", "item", "__contains__")
)


class FunctionMode(TorchFunctionMode):
    """Watch torch's functions: rules for the hot ones, operators below for the rest, and a record of each."""

    def __init__(self, tracer: Tracer, operators: OperatorMode) -> None:
        super().__init__()
        self.tracer, self.operators = tracer, operators

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args)
        if name in _QUESTIONS:
            return func(*args, **keywords)
        tracer = self.tracer
        target = _target(name, args, keywords)
        if target is not None and tracer.is_protected(target):
            if any(tracer.state(tensor) is not None for tensor in tensors_in(args)):
                tracer.note(_KEPT)
            return None if name == "__setitem__" else target  # not even its version may move on
        tracer.function, tracer.pending = name, 0
        rule = FUNCTIONS.get(func)
        if rule is not None and not tracer.is_real and _on_activations(args, keywords):
            output = rule(tracer, func, args, keywords)
            if output is not PASS_ON:
                record_function(tracer, name, args, keywords, output)
                return output
        if name in _VALUES and any(tracer.state(t) is not None for t in tensors_in(args)):
            tracer.decide_by_data(name)
        output = self._below(func, args, keywords)
        record_function(tracer, name, args, keywords, output)
        return output

    def _below(self, func: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self.tracer.watch_all:
            return func(*args, **keywords)
        with self.operators:
            return func(*args, **keywords)

    def _attribute(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        value = func(*args)
        if isinstance(value, torch.Tensor) and tag_of(value) is None and self.tracer.is_ours(args[0]):
            return self._below(func, args, {})  # .T and the like make tensors
        return value


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
_AUGMENTED = frozenset(f"__i{name}__" for name in _ARITHMETIC)


def _target(name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> torch.Tensor | None:
    """Return the tensor that a function writes to, if it does."""
    target = keywords.get("out")
    if target is None and args and name[-1:] == "_":
        writes = name[-2:] != "__" or name == "__setitem__" or name in _AUGMENTED
        target = args[0] if writes else None
    return target if isinstance(target, torch.Tensor) else None


def _on_activations(args: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    for value in (*args[:2], *keywords.values()) if keywords else args[:2]:
        if isinstance(value, torch.Tensor):
            if value.device.type == "meta" and tag_of(value) is not None:
                return True
        elif isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, torch.Tensor) and tag_of(item) is not None:
                    return True
    return False
