"""Blocks from papers, each with something that trips a tracer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, conv, entry


@entry("residual", (1, 8, 22, 25), size=15, jump=2)
def res2net():
    def body(m, x):
        x = m.stem(x)
        parts = x.chunk(4, 1)
        done = [parts[0]]
        for part, layer in zip(parts[1:], m.layers, strict=True):
            done.append(F.relu(layer(part if len(done) == 1 else part + done[-1])))
        return x + torch.cat(done, 1)

    return Net(body, stem=conv(3, 8, stride=2), layers=nn.ModuleList(conv() for _ in range(3)))


@entry("se", (1, 2, 19, 22), "global")
def selective_kernel():
    def body(m, x):
        branches = torch.stack([m.a(x), m.b(x)], dim=1)
        mix = m.fc(branches.sum(1).mean((2, 3))).view(-1, 2, 2, 1, 1).softmax(1)
        return (branches * mix).sum(1)

    return Net(body, a=conv(), b=conv(3, padding=2, dilation=2), fc=nn.Linear(2, 4))


@entry("hypernetwork", (1, 4, 13, 16), "local|irregular", size=3)
def involution():
    def body(m, x):
        n, c, h, w = x.shape
        kernel = m.kernel(x).view(n, 1, 9, h, w)
        patches = F.unfold(x, 3, padding=1).view(n, c, 9, h, w)
        return (kernel * patches).sum(2)

    return Net(body, kernel=nn.Conv2d(4, 9, 1))


@entry("functional", (1, 2, 20, 23), "local|irregular")
def blur_pool():
    class Blur(nn.Module):
        def __init__(self):
            super().__init__()
            taps = torch.tensor([1.0, 2.0, 1.0])
            self.register_buffer("taps", (taps[:, None] * taps)[None, None].repeat(2, 1, 1, 1) / 16)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(F.pad(x, [1] * 4, mode="reflect"), self.taps, stride=2, groups=x.shape[1])

    return nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2, 1), Blur())


@entry("pyramid", (1, 2, 24, 32), size=None)
def octave_convolution():
    def body(m, x):
        high, low = m.high(x), m.low(F.avg_pool2d(x, 2))
        return m.hh(high) + F.interpolate(m.lh(low), scale_factor=2), m.ll(low) + m.hl(F.avg_pool2d(high, 2))

    return Net(body, high=conv(), low=conv(), hh=conv(), lh=conv(), ll=conv(), hl=conv())


@entry("pyramid", (1, 2, 32, 24))
def bidirectional_pyramid():
    class Fuse(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.w, self.conv = nn.Parameter(torch.ones(n)), conv()

        def forward(self, *xs: Tensor) -> Tensor:
            w = F.relu(self.w)
            return self.conv(sum(w[i] * x for i, x in enumerate(xs)) / (w.sum() + 1e-4))

    def body(m, x):
        p3 = m.stem(x)
        p4, p5 = F.max_pool2d(p3, 3, 2, 1), F.max_pool2d(p3, 3, 4, 1)
        up4 = m.f[0](p4, F.interpolate(p5, scale_factor=2.0))
        out3 = m.f[1](p3, F.interpolate(up4, scale_factor=2.0))
        out4 = m.f[2](p4, up4, F.max_pool2d(out3, 3, 2, 1))
        return [out3, out4, m.f[3](p5, F.max_pool2d(out4, 3, 2, 1))]

    return Net(body, stem=conv(), f=nn.ModuleList(Fuse(n) for n in (2, 2, 3, 2)))


@entry("several outputs", (1, 2, 24, 32), "local|irregular")
def detection_head():
    def body(m, x):
        outs = []
        for stride, head in zip((2, 4), m.heads, strict=True):
            y = head(F.max_pool2d(m.stem(x), stride))
            n, _, h, w = y.shape
            outs.append(y.view(n, 2, 3, h, w).permute(0, 1, 3, 4, 2).contiguous())
        return torch.cat([o.view(o.shape[0], -1, 3) for o in outs], 1), outs

    return Net(body, stem=conv(), heads=nn.ModuleList(nn.Conv2d(2, 6, 1) for _ in range(2)))


@entry("functional", (1, 2, 17, 14), size=5, jump=1)
def coordinate_convolution():
    def body(m, x):
        h, w = x.shape[2:]
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        grid = torch.stack([ys, xs])[None].to(x).expand(x.shape[0], -1, -1, -1)
        return m.b(m.a(torch.cat([x, grid], 1)))

    return Net(body, a=nn.Conv2d(4, 2, 3, padding=1), b=conv())


@entry("functional", (1, 2, 17, 14), "local", "train", "mixes batch", size=5, jump=1)
def variational_autoencoder():
    def body(m, x):
        mean, spread = m.encode(x).chunk(2, 1)
        z = mean + torch.randn_like(spread) * torch.exp(0.5 * spread)
        return m.decode(z), mean, spread

    return Net(body, encode=nn.Conv2d(2, 4, 3, padding=1), decode=conv())


@entry("recurrent", (1, 2, 15, 17), size=9, jump=1)
def convolutional_lstm():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.gates = nn.Conv2d(4, 8, 3, padding=1)

        def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            h, c = state
            i, f, o, g = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c

    def body(m, x):
        state = torch.zeros_like(x), x.new_zeros(x.shape)
        for _ in range(4):
            state = m.cell(x, state)
        return state[0]

    return Net(body, cell=Cell())


@entry("conv3d", (1, 3, 4, 11, 12), "local|irregular", "mixes batch")
def frame_by_frame():
    def body(m, x):
        n, c, t, h, w = x.shape
        y = m.image(x.transpose(1, 2).reshape(n * t, c, h, w))
        y = y.view(n, t, 2, *y.shape[2:]).transpose(1, 2)
        return m.time(y)

    return Net(body, image=nn.Conv2d(3, 2, 3, 2, 1), time=nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0)))


@entry("conv3d", (1, 2, 6, 7, 9), ("local|irregular",) * 3)
def temporal_shift():
    def body(m, x):
        back, ahead, rest = x[:, :1], x[:, 1:2], x[:, :0]
        back = F.pad(back[:, :, 1:], (0, 0, 0, 0, 0, 1))
        ahead = torch.cat([torch.zeros_like(ahead[:, :, :1]), ahead[:, :, :-1]], 2)
        return m.conv(torch.cat([back, ahead, rest], 1))

    return Net(body, conv=nn.Conv3d(2, 2, (1, 3, 3), padding=(0, 1, 1)))


@entry("conv3d", (1, 1, 6, 9, 8), "local|irregular", "zero taps")
def unet_3d():
    def body(m, x):
        a = m.down(x)
        b = F.interpolate(m.mid(m.pool(a)), size=a.shape[2:], mode="trilinear", align_corners=False)
        return m.up(torch.cat([a, b], 1))

    parts = {"down": nn.Conv3d(1, 2, 3, padding=1), "pool": nn.AvgPool3d(2, ceil_mode=True)}
    return Net(body, **parts, mid=nn.Conv3d(2, 2, 3, padding=1), up=nn.Conv3d(4, 1, 1))


@entry("conv1d", (1, 1, 64), "local")
def demucs():
    def body(m, x):
        skips = []
        for layer in m.down:
            x = F.relu(layer(x))
            skips.append(x)
        for layer in m.up:
            skip = skips.pop()
            x = layer(F.glu(m.mix(x + skip[..., : x.shape[-1]]), dim=1))
        return x

    down = nn.ModuleList([nn.Conv1d(1, 2, 8, 4, padding=2), nn.Conv1d(2, 2, 8, 4, padding=2)])
    up = nn.ModuleList([nn.ConvTranspose1d(2, 2, 8, 4, padding=2), nn.ConvTranspose1d(2, 1, 8, 4, padding=2)])
    return Net(body, down=down, up=up, mix=nn.Conv1d(2, 4, 1))


@entry("attention", (1, 4, 12, 16), "irregular|global|local")
def blocked_local_attention():
    def body(m, x):
        n, _, h, w = x.shape
        q = m.q(x).unflatten(2, (h // 4, 4)).unflatten(4, (w // 4, 4)).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, 16, 2)
        halo = F.unfold(m.kv(x), 6, stride=4, padding=1).unflatten(1, (4, 36)).permute(0, 3, 2, 1)
        k, v = halo.chunk(2, -1)
        y = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        y = y.view(n, h // 4, w // 4, 4, 4, 2).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(n, 2, h, w)

    return Net(body, q=nn.Conv2d(4, 2, 1), kv=nn.Conv2d(4, 4, 1))


@entry("attention", (1, 4, 9, 11), "global")
def linear_attention():
    def body(m, x):
        n, c, h, w = x.shape
        q, k, v = (F.elu(t.flatten(2)) + 1 for t in m.qkv(x).chunk(3, 1))
        context = torch.einsum("ncl,ndl->ncd", k.softmax(-1), v)
        return torch.einsum("ncl,ncd->ndl", q, context).view(n, c, h, w) + x

    return Net(body, qkv=nn.Conv2d(4, 12, 1))


@entry("attention", (1, 4, 8, 10), "global")
def pooled_keys():
    def body(m, x):
        n, c, h, w = x.shape
        q = m.q(x).flatten(2).transpose(1, 2)
        kv = m.norm(m.reduce(x).flatten(2).transpose(1, 2))
        k, v = m.kv(kv).reshape(n, -1, 2, c).unbind(2)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, c, h, w)

    return Net(body, q=nn.Conv2d(4, 4, 1), reduce=nn.Conv2d(4, 4, 2, 2), norm=nn.LayerNorm(4), kv=nn.Linear(4, 8))


@entry("attention", (1, 3, 9, 12), "global", "no nominal")
def detr():
    def body(m, x):
        memory = m.backbone(x).flatten(2).permute(0, 2, 1)
        queries = m.queries.weight.unsqueeze(0).repeat(x.shape[0], 1, 1)
        return m.head(m.decoder(queries, memory + 0.1))

    layer = nn.TransformerDecoderLayer(4, 2, 8, batch_first=True)
    parts = {"backbone": nn.Conv2d(3, 4, 3, 3), "queries": nn.Embedding(5, 4), "head": nn.Linear(4, 2)}
    return Net(body, **parts, decoder=nn.TransformerDecoder(layer, 1))
