"""The layers of a model that are not those that its class makes, since somebody edited it."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from convlab.models.calls import made
from convlab.models.plan import Call


def differences(
    made_anew: nn.Module, model: nn.Module, call_of: Callable[[nn.Module], Call | None]
) -> dict[str, Call | str] | None:
    """By path, what makes the layer that stands there now, or the path where it stands already; None if nobody knows.

    A whole `nn.Sequential` where layers came in or went; else single layers.
    """
    found: dict[str, Call | str] = {}
    first: dict[int, str] = {}

    def compare(path: str, ours: nn.Module, theirs: nn.Module) -> bool:
        if path and (known := first.setdefault(id(theirs), path)) != path:
            if known in found:
                found[path] = known
            return True
        names = list(theirs._modules)
        if type(ours) is type(theirs) and names and names == list(ours._modules):
            pairs = zip(names, ours._modules.values(), theirs._modules.values(), strict=True)
            return all(
                compare(f"{path}.{name}" if path else name, mine, child)
                for name, mine, child in pairs
                if mine is not None and child is not None
            )
        if type(ours) is type(theirs) and not names and _described(ours) == _described(theirs):
            return True
        call = call_of(theirs) if path else None
        if call is not None:
            found[path] = call
        return call is not None

    return found if compare("", made_anew, model) else None


def _described(layer: nn.Module) -> object:
    return repr(layer), [(name, tuple(value.shape)) for name, value in layer.state_dict().items()]


def changed(model: nn.Module, layers: Mapping[str, Call | str], names: Mapping[str, Any]) -> nn.Module:
    """The model with these layers in their places, made in their order."""
    for path, layer in layers.items():
        parent, _, name = path.rpartition(".")
        new = model.get_submodule(layer) if isinstance(layer, str) else made(layer, names)
        setattr(model.get_submodule(parent), name, new)
    return model
