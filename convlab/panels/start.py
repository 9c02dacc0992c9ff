"""What a bench begins with, as a `LabState`: told, opened as a bench of its own, or taken over by one that stands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from convlab.data.resolve import Data, resolve
from convlab.lab_state import LabState
from convlab.limits import SpecError, check_choice, short
from convlab.models.borrow import snapshot
from convlab.models.build import build
from convlab.models.gallery import GALLERY
from convlab.models.live import Edit, EditError, LiveModel
from convlab.models.plan import MOST_PARAMS, MOST_VALUES
from convlab.models.trace import Trace
from convlab.net_spec import Block, Head, NetSpec
from convlab.panels.settings import dropout_of
from convlab.schedule_spec import ScheduleSpec
from convlab.spec import TrainSpec
from convlab.training.script import save_start, script_for

if TYPE_CHECKING:
    from pathlib import Path

    from convlab.panels.lab import Lab
    from convlab.training.trainer import Criterion

DEFAULT_SPEC: Final = TrainSpec(epochs=50)
"""Some seconds of training on the small network: long enough to turn a knob."""

_OF_WEIGHTS: Final = ("freeze", "thaw", "redraw")
_GROWS: Final = ("padding", "output_padding", "output_size")
MOST_SIDE: Final = 4096
_TITLES: Final = {"model": "network", "data": "data", "criterion": "loss"}


def state_of(lab: Lab) -> LabState:
    """What the bench begins with: its network before any training, edits, recipe and data."""
    own = {}
    if lab.net is None:
        own["model"] = type(lab.model).__name__
    name = _built_in(lab.data)
    if name is None:
        own["data"] = about(lab.data)
    if lab.criterion is not None:
        own["criterion"] = getattr(lab.criterion, "__name__", type(lab.criterion).__name__)
    return LabState(net=lab.net, seed=lab.seed, edits=lab.edits, train=lab.spec, data=name, own=own)


def about(data: Data) -> str:
    """Data in a few words, by which another's can be told to be the same kind."""
    classes = "numbers" if data.num_classes is None else f"{data.num_classes} classes"
    return f"{data.name}, {'x'.join(map(str, data.input_size))}, {classes}"[:200]


def _built_in(data: Data) -> str | None:
    """The name by which `resolve` gives these very data, split alike."""
    if data.name != "digits" and not data.name.startswith("shapes"):
        return None
    found = resolve(data.name)
    same = (found.fingerprint, found.split) == (data.fingerprint, data.split)
    return data.name if same else None


# -- a bench of its own -----------------------------------------------------------------------------------------------


def opened(kind: type[Lab], state: LabState, model: nn.Module | None, data: object, criterion: Criterion | None) -> Lab:
    """A bench as the state tells; what is a person's own is passed.

    Raises:
        SpecError: something is missing, or does not go together.
        EditError: the model that was passed does not take the state's edits.
    """
    for name, given in {"model": model, "data": data, "criterion": criterion}.items():
        if name in state.own and given is None:
            raise SpecError(
                f"this state is of a {_TITLES[name]} of somebody's own, {state.own[name]!r}, which no text holds; "
                f"pass it: Lab.from_state(state, {name}=...)."
            )
    found = resolve(state.data if data is None else data)
    net = fitting(state.net, found) if model is None and state.net is not None else None
    lab = kind(build(net, state.seed) if net is not None else model, found, state.train, criterion=criterion)
    lab.net, lab.seed = net, state.seed
    try:
        make_edits(lab.live, state.edits)
    except BaseException:
        lab.close()
        raise
    return lab


def own_network(data: Data) -> NetSpec:
    """The small network, `convlab.models.gallery.lenet`, in the size that `data` asks for."""
    channels, height, width = data.input_size
    if height != width or data.num_classes is None:
        raise ValueError(
            f"model is missing, and the bench's own network takes square pictures with classes, not {data.name} of "
            f"size {data.input_size}; pass a model: convlab.Lab(model, data)."
        )
    blocks = Block.ladder(16, 32, padding=1)
    return NetSpec((channels, height, width), num_classes=data.num_classes, blocks=blocks, head=Head(hidden=(64,)))


def fitting(net: NetSpec | str, data: Data) -> NetSpec:
    """The network, if it takes these data; one of the gallery is adapted to them.

    Raises:
        SpecError: it does not.
    """
    size: Any = data.input_size
    if isinstance(net, str):
        check_choice("net", net, tuple(GALLERY))
        net = GALLERY[net].adapted(input_size=size, num_classes=data.num_classes or 1)
    if net.head.kind == "pixels":
        raise SpecError(
            f"net gives a class for every pixel, and {data.name} has one for each picture; try "
            "net.replace(form='chain', head=Head('avg'))."
        )
    if net.input_size != size or net.num_classes < (data.num_classes or 1):
        raise SpecError(
            f"net takes pictures of {net.input_size} and tells {net.num_classes} classes apart, and {data.name} has "
            f"pictures of {size} and {data.num_classes or 1} classes; try NetSpec(input_size={size}, "
            f"num_classes={data.num_classes or 1})."
        )
    return net


def made(network: object, data: Data, seed: int) -> tuple[NetSpec | None, nn.Module]:
    """The network for these data, and its recipe where there is one; nothing given is the bench's own small one.

    Raises:
        SpecError, ValueError: it does not take the data, or there is no such name.
        TypeError: it is no network.
    """
    if isinstance(network, nn.Module):
        return None, network
    if network is not None and not isinstance(network, NetSpec | str):
        raise TypeError(
            f"network must be a NetSpec, a name of the gallery or a torch.nn.Module, got {type(network).__name__}; "
            "try nn.Sequential(...)."
        )
    net = own_network(data) if network is None else fitting(network, data)
    return net, build(net, seed)


def make_edits(live: LiveModel, edits: Iterable[Edit]) -> None:
    """Make the edits of somebody else again; what would fill the memory is refused before it is made.

    Raises:
        EditError: one cannot be, on this model.
        SpecError: one would take too much memory, or cannot be made for another reason.
    """
    for number, edit in enumerate(edits, 1):
        try:
            if edit.action not in _OF_WEIGHTS:
                _check_reach(live, edit)  # a plan looks at whole maps
                _check_cost(live.plan(edit).trace)
            live.apply(edit)
        except (EditError, SpecError):
            raise
        except Exception as error:  # torch's own words, on arguments that no hand at a slider gives
            reason = str(error).partition("\n")[0]
            raise SpecError(f"edit {number}, {short(str(edit))}, cannot be made: {reason}.") from error


def _check_reach(live: LiveModel, edit: Edit) -> None:
    """No side of a map may grow beyond all pictures; what would be is only bounded here, from above."""
    layer = live.layers.get(edit.path)
    settings = {**(layer.settings if layer is not None and edit.action == "set" else {}), **edit.settings}
    kind = str(edit.settings.get("layer", layer.kind if layer is not None else ""))
    most = {name: _largest(settings.get(name)) for name in (*_GROWS, "kernel_size", "dilation", "stride")}
    kernel = most["dilation"] * most["kernel_size"]
    added = kernel + sum(max(most[name], kernel if name == "padding" else 0) * 2 for name in _GROWS)
    onwards = math.prod(
        _largest(one.settings.get("stride")) for one in live.layers.values() if one.kind.startswith("ConvTranspose")
    )
    now = max((side for record in live.trace.records for side in record.output_size[2:]), default=1)
    side = (now + added * onwards) * (most["stride"] if kind.startswith("ConvTranspose") else 1)
    if side > MOST_SIDE:
        raise SpecError(
            f"edit {short(str(edit))} might give a map {side:,} rows, and at most {MOST_SIDE:,} are opened; "
            "leave that edit out."
        )


def _largest(value: object) -> int:
    parts = value if isinstance(value, tuple) else (value,)
    return max([1, *(int(part) for part in parts if isinstance(part, int | float))])


def _check_cost(trace: Trace) -> None:
    values = sum(math.prod(record.output_size[1:]) for record in trace.records)
    if trace.total_params > MOST_PARAMS or values > MOST_VALUES:
        raise SpecError(
            f"the network must have at most {MOST_PARAMS:,} parameters and {MOST_VALUES:,} values in its feature maps, "
            f"and an edit would give it {trace.total_params:,} and {values:,}; leave that edit out."
        )


# -- on a bench that stands -------------------------------------------------------------------------------------------


def changes(lab: Lab, state: LabState) -> list[str]:
    """What opening the state on this bench would change, a few words each.

    Raises:
        SpecError: it cannot be opened here; the message says how it can.
    """
    now = state_of(lab)
    net = fitting(state.net, lab.data) if state.net is not None and state.data == now.data else None
    if (state.data, state.own) != (now.data, now.own):
        raise SpecError(
            f"this state is of another bench, with {_parts(state)}, and here is {_parts(now)}; open it in one of its "
            f"own: convlab.Lab.from_state(state{''.join(f', {name}=...' for name in state.own)})."
        )
    found = [f"the network: {_words(now)} → {_words(state)}"] if net != now.net else []
    found += [f"the seed of its weights: {now.seed} → {state.seed}"] if state.seed != now.seed else []
    if state.edits != now.edits:
        old_edits, new_edits = (", ".join(map(str, one.edits)) or "none" for one in (now, state))
        found.append(f"the network's edits: {old_edits} → {new_edits}")
    old, new = now.train, state.train
    return found + [f"{name}: {_value(old, name)} → {_value(new, name)}" for name in old.changes_to(new)]


def take(lab: Lab, state: LabState) -> None:
    """Make the bench what the state tells: its run ends, and the weights are those of a start again.

    Raises:
        SpecError, EditError: it cannot be; what was taken so far stands.
    """
    changes(lab, state)
    lab.reset()
    net = fitting(state.net, lab.data) if state.net is not None else None
    if net is not None and (net, state.seed) != (lab.net, lab.seed):
        lab.use(net, state.seed)
    make_edits(lab.live, state.edits)
    lab.set(**lab.spec.changes_to(state.train))
    lab.look()


def _parts(state: LabState) -> str:
    return f"{_words(state)} on {state.data or state.own['data']}" + (
        f" and the loss {state.own['criterion']}" if "criterion" in state.own else ""
    )


def _words(state: LabState) -> str:
    if not isinstance(state.net, NetSpec):
        return state.net or state.own["model"]
    return f"{'-'.join(str(block.out_channels) for block in state.net.blocks)} filters, seed {state.seed}"


def _value(train: TrainSpec, name: str) -> str:
    value = getattr(train, name)
    return value.scheduler if isinstance(value, ScheduleSpec) else "none" if value is None else str(value)


# -- its script -------------------------------------------------------------------------------------------------------


def script_of(lab: Lab) -> str:
    """The latest run as a script; before the first, the training as the controls stand."""
    if lab.current is not None:
        return lab.current.code()
    return script_for(lab.model, lab.data, lab.spec, criterion=lab.criterion)


def about_script(lab: Lab) -> str:
    """What `script_of` is of."""
    run = lab.current
    if run is None:
        return "The training as the controls stand, in plain PyTorch."
    return f"{run.name[:1].upper()}{run.name[1:]} from its start, in plain PyTorch, with what was changed on its way."


def version_of_script(lab: Lab) -> object:
    """A value that differs when the script would."""
    run = lab.current
    return (id(lab.model), lab.spec, lab.edits) if run is None else (id(run), len(run.journal), run.ended)


def save_weights(lab: Lab, path: Path) -> None:
    """Write the weights that `script_of` begins with."""
    if lab.current is not None:
        save_start(lab.current, path)
    else:
        torch.save(lab.model.state_dict(), path)


def use(lab: Lab, network: NetSpec | str | nn.Module | None, seed: int, data: object) -> None:
    """See `Lab.use`."""
    found = lab.data if data is None else resolve(data)
    if network is None:
        if (found.input_size, found.num_classes) != (lab.data.input_size, lab.data.num_classes):
            raise SpecError(
                f"data must be of the same kind as {about(lab.data)} for this network, got {about(found)}; pass a "
                "network, too: lab.use('resnet', data=data)."
            )
        net, model, seed = lab.net, lab.model, lab.seed
    else:
        net, model = made(network, found, seed)
    with lab.hand:
        lab.stop()
        lab.data = found
        lab.net, lab.seed, lab.model, lab.bound = net, seed, model, None
        lab.opened_with, lab.latest, lab.spec_of_present = snapshot(model), None, None
        lab.advised = []
        for held in (lab.looking, lab.rewound, lab.following, lab.on_spec, lab.on_tab):
            held.clear()
        lab.settings.set_running(False)
        lab.settings.offer_dropout(dropout_of(model))
        lab.heading.value = lab.title_line()
        lab.messages.clear()
        lab.curve.clear()
        lab.timeline.show(None)
        lab.transport.show("pending", None)
        lab.tabs.renew()
