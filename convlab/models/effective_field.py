"""The effective receptive field: how much each input pixel moves a unit, by its gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convlab.models.borrow import private_copy


@dataclass(frozen=True)
class EffectiveField:
    """Gradient of one unit with respect to the input: `weights`, shape (H, W), between 0 and 1, the largest being 1.

    `share` is how many of the pixels have a weight above Luo et al.'s 4.55 % (two standard deviations of a Gaussian).
    """

    path: str
    unit: tuple[int, ...]
    weights: Tensor
    share: float


def effective_field(model: nn.Module, path: str, images: Tensor, unit: Sequence[int] | None = None) -> EffectiveField:
    """Effective receptive field of one unit of the layer at `path`, averaged over `images`.

    The absolute gradient of the unit, summed over its channels, with respect to each input pixel, summed over the
    input's channels and averaged over the images, after Luo, Li, Urtasun & Zemel, "Understanding the Effective
    Receptive Field in Deep Convolutional Neural Networks" (2016). It is a fraction of the theoretical field, roughly
    Gaussian, and depends on weights and images; for a deep network its tail can underflow to zero.

    It runs on a copy, in eval mode: the model is not touched, also while a run trains it.

    Args:
        model: any `nn.Module` that takes one tensor.
        path: the layer's name in ``model.named_modules()``; ``""`` for the model's output.
        images: inputs, (N, C, H, W).
        unit: (row, column) of the layer's output; its centre if left out.

    Raises:
        KeyError: there is no such layer.
        ValueError: the layer was not reached, or its output is no map of units.

    Example:
        >>> field = effective_field(nn.Sequential(nn.Conv2d(1, 1, 3)), "0", torch.rand(1, 1, 9, 9))
        >>> int((field.weights > 0).sum())
        9
    """
    if path not in dict(model.named_modules()):
        raise KeyError(f"the model has no layer {path!r}; it has {', '.join(n for n, _ in model.named_modules() if n)}")
    copied = private_copy(model).eval()
    found: list[Tensor] = []
    copied.get_submodule(path).register_forward_hook(lambda _, __, output: found.append(output))
    device = next((p.device for p in copied.parameters()), images.device)
    x = images.detach().to(device).requires_grad_()
    with torch.enable_grad():
        copied(x)
    if not found or not isinstance(found[-1], Tensor) or found[-1].dim() != 4:
        raise ValueError(
            f"{path or 'the output'} has no map of units: its output must be a tensor (N, C, H, W); try a convolution."
        )
    output = found[-1]
    row, column = _unit(unit, output)
    (gradient,) = torch.autograd.grad(output[:, :, row, column].sum(), x)
    weights = gradient.abs().sum(1).mean(0).float().cpu()
    weights = weights / weights.max().clamp_min(torch.finfo(torch.float32).tiny)
    return EffectiveField(path, (row, column), weights, float((weights > 0.0455).float().mean()))


def _unit(unit: Sequence[int] | None, output: Tensor) -> tuple[int, int]:
    height, width = output.shape[2:]
    if unit is None:
        return height // 2, width // 2
    row, column = unit
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"unit must lie within {height} x {width} units, got {tuple(unit)}; try unit=(0, 0).")
    return row, column
