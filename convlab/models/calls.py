"""Calls as values: made into the objects that they describe, or into their source as `ruff format` lays it out."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import nn

from convlab.models.branches import Add, Concat
from convlab.models.plan import Call

WIDTH: Final = 88
_INDENT: Final = 4
BRANCHES: Final = {"Add": Add, "Concat": Concat}


def made(value: Any, names: Mapping[str, Any] | None = None) -> Any:
    """What the call makes; anything else as it is. `names` are functions beside torch's own."""
    if not isinstance(value, Call):
        return value
    args = [made(one, names) for one in value.args]
    keywords = {name: made(one, names) for name, one in value.keywords.items()}
    return _function(value.function, names or {})(*args, **keywords)


def _function(name: str, names: Mapping[str, Any]) -> Any:
    if name in names:
        return names[name]
    if name == "OrderedDict":
        return OrderedDict
    return BRANCHES[name] if name in BRANCHES else getattr(nn, name.removeprefix("nn."))


def calls(value: Any, name: str) -> bool:
    """Whether the call or one inside it is of the function `name`."""
    if not isinstance(value, Call):
        return False
    return value.function == name or any(calls(one, name) for one in (*value.args, *value.keywords.values()))


def source(value: Any, indent: int, lead: int, trail: int = 0) -> str:
    """`value` as `ruff format` lays it out: on its line where it fits after `lead` characters, else broken up."""
    line = _line(value)
    if not isinstance(value, Call) or (_is_leaf(value) and indent + lead + len(line) + trail <= WIDTH):
        return line
    inner = indent + _INDENT
    parts = list(_arguments(value))
    if len(parts) == 1 and not parts[0][0]:
        only = source(parts[0][1], inner, 0)
        if "\n" not in only and indent + lead + len(line) + trail <= WIDTH:
            return line
        body = [f"{' ' * inner}{only}"]
    else:
        body = [f"{' ' * inner}{name}{source(one, inner, len(name), 1)}," for name, one in parts]
    return "\n".join([f"{value.function}(", *body, f"{' ' * indent})"])


def as_text(value: Any) -> str:
    """`value` as source on one line, however long."""
    return _line(value)


def _is_leaf(value: Call) -> bool:
    return not any(isinstance(one, Call) for _, one in _arguments(value))


def _arguments(value: Call) -> Iterator[tuple[str, Any]]:
    yield from (("", one) for one in value.args)
    yield from ((f"{name}=", one) for name, one in value.keywords.items())


def _line(value: Any) -> str:
    if isinstance(value, Call):
        return f"{value.function}({', '.join(f'{name}{_line(one)}' for name, one in _arguments(value))})"
    return f'"{value}"' if isinstance(value, str) else repr(value)
