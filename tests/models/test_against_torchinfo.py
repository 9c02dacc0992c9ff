"""Parameters, mult-adds and sizes against `torchinfo.summary`, and where the two must differ."""

import warnings
from math import prod

import pytest
import torch
import torchinfo
import zoo
from torch import nn

from convlab.models.trace import trace

ZOO = zoo.load()
UNCOMPARED = {"lazy", "parametrised", "shared", "several inputs", "attention", "hypernetwork", "recurrent"}
CONVOLUTIONAL = [
    name
    for name, entry in ZOO.items()
    if entry.data is None and entry.family not in UNCOMPARED and not {"meta", "float16", "swallows"} & entry.flags
]
# torchinfo 1.8 multiplies a transposed convolution's weights by the positions of its output; each meets the input once.
TRANSPOSED = {
    "unet_transposed", "unet_padded_to_fit", "unet_valid_and_cropped", "gan_generator", "gan_generator_from_a_vector",
    "transposed_then_strided", "demucs", "transposed_with_every_option", "transposed_leaves_holes", "transposed_3d",
}  # fmt: skip
# It counts a Linear once for each sample, also when it is applied at every position.
LINEAR_AT_POSITIONS = {"convnext", "channels_last_by_permute", "unfold_is_convolution"}
# It sees modules only: functional convolutions, matrix products and einsum cost nothing there.
FUNCTIONAL = {
    "functional_calls", "pads_and_negative_pads", "swin_shifted_windows", "einsum_over_channels", "matmul_over_columns",
    "blur_pool", "tensordot_over_space",
}  # fmt: skip


def both(name):
    entry = ZOO[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchinfo still asks for TypedStorage
        summary = torchinfo.summary(entry.twin(), entry.inputs, verbose=0, device="cpu", depth=20)
    return trace(entry.twin(), entry.inputs), summary


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_parameters_and_mult_adds(name):
    traced, summary = both(name)
    assert traced.total_params == summary.total_params
    assert traced.trainable_params == summary.trainable_params
    if name in TRANSPOSED:
        assert traced.total_mult_adds == summary.total_mult_adds - transposed_excess(traced, summary)
    elif name in LINEAR_AT_POSITIONS | FUNCTIONAL:
        assert traced.total_mult_adds > summary.total_mult_adds
    else:
        assert traced.total_mult_adds == summary.total_mult_adds


def transposed_excess(traced, summary):
    excess = 0
    for info in summary.summary_list:
        if isinstance(info.module, nn.modules.conv._ConvTransposeNd):
            weight, bias = info.module.weight, info.module.bias
            positions_in, positions_out = prod(info.input_size[2:]), prod(info.output_size[2:])
            assert info.macs == positions_out * (weight.numel() + (0 if bias is None else bias.numel()))
            excess += (positions_out - positions_in) * weight.numel()
    assert excess > 0
    return excess


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_sizes_of_every_layer(name):
    """Each module that torchinfo shows, in its order, has the size that we report for the same call."""
    traced, summary = both(name)
    ours = {(record.path, record.call): record for record in (*traced.records, *traced.containers)}
    paths = {id(module): path for path, module in reversed(list(summary.summary_list[0].module.named_modules()))}
    calls: dict[str, int] = {}
    compared = 0
    for info in summary.summary_list:
        path = paths.get(id(info.module))
        if path is None or not info.executed or info.is_recursive or not info.output_size:
            continue
        call = calls[path] = calls.get(path, -1) + 1
        record = ours[path, call]
        if f"{path}[1]" not in {path for path, _ in ours}:  # of several outputs torchinfo shows one or another
            assert list(record.output_size) == list(info.output_size), path
            compared += 1
    assert compared


def test_the_differences_are_worked_out():
    """What torchinfo leaves out, by hand."""
    linear = nn.Linear(8, 5)
    assert trace(linear, (2, 7, 8)).total_mult_adds == 2 * 7 * (8 * 5 + 5)
    assert torchinfo.summary(linear, (2, 7, 8), verbose=0).total_mult_adds == 2 * (8 * 5 + 5)

    transposed = nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False)
    assert trace(transposed, (1, 3, 5, 6)).total_mult_adds == 3 * 4 * 2 * 2 * (5 * 6)
    assert torchinfo.summary(transposed, (1, 3, 5, 6), verbose=0).total_mult_adds == 3 * 4 * 2 * 2 * (10 * 12)


def test_attention_costs_something():
    """torchinfo counts no matrix product: of a ViT-B/16 it reports 0.17 of 17.56 billion."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Conv2d(4, 12, 1, bias=False)

        def forward(self, x):
            q, k, v = self.qkv(x).flatten(2).transpose(1, 2).chunk(3, -1)
            return torch.softmax(q @ k.transpose(1, 2), -1) @ v

    n = 6 * 7
    traced = trace(Attention(), (1, 4, 6, 7))
    assert traced.total_mult_adds == 4 * 12 * n + 2 * n * n * 4
    assert torchinfo.summary(Attention(), (1, 4, 6, 7), verbose=0).total_mult_adds == 4 * 12 * n
