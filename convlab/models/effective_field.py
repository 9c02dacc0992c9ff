"""The effective receptive field: how much each input pixel moves a unit, by its gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from convlab.models.borrow import private_copy

THRESHOLD: Final = 0.0455
"""Luo et al.'s: what is left of a Gaussian beyond two standard deviations, as a part of its maximum."""


@dataclass(frozen=True)
class EffectiveField:
    """Gradient of one unit with respect to the input: `weights`, shape (H, W), from 0 to 1, the largest being 1.

    `share` is how many of the pixels have a weight above `THRESHOLD`; 0 if no gradient reaches the input (then all
    weights are 0). `feature_map` is the output for the first image, averaged over its channels, (rows, columns).
    """

    path: str
    unit: tuple[int, int]
    weights: Tensor
    share: float
    feature_map: Tensor


def effective_field(
    model: nn.Module,
    path: str,
    images: Tensor,
    unit: Sequence[int] | None = None,
    *,
    dims: tuple[int, int] = (2, 3),
) -> EffectiveField:
    """Effective receptive field of one unit of the layer at `path`, averaged over `images`.

    The absolute gradient of the unit, summed over its channels, with respect to each input pixel, summed over the
    input's channels and averaged over the images, after Luo, Li, Urtasun & Zemel, "Understanding the Effective
    Receptive Field in Deep Convolutional Neural Networks" (2016). It is a fraction of the theoretical field, roughly
    Gaussian, and depends on weights and images; for a deep network its tail can underflow to zero.

    It runs on a copy, in eval mode: the model is not touched, also while a run trains it. Of a layer that is called
    several times it looks at the last call.

    Args:
        model: any `nn.Module` that takes one tensor.
        path: the layer's name in ``model.named_modules()``; ``""`` for the model's output.
        images: inputs, (N, C, H, W).
        unit: (row, column) of the layer's output; its centre if left out.
        dims: dimensions of the layer's output along which rows and columns lie.

    Raises:
        KeyError: there is no such layer.
        IndexError: the layer has no such unit.
        ValueError: the layer was not reached, its output is no map of units, or the gradient is not finite.

    Example:
        >>> field = effective_field(nn.Sequential(nn.Conv2d(1, 1, 3)), "0", torch.rand(1, 1, 9, 9))
        >>> int((field.weights > 0).sum())
        9
    """
    if path not in dict(model.named_modules(remove_duplicate=False)):
        raise KeyError(f"the model has no layer {path!r}; it has {', '.join(n for n, _ in model.named_modules() if n)}")
    if images.dim() != 4:
        raise ValueError(
            f"images must have size (N, C, H, W), got {tuple(images.shape)}; try torch.rand(1, 1, 28, 28)."
        )
    looked: list[_Look] = []
    copied = private_copy(model).eval()
    copied.get_submodule(path).register_forward_hook(
        lambda _, __, output: looked.append(_look(path, output, unit, dims))
    )
    like = next((p for p in copied.parameters() if p.is_floating_point()), images)
    leaf = images.detach().to(like.device, like.dtype).requires_grad_()
    with torch.enable_grad():
        copied(leaf.clone())  # no leaf: the model may write into its input
    if not looked:
        raise ValueError(f"{path} is not called in the model's forward, so nothing reaches it; try another layer.")
    last = looked[-1]
    gradient = _gradient(last.value, leaf)
    weights = gradient.abs().sum(1).mean(0).float().cpu()
    if not bool(weights.isfinite().all()):
        raise ValueError(f"the gradient of {_named(path)} is not finite: weights or picture hold NaN or infinity.")
    weights = weights / weights.max().clamp_min(torch.finfo(torch.float32).tiny)
    share = float((weights > THRESHOLD).float().mean())
    return EffectiveField(path, last.unit, weights, share, last.feature_map)


@dataclass(frozen=True)
class _Look:
    unit: tuple[int, int]
    value: Tensor
    feature_map: Tensor


def _look(path: str, output: Any, unit: Sequence[int] | None, dims: tuple[int, int]) -> _Look:
    """In the layer's hook: what comes next may overwrite the output in place."""
    if not isinstance(output, Tensor) or output.dim() != 4:
        got = f"of size {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{_named(path)} is no map of units, (N, C, H, W), but {got}; try a convolution.")
    units = output.movedim(dims, (2, 3))
    row, column = _unit(unit, units.shape[2], units.shape[3])
    return _Look((row, column), units[:, :, row, column].sum(), units[0].detach().float().mean(0).cpu())


def _unit(unit: Sequence[int] | None, height: int, width: int) -> tuple[int, int]:
    if unit is None:
        return height // 2, width // 2
    at = tuple(unit)
    if len(at) != 2 or not (0 <= at[0] < height and 0 <= at[1] < width):
        raise IndexError(f"unit must be a row and a column of {height} x {width} units, got {at}; try unit=(0, 0).")
    return at[0], at[1]


def _gradient(value: Tensor, leaf: Tensor) -> Tensor:
    if not value.requires_grad:  # cut off by a detach() or a rounding
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def _named(path: str) -> str:
    return path or "the model's output"
