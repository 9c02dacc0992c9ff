"""The positions of a slider for a setting: values that work where the layer stands, and no others."""

from typing import Any, Final

from convlab.models.live import Limit

MOST: Final = 64
_LADDER: Final = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024)


def positions(limit: Limit) -> tuple[Any, ...]:
    """Values that a control may offer, rising where they are numbers; the present one is always among them.

    Example:
        >>> positions(Limit(3, low=1, high=5))
        (1, 2, 3, 4, 5)
        >>> positions(Limit(16, low=8, high=None, step=8))
        (8, 16, 24, 32, 40, 48, 64)
    """
    if limit.low is None:
        return limit.choices
    if not limit.step:
        low, high = limit.low, 1.0 if limit.high is None else limit.high
        found: list[Any] = [round(low + i * (high - low) / 20, 6) for i in range(21)]
    elif limit.high is None:
        top = max(64, 4 * limit.value) if isinstance(limit.value, int) else 64
        found = [count for count in _LADDER if limit.low <= count <= top and count % limit.step == 0]
    else:
        found = list(range(int(limit.low), int(limit.high) + 1, int(limit.step)))[:MOST]
    if limit.value not in found and isinstance(limit.value, int | float):
        found = sorted([*found, limit.value])
    rest = [choice for choice in (*limit.choices, limit.value) if choice not in found]
    return (*found, *dict.fromkeys(rest))
