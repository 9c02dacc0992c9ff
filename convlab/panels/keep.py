"""Runs on disk: save, keep by epoch, load and go on, export."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ipywidgets as widgets

from convlab.frontend.style import Style
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages
from convlab.training.autosave import saved_runs
from convlab.training.export import KINDS
from convlab.training.run import Run
from convlab.training.saved_run import SavedRun

_STYLE: Final = {"description_width": "auto"}


class Keep(widgets.VBox):
    """A directory: the selected run is saved or exported there, and those that lie there are loaded or gone on with.

    Args:
        selected: the run that Save and Export are for.
        load: loads a file and puts it on the bench; with True it goes on with it.
        autosave: sets the directory in which each run is kept by epoch, or None.
        directory: to begin with.
        is_on: whether runs are kept by epoch.
    """

    def __init__(
        self,
        selected: Callable[[], Run | None],
        load: Callable[[Path, bool], object],
        autosave: Callable[[Path | None], object],
        directory: str | Path = "runs",
        is_on: bool = False,
    ) -> None:
        self._selected, self._load, self._set = selected, load, autosave
        self._messages = Messages()
        self._latest = Latest(self._messages.exception)
        self.directory = widgets.Text(str(directory), description="Directory", style=_STYLE, continuous_update=False)
        self.directory.tooltip = "Where runs are kept, seen from the notebook's own directory."
        self.autosave = widgets.Checkbox(is_on, description="Keep each run by epoch", indent=False)
        self.autosave.tooltip = "Write each run into the directory after every epoch, so that it outlives the kernel."
        self.save_button = _button("Save run", "save", "Write the selected run into the directory.", self._save)
        self.kind = _dropdown("as", "What is exported.", KINDS, "csv")
        self.export_button = _button(
            "Export", "download", "Write the selected run's numbers or pictures.", self._export
        )
        self.found = _dropdown(
            "On disk", "The runs in the directory, latest first.", [("nothing here yet", None)], None
        )
        self.found.add_class("convlab-found")
        self.load_button = _button("Load", "folder-open", "Put it on the bench as it is.", lambda: self._open(False))
        self.resume_button = _button("Resume", "play", "Load it and go on training.", lambda: self._open(True))
        self.directory.observe(lambda _: self._on_place(), "value")
        self.autosave.observe(lambda _: self._on_place(), "value")
        self.found.observe(lambda _: self._enable(), "value")
        first = widgets.HBox([self.directory, self.autosave])
        second = widgets.HBox([self.save_button, self.export_button, self.kind])
        third = widgets.HBox([self.found, self.load_button, self.resume_button])
        for row in (first, second, third):
            row.add_class("convlab-keep")
        super().__init__([Style(), first, second, third, self._messages])
        self.add_class("convlab")
        self.refresh()

    def refresh(self) -> None:
        """Look into the directory, soon and in another thread."""
        self._latest(self._look)

    def settle(self) -> None:
        """Block until everything asked for is done."""
        self._latest.wait()

    @property
    def place(self) -> Path:
        """The directory."""
        return Path(self.directory.value.strip() or "runs").expanduser()

    def _on_place(self) -> None:
        self._latest.also(self._set_place)

    def _set_place(self) -> None:
        self._set(self.place if self.autosave.value else None)
        self._look()

    def _look(self) -> None:
        kept = saved_runs(self.place) if self.place.is_dir() else []
        before = self.found.value
        options: list[tuple[str, SavedRun | None]] = [(_told(one), one) for one in kept]
        self.found.options = options or [("nothing here yet", None)]
        same = [one for one in kept if before is not None and one.path == before.path]
        self.found.value = same[0] if same else self.found.options[0][1]
        self._enable()

    def _enable(self) -> None:
        found = self.found.value
        self.load_button.disabled = found is None
        self.resume_button.disabled = found is None or found.is_whole

    def _save(self) -> None:
        def save() -> None:
            run = self._run()
            self.place.mkdir(parents=True, exist_ok=True)
            path = self.place / f"{_file_name(run.name)}.safetensors"
            run.save(path)
            self._messages.note(f"{run.name} is in {path}.")
            self._look()

        self._latest.also(save)

    def _export(self) -> None:
        def export() -> None:
            run = self._run()
            files = run.export(self.place / _file_name(run.name), str(self.kind.value))
            self._messages.note(f"Written: {', '.join(map(str, files))}.")

        self._latest.also(export)

    def _run(self) -> Run:
        run = self._selected()
        if run is None:
            raise RuntimeError("there is no run yet; press Run on the Training tab first.")
        return run

    def _open(self, go_on: bool) -> None:
        found: Any = self.found.value
        if found is not None:
            self._latest.also(lambda: self._opened(found, go_on))

    def _opened(self, found: SavedRun, go_on: bool) -> None:
        self._load(found.path, go_on)
        self._messages.note(f"{found.name} is on the bench{', and goes on' if go_on else ''}.")


def _dropdown(text: str, tooltip: str, options: Any, value: Any) -> widgets.Dropdown:
    # A Dropdown that has a description does not show its tooltip.
    label = f'<span title="{tooltip}">{text}</span>'
    return widgets.Dropdown(options=options, value=value, description=label, description_allow_html=True, style=_STYLE)


def _button(text: str, icon: str, tooltip: str, act: Callable[[], object]) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon, tooltip=tooltip)
    button.on_click(lambda _: act())
    return button


def _told(one: SavedRun) -> str:
    where = f"epoch {one.epoch} of {one.epochs}, {one.model} on {one.data}"
    return f"{one.name or 'run'}: {one.state}, {where} ({one.path.name})"


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.")[:60] or "run"
