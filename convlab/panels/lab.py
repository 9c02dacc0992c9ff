"""The bench."""

import html
import threading
from collections.abc import Callable
from typing import Any, Final

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, display
from torch import nn

from convlab.data.resolve import Data, resolve
from convlab.frontend.style import Style
from convlab.models.borrow import restore, snapshot
from convlab.models.gallery import lenet
from convlab.panels.curve import Curve
from convlab.panels.kernel import is_attended, stop_on_interrupt, take_cell
from convlab.panels.messages import Messages
from convlab.panels.settings import Settings
from convlab.panels.tabs import Tabs
from convlab.panels.transport import Transport
from convlab.plots.picture import picture
from convlab.spec import TrainSpec
from convlab.training.fit import report_failure
from convlab.training.journal import LIVE_SETTINGS
from convlab.training.optimizers import warm_up
from convlab.training.run import Run
from convlab.training.trainer import Criterion, NonFiniteError

DEFAULT_SPEC: Final = TrainSpec(epochs=50)
"""Some seconds of training on the small network: long enough to turn a knob."""


class Lab(widgets.VBox):
    """The bench: a live model, its data, the controls of its training, and the curve.

    Args:
        model: any `nn.Module`, trained in place; a small LeNet-like network if left out.
        data: what `convlab.fit` takes: ``"digits"``, ``"shapes"``, ``(X, y)``, ``(train, valid)``.
        spec: settings to begin with.
        criterion: ``criterion(output, target) -> scalar``; cross-entropy for classes, squared error for numbers.

    Attributes:
        runs: every run of this bench, oldest first.
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
        model: nn.Module | None = None,
        data: object = "digits",
        spec: TrainSpec | None = None,
        *,
        criterion: Criterion | None = None,
    ) -> None:
        self.runs: list[Run] = []
        self.data: Data = resolve(data)
        self.model = lenet_for(self.data) if model is None else model
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; try nn.Sequential(...).")
        self.criterion = criterion
        self._opened_with = snapshot(self.model)
        self._picture: DisplayHandle | None = None
        self._messages = Messages()
        self._curve = Curve()
        dropout = _dropout_of(self.model)
        self._settings = Settings(spec or DEFAULT_SPEC, dropout=dropout, resizable=self.data.train.resizable)
        self._settings.observe(self._on_spec, "spec")
        self._settings.observe(self._on_complaint, "complaint")
        self._transport = Transport(
            {
                "run": self._guarded(self._run_or_resume),
                "pause": self._guarded(lambda: self.pause(wait=False)),
                "step": self._guarded(lambda: self.step(wait=False)),
                "stop": self._guarded(lambda: self.stop(wait=False)),
                "reset": self._guarded(self.reset),
            }
        )
        heading = widgets.HTML(
            f"<strong>{html.escape(self.title)}</strong><span>{html.escape(self.data.split)}</span>"
        ).add_class("convlab-heading")
        training = widgets.VBox([self._transport, self._settings, self._messages, self._curve.chart])
        self._tabs = Tabs({"Training": lambda: training, **self._further_panels()})
        super().__init__([Style(), heading, self._tabs])
        self.add_class("convlab").add_class("convlab-lab")

    @property
    def title(self) -> str:
        """Model and data in a few words."""
        return f"{type(self.model).__name__} on {self.data.name}"

    @property
    def spec(self) -> TrainSpec:
        """The settings as the controls stand."""
        return self._settings.spec

    @property
    def current(self) -> Run | None:
        """The latest run, or None before the first."""
        return self.runs[-1] if self.runs else None

    # -- the same as the buttons --------------------------------------------------------------------------------------

    def run(self, wait: bool | None = None) -> Run:
        """Train with the settings as they stand, from the weights as they are; go on with a paused run.

        Args:
            wait: block until it ends. Left out: only where nobody sits before a panel (script, nbclient, papermill).

        Raises:
            RuntimeError: a run is training this model already.
            Exception: with `wait`, what user code raised, the run attached as ``error.run``.
        """
        run = self._run_or_resume()
        if not is_attended() if wait is None else wait:
            run.wait()
            report_failure(run, stacklevel=3)
        return run

    def pause(self, wait: bool = True) -> None:
        """Stand still at the next step boundary."""
        if self.current is not None:
            self.current.pause(wait)

    def step(self, wait: bool = True) -> None:
        """Make exactly one optimizer step, then stand still."""
        run = self.current
        if run is None or run.ended:
            run = self._new_run()
        run.step(wait=wait)

    def stop(self, wait: bool = True) -> None:
        """End the run, keeping weights and curve."""
        if self.current is not None:
            self.current.stop(wait)

    def reset(self) -> None:
        """Put back the weights that the bench was opened with; earlier curves stay as faint lines."""
        self.stop()
        restore(self._opened_with)
        self._messages.clear()
        if self.runs:
            self._curve.clear()
        self._transport.show("pending", None)

    def set(self, **changes: object) -> None:
        """Move controls: ``lab.set(lr=0.01)``; a run in progress follows at its next step boundary."""
        self._settings.spec = self.spec.replace(**changes)

    def close(self) -> None:
        """End the run and take the panel away."""
        if self.current is not None:
            self.current.stop(wait=False).wait(60)
        super().close()

    # -- the panels behind the other tabs, made when they are first looked at ------------------------------------------

    def _further_panels(self) -> dict[str, Callable[[], widgets.Widget]]:
        return {"Network": self._network, "Receptive field": self._receptive_field, "Convolution": _explorer}

    def _network(self) -> widgets.Widget:
        from convlab.panels.network import Network

        panel = Network(self.model, (1, *self.data.input_size))
        panel.observe(self._on_layer_clicked, "selected")
        return panel

    def _receptive_field(self) -> widgets.Widget:
        from convlab.panels.receptive_field import ReceptiveFieldPanel

        return ReceptiveFieldPanel(self.model, self.data.pictures(64))

    def _on_layer_clicked(self, change: Any) -> None:
        self._tabs.show("Receptive field").select(change["new"])

    # -- inside -------------------------------------------------------------------------------------------------------

    def _run_or_resume(self) -> Run:
        run = self.current
        if run is not None and run.state == "paused":
            return run.resume()
        if run is not None and not run.ended:
            raise RuntimeError("the bench is training already; press Stop first, or Pause and Step.")
        run = self._new_run()
        return run.start()

    def _new_run(self) -> Run:
        run = Run(self.model, self.data, self.spec, criterion=self.criterion, name=f"run {len(self.runs) + 1}")
        self.runs.append(run)
        self._messages.clear()
        self._curve.show(run)
        run.watch(self._on_run)
        stop_on_interrupt(self)
        return run

    def _on_run(self, run: Run) -> None:
        """In the training thread: show what is new."""
        if run is not self.current:
            return
        self._curve.update(run)
        self._transport.show(run.state, run.progress)
        self._settings.set_running(run.state in ("running", "paused"))
        if isinstance(run.error, NonFiniteError):
            self._messages.error(f"{run.error}. Training has stopped: {run.advice()}.")
        elif run.error is not None:
            where = f"in step {run.history.num_steps + 1}: {type(run.error).__name__}: {run.error}"
            self._messages.error(f"Training stopped {where}", run.traceback)
        if run.state != "running":
            self._leave_picture()

    def _on_spec(self, change: Any) -> None:
        run = self.current
        if run is None or run.ended:
            return
        old, new = change["old"], change["new"]
        changes = {n: getattr(new, n) for n in LIVE_SETTINGS if getattr(old, n) != getattr(new, n)}
        if changes:
            self._guarded(lambda: run.set(**changes))()

    def _on_complaint(self, change: Any) -> None:
        if change["new"]:
            self._messages.error(change["new"])
        else:
            self._messages.clear()

    def _guarded(self, act: Callable[[], object]) -> Callable[[], None]:
        """`act`, its errors shown in the panel: a callback's exception would go to the log, where nobody looks."""

        def guarded() -> None:
            try:
                act()
            except Exception as error:
                self._messages.error(str(error))

        return guarded

    def _leave_picture(self) -> None:
        if self._picture is not None:
            self._picture.update(picture(self.current, self.spec, self.title), raw=True)

    def _ipython_display_(self) -> None:
        if get_ipython() is None:
            print(f"{self!r}: open it in JupyterLab, or train with lab.run()")  # noqa: T201  # a plain Python prompt
            return
        take_cell(self)
        threading.Thread(target=warm_up, name="convlab-warm-up").start()
        stop_on_interrupt(self)
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        # Two outputs: the live view, of which a saved notebook keeps nothing, and a picture, which the live one hides.
        display({"application/vnd.jupyter.widget-view+json": view}, raw=True)
        self._picture = display(picture(self.current, self.spec, self.title), raw=True, display_id=True)

    def __repr__(self) -> str:
        state = self.current.state if self.current else "ready"
        return f"Lab({self.title}, {state}, {len(self.runs)} runs)"


def _explorer() -> widgets.Widget:
    from convlab.frontend.explorer import ConvExplorer

    return ConvExplorer()


def lenet_for(data: Data) -> nn.Sequential:
    """The small network in the size that `data` asks for."""
    channels, height, width = data.input_size
    if height != width or data.num_classes is None:
        raise ValueError(
            f"model is missing, and the bench's own network takes square pictures with classes, not {data.name} of "
            f"size {data.input_size}; pass a model: convlab.Lab(model, data)."
        )
    return lenet(channels, data.num_classes, height)


def _dropout_of(model: nn.Module) -> float | None:
    layers = (m.p for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd))
    return next(layers, None)
