"""Habits from code in the wild: functions that few networks call, and unusual ways to return, cache and wrap."""

from collections import OrderedDict, namedtuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint
from zoo import Net, conv, entry

# ------------------------------------------------------------------------------------------------ functions


@entry("slicing", (1, 2, 9, 11))
def repeat_interleave_upsampling():
    return Net(
        lambda m, x: m.a(m.a(x).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)),
        a=conv(),
    )


@entry("slicing", (1, 2, 9, 11), "local|irregular")
def expand_upsampling():
    def body(m, x):
        n, c, h, w = x.shape
        x = m.a(x)[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 3).reshape(n, c, 2 * h, 3 * w)
        return m.a(x)

    return Net(body, a=conv())


@entry("slicing", (1, 2, 10, 12), "local|irregular")
def rotations():
    return Net(lambda m, x: sum(torch.rot90(m.a(torch.rot90(x, k, (2, 3))), -k, (2, 3)) for k in range(4)), a=conv())


@entry("slicing", (1, 2, 9, 11), "local|irregular")
def finite_differences():
    def body(m, x):
        dx = x[..., 1:] - x[..., :-1]
        dy = torch.diff(m.a(x), dim=2)
        return F.pad(dx, (0, 1)) + F.pad(dy, (0, 0, 1, 0))

    return Net(body, a=conv())


@entry("slicing", (1, 3, 12, 14), "local|irregular")
def maxima_of_unfolded_patches():
    def body(m, x):
        y = m.a(x).contiguous()
        patches = y.unfold(2, 4, 4).unfold(3, 4, 2)
        return patches.reshape(*patches.shape[:4], 16).amax(-1)

    return Net(body, a=conv(3, 3))


@entry("slicing", (1, 2, 12, 14), "local|irregular", "loose", "fixed size")
def constant_masks():
    def body(m, x):
        checker = (torch.arange(12)[:, None] + torch.arange(14)) % 2 == 0
        y = m.a(x).masked_fill(checker, 0.0)
        y = torch.where(checker, y, m.b(x))
        return m.a(y * torch.ones(12, 14).tril().to(x))

    return Net(body, a=conv(), b=conv(5))


@entry("slicing", (1, 2, 12, 14), "local|irregular|global", "loose", "fixed size")
def constant_gather_and_scatter():
    def body(m, x):
        y = torch.gather(m.a(x), 3, torch.arange(13, -1, -1).expand(1, 2, 12, 14).expand(x.shape[0], -1, -1, -1))
        z = torch.zeros_like(y)
        z.index_copy_(2, torch.arange(0, 12, 2), y[:, :, ::2])
        z[:, :, 1::2] = 1.0
        z = z.index_fill(3, torch.tensor([0]), 0.5)
        return z[..., torch.tensor([3, 1, 2])]

    return Net(body, a=conv())


@entry("slicing", (1, 2, 12, 14), ("local", "global|irregular"))
def reductions_of_one_axis():
    def body(m, x):
        y = m.a(x)
        rows = y.max(dim=3, keepdim=True).values + y.logsumexp(3, keepdim=True) + y.std(-1, keepdim=True)
        return rows * y + torch.linalg.vector_norm(y, dim=3, keepdim=True)

    return Net(body, a=conv())


@entry("functional", (1, 4, 12, 14))
def normalised_channels():
    def body(m, x):
        y = F.normalize(m.a(x), dim=1)
        y = y / (y.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True) + 1e-5).sqrt()
        return m.a(F.cosine_similarity(y, x, dim=1).unsqueeze(1) * F.softmax(y, 1))

    return Net(body, a=conv(3, 4))


@entry("einsum", (1, 4, 9, 12), ("irregular|global", "irregular|global"))
def tensordot_over_space():
    def body(m, x):
        basis = torch.linspace(-1, 1, 9 * 12 * 3).view(9, 12, 3).to(x)
        codes = torch.tensordot(x, basis, dims=([2, 3], [0, 1]))
        return torch.einsum("nck,hwk->nchw", codes, basis)

    return Net(body)


@entry("slicing", (1, 4, 9, 12), "local|irregular")
def shifts_of_channel_groups():
    def body(m, x):
        a, b, c, d = x.chunk(4, 1)
        out = torch.zeros_like(x)
        out[:, 0:1, :, 1:] = a[..., :-1]
        out[:, 1:2, :, :-1] = b[..., 1:]
        out[:, 2:3, 1:] = c[:, :, :-1]
        out[:, 3:4] = d
        return m.a(out)

    return Net(body, a=nn.Conv2d(4, 2, 1))


@entry("adaptive", (1, 2, 20, 24), "local|irregular|global", "fixed size")
def area_interpolation():
    return Net(lambda m, x: F.interpolate(m.a(x), size=(8, 9), mode="area"), a=conv())


@entry("global", (1, 2, 20, 23), "global", "no nominal", "fixed size")
def spatial_pyramid_pooling():
    def body(m, x):
        y = m.a(x)
        levels = [F.adaptive_max_pool2d(y, n).flatten(1) for n in (1, 2, 4)]
        return m.fc(torch.cat(levels, 1))

    return Net(body, a=conv(), fc=nn.Linear(42, 3))


# ------------------------------------------------------------------------------------------------ hosts

Pair = namedtuple("Pair", "image features")


@entry("several outputs", (1, 2, 14, 17))
def named_tuple_output():
    return Net(lambda m, x: Pair(m.a(x), features={"deep": m.a(m.a(x)), "none": None}), a=conv())


@entry("several outputs", (1, 2, 14, 17))
def ordered_dict_between_modules():
    class Backbone(nn.ModuleDict):
        def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
            out = OrderedDict()
            for name, layer in self.items():
                x = layer(x)
                out[name] = x
            return out

    body = Backbone({"c1": nn.Conv2d(2, 2, 3, 2, 1), "c2": nn.Conv2d(2, 2, 3, 2, 1)})
    return Net(lambda m, x: {"out": m.head(m.body(x)["c1"]), "aux": m.body(x)["c2"]}, body=body, head=conv())


@entry("several inputs", None, data=lambda: ((torch.rand(1, 2, 15, 14), torch.rand(1, 2, 15, 14)),))
def tuple_as_one_argument():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
            left, right = pair
            return self.conv(left) - self.conv(self.conv(right))

    return Siamese()


@entry("several inputs", None, data=lambda: {"x": torch.rand(1, 2, 15, 14), "scale": 2, "mask": None})
def keyword_with_settings():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: Tensor, scale: int = 1, mask: Tensor | None = None, **extra: object) -> Tensor:
            y = F.interpolate(self.conv(x), scale_factor=scale)
            return y if mask is None else y * mask

    return Scaled()


@entry("several inputs", [(1, 2, 16, 12), (1, 3, 40)], "local")
def image_and_sound():
    class Fuse(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, self.sound = nn.Conv2d(2, 2, 3, padding=1), nn.Conv1d(3, 2, 9, 4)

        def forward(self, image: Tensor, sound: Tensor) -> Tensor:
            return self.image(image) + self.sound(sound).mean(-1)[:, :, None, None]

    return Fuse()


@entry("shared", (1, 2, 18, 21), size=9, jump=2)
def checkpointed_and_autocast():
    def body(m, x):
        y = checkpoint(m.a, x, use_reentrant=False)
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            return m.b(y) + checkpoint(m.b, x, use_reentrant=False)

    return Net(body, a=conv(), b=conv(7, stride=2))


@entry("shared", (1, 2, 18, 21), size=5, jump=1)
def hooks_that_change_things():
    net = nn.Sequential(conv(), nn.ReLU(), nn.Identity())
    second = conv()
    net[1].register_forward_hook(lambda module, args, output: F.conv2d(output, second.weight, padding=1))
    net[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    return Net(lambda m, x: m.net(x), net=net, second=second)


@entry("shared", (1, 2, 18, 21), size=5, jump=1)
def custom_autograd_function():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    return Net(lambda m, x: m.b(Double.apply(m.a(x))), a=conv(), b=conv())


@entry("shared", (1, 2, 18, 21), size=5, jump=1)
def counting_and_caching():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.seen, self.maps = conv(), 0, []

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            y = self.conv(x)
            self.maps.append(y)
            self.last = y
            return self.conv(self.maps.pop())

    return Caching()


@entry("slicing", (1, 2, 18, 21), size=5, jump=1)
def channels_last_memory():
    return nn.Sequential(conv(), nn.ReLU(), conv()).to(memory_format=torch.channels_last)


@entry("parametrised", (1, 2, 18, 19), size=5, jump=1)
def masked_weights():
    class Masked(nn.Conv2d):
        def __init__(self):
            super().__init__(2, 2, 5, padding=2)
            mask = torch.ones(5, 5)
            self.register_buffer("mask", mask)

        def forward(self, x: Tensor) -> Tensor:
            return self._conv_forward(x, self.weight * self.mask, self.bias)

    return Masked()


@entry("parametrised", (1, 2, 18, 19), size=3, jump=1)
def pruned():
    layer = conv()
    prune.l1_unstructured(layer, "weight", amount=0.0)
    return nn.Sequential(layer, nn.PReLU(2), nn.GLU(1))


@entry("plain", (1, 4, 18, 19), size=7, jump=2)
def every_activation():
    layers = [nn.ELU(), nn.SELU(), nn.Mish(), nn.Softplus(), nn.Tanhshrink(), nn.LogSigmoid(), nn.Softsign(), nn.CELU()]
    layers += [nn.Softmax2d(), nn.Threshold(-9.0, 0.0), nn.ChannelShuffle(2), nn.Dropout2d(), nn.AlphaDropout()]
    return nn.Sequential(conv(3, 4), *layers, nn.Unflatten(1, (2, 2)), nn.Flatten(1, 2), conv(5, 4, stride=2))
