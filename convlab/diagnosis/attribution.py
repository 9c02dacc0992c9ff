"""Which pixels of a picture a network's answer rests on: by its gradient, and by covering them.

Both are a few lines of torch. Captum has them too, with the same numbers; it takes a second to import, and its other
methods would need explaining that a lens on a small network does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from convlab.models.borrow import private_copy

_BATCH: Final = 128


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each pixel matters to one output.

    Attributes:
        target: index of that output: a class, or a number.
        score: what the network gives there, for the picture as it is: a logit where it returns logits.
        map: shape (H, W); how large a change of the pixel matters (`saliency`), or how much of the score is lost where
            it is covered (`occlusion`; negative where the score rises).
    """

    target: int
    score: float
    map: Tensor


def saliency(model: nn.Module, x: Tensor, target: int | None = None) -> Attribution:
    """The absolute gradient of one output with respect to each pixel, the largest of its channels.

    It runs on a copy, in eval mode: the model is not touched, also while a run trains it.

    Args:
        model: a network that returns a number for each class, (N, classes), or one or more numbers.
        x: one picture, (C, H, W) or (1, C, H, W).
        target: which output; the largest if left out.

    Raises:
        ValueError, IndexError: an argument cannot be; the message says why.

    Source: Simonyan, Vedaldi & Zisserman, "Deep Inside Convolutional Networks" (2014).

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = nn.init.constant_(model[1].weight, 0.5)
        >>> saliency(model, torch.ones(1, 2, 2)).map.tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    copied = private_copy(model).eval()
    leaf = picture(x, copied).requires_grad_()
    with torch.enable_grad():
        given = scores(copied(leaf.clone()))  # no leaf: the model may write into its input
    chosen = _chosen(given, target)
    value = given[0, chosen]
    gradient = None
    if value.requires_grad:  # else cut off, by a detach() or a rounding
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    seen = torch.zeros_like(leaf) if gradient is None else gradient
    return Attribution(chosen, float(value.detach()), seen[0].abs().amax(0).float().cpu())


def occlusion(
    model: nn.Module, x: Tensor, target: int | None = None, *, size: int | None = None, stride: int | None = None
) -> Attribution:
    """How much of one output is lost where a square of the picture is covered with the picture's mean.

    Each pixel gets the mean over all squares that cover it. It runs on a copy, in eval mode.

    Args:
        model: as for `saliency`.
        x: one picture, (C, H, W) or (1, C, H, W).
        target: which output; the largest for the picture as it is if left out.
        size: side of the square in pixels; a quarter of the picture's shorter side if left out.
        stride: pixels from one square to the next; half the side if left out.

    Raises:
        ValueError, IndexError: an argument cannot be; the message says why.

    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks" (2014).

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
        >>> _ = nn.init.constant_(model[1].weight, 1.0)
        >>> occlusion(model, torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]), size=1, stride=1).map.tolist()
        [[3.0, -1.0], [-1.0, -1.0]]
    """
    copied = private_copy(model).eval()
    whole = picture(x, copied)
    height, width = whole.shape[2:]
    side = _whole("size", size, max(1, min(height, width) // 4), min(height, width))
    step = _whole("stride", stride, max(1, side // 2), side)
    with torch.no_grad():
        given = scores(copied(whole.clone()))
        chosen = _chosen(given, target)
        score = float(given[0, chosen])
        cover = whole.mean((2, 3), keepdim=True)
        corners = [(top, left) for top in _starts(height, side, step) for left in _starts(width, side, step)]
        lost, count = torch.zeros(height, width), torch.zeros(height, width)
        for some in _chunks(corners):
            covered = whole.expand(len(some), -1, -1, -1).clone()
            for one, (top, left) in zip(covered, some, strict=True):
                one[:, top : top + side, left : left + side] = cover[0]
            drops = score - scores(copied(covered))[:, chosen].float().cpu()
            for drop, (top, left) in zip(drops, some, strict=True):
                lost[top : top + side, left : left + side] += drop
                count[top : top + side, left : left + side] += 1
    return Attribution(chosen, score, lost / count)


def picture(x: Tensor, model: nn.Module) -> Tensor:
    """One picture as a batch, (1, C, H, W), where and in the type that the model takes it.

    Raises:
        ValueError: it is no picture.
    """
    if not isinstance(x, Tensor) or x.dim() not in (3, 4) or (x.dim() == 4 and len(x) != 1):
        got = f"size {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be one picture, (C, H, W), got {got}; try x=images[0].")
    like = next((param for param in model.parameters() if param.is_floating_point()), x)
    return (x if x.dim() == 4 else x[None]).detach().to(like.device, like.dtype)


def scores(output: object) -> Tensor:
    """The output as (N, outputs)."""
    if not isinstance(output, Tensor) or output.dim() not in (1, 2):
        got = f"of size {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the model's output must hold a number for each class, (N, classes); it is {got}.")
    return output if output.dim() == 2 else output[:, None]


def _chosen(given: Tensor, target: int | None) -> int:
    count = given.shape[1]
    if target is None:
        return int(given[0].argmax())
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < count:
        raise IndexError(f"target must be an output from 0 to {count - 1}, got {target!r}; try target=0.")
    return target


def _whole(name: str, value: int | None, default: int, most: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}, got {value!r}; try {name}={default}.")
    return value


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where squares begin; the last one ends with the picture."""
    starts = list(range(0, length - side + 1, step))
    return starts if starts[-1] == length - side else [*starts, length - side]


def _chunks(corners: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    for first in range(0, len(corners), _BATCH):
        yield corners[first : first + _BATCH]
