"""What an edit does to a twin: settings, partners that must follow, layers that come and go."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from convlab.models._edit.checks import checked
from convlab.models._edit.errors import EditError, Refusal
from convlab.models._edit.flow import Flow, parameters_of
from convlab.models._edit.flow_layers import refit
from convlab.models._edit.kinds import (
    ACTIVATIONS,
    KINDS,
    Kind,
    arguments_of,
    dims_of_class,
    kind_of,
    settings_of,
    why_not_plain,
)
from convlab.models._edit.labels import channels_in
from convlab.models._edit.twin import Twin
from convlab.models.trace import Trace

GROUPS_AT_MOST: Final = 32
"""Of a GroupNorm: Wu and He, "Group Normalization" (2018)."""


def layer_at(model: nn.Module, path: str, found: Trace | None = None) -> nn.Module:
    """The module of that name.

    Raises:
        EditError: there is none; a function that the forward calls has nothing to be edited.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if path in modules:
        return modules[path]
    called = {record.path: record.kind for record in found.records} if found is not None else {}
    if path in called:
        reason = f"it is a call of {called[path]} in the forward, which has no settings; a module in its place would"
        raise EditError(path, reason)
    near = difflib.get_close_matches(str(path), list(modules), 1)
    raise EditError(path, f"the model has no such layer{f'; did you mean {near[0]}' if near else ''}")


def known_kind(path: str, layer: nn.Module) -> Kind:
    """The layer's class, if it is one that can be edited.

    Raises:
        EditError: it is not, or something else makes its weights.
    """
    if reason := why_not_plain(layer):
        raise EditError(path, f"it {reason}")
    kind = kind_of(layer)
    if kind is None:
        raise EditError(path, f"a {type(layer).__name__} has no settings that are known")
    return kind


def set_otherwise(twin: Twin, base: Flow, path: str, layer: nn.Module, asked: Mapping[str, Any], at: Trace) -> set[int]:
    """Change settings of the live `layer`'s twin, and the channels of its partners; returns those given others."""
    kind = known_kind(path, layer)
    settings = checked(path, layer, dict(asked))
    changed = twin.of(layer)
    if kind.choice in settings:
        replaced(twin, path, changed, _of_another_class(path, layer, settings, at))
        return set()
    targets = set()
    count = settings.get("out_channels", settings.get("out_features"))
    if count is not None:
        _check_pins(base, layer)
        targets.add(id(layer))
        for other, other_path in partners(twin.live, base, layer):
            if isinstance(other, nn.modules.conv._ConvNd):
                _check_groups(arguments_of(other) | {"out_channels": count}, by_groups=False, path=other_path)
            refit(twin.of(other), **{_out(other): count})
            targets.add(id(other))
    if settings:
        _refit(changed, settings)
    return targets


def _refit(layer: nn.Module, settings: dict[str, Any]) -> None:
    if isinstance(layer, nn.modules.conv._ConvNd) and "padding" in settings and isinstance(settings["padding"], str):
        stride = settings.get("stride", layer.stride)
        if settings["padding"] == "same" and any(s != 1 for s in (stride if isinstance(stride, tuple) else (stride,))):
            raise Refusal("padding='same' needs a stride of 1")
    if {"groups", "out_channels"} & set(settings):
        _check_groups(arguments_of(layer) | settings, by_groups="groups" in settings)
    try:
        refit(layer, **settings)
    except ValueError as failure:  # torch's constructors refuse some combinations
        raise Refusal(_first_line(failure)) from failure


def _first_line(failure: Exception) -> str:
    return str(failure).strip().partition("\n")[0].rstrip(".")


def _check_groups(arguments: dict[str, Any], *, by_groups: bool, path: str = "it") -> None:
    groups = arguments["groups"]
    for name in ("in_channels", "out_channels"):
        if arguments[name] % groups:
            reason = f"{path} would work in groups={groups}, which do not divide {name}={arguments[name]}"
            raise Refusal(reason, step=0 if by_groups else groups)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.in_channels > 1


def _out(layer: nn.Module) -> str:
    return "out_features" if isinstance(layer, nn.Linear) else "out_channels"


# -- partners ----------------------------------------------------------------------------------------------------


def partners(model: nn.Module, base: Flow, layer: nn.Module) -> list[tuple[nn.Module, str]]:
    """The other layers whose channels must be as many as this one's, as a sum (or a product) ties them.

    Raises:
        Refusal: they are tied in part only, or one of them cannot be edited.
    """
    if not hasattr(layer, _out(layer)) or _is_depthwise(layer):
        return []
    mine = base.roots_of(layer)
    others = {token for root in mine for token in base.tied.get(root, ())} - {id(layer)}
    if not others:
        return []
    paths = {id(module): (module, path) for path, module in model.named_modules()}
    found = []
    for token, (other, path) in paths.items():  # in the model's order, so that a refusal always names the same one
        if token not in others:
            continue
        if base.roots_of(other) != mine:
            raise Refusal(f"some of its channels are added to some of {path}'s, and only some", never=True)
        if reason := why_not_plain(other):
            raise Refusal(f"its channels are added to those of {path}, which {reason}", never=True)
        found.append((other, path))
    return found


def _check_pins(base: Flow, layer: nn.Module) -> None:
    """Refuse where a channel of the layer, or one that is tied to it, must stay."""
    roots = set(base.roots_of(layer))
    if _is_depthwise(layer):
        taken = (use.taken for use in base.uses.get(id(layer), ()) if use.taken is not None)
        roots = {base.root(label) for keys in taken for label in channels_in(keys).tolist()}
    for label, reason in base.pins.items():
        if base.root(label) in roots:
            raise Refusal(f"what it makes {reason}", never=True)


# -- another class -----------------------------------------------------------------------------------------------


def replaced(twin: Twin, path: str, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put a module in the place of a twin's, wherever that is registered."""
    if old is twin.model:
        raise EditError(path, "it is the whole model, which has no place to be replaced in")
    live = twin.stands_for.get(id(old))
    if live is not None:
        _check_not_in_lists(twin.live, path, live)
        twin.instead_of[id(new)] = live
    new.training = old.training
    for module in list(twin.model.modules()):
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
    return new


def _check_not_in_lists(model: nn.Module, path: str, layer: nn.Module) -> None:
    for module in model.modules():
        for name, value in vars(module).items():
            if name[:1] == "_":
                continue
            held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
            if any(one is layer for one in held):
                reason = f"the model also holds it in {name}, which is no registered place; an nn.ModuleList would be"
                raise EditError(path, reason)


def _of_another_class(path: str, layer: nn.Module, settings: dict[str, Any], at: Trace) -> nn.Module:
    kind = KINDS[type(layer)]
    word = settings[kind.choice]
    given = {name: value for name, value in settings.items() if name != kind.choice}
    if kind.choice == "activation":
        made = ACTIVATIONS[word]
        kept = {**settings_of(layer), **given}
        return _made(path, made, _taken(made, kept), given, layer)
    size = _size_at(path, at)
    if kind.choice == "norm":
        return _norm(path, word, layer, size, given)
    return _pool(path, word, layer, given)


def _size_at(path: str, at: Trace) -> tuple[int, ...]:
    try:
        return at[path].input_size
    except KeyError:
        raise EditError(path, "the forward does not call it, so that nothing tells what it would be given") from None


def _taken(made: type[nn.Module], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in KINDS[made].arguments}


def _made(
    path: str, made: type[nn.Module], arguments: dict[str, Any], given: Mapping[str, Any], like: nn.Module | None
) -> nn.Module:
    for name in given:
        if name not in KINDS[made].arguments:
            raise EditError(
                path, f"a {made.__name__} has no setting {name!r}; it has {_or_none(KINDS[made].arguments)}"
            )
    own: dict[str, Any] = {}
    if made is nn.PReLU or (KINDS[made].family in ("conv", "linear", "norm") and made is not nn.Identity):
        own = {"device": "meta"}
        if like is not None and (weights := parameters_of(like)):
            own["dtype"] = weights[0].dtype
    try:
        return made(**arguments, **own)
    except (ValueError, TypeError) as failure:
        raise EditError(path, _first_line(failure)) from failure


def _or_none(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "none"


def norm_class(word: str, ndim: int) -> type[nn.Module]:
    """The class of a normalisation for activations of so many dimensions."""
    dims = max(1, ndim - 2)
    classes: dict[str, type[nn.Module]] = {"group": nn.GroupNorm, "layer": nn.LayerNorm, "none": nn.Identity}
    kind = {"batch": "BatchNorm", "instance": "InstanceNorm"}.get(word, "")
    made: type[nn.Module] = classes.get(word) or getattr(nn, f"{kind}{dims}d")
    return made


def num_groups_for(channels: int) -> int:
    """The most groups of at least two channels, 32 at most."""
    return max((g for g in range(1, GROUPS_AT_MOST + 1) if channels % g == 0 and channels // g > 1), default=1)


def _norm(path: str, word: str, layer: nn.Module, size: tuple[int, ...], given: dict[str, Any]) -> nn.Module:
    made = norm_class(word, len(size))
    if made is not nn.Identity and len(size) < (3 if word == "instance" else 2):
        raise EditError(path, f"a {made.__name__} does not take an input of {size}")
    kept = {name: value for name, value in arguments_of(layer).items() if name in ("eps", "momentum")}
    is_affine = layer._parameters.get("weight") is not None or isinstance(layer, nn.Identity)
    values: dict[str, Any] = {**kept, "affine": is_affine, "elementwise_affine": is_affine}
    if len(size) > 1:
        values |= {"num_features": size[1], "num_channels": size[1], "normalized_shape": size[1:]}
        values["num_groups"] = num_groups_for(size[1])
    return _made(path, made, _taken(made, values | given), given, layer)


def _pool(path: str, word: str, layer: nn.Module, given: dict[str, Any]) -> nn.Module:
    was, new = ("Avg", "Max") if word == "max" else ("Max", "Avg")
    made: type[nn.Module] = getattr(nn, type(layer).__name__.replace(was, new))
    values = settings_of(layer) | arguments_of(layer) | settings_of(layer)
    if values.pop("return_indices", False):
        raise EditError(path, "it returns indices, which average pooling does not have")
    dilation = values.pop("dilation", 1)
    if word == "avg" and any(d != 1 for d in (dilation if isinstance(dilation, tuple) else (dilation,))):
        raise EditError(path, f"its dilation is {dilation}, which average pooling does not have; set dilation=1 first")
    return _made(path, made, _taken(made, values | given), given, layer)


def described(layer: object, path: str, size: tuple[int, ...]) -> dict[str, Any]:
    """A layer that is to be put in, as plain data: its class and the arguments that make it.

    ``layer`` is a module whose settings are taken, or a name such as ``"batchnorm"``, ``"Dropout"``, ``"ReLU"``.
    """
    if isinstance(layer, nn.Module):
        if kind_of(layer) is None or why_not_plain(layer):
            known = ", ".join(sorted({kind.__name__ for kind in KINDS}))
            raise EditError(path, f"a {type(layer).__name__} cannot be described as plain data; these can: {known}")
        return {"layer": type(layer).__name__, **arguments_of(layer)}
    word = str(layer).lower()
    for norm in ("batch", "group", "instance", "layer"):
        if word in (norm, f"{norm}norm", f"{norm}_norm"):
            return {"layer": norm_class(norm, len(size)).__name__}
    by_name = {kind.__name__.lower(): kind.__name__ for kind in KINDS}
    if word in by_name:
        return {"layer": by_name[word]}
    near = difflib.get_close_matches(word, list(by_name), 1)
    raise EditError(path, f"there is no layer {layer!r} to put in; try {by_name[near[0]] if near else 'Dropout'!r}")


# -- Sequential --------------------------------------------------------------------------------------------------


def new_layer(path: str, settings: Mapping[str, Any], size: tuple[int, ...], like: nn.Module | None) -> nn.Module:
    """Make what `described` describes, without values; what is left out follows from the place."""
    given = {name: value for name, value in settings.items() if name != "layer"}
    made = next((kind for kind in KINDS if kind.__name__ == settings.get("layer")), None)
    if made is None:
        raise EditError(path, f"there is no layer {settings.get('layer')!r} to put in")
    if (dims := dims_of_class(made)) and len(size) not in _ndims(made, dims):
        taken = " or ".join(map(str, _ndims(made, dims)))
        raise EditError(path, f"a {made.__name__} takes {taken} dimensions, and what stands there is {size}")
    values = given
    if len(size) > 1:
        usual = {
            "num_features": size[1],
            "num_channels": size[1],
            "normalized_shape": size[1:],
            "num_groups": num_groups_for(size[1]),
            "in_channels": size[1],
            "in_features": size[-1],
        }
        values = _taken(made, usual) | given
    return _made(path, made, values, given, like)


def _ndims(made: type[nn.Module], dims: int) -> tuple[int, ...]:
    """Numbers of dimensions, batch included, that a class takes."""
    return (2, 3) if made is nn.BatchNorm1d else (dims + 2,)


def place_of(model: nn.Module, path: str) -> tuple[nn.Sequential, str]:
    """The Sequential that holds the layer, and the layer's name in it.

    Raises:
        EditError: another module holds it, whose forward calls it by name.
    """
    layer_at(model, path)
    above, _, name = path.rpartition(".")
    parent = model.get_submodule(above)
    if not path or type(parent) is not nn.Sequential:
        holder = type(parent).__name__ if path else "nothing"
        raise EditError(path, f"it stands in {holder}, and only an nn.Sequential calls whatever it holds")
    return parent, name


def inserted(parent: nn.Sequential, name: str, new: nn.Module, *, after: bool) -> str:
    """Put a layer beside the one called `name`; returns the new one's name. Numbered layers are numbered anew."""
    items = list(parent._modules.items())
    at = [n for n, _ in items].index(name) + after
    is_numbered = [n for n, _ in items] == [str(i) for i in range(len(items))]
    called = _free_name(parent, type(new).__name__.lower())
    items.insert(at, (called, new))
    parent._modules.clear()
    parent._modules.update({str(i) if is_numbered else n: module for i, (n, module) in enumerate(items)})
    return str(at) if is_numbered else called


def removed(parent: nn.Sequential, name: str) -> None:
    """Take a layer out. Numbered layers are numbered anew."""
    items = list(parent._modules.items())
    is_numbered = [n for n, _ in items] == [str(i) for i in range(len(items))]
    left = [(n, module) for n, module in items if n != name]
    parent._modules.clear()
    parent._modules.update({str(i) if is_numbered else n: module for i, (n, module) in enumerate(left)})


def _free_name(parent: nn.Sequential, word: str) -> str:
    if word not in parent._modules:
        return word
    return next(f"{word}{i}" for i in range(2, len(parent._modules) + 3) if f"{word}{i}" not in parent._modules)
