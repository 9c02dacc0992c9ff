"""The 1,797 handwritten digits that come with scikit-learn: real pictures without a network."""

import functools

import numpy as np
import torch

from convlab.data.data import Data
from convlab.data.split import split_arrays


def digits(*, valid_fraction: float = 0.2, seed: int = 0) -> Data:
    """Scikit-learn's 1,797 handwritten digits, 1x8x8 in 0..1, ten classes.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (its test set), as shipped by scikit-learn.

    Args:
        valid_fraction: the share that validates; 0 is none.
        seed: seeds the split, which is stratified by class.

    >>> digits()
    digits: 1x8x8, 10 classes. 1,437 samples train and 360 validate, stratified by class, seed 0.
    """
    X, y = _read()
    pictures = torch.from_numpy(X).float().div(16).reshape(-1, 1, 8, 8)
    names = tuple(map(str, range(10)))
    return split_arrays("digits", pictures, torch.tensor(y, dtype=torch.long), names, valid_fraction, seed)


@functools.cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    """Both arrays, to be copied: scikit-learn parses a text file each time."""
    from sklearn.datasets import load_digits  # takes a second or more to import

    X, y = load_digits(return_X_y=True)
    return X, y
