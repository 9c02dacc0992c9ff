"""A run's own random numbers: the same seed gives the same curve, whatever else draws meanwhile.

torch's default generator is shared by every thread, so a `torch.rand` in another cell would change a run's dropout.
While a step runs in its thread, `PrivateRandom` gives each random function the run's own generator instead. They are
the numbers that the default generator gives after ``torch.manual_seed(seed)``: a textbook loop sees the same ones.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convlab.models.borrow import has_own_code

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

# Functions that draw inside torch, where their caller cannot hand in a generator.
_DRAWS_INSIDE: Final[frozenset[Torchlike]] = frozenset(
    {
        F.alpha_dropout,
        F.feature_alpha_dropout,
        F.rrelu,
        F.rrelu_,
        F.gumbel_softmax,
        F.fractional_max_pool2d,
        F.fractional_max_pool2d_with_indices,
        F.fractional_max_pool3d,
        F.fractional_max_pool3d_with_indices,
        F.multi_head_attention_forward,
        F.scaled_dot_product_attention,
        torch.alpha_dropout,
        torch.alpha_dropout_,
        torch.feature_dropout,
        torch.feature_dropout_,
        torch.feature_alpha_dropout,
        torch.feature_alpha_dropout_,
        torch.rrelu,
        torch.rrelu_,
        torch.poisson,
        torch.binomial,
        torch._standard_gamma,
        torch._sample_dirichlet,
        torch.rand_like,
        torch.randn_like,
        torch.randint_like,
        torch.lstm,
        torch.gru,
        torch.rnn_tanh,
        torch.rnn_relu,
        *(function for name, function in vars(nn.init).items() if name.endswith("_") and not name.startswith("_")),
    }
)


_CPU: Final = torch.device("cpu")


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

    def states(self) -> dict[torch.device, Tensor]:
        """Where the stream stands on each device that drew from it."""
        return {device: generator.get_state() for device, generator in ((_CPU, self.generator), *self._others.items())}

    def put_back(self, states: Mapping[torch.device, Tensor]) -> None:
        """Let the stream go on from there; on other devices, from its beginning."""
        self._others.clear()
        for device, state in states.items():
            self.on(device).set_state(state)

    def restart(self, seed: int) -> None:
        """Begin another stream."""
        self.seed = seed
        self.put_back({_CPU: torch.Generator().manual_seed(seed).get_state()})

    def __torch_function__(
        self, func: Torchlike, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _TAKES_GENERATOR and kwargs.get("generator") is None:
            return func(*args, **{**kwargs, "generator": self.on(_device_of(args, kwargs))})
        if func in _DROPOUTS:
            return self._dropout(func, *args, **kwargs)
        if func in _DRAWS_INSIDE:
            with _HandsGenerator(self):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(self, func: Torchlike, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        p, training, inplace = _dropout_arguments(func, *args, **kwargs)
        if not training or not 0 < p < 1:
            return func(input, *args, **kwargs)  # type: ignore[no-any-return]  # nothing is drawn
        dim = _DROPOUTS[func]
        if dim is None:
            # Of the input's own layout: torch fills memory in order.
            noise = torch.empty_like(input)
        elif input.dim() == dim:
            noise = input.new_empty(input.shape[:2] + (1,) * (dim - 2))
        else:
            with _HandsGenerator(self):
                return func(input, *args, **kwargs)  # type: ignore[no-any-return]
        noise.bernoulli_(1 - p, generator=self.on(input.device)).div_(1 - p)
        return input.mul_(noise) if inplace else input * noise


class _HandsGenerator(TorchDispatchMode):
    """Hands the stream's generator to every kernel that takes one, however deep inside a function it is called."""

    def __init__(self, stream: PrivateRandom) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stream = stream

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None and _takes_generator(func):
            given = {**kwargs, "generator": self._stream.on(_device_of(args, kwargs))}
            # By name: the overload that takes a generator may be another one than was called.
            return func.overloadpacket(*args, **given)
        return func(*args, **kwargs)


@functools.cache
def _takes_generator(func: Any) -> bool:
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    packet = func.overloadpacket
    schemas = [getattr(packet, name)._schema for name in packet.overloads()]
    return any(argument.name == "generator" for schema in schemas for argument in schema.arguments)


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
    return any(isinstance(module, _MAY_DRAW) or has_own_code(module) for module in model.modules())
