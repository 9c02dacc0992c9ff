"""What a run leaves behind: its curve, in memory that does not grow with the number of steps."""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from convlab.training.epoch_metrics import EpochScores

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Array = npt.NDArray[np.float64]

STEP_ROWS: Final = 2**16
EPOCH_ROWS: Final = 2**12

Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training data. Losses are means per sample, accuracies shares in 0..1, or None."""

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float | None
    valid_loss: float | None
    valid_accuracy: float | None
    lr: float
    seconds: float


@dataclass(frozen=True)
class Bookmark:
    """How far a `History` had got: what cannot be told from its later rows."""

    num_steps: int
    stride: int
    in_row: int
    row: Row
    num_epochs: int
    epochs: tuple[EpochRecord, ...]
    best: EpochRecord | None
    first_unsound: EpochRecord | None


class History:
    """The records of a run: training loss and lr per step, losses and accuracies per epoch.

    Up to 65,536 steps every step has its own row. Past that, neighbouring rows are merged in pairs (mean, minimum and
    maximum are kept, so spikes stay visible) and `stride`, the number of steps in a row, doubles: a million steps take
    as much memory as the first 65,536. Epochs are thinned likewise past 4,096, the first and the latest staying.
    `first_unsound` is the first epoch whose validation loss is infinite or NaN, or None. `scores` are those of the
    epochs, see `EpochScores`.

    Example:
        >>> history = History()
        >>> history.add_step(2.3, lr=0.1)
        >>> history.num_steps, history.train_loss.tolist()
        (1, [2.3])
    """

    def __init__(self, step_rows: int = STEP_ROWS, epoch_rows: int = EPOCH_ROWS) -> None:
        if step_rows < 2 or step_rows % 2:
            raise ValueError(f"step_rows must be even and at least 2, got {step_rows!r}; try step_rows={STEP_ROWS}.")
        if epoch_rows < 2:
            raise ValueError(f"epoch_rows must be at least 2, got {epoch_rows!r}; try epoch_rows={EPOCH_ROWS}.")
        self._lock = threading.Lock()
        # Columns: mean, min, max of the loss, lr of the last step in the row.
        self._rows = np.empty((4, step_rows), dtype=np.float64)
        self._filled = 0
        self._in_row = 0
        self._epoch_rows = epoch_rows
        self._epochs: list[EpochRecord] = []
        self._best: EpochRecord | None = None
        self.first_unsound: EpochRecord | None = None
        self.scores = EpochScores()
        self.stride = 1
        self.num_steps = 0
        self.num_epochs = 0

    def add_step(self, train_loss: float, lr: float) -> None:
        """Record one optimizer update: the batch's mean loss and the lr it was made with."""
        with self._lock:
            rows, row = self._rows, self._filled
            if self._in_row == 0:
                rows[0, row] = rows[1, row] = rows[2, row] = train_loss
            else:
                rows[0, row] += (train_loss - rows[0, row]) / (self._in_row + 1)
                rows[1, row] = min(rows[1, row], train_loss)
                rows[2, row] = max(rows[2, row], train_loss)
            rows[3, row] = lr
            self.num_steps += 1
            self._in_row += 1
            if self._in_row == self.stride:
                self._in_row = 0
                self._filled += 1
                if self._filled == rows.shape[1]:
                    self._merge_rows()

    def _merge_rows(self) -> None:
        pairs = self._rows.reshape(4, -1, 2)
        half = pairs.shape[1]
        self._rows[:, :half] = np.stack([pairs[0].mean(1), pairs[1].min(1), pairs[2].max(1), pairs[3, :, 1]])
        self._filled = half
        self.stride *= 2

    def add_epoch(self, record: EpochRecord) -> None:
        """Record one finished epoch."""
        with self._lock:
            self._epochs.append(record)
            self.num_epochs += 1
            loss = record.valid_loss
            if loss is not None and not math.isfinite(loss) and self.first_unsound is None:
                self.first_unsound = record
            if loss is not None and math.isfinite(loss) and (self._best is None or loss < (self._best.valid_loss or 0)):
                self._best = record
            if len(self._epochs) > self._epoch_rows:
                self._epochs = self._epochs[:1] + self._epochs[2:-1:2] + self._epochs[-1:]

    def bookmark(self) -> Bookmark:
        """Where it stands, for `until`."""
        with self._lock:
            row: Row = tuple(self._rows[:, self._filled].tolist()) if self._in_row else (0.0, 0.0, 0.0, 0.0)
            epochs = tuple(self._epochs)
            return Bookmark(
                self.num_steps,
                self.stride,
                self._in_row,
                row,
                self.num_epochs,
                epochs,
                self._best,
                self.first_unsound,
            )

    def until(self, mark: Bookmark) -> "History":
        """A copy as it was at a bookmark of this history, or of one that it continues.

        Where rows were merged since, the copy has the merged rows up to there, and its last row is that of the merged.
        """
        copy = History(self._rows.shape[1], self._epoch_rows)
        with self._lock:
            copy.stride = self.stride
            copy._filled, copy._in_row = divmod(mark.num_steps, self.stride)
            copy._rows[:, : copy._filled + 1] = self._rows[:, : copy._filled + 1]
        if copy._in_row and copy.stride == mark.stride:
            copy._rows[:, copy._filled] = mark.row
        copy.num_steps, copy.num_epochs = mark.num_steps, mark.num_epochs
        copy._epochs, copy._best, copy.first_unsound = list(mark.epochs), mark.best, mark.first_unsound
        copy.scores = self.scores.until(mark.num_epochs, mark.best.epoch if mark.best else None)
        return copy

    def _columns(self) -> tuple[Array, Array]:
        """The last step in each row, and a copy of the four columns, taken together."""
        with self._lock:
            used = self._filled + (self._in_row > 0)
            columns = self._rows[:, :used].copy()
            step = np.arange(1, used + 1, dtype=np.float64) * self.stride
            if self._in_row:
                step[-1] = self.num_steps
        return step, columns

    @property
    def step(self) -> Array:
        """Number of steps done at the end of each row, shape (rows,)."""
        return self._columns()[0]

    @property
    def train_loss(self) -> Array:
        """Training loss of each row, the mean over its `stride` steps, shape (rows,)."""
        mean: Array = self._columns()[1][0]
        return mean

    @property
    def lr(self) -> Array:
        """Learning rate of the last step of each row, shape (rows,)."""
        lr: Array = self._columns()[1][3]
        return lr

    @property
    def epochs(self) -> Sequence[EpochRecord]:
        """The finished epochs, oldest first."""
        with self._lock:
            return tuple(self._epochs)

    def since(self, row: int) -> dict[str, Array]:
        """Columns ``step, train_loss, train_loss_min, train_loss_max, lr`` of the complete rows from `row` on."""
        with self._lock:
            stop = self._filled
            mean, low, high, lr = self._rows[:, row:stop].copy()
            step = np.arange(row + 1, stop + 1, dtype=np.float64) * self.stride
        return {"step": step, "train_loss": mean, "train_loss_min": low, "train_loss_max": high, "lr": lr}

    def best(self) -> EpochRecord | None:
        """The epoch with the lowest finite validation loss, thinned out or not; None before the first one."""
        return self._best

    def to_dataframe(self, per: Literal["step", "epoch"] = "step") -> "pd.DataFrame":
        """A pandas table.

        Args:
            per: ``"step"``: columns step, train_loss, train_loss_min, train_loss_max, lr, one row a `stride` of steps;
                ``"epoch"``: the fields of `EpochRecord`, and the validation scores, NaN where one is not known.
        """
        import pandas as pd

        if per == "epoch":
            scores = {one.epoch: one.scores for one in self.scores}
            own = dict.fromkeys(f"valid_{name}" for found in scores.values() for name in found)
            rows = [_prefixed(scores.get(record.epoch, {})) | asdict(record) for record in self.epochs]
            names = dict.fromkeys(EpochRecord.__dataclass_fields__) | own
            return pd.DataFrame(rows, columns=list(names))
        if per != "step":
            raise ValueError(f"per must be 'step' or 'epoch', got {per!r}; try per='epoch'.")
        step, (mean, low, high, lr) = self._columns()
        columns = {"step": step.astype(np.int64), "train_loss": mean}
        return pd.DataFrame({**columns, "train_loss_min": low, "train_loss_max": high, "lr": lr})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the losses on `ax`, or on a figure of its own, and return the axes."""
        from convlab.plots.history import plot_history

        return plot_history(self, ax)

    def __repr__(self) -> str:
        text = f"History({self.num_steps} steps, {self.num_epochs} epochs"
        if self.epochs:
            last = self.epochs[-1]
            text += f", train_loss {last.train_loss:.4g}"
            if last.valid_loss is not None:
                text += f", valid_loss {last.valid_loss:.4g}"
            if last.valid_accuracy is not None:
                text += f", valid_accuracy {last.valid_accuracy:.1%}"
        return text + ")"


def _prefixed(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"valid_{name}": value for name, value in scores.items()}
