"""An edit as plain data, so that it can stand in a journal and be made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, Self, get_args

from convlab.limits import short

Action = Literal["set", "insert", "insert_after", "replace", "remove", "freeze", "thaw", "redraw", "undo", "redo"]
ACTIONS: Final = get_args(Action)


@dataclass(frozen=True)
class Edit:
    """One change of a model: made on the same weights with the same seed it gives the same bits.

    ``path``
        Of the layer, as in ``model.named_modules()``.
    ``settings``
        By action: ``"set"`` the settings and their values; ``"insert"``, ``"insert_after"``, ``"replace"`` the
        ``layer``, a class of torch.nn by name, and the arguments that make it; ``"redraw"`` the ``scheme``.
    ``seed``
        Decides the values of new weights.

    Example:
        >>> edit = Edit("conv2", {"out_channels": 32})
        >>> Edit.from_json(edit.to_json()) == edit
        True
        >>> str(edit)
        'conv2: out_channels=32'
    """

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    action: Action = "set"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {short(self.action)}; try action='set'.")
        if not isinstance(self.path, str):
            raise ValueError(f"path must be a layer's name, got {short(self.path)}; try path='conv1'.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1, got {short(self.seed)}; try seed=0.")
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in self.settings.items()}
        object.__setattr__(self, "settings", settings)

    def to_json(self) -> str:
        """The edit as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The edit that `to_json` wrote.

        Raises:
            ValueError: it is no such object.
        """
        values = json.loads(text)
        known = set(cls.__dataclass_fields__)
        if not isinstance(values, dict) or not set(values) <= known or not isinstance(values.get("settings", {}), dict):
            raise ValueError(f"an Edit in JSON must be an object with {', '.join(sorted(known))}, got {text[:40]!r}.")
        return cls(**values)

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        if self.action == "set":
            return f"{self.path}: {listed}"
        if not self.path:
            return self.action
        return f"{self.path}: {self.action.replace('_', ' ')}{' ' if listed else ''}{listed}"
