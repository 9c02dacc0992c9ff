"""*Show code*: a training as a plain PyTorch script that a student reads from top to bottom, without this package.

Run on the CPU it gives the losses of the bench bit for bit: same weights, same batches, same settings at the same
steps. It holds no more machinery than its recipe and its journal ask for.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from convlab.data.data import Data
from convlab.data.resolve import resolve
from convlab.models.borrow import private_copy
from convlab.models.calls import source
from convlab.models.source import ModelSource, as_call, sorted_imports, source_of
from convlab.spec import TrainSpec
from convlab.training.devices import choose_device
from convlab.training.edit_log import Jump, Record
from convlab.training.journal import Change
from convlab.training.script_changes import Changes
from convlab.training.script_data import data_code
from convlab.training.script_edits import Edits
from convlab.training.script_loop import Loop
from convlab.training.script_start import Start, refuses_one
from convlab.training.script_text import statement
from convlab.training.threads import mult_adds, num_threads
from convlab.training.trainer import Trainer

if TYPE_CHECKING:
    from convlab.training.run import Run

SEEDS: Final = range(10)
"""Seeds that are tried, beside the recipe's own, to find the one that the weights were drawn with."""


def script(run: "Run", weights: str | None = None) -> str:
    """A plain PyTorch script that repeats a run from its start: its recipe, and its journal's changes at their steps.

    It trains all epochs, also where the run was stopped. After it, ``losses`` holds the loss of every step.

    Args:
        run: in any state.
        weights: a file for `save_start` from which the script loads the weights that the run began with; if left out,
            the script draws them from the seed that explains them, or loads "weights.pt" where none does.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.training.run import Run
        >>> script(Run(lenet(), "digits")).splitlines()[0]
        'from collections import OrderedDict'
    """
    trainer, start = run._trainer, _start(run)
    records = tuple(trainer.edits.records)
    if len(records) < sum(change.name == "edit" for change in run.journal):  # a run that was loaded
        records = _tried(start.with_values(), run.data, run.spec, run.journal)
    return _Script(
        start=start,
        data=run.data,
        spec=run.spec,
        journal=run.journal,
        records=records,
        threads=run.threads,
        device=run.device,
        criterion=trainer._own_criterion,
        weights=weights,
    ).text()


def _start(run: "Run") -> Start:
    return run.beginning.start if run.beginning is not None else Start.of(run.model, None, run._trainer.dropouts)


def script_for(
    model: nn.Module,
    data: object,
    spec: TrainSpec | None = None,
    journal: Sequence[Change] = (),
    *,
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
    weights: str | None = None,
) -> str:
    """The script of a training that has not begun: of `model` as it is now; arguments as of `Run` and `script`.

    Example:
        >>> "torch.optim.SGD" in script_for(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits")
        True
    """
    spec, found = spec or TrainSpec(), resolve(data)
    sample = torch.zeros(1, *found.input_size, device=next((p.device for p in model.parameters()), None))
    return _Script(
        start=Start.of(model),
        data=found,
        spec=spec,
        journal=tuple(journal),
        records=_tried(Start.of(model).with_values(), found, spec, journal),
        threads=spec.threads or num_threads(_work(model, sample) * spec.batch_size),
        device=choose_device(spec.device),
        criterion=criterion,
        weights=weights,
    ).text()


def _tried(copy: nn.Module, data: Data, spec: TrainSpec, journal: Sequence[Change]) -> tuple[Record, ...]:
    """What the edits of a journal do, found out on a copy of the network that is theirs to change."""
    edits = [change.new for change in sorted(journal, key=lambda one: one.step) if change.name == "edit"]
    if not edits:
        return ()
    trainer = Trainer(copy, data, spec.replace(dropout=None))
    for edit in edits:
        trainer.set("edit", edit)
    return tuple(trainer.edits.records)


def save_start(run: "Run", path: str | Path = "weights.pt") -> None:
    """Write the weights and buffers that a run began with, for a script that loads them.

    Where an edit of before the run was undone in it, those of then go to a file beside it, such as "weights-2.pt".
    """
    torch.save(_start(run).named(), path)
    for number, jump in jumps(run._trainer.edits.records):
        torch.save(jump.start.named(), beside(path, number))


@dataclass
class _Script:
    """The sections of a script, top to bottom."""

    start: Start
    data: Data
    spec: TrainSpec
    journal: tuple[Change, ...]
    records: tuple[Record, ...]
    threads: int
    device: torch.device
    criterion: Callable[[Tensor, Tensor], Tensor] | None
    weights: str | None
    imports: set[str] = field(default_factory=lambda: {"import torch"})
    definitions: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.start.model
        self.code = data_code(self.data)
        names = {change.name for change in self.journal}
        self.edits = Edits(
            self.records,
            self.spec,
            in_eval=tuple(self.start.in_eval()),
            drops_one=self._drops_one("batch_size" in names),
            dropout="dropout" in names,
            device=self.device.type,
            moves_momentum=bool(self.spec.momentum or self.spec.schedule or names & {"momentum", "schedule"}),
        )
        for number, jump in jumps(self.records):
            self.edits.jumps[number] = self._jump(number, jump)
        self.changes = Changes(self.spec, self.journal, self.edits, overruns=self._overruns())

    def text(self) -> str:
        """The whole script."""
        loop = Loop(self.spec, self.data, self.code, self.changes, self.edits, self.criterion, str(self.device))
        model = self._model()
        sections = [self._settings(), list(self.code.lines), model, self._optimizer()]
        blocks = [*self.changes.helpers(), *self.changes.function()]
        if loop.batched:
            blocks.append(loop.batches())
        lines = loop.lines()
        self.imports.update(self.code.imports, loop.imports, self.edits.imports)
        body = "\n\n".join("\n".join(lines) for lines in sections if lines).replace("\n\ndef ", "\n\n\ndef ")
        whole = body + "".join(f"\n\n\n{block}" for block in blocks)
        whole += ("\n\n\n" if blocks else "\n\n") + "\n".join(lines)
        if "math." in whole:
            self.imports.add("import math")
        if " nn." in whole or "(nn." in whole or "=nn." in whole:
            self.imports.add("from torch import nn")
        head = [sorted_imports(self.imports), *self.definitions]
        return "\n\n\n".join(head) + ("\n\n\n" if self.definitions else "\n\n") + whole + "\n"

    # -- before the loop ----------------------------------------------------------------------------------------------

    def _settings(self) -> list[str]:
        lines = [f"torch.set_num_threads({self.threads})  # another number may round the last bit otherwise"]
        if self.device.type != "cpu":
            lines.append(f'device = torch.device("{self.device}")')
        lines.append(f"epochs = {self.spec.epochs}")
        if self.code.kind != "loader":
            lines.append(f"batch_size = {self.spec.batch_size}")
        if self.spec.micro_batch_size is not None or self.changes.changes("micro_batch_size"):
            lines.append(
                f"micro_batch_size = {self.spec.micro_batch_size}  # samples that go through the network at once"
            )
        if self.changes.changes("clip_grad_norm"):
            lines.append(f"max_norm = {self.spec.clip_grad_norm!r}")
        return lines

    def _model(self) -> list[str]:
        fixed = self.spec.dropout if not self.changes.changes("dropout") else None
        found = source_of(self.model, lambda layer: layer.p if fixed is None else fixed)
        lines = self._made(found, self.start, self.weights)
        if self.device.type != "cpu":
            lines.append("model.to(device)")
        if self.spec.channels_last:
            lines.append("model.to(memory_format=torch.channels_last)")
        drops = [f"{' ' * 4}m: m.p for m in model.modules() if isinstance(m, {_DROPOUT_CLASS})"]
        written = found.call is not None and "nn.Dropout" in found.code and not found.layers
        if self.changes.changes("dropout") or (fixed is not None and not written):
            lines += ["own_dropout = {", *drops, "}"]
            if self.spec.dropout is not None:
                lines += ["for layer in own_dropout:", f"    layer.p = {self.spec.dropout!r}"]
        return lines

    def _made(self, found: ModelSource, start: Start, weights: str | None) -> list[str]:
        """Lines that make a network, with the values that it had: of a file, or of a seed that explains them."""
        self.imports.update(found.imports)
        self.definitions.update(dict.fromkeys(found.definitions))
        seed = None if weights else self._seed(found, start)
        lines = [] if seed is None else [f"torch.manual_seed({seed})  # decides the weights"]
        lines.append(found.code)
        if seed is None:
            lines.append("# The weights that the training began with, as they were saved.")
            lines.append(_loading(weights or "weights.pt"))
        return [*lines, *_freezing(start)]

    def _seed(self, found: ModelSource, start: Start) -> int | None:
        """The seed after which the source draws the very weights that a network had."""
        seeds: list[int] = [self.spec.seed, *SEEDS]
        for seed in seeds:
            model = found.build(seed)
            if model is None:
                return None
            drawn = [*model.parameters(), *model.buffers()]
            if len(drawn) == len(start.values) and all(_equal(a, b) for a, b in zip(drawn, start.values, strict=True)):
                return seed
        return None

    def _jump(self, number: int, jump: Jump) -> list[str]:
        """Lines of a case that make the network as it was before an edit that is older than the training."""
        found = source_of(jump.start.model)
        self.imports.update(found.imports)
        self.definitions.update(dict.fromkeys(found.definitions))
        seed = self._seed(found, jump.start)
        drawn = [] if seed is None else [f"torch.manual_seed({seed})  # decides the weights"]
        lines = [
            "former = dict(model.named_parameters())",
            f"with torch.random.fork_rng({'devices=[]' if self.device.type == 'cpu' else ''}):",
            *(f"    {line}" for one in (*drawn, found.code) for line in one.split("\n")),
        ]
        if seed is None:
            lines.append("# The weights of before that edit, as they were saved.")
            lines += _loading(str(beside(self.weights or "weights.pt", number))).split("\n")
        lines += _freezing(jump.start)
        if self.device.type != "cpu":
            lines.append("model.to(device)")
        if self.spec.channels_last:
            lines.append("model.to(memory_format=torch.channels_last)")
        self.edits.globals.add("model")
        return [f"{' ' * 12}{line}" for line in lines]

    def _optimizer(self) -> list[str]:
        spec = self.spec
        params = "[p for p in model.parameters() if p.requires_grad]" if self.start.frozen else "model.parameters()"
        arguments = [params, f"lr={spec.lr!r}"]
        if spec.optimizer in ("sgd", "rmsprop"):
            arguments.append(f"momentum={spec.momentum!r}" if spec.momentum else "")
        else:
            arguments.append(f"betas={spec.betas!r}" if spec.betas != (0.9, 0.999) else "")
        # AdamW decays by default.
        arguments.append(
            f"weight_decay={spec.weight_decay!r}" if spec.weight_decay or spec.optimizer == "adamw" else ""
        )
        if spec.optimizer != "rmsprop" and self.device.type in ("cpu", "cuda"):
            arguments.append("fused=True")
        name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[spec.optimizer]
        lines = [
            *self._criterion(),
            statement("optimizer = ", f"torch.optim.{name}({', '.join(filter(None, arguments))})"),
        ]
        if self.changes.uses_group:
            lines.append("group = optimizer.param_groups[0]")
        if not self.changes.steered:
            lines += self.changes.start()
        return lines

    def _criterion(self) -> list[str]:
        if self.criterion is not None:
            return self._own_criterion(self.criterion)
        if self.data.num_classes is None:
            return ["criterion = nn.MSELoss()"]
        smoothing = self.spec.label_smoothing
        return [f"criterion = nn.CrossEntropyLoss({f'label_smoothing={smoothing!r}' if smoothing else ''})"]

    def _own_criterion(self, criterion: Callable[[Tensor, Tensor], Tensor]) -> list[str]:
        call = as_call(criterion) if isinstance(criterion, nn.Module) else None
        if call is not None:
            return [f"criterion = {source(call, 0, len('criterion = '))}"]
        home, name = getattr(criterion, "__module__", "__main__"), getattr(criterion, "__qualname__", "<")
        if inspect.isfunction(criterion) and home != "__main__" and name.isidentifier():
            self.imports.add(f"from {home} import {name}")
            return [f"criterion = {name}"]
        return ["# Put your criterion here.", "criterion = ..."]

    # -- what depends on the data -------------------------------------------------------------------------------------

    def _drops_one(self, batched: bool) -> bool | None:
        """Whether a last batch of one sample is left out, for BatchNorm's sake; None where there is no such batch."""
        samples, size = self.data.train.num_samples, self.spec.batch_size
        if self.code.kind == "tensors" and not batched and (size == 1 or samples % size != 1):
            return None
        return refuses_one(self.model, self.data.input_size)

    def _steps_per_epoch(self) -> int | None:
        samples = self.data.train.num_samples
        size: int = self.data.train.batch_size or self.spec.batch_size
        return math.ceil(samples / size) if samples > 0 else None

    def _overruns(self) -> bool:
        """Whether the recipe's schedule may come to an end before the training, where torch raises an error."""
        schedule = self.spec.schedule
        if schedule is None:
            return False
        if schedule.scheduler in ("SequentialLR", "ChainedScheduler"):
            return "OneCycleLR" in schedule.to_json()
        if schedule.scheduler != "OneCycleLR":
            return False
        if any(change.name in ("batch_size", "epochs") for change in self.journal):
            return True
        arguments = schedule.arguments
        total = arguments.get("total_steps") or arguments["epochs"] * arguments["steps_per_epoch"]
        steps = self._steps_per_epoch()
        calls: int | None = self.spec.epochs if schedule.cadence == "epoch" else steps and steps * self.spec.epochs
        return calls is None or bool(calls > total)


_DROPOUT_CLASS: Final = "nn.modules.dropout._DropoutNd"


def _loading(path: str) -> str:
    return statement("", f"model.load_state_dict(torch.load({path!r}, weights_only=True))")


def _freezing(start: Start) -> list[str]:
    return [f'model.get_parameter("{name}").requires_grad_(False)' for name in start.frozen]


def jumps(records: Iterable[Record]) -> list[tuple[int, Jump]]:
    """Edits of before a training that were undone in it, or made again."""
    return [(number, one.jump) for number, one in enumerate(records) if one.jump is not None]


def beside(path: str | Path, number: int) -> Path:
    """The file for the weights that one of them put back."""
    whole = Path(path)
    return whole.with_stem(f"{whole.stem}-{number + 1}")


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.detach().cpu(), b.cpu())


def _work(model: nn.Module, sample: Tensor) -> int:
    """Multiply-adds of a forward, found on a copy: a run of the very model may begin meanwhile."""
    try:
        twin = private_copy(model)
    except Exception:  # whatever a person's own class says to being copied
        return 0
    return mult_adds(twin, sample)
