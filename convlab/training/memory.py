"""When memory runs out in mid-run: the same batch in smaller parts."""

from typing import TYPE_CHECKING, Final

import torch

from convlab.training.progress import batch_size

if TYPE_CHECKING:
    from convlab.training.run import Run

# torch has a class for it on accelerators; a refused allocation of main memory is a plain RuntimeError.
_WORDS: Final = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error` says that there is no memory left.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA error: out of memory"))
        True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def smaller_parts(run: "Run") -> int | None:
    """The `micro_batch_size` to go on with after memory ran out: half of what was tried; None where that was one.

    ``run.fork(micro_batch_size=smaller_parts(run)).start()`` takes up the batch that failed. Gradients are added up, so
    the effective batch size stays.
    """
    tried = min(batch_size(run.data, run.settings), run.settings.micro_batch_size or 2**20)
    return tried // 2 if tried > 1 else None
