"""What besides recipe, data and weights may decide the last bit of a run."""

import platform
from typing import Final

import numpy as np
import torch

from convlab._version import __version__

NAMES: Final = ("convlab", "torch", "numpy", "python", "system", "device", "cpu", "threads")


def machine(device: torch.device, threads: int) -> dict[str, str]:
    """Versions, system, device, the processor's kind and the number of threads.

    Example:
        >>> machine(torch.device("cpu"), 2)["threads"]
        '2'
    """
    told = (
        __version__,
        torch.__version__,
        np.__version__,
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
        str(device),
        torch.backends.cpu.get_cpu_capability(),
        str(threads),
    )
    return dict(zip(NAMES, told, strict=True))
