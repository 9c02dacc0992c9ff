"""What a run tells of itself."""

from abc import ABC
from typing import TYPE_CHECKING, Final, Literal, cast

import torch
from torch import nn

from convlab.data.resolve import Data
from convlab.spec import TrainSpec
from convlab.training.control import Control
from convlab.training.epoch_metrics import EpochScores
from convlab.training.history import EpochRecord, History
from convlab.training.journal import Change
from convlab.training.plan import Plan, plan
from convlab.training.progress import Progress, Speedometer
from convlab.training.state import TrainerState
from convlab.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from convlab.training.run import Run

State = Literal["pending", "running", "paused", "stopped", "finished", "failed"]
ENDED: Final = ("stopped", "finished", "failed")


class RunFacts(ABC):
    """The part of a `Run` that only tells."""

    model: nn.Module
    data: Data
    name: str
    state: State
    end_state: TrainerState | None
    _trainer: Trainer
    _control: Control
    _speed: Speedometer

    @property
    def history(self) -> History:
        """The records so far."""
        return self._trainer.history

    @property
    def metrics(self) -> EpochScores:
        """The scores of each epoch on the validation data, empty without any; computed when they are asked for.

        Example:
            >>> from convlab.models.gallery import lenet
            >>> from convlab.training.fit import fit
            >>> run = fit(lenet(), "digits", TrainSpec(epochs=4), metrics={"size": lambda out, y: out.abs().mean()})
            >>> run.metrics[-1].scores["f1"] > 0.5, "size" in run.metrics[-1].scores
            (True, True)
            >>> run.metrics[-1].metrics.confusion.shape
            (10, 10)
        """
        return self.history.scores

    @property
    def journal(self) -> tuple[Change, ...]:
        """What was changed in flight, oldest first."""
        return tuple(self._trainer.journal)

    @property
    def settings(self) -> TrainSpec:
        """The recipe with all changes so far in force."""
        return self._trainer.settings

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The live torch optimizer."""
        return self._trainer.optimizer

    @property
    def threads(self) -> int:
        """CPU threads that a step uses."""
        return self._trainer.threads

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self._trainer.device

    @property
    def num_params(self) -> int:
        """Parameters of the network as it trains it, or left it."""
        if self.end_state is None:
            return sum(param.numel() for param in self.model.parameters())
        return sum(param.numel() for param, _, _ in self.end_state.structure.weights.grads)

    @property
    def ended(self) -> bool:
        """Whether it is stopped, finished or failed."""
        return self.state in ENDED

    @property
    def standing(self) -> bool:
        """Whether it is paused and no step is granted to it: another may use the model meanwhile."""
        return self._control.standing

    @property
    def progress(self) -> Progress:
        """Epoch, step, speed and time left, for display."""
        return self._speed.progress(self._trainer)

    def plan(self) -> Plan:
        """The lr of the steps to come, should nobody change anything; may be asked for from any thread.

        Example:
            >>> from convlab.models.gallery import lenet
            >>> from convlab.schedule_spec import ScheduleSpec
            >>> from convlab.training.run import Run
            >>> schedule = ScheduleSpec("ExponentialLR", gamma=0.5, cadence="epoch")
            >>> run = Run(lenet(), "digits", TrainSpec(lr=0.1, epochs=2, schedule=schedule))
            >>> run.plan().lrs[[0, -1]].tolist()
            [0.1, 0.05]
        """
        return plan(self._trainer)

    def advice(self) -> str:
        """What a failed run leaves and how to go on, in one sentence."""
        best = self._trainer.best
        offer = 'run.restore("start") puts back the weights it began with'
        if best is not None:
            offer = f'run.restore("best") puts back those of epoch {best[0].epoch}'
        return f"the model keeps the weights of step {self.history.num_steps}, and {offer}"

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the lowest validation loss so far (training loss without validation data)."""
        return self._trainer.best[0] if self._trainer.best else None

    def code(self, weights: str | None = None) -> str:
        """This training as a plain PyTorch script without this package; see `convlab.training.script.script`."""
        from convlab.training.script import script

        return script(cast("Run", self), weights)

    def plot(self) -> "Figure":
        """A figure of loss and accuracy, the changes marked."""
        from convlab.plots.history import plot_run

        return plot_run(cast("Run", self))

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from convlab.plots.picture import picture

        return picture(cast("Run", self), self.settings, f"{type(self.model).__name__} on {self.data.name}")

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        return f"Run({name}{self.state}, {type(self.model).__name__} on {self.data.name}, {self.history!r})"
