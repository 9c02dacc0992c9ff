"""A network of torch's own layers as plain values, safe to read from a file that anybody may have written."""

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from convlab.models.calls import BRANCHES, made
from convlab.models.plan import Call
from convlab.models.source import called

_HOMES: Final = (
    *("activation", "batchnorm", "channelshuffle", "conv", "dropout", "flatten", "fold", "instancenorm", "linear"),
    *("normalization", "padding", "pixelshuffle", "pooling", "upsampling"),
)
MOST_LAYERS: Final = 10_000
MOST_SIZES: Final = 16
"""Numbers in one argument."""


def blueprint(model: nn.Module) -> dict[str, Any] | None:
    """What `from_blueprint` makes a like network of, its weights left out; None where a class is not torch's own.

    Example:
        >>> blueprint(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))["function"]
        'nn.Sequential'
        >>> blueprint(nn.TransformerEncoderLayer(8, 2)) is None
        True
    """
    call = called(model)
    if call is None or not _is_known(call):
        return None
    plain: dict[str, Any] = _plain(call)
    return plain


def from_blueprint(plain: object) -> nn.Module:
    """The network, on the meta device: nothing is allocated, whatever sizes are asked for.

    Raises:
        ValueError: it is no blueprint.

    Example:
        >>> from_blueprint(blueprint(nn.Sequential(nn.Linear(64, 10))))
        Sequential(
          (0): Linear(in_features=64, out_features=10, bias=True)
        )
    """
    try:
        call = _call(plain, [MOST_LAYERS])
        if not isinstance(call, Call) or not _is_known(call):
            raise ValueError(f"a layer is none of torch's own: {str(plain)[:60]!r}")
        with torch.device("meta"):
            network = made(call)
    except (TypeError, AttributeError, KeyError, RuntimeError, RecursionError, OverflowError, AssertionError) as error:
        raise ValueError(f"the layers do not make a network: {error}") from None
    if not isinstance(network, nn.Module):
        raise ValueError("the layers do not make a network.")
    return network


def _is_known(value: object) -> bool:
    """Whether all that is called is a layer of torch's, which only makes itself."""
    if not isinstance(value, Call):
        return True
    if value.function not in ("OrderedDict", "nn.Sequential", *BRANCHES):
        cls = getattr(nn, value.function.removeprefix("nn."), None)
        if not isinstance(cls, type) or not issubclass(cls, nn.Module) or value.function != f"nn.{cls.__name__}":
            return False
        home = cls.__module__.removeprefix("torch.nn.modules.")
        if home not in _HOMES or cls.__name__.startswith("Lazy"):
            return False
        _check_arguments(cls, value)
    return all(map(_is_known, (*value.args, *value.keywords.values())))


def _check_arguments(cls: type, call: Call) -> None:
    """Where a layer lies is not its own affair: told to, it would allocate whatever it asks for."""
    if {"device", "dtype"} & inspect.signature(cls).bind(*call.args, **call.keywords).arguments.keys():
        raise ValueError(f"{call.function} tells where it lies or of what type it is")


def _plain(value: Any) -> Any:
    if isinstance(value, Call):
        keywords = {name: _plain(one) for name, one in value.keywords.items()}
        return {"function": value.function, "args": [_plain(one) for one in value.args], "keywords": keywords}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _call(plain: object, left: list[int]) -> Any:
    if isinstance(plain, list):
        if len(plain) > MOST_SIZES:
            raise ValueError(f"a layer has {len(plain)} sizes")
        return tuple(_call(one, left) for one in plain)
    if not isinstance(plain, Mapping):
        if plain is None or isinstance(plain, bool | int | float | str):
            return plain
        raise ValueError(f"{plain!r:.40} is no argument of a layer")
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"there are more than {MOST_LAYERS:,} layers")
    function, args, keywords = plain["function"], plain["args"], plain["keywords"]
    if not isinstance(function, str) or not isinstance(args, list) or not isinstance(keywords, dict):
        raise ValueError(f"{str(plain)[:60]!r} is no layer")
    inner = OrderedDict((name, _call(one, left)) for name, one in keywords.items())
    return Call(function, tuple(_call(one, left) for one in args), inner)
