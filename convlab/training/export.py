"""A run for other tools: tables, weights, predictions, figures, TensorBoard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import safetensors.torch
import torch
from torch import Tensor

from convlab.limits import check_choice
from convlab.models.borrow import borrowed
from convlab.training.rewind import as_it_is
from convlab.training.trainer import VALID_BATCH

if TYPE_CHECKING:
    import pandas as pd

    from convlab.training.run import Run

KINDS: Final = ("csv", "json", "weights", "predictions", "png", "svg", "pdf", "tensorboard")


def export(run: Run, directory: str | Path, *kinds: str) -> list[Path]:
    """Write what is asked for into a directory, and return the files.

    Args:
        run: paused or ended, where weights or predictions are asked for.
        directory: made if it is missing.
        kinds: any of

            - ``"csv"``: steps.csv, epochs.csv and changes.csv;
            - ``"json"``: run.json, the recipe, the journal and the epochs;
            - ``"weights"``: weights.safetensors, for ``model.load_state_dict(safetensors.torch.load_file(path))``;
            - ``"predictions"``: predictions.csv, for the validation data (the training data without any);
            - ``"png"``, ``"svg"``, ``"pdf"``: curve.png, ..., the figure for a paper;
            - ``"tensorboard"``: event files, by TensorBoard's own writer: ``pip install convlab[tensorboard]``.

            ``"csv"``, ``"json"``, ``"weights"`` and ``"svg"`` if left out.

    Raises:
        SpecError: there is no such kind.
        ImportError: TensorBoard is not installed.
        OSError: nothing can be written there.

    Example:
        >>> import tempfile
        >>> from convlab.models.gallery import lenet
        >>> from convlab.spec import TrainSpec
        >>> from convlab.training.fit import fit
        >>> run = fit(lenet(), "digits", TrainSpec(epochs=1))
        >>> [path.name for path in export(run, tempfile.mkdtemp(), "csv", "png")]
        ['steps.csv', 'epochs.csv', 'changes.csv', 'curve.png']
    """
    chosen = kinds or ("csv", "json", "weights", "svg")
    for kind in chosen:
        check_choice("kind", kind, KINDS)
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    return [path for kind in chosen for path in _WRITE[kind](run, home)]


def predictions(run: Run, x: Tensor | None = None) -> pd.DataFrame:
    """What the model says, in eval mode; it is given back as it was.

    Args:
        run: paused or ended.
        x: inputs, ``(N, C, H, W)``; the validation data if left out (the training data without any).

    Returns:
        For classes: columns predicted, probability (of that class), and target and is_right where `x` is left out; for
        numbers: output (output_0, output_1, … where there are several) and target.

    Raises:
        RuntimeError: the run is training right now.
    """
    import pandas as pd

    outputs, targets = _outputs(run, x)
    classes = run.data.classes
    if run.data.num_classes is None or outputs.dim() != 2 or outputs.shape[1] < 2:
        flat = outputs.reshape(len(outputs), -1)
        names = ["output"] if flat.shape[1] == 1 else [f"output_{i}" for i in range(flat.shape[1])]
        table = pd.DataFrame(flat.numpy(), columns=names)
        if targets is not None:
            table["target"] = list(targets.reshape(len(targets), -1).squeeze(1).tolist())
        return table
    shares = outputs.softmax(1)
    best = shares.argmax(1)
    named = [classes[i] if i < len(classes) else str(i) for i in best.tolist()]
    table = pd.DataFrame({"predicted": named, "probability": shares.max(1).values.numpy()})
    if targets is not None:
        table["target"] = [classes[i] for i in targets.tolist()]
        table["is_right"] = (best == targets).numpy()
    return table


def _outputs(run: Run, x: Tensor | None) -> tuple[Tensor, Tensor | None]:
    found, targets = [], []
    trainer = run._trainer
    with as_it_is(run), borrowed(run.model), torch.no_grad():
        run.model.eval()
        if x is not None:
            for part in x.split(VALID_BATCH):
                found.append(run.model(part.to(run.device)).cpu())
            return torch.cat(found).float(), None
        source = run.data.train if run.data.valid is None else run.data.valid
        for inputs, target in source.batches(None, 0, VALID_BATCH, run.device, trainer.layout):
            found.append(run.model(inputs).cpu())
            targets.append(target.cpu())
    return torch.cat(found).float(), torch.cat(targets)


# -- one function a kind ----------------------------------------------------------------------------------------------


def _csv(run: Run, home: Path) -> list[Path]:
    import pandas as pd

    changes = [(one.step, one.name, str(one.old), str(one.new)) for one in run.journal]
    tables = {
        "steps": run.history.to_dataframe(),
        "epochs": run.history.to_dataframe("epoch"),
        "changes": pd.DataFrame(changes, columns=["step", "name", "old", "new"]),
    }
    for name, table in tables.items():
        table.to_csv(home / f"{name}.csv", index=False)
    return [home / f"{name}.csv" for name in tables]


def _json(run: Run, home: Path) -> list[Path]:
    record = {
        "name": run.name,
        "state": run.state,
        "model": type(run.model).__name__,
        "data": {"name": run.data.name, "fingerprint": run.data.fingerprint},
        "spec": run.spec.to_dict(),
        "changes": [
            {"step": one.step, "name": one.name, "old": str(one.old), "new": str(one.new)} for one in run.journal
        ],
        "epochs": [asdict(one) for one in run.history.epochs],
        "machine": run.machine,
    }
    path = home / "run.json"
    path.write_text(json.dumps(record, indent=1))
    return [path]


def _weights(run: Run, home: Path) -> list[Path]:
    path = home / "weights.safetensors"
    with as_it_is(run):
        state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in run.model.state_dict().items()}
    safetensors.torch.save_file(state, path)
    return [path]


def _predictions(run: Run, home: Path) -> list[Path]:
    path = home / "predictions.csv"
    predictions(run).to_csv(path, index=False)
    return [path]


def _figure(kind: str) -> Callable[[Run, Path], list[Path]]:
    def write(run: Run, home: Path) -> list[Path]:
        path = home / f"curve.{kind}"
        run.plot().savefig(path, dpi=300)
        return [path]

    return write


def _tensorboard(run: Run, home: Path) -> list[Path]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("TensorBoard is not installed; try pip install convlab[tensorboard].") from None
    name = re.sub(r"[^\w.-]+", "-", run.name).strip("-.") or "run"
    writer = SummaryWriter(str(home / name))
    try:
        table = run.history.to_dataframe()
        for step, loss, lr in zip(table["step"], table["train_loss"], table["lr"], strict=True):
            writer.add_scalar("loss/train", loss, int(step))
            writer.add_scalar("lr", lr, int(step))
        for one in run.history.epochs:
            for tag, value in (
                ("loss/train, epoch", one.train_loss),
                ("loss/validation", one.valid_loss),
                ("accuracy/train", one.train_accuracy),
                ("accuracy/validation", one.valid_accuracy),
            ):
                if value is not None:
                    writer.add_scalar(tag, value, one.step)
        for change in run.journal:
            writer.add_text("changes", str(change), change.step)
        writer.add_text("recipe", f"```\n{run.spec.to_json()}\n```", 0)
    finally:
        writer.close()
    return sorted((home / name).glob("events.*"))


_WRITE: Final[dict[str, Callable[[Run, Path], list[Path]]]] = {
    "csv": _csv,
    "json": _json,
    "weights": _weights,
    "predictions": _predictions,
    **{kind: _figure(kind) for kind in ("png", "svg", "pdf")},
    "tensorboard": _tensorboard,
}
