"""The model as it would be with one layer set otherwise, to be traced while the live one goes on training."""

import copy
from typing import Any, Final

from torch import nn

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
"""Which settings of which layers `what_if` can change."""


def adjustable(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Path of each layer whose geometry can be tried out, and the names of its settings.

    Example:
        >>> adjustable(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU()))
        {'0': ('kernel_size', 'stride', 'padding', 'dilation')}
    """
    return {path: ADJUSTABLE[type(layer)] for path, layer in model.named_modules() if type(layer) in ADJUSTABLE}


def what_if(model: nn.Module, path: str, **settings: Any) -> nn.Module:
    """A copy of `model` with the layer at `path` set otherwise; everything else is shared, nothing is computed.

    A convolution's new weight has a shape and no values (it is on torch's meta device), so the copy is there to be
    traced, not trained. The model itself is not touched, also while a run trains it.

    Args:
        model: any `nn.Module`.
        path: the layer's name in ``model.named_modules()``.
        settings: ``kernel_size``, ``stride``, ``padding``, ``dilation``, as torch takes them.

    Raises:
        KeyError: there is no such layer.
        ValueError: the layer has no such setting, or torch refuses the value.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 6, 3))
        >>> what_if(net, "0", kernel_size=5)[0].weight.shape, net[0].weight.shape
        (torch.Size([6, 1, 5, 5]), torch.Size([6, 1, 3, 3]))
    """
    known = adjustable(model)
    if path not in known:
        raise KeyError(f"the model has no layer {path!r} to set otherwise; it has {', '.join(known) or 'none'}")
    for name in settings:
        if name not in known[path]:
            raise ValueError(f"{path} has no setting {name!r} to try out; it has {', '.join(known[path])}.")
    layer = model.get_submodule(path)
    return _with(model, layer, _set_otherwise(layer, settings))


def _set_otherwise(layer: nn.Module, settings: dict[str, Any]) -> nn.Module:
    if not isinstance(layer, nn.modules.conv._ConvNd):
        changed = copy.copy(layer)
        vars(changed).update(settings)
        return changed
    arguments: dict[str, Any] = {
        name: getattr(layer, name)
        for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    }
    if layer.transposed:
        arguments["output_padding"] = layer.output_padding
    arguments.update(settings)
    made: nn.Module = type(layer)(
        layer.in_channels, layer.out_channels, **arguments, bias=layer.bias is not None, device="meta"
    )
    return made.train(layer.training)


def _with(module: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """`module` with `old` replaced wherever it is registered; only what lies above it is copied."""
    if module is old:
        return new
    children = {name: child and _with(child, old, new) for name, child in module._modules.items()}
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    changed = copy.copy(module)
    changed.__dict__["_modules"] = children
    return changed


def settings_of(model: nn.Module, path: str) -> dict[str, int | None]:
    """The layer's settings as one number each, for sliders; None where the axes differ or the value is no number."""
    layer = model.get_submodule(path)
    return {name: _one_number(getattr(layer, name)) for name in ADJUSTABLE[type(layer)]}


def _one_number(value: Any) -> int | None:
    values = set(value) if isinstance(value, tuple) else {value}
    only = values.pop()
    return only if not values and isinstance(only, int) else None


def common_padding(kernel_size: int, dilation: int) -> int:
    """The padding on each side that keeps the size at stride 1 (for an even kernel: one unit less than needed).

    Example:
        >>> common_padding(3, 1), common_padding(5, 2)
        (1, 4)
    """
    return dilation * (kernel_size - 1) // 2
