"""One execution of a recipe: a thread that trains, and the controls that reach it."""

import contextlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import torch
from torch import nn

from convlab.data.resolve import Data, resolve
from convlab.models.borrow import Snapshot, restore, snapshot
from convlab.models.live import Edit, LiveModel
from convlab.spec import SpecError, TrainSpec
from convlab.training.active import active_runs, busy, claim, claim_again, on_loan, refuse_lent, release
from convlab.training.control import Control
from convlab.training.history import EpochRecord, History
from convlab.training.host_random import numpy_untouched
from convlab.training.journal import LIVE_SETTINGS, Change
from convlab.training.loop import train
from convlab.training.plan import Plan, plan
from convlab.training.progress import Progress, Speedometer
from convlab.training.schedules import throwaway
from convlab.training.threads import own_threads
from convlab.training.trainer import NO_DROPOUT, Criterion, EditOrUndo, NonFiniteError, Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = Literal["pending", "running", "paused", "stopped", "finished", "failed"]
ENDED: Final = ("stopped", "finished", "failed")
Listener = Callable[["Run"], None]
Point = Literal["start", "best", "last"]

TICK_SECONDS: Final = 0.2
"""Shortest time between two calls of a listener, in seconds; `benchmarks/training.py` prints what they cost."""

CHANGE_SECONDS: Final = 0.1
"""The same while settings change: a hand that drags sends sixty a second."""

# Held at an lr, not scaled to it and then held; a schedule begins at the lr that comes with it.
_FIRST: Final = ("schedule_mode", "lr")


class Run:
    """One execution of a `TrainSpec` on a model and data, in a thread of its own.

    The model is trained in place. Controls may be used from any thread and take effect at the next step boundary;
    whether anybody watches makes no difference to the numbers.

    Args:
        model: any `nn.Module` with something to train.
        data: what `convlab.data.resolve` takes: ``"digits"``, ``(X, y)``, ``(train, valid)`` data sets or loaders.
        spec: the recipe; a `TrainSpec()` if left out.
        criterion: ``criterion(output, target) -> scalar loss``; cross-entropy for classes, squared error for numbers.
        journal: changes of an earlier run to make again, each at its step.
        name: shown beside the curve.

    Raises:
        SpecError, ValueError, TypeError: something given cannot work; the message names it and what would.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> run = Run(lenet(), "digits", TrainSpec(epochs=1)).start().wait()
        >>> run.state
        'finished'
    """

    def __init__(
        self,
        model: nn.Module,
        data: object,
        spec: TrainSpec | None = None,
        *,
        criterion: Criterion | None = None,
        journal: Sequence[Change] = (),
        name: str = "",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"model must be a torch.nn.Module, got {type(model).__name__}; try model=nn.Sequential(...)."
            )
        # Making a run tries the model out and may move it: not under another run's feet.
        if others := active_runs(model):
            raise RuntimeError(busy(model, others[0]))
        refuse_lent(model)
        self.model = model
        self.spec = spec or TrainSpec()
        self.data: Data = resolve(data)
        self.name = name
        self.state: State = "pending"
        self.error: BaseException | None = None
        self.traceback = ""
        self._trainer = Trainer(model, self.data, self.spec, criterion)
        self._points: dict[str, Snapshot] = {"start": snapshot(model)}
        self._last_step = 0
        for change in journal:
            if change.name != "edit":
                self._check({change.name: change.new})
        self._to_replay = deque(sorted(journal, key=lambda change: change.step))
        self._control = Control()
        self._listeners: list[Listener] = []
        self._told = self._next_tick = 0.0
        self._speed = Speedometer()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        # Who resumes a run while its network is edited waits for the edit.
        self._editing = threading.RLock()
        self._ended = threading.Event()

    # -- what it has done ---------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The records so far."""
        return self._trainer.history

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
            >>> schedule = ScheduleSpec("ExponentialLR", gamma=0.5, cadence="epoch")
            >>> run = Run(lenet(), "digits", TrainSpec(lr=0.1, epochs=2, schedule=schedule))
            >>> run.plan().lrs[[0, -1]].tolist()
            [0.1, 0.05]
        """
        return plan(self._trainer)

    # -- controls -----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin, and return at once.

        Raises:
            RuntimeError: this run was started before, or another one is training the same model.
        """
        with self._start_lock:
            if self._thread is not None or self.ended:
                raise RuntimeError(f"this run is {self.state}; make a new one: Run(model, data, spec).start().")
            self._begin()
        return self

    def _begin(self) -> None:
        claim(self, self.model)
        self._points["start"] = snapshot(self.model)
        self.state = "running"
        self._thread = threading.Thread(target=self._main, name="convlab-run", daemon=True)
        self._thread.start()

    def pause(self, wait: bool = True) -> Self:
        """Stand still at the next step boundary; with `wait`, return once it does."""
        self._control.pause()
        return self._wait_until_standing(wait)

    def resume(self) -> Self:
        """Go on after a pause.

        Raises:
            RuntimeError: the model is on loan to a learning-rate test.
        """
        with self._editing:
            refuse_lent(self.model)
            self._control.resume()
        return self

    def step(self, count: int = 1, wait: bool = True) -> Self:
        """Do exactly `count` optimizer steps, then stand still; starts a pending run. With `wait`, return once done."""
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"count must be a whole number of at least 1, got {count!r}; try run.step(1).")
        if self.ended:
            raise RuntimeError(f"this run is {self.state} and takes no more steps; make a new one.")
        with self._editing:
            refuse_lent(self.model)
            self._control.step(count)
        with self._start_lock:
            if self._thread is None and not self.ended:
                try:
                    self._begin()
                except RuntimeError:
                    self._control.resume()  # a later start() shall not stand still after these steps
                    raise
        return self._wait_until_standing(wait)

    def stop(self, wait: bool = True) -> Self:
        """End at the next step boundary, keeping weights and records; with `wait`, return once it has."""
        self._control.stop()
        with self._start_lock:
            if self._thread is None and not self.ended:
                self._end("stopped")
        if wait and threading.current_thread() is not self._thread:
            self._ended.wait()
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Block until it ends, or for `timeout` seconds. Ctrl-C stops the run after its step; twice raises.

        Raises:
            RuntimeError: nobody has started it, so that it would never end.
        """
        if self._thread is None and not self.ended:
            raise RuntimeError("this run is pending and would never end; try run.start().wait().")
        try:
            self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.stop(wait=False)
            self._ended.wait()
        return self

    def set(self, **changes: object) -> Self:
        """Change settings in flight, each from the next step boundary on, each written in the journal.

        Args:
            changes: any of lr, momentum, betas, weight_decay, dropout, batch_size, clip_grad_norm, label_smoothing,
                epochs, schedule, schedule_mode.

        Raises:
            SpecError: a name or value cannot be; nothing is changed then.
            RuntimeError: the run has ended.
        """
        if self.ended:
            raise RuntimeError(f"this run is {self.state}: nothing is left to change; set it in the next TrainSpec.")
        self._check(changes)
        self._control.change({name: changes[name] for name in sorted(changes, key=_urgency)})
        return self

    def edit(self, path: str, **settings: object) -> Self:
        """Change a layer of the network in flight: ``run.edit("conv2", out_channels=48)``; see `LiveModel.edit`.

        A running run pauses at a step boundary, is edited, and goes on. The change is written in the journal.

        Raises:
            EditError: it cannot be; nothing has changed.
            RuntimeError: the run has ended.
        """
        return self.apply(Edit(path, settings, seed=len(self.journal)))

    def apply(self, edit: EditOrUndo, live: LiveModel | None = None) -> Self:
        """The same for any `Edit`, and for ``"undo"`` and ``"redo"``.

        Args:
            edit: what to do.
            live: the model as it is bound elsewhere, whose edits these join.

        Raises:
            EditError, LookupError: it cannot be; nothing has changed.
            RuntimeError: the run has ended.
        """
        if self.ended or self.state == "pending":
            raise RuntimeError(f"this run is {self.state}; edit the model itself: convlab.bind(model, size).edit(...).")
        with self._editing:
            runs = not self._control.standing
            self.pause()
            try:
                with on_loan(self.model):
                    self._trainer.live = live or self._trainer.live
                    self._trainer.edit(edit)
                    self._points.clear()
                    claim_again(self, self.model)
            finally:
                self._tell()
                if runs:
                    self.resume()
        return self

    def restore(self, point: Point = "best") -> Self:
        """Put weights and buffers back: of the ``"best"`` epoch, the ``"start"``, or the ``"last"`` step before that.

        Raises:
            RuntimeError: the run is training right now, or no epoch has ended yet.
        """
        others = [run for run in active_runs(self.model) if not run.standing]
        if others:
            raise RuntimeError(f"{type(self.model).__name__} is training right now; run.pause() or run.stop() first.")
        if "last" not in self._points or self._last_step != self.history.num_steps:
            self._points["last"], self._last_step = snapshot(self.model), self.history.num_steps
        if point == "best":
            if self._trainer.best is None:
                raise RuntimeError('no epoch has ended yet, so none is best; try run.restore("start").')
            restore(self._trainer.best[1], modes=False)
        elif point in self._points:
            restore(self._points[point], modes=False)
        elif point == "start":
            raise RuntimeError(
                "the network was edited since this run began, so its first weights have no place any more."
            )
        else:
            raise ValueError(f"point must be 'start', 'best' or 'last', got {point!r}; try run.restore('best').")
        return self

    def code(self, weights: str | None = None) -> str:
        """This training as a plain PyTorch script without this package; see `convlab.training.script.script`."""
        from convlab.training.script import script

        return script(self, weights)

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

    def watch(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(run)`` from the training thread at each change of state and at most five times a second.

        Returns a function that ends it. A listener that raises is dropped: watching never harms a run.
        """
        self._listeners.append(listener)
        return lambda: self._forget(listener)

    # -- the training thread ------------------------------------------------------------------------------------------

    def _main(self) -> None:
        state: State = "failed"
        try:
            with own_threads(self.threads), numpy_untouched():
                self._become("running")
                state = "finished" if train(self._trainer, self._at_boundary) else "stopped"
        except BaseException as error:  # whatever user code raises belongs in the panel, not on a random cell's stderr
            self.error = error
            self.traceback = "" if isinstance(error, NonFiniteError) else traceback.format_exc()
        self.model.zero_grad(set_to_none=True)
        self._end(state)

    def _at_boundary(self) -> bool:
        # Again at each step: part of the number is the process's, and a cell may set that.
        torch.set_num_threads(self.threads)
        while self._to_replay and self._to_replay[0].step <= self.history.num_steps:
            change = self._to_replay.popleft()
            self._trainer.set(change.name, change.new)
        if (now := time.monotonic()) >= self._next_tick:
            self._told, self._next_tick = now, now + TICK_SECONDS
            self._speed.note(now, self._trainer)
            self._tell()
        if self._control.attention:
            return self._control.boundary(self._apply, self._stands)
        return True

    def _apply(self, changes: Mapping[str, object]) -> None:
        for name, value in changes.items():
            self._trainer.set(name, value)
        if self.state == "paused":
            self._tell()
        else:  # with the next tick, and soon, however fast a hand drags
            self._next_tick = min(self._next_tick, self._told + CHANGE_SECONDS)

    def _stands(self, still: bool) -> None:
        self._speed.restart()
        if not still:
            self._trainer.enter_training()  # a cell may have looked at the model in eval mode meanwhile
        self._become("paused" if still else "running")

    def _become(self, state: State) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(self)
            except Exception:  # a broken display must not end a training
                self._forget(listener)

    def _forget(self, listener: Listener) -> None:
        with contextlib.suppress(ValueError):  # gone already
            self._listeners.remove(listener)

    def _end(self, state: State) -> None:
        self.state = state
        release(self)
        # Listeners first: whoever waits for the end finds the last picture drawn.
        self._tell()
        self._ended.set()
        self._control.announce_end()

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check(self, changes: Mapping[str, object]) -> None:
        for name in changes:
            if name not in LIVE_SETTINGS:
                raise SpecError(f"{name} cannot change during a run; {', '.join(LIVE_SETTINGS)} can.")
        changed = self.settings.changed(**changes)
        if changed.schedule is not None and "schedule" in changes:
            throwaway(changed.schedule, changed)  # torch's own class may refuse what its arguments allow one by one
        if "batch_size" in changes and not self.data.train.resizable:
            raise SpecError("batch_size is fixed by your own DataLoader; pass (X, y) or a data set to change it here.")
        if "dropout" in changes and not self._trainer.dropouts:
            raise SpecError(f"dropout cannot be set: the model has no dropout layer; {NO_DROPOUT}")
        group: dict[str, Any] = self.optimizer.param_groups[0]
        for name in ("momentum", "betas"):
            if name in changes and name not in group:
                other = "betas" if name == "momentum" else "momentum"
                raise SpecError(f"{name} is no setting of {self.spec.optimizer}; it has {other}.")

    def _wait_until_standing(self, wait: bool) -> Self:
        if wait and self._thread is not None and threading.current_thread() is not self._thread:
            self._control.wait_until_standing(self._ended.is_set)
        return self

    def plot(self) -> "Figure":
        """A figure of loss and accuracy, the changes marked."""
        from convlab.plots.history import plot_run

        return plot_run(self)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from convlab.plots.picture import picture

        return picture(self, self.settings, f"{type(self.model).__name__} on {self.data.name}")

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        return f"Run({name}{self.state}, {type(self.model).__name__} on {self.data.name}, {self.history!r})"


def _urgency(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)
