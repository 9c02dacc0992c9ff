"""The bench as one string: network, edits, recipe, data and seeds, to be handed on in a chat; free of torch.

The string is JSON. Whoever opens one has it from somebody else, so that it is read as plain data and checked whole:
nothing in it is run, imported, opened or downloaded, and what would fill the memory is refused before it is made.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from convlab._version import __version__
from convlab.limits import Limits, SpecError, check_known, check_names, short
from convlab.models._edit.edits import Edit
from convlab.models.plan import check_size
from convlab.net_spec import NetSpec
from convlab.spec import TrainSpec

VERSION: Final = 1
"""Of the string's layout. What changes it puts a function into `UPGRADES`."""

Values = dict[str, Any]
UPGRADES: Final[dict[int, Callable[[Values], Values]]] = {}
"""For each older version, what makes the values of the next one of its values."""

MOST_CHARACTERS: Final = 200_000
MOST_EDITS: Final = 200
DEEPEST: Final = 24
OWN: Final = ("model", "data", "criterion")
"""What a string cannot hold where it is a person's own; they pass it when they open the string."""

_WORD: Final = 200
_WHOLE: Final = 2**63
_SEED: Final = Limits(0, 2**63 - 1, 0, whole=True)
_SETTING: Final = Limits(-(2**16), 2**16, 8)


@dataclass(frozen=True, kw_only=True)
class LabState:
    """What a bench begins with. Trained weights are not part of it, nor are curves.

    Args:
        net: the network, or its name in the gallery; None for a person's own class.
        seed: decides the start weights of `net`.
        edits: what was changed in the network since, oldest first; made again they give the same network.
        train: the recipe.
        data: the name of a data set that convlab brings along; None for a person's own.
        own: what is a person's own, ``"model"``, ``"data"``, ``"criterion"``, each with a description of it.

    Raises:
        SpecError: a value is impossible; the message names it and one that would work.

    Example:
        >>> state = LabState(net=NetSpec(input_size=(1, 8, 8)), train=TrainSpec(lr=0.1))
        >>> LabState.from_json(state.to_json()) == state
        True
        >>> LabState.from_json('{"version": 1, "nets": null}')
        Traceback (most recent call last):
        ...
        convlab.limits.SpecError: LabState has no argument 'nets'; did you mean net?
    """

    net: NetSpec | str | None = None
    seed: int = 0
    edits: tuple[Edit, ...] = ()
    train: TrainSpec = field(default_factory=TrainSpec)
    data: str | None = "digits"
    own: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "net", _checked_net(self.net))
        object.__setattr__(self, "seed", _SEED.checked("seed", self.seed))
        object.__setattr__(self, "edits", _checked_edits(self.edits))
        object.__setattr__(self, "train", _checked_train(self.train))
        if self.data is not None:
            _check_word("data", self.data, "digits")
        object.__setattr__(self, "own", _checked_own(self.own))
        for name in ("model", "data"):
            given = self.net if name == "model" else self.data
            if (given is None) != (name in self.own):
                which = "net" if name == "model" else "data"
                raise SpecError(
                    f"{which} must be null exactly where own has {name!r}, got {which}={short(given)} and "
                    f"own={short(dict(self.own))}; try own={{}}."
                )

    def to_json(self) -> str:
        """The state as one line of JSON in plain ASCII, which survives a chat, a mail and a terminal.

        Raises:
            SpecError: it would be longer than `from_json` reads.
        """
        plain = {
            "convlab": __version__,
            "version": VERSION,
            "net": self.net.to_dict() if isinstance(self.net, NetSpec) else self.net,
            "seed": self.seed,
            "edits": [dataclasses.asdict(edit) for edit in self.edits],
            "train": self.train.to_dict(),
            "data": self.data,
            "own": dict(self.own),
        }
        text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
        _check_length(text)
        return text

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The state that `to_json` wrote, of this version or an older one. Missing keys take their defaults.

        Raises:
            SpecError: it is anything else.
        """
        values = _upgraded(_read(text))
        check_names(cls, values)
        return cls(**values)

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """The state in a string, which begins with a brace, or in the file of that name.

        Raises:
            SpecError: there is no such file, or it holds no state.
        """
        if isinstance(source, str) and _bare(source).startswith("{"):
            return cls.from_json(source)
        return cls.from_json(_content(source))


# -- reading ----------------------------------------------------------------------------------------------------------


def _bare(text: str) -> str:
    """Without what an editor or a chat may have put around it."""
    return text.strip().removeprefix("\ufeff").lstrip()


def _content(source: object) -> str:
    if not isinstance(source, str | Path):
        raise SpecError(
            f"a state must be the text of lab.state or the path of a file with it, got {short(source)}; "
            'try Lab.from_state("bench.json").'
        )
    path = Path(source)
    try:
        # A pipe or a device is no file, and may never end.
        text = path.read_text("utf-8") if path.is_file() and path.stat().st_size <= MOST_CHARACTERS else None
    except (OSError, ValueError):
        text = None
    if text is None:
        raise SpecError(
            f"a state is a text that begins with {{, or a file of at most {MOST_CHARACTERS:,} bytes, and "
            f"{short(str(source))} is neither; copy it again, whole."
        )
    return text


def _check_length(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise SpecError(
            f"a state must be at most {MOST_CHARACTERS:,} characters long, got {len(text):,}; try one with fewer edits."
        )


def _read(text: object) -> Values:
    if not isinstance(text, str):
        raise SpecError(f"a state must be text, got {short(text)}; try lab.state.")
    _check_length(text)
    try:
        values = json.loads(_bare(text), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except SpecError:
        raise
    except (ValueError, RecursionError) as error:
        where = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise SpecError(
            f"a state must be a JSON object such as lab.state gives, got {short(text[:90])}{where}; "
            "copy it again, whole and with straight quotes."
        ) from None
    if not isinstance(values, dict):
        raise SpecError(f"a state must be a JSON object such as lab.state gives, got {short(values)}; copy it again.")
    _check_plain(values, "the state", DEEPEST)
    return values


def _once(pairs: list[tuple[str, Any]]) -> Values:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SpecError(f"a state must name each thing once, got {short(twice)} twice; leave one of them out.")
    return values


def _refuse_constant(word: str) -> Any:
    raise SpecError(f"a state must hold finite numbers, got {word}; try 0.")


def _check_plain(value: object, where: str, depth: int) -> None:
    """Finite numbers, text that can be written, and no deeper than any state is."""
    if isinstance(value, dict | list):
        if depth == 0:
            raise SpecError(f"a state must be at most {DEEPEST} levels deep, got more in {where}; copy it again.")
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                _check_plain(name, f"a name in {where}", depth)
            _check_plain(one, f"{name!r}" if isinstance(name, str) and len(name) < 40 else where, depth - 1)
    elif isinstance(value, str):
        if not all(character.isprintable() for character in value):
            raise SpecError(f"{where} must be text that can be printed, got {short(value)}; leave the rest out.")
    elif isinstance(value, int | float) and not (
        abs(value) < _WHOLE if isinstance(value, int) else math.isfinite(value)
    ):
        raise SpecError(f"{where} must be a number below 2**63, got {short(value)}; try 1.")


def _upgraded(values: Values) -> Values:
    """The values as this version has them."""
    writer = values.pop("convlab", "unknown")
    if "version" not in values:
        raise SpecError(f"a state needs its version; try {{'version': {VERSION}, ...}}, as lab.state has it.")
    version = values.pop("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SpecError(f"version must be a whole number from 1 to {VERSION}, got {short(version)}; try {VERSION}.")
    if version > VERSION:
        by = writer if isinstance(writer, str) and len(writer) < 40 else "unknown"
        raise SpecError(
            f"this state (version {version}) was written by convlab {by}; this is convlab {__version__}, which reads "
            f"up to version {VERSION}; upgrade convlab to open it."
        )
    for step in range(version, VERSION):
        values = UPGRADES[step](values)
    return values


# -- checks -----------------------------------------------------------------------------------------------------------


def _check_word(name: str, value: object, example: str) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > _WORD:
        raise SpecError(
            f"{name} must be a text of at most {_WORD} characters, got {short(value)}; try {name}={example!r}."
        )


def _checked_net(net: object) -> NetSpec | str | None:
    if isinstance(net, Mapping):
        net = NetSpec.from_dict(net)
    if isinstance(net, NetSpec):
        check_size(net)
        return net
    if net is None or (isinstance(net, str) and net.replace("_", "").isalnum() and len(net) <= _WORD):
        return net
    raise SpecError(f"net must be a NetSpec, a name of the gallery or null, got {short(net)}; try net='lenet5'.")


def _checked_train(train: object) -> TrainSpec:
    if isinstance(train, TrainSpec):
        return train
    if isinstance(train, Mapping):
        return TrainSpec.from_dict(train)
    raise SpecError(f'train must be an object such as {{"lr": 0.05}}, got {short(train)}; try train={{}}.')


def _checked_own(own: object) -> dict[str, str]:
    if not isinstance(own, Mapping) or not all(isinstance(name, str) for name in own):
        raise SpecError(f"own must be an object such as {{}}, got {short(own)}; try own={{}}.")
    check_known("own", OWN, own)
    for name, about in own.items():
        _check_word(f"own[{name!r}]", about, "MyNet")
    return dict(own)


def _checked_edits(edits: object) -> tuple[Edit, ...]:
    if not isinstance(edits, list | tuple) or len(edits) > MOST_EDITS:
        raise SpecError(f"edits must be a list of at most {MOST_EDITS}, got {short(edits)}; try edits=[].")
    made = []
    for number, edit in enumerate(edits, 1):
        try:
            made.append(_checked_edit(edit))
        except ValueError as error:
            raise SpecError(f"edit {number}: {error}") from None
    return tuple(made)


def _checked_edit(edit: object) -> Edit:
    if isinstance(edit, Edit):
        edit = {one.name: getattr(edit, one.name) for one in fields(edit)}
    if not isinstance(edit, Mapping) or not isinstance(edit.get("settings", {}), Mapping) or "path" not in edit:
        raise SpecError(f'an edit must be an object such as {{"path": "conv1", "settings": {{}}}}, got {short(edit)}.')
    check_names(Edit, edit)
    settings = edit.get("settings", {})
    if len(settings) > 32 or not all(isinstance(name, str) for name in settings):
        raise SpecError(f"settings must be at most 32 values by name, got {short(settings)}; try settings={{}}.")
    for name, value in settings.items():
        _check_setting(name, value)
    if edit.get("action", "set") in ("undo", "redo"):
        raise SpecError(f"action must be one that changes something, got {edit['action']!r}; leave the edit out.")
    _check_word("path", edit["path"] or "model", "conv1")
    return Edit(**edit)


def _check_setting(name: str, value: object) -> None:
    parts = value if isinstance(value, list | tuple) else [value]
    if len(parts) > 8:
        raise SpecError(f"{short(name)} must be one value or at most 8, got {short(value)}; try one number.")
    for part in parts:
        if part is None or isinstance(part, bool):
            continue
        if isinstance(part, str):
            _check_word(short(name), part, "same")
        else:
            _SETTING.checked(short(name), part)
