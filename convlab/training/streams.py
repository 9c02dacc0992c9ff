"""Where all the random numbers of a training stand, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convlab.training.host_random import HostRandom
from convlab.training.lending import Generator, put_generator_back, state_of_generator
from convlab.training.randomness import PrivateRandom


@dataclass(frozen=True, eq=False)
class Streams:
    """The run's own numbers, torch's by device, Python's and numpy's, and the generators of the user's own."""

    torch: Mapping[torch.device, Tensor]
    python: Any
    numpy: Any
    own: tuple[tuple[Generator, Any], ...]

    @classmethod
    def of(cls, random: PrivateRandom, host: HostRandom, own: Sequence[Generator]) -> Streams:
        """As they stand now."""
        states = tuple((generator, state_of_generator(generator)) for generator in own)
        return cls(random.states(), *host.state(), states)

    def put_back(self, random: PrivateRandom, host: HostRandom) -> None:
        """Let them go on from there."""
        random.put_back(self.torch)
        host.put_back(self.python, self.numpy)
        for generator, state in self.own:
            put_generator_back(generator, state)
