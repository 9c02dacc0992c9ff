"""Small networks of the families that people edit: a chain, sums, concatenations, depthwise, down and up again."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from convlab.models.gallery import lenet


class Residual(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.down = None
        if stride != 1 or cin != cout:
            self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """Two stages; all of a stage's widths hang together."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.stage1 = nn.Sequential(Residual(4, 4), Residual(4, 4))
        self.stage2 = nn.Sequential(Residual(4, 6, 2), Residual(6, 6))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 10)

    def forward(self, x):
        x = self.stage2(self.stage1(self.stem(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


class Inception(nn.Module):
    """Branches that are concatenated, twice, then flattened by `view`."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 3, 1)
        self.three = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(4, 2, 1))
        self.norm = nn.BatchNorm2d(9)
        self.after = nn.Conv2d(13, 5, 3, padding=1)
        self.fc = nn.Linear(5 * 16, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = F.relu(self.norm(torch.cat([self.one(x), self.three(x), self.pooled(x)], 1)))
        y = F.max_pool2d(F.relu(self.after(torch.cat([x, y], 1))), 2)
        return self.fc(y.view(y.size(0), -1))


def depthwise():
    """MobileNet-like: each depthwise layer follows the one before."""

    def block(cin, cout, stride, norm):
        return nn.Sequential(
            OrderedDict(
                dw=nn.Conv2d(cin, cin, 3, stride, padding=1, groups=cin, bias=False),
                bn1=nn.BatchNorm2d(cin),
                act1=nn.ReLU6(),
                pw=nn.Conv2d(cin, cout, 1, bias=False),
                bn2=norm,
                act2=nn.SiLU(),
            )
        )

    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(1, 4, 3, padding=1),
            block1=block(4, 6, 2, nn.BatchNorm2d(6)),
            block2=block(6, 8, 1, nn.GroupNorm(2, 8)),
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            drop=nn.Dropout(0.2),
            fc=nn.Linear(8 * 4, 10),
        )
    )


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.LeakyReLU(0.1))
        self.down2 = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.InstanceNorm2d(5, affine=True), nn.ELU())
        self.pool = nn.MaxPool2d(2)
        self.bottom = nn.Conv2d(5, 6, 3, padding=1, groups=1)
        self.up2 = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.conv2 = nn.Conv2d(9, 4, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.conv1 = nn.Conv2d(6, 3, 3, padding=1)
        self.act = nn.PReLU(3)
        self.head = nn.Conv2d(3, 10, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        y = self.bottom(self.pool(b))
        y = self.conv2(torch.cat([b, self.up2(y)], 1))
        y = self.act(self.conv1(torch.cat([a, self.up1(y)], 1)))
        return self.head(y).mean((2, 3))


class Excited(nn.Module):
    """Squeeze and excitation, a grouped convolution, channels shuffled, a LayerNorm, tokens."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.squeeze = nn.Linear(8, 4)
        self.excite = nn.Linear(4, 8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, 8)
        self.tokens = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 6)
        self.fc = nn.Linear(6, 10)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        n, c, h, w = x.shape
        s = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        x = x * s.view(n, c, 1, 1)
        x = self.norm(self.grouped(x))
        c = x.shape[1]
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        t = self.tokens(x.flatten(2).transpose(1, 2))
        return self.fc(F.gelu(self.mix(t)).mean(1))


NETS = {
    "lenet": lenet,
    "resnet": ResNet,
    "inception": Inception,
    "depthwise": depthwise,
    "unet": UNet,
    "excited": Excited,
}
SIZE = (2, 1, 8, 8)


def made(name):
    """A net with seeded weights and statistics that are not those of a fresh one."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        net = NETS[name]()
        with torch.no_grad():
            for _ in range(2):
                net(torch.randn(4, *SIZE[1:]))
    return net


def bits(model):
    """Every bit of a model, with the identity of its modules and tensors."""
    tensors = [(n, id(t), t.detach().clone(), t.requires_grad) for n, t in model.named_parameters()]
    tensors += [(n, id(t), t.detach().clone(), t.requires_grad) for n, t in model.named_buffers()]
    return tensors, [(path, id(m), repr(m), m.training) for path, m in model.named_modules()]


def same(one, other):
    """Whether two of `bits` are equal."""
    return (
        one[1] == other[1]
        and len(one[0]) == len(other[0])
        and all(
            a[:2] == b[:2] and a[3] == b[3] and torch.equal(a[2], b[2]) for a, b in zip(one[0], other[0], strict=True)
        )
    )
