"""torch's default generator, which all threads share: one of convlab's has it at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

drawing: Final = threading.RLock()
"""Held while the default generator is another's, and while it is put back."""


@contextmanager
def own_stream(seed: int | None = None) -> Iterator[None]:
    """Inside, torch's default generator on the CPU is the caller's; after, it stands where it stood.

    Other threads of convlab wait: a panel may make a network while another one makes its own.

    Args:
        seed: begin there.

    Example:
        >>> with own_stream(1):
        ...     first = torch.rand(1)
        >>> with own_stream(1):
        ...     first == torch.rand(1)
        tensor([True])
    """
    with drawing, torch.random.fork_rng(devices=()):
        if seed is not None:
            # Not torch.manual_seed, which would reach the accelerators' generators too.
            torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def stream_given_back(devices: Iterable[int] = ()) -> Iterator[None]:
    """Put the default generators back at the end, whoever drew; unlike `own_stream` this keeps nobody waiting."""
    fork = torch.random.fork_rng(devices)
    fork.__enter__()
    try:
        yield
    finally:
        with drawing:
            fork.__exit__(None, None, None)
