"""Small networks of every family, each with what is known about the receptive field of its output.

Sizes are odd and unequal on purpose: a square of 32 hides a swapped axis and an off-by-one at the border. Channels are
few: a sweep runs every network once per input line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

Size = tuple[int, ...]
REACHES = ("local", "global", "irregular")


@dataclass(frozen=True)
class Entry:
    """One network. ``inputs`` is what ``convlab.trace`` takes as ``input_size``, batch included.

    ``reach`` is what the output must report, per axis of the first input (one word stands for all axes); a set of
    words joined by ``|`` leaves the choice. ``size`` and ``jump`` are worked out by hand, where given. Flags:

    * ``train``: trace and sweep in train mode; ``swept in eval mode``: trace only;
    * ``mixes batch``: samples of a batch influence each other, so the sweep goes line by line;
    * ``swallows``: the network decides on values, so NaN gives no upper bound and the field must be declared unsure;
    * ``zero taps``: weights of exactly 0 (interpolation at whole positions), so NaN over-reports;
    * ``float16``, ``meta``: traced in that dtype, or on that device; swept as a float64 twin;
    * ``loose``: exactness is not asked for, only that no pixel is missing;
    * ``fixed size``: the network does not fit other input sizes, or becomes another network for them;
    * ``no nominal``: the output is no map of pixels (logits), so there is no unit to extrapolate from.
    """

    name: str
    family: str
    make: Callable[[], nn.Module]
    inputs: Any
    reach: str | tuple[str, ...]
    size: int | tuple[int, ...] | None = None
    jump: int | tuple[int, ...] | None = None
    flags: frozenset[str] = frozenset()
    data: Callable[[], Any] | None = None

    def model(self) -> nn.Module:
        """A fresh network with seeded weights, in the mode that the flags ask for."""
        torch.manual_seed(0)
        return self.make().train("train" in self.flags)

    def twin(self) -> nn.Module:
        """The same network for the oracle: real, and with every lazy parameter in place."""
        model = self.model()
        args, kwargs = self.call()
        if "swept in eval mode" in self.flags:
            model.eval()
        if any(nn.parameter.is_lazy(p) for p in model.parameters()):
            model(*args, **kwargs)
        return model

    def call(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments for a real forward pass."""
        if self.data is not None:
            data = self.data()
            return ((), data) if isinstance(data, dict) else (data, {})
        if isinstance(self.inputs, dict):
            return (), {name: torch.rand(size) for name, size in self.inputs.items()}
        sizes = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return tuple(torch.rand(size) for size in sizes), {}

    def cast_call(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments in the dtype and on the device that the flags ask for."""

        def cast(t: Any) -> Any:
            if not isinstance(t, Tensor):
                return t
            t = t.half() if "float16" in self.flags and t.is_floating_point() else t
            return t.to("meta") if "meta" in self.flags else t

        return tree_map(cast, self.call())

    def reaches(self, axes: int) -> tuple[frozenset[str], ...]:
        words = (self.reach,) * axes if isinstance(self.reach, str) else self.reach
        return tuple(frozenset(word.split("|")) for word in words)


ZOO: dict[str, Entry] = {}


def entry(
    family: str,
    inputs: Any,
    reach: str | tuple[str, ...] = "local",
    *flags: str,
    size: int | tuple[int, ...] | None = None,
    jump: int | tuple[int, ...] | None = None,
    data: Callable[[], Any] | None = None,
) -> Callable[[Any], Any]:
    """Enters the decorated class or function, called without arguments, under its own name."""

    def enter(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        name = make.__name__.strip("_")
        assert name not in ZOO, name
        ZOO[name] = Entry(name, family, make, inputs, reach, size, jump, frozenset(flags), data)
        return make

    return enter


class Net(nn.Module):
    """Modules under names, and a function of them and of one input."""

    def __init__(self, body: Callable[..., Any], /, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._body = body

    def forward(self, x: Tensor) -> Any:
        return self._body(self, x)


def conv(k: int = 3, c: int = 2, **options: Any) -> nn.Conv2d:
    """A convolution of `c` channels to `c`, padded to keep the size at stride 1."""
    return nn.Conv2d(c, c, k, padding=options.pop("padding", k // 2), **options)


def unit(
    cin: int, cout: int, k: Any = 3, s: Any = 1, p: Any = None, d: Any = 1, g: int = 1, act: bool = True
) -> nn.Module:
    """Convolution, BatchNorm, ReLU."""
    if p is None:
        p = tuple(a * (b - 1) // 2 for a, b in zip(_pair(d), _pair(k), strict=True))
    layers = [nn.Conv2d(cin, cout, k, s, p, d, g, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if act else []))


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def load() -> dict[str, Entry]:
    """All entries, from all files."""
    import zoo_attention
    import zoo_branches
    import zoo_functional
    import zoo_habits
    import zoo_hosts
    import zoo_papers
    import zoo_plain

    assert zoo_attention, (zoo_branches, zoo_functional, zoo_habits, zoo_hosts, zoo_papers, zoo_plain)
    return ZOO
