"""Small networks to start from: each with the pictures that it was made for, where it comes from, what it teaches."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from torch import nn

from convlab.limits import SpecError, check_choice, check_known
from convlab.models.build import build
from convlab.models.streams import own_stream
from convlab.net_spec import Block, Head, NetSpec


@dataclass(frozen=True)
class GalleryNet:
    """A network of the gallery.

    Attributes:
        name: its key in `GALLERY`.
        title: its name for a menu.
        spec: the network, with the size of the pictures that it was made for.
        source: where it comes from.
        lesson: what it teaches, in a sentence.
    """

    name: str
    title: str
    spec: NetSpec
    source: str
    lesson: str

    def adapted(self, **changes: Any) -> NetSpec:
        """The spec with `changes`: arguments of `NetSpec`, or of `Block` for every block of it.

        Raises:
            SpecError: the pictures are too small for it, or the changes do not go together; the message says what
                would work.

        Example:
            >>> GALLERY["resnet"].adapted(input_size=(1, 8, 8), activation="gelu").input_size
            (1, 8, 8)
            >>> GALLERY["lenet5"].adapted(input_size=(1, 8, 8))
            Traceback (most recent call last):
            ...
            convlab.limits.SpecError: lenet5 takes no pictures of 8x8, as block 2 has an input of 2x2, which does not
            hold kernel_size=5; try input_size=(1, 16, 16) or padding='same'.
        """
        of_net = [field.name for field in fields(NetSpec)]
        of_blocks = [field.name for field in fields(Block)]
        check_known(self.name, [*of_net, *of_blocks], changes)
        shared = {name: value for name, value in changes.items() if name not in of_net}
        blocks = tuple(block.replace(**shared) for block in self.spec.blocks)
        head = self.spec.head.replace(activation=shared.get("activation", self.spec.head.activation))
        given = {"blocks": blocks, "head": head} | {name: changes[name] for name in of_net if name in changes}
        try:
            return self.spec.replace(**given)
        except SpecError as error:
            raise self._advised(error, given) from None

    def _advised(self, error: SpecError, given: Mapping[str, Any]) -> SpecError:
        """`error` with the pictures that would work, where it is for their size that the network is refused."""
        size = given.get("input_size", self.spec.input_size)
        if not self._takes(given, blocks=(), form="chain"):
            return error
        sizes = ((size[0], side, side) for side in range(1, 513))
        works = next((one for one in sizes if self._takes(given, input_size=one)), None)
        if works is None:
            return error
        advice = [f"input_size={works}"]
        for name, value in (("padding", "same"), ("stride", 1)):
            # Only where every block may have it: a strided one has no padding="same".
            if self._takes_everywhere(given, {name: value}):
                advice.append(f"{name}={value!r}")
        reason = str(error).partition(";")[0]
        height, width = size[1:]
        return SpecError(f"{self.name} takes no pictures of {height}x{width}, as {reason}; try {' or '.join(advice)}.")

    def _takes_everywhere(self, given: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        try:
            blocks = tuple(block.replace(**changes) for block in given["blocks"])
        except SpecError:
            return False
        return self._takes(given, blocks=blocks)

    def _takes(self, given: Mapping[str, Any], **changes: Any) -> bool:
        try:
            self.spec.replace(**{**given, **changes})
        except SpecError:
            return False
        return True


def net(name: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    """A network of the gallery by its name, with changes.

    Args:
        name: a key of `GALLERY`.
        seed: decides the initial weights; the global random numbers are left as they were.
        **changes: arguments of `NetSpec` (``input_size``, ``num_classes``, ``init``, ...), or of `Block` for every
            block (``activation``, ``norm``, ``kernel_size``, ...).

    Raises:
        SpecError: there is no such network, or it cannot be had with these changes; the message says what would work.

    Example:
        >>> import torch
        >>> model = net("resnet", input_size=(1, 8, 8), num_classes=10)
        >>> model(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    check_choice("name", name, tuple(GALLERY))
    return build(GALLERY[name].adapted(**changes), seed)


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
    with own_stream(seed):
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


def _keras(out_channels: int, **settings: Any) -> Block:
    return Block(out_channels, padding="keras_same", **settings)


_NETS: Final = (
    GalleryNet(
        "single_conv",
        "One convolution",
        NetSpec((3, 32, 32), blocks=(_keras(32),)),
        "The first network of many a Keras course: 32 filters of 3x3, 2x2 max pooling, dense.",
        "Nearly all of its parameters are in the dense layer, and what it knows of a picture are 32 patterns of 3x3.",
    ),
    GalleryNet(
        "single_conv_dropout",
        "One convolution, dropout 0.2",
        NetSpec((3, 32, 32), blocks=(_keras(32, dropout=0.2),)),
        "The same with dropout after the pooling (Srivastava et al. 2014).",
        "Beside the same network without it: the gap between training and validation loss narrows.",
    ),
    GalleryNet(
        "shallow",
        "Shallow, 32 filters",
        NetSpec((1, 28, 28), blocks=(_keras(32, pool="none"),)),
        "Born in Keras, after the ShallowNet of A. Rosebrock's book (2017): convolution, ReLU, dense.",
        "Without pooling every position keeps its own weights, so a shifted digit is a new one.",
    ),
    GalleryNet(
        "cifar_tutorial",
        "CIFAR tutorial, 6 and 16 filters",
        NetSpec((3, 32, 32), blocks=Block.ladder(6, 16, kernel_size=5, padding="valid"), head=Head(hidden=(120, 84))),
        "PyTorch's tutorial Training a Classifier.",
        "Without padding the picture shrinks by 4 with each 5x5 kernel; that is where its 16 * 5 * 5 comes from.",
    ),
    GalleryNet(
        "lenet5",
        "LeNet-5",
        NetSpec(
            (1, 32, 32),
            blocks=Block.ladder(6, 16, kernel_size=5, padding="valid", activation="tanh", pool="avg"),
            head=Head(hidden=(120, 84), activation="tanh"),
        ),
        "LeCun et al. 1998, as it is taught today: plain average pooling, and each filter of the second layer sees all "
        "six maps of the first.",
        "The pattern of thirty years: convolution and pooling twice, then fully connected; put ReLU for tanh and see.",
    ),
    GalleryNet(
        "stack_16_32_64",
        "Stack 16-32-64",
        NetSpec(
            (3, 180, 180),
            num_classes=5,
            blocks=tuple(_keras(filters) for filters in (16, 32, 64)),
            head=Head(hidden=(128,)),
        ),
        "TensorFlow's tutorial Image classification, which tells five flowers apart.",
        "Filters double as the picture halves; with same padding only the pooling changes the size.",
    ),
    GalleryNet(
        "deep_64_128_256",
        "Deeper, 64-128-256",
        NetSpec(
            (3, 64, 64),
            blocks=(_keras(64, kernel_size=5), _keras(128), _keras(256)),
            head=Head(hidden=(256,), dropout=0.5),
        ),
        "Born in Keras: the ladder of a course's final project, with a first kernel of 5x5.",
        "A 5x5 kernel is dear where there are many channels, and cheap on the three of a picture.",
    ),
    GalleryNet(
        "strided_128",
        "Strided, batch normalisation",
        NetSpec(
            (3, 128, 128),
            blocks=(
                _keras(32, stride=2, norm="batch", activation="leaky_relu"),
                _keras(64, norm="batch", activation="elu"),
                _keras(128, norm="batch", activation="elu"),
            ),
            head=Head(hidden=(128,), activation="elu", dropout=0.5),
        ),
        "Born in Keras, whose same padding puts the odd pixel of a strided layer at the bottom and right.",
        "A stride of 2 in the first layer saves three quarters of the work of all that follow.",
    ),
    GalleryNet(
        "vgg",
        "Small VGG",
        NetSpec(
            (3, 32, 32),
            blocks=Block.ladder(32, 64, 128, repeat=2),
            head=Head(hidden=(256,), dropout=0.5),
            init="kaiming_normal",
        ),
        "Simonyan & Zisserman 2014 (arXiv:1409.1556), with three of its five stages; weights by He et al. 2015.",
        "Two 3x3 kernels see as far as one of 5x5, with fewer weights and one activation more; with init='default' it "
        "stands on a plateau for epochs.",
    ),
    GalleryNet(
        "resnet",
        "ResNet-20",
        NetSpec(
            (3, 32, 32),
            blocks=(
                Block(16, padding=1, norm="batch", bias=False, pool="none"),
                *(
                    Block(
                        filters,
                        kind="residual",
                        repeat=3,
                        stride=stride,
                        padding=1,
                        norm="batch",
                        bias=False,
                        pool="none",
                    )
                    for filters, stride in ((16, 1), (32, 2), (64, 2))
                ),
            ),
            head=Head("avg"),
        ),
        "He et al. 2015 (arXiv:1512.03385), section 4.2, with 1x1 convolutions where a shortcut changes its size.",
        "An unchanged path leads from the loss to every block, so that depth no longer hinders training.",
    ),
    GalleryNet(
        "inception",
        "Inception blocks",
        NetSpec(
            (3, 32, 32),
            blocks=(Block(32), Block(64, kind="inception"), Block(128, kind="inception", repeat=2, pool="none")),
            head=Head("avg", dropout=0.4),
            init="kaiming_normal",
        ),
        "Szegedy et al. 2014 (arXiv:1409.4842): the widths share a block as those of GoogLeNet's first.",
        "Side by side, kernels of three sizes look at the same place; 1x1 convolutions make the large ones cheap.",
    ),
    GalleryNet(
        "mobilenet",
        "Depthwise-separable",
        NetSpec(
            (3, 32, 32),
            blocks=(
                Block(32, padding=1, norm="batch", bias=False, pool="none"),
                *(
                    Block(filters, kind="separable", stride=stride, padding=1, norm="batch", bias=False, pool="none")
                    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))
                ),
            ),
            head=Head("avg"),
        ),
        "Howard et al. 2017, MobileNets (arXiv:1704.04861), for small pictures.",
        "A spatial filter for each channel, then 1x1 across channels: about a ninth of the work of full 3x3 kernels.",
    ),
    GalleryNet(
        "unet",
        "U-Net",
        NetSpec(
            (1, 64, 64),
            num_classes=1,
            form="unet",
            blocks=(Block(16, repeat=2), Block(32, repeat=2), Block(64, repeat=2, pool="none")),
            head=Head("pixels"),
            init="kaiming_normal",
        ),
        "Ronneberger et al. 2015 (arXiv:1505.04597), with same padding in place of cropping.",
        "The way down finds what is there, the joints across bring back where: y is a mask, float of (N, 1, H, W), and "
        "head=Head('avg') makes it tell pictures apart.",
    ),
)
GALLERY: Final[Mapping[str, GalleryNet]] = {one.name: one for one in _NETS}
"""The networks by name, in the order of a menu."""
