"""Networks whose paths part and meet: residual, dense, inception, pyramids, U-Nets."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, entry, unit


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, final: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()
        self.final = final or nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.shortcut(x)
        return self.final(out)


def bottleneck(c: int, s: int, *, stride_in_3x3: bool, groups: int = 1) -> Residual:
    a, b = (1, s) if stride_in_3x3 else (s, 1)
    return Residual(
        nn.Sequential(unit(c, 4, 1, a), unit(4, 4, 3, b, g=groups), unit(4, 6, 1, act=False)),
        unit(c, 6, 1, s, act=False) if s > 1 or c != 6 else None,
    )


@entry("residual", (1, 3, 33, 30), size=51, jump=8)
def resnet_basic():
    def block(i, o, s):
        body = nn.Sequential(unit(i, o, 3, s), unit(o, o, act=False))
        return Residual(body, unit(i, o, 1, s, act=False) if s > 1 else None)

    return nn.Sequential(unit(3, 4, 7, 2), nn.MaxPool2d(3, 2, 1), block(4, 4, 1), block(4, 5, 2))


@entry("residual", (1, 3, 30, 35), size=35, jump=8)
def resnet_v1_stride_in_1x1():
    stem = nn.Sequential(unit(3, 3, 7, 2), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, *(bottleneck(c, s, stride_in_3x3=False) for c, s in ((3, 1), (6, 2))))


@entry("residual", (1, 3, 30, 35), size=27, jump=8)
def resnet_v15_stride_in_3x3():
    stem = nn.Sequential(unit(3, 3, 7, 2), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, *(bottleneck(c, s, stride_in_3x3=True) for c, s in ((3, 1), (6, 2))))


@entry("residual", (1, 3, 27, 25), size=13, jump=2)
def preactivation():
    class Block(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, s, 1)
            self.bn2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1)
            self.down = nn.Conv2d(i, o, 1, s) if s > 1 else None

        def forward(self, x):
            h = F.relu(self.bn1(x))
            skip = x if self.down is None else self.down(h)
            return self.conv2(F.relu(self.bn2(self.conv1(h)))) + skip

    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), Block(3, 3, 1), Block(3, 4, 2))


@entry("residual", (1, 6, 25, 28), size=11, jump=4)
def resnext():
    return nn.Sequential(
        unit(6, 6, 3, 2), bottleneck(6, 2, stride_in_3x3=True, groups=4), nn.Conv2d(6, 6, 2, padding=(1, 0))
    )


@entry("residual", (1, 2, 21, 24), ("local|irregular", "local"), size=13)
def residual_in_place_through_a_view():
    def body(m, x):
        y = m.first(x)
        y[:, :1] += m.second(y[:, 1:])
        y[:, :, 1:, :] *= 2.0
        y.relu_()
        return m.third(y)

    first, second, third = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(1, 1, 7, padding=3), nn.Conv2d(2, 2, 5, padding=2)
    return Net(body, first=first, second=second, third=third)


@entry("residual", (1, 2, 22, 19), "local|irregular")
def in_place_write_into_a_region():
    def body(m, x):
        y = m.first(x)
        y[:, :, 2:9, 3:12] = m.second(y[:, :, 2:9, 3:12])
        y[..., 0] = 0.0
        return m.first(y)

    return Net(body, first=nn.Conv2d(2, 2, 3, padding=1), second=nn.Conv2d(2, 2, 5, padding=2))


@entry("residual", (1, 3, 19, 21), size=13, jump=1)
def stochastic_depth_in_eval():
    class Drop(nn.Module):
        def forward(self, x):
            if not self.training:
                return x
            return x * torch.bernoulli(x.new_full((x.shape[0], 1, 1, 1), 0.5))

    return nn.Sequential(*(Residual(nn.Sequential(unit(3, 3), unit(3, 3), Drop())) for _ in range(3)))


@entry("residual", (1, 3, 19, 21), "local", "train", "mixes batch", size=5, jump=1)
def stochastic_depth_in_train():
    class Drop(nn.Module):
        def forward(self, x):
            keep = torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device) + 0.5
            return x * keep.floor() + x * 0.1

    return Residual(
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Dropout2d(0.0), nn.Conv2d(3, 3, 3, padding=1), Drop())
    )


@entry("dense", (1, 3, 34, 31), size=29, jump=4)
def densenet():
    class Layer(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(c), nn.Conv2d(c, 4, 1, bias=False)
            self.norm2, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1, bias=False)

        def forward(self, features):
            h = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
            return self.conv2(F.relu(self.norm2(h)))

    class Block(nn.Module):
        def __init__(self, c, n):
            super().__init__()
            self.layers = nn.ModuleList(Layer(c + 2 * k) for k in range(n))

        def forward(self, x):
            features = [x]
            for layer in self.layers:
                features.append(layer(features))
            return torch.cat(features, 1)

    transition = nn.Sequential(nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 4, 1), nn.AvgPool2d(2))
    return nn.Sequential(unit(3, 3, 3, 2), Block(3, 2), transition, Block(4, 2))


class Inception(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


@entry("inception", (1, 3, 29, 26), size=43, jump=4)
def inception_v1():
    def module(c):
        return Inception(
            unit(c, 2, 1),
            nn.Sequential(unit(c, 2, 1), unit(2, 2, 3)),
            nn.Sequential(unit(c, 1, 1), unit(1, 2, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(c, 2, 1)),
        )

    return nn.Sequential(unit(3, 3, 7, 2), nn.MaxPool2d(3, 2, 1, ceil_mode=True), module(3), module(8))


@entry("inception", (1, 3, 27, 30), size=13, jump=1)
def inception_asymmetric():
    return Inception(
        unit(3, 2, 1),
        nn.Sequential(unit(3, 2, 1), unit(2, 2, (1, 7)), unit(2, 2, (7, 1))),
        nn.Sequential(unit(3, 2, (7, 1)), unit(2, 2, (1, 7)), unit(2, 2, (7, 1)), unit(2, 2, (1, 7))),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(3, 2, 1)),
    )


@entry("inception", (1, 3, 27, 30), size=9, jump=2)
def inception_reduction():
    return Inception(
        unit(3, 2, 3, 2, p=0),
        nn.Sequential(unit(3, 2, 1), unit(2, 2, 3), unit(2, 2, 3), unit(2, 2, 5, 2, p=1)),
        nn.MaxPool2d(3, 2),
    )


@entry("inception", (1, 3, 25, 22), size=5, jump=2)
def squeezenet():
    class Fire(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.squeeze = nn.Conv2d(c, 2, 1)
            self.expand1x1, self.expand3x3 = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1)
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            x = self.act(self.squeeze(x))
            return torch.cat([self.act(self.expand1x1(x)), self.act(self.expand3x3(x))], 1)

    return nn.Sequential(nn.Conv2d(3, 3, 1, stride=2), nn.ReLU(inplace=True), Fire(3))


@entry("misaligned", (1, 1, 23, 25), size=7, jump=1)
def distill_misaligned():
    # As in Araujo et al. 2019: paths of 5 and of 3 pixels whose centres differ by 3; the union is 7, the larger path 5.
    def body(m, x):
        return m.left(x)[:, :, :-2, :-2] + m.right(x[:, :, 4:, 4:])

    return Net(body, left=nn.Conv2d(1, 1, 5), right=nn.Conv2d(1, 1, 3))


@entry("misaligned", (1, 2, 24, 26), size=(6, 4), jump=(2, 2))
def even_kernel_beside_odd():
    return Inception(nn.Conv2d(2, 1, (6, 4), 2, (2, 1)), nn.Conv2d(2, 1, 3, 2, 1), nn.MaxPool2d(2, 2))


@entry("misaligned", (1, 2, 24, 30), "irregular")
def unequal_jumps_cropped_together():
    def body(m, x):
        a, b = m.a(x), m.b(x)
        h, w = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        return a[:, :, :h, :w] + b[:, :, :h, :w]

    return Net(body, a=nn.Conv2d(2, 2, 3, stride=2), b=nn.Conv2d(2, 2, 3, stride=3))


@entry("unet", (1, 1, 32, 24))
def unet_transposed():
    def double(i, o):
        return nn.Sequential(unit(i, o), unit(o, o))

    def body(m, x):
        a = m.down1(x)
        b = m.down2(m.pool(a))
        c = m.down3(m.pool(b))
        b = m.fuse2(torch.cat([b, m.up2(c)], 1))
        return m.head(m.fuse1(torch.cat([a, m.up1(b)], 1)))

    return Net(
        body,
        down1=double(1, 2),
        down2=double(2, 3),
        down3=double(3, 4),
        pool=nn.MaxPool2d(2),
        up2=nn.ConvTranspose2d(4, 3, 2, 2),
        fuse2=double(6, 3),
        up1=nn.ConvTranspose2d(3, 2, 2, 2),
        fuse1=double(4, 2),
        head=nn.Conv2d(2, 2, 1),
    )


@entry("unet", (1, 1, 29, 27))
def unet_padded_to_fit():
    def body(m, x):
        a = m.down1(x)
        b = m.down2(F.max_pool2d(a, 2))
        b = m.up(b)
        dy, dx = a.size(2) - b.size(2), a.size(3) - b.size(3)
        b = F.pad(b, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return m.fuse(torch.cat([a, b], dim=1))

    return Net(body, down1=unit(1, 2), down2=unit(2, 2), up=nn.ConvTranspose2d(2, 2, 2, 2), fuse=unit(4, 2))


@entry("unet", (1, 1, 36, 33))
def unet_valid_and_cropped():
    def crop(a, b):
        y, x = (a.shape[2] - b.shape[2]) // 2, (a.shape[3] - b.shape[3]) // 2
        return a[:, :, y : y + b.shape[2], x : x + b.shape[3]]

    def body(m, x):
        a = m.down1(x)
        b = m.up(m.down2(F.max_pool2d(a, 2)))
        return m.fuse(torch.cat([crop(a, b), b], 1))

    return Net(
        body, down1=unit(1, 2, p=0), down2=unit(2, 2, p=0), up=nn.ConvTranspose2d(2, 2, 2, 2), fuse=unit(4, 2, p=0)
    )


@entry("unet", (1, 2, 24, 28), "local", "zero taps")
def unet_bilinear():
    def body(m, x):
        a = m.down1(x)
        b = m.down2(F.avg_pool2d(a, 2))
        up = F.interpolate(b, scale_factor=2, mode="bilinear", align_corners=False)
        return m.fuse(torch.cat([a, up], 1))

    return Net(body, down1=unit(2, 2), down2=unit(2, 2), fuse=unit(4, 2))


@entry("unet", (1, 2, 21, 26), "local|irregular", "zero taps")
def unet_bilinear_align_corners():
    def body(m, x):
        a = m.down1(x)
        b = m.down2(F.max_pool2d(a, 2))
        up = F.interpolate(b, size=a.shape[2:], mode="bilinear", align_corners=True)
        return m.fuse(torch.cat([a, up], 1))

    return Net(body, down1=unit(2, 2), down2=unit(2, 2), fuse=unit(4, 2))


@entry("unet", (1, 2, 24, 28))
def unet_nearest():
    return Net(
        lambda m, x: m.fuse(m.down1(x) + m.up(m.down2(m.down1(x)))),
        down1=unit(2, 2),
        down2=unit(2, 2, 4, 4, 0),
        up=nn.Upsample(scale_factor=4, mode="nearest"),
        fuse=unit(2, 2),
    )


@entry("unet", (1, 2, 22, 17), "local|irregular", "zero taps", "fixed size")
def resized_to_odd_sizes():
    def body(m, x):
        x = F.interpolate(m.a(x), size=(33, 13), mode="nearest")
        x = F.interpolate(m.b(x), size=(20, 26), mode="bilinear", align_corners=False)
        return F.interpolate(x, scale_factor=(1.5, 0.5), mode="nearest-exact")

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1), b=nn.Conv2d(2, 2, 3))


@entry("unet", (1, 2, 18, 21), "local|irregular", "zero taps", "fixed size")
def bicubic_and_antialias():
    def body(m, x):
        x = F.interpolate(m.a(x), scale_factor=2, mode="bicubic", align_corners=False)
        return m.a(F.interpolate(x, size=(12, 14), mode="bilinear", antialias=True))

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("pyramid", (1, 3, 40, 33), ("local", "irregular"))
def fpn():
    def body(m, x):
        c2 = m.c2(x)
        c3 = m.c3(c2)
        c4 = m.c4(c3)
        p4 = m.l4(c4)
        p3 = m.l3(c3) + F.interpolate(p4, size=c3.shape[-2:], mode="nearest")
        p2 = m.l2(c2) + F.interpolate(p3, size=c2.shape[-2:], mode="nearest")
        return {"p2": m.s2(p2), "p3": p3, "p4": p4, "pool": F.max_pool2d(p4, 1, 2)}

    parts = {"c2": unit(3, 2, 3, 2), "c3": unit(2, 3, 3, 2), "c4": unit(3, 4, 3, 2)}
    parts |= {
        "l2": nn.Conv2d(2, 2, 1),
        "l3": nn.Conv2d(3, 2, 1),
        "l4": nn.Conv2d(4, 2, 1),
        "s2": nn.Conv2d(2, 2, 3, padding=1),
    }
    return Net(body, **parts)


@entry("pyramid", (1, 2, 32, 24))
def hourglass():
    class Hourglass(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.up1, self.low1, self.low3 = unit(2, 2), unit(2, 2), unit(2, 2)
            self.low2 = Hourglass(depth - 1) if depth > 1 else unit(2, 2)

        def forward(self, x):
            low = self.low3(self.low2(self.low1(F.max_pool2d(x, 2, stride=2))))
            return self.up1(x) + F.interpolate(low, scale_factor=2)

    return nn.Sequential(unit(2, 2), Hourglass(2))


@entry("pyramid", (1, 2, 24, 20), "local", "zero taps")
def hrnet():
    def body(m, x):
        a = m.stem(x)
        b = m.down(a)
        a, b = m.a(a), m.b(b)
        up = F.interpolate(m.b_to_a(b), size=a.shape[2:], mode="bilinear", align_corners=False)
        return F.relu(a + up), F.relu(b + m.a_to_b(a))

    parts = {"stem": unit(2, 2), "down": unit(2, 3, 3, 2), "a": unit(2, 2), "b": unit(3, 3)}
    return Net(body, **parts, b_to_a=unit(3, 2, 1, act=False), a_to_b=unit(2, 3, 3, 2, act=False))


@entry("deeplab", (1, 2, 43, 40), size=51, jump=2)
def aspp():
    branches = [unit(2, 2, 1), *(unit(2, 2, 3, d=d) for d in (3, 6, 12))]
    return nn.Sequential(unit(2, 2, 3, 2), Inception(*branches), nn.Conv2d(8, 2, 1))


@entry("deeplab", (1, 2, 26, 29), "global", "zero taps")
def deeplab():
    class ImagePool(nn.Sequential):
        def forward(self, x):
            size = x.shape[-2:]
            return F.interpolate(super().forward(x), size=size, mode="bilinear", align_corners=False)

    pool = ImagePool(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.ReLU())
    body = nn.Sequential(unit(2, 2, 3, 2), Inception(unit(2, 2, 1), unit(2, 2, d=2), pool), nn.Conv2d(6, 2, 1))
    return Net(
        lambda m, x: F.interpolate(m.body(x), size=x.shape[-2:], mode="bilinear", align_corners=False), body=body
    )


@entry("mobile", (1, 3, 35, 30), size=19, jump=4)
def mobilenet_v2():
    class Inverted(nn.Module):
        def __init__(self, i, o, s, t):
            super().__init__()
            hidden = i * t
            self.residual = s == 1 and i == o
            self.conv = nn.Sequential(
                nn.Conv2d(i, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(inplace=True),
                nn.Conv2d(hidden, hidden, 3, s, 1, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(inplace=True),
                nn.Conv2d(hidden, o, 1, bias=False),
                nn.BatchNorm2d(o),
            )

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    return nn.Sequential(unit(3, 2, 3, 2), Inverted(2, 2, 1, 2), Inverted(2, 3, 2, 2), Inverted(3, 3, 1, 2))


@entry("mobile", (1, 4, 25, 28), "local", size=11, jump=2)
def shufflenet_v2():
    def shuffle(x, groups=2):
        n, c, h, w = x.shape
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)

    def half(i, s):
        return nn.Sequential(unit(i, 2, 1), unit(2, 2, 3, s, g=2, act=False), unit(2, 2, 1))

    def body(m, x):
        x = shuffle(torch.cat((m.left(x), m.right(x)), 1))
        for block in m.blocks:
            a, b = x.chunk(2, dim=1)
            x = shuffle(torch.cat((a, block(b)), 1))
        return x

    left = nn.Sequential(unit(4, 4, 3, 2, g=4, act=False), unit(4, 2, 1))
    return Net(body, left=left, right=half(4, 2), blocks=nn.ModuleList(half(2, 1) for _ in range(2)))


@entry("mobile", (1, 3, 32, 27), "global")
def efficientnet():
    class SE(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.avgpool, self.fc1, self.fc2 = nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, 1, 1), nn.Conv2d(1, c, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.fc2(F.silu(self.fc1(self.avgpool(x)))))

    body = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.SiLU(), nn.Conv2d(6, 6, 5, 2, 2, groups=6), nn.SiLU(), SE(6), nn.Conv2d(6, 3, 1)
    )
    return nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.SiLU(), body)


@entry("mobile", (1, 3, 30, 27), "global")
def mobilenet_v3_squeeze():
    class SE(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.fc = nn.Sequential(nn.Linear(c, 2), nn.ReLU(), nn.Linear(2, c), nn.Hardsigmoid())

        def forward(self, x):
            b, c, _, _ = x.size()
            y = self.fc(x.mean((2, 3)).view(b, c)).view(b, c, 1, 1)
            return x * y.expand_as(x)

    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Hardswish(), SE(4), nn.Conv2d(4, 3, 3, padding=1))
