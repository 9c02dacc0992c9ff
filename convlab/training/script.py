"""*Show code*: a training as a plain PyTorch script that a student reads from top to bottom, without this package.

Run on the CPU it gives the losses of the bench bit for bit: same weights, same batches, same settings at the same
steps. It holds no more machinery than its recipe and its journal ask for.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from convlab.data.data import Data
from convlab.data.resolve import resolve
from convlab.models.borrow import Snapshot, private_copy, snapshot
from convlab.models.calls import source
from convlab.models.source import ModelSource, as_call, sorted_imports, source_of
from convlab.spec import TrainSpec
from convlab.training.journal import Change
from convlab.training.script_changes import Changes
from convlab.training.script_data import data_code
from convlab.training.script_text import statement
from convlab.training.threads import mult_adds, num_threads
from convlab.training.trainer import VALID_BATCH, choose_device

if TYPE_CHECKING:
    from convlab.training.run import Run

SEEDS: Final = range(10)
"""Seeds that are tried, beside the recipe's own, to find the one that the weights were drawn with."""

_BatchNorm = nn.modules.batchnorm._BatchNorm
_Dropout = nn.modules.dropout._DropoutNd


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
    trainer = run._trainer
    return _Script(
        model=run.model,
        start=run._points.get("start") or snapshot(run.model),
        data=run.data,
        spec=run.spec,
        journal=run.journal,
        threads=run.threads,
        device=run.device,
        dropouts=trainer.dropouts,
        criterion=trainer._own_criterion,
        weights=weights,
    ).text()


def script_for(
    model: nn.Module,
    data: object,
    spec: TrainSpec | None = None,
    journal: Iterable[Change] = (),
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
        model=model,
        start=snapshot(model),
        data=found,
        spec=spec,
        journal=tuple(journal),
        threads=spec.threads or num_threads(mult_adds(model, sample) * spec.batch_size),
        device=choose_device(spec.device),
        dropouts={module: module.p for module in model.modules() if isinstance(module, _Dropout)},
        criterion=criterion,
        weights=weights,
    ).text()


def save_start(run: "Run", path: str | Path = "weights.pt") -> None:
    """Write the weights and buffers that a run began with, for a script that loads them."""
    if "start" not in run._points:
        raise RuntimeError(
            "the network was edited, so the weights that it began with are gone; save model.state_dict()."
        )
    began = {id(tensor): was for tensor, was in run._points["start"].tensors}
    state = run.model.state_dict(keep_vars=True)
    torch.save({name: began.get(id(tensor), tensor.detach()) for name, tensor in state.items()}, path)


@dataclass
class _Script:
    """The sections of a script, top to bottom."""

    model: nn.Module
    start: Snapshot
    data: Data
    spec: TrainSpec
    journal: tuple[Change, ...]
    threads: int
    device: torch.device
    dropouts: Mapping[_Dropout, float]
    criterion: Callable[[Tensor, Tensor], Tensor] | None
    weights: str | None
    imports: set[str] = field(default_factory=lambda: {"import torch"})

    def __post_init__(self) -> None:
        self.code = data_code(self.data)
        self.validates = self.data.valid is not None
        self.changes = Changes(self.spec, self.journal, overruns=self._overruns())
        self.batched = self.changes.changes("batch_size") and self.code.kind != "loader"
        self.drops_one = self._drops_one()

    def text(self) -> str:
        """The whole script."""
        definitions, model = self._model()
        sections = [self._settings(), list(self.code.lines), model, self._optimizer()]
        blocks = [*self.changes.helpers(), *self.changes.function()]
        if self.batched:
            blocks.append(self._batches())
        loop = self._loop()
        self.imports.update(self.code.imports)
        body = "\n\n".join("\n".join(lines) for lines in sections if lines).replace("\n\ndef ", "\n\n\ndef ")
        whole = body + "".join(f"\n\n\n{block}" for block in blocks)
        whole += ("\n\n\n" if blocks else "\n\n") + "\n".join(loop)
        if "math." in whole:
            self.imports.add("import math")
        if " nn." in whole or "(nn." in whole or "=nn." in whole:
            self.imports.add("from torch import nn")
        head = [sorted_imports(self.imports), *definitions]
        return "\n\n\n".join(head) + ("\n\n\n" if definitions else "\n\n") + whole + "\n"

    # -- before the loop ----------------------------------------------------------------------------------------------

    def _settings(self) -> list[str]:
        lines = [f"torch.set_num_threads({self.threads})  # another number may round the last bit otherwise"]
        if self.device.type != "cpu":
            lines.append(f'device = torch.device("{self.device}")')
        lines.append(f"epochs = {self.spec.epochs}")
        if self.code.kind != "loader":
            lines.append(f"batch_size = {self.spec.batch_size}")
        if self.changes.changes("clip_grad_norm"):
            lines.append(f"max_norm = {self.spec.clip_grad_norm!r}")
        return lines

    def _model(self) -> tuple[tuple[str, ...], list[str]]:
        own = self.dropouts
        fixed = self.spec.dropout if not self.changes.changes("dropout") else None

        def p(layer: _Dropout) -> float:
            return fixed if fixed is not None else own.get(layer, layer.p)

        found = source_of(self.model, p)
        self.imports.update(found.imports)
        seed = None if self.weights else self._seed(found)
        lines = [] if seed is None else [f"torch.manual_seed({seed})  # decides the weights"]
        lines.append(found.code)
        if seed is None:
            path = self.weights or "weights.pt"
            lines.append("# The weights that the training began with, as they were saved.")
            lines.append(statement("", f"model.load_state_dict(torch.load({path!r}, weights_only=True))"))
        lines += [f'model.get_parameter("{name}").requires_grad_(False)' for name in self._frozen()]
        if self.device.type != "cpu":
            lines.append("model.to(device)")
        if self.spec.channels_last:
            lines.append("model.to(memory_format=torch.channels_last)")
        drops = [f"{' ' * 4}m: m.p for m in model.modules() if isinstance(m, {_DROPOUT_CLASS})"]
        written = found.call is not None and "nn.Dropout" in found.code
        if self.changes.changes("dropout") or (fixed is not None and not written):
            lines += ["own_dropout = {", *drops, "}"]
            if self.spec.dropout is not None:
                lines += ["for layer in own_dropout:", f"    layer.p = {self.spec.dropout!r}"]
        return found.definitions, lines

    def _seed(self, found: ModelSource) -> int | None:
        """The seed after which the source draws the very weights that the run began with."""
        began = [was for _, was in self.start.tensors]
        seeds: list[int] = [self.spec.seed, *SEEDS]
        for seed in seeds:
            model = found.build(seed)
            if model is None:
                return None
            drawn = [*model.parameters(), *model.buffers()]
            if len(drawn) == len(began) and all(_equal(a, b) for a, b in zip(drawn, began, strict=True)):
                return seed
        return None

    def _frozen(self) -> list[str]:
        trains = {id(param): requires for param, requires, _ in self.start.grads}
        return [name for name, param in self.model.named_parameters() if not trains.get(id(param), True)]

    def _optimizer(self) -> list[str]:
        spec = self.spec
        params = "[p for p in model.parameters() if p.requires_grad]" if self._frozen() else "model.parameters()"
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

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _batches(self) -> str:
        count = "len(x_train)" if self.code.kind == "tensors" else "len(train_set)"
        if self.code.kind == "tensors":
            batch = "x_train[index], y_train[index]"
        else:
            self.imports.add("from torch.utils.data import default_collate")
            batch = "default_collate([train_set[i] for i in index.tolist()])"
        return "\n".join(
            [
                "def batches():",
                '    """An epoch in random order, drawn as a DataLoader draws it, in batches of any size."""',
                "    torch.empty((), dtype=torch.int64).random_()  # a loader's seed for its workers",
                "    seed = torch.empty((), dtype=torch.int64).random_().item()",
                f"    order = torch.randperm({count}, generator=torch.Generator().manual_seed(seed))",
                "    start = 0",
                "    while start < len(order):",
                "        index = order[start : start + batch_size]",
                "        start += len(index)",
                f"        yield {batch}",
            ]
        )

    def _loop(self) -> list[str]:
        spec, changes = self.spec, self.changes
        lines = changes.start() if changes.steered else []
        if spec.patience is not None:
            lines.append('best_loss, best_epoch, best_state = float("inf"), 0, None')
            if spec.restore_best:
                self.imports.add("import copy")
        lines.append("losses = []")
        lines.append(f"torch.manual_seed({spec.seed})  # decides the order of samples, and dropout")
        lines += self._loader()
        if 0 in changes.steps:
            lines.append("change_settings(0)")
        if changes.changes("epochs"):
            lines += ["epoch = 0", "while epoch < epochs:", "    epoch += 1"]
        else:
            lines.append("for epoch in range(1, epochs + 1):")
        return [*lines, *_indented(self._epoch()), *self._end()]

    def _loader(self) -> list[str]:
        if self.batched or self.code.kind == "loader":
            return []
        self.imports.add("from torch.utils.data import DataLoader")
        dataset = "train_set"
        if self.code.kind == "tensors":
            dataset = "TensorDataset(x_train, y_train)"
            self.imports.add("from torch.utils.data import TensorDataset")
        return [statement("train_loader = ", f"DataLoader({dataset}, batch_size=batch_size, shuffle=True)")]

    def _epoch(self) -> list[str]:
        spec = self.spec
        hits = not self.validates and self._scores_accuracy()
        lines = ["model.train()", *(f'model.get_submodule("{name}").eval()' for name in self._stay_in_eval())]
        lines.append("train_loss, seen, hits = 0.0, 0, 0" if hits else "train_loss, seen = 0.0, 0")
        lines.append(f"for x, y in {'batches()' if self.batched else 'train_loader'}:")
        lines += _indented(self._step(hits))
        lines += self._validation(hits)
        if not self.changes.steered and spec.schedule is not None and spec.schedule.cadence == "epoch":
            lines.append(self._scheduler_step("train_loss" if not self.validates else "valid_loss"))
        if self.changes.steered:
            loss = "valid_loss" if self.validates else "train_loss"
            lines.append(f'steering.step("epoch", {loss}{", accuracy" if self._scores_accuracy() else ""})')
        if spec.patience is not None:
            loss = "valid_loss" if self.validates else "train_loss"
            lines += [f"if {loss} < best_loss:", f"    best_loss, best_epoch = {loss}, epoch"]
            if spec.restore_best:
                lines.append("    best_state = copy.deepcopy(model.state_dict())")
            lines += [f"if best_epoch and epoch - best_epoch >= {spec.patience}:", "    break"]
        return lines

    def _step(self, hits: bool) -> list[str]:
        spec, lines = self.spec, []
        if self.drops_one:
            lines += ["if len(x) == 1:", "    break  # BatchNorm has no variance for one value"]
        lines += self._placed()
        lines += ["optimizer.zero_grad()", *self._forward(), "loss.backward()"]
        clip = "nn.utils.clip_grad_norm_(model.parameters(), {})"
        if self.changes.changes("clip_grad_norm"):
            lines += ["if max_norm is not None:", f"    {clip.format('max_norm')}"]
        elif spec.clip_grad_norm is not None:
            lines.append(clip.format(repr(spec.clip_grad_norm)))
        lines += [
            "optimizer.step()",
            "losses.append(loss.item())",
            "train_loss += losses[-1] * len(y)",
            "seen += len(y)",
        ]
        if hits:
            lines.append("hits += (output.argmax(1) == y).sum().item()")
        if not self.changes.steered and spec.schedule is not None and spec.schedule.cadence == "step":
            lines.append(self._scheduler_step("losses[-1]"))
        if self.changes.steered:
            lines.append('steering.step("step", losses[-1])')
        if any(self.changes.steps):
            lines.append("change_settings(len(losses))")
        return lines

    def _placed(self) -> list[str]:
        lines = []
        if self.device.type != "cpu":
            lines.append("x, y = x.to(device), y.to(device)")
        if self.spec.channels_last:
            lines.append("x = x.contiguous(memory_format=torch.channels_last)")
        return lines

    def _forward(self) -> list[str]:
        output = "output"
        if self.data.num_classes is None and self.criterion is None:
            output = "output.reshape(y.shape)"  # against (N, 1), outputs of shape (N,) would broadcast
        lines = ["output = model(x)", f"loss = criterion({output}, y)"]
        if self.spec.bf16:
            return [f'with torch.autocast("{self.device.type}", dtype=torch.bfloat16):', *_indented(lines)]
        return lines

    def _validation(self, hits: bool) -> list[str]:
        lines = ["train_loss /= seen"]
        if hits:
            lines.append("accuracy = hits / seen")
        if self.validates:
            scored = self._scores_accuracy()
            lines += [
                "",
                "model.eval()",
                "valid_loss, seen, hits = 0.0, 0, 0" if scored else "valid_loss, seen = 0.0, 0",
            ]
            lines += ["with torch.no_grad():", *_indented(self._valid_batches())]
            body = [*self._placed(), *self._forward(), "valid_loss += loss.item() * len(y)", "seen += len(y)"]
            if scored:
                body.append("hits += (output.argmax(1) == y).sum().item()")
            lines += _indented(_indented(body))
            lines.append("valid_loss /= seen")
            if scored:
                lines.append("accuracy = hits / seen")
        return [*lines, *self._report()]

    def _report(self) -> list[str]:
        start, scores = "epoch {epoch}: train_loss {train_loss:.4f}", []
        if self.validates:
            scores.append("valid_loss {valid_loss:.4f}")
        if self._scores_accuracy():
            scores.append("accuracy {accuracy:.1%}")
        if len(scores) < 2:
            return [f'print(f"{", ".join([start, *scores])}")']
        return ["print(", f'    f"{start}, "', f'    f"{", ".join(scores)}"', ")"]

    def _valid_batches(self) -> list[str]:
        if self.code.kind == "loader":
            return ["for x, y in valid_loader:"]
        if self.code.kind == "dataset":
            self.imports.add("from torch.utils.data import DataLoader")
            # A loader draws a seed for its workers, too: not from the numbers that decide the order of samples.
            return [
                f"loader = DataLoader(valid_set, {VALID_BATCH}, generator=torch.Generator())",
                "for x, y in loader:",
            ]
        pairs = f"zip(x_valid.split({VALID_BATCH}), y_valid.split({VALID_BATCH}), strict=True)"
        line = f"for x, y in {pairs}:"
        return [line] if len(line) <= 80 else [f"batches = {pairs}", "for x, y in batches:"]

    def _scheduler_step(self, loss: str) -> str:
        schedule = self.spec.schedule
        assert schedule is not None
        if schedule.scheduler != "ReduceLROnPlateau":
            return "scheduler.step()"
        if schedule.arguments.get("mode") == "max" and schedule.cadence == "epoch" and self._scores_accuracy():
            return "scheduler.step(accuracy)"
        return f"scheduler.step({loss})"

    def _end(self) -> list[str]:
        if self.spec.patience is None or not self.spec.restore_best:
            return []
        return ["if best_state is not None:", "    model.load_state_dict(best_state)"]

    # -- what depends on the model and the data -----------------------------------------------------------------------

    def _scores_accuracy(self) -> bool:
        return self.data.num_classes is not None and (self.criterion is None or isinstance(self.criterion, nn.Module))

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

    def _drops_one(self) -> bool:
        """Whether a last batch may hold one sample that the model cannot train on, for its BatchNorm."""
        samples, size = self.data.train.num_samples, self.spec.batch_size
        if not any(isinstance(module, _BatchNorm) for module in self.model.modules()):
            return False
        if self.code.kind == "tensors" and not self.batched and (size == 1 or samples % size != 1):
            return False
        model = private_copy(self.model).train()
        device = next(model.parameters()).device
        with torch.random.fork_rng(devices=()), torch.no_grad():
            try:
                model(torch.zeros(1, *self.data.input_size, device=device))
            except Exception:
                return True
        return False

    def _stay_in_eval(self) -> list[str]:
        """Layers in eval mode while the rest trains: those that the user set so, or frozen BatchNorm."""
        modes = {id(module): training for module, training in self.start.modes}
        named = [(name, module) for name, module in self.model.named_modules() if name]
        if modes.get(id(self.model), True):
            return [name for name, module in named if not modes.get(id(module), True)]
        trains = {id(param): requires for param, requires, _ in self.start.grads}
        found = []
        for name, module in named:
            weights = list(module.parameters(recurse=False))
            if isinstance(module, _BatchNorm) and weights and not any(trains.get(id(w), True) for w in weights):
                found.append(name)
        return found


_DROPOUT_CLASS: Final = "nn.modules.dropout._DropoutNd"


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.detach().cpu(), b.cpu())


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
