"""Source that makes a live model again: torch's own layers from their attributes, a user's class by its import."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from types import ModuleType
from typing import Any, Final

from torch import Tensor, nn

from convlab.models.branches import Add, Concat
from convlab.models.calls import calls, made, source
from convlab.models.places import assigned, oddly_numbered, place
from convlab.models.plan import Call
from convlab.models.source_layers import changed, differences
from convlab.models.streams import own_stream

_Dropout = nn.modules.dropout._DropoutNd
_PLAIN: Final = (bool, int, float, str, type(None))
# Sizes whose length says how many dimensions there are: (8, 8) is not 8.
_KEPT_WHOLE: Final = ("normalized_shape", "unflattened_size", "dims")
_BRANCHES: Final = (Add, Concat)
_YOURS: Final = "# Put your own source of {} here."


@dataclass(frozen=True)
class ModelSource:
    """How a script makes a model.

    Attributes:
        code: the statement, ``model = ...``.
        imports: the lines that it needs first, each an import.
        definitions: source of the classes that it needs and that no import has.
        call: makes the model, for code; None where nobody knows what the user's class was made with.
        layers: those that another took the place of since, by path: what makes it, or where it stands already.
    """

    code: str
    imports: frozenset[str] = frozenset()
    definitions: tuple[str, ...] = ()
    call: Call | None = None
    names: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Call | str] = field(default_factory=dict)

    def build(self, seed: int) -> nn.Module | None:
        """The model with the weights that it draws after ``torch.manual_seed(seed)``; None where it cannot be made."""
        if self.call is None:
            return None
        with own_stream(seed):
            try:
                model = made(self.call, self.names)
                return changed(model, self.layers, self.names) if isinstance(model, nn.Module) else None
            except Exception:  # a user's own constructor
                return None


def model_source(model: nn.Module) -> str:
    """Plain PyTorch source that makes a model like `model`, without this package; its weights are not in it.

    An `nn.Sequential` of torch's own layers is written out from the layers as they are now, edits and all.
    A class of a user's own is imported, or its source is taken along where it was written in a notebook.

    Example:
        >>> print(model_source(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten())))
        from torch import nn
        <BLANKLINE>
        model = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        <BLANKLINE>
    """
    found = source_of(model)
    parts = ["\n\n\n".join(found.definitions)] if found.definitions else []
    separator = "\n\n\n" if parts else "\n\n"
    return separator.join([sorted_imports(found.imports), *parts, found.code]) + "\n"


def source_of(model: nn.Module, dropout: Callable[[_Dropout], float] | None = None) -> ModelSource:
    """The source of `model` and what it needs; `dropout` tells the p of a dropout layer where it is not that of now."""
    for tried in (_called, _own_class):
        classes: dict[str, type] = {}
        call = tried(model, classes, dropout)
        layers = None if call is None else _layers(model, call, classes, dropout)
        if layers is not None:
            break
    else:
        call, layers = None, {}
        classes = {type(model).__name__: type(model)}
    imports, definitions = _needed(classes)
    if call is None:
        code = f"model = {type(model).__name__}(...)  # with the arguments that you gave it"
    else:
        code = "\n".join([f"model = {source(call, 0, len('model = '))}", *_statements(model, layers)])
        if any(calls(one, "OrderedDict") for one in (call, *layers.values())):
            imports.add("from collections import OrderedDict")
        if "nn." in code:
            imports.add("from torch import nn")
    return ModelSource(code, frozenset(imports), tuple(definitions), call, classes, layers)


def _layers(
    model: nn.Module, call: Call, classes: dict[str, type], dropout: Callable[[_Dropout], float] | None
) -> Mapping[str, Call | str] | None:
    """The layers by which `model` differs from what the call makes; None where these do not explain it."""
    with own_stream():
        try:
            again = made(call, classes)
            if not isinstance(again, nn.Module):
                return None
            if _same(again, model) and _drops_alike(again, model, dropout):
                return {}
            layers = differences(again, model, lambda layer: _called(layer, classes, dropout))
            return layers if layers and _same(changed(again, layers, classes), model) else None
        except Exception:  # arguments that do not go together, or a user's own constructor
            return None


def _drops_alike(again: nn.Module, model: nn.Module, dropout: Callable[[_Dropout], float] | None) -> bool:
    """Whether dropout layers have the p that they were made with, unless all are set to something else."""
    pairs = [(a, b) for a, b in zip(again.modules(), model.modules(), strict=True) if isinstance(b, _Dropout)]
    is_set = dropout is not None and any(dropout(layer) != layer.p for _, layer in pairs)
    return is_set or all(getattr(ours, "p", None) == layer.p for ours, layer in pairs)


def _statements(model: nn.Module, layers: Mapping[str, Call | str]) -> Iterator[str]:
    is_odd = oddly_numbered(model)
    for path, layer in layers.items():
        start, end = assigned(path, is_odd)
        what = place(layer, is_odd) if isinstance(layer, str) else source(layer, 0, len(start), len(end))
        yield f"{start}{what}{end}"


def as_call(module: nn.Module) -> Call | None:
    """The call that makes a module of torch's own like this one; None where its attributes do not tell."""
    call = _called(module, {}, None)
    return call if call is not None and _alike(module, call, {}) else None


def called(module: nn.Module) -> Call | None:
    """The call that would make a module with the settings of this one, untried; None where a class is not torch's."""
    classes: dict[str, type] = {}
    call = _called(module, classes, None)
    return call if set(classes.values()) <= set(_BRANCHES) else None


def layer_call(layer: nn.Module) -> Call:
    """The call that makes a layer of torch.nn with the settings that this one has."""
    call = _layer(layer, f"nn.{type(layer).__name__}", None)
    assert call is not None  # torch's layers keep their arguments under their names
    return call


def _alike(model: nn.Module, call: Call, classes: Mapping[str, type]) -> bool:
    """Whether the call makes the same layers with the same settings, and weights and buffers of the same sizes."""
    with own_stream():
        try:
            again = made(call, classes)
        except Exception:  # arguments that do not go together, or a user's own constructor
            return False
    return isinstance(again, nn.Module) and _same(again, model)


def _same(again: nn.Module, model: nn.Module) -> bool:
    if _repr(again) != _repr(model):
        return False
    ours, theirs = again.state_dict(), model.state_dict()
    return [(n, t.shape, t.dtype) for n, t in ours.items()] == [(n, t.shape, t.dtype) for n, t in theirs.items()]


def _repr(model: nn.Module) -> str:
    """Its layers and settings as text, whatever its dropout layers are set to: a run may have set them."""
    return re.sub(r"(Dropout\w*\(p=)[^,)]+", r"\1...", repr(model))


# -- torch's own layers -----------------------------------------------------------------------------------------------


def _called(module: nn.Module, classes: dict[str, type], dropout: Callable[[_Dropout], float] | None) -> Call | None:
    cls = type(module)
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return None
    if cls is nn.Sequential or cls in _BRANCHES:
        return _container(module, classes, dropout)
    if cls.__module__.startswith("torch.nn.modules.") and getattr(nn, cls.__name__, None) is cls:
        return _layer(module, f"nn.{cls.__name__}", dropout)
    classes[cls.__name__] = cls
    return _layer(module, cls.__name__, dropout)


def _container(module: nn.Module, classes: dict[str, type], dropout: Callable[[_Dropout], float] | None) -> Call | None:
    children = list(module._modules.items())
    if len({id(child) for _, child in children}) < len(children) or any(child is None for _, child in children):
        return None
    made_by = {name: _called(child, classes, dropout) for name, child in children if child is not None}
    inner = {name: call for name, call in made_by.items() if call is not None}
    if len(inner) < len(children):
        return None
    named = all(name.isidentifier() and not iskeyword(name) for name in inner)
    if type(module) in _BRANCHES:
        classes[type(module).__name__] = type(module)
        return Call(type(module).__name__, (), inner) if named else None
    if list(inner) == [str(number) for number in range(len(inner))]:
        return Call("nn.Sequential", tuple(inner.values()))
    return Call("nn.Sequential", (Call("OrderedDict", (), inner),)) if named else None


def _layer(module: nn.Module, function: str, dropout: Callable[[_Dropout], float] | None) -> Call | None:
    args: list[Any] = []
    keywords: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in ("device", "dtype"):
            continue
        if not hasattr(module, name):
            if parameter.default is parameter.empty:
                return None
            continue
        value = _argument(module, name, parameter.default)
        if dropout is not None and name == "p" and isinstance(module, _Dropout):
            value = dropout(module)
        if not _is_plain(value):
            return None
        required = parameter.default is parameter.empty
        if not required and value == _short(name, parameter.default) and name != "p":
            continue
        positional = len(keywords) == 0 and (required or name == "p") and not (name == "kernel_size" and args)
        if positional and parameter.kind is not parameter.KEYWORD_ONLY:
            args.append(value)
        else:
            keywords[name] = value
    return Call(function, tuple(args), keywords)


def _argument(module: nn.Module, name: str, default: Any) -> Any:
    value = getattr(module, name)
    if name == "bias" and not isinstance(value, bool):
        return value is not None
    if name == "stride" and default is None and value == getattr(module, "kernel_size", None):
        return None  # a pooling's stride is its kernel unless told
    return _short(name, value)


def _short(name: str, value: Any) -> Any:
    """A number for a size that is alike on all axes."""
    if isinstance(value, tuple) and value and (name not in _KEPT_WHOLE or len(value) == 1):
        same = all(one == value[0] for one in value)
        return value[0] if same else tuple(value)
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN) and not isinstance(value, Tensor)


# -- a user's own -----------------------------------------------------------------------------------------------------


def _own_class(model: nn.Module, classes: dict[str, type], _: object) -> Call | None:
    """The call without arguments, where it needs none."""
    cls = type(model)
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if any(one.default is one.empty and one.kind not in kinds for one in parameters):
        return None
    classes[cls.__name__] = cls
    return Call(cls.__name__)


def _needed(classes: Mapping[str, type]) -> tuple[set[str], list[str]]:
    """Imports and definitions of some classes."""
    imports: set[str] = set()
    definitions: dict[str, str] = {}
    for cls in classes.values():
        _define(cls, imports, definitions)
    return imports, list(definitions.values())


def _define(item: Any, imports: set[str], definitions: dict[str, str]) -> None:
    name, home = item.__name__, item.__module__
    if item not in _BRANCHES and home != "__main__":
        if "<" in item.__qualname__:  # made inside a function, where no import reaches
            definitions[name] = _YOURS.format(name)
        else:
            imports.add(f"from {home} import {name}")
        return
    if name in definitions:
        return
    try:
        text = textwrap.dedent(inspect.getsource(item)).rstrip()
    except (OSError, TypeError):
        definitions[name] = _YOURS.format(name)
        return
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    space = vars(sys.modules[home])
    for used in sorted(names & space.keys() - {name}):
        _take_along(used, space[used], imports, definitions)
    definitions[name] = text


def _take_along(used: str, value: Any, imports: set[str], definitions: dict[str, str]) -> None:
    """What a class in a notebook names: a module, a class or function from elsewhere, or one beside it."""
    if isinstance(value, ModuleType):
        home, _, last = value.__name__.rpartition(".")
        if home and last == used:
            imports.add(f"from {home} import {last}")
        else:
            imports.add(f"import {value.__name__}" + ("" if value.__name__ == used else f" as {used}"))
    elif isinstance(value, type) or inspect.isfunction(value):
        if value.__module__ == "__main__" or value.__name__ == used:
            _define(value, imports, definitions)
    elif isinstance(value, _PLAIN):
        definitions[used] = f"{used} = {value!r}"


# -- imports ----------------------------------------------------------------------------------------------------------


def sorted_imports(lines: frozenset[str] | set[str]) -> str:
    """Import lines as a person orders them: the standard library, then the rest; one line a module."""
    whole = sorted(line for line in lines if line.startswith("import "))
    names: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("from "):
            home, _, name = line.removeprefix("from ").partition(" import ")
            names.setdefault(home, set()).update(part.strip() for part in name.split(","))
    parted = [f"from {home} import {', '.join(sorted(names[home], key=_case))}" for home in sorted(names)]
    ordered = [*whole, *parted]
    standard = [line for line in ordered if line.split()[1].partition(".")[0] in sys.stdlib_module_names]
    rest = [line for line in ordered if line not in standard]
    return "\n\n".join("\n".join(block) for block in (standard, rest) if block)


def _case(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as isort does."""
    return (not name.isupper(), not name[:1].isupper(), name)
