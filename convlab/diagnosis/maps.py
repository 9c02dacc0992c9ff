"""What a network has learned and what it sees, as pictures: its kernels, and the feature maps of one input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convlab.diagnosis.attribution import picture, scores
from convlab.diagnosis.layer_stats import layers_of
from convlab.models.borrow import private_copy


@dataclass(frozen=True, eq=False)
class Kernels:
    """The weights of a convolution.

    Attributes:
        path: of the layer.
        weights: shape (out_channels, in_channels / groups, rows, columns).
    """

    path: str
    weights: Tensor


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What one layer puts out for one picture.

    Attributes:
        path: of the layer.
        kind: its class.
        maps: shape (channels, rows, columns); (1, 1, features) of a layer without positions.
    """

    path: str
    kind: str
    maps: Tensor


def kernels(model: nn.Module, path: str | None = None) -> Kernels:
    """A copy of the kernels of a two-dimensional convolution, the first one if `path` is left out.

    Raises:
        KeyError: there is no such layer.
        ValueError: it is no two-dimensional convolution, or the model has none.

    Example:
        >>> kernels(nn.Sequential(nn.Conv2d(1, 8, 3))).weights.shape
        torch.Size([8, 1, 3, 3])
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if path is None:
        path = next((name for name, module in modules.items() if isinstance(module, nn.Conv2d)), None)
        if path is None:
            raise ValueError(f"{type(model).__name__} has no nn.Conv2d, whose kernels could be shown.")
    if path not in modules:
        raise KeyError(f"the model has no layer {path!r}; it has {', '.join(name for name in modules if name)}.")
    layer = modules[path]
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        raise ValueError(f"{path} is a {type(layer).__name__}, which has no kernels to be shown; try an nn.Conv2d.")
    return Kernels(path, layer.weight.detach().float().cpu().clone())


def feature_maps(model: nn.Module, x: Tensor) -> tuple[FeatureMaps, ...]:
    """What each layer puts out for one picture, in the order of the forward; of a layer called twice, the last call.

    It runs on a copy, in eval mode: the model is not touched, also while a run trains it. A layer whose output is
    neither (N, C, H, W) nor (N, features) is left out, and what `forward` does by functions, such as `F.relu`.

    Args:
        model: any `nn.Module` that takes one picture.
        x: the picture, (C, H, W) or (1, C, H, W).

    Raises:
        ValueError: it is no picture.

    Example:
        >>> found = feature_maps(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), torch.rand(1, 8, 8))
        >>> [(one.kind, tuple(one.maps.shape)) for one in found]
        [('Conv2d', (4, 6, 6)), ('ReLU', (4, 6, 6)), ('Flatten', (1, 1, 144))]
    """
    copied = private_copy(model).eval()
    found: dict[str, FeatureMaps] = {}

    def see(path: str, module: nn.Module, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() in (2, 4) and output.is_floating_point():
            # A copy: what comes next may overwrite it in place.
            value = output[0].detach().float().cpu().clone()
            maps = value if value.dim() == 3 else value[None, None]
            found[path] = FeatureMaps(path, type(module).__name__, maps)

    for path, module in layers_of(copied):
        module.register_forward_hook(lambda module, _, output, path=path: see(path, module, output))
    with torch.no_grad():
        copied(picture(x, copied).clone())
    return tuple(found.values())


def answers(model: nn.Module, images: Tensor) -> Tensor:
    """What the model says of pictures, in eval mode, on a copy: its scores, shape (N, outputs).

    Args:
        model: a network that returns a number for each class, (N, classes), or one or more numbers.
        images: (N, C, H, W).

    Raises:
        ValueError: the output is something else.

    Example:
        >>> answers(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(5, 1, 2, 2)).shape
        torch.Size([5, 3])
    """
    copied = private_copy(model).eval()
    like = next((param for param in copied.parameters() if param.is_floating_point()), images)
    with torch.no_grad():
        return scores(copied(images.detach().clone().to(like.device, like.dtype))).float().cpu()
