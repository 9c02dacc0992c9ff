"""Where the rules for torch's functions are kept, and how a rule reads its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

Arguments: TypeAlias = tuple[Any, ...]
Keywords: TypeAlias = dict[str, Any]
FunctionRule: TypeAlias = Callable[[Any, Any, Arguments, Keywords], Any]


def words(text: str) -> frozenset[str]:
    """Return a set of names."""
    return frozenset(text.split())


PASS_ON: Final = NotImplemented  # this call is none of the rule's cases: watch what it does one level below
FUNCTIONS: dict[Any, FunctionRule] = {}


def rule(*functions: Any) -> Callable[[FunctionRule], FunctionRule]:
    """Register a rule: ``rule(tracer, function, args, keywords)`` returns what the function would, or `PASS_ON`."""

    def register(function_rule: FunctionRule) -> FunctionRule:
        for function in functions:
            FUNCTIONS[function] = function_rule
        return function_rule

    return register


def bind(names: Sequence[str], args: Arguments, keywords: Keywords) -> Keywords:
    """Return arguments by name."""
    bound = dict(zip(names, args, strict=False))
    bound.update(keywords)
    return bound
