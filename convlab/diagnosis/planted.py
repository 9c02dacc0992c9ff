"""Trainings with a fault planted in them, and healthy ones: what the rules are judged by, and a lesson to guess at."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from convlab.data.data import Data
from convlab.data.resolve import resolve
from convlab.data.sources import TensorSource
from convlab.diagnosis.finding import Remedy
from convlab.limits import check_choice
from convlab.models.gallery import lenet, net
from convlab.models.streams import own_stream
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run

Make = Callable[[int], nn.Module]


@dataclass(frozen=True, eq=False)
class Setup:
    """A training about to begin: a network with its first weights, data, settings."""

    model: nn.Module
    data: Data
    spec: TrainSpec

    def with_remedy(self, remedy: Remedy) -> Setup:
        """The same with a remedy, on a copy of the network as it stands now.

        Raises:
            EditError, ValueError: the network or the data do not take it.
        """
        model = copy.deepcopy(self.model)
        remedy.edit(model, self.data.input_size)
        data = self.data if remedy.data is None else remedy.data(self.data)
        return Setup(model, data, remedy.applied(self.spec))

    def run(self) -> Run:
        """Train it; a loss that is no number ends it early, without an error."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return fit(self.model, self.data, self.spec)


@dataclass(frozen=True, eq=False)
class Fault:
    """One fault, planted in several networks.

    Attributes:
        name: what was done.
        rules: of these one must speak.
        nets: the networks by name, from a seed.
        data: what they are trained on, from a seed.
        changes: of the settings.
        helps: whether the remedy lowers the validation loss; without it the remedy is another kind of good.
    """

    name: str
    rules: tuple[str, ...]
    nets: Mapping[str, Make]
    data: Callable[[int], Data]
    changes: Mapping[str, Any]
    helps: bool = True

    def setup(self, network: str | None = None, seed: int = 0) -> Setup:
        """The training with the fault in it.

        Raises:
            SpecError: there is no such network.
        """
        network = next(iter(self.nets)) if network is None else network
        check_choice("network", network, tuple(self.nets))
        with own_stream(seed):
            model = self.nets[network](seed)
        return Setup(model, self.data(seed), SPEC.replace(**{**self.changes, "seed": seed}))


SPEC: Final = TrainSpec(epochs=12, lr=0.03, threads=1)
"""What heals all of them, as far as settings go."""


# -- networks ---------------------------------------------------------------------------------------------------------


def _stack(_: int, *, act: type[nn.Module] = nn.ReLU, depth: int = 3, width: int = 16, **conv: Any) -> nn.Sequential:
    """Convolutions on 8 x 8 pictures, one pooling."""
    conv = {"kernel_size": 3, "padding": 1, **conv}
    layers = [part for i in range(depth) for part in (nn.Conv2d(width if i else 1, width, **conv), act())]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(10))


def _perceptron(_: int, *, act: type[nn.Module] = nn.ReLU, depth: int = 1, width: int = 64) -> nn.Sequential:
    layers = [part for i in range(depth) for part in (nn.Linear(width if i else 64, width), act())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 10))


def _made(model: nn.Module, size: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    """The model, its lazy layers made."""
    model(torch.zeros(2, *size))
    return model


def _with(make: Make, change: Callable[[nn.Module], object]) -> Make:
    def changed(seed: int) -> nn.Module:
        model = make(seed)
        with torch.no_grad():
            for module in list(model.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    change(module)
        return model

    return changed


def _scaled(factor: float) -> Callable[[Any], object]:
    return lambda layer: layer.weight.mul_(factor)


def _biased(low: float, high: float) -> Callable[[Any], object]:
    """Biases of hidden layers drawn from both ends."""

    def change(layer: Any) -> None:
        if len(layer.bias) != 10:
            ends = torch.tensor([low, high])
            layer.bias.copy_(ends[torch.randint(0, 2, layer.bias.shape)])

    return change


NETS: Final[Mapping[str, Make]] = {
    "lenet": lambda seed: lenet(seed=seed),
    "stack": lambda seed: _made(_stack(seed)),
    "perceptron": _perceptron,
}
_CONVS: Final[Mapping[str, Make]] = {
    "lenet": NETS["lenet"],
    "stack": NETS["stack"],
    "deep stack": lambda seed: _made(_stack(seed, depth=4)),
}


def _each(nets: Mapping[str, Make], change: Callable[[Any], object]) -> dict[str, Make]:
    return {name: _with(make, change) for name, make in nets.items()}


def _dropping(make: Make, p: float) -> Make:
    """A dropout before the last layer, and behind each activation."""

    def changed(seed: int) -> nn.Module:
        layers: list[nn.Module] = []
        for module in make(seed).children():
            layers += [module, nn.Dropout(p)] if isinstance(module, nn.ReLU) else [module]
        return nn.Sequential(*layers)

    return changed


def _averaged(_: int, *, channels: tuple[int, ...] = (16, 32), size: int = 3) -> nn.Sequential:
    """Convolutions on pictures of 3 x 32 x 32, averaged over all places."""
    layers: list[nn.Module] = []
    for before, after in zip((3, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, size, padding=size // 2), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 10))


def _pooled_away(_: int, *, width: int = 16, act: type[nn.Module] = nn.ReLU, depth: int = 1) -> nn.Sequential:
    """Pooled to one place, and convolved there by 3 x 3."""
    first = [nn.Conv2d(1, width, 3, padding=1), act(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2)]
    rest = [part for _ in range(depth) for part in (nn.Conv2d(width, width, 3, padding=1), act())]
    return nn.Sequential(*first, *rest, nn.Flatten(), nn.Linear(width, 10))


def _flat(_: int, *, width: int = 64, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """One convolution on 3 x 32 x 32 pictures, all of whose places are read at once."""
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), act(), nn.Flatten(), nn.Linear(width * 1024, 10))


def _strided(_: int, *, kernel: int = 3, stride: int = 4, width: int = 8) -> nn.Sequential:
    """A first layer that jumps over its 8 x 8 picture."""
    return nn.Sequential(
        nn.Conv2d(1, width, kernel, stride=stride, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)
    )


# -- data -------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def _held(name: str) -> Data:
    return resolve(name)


def _digits(_: int) -> Data:
    return _held("digits")


def _shapes(_: int) -> Data:
    return _held("shapes")


def _parts() -> tuple[TensorSource, TensorSource]:
    data = _held("digits")
    assert isinstance(data.train, TensorSource)
    assert isinstance(data.valid, TensorSource)
    return data.train, data.valid


def _changed(x: Callable[[Tensor], Tensor]) -> Callable[[int], Data]:
    def made(_: int) -> Data:
        train, valid = _parts()
        return resolve(((x(train.x), train.y), (x(valid.x), valid.y)))

    return made


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _shuffled(seed: int) -> Data:
    train, valid = _parts()
    order = torch.randperm(len(train.y), generator=_generator(seed))
    return resolve(((train.x, train.y[order]), (valid.x, valid.y)))


def _few(seed: int) -> Data:
    """300 pictures, 90 of which have somebody else's label: to be learned by heart."""
    train, valid = _parts()
    order = torch.randperm(len(train.y), generator=_generator(seed))[:300]
    labels = train.y[order].clone()
    labels[:90] = labels[:90].roll(1)
    return resolve(((train.x[order], labels), (valid.x, valid.y)))


def _noisy(seed: int) -> Data:
    """Three in ten labels drawn from a hat, in training and validation."""
    generator = _generator(seed)
    parts = []
    for part in _parts():
        labels, drawn = part.y.clone(), torch.rand(len(part.y), generator=generator) < 0.3
        labels[drawn] = torch.randint(0, 10, (int(drawn.sum()),), generator=generator)
        parts.append((part.x, labels))
    return resolve(tuple(parts))


def _rare(seed: int) -> Data:
    """Of the classes above 4 there are 10 training samples each."""
    train, valid = _parts()
    order = torch.randperm(len(train.y), generator=_generator(seed))
    keep = torch.cat([order[train.y[order] == label][: None if label < 5 else 10] for label in range(10)])
    return resolve(((train.x[keep], train.y[keep]), (valid.x, valid.y)))


def _leaky(seed: int) -> Data:
    """A third of the validation pictures stand in the training data, too."""
    train, valid = _parts()
    chosen = torch.randperm(len(valid.y), generator=_generator(seed))[: len(valid.y) // 3]
    return resolve(((torch.cat([train.x, valid.x[chosen]]), torch.cat([train.y, valid.y[chosen]])), (valid.x, valid.y)))


class _Huge(Dataset[tuple[Tensor, Tensor]]):
    """60,000 pictures of 3 x 32 x 32, made when they are asked for."""

    classes = tuple(map(str, range(10)))
    targets = torch.arange(60_000) % 10

    def __len__(self) -> int:
        return 60_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.randn(3, 32, 32, generator=_generator(index)), self.targets[index]


def _huge(_: int) -> Data:
    return resolve((_Huge(), None))


def _big(name: str, **changes: Any) -> Make:
    return lambda seed: net(name, input_size=(3, 32, 32), num_classes=10, seed=seed, **changes)


# -- the faults -------------------------------------------------------------------------------------------------------

_TINY: Final[Mapping[str, Make]] = {
    "1 unit": lambda seed: _perceptron(seed, width=1, act=nn.Tanh),
    "1 unit behind 16": lambda _: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 1), nn.Tanh(), nn.Linear(1, 10)
    ),
    "1 filter": lambda _: nn.Sequential(nn.Conv2d(1, 1, 8), nn.Tanh(), nn.Flatten(), nn.Linear(1, 10)),
}
_NARROW: Final[Mapping[str, Make]] = {
    "3 tanhs": lambda seed: _perceptron(seed, width=3, act=nn.Tanh),
    "5 tanhs": lambda seed: _perceptron(seed, width=5, act=nn.Tanh),
    "4 tanhs": lambda seed: _perceptron(seed, width=4, act=nn.Tanh),
}
_COSINE: Final = ScheduleSpec("CosineAnnealingLR", T_max=12, cadence="step")

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("lr 20", ("diverged",), NETS, _digits, {"lr": 20.0}),
    Fault("lr 1", ("diverged", "oscillating", "plateau"), NETS, _digits, {"lr": 1.0}),
    Fault("lr 0.00001", ("too_slow",), NETS, _digits, {"lr": 1e-5}),
    Fault("lr that never falls", ("plateau",), _NARROW, _noisy, {"lr": 0.2, "epochs": 30, "batch_size": 16}),
    Fault("schedule stepped too often", ("cadence",), NETS, _digits, {"schedule": _COSINE}),
    Fault("few pictures, 100 epochs", ("overfitting",), NETS, _few, {"epochs": 100}),
    Fault(
        "hardly any units",
        ("underfitting",),
        _TINY,
        _digits,
        {"optimizer": "adamw", "lr": 0.008, "epochs": 100},
        helps=False,
    ),
    Fault("momentum 0.995", ("momentum_too_high",), NETS, _digits, {"momentum": 0.995}),
    Fault("adam with lr 0.1", ("lr_of_another_optimizer",), NETS, _digits, {"optimizer": "adam", "lr": 0.3}),
    Fault("batches of 2", ("batch_too_small",), NETS, _digits, {"batch_size": 2, "lr": 0.1, "epochs": 5}),
    Fault("one batch an epoch", ("batch_too_large",), NETS, _digits, {"batch_size": 1437}),
    Fault(
        "batches beyond memory",
        ("memory_short",),
        {"vgg": _big("vgg"), "resnet": _big("resnet"), "mobilenet": _big("mobilenet")},
        _huge,
        {"batch_size": 60_000},
        helps=False,
    ),
    Fault("weight decay 0.3", ("decayed_away",), NETS, _digits, {"weight_decay": 0.3}),
    Fault(
        "dropout 0.9",
        ("dropout_too_strong",),
        {name: _dropping(make, 0.9) for name, make in _CONVS.items()},
        _digits,
        {},
    ),
    Fault("weights 8 times too large", ("unfit_init",), _each(NETS, _scaled(8)), _digits, {"lr": 0.01}),
    Fault("weights 30 times too small", ("unfit_init",), _each(NETS, _scaled(1 / 30)), _digits, {}),
    Fault("biases of -3", ("dead_relus",), _each(NETS, _biased(-3, -3)), _digits, {}),
    Fault(
        "biases of 4 before tanh",
        ("saturated",),
        _each(
            {
                "tanh perceptron": lambda seed: _perceptron(seed, act=nn.Tanh),
                "deep tanh perceptron": lambda seed: _perceptron(seed, act=nn.Tanh, depth=2),
                "tanh stack": lambda seed: _made(_stack(seed, act=nn.Tanh)),
            },
            _biased(-4, 4),
        ),
        _digits,
        {},
    ),
    Fault(
        "deep and plain",
        ("vanishing",),
        {
            "8 sigmoids": lambda seed: _perceptron(seed, act=nn.Sigmoid, depth=8),
            "sigmoid stack": lambda seed: _made(_stack(seed, act=nn.Sigmoid, depth=5)),
            "20 ReLUs": lambda seed: _perceptron(seed, depth=20),
        },
        _digits,
        {},
    ),
    Fault(
        "deep, each layer a little too loud",
        ("exploding",),
        _each(
            {
                "12 ReLUs": lambda seed: _perceptron(seed, depth=12),
                "10 wide ReLUs": lambda seed: _perceptron(seed, depth=10, width=96),
                "deep stack": lambda seed: _made(_stack(seed, depth=10)),
            },
            _scaled(3.8),
        ),
        _digits,
        {},
    ),
    Fault("pixels from 0 to 255", ("unnormalised",), NETS, _changed(lambda x: x * 255), {}),
    Fault("pixels from 100 to 101", ("unnormalised",), NETS, _changed(lambda x: x + 100), {}),
    Fault("shuffled labels", ("at_chance",), NETS, _shuffled, {"epochs": 20}, helps=False),
    Fault("rare classes", ("unbalanced",), NETS, _rare, {"lr": 0.01}),
    Fault("validation in training", ("leaking",), NETS, _leaky, {}, helps=False),
    Fault("gradients clipped to a millionth", ("stuck",), NETS, _digits, {"clip_grad_norm": 1e-6}),
    Fault(
        "first layer jumps",
        ("skips_pixels",),
        {
            "stride 4": lambda seed: _made(_strided(seed)),
            "stride 4, 16 filters": lambda seed: _made(_strided(seed, width=16)),
            "stride 3, kernel 2": lambda seed: _made(_strided(seed, kernel=2, stride=3)),
        },
        _digits,
        {},
    ),
    Fault(
        "small fields, averaged",
        ("field_too_small",),
        {
            "two convolutions": _averaged,
            "three convolutions": lambda seed: _averaged(seed, channels=(12, 16, 24)),
            "wide": lambda seed: _averaged(seed, channels=(24, 24)),
        },
        _shapes,
        {"epochs": 4},
    ),
    Fault(
        "dilation beyond the picture",
        ("field_beyond_input",),
        {
            "dilation 8": lambda seed: _made(_stack(seed, dilation=8, padding=8)),
            "dilation 7, tanh": lambda seed: _made(_stack(seed, dilation=7, padding=7, act=nn.Tanh)),
            "dilation 8, deep": lambda seed: _made(_stack(seed, dilation=8, padding=8, depth=4)),
        },
        _digits,
        {},
    ),
    Fault(
        "pooled to one place",
        ("padding_dominates",),
        {
            "one behind": _pooled_away,
            "two behind": lambda seed: _pooled_away(seed, depth=2),
            "tanh": lambda seed: _pooled_away(seed, act=nn.Tanh),
        },
        _digits,
        {},
    ),
    Fault(
        "all places at once",
        ("one_layer_holds_most",),
        {
            "64 filters": _flat,
            "32 filters": lambda seed: _flat(seed, width=32),
            "tanh": lambda seed: _flat(seed, act=nn.Tanh),
        },
        _shapes,
        {"epochs": 4},
        helps=False,
    ),
)
"""Every rule's, each in three networks."""

HEALTHY: Final[tuple[Fault, ...]] = (
    Fault("sgd", (), NETS, _digits, {}),
    Fault("adamw", (), NETS, _digits, {"optimizer": "adamw", "lr": 2e-3}),
    Fault(
        "cosine",
        (),
        NETS,
        _digits,
        {"schedule": ScheduleSpec("CosineAnnealingLR", T_max=12, cadence="epoch")},
    ),
    Fault(
        "dropout 0.2", (), {name: _dropping(make, 0.2) for name, make in _CONVS.items()}, _digits, {"batch_size": 64}
    ),
    Fault("weight decay", (), NETS, _digits, {"weight_decay": 1e-4, "lr": 0.05}),
)
"""The like without a fault."""
