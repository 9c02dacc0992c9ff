"""One operator of torch's lower level as a rule sees it, and where those rules are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from convlab.models._trace.states import State
from convlab.models._trace.tracer import Tracer, tensors_in


class Operator:
    """An operator call: arguments by name, tensors among them, and what came out."""

    __slots__ = ("args", "function", "keywords", "name", "named", "output", "tensors", "tracer")

    def __init__(self, tracer: Tracer, function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.tracer, self.function, self.args, self.keywords = tracer, function, args, keywords
        self.name: str = function._schema.name.split("::")[1]
        self.tensors = list(tensors_in((args, keywords)))
        self.named: dict[str, Any] = {}
        self.output: Any = None

    def __getitem__(self, argument: str) -> Any:
        if not self.named:
            arguments = self.function._schema.arguments
            self.named = {a.name: a.default_value for a in arguments if a.has_default_value()}
            self.named |= dict(zip((a.name for a in arguments), self.args, strict=False)) | self.keywords
        return self.named.get(argument)

    @property
    def x(self) -> torch.Tensor:
        """The first tensor."""
        return self.tensors[0]

    @property
    def state(self) -> State:
        """State of the first tensor."""
        return self.tracer.state(self.tensors[0])

    @property
    def states(self) -> list[State]:
        """State of each tensor."""
        return [self.tracer.state(tensor) for tensor in self.tensors]

    @property
    def made(self) -> torch.Tensor:
        """The first tensor that came out."""
        made: torch.Tensor = self.output[0] if isinstance(self.output, (tuple, list)) else self.output
        return made


Result: TypeAlias = "State | list[State]"
OperatorRule: TypeAlias = Callable[[Operator], Result]
OPERATORS: dict[str, OperatorRule] = {}


def operators(*names: str) -> Callable[[OperatorRule], OperatorRule]:
    """Register the rule of operators, by their names without overload."""

    def register(rule: OperatorRule) -> OperatorRule:
        for name in names:
            OPERATORS[name] = rule
        return rule

    return register
