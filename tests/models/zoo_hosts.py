"""Networks that are unusual hosts: several inputs, shared, lazy, parametrised, half precision, meta, undecided."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from zoo import Net, entry, unit


@entry("several inputs", [(1, 3, 20, 23), (1, 2, 20, 23)], size=9, jump=2)
def two_images():
    class TwoImages(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fuse = unit(3, 2, 3, 2), unit(2, 2, 7, 2), nn.Conv2d(4, 2, 3, padding=1)
            self.a[0] = nn.Conv2d(3, 2, 5, 2, 2)

        def forward(self, image: Tensor, depth: Tensor) -> Tensor:
            return self.fuse(torch.cat([self.a(image), self.b(depth)], 1))

    return TwoImages()


@entry("several inputs", [(1, 2, 20, 24), (1, 2, 10, 12)])
def two_resolutions():
    class TwoResolutions(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(2, 2, 3, 2, 1), nn.Conv2d(2, 2, 5, padding=2)

        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return self.fine(fine) * self.coarse(coarse)

    return TwoResolutions()


@entry("several inputs", {"left": (1, 2, 14, 17), "right": (1, 2, 14, 17)})
def siamese():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1))

        def forward(self, *, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
            a, b = self.tower(left), self.tower(right)
            return a - b, a

    return Siamese()


@entry(
    "several inputs",
    None,
    data=lambda: ({"image": torch.rand(1, 2, 15, 14), "meta": [torch.rand(1, 2, 15, 14), 3]},),
)
def nested_inputs():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, batch: dict) -> dict:
            y = self.conv(batch["image"])
            return {"out": y + batch["meta"][0] * batch["meta"][1], "aux": [self.conv(y), y]}

    return Nested()


@entry("several inputs", None, "local|global", data=lambda: (torch.rand(1, 2, 15, 14), torch.tensor([1])))
def image_and_class_index():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.embed = nn.Conv2d(2, 2, 3, padding=1), nn.Embedding(3, 2)

        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            return self.conv(x) + self.embed(label)[:, :, None, None]

    return Conditional()


@entry("several outputs", (1, 2, 21, 18), size=3, jump=1)
def tuple_of_outputs():
    def body(m, x):
        a = m.a(x)
        b = m.b(a)
        return a, (b, [b.mean((2, 3))])

    return Net(body, a=unit(2, 2), b=unit(2, 2, 3, 2))


@entry("shared", (1, 2, 21, 18), size=13, jump=4)
def called_twice():
    return Net(lambda m, x: m.down(m.conv(m.down(m.conv(x)))), conv=unit(2, 2), down=nn.Conv2d(2, 2, 3, 2, 1))


@entry("shared", (1, 2, 21, 18), size=(11, 11), jump=(1, 1))
def recursion_on_one_block():
    def body(m, x):
        y = m.stem(x)
        for _ in range(4):
            y = y + m.block(y)
        return y

    return Net(body, stem=nn.Conv2d(2, 2, 3, padding=1), block=unit(2, 2))


@entry("shared", (1, 2, 21, 18), size=5, jump=1)
def one_module_under_two_names():
    conv = nn.Conv2d(2, 2, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), conv)


@entry("lazy", (1, 3, 20, 22), "global", "no nominal")
def lazy_modules():
    return nn.Sequential(
        nn.LazyConv2d(3, 3, 2, 1),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


@entry("parametrised", (1, 2, 18, 19), size=7, jump=2)
def weight_norms():
    class Symmetric(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return (w + w.flip(-1)) / 2

    third = nn.Conv2d(2, 2, 3, padding=1)
    parametrize.register_parametrization(third, "weight", Symmetric())
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(2, 2, 1)),
        parametrizations.spectral_norm(nn.Conv2d(2, 2, 3, 2, 1)),
        third,
    )


@entry("parametrised", (1, 2, 18, 19), size=5, jump=1)
def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Conv2d(2, 2, 3)), nn.utils.spectral_norm(nn.Conv2d(2, 2, 3)))


@entry("parametrised", (1, 2, 18, 19), size=3, jump=2)
def weight_standardisation():
    class StdConv(nn.Conv2d):
        def forward(self, x):
            w = self.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
            return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)

    return StdConv(2, 2, 3, 2, 1)


@entry("precision", (1, 2, 18, 19), "local", "float16", size=7, jump=2)
def half_precision():
    return nn.Sequential(unit(2, 2, 3, 2), nn.MaxPool2d(3, 1, 1))


@entry("meta", (1, 2, 18, 19), "local", "meta", size=7, jump=2)
def already_on_meta():
    return nn.Sequential(unit(2, 2, 3, 2), nn.MaxPool2d(3, 1, 1))


@entry("undecided", (1, 2, 14, 15), "irregular|global", "swallows")
def branches_on_a_sum():
    return Net(
        lambda m, x: m.a(x) if x.sum() > 0 else m.b(x),
        a=nn.Conv2d(2, 2, 3, padding=1),
        b=nn.Conv2d(2, 2, 5, padding=2),
    )


@entry("undecided", (1, 2, 14, 15), "local|irregular|global", "swallows")
def masked_by_where():
    return Net(lambda m, x: torch.where(m.a(x) > 0, x, -x), a=nn.Conv2d(2, 2, 3, padding=1))


@entry("undecided", (1, 3, 14, 15), "irregular|global", "swallows")
def gathers_the_brightest_column():
    def body(m, x):
        at = m.a(x).mean(1, keepdim=True).argmax(3, keepdim=True)
        return torch.gather(x, 3, at.expand(-1, x.shape[1], -1, -1))

    return Net(body, a=nn.Conv2d(3, 2, 3, padding=1))


@entry("undecided", (1, 2, 14, 16), "local|irregular|global", "swallows")
def pool_and_unpool():
    def body(m, x):
        y, at = F.max_pool2d(m.a(x), 2, return_indices=True)
        return F.max_unpool2d(m.a(y), at, 2)

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("undecided", (1, 2, 14, 16), "irregular|global", "swallows")
def deforming_grid():
    def body(m, x):
        return F.grid_sample(x, m.a(x).tanh().permute(0, 2, 3, 1), align_corners=False)

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("undecided", (1, 2, 14, 16), "local", size=3, jump=1)
def decides_on_shapes_only():
    def body(m, x):
        y = m.a(x)
        for _ in range(3):
            if y.shape[2] > x.shape[2] + 1:
                y = F.max_pool2d(y, 2)
        return y if x.size(-1) > 4 else x

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))
