"""Where a training runs."""

import torch


def choose_device(name: str) -> torch.device:
    """The device that a `TrainSpec` names; ``"auto"`` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        ValueError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.partition(":")[0]
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"device is {name!r}, but torch sees no such device on this machine; try device='cpu'.")
    return torch.device(name)
