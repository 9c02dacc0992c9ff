"""Small networks to start from."""

from collections import OrderedDict

import torch
from torch import nn


def lenet(in_channels: int = 1, num_classes: int = 10, input_size: int = 8, seed: int = 0) -> nn.Sequential:
    """A LeNet-like network with named layers: two 3x3 convolutions (16 and 32 filters) with pooling, then 64 units.

    After LeCun et al., "Gradient-based learning applied to document recognition" (1998): convolution and pooling twice,
    then fully connected; with `padding=1`, so that 8x8 digits survive two poolings.

    Args:
        in_channels: 1 for grey pictures, 3 for colour.
        num_classes: outputs.
        input_size: height and width of the picture in pixels, at least 4.
        seed: decides the initial weights, whatever was drawn before; the global random numbers are left as they were.

    Raises:
        ValueError: the picture is too small to be pooled twice.

    Example:
        >>> import torch
        >>> lenet()(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    if input_size < 4:
        raise ValueError(f"input_size must be at least 4 to be pooled twice, got {input_size!r}; try input_size=8.")
    features = 32 * (input_size // 4) ** 2
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 16, kernel_size=3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(16, 32, kernel_size=3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(features, 64),
                relu3=nn.ReLU(),
                fc2=nn.Linear(64, num_classes),
            )
        )
