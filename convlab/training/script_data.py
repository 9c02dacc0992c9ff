"""The part of a script that has the data: the built-in sets in plain code, a user's own as a line to fill in."""

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

from convlab.data.data import Data
from convlab.data.digits import digits
from convlab.data.shapes import NUM_CLASSES, SCALES, jump, offsets, shapes
from convlab.data.sources import LoaderSource, TensorSource
from convlab.training.script_text import statement

Kind = Literal["tensors", "dataset", "loader"]


@dataclass(frozen=True)
class DataCode:
    """Lines that leave ``x_train, y_train`` (and ``x_valid, y_valid``), ``train_set`` or ``train_loader``."""

    lines: tuple[str, ...]
    imports: tuple[str, ...]
    kind: Kind


def data_code(data: Data) -> DataCode:
    """The data of a bench in plain code; what only the user has is a line with ``...`` for them to fill in."""
    if not isinstance(data.train, TensorSource):
        return _placeholder_source(data)
    num_valid = data.valid.num_samples if data.valid is not None else 0
    total = data.train.num_samples + num_valid
    seed = int(found[1]) if (found := re.search(r"seed (\d+)\.", data.split)) else 0
    share = _share(num_valid, total)
    if data.name == "digits" and data.fingerprint == digits(valid_fraction=share, seed=seed).fingerprint:
        return _digits(share, seed)
    scale = data.name.removeprefix("shapes:")
    if data.name != scale and scale in map(str, SCALES):
        for drawn in {0, seed}:
            again = shapes(int(scale), num_samples=total, seed=drawn, valid_fraction=share, split_seed=seed)
            if data.fingerprint == again.fingerprint:
                return _shapes(int(scale), total, drawn, num_valid // NUM_CLASSES, seed)
    return _placeholder(data, total, share, seed)


def _share(num_valid: int, total: int) -> float:
    """The share of samples that validate, as short as it can be said."""
    return next(
        (
            share
            for places in range(1, 9)
            if math.ceil((share := round(num_valid / total, places)) * total) == num_valid
        ),
        num_valid / total,
    )


def _digits(share: float, seed: int) -> DataCode:
    lines = [
        "# 1,797 handwritten digits that come with scikit-learn, 8x8 pixels from 0 to 16.",
        "X, y = load_digits(return_X_y=True)",
        'X = (X / 16).astype("float32").reshape(-1, 1, 8, 8)',
    ]
    imports = ["import torch", "from sklearn.datasets import load_digits"]
    if share == 0:
        return DataCode(
            (*lines, "x_train, y_train = torch.from_numpy(X), torch.from_numpy(y)"), tuple(imports), "tensors"
        )
    call = f"train_test_split(X, y, test_size={share!r}, stratify=y, random_state={seed})"
    lines += [statement("parts = ", call), "x_train, x_valid, y_train, y_valid = map(torch.from_numpy, parts)"]
    imports.append("from sklearn.model_selection import train_test_split")
    return DataCode(tuple(lines), tuple(imports), "tensors")


_PICTURES: Final = '''\
def make_pictures():
    """Each picture: an orange ring and a blue block; the class is where the block lies."""
    ring = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    ring = torch.tensor([1.0, 0.6, 0.0])[:, None, None] * ring
    block = torch.tensor([0.2, 0.5, 1.0])[:, None, None] * torch.ones(3, 3)
    # From ring to block, right and down, one step for each class.
{steps}
    inside = range({near}, {far})
    # Where the ring may lie, for each class, by its remainder on both axes.
    places = [
        [
            [
                (x, y)
                for x in inside[a::{jump}]
                for y in inside[b::{jump}]
                if x + dx in inside and y + dy in inside
            ]
            for dx, dy in steps
        ]
        for a in range({jump})
        for b in range({jump})
    ]
    places = [by_class for by_class in places if all(by_class)]
    rng = np.random.default_rng(({seed}, {scale}))
    pictures = torch.zeros({total}, 3, 32, 32)
    for family in pictures.split(10):
        by_class = places[rng.integers(len(places))]
        ring_light, block_light = rng.uniform(0.6, 1.0, 2)
        for picture, (dx, dy), fits in zip(family, steps, by_class, strict=True):
            x, y = fits[rng.integers(len(fits))]
            picture[:, y : y + 3, x : x + 3] = ring_light * ring
            x, y = x + dx, y + dy
            picture[:, y : y + 3, x : x + 3] = block_light * block
    return pictures, torch.arange(len(pictures)) % 10


X, y = make_pictures()'''


def _shapes(scale: int, total: int, seed: int, valid_families: int, split_seed: int) -> DataCode:
    near = scale - 2
    code = _PICTURES.format(
        steps=statement("steps = ", repr(list(offsets(scale))), 4),
        near=near,
        far=32 - near - (jump(scale) - 1) - 3 + 1,
        jump=jump(scale),
        seed=seed,
        scale=scale,
        total=total,
    )
    lines = code.split("\n")
    if valid_families:
        lines += [
            "# Whole families of ten validate.",
            statement(
                "families = ",
                f"torch.randperm({total // NUM_CLASSES}, generator=torch.Generator().manual_seed({split_seed}))",
            ),
            f"chosen = torch.zeros({total // NUM_CLASSES}, dtype=torch.bool)",
            f"chosen[families[:{valid_families}]] = True",
            "valid = chosen.repeat_interleave(10)",
            "x_train, y_train, x_valid, y_valid = X[~valid], y[~valid], X[valid], y[valid]",
        ]
    else:
        lines += ["x_train, y_train = X, y"]
    return DataCode(tuple(lines), ("import numpy as np", "import torch"), "tensors")


def _placeholder(data: Data, total: int, share: float, seed: int) -> DataCode:
    train = data.train
    assert isinstance(train, TensorSource)
    targets = str(train.y.dtype).removeprefix("torch."), tuple(train.y.shape[1:])
    if " drawn at random, seed" not in data.split and " stratified by class, seed" not in data.split:
        lines = ["# Put your data here, as tensors:"]
        for name, source in (("train", train), ("valid", data.valid)):
            if isinstance(source, TensorSource):
                lines += [f"# {_shape(source.num_samples, data.input_size, targets)}", f"x_{name}, y_{name} = ..."]
        return DataCode(tuple(lines), (), "tensors")
    stratified = "stratify=y, " if "stratified" in data.split else ""
    call = f"train_test_split(range(len(X)), test_size={share!r}, {stratified}random_state={seed})"
    lines = [
        "# Put your data here, as tensors:",
        f"# {_shape(total, data.input_size, targets)}",
        "X, y = ...",
        statement("train, valid = ", call),
        "x_train, y_train, x_valid, y_valid = X[train], y[train], X[valid], y[valid]",
    ]
    return DataCode(tuple(lines), ("from sklearn.model_selection import train_test_split",), "tensors")


def _shape(count: int, input_size: tuple[int, ...], targets: tuple[str, tuple[int, ...]]) -> str:
    return f"float32 {(count, *input_size)} and {targets[0]} {(count, *targets[1])}"


def _placeholder_source(data: Data) -> DataCode:
    what = "loader" if isinstance(data.train, LoaderSource) else "set"
    lines = [f"# Put your {'data loaders' if what == 'loader' else 'data sets'} here. {data.split}"]
    lines += [f"{part}_{what} = ..." for part in ("train", "valid")[: 2 if data.valid is not None else 1]]
    return DataCode(tuple(lines), (), "loader" if what == "loader" else "dataset")
