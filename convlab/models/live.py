"""A live model: its layers' settings, what each can be where it stands, and edits that repair what follows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn, optim

from convlab.models._edit.commit import commit
from convlab.models._edit.edits import Edit as Edit
from convlab.models._edit.errors import EditError as EditError
from convlab.models._edit.errors import Refusal
from convlab.models._edit.flow import parameters_of
from convlab.models._edit.history import State, capture, put_back
from convlab.models._edit.initial import InitFacts as InitFacts
from convlab.models._edit.initial import check_scheme, init_facts, redrawn
from convlab.models._edit.kinds import arguments_of, kind_of, settings_of, why_not_plain
from convlab.models._edit.limits import Limit as Limit
from convlab.models._edit.limits import limit_of, nearest
from convlab.models._edit.optimizers import admit, complete, follow, forget
from convlab.models._edit.plan import Base, base_of, describe, plan, trace_of
from convlab.models._edit.plan import EditPlan as EditPlan
from convlab.models._edit.plan import Repair as Repair
from convlab.models._edit.structure import layer_at, partners
from convlab.models._trace.inputs import read_inputs
from convlab.models._trace.recorder import is_leaf
from convlab.models._trace.recorder import kind_of as class_of
from convlab.models.trace import Trace

UNDO_BYTES: Final = 2**30
"""Copies of weights kept for `LiveModel.undo`; the oldest are given up beyond."""


def bind(model: nn.Module, input_size: Any = None, *, input_data: Any = None) -> LiveModel:
    """Bind a model's hyperparameters, so that they can be seen and changed while the model lives.

    Args:
        model: any `nn.Module`; it is changed by edits only, in place.
        input_size: as `convlab.trace` takes it, batch included; or a sample batch.
        input_data: a tensor, or a tuple or dict with tensors, instead.

    Raises:
        TypeError, ValueError: the model does not run on such an input, or the input cannot be meant.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> model = lenet()
        >>> live = bind(model, (1, 1, 8, 8))
        >>> live.layers["conv2"].settings["out_channels"]
        32
        >>> print(*live.edit("conv2", out_channels=48).changes, sep="; ")
        conv2.out_channels 32 → 48; fc1.in_features 128 → 192
        >>> model.fc1
        Linear(in_features=192, out_features=64, bias=True)
        >>> live.undo()
        >>> model.fc1
        Linear(in_features=128, out_features=64, bias=True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}; torch.nn.Sequential(...) would work.")
    if type(model).__name__ == "OptimizedModule" or hasattr(model, "_c"):
        raise TypeError(f"a compiled {type(model).__name__} cannot be edited; bind the model that it was made of.")
    if isinstance(input_size, Tensor):
        input_size, input_data = None, input_size
    return LiveModel(model, input_size, input_data)


@dataclass(frozen=True)
class Layer:
    """One leaf layer of a live model.

    ``kind``, ``family``
        The class, and what it is: conv, linear, pool, activation, norm, dropout, other.
    ``settings``
        What can be set, with its value now. ``activation``, ``norm`` and ``pool`` change the class.
    ``tied``
        Layers whose channels are added to this one's, and which change with them.
    ``fixed``
        Why nothing can be set, or empty.
    """

    path: str
    kind: str
    family: str
    settings: Mapping[str, Any]
    tied: tuple[str, ...]
    is_frozen: bool
    fixed: str


@dataclass(frozen=True, eq=False)
class Place:
    """Where a live model stands among its edits."""

    journal: tuple[Edit, ...] = ()
    undo: tuple[tuple[Edit, State], ...] = ()
    redo: tuple[tuple[Edit, State], ...] = ()


class LiveModel:
    """The model that `bind` was given, seen as settings. Every edit is planned on a copy before anything changes."""

    def __init__(self, model: nn.Module, input_size: Any, input_data: Any) -> None:
        self.model = model
        self._inputs = read_inputs(model, input_size, input_data)
        self._lock = threading.RLock()  # a panel previews while a run's thread edits
        self._base: tuple[object, Base] | None = None
        self._undo: list[tuple[Edit, State]] = []
        self._redo: list[tuple[Edit, State]] = []
        self._journal: list[Edit] = []
        if (error := self.trace.error) is not None:
            raise ValueError(f"{type(model).__name__} does not run on this input: {error}")

    # -- facts ---------------------------------------------------------------------------------------------------

    @property
    def trace(self) -> Trace:
        """Of the model as it is."""
        return self._now().trace

    @property
    def layers(self) -> dict[str, Layer]:
        """Every leaf layer by its path, in the model's order."""
        base = self._now()
        return {path: self._layer(base, path, module) for path, module in self._leaves()}

    def _leaves(self) -> list[tuple[str, nn.Module]]:
        return [(path, module) for path, module in self.model.named_modules() if is_leaf(module)]

    def _layer(self, base: Base, path: str, module: nn.Module) -> Layer:
        kind = kind_of(module)
        fixed = f"it {reason}" if (reason := why_not_plain(module)) else ""
        if kind is None:
            fixed = fixed or f"a {type(module).__name__} has no settings that are known"
        if ("tied", path) not in base.found:
            base.found["tied", path] = self._tied(base, module) if base.flow is not None and not fixed else ()
        tied: tuple[str, ...] = base.found["tied", path]
        weights = parameters_of(module)
        frozen = bool(weights) and not any(weight.requires_grad for weight in weights)
        family = kind.family if kind is not None else "other"
        return Layer(path, class_of(module), family, settings_of(module), tied, frozen, fixed)

    def _tied(self, base: Base, module: nn.Module) -> tuple[str, ...]:
        assert base.flow is not None
        try:
            return tuple(other for _, other in partners(self.model, base.flow, module))
        except Refusal:
            return ()

    def limits(self, path: str, name: str) -> Limit:
        """What a setting can be where the layer stands, all others staying as they are, and why it stops there.

        Raises:
            EditError: there is no such layer or setting, or nothing of the layer can be set.

        Example:
            >>> live = bind(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3)), (1, 1, 8, 8))
            >>> live.limits("1", "kernel_size").high
            6
        """
        with self._lock:
            base = self._now()
            if ("limit", path, name) not in base.found:
                base.found["limit", path, name] = limit_of(self.model, base, path, name)
            limit: Limit = base.found["limit", path, name]
            return limit

    def init_facts(self, path: str) -> InitFacts:
        """Fan, gain and standard deviation of a layer's weight, now and as each scheme would draw it.

        Raises:
            EditError: the layer has no such weight.
        """
        return init_facts(path, layer_at(self.model, path, self.trace), self.trace)

    @property
    def journal(self) -> tuple[Edit, ...]:
        """The edits in force, oldest first; made again on the model as it was bound they give the same structure."""
        return tuple(self._journal)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to make again."""
        return bool(self._redo)

    # -- edits ---------------------------------------------------------------------------------------------------

    def plan(self, edit: Edit) -> EditPlan:
        """What an edit would do. Nothing changes.

        Raises:
            EditError: it cannot be; `nearest` holds settings that work.
        """
        with self._lock:
            base = self._now()
            try:
                return plan(self.model, base, edit)
            except Refusal as refusal:
                raise nearest(self.model, base, edit, refusal) from None

    def preview(self, path: str, **settings: Any) -> Trace:
        """The trace that the model would have with a layer set otherwise. Nothing changes.

        Raises:
            EditError: it cannot be.
        """
        return self.plan(Edit(path, settings)).trace

    def edit(
        self, path: str, *, optimizer: optim.Optimizer | None = None, seed: int | None = None, **settings: Any
    ) -> EditPlan:
        """Set a layer otherwise, in place, and repair what follows it.

        The layer stays the object that it is, unless its class changes (``activation``, ``norm``, ``pool``). Every
        weight that still has a place is kept: overlapping channels, and taps counted from the kernel's centre. New
        output channels are drawn as torch draws them, new taps and what reads new channels are zero, so that a grown
        layer begins as the function that it was. Where a sum ties the layer's channels to those of others, these
        change with it.

        Args:
            path: the layer's name.
            optimizer: one that trains the model; it follows.
            seed: decides the new weights; the number of edits so far if left out.
            settings: torch's own names and values.

        What changes nothing is no edit: it stands in no journal, and there is nothing to undo.

        Raises:
            EditError: it cannot be, and nothing has changed.
        """
        return self._do(Edit(path, settings, "set", self._seed(seed)), optimizer)

    def insertion(self, path: str, layer: object, *, after: bool = False, seed: int | None = None) -> Edit:
        """The edit that `insert` (or `insert_after`) would make, to be planned first.

        Raises:
            EditError: there is no such layer at `path`, or `layer` cannot be described.
        """
        settings = describe(layer, self.model, self.trace, path, before=not after)
        return Edit(path, settings, "insert_after" if after else "insert", self._seed(seed))

    def insert(
        self, path: str, layer: object, *, optimizer: optim.Optimizer | None = None, seed: int | None = None
    ) -> EditPlan:
        """Put a layer before the one at `path`, in a `Sequential`.

        Args:
            path: of the layer that will follow.
            layer: a module, as a description: its settings are taken and its weights drawn anew, its number of
                input channels follows from the place. Or a name, such as ``"batchnorm"`` or ``"Dropout"``.
            optimizer: one that trains the model; it follows.
            seed: decides the new weights; the number of edits so far if left out.

        Raises:
            EditError: it cannot be, and nothing has changed.
        """
        return self._do(self.insertion(path, layer, seed=seed), optimizer)

    def insert_after(
        self, path: str, layer: object, *, optimizer: optim.Optimizer | None = None, seed: int | None = None
    ) -> EditPlan:
        """Put a layer behind the one at `path`, in a `Sequential`; see `insert`.

        Raises:
            EditError: it cannot be, and nothing has changed.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
            >>> _ = bind(net, (1, 1, 8, 8)).insert_after("0", "batchnorm")
            >>> net[1].num_features
            4
        """
        return self._do(self.insertion(path, layer, after=True, seed=seed), optimizer)

    def replace(
        self, path: str, layer: object, *, optimizer: optim.Optimizer | None = None, seed: int | None = None
    ) -> EditPlan:
        """Put another layer in the place of the one at `path`, in a `Sequential`; see `insert`.

        Raises:
            EditError: it cannot be, and nothing has changed.
        """
        settings = describe(layer, self.model, self.trace, path, before=True)
        return self._do(Edit(path, settings, "replace", self._seed(seed)), optimizer)

    def remove(self, path: str, *, optimizer: optim.Optimizer | None = None, seed: int | None = None) -> EditPlan:
        """Take a layer out of its `Sequential`, and repair what follows it.

        Raises:
            EditError: it cannot be, and nothing has changed.
        """
        return self._do(Edit(path, {}, "remove", self._seed(seed)), optimizer)

    def freeze(self, path: str) -> None:
        """Stop training the weights of a layer, or of all below a container; its BatchNorm goes to eval mode.

        Raises:
            EditError: there is no such layer, or it has no weights.
        """
        self._do_to_weights(Edit(path, {}, "freeze", 0), None)

    def thaw(self, path: str) -> None:
        """Train a frozen layer's weights again.

        Raises:
            EditError: there is no such layer, or it has no weights.
        """
        self._do_to_weights(Edit(path, {}, "thaw", 0), None)

    def redraw(
        self, path: str, scheme: str = "default", *, optimizer: optim.Optimizer | None = None, seed: int | None = None
    ) -> None:
        """Draw a layer's weights anew.

        Args:
            path: the layer's name.
            scheme: one of `SCHEMES`: ``"kaiming_uniform"`` and ``"kaiming_normal"`` take the gain of the activation
                that follows the layer in the forward; ``"default"`` is what torch draws for a new layer.
            optimizer: one that trains the model; what it keeps of these weights begins afresh.
            seed: decides the values; the number of edits so far if left out.

        Raises:
            EditError: there is no such layer or scheme, or the layer has no such weights.
        """
        self._do_to_weights(Edit(path, {"scheme": scheme}, "redraw", self._seed(seed)), optimizer)

    def apply(self, edit: Edit | EditPlan, optimizer: optim.Optimizer | None = None) -> EditPlan | None:
        """Make an edit, from a journal or as it was planned; it is planned anew, as the model may have changed since.

        An edit whose action is ``"undo"`` or ``"redo"`` does that, so that a run's journal can tell of them too.

        Raises:
            EditError: it cannot be, and nothing has changed.
        """
        made = edit.edit if isinstance(edit, EditPlan) else edit
        if made.action == "undo":
            self.undo(optimizer)
        elif made.action == "redo":
            self.redo(optimizer)
        elif made.action in ("freeze", "thaw", "redraw"):
            self._do_to_weights(made, optimizer)
        else:
            return self._do(made, optimizer)
        return None

    def undo(self, optimizer: optim.Optimizer | None = None) -> None:
        """Put the model back as it was before the last edit, bit for bit: its very modules and parameters, and all
        weights as they were then. What was trained since comes back with `redo`.

        Args:
            optimizer: one that trains the model; it follows, and is put back too if it was given with the edit.

        Raises:
            LookupError: there is no edit to undo.
        """
        self._swap(self._undo, self._redo, optimizer, "undo")
        self._journal.pop()

    def redo(self, optimizer: optim.Optimizer | None = None) -> None:
        """Put the model back as it was when `undo` was called, bit for bit.

        Raises:
            LookupError: nothing was undone, or an edit was made since.
        """
        self._journal.append(self._swap(self._redo, self._undo, optimizer, "redo"))

    # -- where it stands -----------------------------------------------------------------------------------------

    def place(self) -> Place:
        """Of the edits, what stands, what can be undone and what redone, for `move_to`."""
        with self._lock:
            return Place(tuple(self._journal), tuple(self._undo), tuple(self._redo))

    def move_to(self, place: Place) -> None:
        """Take up the edits of an earlier time; the model itself must have been put back as it was then."""
        with self._lock:
            self._journal, self._undo, self._redo = list(place.journal), list(place.undo), list(place.redo)

    # -- how -----------------------------------------------------------------------------------------------------

    def _seed(self, seed: int | None) -> int:
        return len(self._journal) if seed is None else seed

    def _now(self) -> Base:
        """The model as it is, looked at again whenever its structure has changed, by an edit or by somebody else."""
        with self._lock:
            signature = _signature(self.model)
            if self._base is None or self._base[0] != signature:
                self._base = signature, base_of(self.model, self._inputs, trace_of(self.model, self._inputs))
            return self._base[1]

    def _do(self, edit: Edit, optimizer: optim.Optimizer | None) -> EditPlan:
        with self._lock:
            planned = self.plan(edit)
            if not planned.changes:
                return planned
            state = capture(self.model, optimizer)
            before = list(self.model.parameters())
            try:
                moved = commit(self.model, planned)
                if optimizer is not None:
                    follow(optimizer, before, self.model, moved)
            except BaseException:
                put_back(self.model, state)
                raise
            self._done(edit, state)
            return planned

    def _do_to_weights(self, edit: Edit, optimizer: optim.Optimizer | None) -> None:
        with self._lock:
            layer = layer_at(self.model, edit.path, self.trace)
            weights = list(layer.parameters())
            if not weights:
                raise EditError(edit.path, f"a {type(layer).__name__} has no weights")
            if edit.action == "redraw":
                check_scheme(edit.path, layer, str(edit.settings.get("scheme", "default")))
            state = capture(self.model, optimizer)
            try:
                if edit.action == "redraw":
                    drawn = redrawn(edit.path, layer, self.trace, edit)
                    if optimizer is not None:
                        forget(optimizer, drawn)
                else:
                    _set_frozen(self.model, layer, frozen=edit.action == "freeze")
                    if optimizer is not None and edit.action == "thaw":
                        admit(optimizer, self.model, weights)
            except BaseException:
                put_back(self.model, state)
                raise
            self._done(edit, state)

    def _done(self, edit: Edit, state: State) -> None:
        self._journal.append(edit)
        self._undo.append((edit, state))
        self._redo.clear()
        while len(self._undo) > 1 and sum(one.num_bytes for _, one in self._undo) > UNDO_BYTES:
            self._undo.pop(0)

    def _swap(
        self,
        take: list[tuple[Edit, State]],
        give: list[tuple[Edit, State]],
        optimizer: optim.Optimizer | None,
        word: str,
    ) -> Edit:
        with self._lock:
            if not take:
                raise LookupError(f"there is nothing to {word}.")
            edit, state = take.pop()
            kept = state.optimizer[0] if state.optimizer is not None else None
            give.append((edit, capture(self.model, kept if kept is not None else optimizer)))
            before = list(self.model.parameters())
            put_back(self.model, state)
            if kept is not None:
                complete(kept)
            if optimizer is not None and optimizer is not kept:
                follow(optimizer, before, self.model, [])
            return edit

    def __repr__(self) -> str:
        edits = f", {len(self._journal)} edits" if self._journal else ""
        return f"LiveModel({type(self.model).__name__}, {len(self._leaves())} layers{edits})"


def _signature(model: nn.Module) -> object:
    """What a base was made of: other modules, shapes or settings make another."""
    return tuple(
        (
            path,
            id(module),
            tuple(None if p is None else (id(p), p.requires_grad) for p in module._parameters.values()),
            tuple(arguments_of(module).values()) if kind_of(module) is not None and not why_not_plain(module) else (),
        )
        for path, module in model.named_modules(remove_duplicate=False)
    )


def _set_frozen(model: nn.Module, layer: nn.Module, *, frozen: bool) -> None:
    for weight in layer.parameters():
        weight.requires_grad_(not frozen)
        if frozen:
            weight.grad = None  # else a momentum or a decay would go on moving it
    for module in layer.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and parameters_of(module):
            module.training = not frozen and model.training


__all__ = ["Edit", "EditError", "EditPlan", "InitFacts", "Layer", "Limit", "LiveModel", "Place", "Repair", "bind"]
