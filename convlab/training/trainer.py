"""One model learning from one data set: the step, the validation, the settings; no threads, no display."""

import contextlib
import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlab.data.resolve import Data
from convlab.data.sources import LoaderSource, Source, TensorSource
from convlab.models.borrow import Snapshot, restore, snapshot
from convlab.models.live import Edit, LiveModel, bind
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import SpecError, TrainSpec
from convlab.training.buffers import Buffers
from convlab.training.devices import choose_device
from convlab.training.edit_log import EditLog
from convlab.training.edit_log import EditOrUndo as EditOrUndo
from convlab.training.epoch_metrics import Outputs, Scoring
from convlab.training.history import EpochRecord, History
from convlab.training.host_random import HostRandom, drawn_from, model_code
from convlab.training.journal import Change
from convlab.training.lending import own_generators
from convlab.training.metrics import Score
from convlab.training.modes import enter_training, evaluating
from convlab.training.optimizers import apply_setting, build_optimizer, fused_step
from convlab.training.peers import Peers, parts_of, world_of
from convlab.training.randomness import PrivateRandom, may_draw
from convlab.training.scheduled import Scheduled
from convlab.training.scores import Scores
from convlab.training.step_watch import StepWatcher
from convlab.training.streams import Streams
from convlab.training.threads import mult_adds, num_threads

Criterion = Callable[[Tensor, Tensor], Tensor]

VALID_BATCH = 128
NO_DROPOUT = "add one, such as nn.Dropout(0.2)."


class NonFiniteError(ArithmeticError):
    """The loss or a gradient became infinite or NaN; the model is as it was before that step."""


class Trainer:
    """The state of a training: model, optimizer, data order, random streams, settings in force, records.

    The model is moved to the device in place and trained in place: it is the user's own object throughout.

    Raises:
        SpecError, ValueError: the recipe asks for what this machine or this model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        spec: TrainSpec,
        criterion: Criterion | None = None,
        metrics: Mapping[str, Score] | None = None,
    ) -> None:
        self.model, self.data, self.spec, self.settings = model, data, spec, spec
        self.device = choose_device(spec.device)
        self.layout = torch.channels_last if spec.channels_last else torch.contiguous_format
        self.random = PrivateRandom(spec.seed)
        self.host_random = HostRandom(spec.seed)
        self.history = History()
        self.journal: list[Change] = []
        self.edits = EditLog()
        self.watchers: list[StepWatcher] = []
        self.peers: Peers | None = None
        self.best: tuple[EpochRecord, Snapshot] | None = None
        self.epoch = 0
        self.position = 0
        self.within_epoch = False
        self.exhausted = False
        self.restored_best = False
        self.order: Tensor | None = None
        self.scores = Scores(data.num_classes)
        self.epoch_streams: Streams | None = None
        self._began = time.monotonic()
        self._must_skip = False
        self._before: tuple[int, Mapping[torch.device, Tensor]] = 0, {}
        self._in_step = False
        self._own_criterion = criterion
        self.scoring = Scoring(data.classes, {} if metrics is None else metrics)
        self._prepare()

    def _prepare(self) -> None:
        model, spec = self.model, self.spec
        model.to(self.device)
        if spec.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        self._materialize_lazy()
        self.params = [param for param in model.parameters() if param.requires_grad]
        if not self.params:
            raise ValueError(
                f"{type(model).__name__} has no parameters to train; thaw one, such as "
                "`model.conv1.requires_grad_(True)`, or add a layer that has weights."
            )
        self.dropouts = _dropouts(model)
        if spec.dropout is not None:
            if not self.dropouts:
                raise SpecError(
                    f"dropout={spec.dropout:g} has no layer to act on in {type(model).__name__}; {NO_DROPOUT}"
                )
            self._set_dropout(spec.dropout)
        self.live: LiveModel | None = None
        self.take_optimizer(build_optimizer(self.params, spec))
        self._look_at_model()
        self._found_inf = torch.zeros(1, device=self.device)
        self._one = torch.ones(1, device=self.device)
        self.threads = spec.threads or num_threads(mult_adds(model, self._sample()) * spec.batch_size)

    def take_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Train with this optimizer, under the recipe's schedule from its beginning."""
        self.optimizer, spec = optimizer, self.spec
        self.scheduled = Scheduled(optimizer, spec.schedule, spec.lr)
        self.scheduled.set_mode(spec.schedule_mode)
        self.last_lr = self.scheduled.lr

    def _look_at_model(self) -> None:
        """What a step needs to know of the model's structure."""
        model = self.model
        self._apply_gradients = fused_step(self.optimizer)
        self._buffers = Buffers(model)
        self._own_generators = own_generators(model, self.data)
        self._has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
        self._draws = may_draw(model) or self._own_criterion is not None
        self._draws_from = drawn_from(*model_code(model), self._own_criterion)

    def _materialize_lazy(self) -> None:
        if any(nn.parameter.is_lazy(p) for p in self.model.parameters()):
            with torch.no_grad(), self.random, evaluating(self.model):
                self.model(self._sample())

    def _sample(self) -> Tensor:
        return torch.zeros(1, *self.data.input_size, device=self.device)

    @property
    def criterion_name(self) -> str | None:
        """The name of the user's criterion, None where it is not the user's."""
        own = self._own_criterion
        return None if own is None else str(getattr(own, "__qualname__", type(own).__qualname__))

    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        """The user's criterion, or cross-entropy for classes and mean squared error for numbers."""
        if self._own_criterion is not None:
            return self._own_criterion(output, target)
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{type(self.model).__name__}.forward returned a {type(output).__name__}, not a tensor; "
                "pass criterion=lambda output, target: F.cross_entropy(output[0], target), or what fits your output."
            )
        if self.data.num_classes is None:
            return F.mse_loss(output.reshape(target.shape), target)
        return F.cross_entropy(output, target, label_smoothing=self.settings.label_smoothing)

    # -- settings in flight -------------------------------------------------------------------------------------------

    def set(self, name: str, value: object) -> None:
        """Put one setting in force from the next update on, and write it in the journal."""
        if name == "edit":
            self.edit(cast(EditOrUndo, value))
            return
        old, before = getattr(self.settings, name), self.scheduled.lr
        self.settings = self.settings.changed(**{name: value})
        new = getattr(self.settings, name)
        if new == old and not (name == "lr" and self.scheduled.by_hand and new != before):
            return
        if name == "dropout":
            self._set_dropout(new)
        elif name == "lr":
            self.scheduled.set_lr(new)
        elif name in ("momentum", "betas"):
            self.scheduled.set_momentum(name, new)
        elif name == "weight_decay":
            apply_setting(self.optimizer, name, new)
        elif name == "schedule":
            self._set_schedule(new)
        elif name == "schedule_mode":
            self.scheduled.set_mode(new)
        self.journal.append(Change(self.history.num_steps, name, old, new))
        self._take_lr()

    def edit(self, edit: EditOrUndo) -> None:
        """Change the network between two steps, or undo or redo such a change; the optimizer follows.

        Raises:
            EditError, LookupError: it cannot be, and nothing has changed.
        """
        self.live = self.live or bind(self.model, (1, *self.data.input_size))
        with self.edits.noting(self.live, self.optimizer, edit, self.data.input_size) as noted:
            noted.plan = self.live.apply(edit if isinstance(edit, Edit) else Edit("", action=edit), self.optimizer)
            self.structure_changed(_dropouts(self.model))
            self.enter_training()
        # Weights of another structure cannot be put back.
        self.best = None
        self.journal.append(Change(self.history.num_steps, "edit", None, edit))

    def structure_changed(self, dropouts: dict[nn.modules.dropout._DropoutNd, float]) -> None:
        """Look at the model again; `dropouts` are its dropout layers, each with its own probability."""
        self.params = [param for param in self.model.parameters() if param.requires_grad]
        self.dropouts = dropouts
        self._look_at_model()

    def _set_schedule(self, schedule: ScheduleSpec | None) -> None:
        for name in ("momentum", "betas"):  # the schedule before may have cycled it
            apply_setting(self.optimizer, name, getattr(self.settings, name))
        self.scheduled.set_schedule(schedule)

    def _take_lr(self) -> None:
        """What the lr setting is after the schedule was held, released or taken up again: another change."""
        old, new = self.settings.lr, self.scheduled.setting
        if new and new != old:
            self.settings = self.settings.replace(lr=new, schedule=self.scheduled.spec)
            self.journal.append(Change(self.history.num_steps, "lr", old, new))

    def renew_dropout(self) -> None:
        """The layers were put back as they were: what is in force holds."""
        self._set_dropout(self.settings.dropout)

    def _set_dropout(self, p: float | None) -> None:
        for layer, own in self.dropouts.items():
            layer.p = own if p is None else p

    # -- an epoch -----------------------------------------------------------------------------------------------------

    def begin_epoch(self) -> bool:
        """Draw the next epoch's order; False when all epochs are done."""
        if self.epoch >= self.settings.epochs or self._out_of_patience():
            return False
        self.epoch += 1
        self.position = 0
        self.within_epoch, self.exhausted, self._must_skip = True, False, False
        self.epoch_streams = self.streams() if isinstance(self.data.train, LoaderSource) else None
        self.order = self.data.train.order(self.random.generator)
        if self.peers is not None and self.order is not None:
            self.order = self.peers.same_order(self.order, self.random, self.host_random)
        self._began = time.monotonic()
        self.scores = Scores(self.data.num_classes)
        self.enter_training()
        return True

    def enter_training(self) -> None:
        """Train mode, unless the user set modes by hand."""
        enter_training(self.model)

    @property
    def seconds(self) -> float:
        """How long the present epoch has taken so far."""
        return time.monotonic() - self._began

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._began = time.monotonic() - seconds

    def streams(self) -> Streams:
        """Where the random numbers stand."""
        return Streams.of(self.random, self.host_random, self._own_generators)

    def put_streams_back(self, streams: Streams) -> None:
        """Let the random numbers go on from there, and with them the order of a loader's epoch that has begun."""
        streams.put_back(self.random, self.host_random)
        self._must_skip = self.within_epoch and self.epoch_streams is not None

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The rest of the epoch, re-cut whenever the batch size changes."""
        fewest = 2 * world_of(self.peers)
        while not self.exhausted:
            size = self.settings.batch_size
            for x, y in self._rest(size):
                if len(x) < fewest and self.position and self._has_batch_norm and not self._takes_one():
                    self.exhausted = True  # BatchNorm has no variance for one value: torch would raise
                    break
                self._before, self._in_step = (self.position, self.random.states() if self._draws else {}), True
                self.position += len(x)
                yield x, y
                if size != self.settings.batch_size:
                    break
            else:
                self.exhausted = True
        if self.peers is not None:
            self.peers.gather(self)

    @property
    def stepped(self) -> int:
        """How many samples of the epoch the steps done have used: in a step, `position` is a batch ahead."""
        return self._before[0] if self._in_step else self.position

    def _rest(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if not self._must_skip or self.epoch_streams is None:
            return self._fetch(self.data.train, self.order, self.position, size)
        # A loader tells its order by going through it, from the random numbers that the epoch began with.
        self._must_skip, now, seen = False, self.streams(), 0
        self.epoch_streams.put_back(self.random, self.host_random)
        batches = self._fetch(self.data.train, None, 0, size)
        while seen < self.position and (batch := next(batches, None)) is not None:
            seen += len(batch[0])
        now.put_back(self.random, self.host_random)
        return batches

    def _fetch(self, source: Source, order: Tensor | None, start: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of `source`, the user's own code among it drawing from the run's random numbers."""
        batches = source.batches(order, start, size, self.device, self.layout)
        if isinstance(source, TensorSource):
            return batches
        return self._lent_to(iter(batches))

    def _lent_to(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            with self._streams(True, (random, np.random)):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _streams(self, draws: bool, draws_from: Collection[ModuleType]) -> contextlib.AbstractContextManager[object]:
        """The run's random numbers for the code inside; nothing where it draws none: a few per cent on tiny nets."""
        if not draws:
            return contextlib.nullcontext()
        if not draws_from:
            return self.random
        both = contextlib.ExitStack()
        both.enter_context(self.random)
        both.enter_context(self.host_random.lent(draws_from))
        return both

    def _takes_one(self) -> bool:
        """Whether the model computes one sample in train mode, found out by trying; nothing is changed by it."""
        state = self.random.generator.get_state()
        self._buffers.keep()
        try:
            with torch.no_grad(), self._streams(self._draws, self._draws_from):
                self.model(self._sample())
        except ValueError:
            return False
        finally:
            self._buffers.undo()
            self.random.generator.set_state(state)
        return True

    def update(self, x: Tensor, y: Tensor) -> float:
        """One optimizer step on one batch; returns the batch's mean loss.

        Raises:
            NonFiniteError: loss or gradient is not finite.
            Exception: what the model or the criterion raised. After either, weights and buffers are as before the call.
        """
        for param in self.params:
            param.grad = None
        self._buffers.keep()
        try:
            if self.peers is None:
                parts, value = self._gradients(x, y)
            else:
                parts, value = self.peers.add_up(self.params, lambda: self._gradients(x, y))
            self._check_gradients()
        except BaseException:
            self._undo_step()
            raise
        self._apply_gradients()
        self.last_lr = self.scheduled.lr
        self.history.add_step(value, self.last_lr)
        self._in_step = False
        self.scheduled.after_step(value)
        for part in parts:
            self.scores.add(*part)
        if self.peers is not None:
            self.peers.step_done(self)
        return value

    def _gradients(self, x: Tensor, y: Tensor) -> tuple[list[tuple[object, Tensor, float]], float]:
        """Add the gradients of a batch, part by part; output, target and mean loss of each, and what that makes."""
        parts = [self._backward(*part, len(x)) for part in parts_of(x, y, self.settings.micro_batch_size, self.peers)]
        if len(parts) == 1 and len(parts[0][1]) == len(x):
            return parts, parts[0][2]
        return parts, sum(one * len(y) for _, y, one in parts) / len(x)

    def _backward(self, x: Tensor, y: Tensor, batch: int) -> tuple[object, Tensor, float]:
        """Add the gradients of a part of a batch; its output, target and mean loss."""
        with self._streams(self._draws, self._draws_from), self._autocast():
            output = self.model(x)
            loss = self.criterion(output, y)
        value = _item(loss)
        if not math.isfinite(value):
            raise NonFiniteError(f"the loss became {value} in step {self.history.num_steps + 1}")
        (loss if len(x) == batch else loss * (len(x) / batch)).backward()
        if isinstance(output, Tensor) and len(x) < batch:
            output = output.detach()  # its graph must go before the next part's comes
        return output, y, value

    def _undo_step(self) -> None:
        """As it was before the batch, to be taken up again."""
        self._buffers.undo()
        for param in self.params:
            param.grad = None
        (self.position, drawn), self._in_step = self._before, False
        if drawn:
            self.random.put_back(drawn)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if not self.settings.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _check_gradients(self) -> None:
        if (limit := self.settings.clip_grad_norm) is not None:
            finite = math.isfinite(nn.utils.clip_grad_norm_(self.params, limit).item())
        else:
            # The check that gradient scalers use: one kernel over all gradients, which it multiplies by one.
            grads = [param.grad for param in self.params if param.grad is not None]
            self._found_inf.zero_()
            torch._amp_foreach_non_finite_check_and_unscale_(grads, self._found_inf, self._one)
            finite = not self._found_inf.item()
        if not finite:
            raise NonFiniteError(f"a gradient became infinite or NaN in step {self.history.num_steps + 1}")

    # -- the end of an epoch ------------------------------------------------------------------------------------------

    def end_epoch(self) -> EpochRecord:
        """Validate, record the epoch, and keep the weights if they are the best so far."""
        train_loss, train_accuracy = self.scores.result()
        outputs = Outputs()
        valid_loss, valid_accuracy = self.validate(outputs)
        if self.peers is not None:
            valid_loss, valid_accuracy = self.peers.same(valid_loss, valid_accuracy)
        record = EpochRecord(
            epoch=self.epoch,
            step=self.history.num_steps,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            valid_loss=valid_loss,
            valid_accuracy=valid_accuracy,
            lr=self.last_lr,
            seconds=self.seconds,
        )
        self.history.add_epoch(record)
        if valid_loss is not None:
            best = self.history.best() is record
            self.history.scores.add(record.epoch, record.step, outputs, self.scoring, is_best=best)
        self.within_epoch = False
        accuracy = train_accuracy if valid_accuracy is None else valid_accuracy
        self.scheduled.after_epoch(_score(record), accuracy)
        score = record.train_loss if valid_loss is None else valid_loss
        if math.isfinite(score) and (self.best is None or score < _score(self.best[0])):
            self.best = record, snapshot(self.model)
        return record

    def validate(self, outputs: Outputs | None = None) -> tuple[float | None, float | None]:
        """Mean loss and accuracy on the validation data, in eval mode, modes given back per module.

        What the model says is added to `outputs`.
        """
        source = self.data.valid
        if source is None:
            return None, None
        scores = Scores(self.data.num_classes)
        with torch.no_grad(), evaluating(self.model):
            size = min(VALID_BATCH, self.settings.micro_batch_size or VALID_BATCH)
            for x, y in self._fetch(source, source.order(None), 0, size):
                with self._streams(self._draws, self._draws_from), self._autocast():
                    output = self.model(x)
                    loss = self.criterion(output, y)
                scores.add(output, y, _item(loss))
                if outputs is not None:
                    outputs.add(output, y)
        return scores.result()

    def _out_of_patience(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.best is not None and self.epoch - self.best[0].epoch >= patience

    def finish(self) -> None:
        """After the last epoch: with early stopping, put the best epoch's weights back."""
        if self.settings.patience is not None and self.settings.restore_best and self.best is not None:
            restore(self.best[1], modes=False)
            self.restored_best = True


def _dropouts(model: nn.Module) -> dict[nn.modules.dropout._DropoutNd, float]:
    return {m: m.p for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)}


def _score(record: EpochRecord) -> float:
    return record.train_loss if record.valid_loss is None else record.valid_loss


def _item(loss: Tensor) -> float:
    if loss.numel() != 1:
        raise ValueError(f"the criterion returned shape {tuple(loss.shape)}, not one number; try its .mean().")
    return loss.item()
