"""What each edit of a network in training did to it, precisely enough to be said in plain PyTorch."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn

from convlab.models.live import Edit, EditPlan, LiveModel
from convlab.models.places import oddly_numbered
from convlab.models.plan import Call
from convlab.models.source import layer_call
from convlab.training.script_start import Start, refuses_one

EditOrUndo = Edit | Literal["undo", "redo"]


@dataclass(frozen=True)
class Placed:
    """A layer that an edit made, and what it took over from the one whose place it took.

    Attributes:
        paths: where it stands in the network as edited; more than one where it is shared.
        call: makes it.
        position: in its `Sequential`, where it came in between others.
        carries: whether values went over; by `rows` and `columns` as of `Carry`, None where all stay in their places.
        zeros: indices of a new bias that begin at zero.
        resets: whether running statistics begin afresh while weights went over.
        frozen: its own parameters, new ones, that do not train.
        is_held: whether a list in the network holds the layer, too, or several places do.
    """

    paths: tuple[str, ...]
    call: Call
    position: int | None = None
    carries: bool = False
    rows: Any = None
    columns: Any = None
    taps: bool = False
    zeros: tuple[int, ...] = ()
    resets: bool = False
    frozen: tuple[str, ...] = ()
    is_held: bool = False


@dataclass(frozen=True)
class Removed:
    """A layer that is gone: the path of its `Sequential`, its name, and its index where these are numbered."""

    parent: str
    name: str
    index: int | None


@dataclass(frozen=True)
class Jump:
    """An edit of before the training undone, or one made again: the network as it was then.

    Attributes:
        start: that network.
        kept: parameters that are still the same ones, their names before and now, whose optimizer state stays.
    """

    start: Start
    kept: tuple[tuple[str, str], ...]


@dataclass
class Record:
    """One edit.

    Attributes:
        restored: the record whose state of before came back by an undo or redo.
        pushed: what the live model kept for an undo; gone with it.
        left_out: parameters that the optimizer does not hold.
        joins: whether it holds more than before, though no layer is new.
        std, fan_in, activation: of a redraw from a fan.
        has_bias: whether the layer that is drawn anew has one.
        is_odd: whether some layers bear numbers that are not their places.
    """

    edit: EditOrUndo
    placed: tuple[Placed, ...] = ()
    removed: Removed | None = None
    restored: int | None = None
    jump: Jump | None = None
    activation: str = ""
    std: float = 0.0
    fan_in: int = 1
    has_bias: bool = False
    is_odd: bool = False
    has_effect: bool = True
    left_out: tuple[str, ...] = ()
    joins: bool = False
    in_eval: tuple[str, ...] = ()
    refuses_one: bool = False
    pushed: Any = None

    @property
    def action(self) -> str:
        """What was done."""
        return self.edit if isinstance(self.edit, str) else self.edit.action


@dataclass
class Noted:
    """What the body of `EditLog.noting` hands over."""

    plan: EditPlan | None = None


def _trained_by(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(param) for group in optimizer.param_groups for param in group["params"]}


@dataclass
class EditLog:
    """The edits of a training, one for each in its journal."""

    records: list[Record] = field(default_factory=list)

    @contextmanager
    def noting(
        self, live: LiveModel, optimizer: torch.optim.Optimizer, edit: EditOrUndo, input_size: tuple[int, ...]
    ) -> Iterator[Noted]:
        """Inside, make the edit; where that raises, nothing is noted."""
        before, held_before = _Before(live.model), _trained_by(optimizer)
        noted = Noted()
        record = Record(edit)
        took = None
        if record.action in ("undo", "redo"):
            stack = live._undo if record.action == "undo" else live._redo
            took = stack[-1][1] if stack else None
        top = live._undo[-1][1] if live._undo else None
        yield noted
        pushes = live._redo if record.action == "undo" else live._undo
        record.has_effect = bool(pushes) and pushes[-1][1] is not top
        if record.has_effect:
            record.pushed = weakref.ref(pushes[-1][1])
        if took is not None:
            record.restored = self._record_of(took, optimizer)
            if record.restored is None:
                record.jump = before.jump(live.model, took)
        elif noted.plan is not None and record.has_effect:
            assert isinstance(edit, Edit)
            record.placed, record.removed = before.placed(live.model, noted.plan), before.removed(edit)
        elif record.action == "redraw":
            assert isinstance(edit, Edit)
            record.has_bias = getattr(live.model.get_submodule(edit.path), "bias", None) is not None
            if str(edit.settings.get("scheme", "")).startswith("kaiming"):
                facts = live.init_facts(edit.path)
                record.activation, record.std = facts.activation, facts.stds["kaiming_normal"]
                record.fan_in = facts.fan_in
        held = _trained_by(optimizer)
        record.joins = record.action == "thaw" and len(held) > len(held_before)
        record.left_out = tuple(name for name, param in live.model.named_parameters() if id(param) not in held)
        record.is_odd = oddly_numbered(live.model)
        bare = Start.of(live.model)
        record.in_eval = tuple(bare.in_eval())
        record.refuses_one = refuses_one(bare.model, input_size)
        self.records.append(record)

    def _record_of(self, state: Any, optimizer: torch.optim.Optimizer) -> int | None:
        """The edit that kept this state; None where it was made before the training, or for another optimizer."""
        if state.optimizer is None or state.optimizer[0] is not optimizer:
            return None
        return next(
            (i for i, one in enumerate(self.records) if one.pushed is not None and one.pushed() is state),
            None,
        )


class _Before:
    """What has to be known of a network before an edit."""

    def __init__(self, model: nn.Module) -> None:
        self.own = {
            id(module): {name for name, param in module._parameters.items() if param is not None}
            for module in model.modules()
        }
        self.buffers = {id(module): any(b is not None for b in module._buffers.values()) for module in model.modules()}
        self.kernels = {id(module): getattr(module, "kernel_size", None) for module in model.modules()}
        self.children = {path: list(module._modules) for path, module in model.named_modules()}
        self.names = {id(param): name for name, param in model.named_parameters()}
        self.params = list(model.parameters())  # their ids stay theirs
        self.held = _held(model)

    def removed(self, edit: Edit) -> Removed | None:
        if edit.action != "remove":
            return None
        parent, _, name = edit.path.rpartition(".")
        names = self.children[parent]
        numbered = names == [str(i) for i in range(len(names))]
        return Removed(parent, name, names.index(name) if numbered else None)

    def placed(self, model: nn.Module, plan: EditPlan) -> tuple[Placed, ...]:
        """The layers that were made, in the order in which their weights were drawn."""
        twin = plan.twin
        rebuilt = {id(one.twin): one for one in plan.rebuilt}
        places: dict[int, list[str]] = {}
        for path, module in twin.model.named_modules(remove_duplicate=False):
            places.setdefault(id(module), []).append(path)
        found = []
        for path, module in twin.model.named_modules():
            one = rebuilt.get(id(module))
            if one is None and id(module) in twin.stands_for:
                continue
            paths = tuple(places[id(module)])
            made = Placed(paths, layer_call(module), is_held=len(paths) > 1)
            if one is not None:
                made = self._carried(made, one)
            elif plan.edit.action in ("insert", "insert_after"):
                names = list(twin.model.get_submodule(path.rpartition(".")[0])._modules)
                made = replace(made, position=names.index(path.rpartition(".")[2]))
            old = self.own.get(id(one.live), set()) if one is not None and made.carries else set()
            now = model.get_submodule(path)._parameters.items()
            frozen = [name for name, p in now if p is not None and name not in old and not p.requires_grad]
            found.append(replace(made, frozen=tuple(frozen)))
        return tuple(found)

    def _carried(self, made: Placed, one: Any) -> Placed:
        live, twin = one.live, one.twin
        old = self.own[id(live)]
        new = {name for name, param in twin._parameters.items() if param is not None}
        is_held = made.is_held or id(live) in self.held
        if not one.carries or not (old or self.buffers[id(live)]):
            return replace(made, is_held=is_held)
        carry = one.carries["weight"]
        rows = None if _is_range(carry.rows) else carry.rows.tolist()
        columns = None if carry.columns is None else carry.columns.tolist()
        zeros: tuple[int, ...] = ()
        if "bias" in new - old and not one.is_new and not isinstance(twin, _NORMS):
            zeros = tuple(i for i, row in enumerate(carry.rows.tolist()) if row >= 0)
        resets = one.is_new and any(b is not None for b in twin._buffers.values()) and self.buffers[id(live)]
        return replace(
            made,
            carries=True,
            rows=rows,
            columns=columns,
            taps=any(carry.offsets) or self.kernels[id(live)] != getattr(twin, "kernel_size", None),
            zeros=zeros,
            resets=resets,
            is_held=is_held,
        )

    def jump(self, model: nn.Module, state: Any) -> Jump:
        kept = [(self.names[id(p)], name) for name, p in model.named_parameters() if id(p) in self.names]
        return Jump(Start.of(model, state.weights), tuple(kept))


_NORMS: Final = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.PReLU)


def _is_range(rows: Any) -> bool:
    return bool(np.array_equal(rows, np.arange(len(rows))))


def _held(model: nn.Module) -> set[int]:
    """Layers that something in the network holds beside their registered places."""
    found: set[int] = set()
    for module in model.modules():
        for name, value in vars(module).items():
            if name[:1] != "_":
                several = value.values() if isinstance(value, dict) else value
                several = several if isinstance(value, dict | list | tuple) else [value]
                found.update(id(one) for one in several if isinstance(one, nn.Module))
    return found
