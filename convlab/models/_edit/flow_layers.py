"""What a layer with weights does in a forward on labels: it notes what it is given, fits itself, labels its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _pop_mode_temporarily

from convlab.models._edit import labels as names
from convlab.models._edit.errors import Refusal
from convlab.models._edit.flow import Flow, labels_of, parameters_of
from convlab.models._edit.flow_rules import window
from convlab.models._edit.kinds import arguments_of, dims_of, kind_of, why_not_plain
from convlab.models._edit.labels import Labelled
from convlab.models._edit.replay import called
from convlab.models._trace import table
from convlab.models._trace.recorder import kind_of as class_of
from convlab.models._trace.tracer import tensors_in, tensors_of

_MACHINERY = frozenset(vars(nn.Module()))
Native = Callable[[Tensor], Tensor]


def call_layer(flow: Flow, layer: nn.Module, token: int, native: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run one layer without children."""
    x = args[0] if len(args) == 1 and not kwargs else None
    found = labels_of(x) if isinstance(x, Tensor) else None
    rule = _rule(layer)
    if rule is not None and isinstance(x, Tensor) and found is not None and not why_not_plain(layer):
        with _pop_mode_temporarily():  # else the labels' own operations would be followed too
            return called(flow, layer, token, x, found, lambda: rule(flow, layer, token, native, x, found), native)
    if not parameters_of(layer) and "parametrizations" not in layer._modules:
        return native(*args, **kwargs)
    flow.running = True
    try:
        output = native(*args, **kwargs)
    finally:
        flow.running = False
    path = flow.path or type(layer).__name__
    flow.lose(tensors_in(output), tensors_in((args, kwargs)), f"{path} ({class_of(layer)})")
    return output


def _rule(layer: nn.Module) -> Callable[..., Tensor] | None:
    kind = kind_of(layer)
    if kind is None:
        return None
    if kind.family == "conv":
        return _convolution
    if kind.family == "linear":
        return _linear
    if kind.family in ("dropout", "activation") and not isinstance(layer, nn.PReLU):
        return _as_it_is
    if kind.family == "pool":
        return _pooling
    if isinstance(layer, nn.PReLU):
        return _per_channel if layer.num_parameters > 1 else _as_it_is
    if kind.family != "norm" or isinstance(layer, nn.Identity):
        return None
    return _layer_norm if isinstance(layer, nn.LayerNorm) else _per_channel


_BARE: dict[type[nn.Module], type[nn.Module]] = {}


def _bare(kind: type[nn.Module]) -> type[nn.Module]:
    """The class without its initialisation, which takes its time on meta too."""
    if kind not in _BARE:
        _BARE[kind] = type(kind.__name__, (kind,), {"reset_parameters": lambda _: None})
    return _BARE[kind]


def refit(layer: nn.Module, **changes: Any) -> None:
    """Give a layer on meta other arguments, and weights of the shapes that these ask for."""
    like = next(iter(parameters_of(layer)), None)
    made = _bare(type(layer))(**(arguments_of(layer) | changes), **weightless(layer))
    for name, value in vars(made).items():
        if name not in _MACHINERY:
            vars(layer)[name] = value
    needs_grad = like is None or like.requires_grad
    for name, parameter in made._parameters.items():
        layer._parameters[name] = parameter
        if parameter is not None:
            parameter.requires_grad_(needs_grad)
    layer._buffers.update(made._buffers)


def weightless(layer: nn.Module) -> dict[str, Any]:
    """Constructor arguments for a layer without values, where its class has any weights."""
    kind = kind_of(layer)
    if kind is None or (kind.family not in ("conv", "linear", "norm") and not isinstance(layer, nn.PReLU)):
        return {}
    like = next(iter(parameters_of(layer)), None)
    return {"device": "meta", "dtype": like.dtype if like is not None else torch.get_default_dtype()}


# -- convolutions ------------------------------------------------------------------------------------------------


def _convolution(flow: Flow, layer: Any, token: int, native: Native, x: Tensor, found: Labelled) -> Tensor:
    dims = dims_of(layer)
    dim = x.dim() - dims - 1
    if dim < 0:
        return native(x)  # torch says what is wrong
    count = x.shape[dim]
    taken = names.read_along(found.channel, dim)
    if taken is None:
        flow.pin(found.channel, f"meets {flow.path} across its channels")
    is_depthwise = layer.groups == layer.in_channels > 1
    if count != layer.in_channels:
        if taken is None:
            raise Refusal(
                f"{flow.path} takes {layer.in_channels} channels that cannot be followed to where they are made"
            )
        if is_depthwise:
            each = layer.out_channels // layer.in_channels
            refit(layer, in_channels=count, groups=count, out_channels=each * count)
        elif count % layer.groups:
            raise Refusal(
                f"{flow.path} works in groups={layer.groups}, which do not divide its input's {count} channels",
                step=layer.groups,
            )
        else:
            refit(layer, in_channels=count)
    y = x.new_empty(_size_of(flow, layer, x, dim))
    made = channels = flow.labels.outputs(token, layer.out_channels, layer.groups)
    if is_depthwise and taken is not None:
        each = layer.out_channels // count
        made = flow.labels.many(("depthwise", token, label, i) for label in taken.tolist() for i in range(each))
        channels = made.clone()
        channels[::each] = taken  # the first of each is known as the one that it is made of
    flow.fresh(y, channels, dim, range(dim + 1, y.dim()))
    flow.note(token, None if taken is None else names.keys_of(taken), names.keys_of(made))
    return y


def _size_of(flow: Flow, layer: Any, x: Tensor, dim: int) -> tuple[int, ...]:
    sizes = tuple(x.shape[dim + 1 :])
    more = (layer.output_padding,) if layer.transposed else ()
    rule = table.conv_transpose if layer.transposed else table.conv
    try:
        made = rule(sizes, layer.kernel_size, layer.stride, layer.padding, *more, layer.dilation)
    except ValueError as refusal:
        raise Refusal(f"{flow.path}.{str(refusal).partition('; ')[0]}") from None
    return (*x.shape[:dim], layer.out_channels, *(one.output_size for one in made))


# -- linear ------------------------------------------------------------------------------------------------------


def _linear(flow: Flow, layer: Any, token: int, _: Native, x: Tensor, found: Labelled) -> Tensor:
    last = x.dim() - 1
    count = x.shape[last]
    rows_differ = any(names.varies(found.channel, dim) for dim in range(last))
    mixes_places = rows_differ and not names.varies(found.channel, last)
    taken = None
    if not rows_differ:
        row = (0,) * last
        taken = names.keys_of(found.channel[row].clone(), found.place[row].clone())
    elif mixes_places:
        taken = np.arange(count, dtype=np.int64)
    else:
        flow.pin(found.channel, f"meets {flow.path} in rows of different channels")
    if count != layer.in_features:
        if taken is None:
            raise Refusal(
                f"{flow.path} takes {layer.in_features} features that cannot be followed to where they are made"
            )
        refit(layer, in_features=count)
    y = x.new_empty((*x.shape[:-1], layer.out_features))
    made = flow.labels.outputs(token, layer.out_features)
    if mixes_places:
        shape = tuple(y.shape)
        channel = found.channel.narrow(last, 0, 1).expand(shape)
        flow.put(y, channel, names.along(names.columns(made), last, shape))
    else:
        flow.fresh(y, made, last)
    flow.note(token, taken, names.keys_of(made))
    return y


# -- normalisation -----------------------------------------------------------------------------------------------


def _as_it_is(flow: Flow, layer: Any, token: int, _: Native, x: Tensor, found: Labelled) -> Tensor:
    y = x if getattr(layer, "inplace", False) else torch.empty_like(x)
    flow.put(y, found.channel, found.place)
    flow.note(token, np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    return y


def _pooling(flow: Flow, layer: Any, _: int, native: Native, x: Tensor, __: Labelled) -> Tensor:
    y = native(x)
    if not window(flow, x, tensors_of(y), dims_of(layer)):
        flow.lose(tensors_of(y), [x], flow.path)
    return y


def _per_channel(flow: Flow, layer: Any, token: int, native: Native, x: Tensor, found: Labelled) -> Tensor:
    unbatched = isinstance(layer, nn.modules.instancenorm._InstanceNorm) and x.dim() == dims_of(layer) + 1
    dim = 0 if unbatched else 1
    if x.dim() <= dim:
        return native(x)
    count, taken = x.shape[dim], names.read_along(found.channel, dim)
    name = next(n for n in ("num_features", "num_channels", "num_parameters") if hasattr(layer, n))
    if taken is None:
        flow.pin(found.channel, f"meets {flow.path} across its channels")
    if isinstance(layer, nn.GroupNorm) and count % layer.num_groups:
        raise Refusal(
            f"{flow.path} normalises num_groups={layer.num_groups} groups, which do not divide {count} channels",
            step=layer.num_groups,
        )
    if count != getattr(layer, name):
        if taken is None:
            raise Refusal(
                f"{flow.path} takes {getattr(layer, name)} channels that cannot be followed to where they are made"
            )
        refit(layer, **{name: count})
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        layer._check_input_dim(x)
    y = torch.empty_like(x)
    flow.put(y, found.channel, found.place)
    keys = None if taken is None else names.keys_of(taken)
    flow.note(token, keys, keys)
    return y


def _layer_norm(flow: Flow, layer: Any, token: int, native: Native, x: Tensor, found: Labelled) -> Tensor:
    count = len(layer.normalized_shape)
    lead = x.dim() - count
    if lead < 0:
        return native(x)
    row = (0,) * lead
    taken = names.keys_of(found.channel[row].reshape(-1).clone(), found.place[row].reshape(-1).clone())
    if any(names.varies(found.channel, dim) for dim in range(lead)):
        taken = np.arange(len(taken), dtype=np.int64)  # over positions, and each channel by itself
    if (shape := tuple(x.shape[lead:])) != tuple(layer.normalized_shape):
        refit(layer, normalized_shape=shape)
    y = torch.empty_like(x)
    flow.put(y, found.channel, found.place)
    flow.note(token, taken, taken)
    return y
