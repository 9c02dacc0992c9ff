"""Loss and accuracy of one pass over a data set, from its batches."""

import torch
from torch import Tensor


class Scores:
    """Accumulates batches; hits are counted on the tape of predictions once, at the end, not step by step."""

    def __init__(self, num_classes: int | None) -> None:
        self.num_classes = num_classes
        self._loss = 0.0
        self._seen = 0
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._held = 0
        self._hits = 0
        self._judged = 0

    def sums(self) -> tuple[float, int, int, int]:
        """Everything up to here: summed losses, samples, hits, predictions judged."""
        self._judge()
        return self._loss, self._seen, self._hits, self._judged

    def put(self, sums: tuple[float, int, int, int]) -> None:
        """Go on from there."""
        self._outputs, self._targets, self._held = [], [], 0
        self._loss, self._seen, self._hits, self._judged = sums

    LIMIT = 2**20
    """Output values held before they are judged: 4 MiB of float32."""

    def add(self, output: object, target: Tensor, loss: float) -> None:
        """One batch: output (N, classes), target (N,), its mean loss. Other outputs count for the loss alone."""
        self._loss += loss * len(target)
        self._seen += len(target)
        if self.num_classes is None or not isinstance(output, Tensor) or output.dim() != target.dim() + 1:
            return
        if output.shape[1] < self.num_classes:
            return  # no output for each class, as with one logit for two classes: the largest says nothing
        if self._outputs and self._outputs[0].shape[1:] != output.shape[1:]:
            self._judge()
        self._outputs.append(output.detach())
        self._targets.append(target)
        self._held += output.numel()
        if self._held > self.LIMIT:
            self._judge()

    def _judge(self) -> None:
        if self._outputs:
            guesses = torch.cat(self._outputs).argmax(1)
            targets = torch.cat(self._targets)
            self._hits += int((guesses == targets).sum())
            self._judged += targets.numel()
            self._outputs, self._targets, self._held = [], [], 0

    def result(self) -> tuple[float, float | None]:
        """Mean loss per sample, and the share of right predictions (None for regression)."""
        self._judge()
        loss = self._loss / self._seen if self._seen else float("nan")
        return loss, self._hits / self._judged if self._judged else None
