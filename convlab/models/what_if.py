"""The model as it would be with one layer set otherwise, to be traced while the live one goes on training."""

import copy
import re
from types import MethodType
from typing import Any, Final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convlab.models.trace import Trace, trace

_CONV: Final = ("kernel_size", "stride", "padding", "dilation")
_POOL: Final = ("kernel_size", "stride", "padding")

ADJUSTABLE: Final[dict[type[nn.Module], tuple[str, ...]]] = {
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.ConvTranspose1d: _CONV,
    nn.ConvTranspose2d: _CONV,
    nn.ConvTranspose3d: _CONV,
    nn.MaxPool1d: _CONV,
    nn.MaxPool2d: _CONV,
    nn.MaxPool3d: _CONV,
    nn.AvgPool1d: _POOL,
    nn.AvgPool2d: _POOL,
    nn.AvgPool3d: _POOL,
}
"""Which settings of which layers `what_if` can change; a subclass may mean something else by them, and is left out."""

_GEOMETRY: Final = (*_CONV, "output_padding", "_reversed_padding_repeated_twice")


def adjustable(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Path of each layer whose geometry can be tried out, and the names of its settings.

    Example:
        >>> adjustable(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU()))
        {'0': ('kernel_size', 'stride', 'padding', 'dilation')}
    """
    layers = ((path, layer) for path, layer in model.named_modules() if not isinstance(layer, nn.Linear))
    return {path: settings for path, layer in layers if (settings := _settings_of(layer))}


def _settings_of(layer: nn.Module) -> tuple[str, ...]:
    settings = ("in_features",) if type(layer) is nn.Linear else ADJUSTABLE.get(type(layer), ())
    if not isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
        return settings
    # A weight that something else makes (weight_norm, pruning), or that is not there yet, has a shape of its own.
    weight = layer._parameters.get("weight")
    is_plain = weight is not None and set(layer._parameters) == {"weight", "bias"} and not is_lazy(weight)
    return settings if is_plain else ()


def stand_in(model: nn.Module) -> nn.Module:
    """A copy of the model's modules around the model's own tensors, to be traced while a run trains the model.

    A trace, or a person's hook, may set attributes of the modules that it meets and put them back; on a live model this
    would undo what the training thread did meanwhile, such as going over to eval mode.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> stand_in(net) is net, stand_in(net).weight is net.weight
        (False, True)
    """
    return _copied(model, {})


def _copied(model: nn.Module, made: dict[int, Any]) -> nn.Module:
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copied: nn.Module = copy.deepcopy(model, memo | made)
    return copied


def what_if(model: nn.Module, path: str, **settings: Any) -> nn.Module:
    """A copy of `model` with the layer at `path` set otherwise; everything else is shared, nothing is computed.

    A convolution's new weight has a shape and no values (it is on torch's meta device), so the copy is there to be
    traced, not trained. The model itself is not touched. Where a run trains it meanwhile, give a `stand_in` of it.

    Args:
        model: any `nn.Module`.
        path: the layer's name in ``model.named_modules()``.
        settings: ``kernel_size``, ``stride``, ``padding``, ``dilation``, as torch takes them; for a `nn.Linear`,
            ``in_features``.

    Raises:
        KeyError: there is no such layer.
        ValueError: the layer has no such setting, or torch refuses the value.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 6, 3))
        >>> what_if(net, "0", kernel_size=5)[0].weight.shape, net[0].weight.shape
        (torch.Size([6, 1, 5, 5]), torch.Size([6, 1, 3, 3]))
    """
    layer = dict(model.named_modules(remove_duplicate=False)).get(path)
    known = _settings_of(layer) if layer is not None else ()
    if layer is None or not known:
        raise KeyError(
            f"the model has no layer {path!r} to set otherwise; it has {', '.join(adjustable(model)) or 'none'}"
        )
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{path} has no setting {name!r} to try out; it has {', '.join(known)}.")
        _check(path, name, value, type(layer))
    made = {id(layer): _set_otherwise(layer, settings)}
    return _copied(model, made) if _has_modules_in_lists(model) else _with(model, made)


def _check(path: str, name: str, value: Any, kind: type[nn.Module]) -> None:
    """Refuse what torch would take for something else, or refuse in words that name no layer."""
    if name == "padding" and value in ("same", "valid") and issubclass(kind, nn.modules.conv._ConvNd):
        return
    least = 0 if name == "padding" else 1
    count = int(kind.__name__[-2]) if kind is not nn.Linear else 1
    values = value if isinstance(value, tuple) else (value,) * count
    if len(values) != count or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in values):
        tuples = f" or a tuple of {count}" if count > 1 else ""
        raise ValueError(
            f"{path}.{name} must be a whole number from {least}{tuples}, got {value!r}; try {name}={least}."
        )


def _set_otherwise(layer: nn.Module, settings: dict[str, Any]) -> nn.Module:
    changed = copy.copy(layer)
    changed.__dict__["_parameters"] = dict(layer._parameters)
    if isinstance(layer, nn.Linear):
        vars(changed).update(settings)
        changed.weight = _weightless((layer.out_features, settings.get("in_features", layer.in_features)), layer.weight)
        return changed
    if not isinstance(layer, nn.modules.conv._ConvNd):
        vars(changed).update(settings)
        return changed
    arguments: dict[str, Any] = {name: getattr(layer, name) for name in (*_CONV, "groups", "padding_mode")}
    if layer.transposed:
        arguments["output_padding"] = layer.output_padding
    arguments.update(settings)
    made = type(layer)(layer.in_channels, layer.out_channels, **arguments, bias=False, device="meta")
    vars(changed).update({name: getattr(made, name) for name in _GEOMETRY if hasattr(made, name)})
    changed.weight = _weightless(tuple(made.weight.shape), layer.weight)
    return changed


def _weightless(shape: tuple[int, ...], like: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=like.dtype, device="meta"), requires_grad=like.requires_grad)


def _with(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """`module` with others in place of some below it; `made` holds them by the old ones' id, and grows.

    Only what lies above a new one is copied, each module once however often it is registered.
    """
    if id(module) not in made:
        children = {name: child and _with(child, made) for name, child in module._modules.items()}
        if all(child is module._modules[name] for name, child in children.items()):
            made[id(module)] = module
        else:
            changed = made[id(module)] = copy.copy(module)
            changed.__dict__["_modules"] = children
            for name, value in vars(module).items():  # a forward that was put on this very object
                if isinstance(value, MethodType) and value.__self__ is module:
                    vars(changed)[name] = MethodType(value.__func__, changed)
    return made[id(module)]


def _has_modules_in_lists(model: nn.Module) -> bool:
    """Whether a forward may find a module elsewhere than among the registered ones: in a plain list, tuple or dict."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name[:1] != "_" and isinstance(value, (list, tuple, dict)):
                held = value.values() if isinstance(value, dict) else value
                if any(isinstance(one, nn.Module) for one in held):
                    return True
    return False


def settings_of(model: nn.Module, path: str) -> dict[str, Any]:
    """The layer's settings as one value each: a number, a word as in ``padding="same"``, a tuple where axes differ.

    Example:
        >>> settings_of(nn.Sequential(nn.Conv2d(1, 6, (3, 5), padding="same")), "0")
        {'kernel_size': (3, 5), 'stride': 1, 'padding': 'same', 'dilation': 1}
    """
    layer = model.get_submodule(path)
    return {name: _one_value(getattr(layer, name)) for name in _settings_of(layer)}


def _one_value(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def padding_that_keeps_size(padding: int, old: tuple[int, int], new: tuple[int, int]) -> int:
    """The padding with which a layer's output keeps its size when its (kernel_size, dilation) goes from `old` to `new`.

    The size depends on ``2 * padding - dilation * (kernel_size - 1)``, whatever the stride; an even kernel in
    place of an odd one costs one unit, and where padding would have to be negative the output grows.

    Example:
        >>> padding_that_keeps_size(1, old=(3, 1), new=(5, 2))
        4
    """
    (old_kernel, old_dilation), (new_kernel, new_dilation) = old, new
    more = new_dilation * (new_kernel - 1) - old_dilation * (old_kernel - 1)
    return max(0, padding + more // 2)


def trace_refitted(model: nn.Module, input_size: Any) -> tuple[Trace, dict[str, int]]:
    """Trace `model`; a linear layer whose ``in_features`` no longer fit is traced with those that would.

    Returns the trace and the new ``in_features`` by path, empty where all fitted. Other misfits end the trace as ever.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 10))
        >>> found, refitted = trace_refitted(net, (1, 1, 8, 8))
        >>> refitted, found.output.output_size
        ({'2': 72}, (1, 10))
    """
    refitted: dict[str, int] = {}
    while True:
        found = trace(model, input_size)
        error = found.error
        should_be = error and re.search(r"in_features should be (\d+)", error.repair)
        if error is None or not should_be or error.path in refitted:
            return found, refitted
        layer = dict(model.named_modules()).get(error.path)
        if layer is None or _settings_of(layer) != ("in_features",):
            return found, refitted
        refitted[error.path] = int(should_be[1])
        model = what_if(model, error.path, in_features=refitted[error.path])
