"""The buffers of a model before a step, to undo a step that failed."""

import torch
from torch import Tensor, nn


class Buffers:
    """Remembers a model's buffers, such as BatchNorm's running mean; `undo` puts them back.

    They are found by module and name each time: a forward may change a buffer or put another tensor in its place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._slots = [(m._buffers, name) for m in model.modules() for name, value in m._buffers.items()]
        self._values: list[Tensor | None] = []
        self._tensors: list[Tensor] = []
        self._copies: list[Tensor] = []

    def keep(self) -> None:
        """Copy the buffers as they are now."""
        if not self._slots:
            return
        self._values = [slot[name] for slot, name in self._slots]
        self._tensors = [tensor for tensor in self._values if tensor is not None]
        if not self._tensors:
            return
        if [copy.shape for copy in self._copies] == [tensor.shape for tensor in self._tensors]:
            torch._foreach_copy_(self._copies, self._tensors)
        else:
            self._copies = [tensor.detach().clone() for tensor in self._tensors]

    @torch.no_grad()
    def undo(self) -> None:
        """Put the buffers back as they were at the last `keep`."""
        for (slot, name), value in zip(self._slots, self._values, strict=True):
            slot[name] = value
        for tensor, copy in zip(self._tensors, self._copies, strict=True):
            tensor.detach().copy_(copy)
