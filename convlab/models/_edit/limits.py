"""What a setting can be where a layer stands, found by trying."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from convlab.models._edit.checks import choices_of, real_bounds
from convlab.models._edit.edits import Edit
from convlab.models._edit.errors import EditError, Refusal
from convlab.models._edit.kinds import settings_of
from convlab.models._edit.plan import Base, check
from convlab.models._edit.structure import known_kind, layer_at

SCANNED: Final = 6
"""So many neighbouring values are tried one by one; a longer range is halved until its end is found."""
FARTHEST: Final = 4096
"""No slider needs a kernel, stride or padding beyond."""

_COUNTS: Final = ("out_channels", "out_features")


@dataclass(frozen=True)
class Limit:
    """What a setting can be while all others stay.

    ``low``, ``high``, ``step``
        For numbers: the bounds, included (``high`` is None where only memory or sense set one), and the step: its
        multiples work (0 for any number between).
    ``choices``
        The values that work, where they are no range.
    ``why_low``, ``why_high``
        Why nothing beyond works, in words; for choices, ``why_not`` says it for each other one.
    """

    value: Any
    low: float | None = None
    high: float | None = None
    step: float = 1
    choices: tuple[Any, ...] = ()
    why_low: str = ""
    why_high: str = ""
    why_not: Mapping[Any, str] | None = None


def limit_of(model: nn.Module, base: Base, path: str, name: str) -> Limit:
    """What one setting can be."""
    layer = layer_at(model, path, base.trace)
    known_kind(path, layer)
    settings = settings_of(layer)
    if name not in settings:
        raise EditError(
            path, f"a {type(layer).__name__} has no setting {name!r}; it has {', '.join(settings) or 'none'}"
        )
    value = settings[name]

    def why_not(candidate: Any) -> str:
        """Why a value does not work; empty where it does."""
        if candidate == value:
            return ""
        try:
            check(model, base, Edit(path, {name: candidate}))
        except (Refusal, EditError) as refusal:
            return refusal.reason
        return ""

    if words := choices_of(name):
        return _chosen(value, words, why_not)
    if bounds := real_bounds(name):
        return Limit(value, *bounds, 0)
    if name in _COUNTS:
        return _counted(model, base, path, name, value)
    if name in ("groups", "num_groups", "num_parameters"):
        most = getattr(layer, "num_channels", 0) or getattr(layer, "out_channels", 0) or _features(base, path)
        both = math.gcd(most, getattr(layer, "in_channels", most))
        candidates = (1, most) if name == "num_parameters" else _divisors(both)
        return _chosen(value, candidates, why_not)
    return _ranged(layer, base, path, name, value, why_not)


def _features(base: Base, path: str) -> int:
    size = base.trace[path].input_size
    return size[1] if len(size) > 1 else 1


def _divisors(count: int) -> tuple[int, ...]:
    return tuple(d for d in range(1, count + 1) if count % d == 0)


def _chosen(value: Any, candidates: tuple[Any, ...], why_not: Callable[[Any], str]) -> Limit:
    reasons = {candidate: why_not(candidate) for candidate in candidates}
    choices = tuple(candidate for candidate in candidates if not reasons[candidate])
    return Limit(value, choices=choices, why_not={c: reason for c, reason in reasons.items() if reason})


def _counted(model: nn.Module, base: Base, path: str, name: str, value: int) -> Limit:
    """Channels: multiples of what all groups that they meet have in common, or none but those of now."""
    step = 1
    for _ in range(8):
        try:
            check(model, base, Edit(path, {name: value + step}))
        except Refusal as refusal:
            if refusal.never or not refusal.step or step % refusal.step == 0:
                return Limit(value, choices=(value,), why_low=refusal.reason, why_high=refusal.reason)
            step = math.lcm(step, refusal.step)
            reason = refusal.reason
        except EditError as error:
            return Limit(value, choices=(value,), why_low=error.reason, why_high=error.reason)
        else:
            break
    else:
        return Limit(value, choices=(value,), why_low=reason, why_high=reason)
    return Limit(value, step, None, step, why_low="a layer has at least one channel" if step == 1 else reason)


def _ranged(layer: Any, base: Base, path: str, name: str, value: Any, why_not: Callable[[Any], str]) -> Limit:
    now = (
        value if isinstance(value, int) else max((v for v in value if v), default=1) if isinstance(value, tuple) else 0
    )
    least = 0 if name in ("padding", "output_padding") else 1
    top = min(FARTHEST, _highest(layer, base, path, name, now))
    low, why_low = _edge(now, least, -1, why_not)
    high, why_high = _edge(now, top, 1, why_not)
    words = tuple(w for w in ("same", "valid") if name == "padding" and _takes_words(layer) and not why_not(w))
    return Limit(value, low, high if why_high else None, 1, words, why_low, why_high)


def _takes_words(layer: Any) -> bool:
    return isinstance(layer, nn.modules.conv._ConvNd) and not layer.transposed


def _highest(layer: Any, base: Base, path: str, name: str, now: int) -> int:
    """A value beyond which nothing can work, or that nobody needs."""
    try:
        size = base.trace[path].input_size
    except KeyError:
        return now + SCANNED
    longest = max(size[2:] or size[1:] or (1,))
    padding = getattr(layer, "padding", 0)
    widest = max(padding) if isinstance(padding, tuple) else padding if isinstance(padding, int) else longest
    return max(now, {"padding": longest, "output_size": 2 * longest}.get(name, longest + 2 * widest) + 1)


def _edge(now: int, end: int, direction: int, why_not: Callable[[Any], str]) -> tuple[int, str]:
    """The last value from `now` towards `end` up to which all work, and why the next does not."""
    last, reason = now, ""
    for candidate in range(now + direction, end + direction, direction):
        if abs(candidate - now) > SCANNED:
            break
        if reason := why_not(candidate):
            return last, reason
        last = candidate
    else:
        return last, ""
    if not (reason := why_not(end)):
        return end, ""
    bad = end
    while abs(bad - last) > 1:
        middle = (last + bad) // 2
        if found := why_not(middle):
            bad, reason = middle, found
        else:
            last = middle
    return last, reason


# -- the nearest that works --------------------------------------------------------------------------------------


def nearest(model: nn.Module, base: Base, edit: Edit, refusal: Refusal) -> EditError:
    """The error that says why an edit cannot be, and which values nearest to the asked ones would do."""
    asked = dict(edit.settings) if edit.action == "set" else {}
    if not asked:
        return EditError(edit.path, refusal.reason)
    now = settings_of(layer_at(model, edit.path))
    numbers = [name for name, value in asked.items() if isinstance(value, int) and not isinstance(value, bool)]
    if not refusal.never:
        for name in numbers:
            found = _nearest(model, base, edit, name, now.get(name), refusal.step)
            if found is not None:
                return EditError(edit.path, refusal.reason, asked, {name: found})
    return EditError(edit.path, refusal.reason, asked, {name: now[name] for name in asked if name in now})


def _nearest(model: nn.Module, base: Base, edit: Edit, name: str, now: Any, step: int) -> int | None:
    asked = int(edit.settings[name])
    refused_step = 0

    def works(value: int) -> bool:
        nonlocal refused_step
        try:
            check(model, base, Edit(edit.path, {**edit.settings, name: value}))
        except Refusal as refusal:
            refused_step = refusal.step
            return False
        except EditError:
            return False
        return True

    while step:
        below, above = asked // step * step, -(-asked // step) * step
        for value in sorted({below, above} - {0}, key=lambda v: abs(v - asked)):
            if works(value):
                return value
        if not refused_step or step % refused_step == 0:
            break
        step = math.lcm(step, refused_step)
    if not isinstance(now, int) or (len(edit.settings) > 1 and not works(now)):
        return next((v for d in range(1, SCANNED) for v in (asked - d, asked + d) if v > 0 and works(v)), None)
    good, bad = now, asked
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if works(middle) else (good, middle)
    return good
