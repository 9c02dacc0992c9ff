"""Pictures whose class no network can read unless its receptive field is large enough. Made on the fly, seeded.

Every picture shows two marks of 3x3 pixels on black: an orange ring and a blue block. The class is where the block
lies, seen from the ring, as one of ten directions, and the nearest pixels of the two marks are always exactly
``scale - 1`` apart on the longer axis. Pictures come in families of ten, one of each class, alike in everything else.

**Why a receptive field below** ``scale`` **cannot learn it.** Let every path through a network to its global pooling
see a window of at most ``scale - 1`` pixels a side, and let the distance between neighbouring windows (the network's
effective stride, ``jump``) divide ``jump(scale)``, which is 4 for the scales 5, 7 and 9 and 2 otherwise.

1. No window holds pixels of both marks, since such a window is at least ``scale`` wide or high.
2. No window that reaches over the border holds a mark: ``scale - 2`` pixels next to every border are black, and
   ``jump(scale) - 1`` more at the right and bottom, as much as strided layers can leave unread there.
3. So each window is of one of four kinds: over the border and black, inside and black, with a piece of the ring, with a
   piece of the block. Its features follow from its pixels, and for the first kind also from where the padding lies.
4. In one family each mark's position has the same remainder by ``jump(scale)`` on both axes. The grid of windows thus
   cuts each mark into the same pieces, equally many of them, in all ten pictures. The first kind is the same window
   for window, and the number of windows is fixed, so the inner black ones are equally many too.
5. The ten pictures hand the same collection of features to the global average or maximum. The network gives them the
   same output, and is right on one in ten of them: with whole families in the training and in the validation split,
   its accuracy is exactly 10 % (up to rounding in the sums), whatever its weights, however long it trains.

Layers that use statistics of the whole map (BatchNorm, GroupNorm, squeeze-and-excitation) change nothing, because
these too are functions of that collection. A head that keeps positions (``Flatten``) sees the whole picture, and
escapes. With a window of ``scale`` pixels step 1 fails, and the collection differs between any two of the ten classes.
With ``noise`` above 0 the collections differ from picture to picture. Each single window then still has the same
distribution in all ten classes, so averages of features have the same expectation; more than that is not proven.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from convlab.data.data import Data
from convlab.data.sources import TensorSource
from convlab.data.split import check_fraction, memory_data

SIZE = 32
SCALES = range(2, 11)
NUM_CLASSES = 10
_MARK = 3
# Orange and blue, which the colour-blind tell apart; (3, 3, 3) each.
_RING = torch.tensor([1.0, 0.6, 0.0])[:, None, None] * torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
_BLOCK = torch.tensor([0.2, 0.5, 1.0])[:, None, None] * torch.ones(3, 3)
_WINDS = (
    "east", "east-southeast", "southeast", "south-southeast", "south", "south-southwest", "southwest", "west-southwest",
    "west", "west-northwest", "northwest", "north-northwest", "north", "north-northeast", "northeast", "east-northeast",
)  # fmt: skip


def shapes(
    scale: int = 7,
    *,
    num_samples: int = 2000,
    seed: int = 0,
    noise: float = 0.0,
    valid_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """Pictures 3x32x32 in ten classes that a network with a receptive field below ``scale`` cannot tell apart.

    Args:
        scale: the smallest window, in pixels a side, that shows what the class depends on: 2 to 10.
        num_samples: a multiple of ten, at least twenty; a fifth of them validates unless told otherwise.
        seed: seeds the pictures.
        noise: standard deviation of normal noise on every pixel, whose own range is 0 to 1. The proof needs 0.
        valid_fraction: the share of families that validates, rounded to whole families; 0 is none.
        split_seed: seeds the choice of the families that validate; ``seed`` when left out.

    Raises:
        ValueError: a value out of its range.

    >>> shapes(scale=7)
    shapes:7: 3x32x32, 10 classes. 1,600 samples train and 400 validate, in whole families of ten, seed 0.
    """
    _check(scale, num_samples, noise)
    check_fraction(valid_fraction)
    split_seed = seed if split_seed is None else split_seed
    X, y = pictures(scale, num_samples, seed, noise)
    num_families = num_samples // NUM_CLASSES
    num_valid = min(num_families - 1, max(1, round(valid_fraction * num_families))) if valid_fraction else 0
    families = torch.randperm(num_families, generator=torch.Generator().manual_seed(split_seed))
    valid_families, train_families = families[:num_valid].sort().values, families[num_valid:].sort().values
    train, valid = (
        (NUM_CLASSES * some[:, None] + torch.arange(NUM_CLASSES)).flatten() for some in (train_families, valid_families)
    )
    how = f"in whole families of ten, seed {split_seed}"
    return memory_data(
        f"shapes:{scale}",
        TensorSource(X[train], y[train]),
        TensorSource(X[valid], y[valid]) if num_valid else None,
        class_names(scale),
        how if num_valid else "because valid_fraction is 0",
    )


def _check(scale: int, num_samples: int, noise: float) -> None:
    if not isinstance(scale, int) or scale not in SCALES:
        raise ValueError(f"scale={scale!r} must be a whole number from {SCALES[0]} to {SCALES[-1]}, for example 7.")
    if not isinstance(num_samples, int) or num_samples not in range(2 * NUM_CLASSES, 10**7, NUM_CLASSES):
        raise ValueError(f"num_samples={num_samples!r} must be a multiple of ten, at least 20, for example 2000.")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise={noise!r} must be a standard deviation of at least 0, for example 0.1.")


def jump(scale: int) -> int:
    """The effective stride for which the proof holds, with all its divisors: 4 or 2.

    >>> jump(7)
    4
    """
    reach = scale + _MARK - 2
    # The ten directions must agree by this divisor: reach and -reach do if it divides their difference.
    return max(j for j in (2, 4) if 2 * reach % j == 0 and 8 * reach // j >= NUM_CLASSES)


@cache
def offsets(scale: int) -> tuple[tuple[int, int], ...]:
    """Ten steps (right, down) from ring to block, equal by ``jump(scale)``, clockwise from the east.

    They lie on the square of radius ``scale + 1``, which leaves ``scale - 1`` between the marks' nearest pixels.
    """
    reach, step = scale + _MARK - 2, jump(scale)
    side = range(-reach, reach + 1, step)
    square = {(x, y) for x in side for y in side if max(abs(x), abs(y)) == reach}
    clockwise = sorted(square, key=lambda xy: math.atan2(xy[1], xy[0]) % math.tau)
    return tuple(clockwise[i * len(clockwise) // NUM_CLASSES] for i in range(NUM_CLASSES))


def class_names(scale: int) -> tuple[str, ...]:
    """The ten directions in words, to the nearest wind of the compass rose; up is north."""
    turns = (math.atan2(y, x) / math.tau for x, y in offsets(scale))
    return tuple(_WINDS[round(16 * turn) % 16] for turn in turns)


def pictures(scale: int, num_samples: int, seed: int, noise: float) -> tuple[Tensor, Tensor]:
    """Pictures ``(num_samples, 3, 32, 32)`` and labels; each ten that follow each other are one family."""
    rng = np.random.default_rng((seed, scale))
    places = _places(scale)
    X = torch.zeros(num_samples, 3, SIZE, SIZE)
    for family in X.split(NUM_CLASSES):
        by_class = places[rng.integers(len(places))]
        ring_light, block_light = rng.uniform(0.6, 1.0, 2)
        for picture, (dx, dy), fits in zip(family, offsets(scale), by_class, strict=True):
            x, y = fits[rng.integers(len(fits))]
            _stamp(picture, x, y, ring_light * _RING)
            _stamp(picture, x + dx, y + dy, block_light * _BLOCK)
    if noise:
        X += noise * torch.from_numpy(rng.standard_normal(X.shape, dtype=np.float32))
    return X, torch.arange(num_samples) % NUM_CLASSES


def _stamp(picture: Tensor, x: int, y: int, mark: Tensor) -> None:
    picture[:, y : y + _MARK, x : x + _MARK] = mark


@cache
def _places(scale: int) -> list[list[list[tuple[int, int]]]]:
    """Where the ring's top left pixel may lie: for each remainder that every class can have, for each class."""
    near, far = scale - 2, SIZE - (scale - 2) - (jump(scale) - 1) - _MARK
    inside = range(near, far + 1)
    j = jump(scale)
    by_remainder = [
        [
            [(x, y) for x in inside[a::j] for y in inside[b::j] if x + dx in inside and y + dy in inside]
            for dx, dy in offsets(scale)
        ]
        for a in range(j)
        for b in range(j)
    ]
    return [by_class for by_class in by_remainder if all(by_class)]
