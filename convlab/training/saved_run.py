"""A run on disk: everything that it takes to look at it, and to go on with it bit for bit."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from convlab._version import __version__
from convlab.data.resolve import Data, resolve
from convlab.models.blueprint import blueprint, from_blueprint
from convlab.models.live import EditError, LiveModel, Place, bind
from convlab.models.trace import trace
from convlab.spec import LIMITS, TrainSpec
from convlab.training.checkpoint import FORMAT, VERSION, CheckpointError, read, read_record, write
from convlab.training.devices import choose_device
from convlab.training.history import EPOCH_ROWS, STEP_ROWS, Bookmark, History
from convlab.training.journal import Change
from convlab.training.machine import NAMES
from convlab.training.rewind import Branch, as_it_is, rewind
from convlab.training.saved_checks import check_sizes, epoch_record, moment, whole
from convlab.training.saved_scores import pack_scores, unpack_scores
from convlab.training.saved_state import Plain, Tensors, misfit, pack, put_values, unpack, unpack_journal, values_of
from convlab.training.snapshots import RunSnapshot
from convlab.training.state import TrainerState, capture, put_back
from convlab.training.trainer import Criterion

if TYPE_CHECKING:
    from convlab.training.run import Run

_WRONG: Final = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, LookupError, ArithmeticError, RecursionError),
    *(RuntimeError, AssertionError, MemoryError),
)
# What the network may grow to on the way while it is edited, from a file that tells so.
_MANY_TIMES: Final = 16
_SOME: Final = 2**22
_BUILDS: Final = ("set", "insert", "insert_after", "replace")
_LONGEST_NOTE: Final = 10_000
_MOST_ACTIVATION: Final = 2**30


@dataclass(frozen=True)
class SavedRun:
    """What a file tells of its run without being loaded.

    Attributes:
        path: the file.
        name: of the run.
        state: what the run was doing: ``"running"``, ``"paused"``, ``"stopped"``, ``"finished"`` or ``"failed"``.
        model: the network's class.
        data: what it was trained on.
        epoch, epochs, step: how far it had got.
        saved_at: seconds since 1970.
    """

    path: Path
    name: str
    state: str
    model: str
    data: str
    epoch: int
    epochs: int
    step: int
    saved_at: float

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left to do."""
        return self.state == "finished"


# -- out --------------------------------------------------------------------------------------------------------------


def save(run: Run, path: str | Path) -> None:
    """See `Run.save`."""
    if run.ended:
        if run.shown_step is not None:
            rewind(run, None)
        with as_it_is(run):
            tensors, record = packed(run, run.end_state or capture(run._trainer))
    else:
        with run.held():
            tensors, record = packed(run, capture(run._trainer))
    write(path, tensors, record)


def packed(run: Run, state: TrainerState, every_score: bool = True) -> tuple[Tensors, Plain]:
    """What is written of `run` at `state`, whose structure the model must have."""
    tensors, plain = pack(state, run.model)
    history = run.history.until(state.mark)
    start = run.beginning
    if start is not None:
        tensors |= values_of(start.weights, start.names, "start")
    tensors["history"] = torch.from_numpy(history._columns()[1])
    record = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": __version__,
        "saved_at": time.time(),
        "name": run.name,
        "note": run.note,
        "state": "running" if run.state == "pending" else run.state,
        "error": "" if run.error is None else f"{type(run.error).__name__}: {run.error}",
        "model": {
            "class": type(run.model).__name__,
            "blueprint": blueprint(run.model),
            "start": start and start.blueprint,
            "num_params": sum(param.numel() for param in run.model.parameters()),
        },
        "data": {"name": run.data.name, "fingerprint": run.data.fingerprint, "input_size": list(run.data.input_size)},
        "criterion": run._trainer.criterion_name,
        "spec": run.spec.to_dict(),
        "threads": run.threads,
        "machine": run.machine,
        "parent": run.parent and asdict(run.parent),
        "training": plain,
        "history": _packed_history(history),
        "scores": pack_scores(history.scores, every_score),
    }
    return tensors, record


def _packed_history(history: History) -> Plain:
    mark = history.bookmark()
    return {
        "num_steps": mark.num_steps,
        "stride": mark.stride,
        "num_epochs": mark.num_epochs,
        "epochs": [asdict(record) for record in mark.epochs],
        "best": mark.best and asdict(mark.best),
        "first_unsound": mark.first_unsound and asdict(mark.first_unsound),
    }


# -- in ---------------------------------------------------------------------------------------------------------------


def about(path: str | Path) -> SavedRun:
    """What a file holds.

    Raises:
        CheckpointError, OSError: as `Run.load`.
    """
    record = read_record(path)
    try:
        training = record["training"]
        return SavedRun(
            path=Path(path),
            name=str(record["name"])[:200],
            state=str(record["state"])[:20],
            model=str(record["model"]["class"])[:200],
            data=str(record["data"]["name"])[:200],
            epoch=whole("epoch", training["epoch"]),
            epochs=TrainSpec(**training["settings"]).epochs,
            step=whole("step", record["history"]["num_steps"]),
            saved_at=moment(record["saved_at"]),
        )
    except _WRONG as error:
        raise _broken(path, error) from None


def load(
    path: str | Path,
    model: nn.Module | None = None,
    data: object = None,
    *,
    criterion: Criterion | None = None,
    autosave: str | Path | None = None,
) -> Run:
    """The run that `save` wrote: `start` goes on with it, bit for bit, on the same machine and versions.

    Nothing in the file is unpickled, imported or called.

    Args:
        path: the file.
        model: where the network is of a class of your own: one such object, as it was when the run began. It takes the
            weights. A network of torch's own layers is made from the file.
        data: what the run was trained on, where it is not built in.
        criterion: the run's, if it had one of your own.
        autosave: a directory in which the run is kept on after each epoch; in the same file if it lies there.

    Raises:
        CheckpointError: the file is damaged, of another kind or version, or does not fit what was passed; nothing has
            changed then.
        OSError: it cannot be read.
    """
    from convlab.training.autosave import Autosave

    tensors, record = read(path)
    try:
        run = _fitting(Path(path), tensors, record, model, data, criterion)
    except CheckpointError:
        raise
    except _WRONG as error:
        raise _broken(path, error) from None
    if autosave is not None:
        run.autosave = Autosave(autosave, run.name, Path(path))
    return run


def _fitting(
    path: Path, tensors: Tensors, record: Plain, model: nn.Module | None, data: object, criterion: Criterion | None
) -> Run:
    found = _data(path, record, data)
    spec = TrainSpec(**record["spec"])
    name = record["criterion"]
    if (name is None) != (criterion is None):
        needs = f"its own criterion, {str(name)[:60]}; pass criterion=" if name else "none; leave criterion out"
        raise CheckpointError(f"{path.name} was trained with {needs}.")
    try:
        choose_device(spec.device)
    except ValueError:
        raise CheckpointError(
            f"{path.name} was trained with device={spec.device!r}, which this machine does not have; load it where "
            "there is one."
        ) from None
    if model is None:
        return _loaded(tensors, record, _own_network(path, record, tensors, found), found, spec, criterion)
    # First on a copy: what does not fit shall harm nothing.
    _loaded(tensors, record, copy.deepcopy(model), found, spec, criterion)
    return _loaded(tensors, record, model, found, spec, criterion)


def _broken(path: str | Path, error: BaseException) -> CheckpointError:
    told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return CheckpointError(f"{Path(path).name} does not hold a whole run: {told[:300]}")


def _data(path: str | Path, record: Plain, given: object) -> Data:
    name, fingerprint = str(record["data"]["name"]), record["data"]["fingerprint"]
    if given is None:
        try:
            given = resolve(name)
        except ValueError:
            raise CheckpointError(
                f"{Path(path).name} was trained on {name[:60]}, which is not built in; pass data=."
            ) from None
    found = resolve(given)
    if found.fingerprint != fingerprint:
        raise CheckpointError(f"the data are not those that {Path(path).name} was trained on; pass the same data=.")
    return found


def _own_network(path: Path, record: Plain, tensors: Tensors, data: Data) -> nn.Module:
    """The network as it was when the run began, or as it is where that is not known; of torch's own layers."""
    kept = record["model"]
    for plain, prefix in ((kept["start"], "start"), (kept["blueprint"], "model")):
        if plain is not None:
            network = from_blueprint(plain)
            if wrong := misfit(network, tensors, prefix):
                raise CheckpointError(f"{path.name} does not hold a whole run: {wrong}.")
            if (most := max(call.memory for call in trace(network, (1, *data.input_size)))) > _MOST_ACTIVATION:
                raise CheckpointError(
                    f"{path.name} holds a network that makes {most:,} bytes of one sample in a layer."
                )
            state = {name.removeprefix(f"{prefix}."): one for name, one in tensors.items()}
            network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
            _place_rest(network, state)
            return network
    raise CheckpointError(
        f"{path.name} holds a {str(kept['class'])[:60]}, a class of your own; "
        f"pass model={str(kept['class'])[:60]}(...)."
    )


def _place_rest(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Buffers that are in no state_dict."""
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta:
            home, _, last = name.rpartition(".")
            network.get_submodule(home)._buffers[last] = state[name].clone()


def _loaded(
    tensors: Tensors, record: Plain, model: nn.Module, data: Data, spec: TrainSpec, criterion: Criterion | None
) -> Run:
    from convlab.training.run import Run

    history = _history(record["history"], tensors["history"])
    history.scores = unpack_scores(record.get("scores", ()), history)
    journal = unpack_journal(record["training"]["journal"], history.num_steps)
    threads = LIMITS["threads"].checked("threads", record["threads"])
    from_start = not misfit(model, tensors, "start")
    if from_start:
        put_values(model, tensors, "start")
    elif wrong := misfit(model, tensors, "model"):
        raise CheckpointError(f"the model is not the one that was saved: {wrong}.")
    # With the number of threads told, the network is not run to find it out: it may be of anybody's making.
    run = Run(model, data, spec.replace(threads=threads), criterion=criterion, name=str(record["name"])[:200])
    run.spec = run._trainer.spec = spec
    if from_start:
        run.keep_start()
    edits = [change.new for change in journal if change.name == "edit"]
    if edits and from_start:
        most = _MANY_TIMES * max(map(_num_values, (_under(tensors, "start"), _under(tensors, "model")))) + _SOME
        live = bind(model, (1, *data.input_size))
        for edit in edits:
            _make_again(live, edit, most)
        live.move_to(Place(journal=live.journal))
        run._trainer.live = live
        run._trainer.structure_changed(run._trainer.dropouts)
        if wrong := misfit(model, tensors, "model"):
            raise CheckpointError(f"the edits of the run do not lead to the network that was saved: {wrong}.")
    _take_up(run, tensors, record, history, journal)
    return run


def _under(tensors: Tensors, prefix: str) -> list[Tensor]:
    return [tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")]


def _num_values(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _make_again(live: LiveModel, edit: Any, most: int) -> None:
    try:
        if edit == "undo":
            live.undo()
        elif edit == "redo":
            live.redo()
        else:
            if edit.action in _BUILDS:
                check_sizes(edit)
                size = _num_values(live.plan(edit).twin.model.parameters())
                if size > most:
                    raise CheckpointError(f"an edit of the run makes a network of {size:,} weights, too many for it.")
            live.apply(edit)
    except (EditError, LookupError) as error:
        raise CheckpointError(f"an edit of the run cannot be made again: {str(error)[:300]}") from None


def _take_up(run: Run, tensors: Tensors, record: Plain, history: History, journal: tuple[Change, ...]) -> None:
    trainer, parent = run._trainer, record["parent"]
    run.note = str(record["note"])[:_LONGEST_NOTE]
    run.machine = {name: str(record["machine"][name])[:80] for name in NAMES if name in record["machine"]}
    if parent is not None:
        run.parent = Branch(str(parent["name"])[:200], whole("step", parent["step"]))
    state = unpack(trainer, tensors, record["training"], history.bookmark(), journal)
    put_back(trainer, state)
    trainer.enter_training()
    trainer.history = history
    run.snapshots.add(RunSnapshot(state.step, state.epoch, "end", state))
    run.taken_up(None, ended="finished" if record["state"] == "finished" else None)


def _history(plain: Plain, rows: Tensor) -> History:
    steps, stride = whole("num_steps", plain["num_steps"]), whole("stride", plain["stride"])
    if stride < 1 or stride & (stride - 1) or steps // stride >= STEP_ROWS or len(plain["epochs"]) > EPOCH_ROWS:
        raise ValueError("the curve is not whole")
    if rows.dtype != torch.float64 or rows.shape != (4, -(-steps // stride)):
        raise ValueError("the curve is not whole")
    count = rows.shape[1]
    history = History()
    history._rows[:, :count] = rows.numpy()
    history.stride = stride
    in_row = steps % stride
    row = rows[:, -1].tolist() if in_row else [0.0] * 4
    mark = Bookmark(
        num_steps=steps,
        stride=stride,
        in_row=in_row,
        row=(row[0], row[1], row[2], row[3]),
        num_epochs=whole("num_epochs", plain["num_epochs"]),
        epochs=tuple(map(epoch_record, plain["epochs"])),
        best=plain["best"] and epoch_record(plain["best"]),
        first_unsound=plain["first_unsound"] and epoch_record(plain["first_unsound"]),
    )
    return history.until(mark)
