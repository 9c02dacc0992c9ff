"""Networks in which a unit sees the whole image: attention, pooling over everything, statistics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, entry, unit


@entry("global", (1, 3, 25, 28), "global", "no nominal")
def adaptive_pool_and_classify():
    return nn.Sequential(unit(3, 4, 3, 2), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(4, 5))


@entry("global", (1, 3, 25, 28), "global", "no nominal")
def mean_and_classify():
    return Net(lambda m, x: m.fc(m.conv(x).mean([2, 3])), conv=unit(3, 4, 3, 2), fc=nn.Linear(4, 5))


@entry("global", (1, 3, 25, 28), "local|global", "no nominal")
def pool_of_the_whole_map():
    return Net(lambda m, x: F.avg_pool2d(m.conv(x), m.conv(x).shape[2:]).flatten(1), conv=unit(3, 4, 3, 2))


@entry("adaptive", (1, 2, 24, 27), "local|irregular|global", "fixed size")
def adaptive_pool_to_several():
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.AdaptiveAvgPool2d((7, 9)), nn.AdaptiveMaxPool2d((3, None)))


@entry("adaptive", (1, 2, 23, 26), "global", "zero taps")
def pspnet():
    def body(m, x):
        x = m.stem(x)
        pooled = [F.interpolate(F.adaptive_avg_pool2d(x, n), size=x.shape[2:], mode="bilinear") for n in (1, 2, 3)]
        return m.fuse(torch.cat([x, *pooled], 1))

    return Net(body, stem=unit(2, 2), fuse=unit(8, 2))


@entry("se", (1, 2, 19, 22), "global")
def squeeze_and_excitation():
    def body(m, x):
        x = m.conv(x)
        return x * torch.sigmoid(m.fc(x.mean((2, 3), keepdim=True)))

    return Net(body, conv=unit(2, 3, 3, 2), fc=nn.Conv2d(3, 3, 1))


@entry("se", (1, 2, 19, 22), "global")
def cbam():
    def body(m, x):
        x = m.conv(x)
        pooled = F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1)
        x = x * m.fc(pooled).sigmoid()
        maps = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * torch.sigmoid(m.spatial(maps))

    return Net(body, conv=unit(2, 3), fc=nn.Conv2d(3, 3, 1), spatial=nn.Conv2d(2, 1, 7, padding=3))


@entry("se", (1, 2, 14, 17), "global")
def coordinate_attention():
    def body(m, x):
        h, w = x.shape[2:]
        y = torch.cat([m.pool_h(x), m.pool_w(x).permute(0, 1, 3, 2)], dim=2)
        a, b = torch.split(F.hardswish(m.mix(y)), [h, w], dim=2)
        return x * m.h(a).sigmoid() * m.w(b.permute(0, 1, 3, 2)).sigmoid()

    pools = {"pool_h": nn.AdaptiveAvgPool2d((None, 1)), "pool_w": nn.AdaptiveAvgPool2d((1, None))}
    return Net(body, **pools, mix=nn.Conv2d(2, 2, 1), h=nn.Conv2d(2, 2, 1), w=nn.Conv2d(2, 2, 1))


@entry("se", (1, 4, 14, 17), "global")
def efficient_channel_attention():
    def body(m, x):
        y = m.pool(x).squeeze(-1).transpose(-1, -2)
        return x * m.conv(y).transpose(-1, -2).unsqueeze(-1).sigmoid().expand_as(x)

    return Net(body, pool=nn.AdaptiveAvgPool2d(1), conv=nn.Conv1d(1, 1, 3, padding=1, bias=False))


@entry("attention", (1, 3, 12, 15), "global", "no nominal")
def vit():
    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 3, 3)
            self.cls = nn.Parameter(torch.zeros(1, 1, 8))
            self.pos = nn.Parameter(torch.randn(1, 21, 8))
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
            return self.head(self.encoder(x)[:, 0])

    return ViT()


@entry("attention", (1, 4, 9, 11), "global")
def multihead_attention():
    def body(m, x):
        n, c, h, w = x.shape
        t = m.conv(x).flatten(2).transpose(1, 2)
        return (t + m.attn(t, t, t, need_weights=False)[0]).transpose(1, 2).reshape(n, c, h, w)

    return Net(body, conv=nn.Conv2d(4, 4, 3, padding=1), attn=nn.MultiheadAttention(4, 2, batch_first=True))


@entry("attention", (1, 4, 9, 11), "global")
def non_local_block():
    def body(m, x):
        n, c, h, w = x.shape
        q, k, v = (p(x).flatten(2) for p in (m.q, m.k, m.v))
        attn = torch.softmax(torch.bmm(q.transpose(1, 2), k), dim=-1)
        return x + torch.bmm(v, attn.transpose(1, 2)).view(n, c, h, w)

    return Net(body, q=nn.Conv2d(4, 2, 1), k=nn.Conv2d(4, 2, 1), v=nn.Conv2d(4, 4, 1))


@entry("attention", (1, 4, 9, 11), "global")
def scaled_dot_product():
    def body(m, x):
        n, c, h, w = x.shape
        q, k, v = m.qkv(x).flatten(2).transpose(1, 2).view(n, h * w, 3, 2, 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return m.proj(y.transpose(1, 2).reshape(n, h * w, c)).transpose(1, 2).view(n, c, h, w)

    return Net(body, qkv=nn.Conv2d(4, 12, 1), proj=nn.Linear(4, 4))


@entry("attention", (1, 2, 9, 12), ("local|irregular", "global|irregular"), "mixes batch")
def axial_attention_over_width():
    def body(m, x):
        n, c, h, w = x.shape
        t = m.conv(x).permute(0, 2, 3, 1).reshape(n * h, w, c)
        q, k, v = m.qkv(t).chunk(3, -1)
        t = (q @ k.transpose(1, 2)).softmax(-1) @ v
        return t.view(n, h, w, c).permute(0, 3, 1, 2)

    return Net(body, conv=nn.Conv2d(2, 2, 3, padding=1), qkv=nn.Linear(2, 6))


@entry("attention", (1, 2, 8, 10), "global|irregular")
def mlp_mixer():
    def body(m, x):
        t = m.patch(x).flatten(2).transpose(1, 2)
        t = t + m.tokens(m.norm(t).transpose(1, 2)).transpose(1, 2)
        return t + m.channels(m.norm(t))

    def mlp(c):
        return nn.Sequential(nn.Linear(c, 5), nn.GELU(), nn.Linear(5, c))

    return Net(body, patch=nn.Conv2d(2, 4, 2, 2), norm=nn.LayerNorm(4), tokens=mlp(20), channels=mlp(4))


@entry("normalisation", (1, 4, 15, 18), "global")
def group_norm():
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))


@entry("normalisation", (1, 4, 15, 18), "global")
def instance_norm():
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))


@entry("normalisation", (1, 2, 9, 12), ("local|irregular", "global"))
def layer_norm_over_width():
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.LayerNorm(12), nn.Conv2d(2, 2, 3, padding=1))


@entry("normalisation", (1, 3, 25, 28))
def convnext():
    class Norm2d(nn.LayerNorm):
        def forward(self, x):
            x = x.permute(0, 2, 3, 1)
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.dwconv, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c)
            self.pw1, self.pw2 = nn.Linear(c, 2 * c), nn.Linear(2 * c, c)
            self.gamma = nn.Parameter(0.5 * torch.ones(c))

        def forward(self, x):
            y = self.dwconv(x).permute(0, 2, 3, 1)
            y = self.gamma * self.pw2(F.gelu(self.pw1(self.norm(y))))
            return x + y.permute(0, 3, 1, 2)

    return nn.Sequential(nn.Conv2d(3, 4, 2, 2), Norm2d(4), Block(4), Norm2d(4), nn.Conv2d(4, 5, 2, 2))


@entry("normalisation", (2, 3, 13, 16), "local", "train", "swept in eval mode", size=5, jump=2)
def batch_norm_in_train_mode():
    # Read as in eval mode: else every field of a freshly built network would be global.
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3, 2, 1))


@entry("normalisation", (2, 3, 13, 16), "global", "mixes batch")
def batch_norm_without_running_statistics():
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU())


@entry("normalisation", (2, 3, 13, 16), "local", "train", size=5, jump=2)
def frozen_batch_norm_in_a_training_model():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3, 2, 1))

    class Frozen(nn.Sequential):
        def train(self, mode: bool = True):
            super().train(mode)
            self[1].eval()
            return self

    return Frozen(*net)


@entry("normalisation", (1, 2, 13, 16))
def local_response_norm():
    return nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.LocalResponseNorm(3), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))


@entry("hypernetwork", (1, 2, 13, 16), "global|irregular", "mixes batch")
def weights_from_the_input():
    def body(m, x):
        w = m.hyper(x.mean((0, 2, 3))).view(2, 2, 3, 3)
        return F.conv2d(x, w, padding=1)

    return Net(body, hyper=nn.Linear(2, 36))


@entry("hypernetwork", (1, 2, 13, 16), "global|irregular")
def conditional_convolution():
    class CondConv(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.Parameter(torch.randn(3, 2, 2, 3, 3))
            self.route = nn.Linear(2, 3)

        def forward(self, x):
            n, c, h, w = x.shape
            mix = torch.softmax(self.route(x.mean((2, 3))), 1)
            weight = torch.einsum("ne,eoikl->noikl", mix, self.experts).reshape(n * 2, 2, 3, 3)
            out = F.conv2d(x.reshape(1, n * c, h, w), weight, padding=1, groups=n)
            return out.view(n, 2, h, w)

    return CondConv()


@entry("recurrent", (1, 2, 9, 12), ("local|irregular|global", "global|irregular"))
def lstm_over_width():
    def body(m, x):
        n, c, h, w = x.shape
        seq = m.conv(x).permute(0, 3, 2, 1).reshape(n, w, h * c)
        return m.rnn(seq)[0]

    return Net(body, conv=nn.Conv2d(2, 2, 3, padding=1), rnn=nn.LSTM(18, 3, batch_first=True))
