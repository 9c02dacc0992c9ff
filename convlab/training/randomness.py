"""A run's own random numbers: the same seed gives the same curve, whatever else draws meanwhile.

torch's default generator is shared by every thread, so a `torch.rand` in another cell would change a run's dropout.
While a step runs in its thread, `PrivateRandom` gives each random function the run's own generator instead. They are
the numbers that the default generator gives after ``torch.manual_seed(seed)``: a textbook loop sees the same ones.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Torchlike = Callable[..., Any]

_TAKES_GENERATOR: Final[frozenset[Torchlike]] = frozenset(
    {
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.normal,
        torch.bernoulli,
        torch.multinomial,
        Tensor.bernoulli,
        Tensor.multinomial,
        Tensor.bernoulli_,
        Tensor.uniform_,
        Tensor.normal_,
        Tensor.random_,
        Tensor.exponential_,
        Tensor.cauchy_,
        Tensor.geometric_,
        Tensor.log_normal_,
    }
)

# Functions that draw inside torch, where no generator can be handed in: the default generator lends its state.
_DRAWS_INSIDE: Final[frozenset[Torchlike]] = frozenset(
    {
        F.alpha_dropout,
        F.feature_alpha_dropout,
        F.rrelu,
        F.gumbel_softmax,
        F.fractional_max_pool2d,
        F.fractional_max_pool3d,
        F.multi_head_attention_forward,
        F.scaled_dot_product_attention,
        torch.alpha_dropout,
        torch.feature_dropout,
        torch.feature_alpha_dropout,
        torch.rrelu,
        torch.poisson,
        torch.binomial,
        torch.rand_like,
        torch.randn_like,
        torch.randint_like,
        torch.lstm,
        torch.gru,
        torch.rnn_tanh,
        torch.rnn_relu,
    }
)


class PrivateRandom(TorchFunctionMode):
    """While active in this thread, random torch functions draw from this stream and not from the default generator."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self._others: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator:
        """The stream's generator on `device`."""
        if device.type == "cpu":
            return self.generator
        if device not in self._others:
            self._others[device] = torch.Generator(device).manual_seed(self.seed)
        return self._others[device]

    def __torch_function__(
        self, func: Torchlike, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _TAKES_GENERATOR and kwargs.get("generator") is None:
            return func(*args, **{**kwargs, "generator": self.on(_device_of(args, kwargs))})
        if func in _DROPOUTS:
            return self._dropout(func, *args, **kwargs)
        if func in _DRAWS_INSIDE:
            with self._lent():
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(self, func: Torchlike, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        p, training, inplace = _dropout_arguments(func, *args, **kwargs)
        channels = _DROPOUTS[func]
        fits = channels is None or x.dim() == channels
        if not training or not 0 < p < 1 or not fits:
            with self._lent():
                return func(x, *args, **kwargs)  # type: ignore[no-any-return]
        shape = x.shape if channels is None else x.shape[:2] + (1,) * (x.dim() - 2)
        noise = x.new_empty(shape).bernoulli_(1 - p, generator=self.on(x.device)).div_(1 - p)
        return x.mul_(noise) if inplace else x * noise

    @contextmanager
    def _lent(self) -> Iterator[None]:
        outside = torch.get_rng_state()
        torch.set_rng_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.get_rng_state())
            torch.set_rng_state(outside)


# Dropout function -> dimensions of the batched input whose whole channels it drops (None: single values).
_DROPOUTS: Final[dict[Torchlike, int | None]] = {
    F.dropout: None,
    torch.dropout: None,
    torch.dropout_: None,
    F.dropout1d: 3,
    F.dropout2d: 4,
    F.dropout3d: 5,
}


def _dropout_arguments(
    func: Torchlike, p: float = 0.5, training: bool = True, inplace: bool = False, train: bool | None = None
) -> tuple[float, bool, bool]:
    return p, training if train is None else train, inplace or func is torch.dropout_


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    if (device := kwargs.get("device")) is not None:
        return torch.device(device)
    return next((arg.device for arg in args if isinstance(arg, Tensor)), torch.device("cpu"))


_MAY_DRAW: Final = (
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


def may_draw(model: nn.Module) -> bool:
    """Whether `model` might draw random numbers: unknown code might, torch's own layers tell by their type."""
    return any(
        isinstance(module, _MAY_DRAW) or not type(module).__module__.startswith("torch.nn.modules.")
        for module in model.modules()
    )


class HostRandom:
    """The run's own `random` and `numpy.random` streams, lent to user code that draws from the global ones.

    Swapping them costs some 50 µs, so only those that the user's code is seen to draw from are swapped: it is watched
    for the first call and once more whenever `watch` is called.
    """

    def __init__(self, seed: int) -> None:
        self._states: dict[ModuleType, Any] = {
            random: random.Random(seed).getstate(),
            np.random: np.random.RandomState(seed % 2**32).get_state(),
        }
        self._used: set[ModuleType] = set()
        self._watched = False

    def watch(self) -> None:
        """Look again, at the next call, at what the user's code draws from."""
        self._watched = False

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let the code inside draw from the run's streams, and leave the global ones as they were."""
        lent = list(self._states) if not self._watched else [m for m in self._states if m in self._used]
        outside = {module: _get_state(module) for module in lent}
        for module in lent:
            _set_state(module, self._states[module])
        try:
            yield
        finally:
            for module in lent:
                state = _get_state(module)
                if not self._watched and not _same_state(state, self._states[module]):
                    self._used.add(module)
                self._states[module] = state
                _set_state(module, outside[module])
            self._watched = True


def _get_state(module: ModuleType) -> Any:
    return random.getstate() if module is random else np.random.get_state()


def _set_state(module: ModuleType, state: Any) -> None:
    if module is random:
        random.setstate(state)
    else:
        np.random.set_state(state)


def _same_state(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
