"""A run's random numbers: those of a seeded default generator, drawn from a stream that nobody else can reach."""

import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlab.training import randomness
from convlab.training.host_random import HostRandom, drawn_from, model_code, numpy_untouched
from convlab.training.randomness import PrivateRandom, may_draw

X3 = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))
X4 = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(2))
X5 = X4[:, :, :, :, None].repeat(1, 1, 1, 1, 3)
ATTENTION = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)
LSTM = nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True)
GRU = nn.GRU(8, 8, num_layers=2, dropout=0.5, batch_first=True)

DRAWS = {
    "dropout": lambda: F.dropout(X4, 0.3),
    "dropout in place": lambda: F.dropout(X4.clone(), 0.3, inplace=True),
    "dropout of channels_last": lambda: F.dropout(X4.contiguous(memory_format=torch.channels_last), 0.3),
    "dropout of a view": lambda: F.dropout(X4.transpose(1, 3), 0.3),
    "torch.dropout": lambda: torch.dropout(X4, 0.3, True),
    "torch.dropout_": lambda: torch.dropout_(X4.clone(), 0.3, train=True),
    "dropout1d": lambda: F.dropout1d(X3, 0.3),
    "dropout1d of one": lambda: F.dropout1d(X3[0], 0.3),
    "dropout2d": lambda: F.dropout2d(X4, 0.3),
    "dropout2d in place": lambda: F.dropout2d(X4.clone(), 0.3, True, True),
    "dropout2d of three": lambda: F.dropout2d(X3, 0.3),
    "dropout3d": lambda: F.dropout3d(X5, 0.3),
    "dropout3d of one": lambda: F.dropout3d(X5[0], 0.3),
    "nn.Dropout2d": lambda: nn.Dropout2d(0.4)(X4),
    "nn.AlphaDropout": lambda: nn.AlphaDropout(0.4)(X4),
    "nn.FeatureAlphaDropout": lambda: nn.FeatureAlphaDropout(0.4)(X4),
    "feature_dropout": lambda: torch.feature_dropout(X4, 0.4, True),
    "rrelu": lambda: F.rrelu(X4, training=True),
    "nn.RReLU in place": lambda: nn.RReLU(inplace=True)(X4.clone()),
    "gumbel_softmax": lambda: F.gumbel_softmax(X3),
    "fractional_max_pool2d": lambda: F.fractional_max_pool2d(X4, 2, output_size=4),
    "nn.FractionalMaxPool2d": lambda: nn.FractionalMaxPool2d(2, output_ratio=0.5)(X4),
    "fractional_max_pool3d": lambda: F.fractional_max_pool3d(X5, (2, 2, 1), output_size=(4, 4, 2)),
    "attention": lambda: ATTENTION(X3, X3, X3)[0],
    "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(X4, X4, X4, dropout_p=0.3),
    "lstm": lambda: LSTM(X3)[0],
    "gru": lambda: GRU(X3)[0],
    "rand": lambda: torch.rand(3, 2),
    "randn": lambda: torch.randn(3, 2),
    "randint": lambda: torch.randint(0, 9, (5,)),
    "randint of one bound": lambda: torch.randint(9, (5,)),
    "randperm": lambda: torch.randperm(9),
    "rand_like": lambda: torch.rand_like(X3),
    "randn_like": lambda: torch.randn_like(X3),
    "randint_like": lambda: torch.randint_like(X3, 9),
    "normal": lambda: torch.normal(X3, 0.5),
    "normal of numbers": lambda: torch.normal(0.0, 1.0, (4,)),
    "bernoulli": lambda: torch.bernoulli(X3.sigmoid()),
    "multinomial": lambda: torch.multinomial(X3[0].sigmoid(), 3),
    "poisson": lambda: torch.poisson(X3.abs()),
    "binomial": lambda: torch.binomial(torch.full((5,), 9.0), torch.full((5,), 0.4)),
    "method bernoulli": lambda: X3.sigmoid().bernoulli(),
    "uniform_": lambda: torch.empty(5).uniform_(),
    "normal_": lambda: torch.empty(5).normal_(),
    "random_": lambda: torch.empty(5).random_(),
    "exponential_": lambda: torch.empty(5).exponential_(),
    "nn.init": lambda: nn.init.kaiming_uniform_(torch.empty(4, 4)),
    "a layer's weights": lambda: nn.Conv2d(1, 2, 3).weight * 1,
    "distributions": lambda: torch.distributions.Normal(0.0, 1.0).sample((4,)),
    "gamma": lambda: torch.distributions.Gamma(2.0, 1.0).sample((4,)),
    "dirichlet": lambda: torch.distributions.Dirichlet(torch.ones(3)).sample(),
}


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_the_default_generators_numbers_from_a_stream_of_its_own(draw):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(11)
        expected = [draw(), draw()]
        outside = torch.get_rng_state()
        with PrivateRandom(11) as stream:
            drawn = [draw(), draw()]
        assert torch.equal(torch.get_rng_state(), outside)
    assert all(torch.equal(a, b) for a, b in zip(drawn, expected, strict=True))
    assert not torch.equal(stream.generator.get_state(), torch.Generator().manual_seed(11).get_state())


@pytest.mark.parametrize("name", ["dropout", "dropout2d", "rrelu", "attention", "lstm"])
def test_gradients_go_through(name):
    x = {"dropout": X3, "dropout2d": X4, "rrelu": X3, "attention": X3, "lstm": X3}[name].clone().requires_grad_()
    run = {
        "dropout": lambda: F.dropout(x, 0.3),
        "dropout2d": lambda: F.dropout2d(x, 0.3),
        "rrelu": lambda: F.rrelu(x, training=True),
        "attention": lambda: ATTENTION(x, x, x)[0],
        "lstm": lambda: LSTM(x)[0],
    }[name]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        run().square().sum().backward()
    expected, x.grad = x.grad, None
    with PrivateRandom(3):
        run().square().sum().backward()
    assert torch.equal(x.grad, expected)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("training", [False, True])
def test_dropout_that_draws_nothing(p, training):
    with PrivateRandom(0) as stream:
        before = stream.generator.get_state()
        for function, x in ((F.dropout, X4), (F.dropout1d, X3), (F.dropout2d, X4)):
            assert torch.equal(function(x, p, training), x * (1 - p * training))
        assert torch.equal(stream.generator.get_state(), before)


def test_impossible_dropout_is_torchs_error():
    with PrivateRandom(0), pytest.raises(ValueError, match="dropout probability"):
        F.dropout(X3, 1.5)


def test_every_random_function_of_torch_is_known():
    """A function over a kernel that torch tags as random is on a list, or has been looked at."""
    known = randomness._TAKES_GENERATOR | randomness._DRAWS_INSIDE | set(randomness._DROPOUTS)
    names = {getattr(function, "__name__", "") for function in known}
    looked_at = {
        "native_dropout": "CUDA's; no generator, no function of torch's own on the CPU calls it",
        "miopen_rnn": "AMD's",
    }
    tagged = set()
    for name in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, name)
        overloads = [getattr(packet, o) for o in getattr(packet, "overloads", list)()]
        if any(torch.Tag.nondeterministic_seeded in overload.tags for overload in overloads):
            tagged.add(name)
    for name in ("rand", "randn", "bernoulli", "dropout"):  # the look itself works
        assert name in tagged | {"dropout"}
    reachable = {n for n in tagged if callable(getattr(torch, n, None)) or callable(getattr(torch.Tensor, n, None))}
    assert reachable - names - looked_at.keys() - {n for n in reachable if n.startswith("_")} == set()


@pytest.mark.timeout(150)
def test_two_threads_do_not_meet():
    """Each draws its own numbers, for functions that draw deep inside torch too, while a third draws global ones."""
    expected = {}
    for seed in (1, 2):
        with PrivateRandom(seed):
            expected[seed] = [DRAWS[name]() for _ in range(20) for name in ("dropout", "lstm", "rand_like", "rrelu")]
    got, stop = {}, threading.Event()

    def draw(seed):
        with PrivateRandom(seed):
            got[seed] = [DRAWS[name]() for _ in range(20) for name in ("dropout", "lstm", "rand_like", "rrelu")]

    def disturb():
        while not stop.is_set():
            torch.rand(100)
            stop.wait(0.0001)

    with torch.random.fork_rng(devices=()):
        other = threading.Thread(target=disturb)
        other.start()
        threads = [threading.Thread(target=draw, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        other.join()
    for seed in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(got[seed], expected[seed], strict=True))


# -- Python and numpy --------------------------------------------------------------------------------------------------


def test_host_streams_continue_and_leave_the_global_ones():
    host = HostRandom(7)
    expected = [random.Random(7).random(), *np.random.RandomState(7).normal(size=4)]
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    drawn = []
    with host.lent():
        drawn += [random.random(), *np.random.normal(size=2)]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    with host.lent((np.random,)):
        drawn += [*np.random.normal(size=2)]
    assert drawn == expected


def test_a_run_gives_back_half_a_pair_of_normals():
    np.random.seed(3)
    np.random.normal()
    expected = np.random.RandomState(3).normal(size=3)[1:].tolist()
    with numpy_untouched(), HostRandom(0).lent():
        np.random.normal(size=3)
    assert [np.random.normal(), np.random.normal()] == expected


def helper():
    return random.random()


class DrawsPython(nn.Module):
    def forward(self, x):
        return x if random.random() < 0.5 else -x


class DrawsThroughHelper(nn.Module):
    def forward(self, x):
        return x * self._factor()

    def _factor(self):
        return helper()


class ImportsInside(nn.Module):
    def forward(self, x):
        import random as r

        return x * r.random()


class DrawsNumpy(nn.Module):
    def forward(self, x):
        return x * float(np.random.rand())


class DrawsNothing(nn.Module):
    def forward(self, x):
        return x * float(np.sqrt(2.0)) + torch.rand(1)


class Inherits(DrawsPython):
    pass


shuffle = random.shuffle


class BoundFunction(nn.Module):
    def forward(self, x):
        order = [0, 1]
        shuffle(order)
        return x * order[0]


def hooked():
    model = nn.Linear(1, 1)
    model.register_forward_hook(lambda module, args, output: output * random.random())
    return model


@pytest.mark.parametrize(
    ("build", "modules"),
    [
        (DrawsPython, {random}),
        (DrawsThroughHelper, {random}),
        (ImportsInside, {random}),
        (Inherits, {random}),
        (BoundFunction, {random}),
        (hooked, {random}),
        (DrawsNumpy, {np.random}),
        (DrawsNothing, set()),
        (nn.Dropout, set()),
    ],
)
def test_which_modules_a_model_draws_from(build, modules):
    assert drawn_from(*model_code(nn.Sequential(build()))) == modules


def test_which_modules_a_criterion_draws_from():
    noise = random.Random(0)
    assert drawn_from(lambda output, target: helper() * output) == {random}
    assert drawn_from(lambda output, target: noise.random() * output) == set()
    assert drawn_from(DrawsPython()) == {random}
    assert drawn_from(None, F.cross_entropy, nn.CrossEntropyLoss()) == set()


@pytest.mark.parametrize(
    ("build", "draws"),
    [
        (lambda: nn.Conv2d(1, 1, 1), False),
        (nn.Dropout, True),
        (lambda: nn.Sequential(nn.ReLU(), nn.LSTM(1, 1)), True),
        (DrawsNothing, True),
        (hooked, True),
    ],
)
def test_which_models_may_draw(build, draws):
    assert may_draw(build()) == draws


def test_a_forward_of_its_own_may_draw():
    model = nn.Linear(1, 1)
    model.forward = lambda x: x + torch.rand(1)
    assert may_draw(model)
