"""One execution of a recipe: a thread that trains, and the controls that reach it."""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self, final

import torch
from torch import nn

from convlab.data.resolve import resolve
from convlab.models._edit.history import State as Structure
from convlab.models.borrow import Snapshot, snapshot
from convlab.models.live import Edit, LiveModel, Place
from convlab.spec import TrainSpec
from convlab.training.active import active_runs, busy, claim, claim_again, on_loan, refuse_lent, release
from convlab.training.autosave import Autosave
from convlab.training.beginning import Beginning
from convlab.training.control import Control
from convlab.training.export import export, predictions
from convlab.training.host_random import numpy_untouched
from convlab.training.journal import Change
from convlab.training.listeners import Listeners
from convlab.training.live_checks import check_changes, in_order
from convlab.training.loop import train
from convlab.training.machine import machine
from convlab.training.metrics import Score
from convlab.training.progress import Speedometer
from convlab.training.rewind import Branch, come_back, fork, restore_point, rewind
from convlab.training.run_facts import ENDED as ENDED
from convlab.training.run_facts import RunFacts, State
from convlab.training.saved_run import load, save
from convlab.training.snapshots import SNAPSHOT_BYTES, RunSnapshot, Snapshots
from convlab.training.state import TrainerState, capture
from convlab.training.threads import own_threads
from convlab.training.trainer import Criterion, EditOrUndo, NonFiniteError, Trainer

Listener = Callable[["Run"], None]
EachEpoch = Callable[["Run"], bool]
Point = Literal["start", "best", "last"]

TICK_SECONDS: Final = 0.2
"""Shortest time between two calls of a listener, in seconds; `benchmarks/training.py` prints what they cost."""

CHANGE_SECONDS: Final = 0.1
"""The same while settings change: a hand that drags sends sixty a second."""


@final
class Run(RunFacts):
    """One execution of a `TrainSpec` on a model and data, in a thread of its own.

    The model is trained in place. Controls may be used from any thread and take effect at the next step boundary;
    whether anybody watches makes no difference to the numbers.

    Args:
        model: any `nn.Module` with something to train.
        data: what `convlab.data.resolve` takes: ``"digits"``, ``(X, y)``, ``(train, valid)`` data sets or loaders.
        spec: the recipe; a `TrainSpec()` if left out.
        criterion: ``criterion(output, target) -> scalar loss``; cross-entropy for classes, squared error for numbers.
        metrics: further scores of each epoch by name, each ``f(outputs, targets) -> number``; see `metrics`.
        journal: changes of an earlier run to make again, each at its step.
        name: shown beside the curve.
        snapshot_bytes: memory for `snapshots`, at most.
        autosave: a directory in which the run is kept after each epoch, so that it outlives the kernel.
        live: the model as it is bound elsewhere, whose edits those of this run join.

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
        metrics: Mapping[str, Score] | None = None,
        journal: Sequence[Change] = (),
        name: str = "",
        snapshot_bytes: int = SNAPSHOT_BYTES,
        autosave: str | Path | None = None,
        live: LiveModel | None = None,
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
        self.data = resolve(data)
        self.name = name
        self.note = ""
        self.parent: Branch | None = None
        self.snapshots = Snapshots(snapshot_bytes)
        self.state: State = "pending"
        self.error: BaseException | None = None
        self.traceback = ""
        self._trainer = Trainer(model, self.data, self.spec, criterion, metrics)
        self._trainer.live = live
        self._points: dict[str, Snapshot] = {"start": snapshot(model)}
        self._last_step = 0
        for change in journal:
            if change.name != "edit":
                check_changes(self, {change.name: change.new})
        self._to_replay = deque(sorted(journal, key=lambda change: change.step))
        self._control = Control()
        self._listeners: Listeners[Run] = Listeners()
        self._told = self._next_tick = 0.0
        self._speed = Speedometer()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        # Who resumes a run while its network is edited waits for the edit.
        self._editing = threading.RLock()
        self._ended = threading.Event()
        # Asked after each epoch in the training thread: False ends the run there.
        self.each_epoch: EachEpoch = lambda _: True
        self.autosave = None if autosave is None else Autosave(autosave, name)
        self.machine = machine(self.device, self.threads)
        self.beginning: Beginning | None = None
        self.end_state: TrainerState | None = None
        # While the model stands as it was at an earlier step: as it is now.
        self._present: Structure | None = None
        self._place: Place | None = None
        self.shown_step: int | None = None

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
        if self.beginning is None:
            self.keep_start()
        self.state = "running"
        self._thread = threading.Thread(target=self._main, name="convlab-run", daemon=True)
        self._thread.start()

    def keep_start(self) -> None:
        """Remember what it begins with: now, not when it was made."""
        self.beginning = Beginning.of(self.model, self._trainer.dropouts)
        self._points["start"] = self.beginning.weights
        self.snapshots.keep(self._trainer, "start")

    def taken_up(self, beginning: Beginning | None, *, ended: State | None = None) -> None:
        """It goes on from a state that was put back, or has `ended` there; `beginning` is what led there."""
        self.beginning = self.beginning or beginning or Beginning.of(self.model)
        self._points["start"] = self.beginning.weights
        if ended is not None:
            self.state, self.end_state = ended, self.snapshots[-1].state
            self._ended.set()

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
            come_back(self)
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
            come_back(self)
            self._control.step(count)
        with self._start_lock:
            if self._thread is None and not self.ended:
                try:
                    self._begin()
                except RuntimeError:
                    self._control.resume()  # a later start() shall not stand still after these steps
                    raise
        return self._wait_until_standing(wait)

    @property
    def stepping(self) -> bool:
        """Whether it is running only for the steps that `step` asked for."""
        return self.state == "running" and self._control.stepping

    def stop(self, wait: bool = True) -> Self:
        """End at the next step boundary, keeping weights and records; with `wait`, return once it has."""
        if self.shown_step is not None and not self.ended:
            with self._editing:
                come_back(self)
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
        check_changes(self, changes)
        self._control.change(in_order(changes))
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
        with self.held():
            try:
                with on_loan(self.model):
                    self._trainer.live = live or self._trainer.live
                    self._trainer.edit(edit)
                    claim_again(self, self.model)
                    self.snapshots.keep(self._trainer, "change")
            finally:
                self._listeners.tell(self)
        return self

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the run stands still, in its present; after, it goes on if it did before."""
        with self._editing:
            runs = not self._control.standing
            try:  # Ctrl-C may strike while it is waited for
                self.pause()
                come_back(self)
                yield
            finally:
                if runs:
                    self.resume()

    def save(self, path: str | Path) -> None:
        """Write the run into one file: weights, optimizer, schedule, random numbers, curve and journal.

        The file is written whole or not at all, with a checksum. It is a safetensors file: ``model.`` stands before
        the names of the weights. A run in progress stands still meanwhile.

        Raises:
            OSError: it cannot be written; a file that was there before is there still.

        Example:
            >>> import tempfile
            >>> from convlab.models.gallery import lenet
            >>> run = Run(lenet(), "digits", TrainSpec(epochs=2)).step(50)
            >>> path = Path(tempfile.mkdtemp(), "run.safetensors")
            >>> run.save(path)
            >>> again = Run.load(path).start().wait()
            >>> again.history.train_loss.tolist() == run.resume().wait().history.train_loss.tolist()
            True
        """
        save(self, path)

    load = staticmethod(load)
    export, predictions = export, predictions

    def rewind(self, step: int | None = None) -> RunSnapshot | None:
        """Put the model back as it was after `step` steps, structure and weights; None brings it to the present again.

        The run itself loses nothing: resumed, it goes on from its present, bit for bit.

        Args:
            step: the latest of `snapshots` not after it is taken.

        Returns:
            The snapshot, or None for the present.

        Raises:
            RuntimeError: the run, or another one, is training the model right now.
            LookupError: there is no snapshot.

        Example:
            >>> from convlab.models.gallery import lenet
            >>> run = Run(lenet(), "digits", TrainSpec(epochs=2)).start().wait()
            >>> print(run.rewind(60))
            step 45: the end of epoch 1
        """
        with self._editing:
            return rewind(self, step)

    def fork(
        self,
        step: int | None = None,
        *,
        edit: Edit | None = None,
        name: str = "",
        later_changes: bool = False,
        **changes: object,
    ) -> "Run":
        """A new run, not yet started, that begins from the very state of this one and differs by what is changed.

        It goes on with this run's weights, optimizer, schedule, order of samples and random numbers; with nothing
        changed but what was changed later in this run, too, it repeats this run bit for bit. This run is stopped and
        keeps its curve.

        Args:
            step: where; the latest of `snapshots` not after it is taken, the last of all if left out.
            edit: a change of the network.
            name: shown beside the curve; what differs, if left out.
            later_changes: make what was changed after `step` in this run again, each at its step.
            changes: settings to change, as for `set`.

        Raises:
            SpecError, ValueError: a name or a value cannot be.
            RuntimeError: another run is training the model.
            LookupError: there is no snapshot.

        Example:
            >>> from convlab.models.gallery import lenet
            >>> run = Run(lenet(), "digits", TrainSpec(epochs=2), name="run 1").start().wait()
            >>> run.fork(45, lr=0.01).name
            'run 1, lr 0.05 → 0.01 from step 45'
        """
        with self._editing:
            return fork(self, step, changes, edit, name, later_changes)

    def restore(self, point: Point = "best") -> Self:
        """Put weights and buffers back: of the ``"best"`` epoch, the ``"start"``, or the ``"last"`` step before that.

        Raises:
            RuntimeError: the run is training right now, or no epoch has ended yet.
        """
        restore_point(self, point)
        return self

    def watch(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(run)`` from the training thread at each change of state and at most five times a second.

        Returns a function that ends it. A listener that raises is dropped: watching never harms a run.
        """
        return self._listeners.add(listener)

    # -- the training thread ------------------------------------------------------------------------------------------

    def _main(self) -> None:
        state: State = "failed"
        try:
            with own_threads(self.threads), numpy_untouched():
                self._become("running")
                done = train(self._trainer, self._at_boundary, self._last_step_done, lambda: self.each_epoch(self))
                state = "finished" if done else "stopped"
        except BaseException as error:  # whatever user code raises belongs in the panel, not on a random cell's stderr
            self.error = error
            self.traceback = "" if isinstance(error, NonFiniteError) else traceback.format_exc()
        self.model.zero_grad(set_to_none=True)
        self._keep_end(state)
        self._end(state)

    def _last_step_done(self) -> None:
        self.snapshots.keep(self._trainer, "epoch")
        if self.autosave is not None:
            self.autosave.epoch_done(self)

    def _keep_end(self, state: State) -> None:
        """How it stands at last, whatever becomes of the model; weights that a snapshot has are not copied again."""
        if self._trainer.within_epoch:
            self.snapshots.keep(self._trainer, "end")
        if len(self.snapshots):
            last, end = self.snapshots[-1], capture(self._trainer)
            shared = last.step == end.step and not self._trainer.restored_best
            self.end_state = replace(end, structure=last.state.structure, moments=last.state.moments) if shared else end
        if self.autosave is not None:
            self.autosave.end(self, self.end_state or capture(self._trainer), state)

    def _at_boundary(self) -> bool:
        # Again at each step: part of the number is the process's, and a cell may set that.
        torch.set_num_threads(self.threads)
        while self._to_replay and self._to_replay[0].step <= self.history.num_steps:
            change = self._to_replay.popleft()
            self._trainer.set(change.name, change.new)
            self.snapshots.keep(self._trainer, "change")
        self.snapshots.catch_up(self._trainer)
        if (now := time.monotonic()) >= self._next_tick:
            self._told, self._next_tick = now, now + TICK_SECONDS
            self._speed.note(now, self._trainer)
            self._listeners.tell(self)
        if self._control.attention:
            return self._control.boundary(self._apply, self._stands)
        return True

    def _apply(self, changes: Mapping[str, object]) -> None:
        for name, value in changes.items():
            self._trainer.set(name, value)
        if self.shown_step is not None:  # the model stands as it was at another step
            self.snapshots.put_off()
        elif self.state == "paused":  # nobody is held up
            self.snapshots.keep(self._trainer, "change")
        else:
            self.snapshots.keep_change(self._trainer)
        if self.state == "paused":
            self._listeners.tell(self)
        else:  # with the next tick, and soon, however fast a hand drags
            self._next_tick = min(self._next_tick, self._told + CHANGE_SECONDS)

    def _stands(self, still: bool) -> None:
        self._speed.restart()
        if not still:
            self._trainer.enter_training()  # a cell may have looked at the model in eval mode meanwhile
        self._become("paused" if still else "running")

    def _become(self, state: State) -> None:
        self.state = state
        self._listeners.tell(self)

    def _end(self, state: State) -> None:
        self.state = state
        release(self)
        # Listeners first: whoever waits for the end finds the last picture drawn.
        self._listeners.tell(self)
        self._ended.set()
        self._control.announce_end()

    def _wait_until_standing(self, wait: bool) -> Self:
        if wait and self._thread is not None and threading.current_thread() is not self._thread:
            self._control.wait_until_standing(self._ended.is_set)
        return self
