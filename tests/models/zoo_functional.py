"""Networks that compute in `forward`: functional calls and movement of data."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, entry, unit


@entry("functional", (1, 3, 26, 29), size=13, jump=4)
def functional_calls():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1 = nn.Parameter(torch.randn(4, 3, 3, 3) / 9)
            self.w2 = nn.Parameter(torch.randn(4, 1, 3, 3) / 9)

        def forward(self, x):
            x = F.relu(F.conv2d(x, self.w1, stride=2, padding=1))
            x = F.max_pool2d(x, kernel_size=2)
            x = torch.conv2d(x, self.w2, padding=1, groups=4)
            return F.avg_pool2d(x, 1).tanh()

    return Functional()


@entry("functional", (1, 2, 21, 24), size=5, jump=2)
def pads_and_negative_pads():
    def body(m, x):
        x = F.pad(x, (1, 2, -1, 3))
        x = F.conv2d(x, m.a.weight, stride=2)
        x = F.pad(x, (-2, 0, 0, -1), value=1.0)
        return F.avg_pool2d(x, 2, 1)

    return Net(body, a=nn.Conv2d(2, 2, 3))


@entry("functional", (1, 2, 21, 24), "local|irregular")
def functional_pad_modes():
    def body(m, x):
        x = m.a(F.pad(x, (2, 1, 1, 2), mode="reflect"))
        x = m.a(F.pad(x, (1, 1, 1, 1), mode="replicate"))
        return m.a(F.pad(x, (0, 1, 2, 0), mode="circular"))

    return Net(body, a=nn.Conv2d(2, 2, 3))


@entry("slicing", (1, 2, 29, 30), size=11, jump=(2, 3))
def slices_with_steps():
    def body(m, x):
        x = m.a(x)[:, :, 1::2, ::3]
        x = x[:, [1, 0]]
        return m.b(x)

    return Net(body, a=nn.Conv2d(2, 2, 5, padding=2), b=nn.Conv2d(2, 2, (4, 3), padding=(1, 1)))


@entry("slicing", (1, 3, 18, 23), size=(6, 6), jump=(2, 2))
def focus_stem():
    def body(m, x):
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        h, w = parts[3].shape[-2:]
        return m.conv(torch.cat([p[..., :h, :w] for p in parts], 1))

    return Net(body, conv=unit(12, 4))


@entry("slicing", (1, 2, 20, 22), "local|irregular")
def roll_and_flip():
    def body(m, x):
        x = torch.roll(m.a(x), shifts=(-3, 2), dims=(2, 3))
        return m.a(torch.flip(x, dims=[3]))

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("slicing", (1, 2, 20, 22), "local|irregular")
def flip_twice():
    def body(m, x):
        return torch.flip(m.a(torch.flip(x, (2, 3))), (2, 3)) + m.a(x)

    return Net(body, a=nn.Conv2d(2, 2, 3, stride=1, padding=1))


@entry("slicing", (1, 2, 12, 21), "local|irregular")
def transposed_axes():
    def body(m, x):
        x = m.a(x.transpose(2, 3))
        x = m.b(x).permute(0, 1, 3, 2)
        return m.a(x)

    return Net(body, a=nn.Conv2d(2, 2, (5, 3), padding=(2, 1)), b=nn.Conv2d(2, 2, 3, stride=(2, 1)))


@entry("slicing", (1, 2, 12, 21))
def channels_last_by_permute():
    def body(m, x):
        x = m.a(x).permute(0, 2, 3, 1)
        x = m.mlp(x)
        return m.a(x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last))

    mlp = nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2))
    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1), mlp=mlp)


@entry("slicing", (1, 4, 13, 16), "local|irregular")
def split_unbind_stack():
    def body(m, x):
        a, b = torch.split(m.a(x), [1, 3], dim=1)
        rows = torch.stack(b.unbind(1), dim=1)
        top, bottom = a.chunk(2, dim=2)
        joined = torch.cat([bottom, top], 2)
        return m.b(torch.cat([rows[:, :2], joined.repeat(1, 2, 1, 1)], 1))

    return Net(body, a=nn.Conv2d(4, 4, 3, padding=1), b=nn.Conv2d(4, 2, 3, padding=1))


@entry("slicing", (1, 2, 15, 18))
def select_narrow_index():
    def body(m, x):
        x = m.a(x)
        x = x.narrow(2, 2, 10).index_select(3, torch.arange(1, 17, 2))
        return m.a(x + 0 * x.sum(dim=1, keepdim=True))

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("space to depth", (1, 2, 18, 24), size=6, jump=(2, 2))
def pixel_unshuffle():
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 3, padding=1))


@entry("space to depth", (1, 2, 12, 15), "local|irregular")
def subpixel_superresolution():
    return nn.Sequential(
        nn.Conv2d(2, 4, 5, padding=2), nn.Tanh(), nn.Conv2d(4, 9, 3, padding=1), nn.PixelShuffle(3), nn.Conv2d(1, 1, 3)
    )


@entry("space to depth", (1, 2, 16, 20), size=12, jump=4)
def space_to_depth_by_reshape():
    def body(m, x):
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 1, 3, 5, 2, 4).reshape(n, c * 16, h // 4, w // 4)
        return m.conv(x)

    return Net(body, conv=nn.Conv2d(32, 2, 3, padding=1))


def _windows(x: Tensor, w: int) -> Tensor:
    n, h, v, c = x.shape
    return x.view(n, h // w, w, v // w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)


def _unwindows(x: Tensor, w: int, h: int, v: int) -> Tensor:
    x = x.view(-1, h // w, v // w, w, w, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(x.shape[0], h, v, -1)


@entry("windows", (1, 2, 16, 24), "local|irregular|global")
def window_partition_and_back():
    def body(m, x):
        x = m.a(x).permute(0, 2, 3, 1)
        h, v = x.shape[1:3]
        x = _unwindows(_windows(x, 4), 4, h, v)
        return m.a(x.permute(0, 3, 1, 2))

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("windows", (1, 2, 16, 24), "irregular|global")
def swin_shifted_windows():
    class Attention(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm, self.qkv, self.proj = nn.LayerNorm(c), nn.Linear(c, 3 * c), nn.Linear(c, c)

        def forward(self, x, w=4):
            q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
            attn = (q * w**-1 @ k.transpose(-2, -1)).softmax(-1)
            return self.proj(attn @ v)

    class Block(nn.Module):
        def __init__(self, c, shift):
            super().__init__()
            self.attn, self.shift = Attention(c), shift

        def forward(self, x):
            h, v = x.shape[1:3]
            y = torch.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift else x
            y = _unwindows(self.attn(_windows(y, 4)), 4, h, v)
            y = torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y
            return x + y

    def body(m, x):
        x = m.patch(x).permute(0, 2, 3, 1)
        return m.merge(m.blocks(x).permute(0, 3, 1, 2))

    return Net(
        body, patch=nn.Conv2d(2, 4, 1), blocks=nn.Sequential(Block(4, 0), Block(4, 2)), merge=nn.Conv2d(4, 2, 2, 2)
    )


@entry("fold", (1, 2, 14, 17), "local|irregular")
def unfold_is_convolution():
    def body(m, x):
        cols = F.unfold(x, 3, padding=1, stride=2)
        y = m.linear(cols.transpose(1, 2)).transpose(1, 2)
        return F.avg_pool2d(y.view(x.shape[0], 3, (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2), 2, 1)

    return Net(body, linear=nn.Linear(18, 3))


@entry("fold", (1, 2, 12, 15), "local|irregular", "fixed size")
def fold_overlapping_patches():
    def body(m, x):
        cols = F.unfold(m.a(x), (4, 3), stride=(2, 3))
        return m.a(F.fold(cols * 2, (12, 15), (4, 3), stride=(2, 3)))

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("fold", (1, 2, 14, 17), "local|irregular", size=3, jump=2)
def tensor_unfold():
    return Net(lambda m, x: x.unfold(2, 3, 2).unfold(3, 3, 2).mean((-1, -2)))


@entry("einsum", (1, 2, 11, 14))
def einsum_over_channels():
    def body(m, x):
        y = torch.einsum("nchw,cd->ndhw", m.a(x), m.mix.weight)
        return m.a(torch.einsum("nchw,nchw->nchw", y, y.tanh()))

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1), mix=nn.Linear(2, 2))


@entry("einsum", (1, 2, 11, 14), ("local|irregular", "global|irregular"))
def matmul_over_columns():
    def body(m, x):
        y = m.a(x)
        return y @ m.mix.weight.t() + torch.matmul(m.mix.weight, y.transpose(2, 3)).transpose(2, 3)

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1), mix=nn.Linear(14, 14))


@entry("einsum", (1, 2, 9, 12), ("global|irregular", "local|irregular"))
def cumulative_sums():
    return Net(lambda m, x: torch.cumsum(m.a(x), dim=2), a=nn.Conv2d(2, 2, 3, padding=1))


@entry("global", (1, 2, 13, 14), "global|irregular", "loose")
def grid_sample_constant_grid():
    def body(m, x):
        theta = torch.tensor([[[0.8, 0.0, 0.1], [0.0, 0.9, 0.0]]], dtype=x.dtype, device=x.device)
        grid = F.affine_grid(theta.expand(x.shape[0], -1, -1), list(x.shape), align_corners=False)
        return F.grid_sample(m.a(x), grid, align_corners=False)

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))


@entry("global", (1, 2, 12, 16), "global|irregular")
def fourier_mixing():
    def body(m, x):
        y = torch.fft.rfft2(m.a(x))
        return torch.fft.irfft2(y * torch.linspace(0.1, 1.0, y.shape[-1]), s=x.shape[-2:])

    return Net(body, a=nn.Conv2d(2, 2, 3, padding=1))
