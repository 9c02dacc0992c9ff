"""What a sweep keeps on disk: a manifest, the data, the wish of whoever holds the controls, a file for each worker.

The manifest is plain JSON and the data are tensors: anybody's may be looked at. A model that is a function, and data
that are objects of a user's own, are pickled, and to unpickle is to run code. So a pickle is only ever opened by its
SHA-256, which the `Sweep` that wrote it hands to its workers: what somebody else put into a directory is not run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from torch import Tensor, nn

from convlab._version import __version__
from convlab.data.data import Data
from convlab.data.resolve import resolve
from convlab.data.sources import TensorSource
from convlab.net_spec import NetSpec
from convlab.search.recipe import Recipe
from convlab.search.space import Space
from convlab.spec import TrainSpec
from convlab.training import checkpoint

if TYPE_CHECKING:
    from convlab.training.trainer import Criterion

FORMAT: Final = "convlab sweep"
VERSION: Final = 1
MANIFEST: Final = "sweep.json"
STUDY: Final = "study.sqlite3"
DATA: Final = "data.safetensors"

Wish = Literal["run", "pause", "stop"]
Plain = dict[str, Any]


class SweepError(RuntimeError):
    """A sweep that cannot go on, or a directory that holds none; the message says why."""


@final
@dataclass(frozen=True)
class Budget:
    """How much a sweep may do.

    Attributes:
        trials: in all, since the sweep began; None for no end.
        deadline: seconds since 1970 after which no trial begins, and one in progress ends with its epoch; None: never.
        since: attempts that were there when it was given: what failed before is no reason to give up.
    """

    trials: int | None
    deadline: float | None = None
    since: int = 0


@final
@dataclass(frozen=True)
class Directory:
    """The files of a sweep."""

    path: Path

    # -- what the sweep is --------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> Plain:
        """What the sweep is.

        Raises:
            SweepError: there is none, or it was written by a later version.
        """
        try:
            found = json.loads((self.path / MANIFEST).read_text("utf-8"))
        except FileNotFoundError:
            raise SweepError(f"there is no sweep in {str(self.path)!r}; begin one: convlab.Sweep(...).") from None
        except (OSError, ValueError, RecursionError) as error:
            raise SweepError(f"{self.path / MANIFEST} cannot be read: {error}.") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("version"), int):
            raise SweepError(f"{self.path / MANIFEST} is not the record of a sweep.")
        if found["version"] > VERSION:
            raise SweepError(f"{self.path} is of a later version; upgrade it: pip install -U convlab-jupyter.")
        return found

    @property
    def exists(self) -> bool:
        """Whether there is a sweep."""
        return (self.path / MANIFEST).exists()

    @property
    def storage(self) -> str:
        """The database, as SQLAlchemy names it."""
        told: str | None = self.manifest["storage"]
        return told or f"sqlite:///{(self.path / STUDY).resolve()}"

    def write(self, name: str, plain: Mapping[str, Any]) -> None:
        """Write JSON whole or not at all."""
        write_whole(self.path / name, json.dumps(plain, indent=1, allow_nan=False).encode())

    # -- who holds the controls ---------------------------------------------------------------------------------------

    @property
    def wish(self) -> Wish:
        """What the workers shall do; they look between two epochs."""
        try:
            told = (self.path / "wish").read_text("utf-8")
        except OSError:
            return "run"
        return "pause" if told == "pause" else "stop" if told == "stop" else "run"

    def set_wish(self, wish: Wish) -> None:
        """Let the workers run, stand still, or end."""
        write_whole(self.path / "wish", wish.encode())

    @property
    def budget(self) -> Budget:
        """How much may be done; nothing before it was told."""
        try:
            told = json.loads((self.path / "budget.json").read_text("utf-8"))
        except FileNotFoundError:
            return Budget(0)
        return Budget(told["trials"], told["deadline"], told["since"])

    def set_budget(self, budget: Budget) -> None:
        """Allow so much."""
        self.write("budget.json", {"trials": budget.trials, "deadline": budget.deadline, "since": budget.since})

    def run_file(self, number: int) -> Path:
        """Where the run of a trial is kept."""
        return self.path / "trials" / f"{number:05}.safetensors"

    # -- what is trained ----------------------------------------------------------------------------------------------

    def recipe(self, trusted: str | None) -> tuple[Recipe, Criterion | None]:
        """What all trials share, from the files.

        Args:
            trusted: the SHA-256 of the pickle that may be opened.

        Raises:
            SweepError, CheckpointError: a file is missing or damaged, or needs a pickle that is not trusted.
        """
        told = self.manifest
        given = self._unpickled(trusted) if told["pickled"] else {}
        if "model" in told["pickled"]:
            model = given["model"]
        else:
            plain = told["model"]
            model = NetSpec.from_dict(plain["net"]) if "net" in plain else plain["gallery"]
        data = resolve(given["data"]) if "data" in told["pickled"] else self._data(told["data"])
        if data.fingerprint != told["data"]["fingerprint"]:
            raise SweepError(f"the data are not those that the sweep in {str(self.path)!r} began with.")
        spec, space = TrainSpec.from_dict(told["spec"]), Space.of(told["space"])
        return Recipe(model, data, spec, space), given.get("criterion")

    def _data(self, told: Plain) -> Data:
        if "built_in" in told:
            return resolve(told["built_in"])
        tensors, record = checkpoint.read(self.path / DATA)
        parts = [
            TensorSource(tensors[f"{part}.x"], tensors[f"{part}.y"]) for part in ("train", "valid")[: record["parts"]]
        ]
        return Data(
            name=record["name"],
            train=parts[0],
            valid=parts[1] if len(parts) > 1 else None,
            input_size=tuple(record["input_size"]),
            num_classes=record["num_classes"],
            classes=tuple(record["classes"]),
            split=record["split"],
            fingerprint=record["fingerprint"],
            notes=tuple(record["notes"]),
        )

    def keep_data(self, data: Data) -> None:
        """Write data that are in memory."""
        sources = [one for one in (data.train, data.valid) if isinstance(one, TensorSource)]
        tensors: dict[str, Tensor] = {}
        for part, source in zip(("train", "valid"), sources, strict=False):
            # Copies: the parts may be views of one array, which the file's format refuses.
            tensors |= {f"{part}.x": source.x.clone(), f"{part}.y": source.y.clone()}
        names = ("name", "num_classes", "split", "fingerprint")
        record: Plain = {name: getattr(data, name) for name in names}
        record |= {name: list(getattr(data, name)) for name in ("input_size", "classes", "notes")}
        checkpoint.write(
            self.path / DATA,
            tensors,
            {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "parts": len(sources), **record},
        )

    def pickle(self, given: Mapping[str, object]) -> str:
        """Write what has no plainer form; returns its SHA-256, without which it is not opened again."""
        import cloudpickle

        content: bytes = cloudpickle.dumps(dict(given))
        digest = hashlib.sha256(content).hexdigest()
        write_whole(self.path / f"given-{digest[:16]}.pkl", content)
        return digest

    def _unpickled(self, trusted: str | None) -> dict[str, Any]:
        import cloudpickle

        if trusted is None:
            what = " and ".join(self.manifest["pickled"])
            raise SweepError(
                f"the {what} of the sweep in {str(self.path)!r} would have to be unpickled, which runs code; "
                "hand over your own: convlab.Sweep(model, data, spec, space, directory=...)."
            )
        content = (self.path / f"given-{trusted[:16]}.pkl").read_bytes()
        if hashlib.sha256(content).hexdigest() != trusted:
            raise SweepError(f"a pickle in {str(self.path)!r} is not the one that was written; begin the sweep again.")
        found: dict[str, Any] = cloudpickle.loads(content)
        return found


def described(recipe: Recipe, given_data: object, criterion: Criterion | None, rest: Mapping[str, Any]) -> Plain:
    """The manifest of a sweep."""
    model, data = recipe.model, recipe.data
    pickled = [] if criterion is None else ["criterion"]
    if isinstance(model, str):
        plain: Plain = {"gallery": model}
    elif isinstance(model, NetSpec):
        plain = {"net": model.to_dict()}
    else:
        plain = {"name": _name(model)}
        pickled.append("model")
    told: Plain = {"name": data.name, "fingerprint": data.fingerprint}
    if isinstance(given_data, str):
        told["built_in"] = given_data
    elif not in_memory(data):
        pickled.append("data")
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": __version__,
        "model": plain,
        "data": told,
        "criterion": None if criterion is None else _name(criterion),
        "spec": recipe.spec.to_dict(),
        "space": recipe.space.to_plain(),
        "pickled": sorted(pickled),
        **rest,
    }


def in_memory(data: Data) -> bool:
    """Whether the data are tensors, which have a file of their own."""
    return all(isinstance(one, TensorSource) for one in (data.train, data.valid) if one is not None)


def _name(function: nn.Module | Callable[..., Any]) -> str:
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{getattr(named, '__qualname__', '')}"


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file beside it and into its place: a reader finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


# -- workers of this machine ------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Worker:
    """A process of this machine that works on a sweep."""

    pid: int
    created: float
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether it is still there: a number may belong to another process since."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created) < 1
            return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    @property
    def told(self) -> str:
        """The end of what it said."""
        try:
            return self.log.read_text("utf-8", errors="replace")[-2000:]
        except OSError:
            return ""


def log_of(directory: Directory, number: int) -> Path:
    """What a worker says."""
    return directory.path / "workers" / f"{number}.log"


def forget_worker(directory: Directory, pid: int) -> None:
    """It is about to end."""
    (directory.path / "workers" / f"{pid}.json").unlink(missing_ok=True)


def note_worker(directory: Directory, pid: int, number: int) -> None:
    """Let others find it."""
    import psutil

    created = psutil.Process(pid).create_time()
    directory.write(
        f"workers/{pid}.json", {"pid": pid, "created": created, "host": socket.gethostname(), "number": number}
    )


def workers_of(directory: Directory) -> list[Worker]:
    """Those of this machine that were started and are alive."""
    found = []
    for file in sorted((directory.path / "workers").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(file.read_text("utf-8"))
            worker = Worker(int(told["pid"]), float(told["created"]), log_of(directory, int(told["number"])))
            if told["host"] == socket.gethostname() and worker.is_alive:
                found.append(worker)
    return found
