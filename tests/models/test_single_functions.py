"""One function at a time, behind a convolution: exact for every function that we claim to know."""

import functools

import agreement
import pytest
import torch
import torch.nn.functional as F
from oracle import sweep
from torch import nn

from convlab.models.trace import trace

SIZE = (1, 4, 8, 9)
LINE, PLANE = torch.linspace(0.1, 1, 9), torch.eye(8, 9).bool()

POINTWISE = [
    "abs",
    "asin",
    "asinh",
    "atan",
    "ceil",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "i0",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "neg",
    "positive",
    "rad2deg",
    "reciprocal",
    "round",
    "rsqrt",
    "sigmoid",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]
POINTWISE_OF_TWO = [
    "add",
    "sub",
    "mul",
    "div",
    "atan2",
    "fmod",
    "remainder",
    "hypot",
    "maximum",
    "minimum",
    "pow",
    "copysign",
    "logaddexp",
    "logaddexp2",
    "xlogy",
    "true_divide",
]
ACTIVATIONS = [
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "ELU",
    "SELU",
    "CELU",
    "SiLU",
    "Mish",
    "Hardswish",
    "Hardsigmoid",
    "Hardtanh",
    "GELU",
    "Softplus",
    "Softsign",
    "Tanhshrink",
    "Softshrink",
    "Hardshrink",
    "LogSigmoid",
    "Sigmoid",
    "Tanh",
    "Softmax2d",
    "Identity",
]
IN_PLACE = {"ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Hardtanh"}

CALLS = {
    # y is what the convolution made, x the input
    "addcmul": lambda x, y: torch.addcmul(x, y, x, value=0.5),
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "clamp": lambda x, y: y.clamp(-1, 1),
    "clamp between tensors": lambda x, y: torch.clamp(y, x, x + 1),
    "threshold_": lambda x, y: F.threshold_(y, 0.0, 0.0),
    "hardswish_": lambda x, y: torch._C._nn.hardswish_(y),
    "zeros beside": lambda x, y: torch.cat([torch.zeros_like(y[:, :, :1]), y[:, :, :-1]], 2),
    "nothing beside": lambda x, y: torch.cat([F.pad(y[:, :, 1:], (0, 0, 0, 1)), y, y[:, :0]], 1).sum(1, keepdim=True),
    "filled": lambda x, y: y.fill_(1.0) + x,
    "index list": lambda x, y: y[:, [0, 2]],
    "index tensor": lambda x, y: y[:, :, torch.tensor([1, 3])],
    "index pairs": lambda x, y: y[:, :, torch.tensor([1, 3]), torch.tensor([0, 5])],
    "index grid": lambda x, y: y[:, :, torch.tensor([1, 3])[:, None], torch.tensor([0, 5, 2])],
    "index mask": lambda x, y: y[:, :, PLANE],
    "index from behind": lambda x, y: y[:, :, None, -3:-1, ::2],
    "hstack": lambda x, y: torch.hstack([x, y]),
    "stack": lambda x, y: torch.stack([x, y], 2),
    "split": lambda x, y: torch.cat(y.split([3, 5], 2)[::-1], 2),
    "tensor_split": lambda x, y: y.tensor_split(3, 2)[1],
    "unbind": lambda x, y: y.unbind(2)[3],
    "movedim": lambda x, y: y.movedim(1, 3),
    "mT": lambda x, y: y.mT,
    "flip": lambda x, y: y.flip(2),
    "flip and movedim": lambda x, y: F.gelu(y.flip(2).movedim(1, -1)).movedim(-1, 1),
    "roll": lambda x, y: torch.roll(y, (3, -2), dims=(-1, 2)),
    "rot90": lambda x, y: torch.rot90(y, 1, (2, 3)),
    "repeat": lambda x, y: y.repeat(1, 1, 2, 1),
    "tile": lambda x, y: y.tile(1, 1, 1, 2),
    "repeat_interleave": lambda x, y: y.repeat_interleave(3, 3),
    "expand": lambda x, y: y[:, :, :1].expand(-1, -1, 5, -1),
    "unflatten": lambda x, y: y.unflatten(2, (2, 4)),
    "flatten": lambda x, y: y.flatten(1, 2),
    "view_as": lambda x, y: y.flatten(1).view_as(x),
    "unfold": lambda x, y: y.unfold(2, 3, 1),
    "diagonal": lambda x, y: y.diagonal(0, 2, 3),
    "diff": lambda x, y: y.diff(dim=3),
    "gradient": lambda x, y: torch.gradient(y, dim=2)[0],
    "trapezoid": lambda x, y: torch.trapezoid(y, dim=3),
    "sum": lambda x, y: y.sum(2),
    "mean": lambda x, y: y.mean((2, 3), keepdim=True) + x,
    "amax": lambda x, y: y.amax(3),
    "max": lambda x, y: y.max(2).values,
    "prod": lambda x, y: y.prod(2),
    "var": lambda x, y: y.var(2),
    "norm": lambda x, y: y.norm(dim=2),
    "logsumexp": lambda x, y: y.logsumexp(2),
    "cumsum": lambda x, y: y.cumsum(3),
    "cummax": lambda x, y: y.cummax(2)[0],
    "softmax": lambda x, y: y.softmax(3),
    "log_softmax": lambda x, y: y.log_softmax(2),
    "matmul": lambda x, y: y @ LINE.to(x).repeat(5, 1).T,
    "einsum over width": lambda x, y: torch.einsum("nchw,w->nch", y, LINE.to(x)),
    "einsum of two": lambda x, y: torch.einsum("nchw,ncvw->nchv", y, x),
    "outer product": lambda x, y: y.mean(2).unsqueeze(3) * y.mean(3).unsqueeze(2),
    "linear": lambda x, y: F.linear(y, LINE.to(x).repeat(3, 1)),
    "kron": lambda x, y: torch.kron(y, torch.ones(1, 1, 2, 2).to(x)),
    "normalize": lambda x, y: F.normalize(y, dim=1),
    "cosine_similarity": lambda x, y: F.cosine_similarity(y, x, 1),
    "pairwise_distance": lambda x, y: F.pairwise_distance(y, x),
    "layer_norm": lambda x, y: F.layer_norm(y, (9,)),
    "rms_norm": lambda x, y: F.rms_norm(y, (9,)),
    "group_norm": lambda x, y: F.group_norm(y, 2),
    "local_response_norm": lambda x, y: F.local_response_norm(y, 2),
    "glu": lambda x, y: F.glu(y, 1),
    "glu over height": lambda x, y: F.glu(y, 2),
    "max_pool2d with indices": lambda x, y: F.max_pool2d(y, 2, return_indices=True)[0],
    "lp_pool2d": lambda x, y: F.lp_pool2d(y, 2, 3, 2),
    "avg_pool2d": lambda x, y: F.avg_pool2d(y, 3, 2, 1, divisor_override=2),
    "adaptive_avg_pool2d": lambda x, y: F.adaptive_avg_pool2d(y, (None, 3)),
    "fold": lambda x, y: F.fold(F.unfold(y, 2, stride=2, padding=1), (8, 9), 2, stride=2, padding=1),
    "unfold dilated": lambda x, y: F.unfold(y, 3, dilation=2, stride=2),
    "channel_shuffle": lambda x, y: F.channel_shuffle(y, 2),
    "interpolate area": lambda x, y: F.interpolate(y, (3, 4), mode="area"),
    "interpolate 0.5 bicubic": lambda x, y: F.interpolate(y, scale_factor=0.5, mode="bicubic"),
    "interpolate recomputed": lambda x, y: F.interpolate(
        y, scale_factor=1.3, mode="bilinear", recompute_scale_factor=True
    ),
    "interpolate nearest, rounded": lambda x, y: F.interpolate(
        y.repeat(1, 1, 2, 2)[..., :14], (5, 23), mode="nearest-exact"
    ),
    "pad": lambda x, y: F.pad(y, (0, 0, 1, 1, 1, 2)),
    "conv1d on rows": lambda x, y: F.conv1d(y.permute(0, 2, 1, 3).flatten(0, 1), torch.ones(2, 4, 3).to(x), padding=1),
    "convolution": lambda x, y: torch.convolution(
        x, torch.ones(4, 4, 3, 3).to(x), None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1
    ),
    "complex": lambda x, y: torch.complex(y, x).abs(),
    "fft": lambda x, y: (torch.fft.fft(y, dim=3) * LINE.to(x)).real,
    "to": lambda x, y: y.to(torch.float64).to(x.dtype).contiguous(memory_format=torch.channels_last).clone(),
    "shapes as numbers": lambda x, y: (y / torch.tensor(x.shape[2:]).prod())[..., : x.shape[-1] // 2],
    "vmap": lambda x, y: torch.vmap(lambda t: t * 2)(y),
}


class Behind(nn.Module):
    """A function of the input and of a convolution's positive output."""

    def __init__(self, function):
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(4, 4, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.abs_().div_(4)
            self.conv.bias.abs_()

    def forward(self, x):
        return self.function(x, self.conv(x))


def is_exact(function):
    torch.manual_seed(0)
    traced = trace(Behind(function).eval(), SIZE)
    assert traced.error is None
    assert traced.notes == ()
    wrong = agreement.disagreements(traced, sweep(Behind(function).eval(), torch.rand(SIZE)))
    assert not wrong, agreement.report(wrong)


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("in_place", [False, True], ids=["", "in place"])
def test_pointwise(name, in_place):
    if in_place and not hasattr(torch.Tensor, name + "_"):
        name = "neg"
    is_exact(lambda x, y: getattr(y, name + "_")() if in_place else y * getattr(torch, name)(y))


@pytest.mark.parametrize("name", POINTWISE_OF_TWO)
@pytest.mark.parametrize("in_place", [False, True], ids=["", "in place"])
def test_pointwise_of_two(name, in_place):
    if in_place and not hasattr(torch.Tensor, name + "_"):
        name = "mul"
    is_exact(lambda x, y: getattr(y, name + "_")(x + 0.1) if in_place else x + getattr(torch, name)(y, x + 0.1))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("in_place", [False, True], ids=["", "in place"])
def test_activation(name, in_place):
    options = {"inplace": True} if in_place and name in IN_PLACE else {}
    layer = functools.partial(getattr(nn, name), **options)
    is_exact(lambda x, y: layer()(y))


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    is_exact(CALLS[name])
