"""The part of a script that trains: the loop over epochs and batches, the validation, the line that is printed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn

from convlab.data.data import Data
from convlab.spec import TrainSpec
from convlab.training.script_changes import Changes
from convlab.training.script_data import DataCode
from convlab.training.script_edits import Edits
from convlab.training.script_text import statement
from convlab.training.trainer import VALID_BATCH


@dataclass
class Loop:
    """What a loop depends on; `imports` grows by what its lines need."""

    spec: TrainSpec
    data: Data
    code: DataCode
    changes: Changes
    edits: Edits
    criterion: Callable[[Tensor, Tensor], Tensor] | None
    device: str
    imports: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.validates = self.data.valid is not None
        self.batched = self.changes.changes("batch_size") and self.code.kind != "loader"

    def batches(self) -> str:
        """A function that yields batches, where their size changes in flight."""
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

    def lines(self) -> list[str]:
        """The loop, and what it begins with."""
        spec, changes = self.spec, self.changes
        lines = changes.start() if changes.steered else []
        if spec.patience is not None:
            lines.append('best_loss, best_epoch, best_state = float("inf"), 0, None')
            if spec.restore_best:
                self.imports.add("import copy")
        lines += [*self.edits.state(), "losses = []"]
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
        stay = [f'model.get_submodule("{name}").eval()' for name in self.edits.in_eval]
        lines = ["set_modes()"] if self.edits.moves_modes else ["model.train()", *stay]
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
        if self.edits.moves_drops:
            lines += ["if drops_one and len(x) == 1:", "    break  # BatchNorm has no variance for one value"]
        elif self.edits.drops_one:
            lines += ["if len(x) == 1:", "    break  # BatchNorm has no variance for one value"]
        lines += self._placed()
        # A layer that was thawed in flight may be none of the optimizer's.
        zeroed = "model" if self.edits.records else "optimizer"
        lines += [
            f"{zeroed}.zero_grad()",
            *(self._parts(hits) if self.in_parts else [*self._forward(), "loss.backward()"]),
        ]
        clip = "nn.utils.clip_grad_norm_(model.parameters(), {})"
        if self.changes.changes("clip_grad_norm"):
            lines += ["if max_norm is not None:", f"    {clip.format('max_norm')}"]
        elif spec.clip_grad_norm is not None:
            lines.append(clip.format(repr(spec.clip_grad_norm)))
        lines.append("optimizer.step()")
        if not self.in_parts:
            lines += ["losses.append(loss.item())", "train_loss += losses[-1] * len(y)"]
        lines.append("seen += len(y)")
        if hits and not self.in_parts:
            lines.append("hits += (output.argmax(1) == y).sum().item()")
        if not self.changes.steered and spec.schedule is not None and spec.schedule.cadence == "step":
            lines.append(self._scheduler_step("losses[-1]"))
        if self.changes.steered:
            lines.append('steering.step("step", losses[-1])')
        if any(self.changes.steps):
            lines.append("change_settings(len(losses))")
        return lines

    @property
    def in_parts(self) -> bool:
        """Whether a batch may go through the network in parts."""
        return self.spec.micro_batch_size is not None or self.changes.changes("micro_batch_size")

    def _parts(self, hits: bool) -> list[str]:
        """The gradients of a batch's parts, added up."""
        most = "(micro_batch_size or len(x))" if self.changes.changes("micro_batch_size") else "micro_batch_size"
        forward = [
            line.replace("model(x)", "model(x_part)").replace(", y)", ", y_part)").replace("(y.shape", "(y_part.shape")
            for line in self._forward()
        ]
        body = [
            *forward,
            "(loss * (len(y_part) / len(y))).backward()",
            "batch_loss += loss.item() * len(y_part)",
            "train_loss += loss.item() * len(y_part)",
        ]
        if hits:
            body.append("hits += (output.argmax(1) == y_part).sum().item()")
        return [
            f"count = -(-len(x) // {most})",
            "batch_loss = 0.0",
            "parts = zip(x.tensor_split(count), y.tensor_split(count), strict=True)",
            "for x_part, y_part in parts:",
            *_indented(body),
            "losses.append(batch_loss / len(y) if count > 1 else loss.item())",
        ]

    def _placed(self) -> list[str]:
        lines = []
        if self.device != "cpu":
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
            return [f'with torch.autocast("{self.device.partition(":")[0]}", dtype=torch.bfloat16):', *_indented(lines)]
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
        size = str(VALID_BATCH)
        if self.changes.changes("micro_batch_size"):
            size = f"min({VALID_BATCH}, micro_batch_size or {VALID_BATCH})"
        elif self.spec.micro_batch_size is not None:
            size = str(min(VALID_BATCH, self.spec.micro_batch_size))
        if self.code.kind == "dataset":
            self.imports.add("from torch.utils.data import DataLoader")
            # A loader draws a seed for its workers, too: not from the numbers that decide the order of samples.
            return [
                statement("loader = ", f"DataLoader(valid_set, {size}, generator=torch.Generator())"),
                "for x, y in loader:",
            ]
        if size != str(VALID_BATCH):
            pairs = "zip(x_valid.split(size), y_valid.split(size), strict=True)"
            return [f"size = {size}", f"for x, y in {pairs}:"]
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

    def _scores_accuracy(self) -> bool:
        return self.data.num_classes is not None and (self.criterion is None or isinstance(self.criterion, nn.Module))


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
