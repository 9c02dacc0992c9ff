"""Arrays as people hold them -> what a network takes: float32 pictures (N, C, H, W), and labels or numbers.

What can be read in one way only is converted, and said in a note; what can be read in two is refused with the line
that settles it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

# What the number of channels of a picture usually is.
_CHANNELS = (1, 3, 4)
# The line that settles a doubt: for an array, and for a tensor.
_FIXES = {
    "nchw": ("{0}.transpose(0, 3, 1, 2)", "{0}.permute(0, 3, 1, 2)"),
    "reshape": ("{0}.reshape({1})", "{0}.reshape({1})"),
    "scale": ('{0}.astype("float32") / {1}', "{0}.float() / {1}"),
    "finite": (
        "keep = np.isfinite({0}).reshape(len({0}), -1).all(axis=1)",
        "keep = {0}.isfinite().flatten(1).all(dim=1)",
    ),
    "tensor": ("torch.from_numpy({0})", "{0}"),
    "label": ('{0}.astype("int64")', "{0}.long()"),
    "number": ('{0}.astype("float32")[:, None]', "{0}.float()[:, None]"),
    "argmax": ("{0}.argmax(axis=1)", "{0}.argmax(dim=1)"),
    "rank": ("np.unique({0}, return_inverse=True)[1]", "torch.unique({0}, return_inverse=True)[1]"),
}


@dataclass(frozen=True)
class Targets:
    """Targets of one or two splits.

    Attributes:
        parts: one tensor for each split: labels, int64 ``(N,)``, or numbers, float32 ``(N, ...)``.
        classes: the classes' names; empty for regression.
        notes: what was converted.
    """

    parts: list[Tensor]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def is_array(value: object) -> bool:
    """Whether a value is a tensor, an array, a list or a pandas object."""
    return isinstance(value, Tensor | np.ndarray | list) or hasattr(value, "__array__")


def as_pictures(X: object, name: str = "X") -> tuple[Tensor, tuple[str, ...]]:
    """Pictures as float32 ``(N, C, H, W)``, and a note on each conversion.

    Recognised: uint8 pixels (divided by 255, as torchvision does), bool, any float type, grey pictures ``(N, H, W)``,
    and ``(N, H, W, C)`` where the sizes leave no doubt. The result shares the memory of X where nothing had to be
    converted.

    Raises:
        ValueError: X cannot be read, or can be read in two ways; the message holds the line that settles it.
    """
    x = _as_tensor(X, name)
    if 0 in x.shape or x.dim() == 0:
        raise ValueError(f"data: {name} has shape {tuple(x.shape)}, which holds no pictures; pass at least a few.")
    notes: list[str] = []
    x = _as_nchw(x, X, name, notes)
    x = _as_float(x, X, name, notes)
    finite = x.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        raise ValueError(
            f"data: {name} holds NaN or infinity in {int((~finite).sum())} of {len(finite)} samples, first in sample "
            f"{int((~finite).nonzero()[0])}; drop them with {_fix('finite', X, name)} and pass (X[keep], y[keep])."
        )
    low, high = x.min().item(), x.max().item()
    if max(-low, high) >= 100:
        notes.append(f"{name} ranges from {low:g} to {high:g} and is used as it is; numbers near 1 train better.")
    return x, tuple(notes)


def as_targets(ys: list[Any], names: list[str]) -> Targets:
    """Labels or numbers of one or two splits, checked together.

    Whole numbers 0, 1, 2, ... are labels; text and bool are classes in sorted order; fractions are regression, one
    column if they have no shape of their own.

    Raises:
        ValueError: they can be read in two ways, or labels are not 0, 1, 2, ...; the message holds the fix.
    """
    name = " and ".join(names)
    parts = [_as_numpy(y, part) for y, part in zip(ys, names, strict=True)]
    if any(y.ndim == 0 for y in parts) or len({y.shape[1:] for y in parts}) > 1:
        raise ValueError(
            f"data: {name} has shape {' and '.join(str(y.shape) for y in parts)}; "
            "pass one target for each sample, for example shape (100,)."
        )
    y = np.concatenate(parts)
    if y.size == 0:
        raise ValueError(f"data: {name} has shape {y.shape}, which holds no targets; pass one for each sample.")
    notes: tuple[str, ...] = ()
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f":
        y, notes = y[:, 0], (f"{name}, one column, was flattened.",)
    _refuse_one_hot(y, ys[0], name)
    if y.dtype.kind == "f":
        values, classes = _as_numbers(y, ys[0], name)
    else:
        values, classes = _as_labels(y, ys[0], name)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return Targets([torch.from_numpy(part.copy()) for part in np.split(values, ends)], classes, notes)


def check_lengths(x: Tensor, y: Tensor, name: str, y_name: str) -> None:
    """Raise ValueError unless there are as many targets as samples."""
    if len(x) != len(y):
        shorter = min(len(x), len(y))
        raise ValueError(
            f"data: {name} has {len(x)} samples and {y_name} has {len(y)}; pass as many of one as of the other, "
            f"for example {name}[:{shorter}] and {y_name}[:{shorter}]."
        )


def _fix(kind: str, value: object, name: str, *more: object) -> str:
    if isinstance(value, list):
        name = f"np.asarray({name})"
    elif hasattr(value, "to_numpy"):
        name = f"{name}.to_numpy()"
    return _FIXES[kind][isinstance(value, Tensor)].format(name, *more)


def _as_numpy(value: object, name: str) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return np.asarray(value.float() if value.dtype == torch.bfloat16 else value)
    try:
        return np.asarray(value)
    except ValueError:
        raise _uneven(name) from None


def _uneven(name: str) -> ValueError:
    return ValueError(f"data: {name} is a list whose items differ in size; give them one size and pass them stacked.")


def _as_tensor(X: object, name: str) -> Tensor:
    """Any real numbers as a tensor of their own type, where torch has it, else as float32."""
    if isinstance(X, list) and X and all(isinstance(item, Tensor) for item in X):
        try:
            X = torch.stack(X)
        except RuntimeError:
            raise _uneven(name) from None
    if isinstance(X, Tensor):
        if X.is_complex():
            raise ValueError(f"data: {name} holds complex numbers; pass real ones, for example {name}.abs().")
        return X.detach()
    x = _as_numpy(X, name)
    if x.dtype.kind not in "fiub":
        raise ValueError(
            f"data: {name} holds {_kind(x)}, and pictures are numbers of one size; "
            f'pass for example np.stack(list({name})).astype("float32").'
        )
    if x.dtype.kind == "f":
        x = x.astype(np.float32, copy=False)
    elif x.dtype.kind in "iu" and x.dtype.itemsize > 1:
        x = x.astype(np.int64)
    # torch takes neither read-only memory nor negative strides.
    return torch.from_numpy(x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy())


def _kind(array: Array) -> str:
    kinds = {"O": "Python objects", "U": "text", "S": "bytes", "c": "complex numbers", "M": "dates"}
    return kinds.get(array.dtype.kind, f"values of type {array.dtype}")


def _as_float(x: Tensor, X: object, name: str, notes: list[str]) -> Tensor:
    if x.dtype == torch.uint8:
        notes.append(f"{name} holds uint8 pixels, which were divided by 255.")
        return x.float().div(255)
    if x.is_floating_point():
        return x.float()
    if x.dtype == torch.bool:
        notes.append(f"{name} holds bool, which became 0 and 1.")
        return x.float()
    highest = max(1, int(x.abs().max()))
    usual = next((limit for limit in (1, 16, 255, 65535) if highest <= limit), highest)
    raise ValueError(
        f"data: {name} holds whole numbers ({str(x.dtype).removeprefix('torch.')}) from {int(x.min())} to "
        f"{int(x.max())}, and only uint8 tells by its type how far pixels go; pass {_fix('scale', X, name, usual)}."
    )


def _as_nchw(x: Tensor, X: object, name: str, notes: list[str]) -> Tensor:
    shape = tuple(x.shape)
    if x.dim() == 3:
        notes.append(f"{name} holds grey pictures {shape}, which got one channel.")
        return x[:, None]
    if x.dim() != 4:
        raise ValueError(
            f"data: {name} has shape {shape}, and pictures have (N, C, H, W), (N, H, W) or (N, H, W, C); "
            f"pass {_fix('reshape', X, name, _picture_shape(shape))}."
        )
    layout = _layout(*shape[1:])
    if layout is None:
        raise ValueError(
            f"data: {name} has shape {shape}, which may be (N, C, H, W) or (N, H, W, C); pass {_fix('nchw', X, name)} "
            f"if its channels are last, or torch.utils.data.TensorDataset({_fix('tensor', X, name)}, y), "
            "which is taken as it is, if they are first."
        )
    if layout == "NHWC":
        notes.append(f"{name} has its channels last, {shape}, and was turned to (N, C, H, W).")
        return x.permute(0, 3, 1, 2)
    return x


def _picture_shape(shape: tuple[int, ...]) -> str:
    """A shape, as text, that samples of this many numbers could have as pictures."""
    numbers = int(np.prod(shape[1:]))
    for channels in (1, 3, 4):
        side = round((numbers / channels) ** 0.5)
        if channels * side * side == numbers:
            return f"-1, {channels}, {side}, {side}"
    return f"-1, 1, 1, {numbers}"


def _layout(first: int, second: int, third: int) -> str | None:
    """NCHW or NHWC, from the sizes after N; None where both are likely."""
    first_fits, last_fits = first in _CHANNELS, third in _CHANNELS
    nchw_square, nhwc_square = second == third, first == second
    if first_fits and not last_fits:
        return None if nhwc_square and not nchw_square else "NCHW"
    if last_fits and not first_fits:
        return None if nchw_square and not nhwc_square else "NHWC"
    if nchw_square != nhwc_square and (nchw_square or first_fits):
        return "NCHW" if nchw_square else "NHWC"
    return None if first_fits or nhwc_square else "NCHW"


def _refuse_one_hot(y: Array, value: object, name: str) -> None:
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "fiub":
        ones = (y == 1).sum(axis=1) == 1
        if (ones & ((y == 0).sum(axis=1) == y.shape[1] - 1)).all():
            raise ValueError(
                f"data: {name} has shape {y.shape} with a single 1 in each row, which is one-hot; "
                f"pass the labels, {_fix('argmax', value, name)}."
            )


def _as_numbers(y: Array, value: object, name: str) -> tuple[Array, tuple[str, ...]]:
    if not np.isfinite(y).all():
        bad = int((~np.isfinite(y)).sum())
        raise ValueError(f"data: {name} holds {bad} NaN or infinite values; drop those samples from X and y.")
    if y.ndim == 1 and (y == np.round(y)).all():
        raise ValueError(
            f"data: {name} holds whole numbers as {y.dtype}, which may be classes or quantities; "
            f"pass {_fix('label', value, name)} for classes, or {_fix('number', value, name)} for regression."
        )
    # One number a sample is a column: against outputs (N, 1), (N,) would broadcast to (N, N) in a loss.
    return (y[:, None] if y.ndim == 1 else y).astype(np.float32), ()


def _as_labels(y: Array, value: object, name: str) -> tuple[Array, tuple[str, ...]]:
    if y.ndim != 1:
        raise ValueError(
            f"data: {name} has shape {y.shape} and type {y.dtype}, and convlab takes one label for each picture; "
            "pass shape (N,), or floats for regression."
        )
    if y.dtype.kind in "USb" or (y.dtype.kind == "O" and all(isinstance(label, str) for label in y)):
        names, labels = np.unique(y.astype(str), return_inverse=True)
        _refuse_one_class(names, name)
        return labels.astype(np.int64), tuple(map(str, names))
    if y.dtype.kind not in "iu":
        raise ValueError(f"data: {name} holds {_kind(y)}; pass whole numbers or text, {_fix('label', value, name)}.")
    seen = np.unique(y)
    low, high = int(seen[0]), int(seen[-1])
    _refuse_one_class(seen, name)
    if low < 0:
        raise ValueError(
            f"data: {name} holds the label {low}, {int((y < 0).sum())} of {len(y)} labels are negative, and labels are "
            f"0, 1, 2, ...; drop these samples with keep = {name} >= 0 and pass (X[keep], y[keep])."
        )
    if low > 0 and len(seen) == high - low + 1:
        raise ValueError(f"data: {name} has labels from {low} to {high}, and labels start at 0; pass {name} - {low}.")
    if len(seen) != high + 1:
        gap = int(np.setdiff1d(np.arange(len(seen) + 1), seen)[0])
        raise ValueError(
            f"data: {name} has {len(seen)} different labels up to {high}, with no {gap}; pass "
            f"{_fix('rank', value, name)} to number them from 0, or {_fix('number', value, name)} for quantities."
        )
    return y.astype(np.int64), tuple(map(str, range(high + 1)))


def _refuse_one_class(seen: Array, name: str) -> None:
    if len(seen) < 2:
        raise ValueError(f"data: {name} holds one class only, {seen[0].item()!r}; pass samples of at least two.")
