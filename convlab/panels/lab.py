"""The bench."""

import html
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from torch import nn

from convlab.data.resolve import Data, resolve
from convlab.frontend.style import Style
from convlab.lab_state import LabState
from convlab.models.borrow import restore, snapshot
from convlab.models.live import Edit, LiveModel, bind
from convlab.net_spec import NetSpec
from convlab.panels import past, start
from convlab.panels.curve import Curve
from convlab.panels.failure import tell_failure
from convlab.panels.kernel import is_attended, stop_on_interrupt, take_cell
from convlab.panels.lab_tabs import further_panels
from convlab.panels.messages import Messages
from convlab.panels.saved import Saved
from convlab.panels.settings import Settings, dropout_of
from convlab.panels.tabs import Tabs, close_parts
from convlab.panels.timeline import Timeline
from convlab.panels.transport import Transport
from convlab.panels.wishes import Wishes
from convlab.plots.picture import drawing, table
from convlab.spec import TrainSpec
from convlab.training.fit import report_failure
from convlab.training.metrics import Score
from convlab.training.optimizers import warm_up
from convlab.training.run import Run
from convlab.training.runs import Runs
from convlab.training.trainer import Criterion, EditOrUndo


class Lab(widgets.VBox):
    """The bench: a live model, its data, the controls of its training, and the curve.

    Args:
        model: any `nn.Module`, trained in place; a `NetSpec`; or a name of the `GALLERY`, in the size that the data ask
            for. A small LeNet-like network if left out.
        data: what `convlab.fit` takes: ``"digits"``, ``"shapes"``, ``(X, y)``, ``(train, valid)``.
        spec: settings to begin with.
        criterion: ``criterion(output, target) -> scalar``; cross-entropy for classes, squared error for numbers.
        metrics: further scores of each epoch by name, each ``f(outputs, targets) -> number``; they hold from the next
            run on when ``lab.metrics`` is set.
        autosave: a directory in which each run is kept by epoch, so that it outlives the kernel.

    Attributes:
        runs: every run of this bench, oldest first; ``lab.runs.to_dataframe()`` lays them side by side.
        current: the latest of them, or None.
        spec: the settings as the controls stand.

    Raises:
        SpecError, ValueError, TypeError: something given cannot work; the message names it and what would.

    Example:
        >>> lab = Lab()
        >>> lab.run().state  # blocks where nobody watches: in a script, under nbclient or papermill
        'finished'
    """

    def __init__(
        self,
        model: nn.Module | NetSpec | str | None = None,
        data: object = "digits",
        spec: TrainSpec | None = None,
        *,
        criterion: Criterion | None = None,
        metrics: Mapping[str, Score] | None = None,
        autosave: str | Path | None = None,
    ) -> None:
        self.autosave = None if autosave is None else Path(autosave)
        self.sweep_directory = "sweep"
        self.runs = Runs()
        self.latest: Run | None = None
        self._taken = 0
        # Callbacks run on whichever threads the kernel chooses: one hand at a time.
        self.hand = threading.RLock()
        take_cell(self)
        self.data: Data = resolve(data)
        self.seed = 0
        self.net, self.model = start.made(model, self.data, self.seed)
        self.criterion = criterion
        self.metrics = metrics
        self.opened_with = snapshot(self.model)
        self.advised: list[str] = []
        self.saved = Saved(lambda: (drawing(self.current), table(self.current, self.spec, self.title, self.advised)))
        self.messages = Messages()
        self.curve = Curve()
        self._warned: Run | None = None
        self.bound: LiveModel | None = None
        # Panels that show the network, those that only follow when it is another all at once, and what follows a run.
        self.looking: list[Any] = []
        self.rewound: list[Any] = []
        self.on_spec: list[Callable[[], object]] = []
        self.on_tab: list[Callable[[], object]] = []
        self.following: list[Callable[[], None]] = []
        dropout = dropout_of(self.model)
        self.settings = Settings(spec or start.DEFAULT_SPEC, dropout=dropout, resizable=self.data.train.resizable)
        self._wishes = Wishes(self)
        self.settings.observe(self._on_complaint, "complaint")
        self.transport = Transport(
            {
                "run": self.guarded(self._go),
                "pause": self.guarded(lambda: self.pause(wait=False)),
                "step": self.guarded(lambda: self.step(wait=False)),
                "stop": self.guarded(lambda: self.stop(wait=False)),
                "reset": self.guarded(self.reset),
            }
        )
        self.heading = widgets.HTML(self.title_line()).add_class("convlab-heading")
        self.timeline = Timeline(self.guarded_with(self.rewind), self.guarded(lambda: self.fork(wait=False)))
        self.spec_of_present: TrainSpec | None = None
        training = widgets.VBox([self.transport, self.settings, self.messages, self.curve.chart, self.timeline])
        self.tabs = Tabs({"Training": lambda: training, **further_panels(self)})
        self.settings.observe(lambda _: _call(self.on_spec), "spec")
        self.tabs.observe(lambda _: _call(self.on_tab), "selected_index")
        super().__init__([Style(), self.heading, self.tabs])
        self.add_class("convlab").add_class("convlab-lab")

    @property
    def title(self) -> str:
        """Model and data in a few words."""
        return f"{type(self.model).__name__} on {self.data.name}"

    def title_line(self) -> str:
        """Model, data and how these were split, as HTML."""
        about = " ".join((self.data.split, *self.data.notes))
        return f"<strong>{html.escape(self.title)}</strong><span>{html.escape(about)}</span>"

    @property
    def spec(self) -> TrainSpec:
        """The settings as the controls stand."""
        return self.settings.spec

    @property
    def current(self) -> Run | None:
        """The latest run of the bench's own model, or None before the first."""
        return self.latest

    # -- the same as the buttons --------------------------------------------------------------------------------------

    def run(self, wait: bool | None = None) -> Run:
        """Train with the settings as they stand, from the weights as they are; go on with a paused run.

        Args:
            wait: block until it ends. Left out: only where nobody sits before a panel (script, nbclient, papermill).

        Raises:
            RuntimeError: another bench or run is training this model.
            Exception: with `wait`, what user code raised, the run attached as ``error.run``.
        """
        run = self._go()
        self._wait(run, wait)
        return run

    def pause(self, wait: bool = True) -> None:
        """Stand still at the next step boundary."""
        if self.current is not None:
            self.current.pause(wait)

    def step(self, wait: bool = True) -> None:
        """Make exactly one optimizer step, then stand still."""
        with self.hand:
            if self.current is None or self.current.ended:
                self._new_run(lambda run: run.step(wait=wait))
            else:
                self.current.step(wait=wait)

    def stop(self, wait: bool = True) -> None:
        """End the run, keeping weights and curve."""
        if self.current is not None:
            self.current.stop(wait)

    def reset(self) -> None:
        """Put back the weights that the bench was opened with; earlier curves stay as faint lines."""
        with self.hand:
            self.stop()
            while self.bound is not None and self.bound.can_undo:
                self.bound.undo()
            restore(self.opened_with)
            self.messages.clear()
            self.curve.clear()
            self.transport.show("pending", None)

    def set(self, **changes: object) -> None:
        """Move controls: ``lab.set(lr=0.01)``; a run in progress follows at its next step boundary.

        Raises:
            SpecError: a name or value cannot be, or cannot change during a run; nothing is changed then.
        """
        with self.hand:
            self._wishes.refusal = None
            self.settings.change(**changes)
            if self._wishes.refusal is not None:
                raise self._wishes.refusal

    def use(self, network: NetSpec | str | nn.Module | None = None, seed: int = 0, *, data: object = None) -> None:
        """Take another network: a recipe, a name of the gallery (in the size that the data ask for), or a module.

        A run that is on is stopped. Earlier runs stay in the table, their curves as faint lines.

        Args:
            network: what is trained from now on; the present one, as it stands, if left out.
            seed: decides the weights of one that is built.
            data: what it learns from now on; the present ones if left out.

        Raises:
            SpecError: it does not take the data, or there is no such name; the bench is as it was.
            TypeError: it is no network.
        """
        start.use(self, network, seed, data)

    @property
    def live(self) -> LiveModel:
        """The model's settings, bound: what can be edited."""
        if self.bound is None:
            self.bound = bind(self.model, (1, *self.data.input_size))
        return self.bound

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits in force, oldest first."""
        return self.bound.journal if self.bound is not None else ()

    def edit(self, edit: EditOrUndo) -> None:
        """Edit the network in place, in the run if one is on; ``"undo"`` and ``"redo"`` take back and make again.

        Raises:
            EditError, LookupError: it cannot be, and nothing has changed.
        """
        with self.hand:
            run = self.current
            if run is not None and not run.ended:
                run.apply(edit, self.live)
            elif isinstance(edit, Edit):
                self.live.apply(edit)
            else:
                (self.live.undo if edit == "undo" else self.live.redo)()
        self.look()

    def look(self) -> None:
        """Show the network as it is, wherever it was changed."""
        for panel in self.looking:
            panel.refresh()

    def rewind(self, step: int | None = None, run: Run | None = None) -> None:
        """Show the model as it was after `step` steps of a run (the latest), None: as it is; see `Run.rewind`.

        The controls show the settings of then. Nothing is lost: `run` goes on from the present.

        Raises:
            RuntimeError: a run is training.
            LookupError: there is no run or no snapshot.
        """
        past.rewind(self, step, run)

    def fork(
        self,
        step: int | None = None,
        run: Run | None = None,
        *,
        edit: Edit | None = None,
        name: str = "",
        wait: bool | None = None,
        **changes: object,
    ) -> Run:
        """Start a run from a state of another one (the latest); see `Run.fork`.

        Args:
            step: where; if left out, where `rewind` is, or the run's last step.
            run: the other one.
            edit: a change of the network.
            name: of the new run; what differs, if left out.
            wait: as for `run`.
            changes: settings; if left out, those that were moved while looking back.

        Raises:
            SpecError, ValueError, EditError: something cannot be.
            LookupError: there is no run or no snapshot.
        """
        new = past.fork(self, step, run, edit, name, changes)
        self._wait(new, wait)
        return new

    def load(self, path: str | Path, resume: bool = False) -> Run:
        """Put a saved run on the bench, its weights into the bench's model; with `resume` it goes on.

        A run of another network, of torch's own layers, brings that along: the bench takes it, as `use` does.

        Raises:
            CheckpointError, OSError: see `Run.load`; the model is as it was.
            RuntimeError: a run is training.
        """
        return past.load(self, path, resume)

    def keep_in(self, directory: str | Path | None) -> None:
        """Keep each run from the next on in `directory`, epoch by epoch; None stops it."""
        self.autosave = None if directory is None else Path(directory)

    def free_to_train(self) -> None:
        """Raise a RuntimeError where a run is on."""
        if self.current is not None and self.current.state in ("running", "paused"):
            raise RuntimeError(f"{self.current.name} is {self.current.state}; stop it first: lab.stop().")

    def watch_beside(self, run: Run) -> None:
        """Take a run of a copy of the model into the table."""
        with self.hand:
            self.runs.append(run)
        run.watch(lambda _: self._follow_on())

    @property
    def state(self) -> str:
        """The bench as one line to be pasted, for `Lab.from_state`: network, edits, recipe, data and seeds.

        It is what the bench begins with: trained weights and curves are no part of it. `SpecError` for a huge network.
        """
        return start.state_of(self).to_json()

    @classmethod
    def from_state(
        cls,
        state: str | Path,
        *,
        model: nn.Module | None = None,
        data: object = None,
        criterion: Criterion | None = None,
    ) -> Self:
        """A bench as `state` (the text, or the path of a file with it) tells: its training gives the same curve.

        The text is read as data, whoever wrote it: nothing in it is run, imported or opened. What is a person's own
        (model, data, criterion) is passed; the state's edits are made on the model.

        Raises:
            SpecError: this is no state, or something of a person's own is missing; the message says what.
            EditError: `model` does not take the state's edits.

        Example:
            >>> Lab.from_state(Lab().state).spec.lr
            0.05
        """
        return start.opened(cls, LabState.load(state), model, data, criterion)

    def code(self) -> str:
        """The latest run as a plain PyTorch script without this package; before the first, as the controls stand."""
        return start.script_of(self)

    def close(self) -> None:
        """End the run and take the panel away."""
        if self.comm is None or sys.is_finalizing():  # `Widget.__del__` calls this too
            return
        if self.current is not None:
            self.current.stop(wait=False).wait(60)
        close_parts(self)
        super().close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _go(self) -> Run:
        """Train, or go on. A run that is at work already just goes on: a second click begins nothing."""
        with self.hand:
            if self.current is None or self.current.ended:
                return self._new_run(Run.start)
            if self.spec_of_present is not None:
                self._wishes.show(self.spec_of_present)
                self.spec_of_present = None
            return self.current.resume()

    def _wait(self, run: Run, wait: bool | None) -> None:
        if not is_attended() if wait is None else wait:
            run.wait()
            report_failure(run, stacklevel=4)

    def _new_run(self, begin: Callable[[Run], object]) -> Run:
        if self.spec.schedule_mode != "scale":  # what was held or released in the run before
            self._wishes.show(self.spec.replace(schedule_mode="scale"))
        run = Run(
            self.model,
            self.data,
            self.spec,
            criterion=self.criterion,
            metrics=self.metrics,
            name=f"run {self._taken + 1}",
            autosave=self.autosave,
            live=self.bound,
        )
        self.spec_of_present = None
        return self.take(run, begin)

    def take(self, run: Run, begin: Callable[[Run], object]) -> Run:
        """Make `run` the bench's latest, and begin it."""
        self.messages.clear()
        self._wishes.begin()
        run.watch(self.on_run)
        before, self.latest = self.latest, run
        self.runs.append(run)
        try:
            begin(run)
        except BaseException:  # refused: another bench is training the model
            self.runs.remove(run)
            self.latest = before
            raise
        self._taken += 1
        stop_on_interrupt(self)
        return run

    def on_run(self, run: Run) -> None:
        """In the training thread: show what is new."""
        if run is not self.current:
            return
        self.curve.update(run)
        self.transport.show("stepping" if run.stepping else run.state, run.progress)
        self._wishes.follow(run)
        self._follow_on()
        self.timeline.show(run)
        self.settings.set_running(run.state in ("running", "paused"))
        if run.error is not None:
            tell_failure(self, run, run.error)
        elif run.autosave is not None and run.autosave.failed:
            self.messages.error(run.autosave.note)
        elif run is not self._warned and (epoch := run.history.first_unsound) is not None:
            self._warned = run
            self.messages.error(
                f"The validation loss became {epoch.valid_loss} in epoch {epoch.epoch}; training goes on, as its "
                "own loss is finite. The validation data may hold a value that is not, or the lr is too high."
            )
        if run.ended:
            self.saved.update()
        elif run.state == "paused":
            self.saved.update_soon()

    def _follow_on(self) -> None:
        _call(self.following)

    def show_spec(self, spec: TrainSpec) -> None:
        """Move the controls to a recipe, without asking the run for it."""
        self._wishes.show(spec)

    def _on_complaint(self, change: Any) -> None:
        if change["new"]:
            self.messages.error(change["new"])
        else:
            self.messages.clear()

    def guarded(self, act: Callable[[], object]) -> Callable[[], None]:
        """`act`, its errors shown in the panel."""
        return lambda: self.messages.guard(act)

    def guarded_with(self, act: Callable[[Any], object]) -> Callable[[Any], None]:
        """The same for what takes a value."""

        return lambda value: self.messages.guard(lambda: act(value))

    def _ipython_display_(self) -> None:
        if get_ipython() is None:
            print(f"{self!r}: open it in JupyterLab, or train with lab.run()")  # noqa: T201  # a plain Python prompt
            return
        take_cell(self)
        threading.Thread(target=warm_up, name="convlab-warm-up").start()
        stop_on_interrupt(self)
        self.saved.display(self.model_id)

    def __repr__(self) -> str:
        state = self.current.state if self.current else "ready"
        return f"Lab({self.title}, {state}, {len(self.runs)} runs)"


def _call(functions: Sequence[Callable[[], object]]) -> None:
    for function in tuple(functions):
        function()
