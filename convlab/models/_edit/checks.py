"""Whether a value can be meant at all, before it is tried where the layer stands."""

from __future__ import annotations

import difflib
import math
import numbers
from typing import Any, Final

from torch import nn

from convlab.models._edit.errors import EditError
from convlab.models._edit.kinds import ACTIVATIONS, KINDS, NORMS, POOLS, choice_of, dims_of, settings_of

PADDING_MODES: Final = ("zeros", "reflect", "replicate", "circular")
_LEAST: Final = {"padding": 0, "output_padding": 0}
_BOOLS: Final = ("bias", "ceil_mode", "count_include_pad", "inplace", "affine", "elementwise_affine")
_FLAGS: Final = (*_BOOLS, "track_running_stats")
_COUNTS: Final = ("out_channels", "out_features", "groups", "num_groups", "num_parameters")
_PER_AXIS: Final = ("kernel_size", "stride", "padding", "dilation", "output_padding", "output_size")


def choices_of(name: str) -> tuple[Any, ...]:
    """The words or truth values that a setting can take; empty where it takes numbers."""
    if name in _FLAGS:
        return (False, True)
    if name == "padding_mode":
        return PADDING_MODES
    if name == "approximate":
        return ("none", "tanh")
    return {"activation": tuple(ACTIVATIONS), "norm": NORMS, "pool": POOLS}.get(name, ())


def checked(path: str, layer: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as the layer's constructor takes them, those left out that stand so already.

    Raises:
        EditError: there is no such setting, or no such value of it.
    """
    kind = KINDS[type(layer)]
    now = settings_of(layer)
    found = {}
    for name, value in settings.items():
        if name not in kind.settings and not (kind.choice and kind.choice in settings):
            raise _unknown(path, layer, name)
        new = _checked(path, layer, name, value)
        if name not in now or new != now[name]:
            found[name] = new
    return found


def _unknown(path: str, layer: nn.Module, name: str) -> EditError:
    kind = KINDS[type(layer)]
    if name in kind.fixed:
        return EditError(path, f"{name} follows from where the layer stands; change what comes before it")
    near = difflib.get_close_matches(name, kind.settings, 1)
    hint = f"did you mean {near[0]}" if near else f"it has {', '.join(kind.settings) or 'none'}"
    return EditError(path, f"a {type(layer).__name__} has no setting {name!r}: {hint}")


def _checked(path: str, layer: nn.Module, name: str, value: Any) -> Any:
    now = settings_of(layer).get(name)

    def refuse(reason: str, nearest: Any) -> EditError:
        return EditError(path, reason, {name: value}, {name: nearest})

    if choices := choices_of(name):
        if isinstance(choices[0], bool):
            if not isinstance(value, bool):
                raise refuse(f"{name} is True or False", bool(value) if isinstance(value, int) else now)
            return value
        words = {str(choice).lower(): choice for choice in choices}
        if not isinstance(value, str) or value.lower() not in words:
            near = difflib.get_close_matches(str(value).lower(), list(words), 1)
            example = words[near[0]] if near else choice_of(layer) if name == KINDS[type(layer)].choice else choices[0]
            raise refuse(f"{name} is one of {', '.join(map(str, choices))}", example)
        return words[value.lower()]
    if name in _PER_AXIS:
        return _per_axis(layer, name, value, now, refuse)
    if name in _COUNTS:
        return _whole(name, value, 1, refuse)
    return _real(name, value, now, refuse)


def _per_axis(layer: nn.Module, name: str, value: Any, now: Any, refuse: Any) -> Any:
    count = dims_of(layer)
    if isinstance(value, str):
        if name == "padding" and isinstance(layer, nn.modules.conv._ConvNd) and not layer.transposed:
            if value in ("same", "valid"):
                return value
            raise refuse("padding is a number, 'same' or 'valid'", "same")
        raise refuse(f"{name} is a whole number", now)
    least = _LEAST.get(name, 1)
    if not isinstance(value, (tuple, list)):
        if value is None and name == "output_size":
            return value
        return _whole(name, value, least, refuse)
    if len(value) != count:
        raise refuse(f"{name} is one number, or one for each of {count} axes", now)
    values = tuple(None if one is None and name == "output_size" else _whole(name, one, least, refuse) for one in value)
    return values[0] if len(set(values)) == 1 else values


def _whole(name: str, value: Any, least: int, refuse: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        near = round(value) if isinstance(value, numbers.Real) and math.isfinite(value) else least
        raise refuse(f"{name} is a whole number of at least {least}", max(least, int(near)))
    if value < least:
        raise refuse(f"{name} is a whole number of at least {least}", least)
    return int(value)


_REALS: Final[dict[str, tuple[float, float]]] = {
    "p": (0, 1),
    "eps": (0, 1),
    "momentum": (0, 1),
    "negative_slope": (-1e3, 1e3),
    "alpha": (-1e3, 1e3),
}


def _real(name: str, value: Any, now: Any, refuse: Any) -> Any:
    if value is None and name == "momentum":
        return value  # a plain average
    low, high = _REALS[name]
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise refuse(f"{name} is a number from {low:g} to {high:g}", now)
    number = float(value)
    if not low <= number <= high:
        raise refuse(f"{name} is a number from {low:g} to {high:g}", min(max(number, low), high))
    return number


def real_bounds(name: str) -> tuple[float, float] | None:
    """Least and greatest value of a setting that takes any number between."""
    return _REALS.get(name)
