"""The part of a script that edits the network in flight: the new layers, and what goes over into them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from torch.nn import init

from convlab.models.calls import as_text
from convlab.models.places import assigned, is_name, place
from convlab.spec import TrainSpec
from convlab.training.edit_log import Jump, Placed, Record
from convlab.training.script_indices import indices
from convlab.training.script_text import statement

_KEEP: Final = '''\
kept = {}


def keep(number):
    """Remember the network and what the optimizer knows of it, for an undo or redo."""
    kept[number] = copy.deepcopy((model, group["params"], optimizer.state))


def put_back(number):
    """The network as it was then, bit for bit."""
    global model
    model, group["params"], optimizer.state = kept.pop(number)'''

_OUTPUTS_FIRST: Final = '''\
def outputs_first(weight, groups):
    """A transposed convolution has its inputs first; this is the way there and back."""
    split = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    return split.reshape(-1, *split.shape[2:])'''

_CARRY: Final = '''\
def carry(old, new, rows, columns):
    """Values of `old` in the shape of `new`; rows and columns as below."""
    rows = torch.arange(len(new)) if rows is None else torch.tensor(rows)
    values = old[rows.clamp(min=0)]
    if columns is not None:
        columns = torch.tensor(columns).expand(len(rows), -1)
        values = old[rows.clamp(min=0)[:, None], columns.clamp(min=0)]
        values[columns < 0] = 0'''

_TAPS: Final = """\
    sides = []  # a kernel grows and shrinks around its centre
    for before, after in zip(old.shape[:1:-1], new.shape[:1:-1], strict=True):
        left = (after - 1) // 2 - (before - 1) // 2
        sides += [left, after - before - left]
    values = nn.functional.pad(values, sides)"""

_CARRIED: Final = """\
    values[rows < 0] = new[rows < 0]
    return values.contiguous()"""

_LAST: Final = """\
    values[rows < 0] = new[rows < 0]
    if old.dim() == 4 and not old.is_contiguous():
        return values.contiguous(memory_format=torch.channels_last)
    return values.contiguous()"""

_REPLACE: Final = '''\
def replace(name, new, rows=None, columns=None):
    """Put a layer in another's place, with its values and what the optimizer knows of them.

    rows, columns: for each new output and input the old one, or -1 where there was none.
    A new output keeps the values drawn for it; what reads a new input is zero.
    """
    old = model.get_submodule(name)

    def taken(key, value, drawn):
        return carry(value, drawn, rows, columns if key == "weight" else None)

    for key, value in old.named_parameters(recurse=False):
        drawn = getattr(new, key)
        if drawn is None:
            continue
        same = rows is None and (columns is None or key != "weight")
        if not (same and value.shape == drawn.shape):
            drawn = nn.Parameter(
                taken(key, value.detach(), drawn.detach()), value.requires_grad
            )
            if value in optimizer.state:
                optimizer.state[drawn] = {
                    what: state
                    if state.dim() == 0
                    else taken(key, state, torch.zeros_like(drawn))
                    for what, state in optimizer.state.pop(value).items()
                }
            value = drawn
        setattr(new, key, value)'''

_BUFFERS: Final = """\
    for key, value in old.named_buffers(recurse=False):
        drawn = getattr(new, key, None)
        if drawn is not None:
            same = drawn.dim() == 0 or rows is None and value.shape == drawn.shape
            setattr(new, key, value if same else taken(key, value, drawn))"""

_PUT: Final = """\
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)"""

_PUT_EVERYWHERE: Final = """\
    if type(new) is type(old):
        vars(old).update(vars(new))  # wherever the network holds it
        return
    for parent in model.modules():
        for last, child in parent._modules.items():
            if child is old:
                parent._modules[last] = new"""

_INSERT: Final = '''\
def insert(parent, position, name, layer):
    """Put a named layer into an nn.Sequential."""
    later = list(parent._modules.items())[position:]
    for after, _ in later:
        delattr(parent, after)
    for after, child in [(name, layer), *later]:
        parent.add_module(after, child)'''

_FOLLOW: Final = '''\
def follow({left_out}):
    """Let the optimizer train what the network now has."""
    group["params"] = {params}'''

_FORGET: Final = '''\
def forget(layer):
    """Values drawn anew have no past."""
    for parameter in layer.parameters(recurse=False):
        optimizer.state.pop(parameter, None)'''

_COMPLETE: Final = '''\
def complete():
    """Fused SGD takes velocities for all parameters or for none."""
    states = [optimizer.state[p] for p in group["params"] if p in optimizer.state]
    if group["momentum"] and any("momentum_buffer" in state for state in states):
        for p in group["params"]:
            optimizer.state[p].setdefault("momentum_buffer", torch.zeros_like(p))'''

_COMPLETE_RMSPROP: Final = '''\
def complete():
    """RMSprop with momentum takes velocities for all parameters that it has stepped."""
    for state in optimizer.state.values():
        if state and group["momentum"]:
            velocity = torch.zeros_like(state["square_avg"])
            state.setdefault("momentum_buffer", velocity)'''

_DROPOUTS: Final = '''\
def dropouts():
    """Each dropout layer, and its p."""
    drop = nn.modules.dropout._DropoutNd
    return {m: m.p for m in model.modules() if isinstance(m, drop)}'''

_TORCHS: Final = ("linear", "relu", "tanh", "sigmoid", "selu")

_MODES: Final = '''\
def set_modes():
    """Train mode, but for layers that stay in eval mode."""
    model.train()
    for name in in_eval:
        model.get_submodule(name).eval()'''


@dataclass
class Edits:
    """Statements for each record, and the functions that they call.

    Attributes:
        records: what was done, in its order.
        in_eval: layers that began in eval mode.
        drops_one: whether a batch of one sample was left out at first; None where there can be none.
        dropout: whether the dropout layers' own p is asked for at some time.
    """

    records: Sequence[Record]
    spec: TrainSpec
    in_eval: tuple[str, ...] = ()
    drops_one: bool | None = None
    dropout: bool = False
    device: str = "cpu"
    weights: str = "weights.pt"
    moves_momentum: bool = True
    imports: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    jumps: dict[int, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._needs: set[str] = set()
        self._kept = {one.restored for one in self.records if one.restored is not None}
        self.moves_modes = any(one.in_eval for one in self.records)
        self.moves_drops = self.drops_one is not None and any(one.refuses_one != self.drops_one for one in self.records)
        self._completes = self.spec.optimizer == "sgd" and self.moves_momentum
        self._completes_rmsprop = self.spec.optimizer == "rmsprop" and self.moves_momentum

    def state(self) -> list[str]:
        """Lines before the loop: what the edits move."""
        lines = [statement("in_eval = ", repr(list(self.in_eval)))] if self.moves_modes else []
        return [*lines, f"drops_one = {bool(self.drops_one)}"] if self.moves_drops else lines

    def lines(self, number: int) -> list[str]:
        """Statements for the record of that number, indented for a case."""
        record = self.records[number]
        lines = [f"keep({number})"] if number in self._kept else []
        if lines:
            self._needs.add("keep")
        lines += self._done(number, record)
        lines += self._after(number, record)
        found = [line if line[:1] == " " else f"{' ' * 12}{line}" for line in lines]
        return [f"{' ' * 12}# {_spoken(record)}", *found] if found else []

    def _done(self, number: int, record: Record) -> list[str]:
        if record.restored is not None:
            self._needs.add("keep")
            if self._completes_rmsprop:
                self._needs.add("complete_rmsprop")
                return [f"put_back({record.restored})", "complete()"]
            return [f"put_back({record.restored})"]
        if record.jump is not None:
            return [*self.jumps[number], *self._jumped(record.jump), *self._follow(record)]
        if not record.has_effect:
            return []
        if record.action in ("freeze", "thaw"):
            return self._freezes(record)
        if record.action == "redraw":
            return list(self._redraws(record))
        return [*self._structure(record), *self._follow(record)]

    def _after(self, number: int, record: Record) -> Iterator[str]:
        """What the loop must know of the network as edited."""
        if self.dropout:
            self._needs.add("dropouts")
            self.globals.add("own_dropout")
            yield "own_dropout = dropouts()"
        before = self.records[number - 1] if number else None
        if self.moves_modes:
            moves = record.in_eval != (before.in_eval if before else self.in_eval)
            if moves:
                self.globals.add("in_eval")
                yield statement("in_eval = ", repr(list(record.in_eval)), 12)
            if moves or record.in_eval or record.restored is not None:
                yield "set_modes()"
        if self.moves_drops and record.refuses_one != (before.refuses_one if before else self.drops_one):
            self.globals.add("drops_one")
            yield f"drops_one = {record.refuses_one}"
        if self.spec.patience is not None:
            self.globals.update(("best_loss", "best_epoch", "best_state"))
            yield 'best_loss, best_epoch, best_state = float("inf"), 0, None'

    # -- what is done -------------------------------------------------------------------------------------------------

    def _structure(self, record: Record) -> Iterator[str]:
        if record.removed is not None:
            parent, name, index = record.removed.parent, record.removed.name, record.removed.index
            above = place(parent, record.is_odd)
            if index is not None:
                yield f"del {above}[{index}]"
            elif is_name(name):
                yield f"del {above}.{name}"
            else:
                yield f'delattr({above}, "{name}")'
        draws = [one for one in record.placed if _draws(one)]
        if draws:
            assert not isinstance(record.edit, str)
            yield f"with torch.random.fork_rng({'devices=[]' if self.device == 'cpu' else ''}):"
            yield f"{' ' * 16}torch.manual_seed({record.edit.seed})  # decides the new weights"
        indent = 16 if draws else 12
        for one in record.placed:
            yield self._placed(one, record.is_odd, indent)
        for one in record.placed:
            yield from self._amended(one, record.is_odd)

    def _placed(self, one: Placed, is_odd: bool, indent: int) -> str:
        made = as_text(one.call)
        if self.device != "cpu" and _has_weights(one):
            made += ".to(device)"
        path = one.paths[0]
        if one.position is not None:
            parent, _, name = path.rpartition(".")
            if name == str(one.position):
                return statement("", f"{place(parent, is_odd)}.insert({one.position}, {made})", indent)
            self._needs.add("insert")
            return statement("", f'insert({place(parent, is_odd)}, {one.position}, "{name}", {made})', indent)
        if one.carries or one.is_held:
            self._needs.update({"replace"} | ({"everywhere"} if one.is_held else set()))
            if "ConvTranspose" in one.call.function:
                self._needs.add("outputs_first")
            self._needs.update(word for word in ("BatchNorm", "InstanceNorm") if word in one.call.function)
            self._needs.update(["LayerNorm"] if one.call.function == "nn.LayerNorm" else [])
            self._needs.update(["taps"] if one.taps else [])
            asked = [f'"{path}"', made]
            for name, index in (("rows", one.rows), ("columns", one.columns)):
                asked += [f"{name}={indices(index)}"] if index is not None else []
            return statement("", f"replace({', '.join(asked)})", indent)
        start, end = assigned(path, is_odd)
        return statement("", f"{start}{made}{end}", indent) if end else statement(start, made, indent)

    def _amended(self, one: Placed, is_odd: bool) -> Iterator[str]:
        layer = place(one.paths[0], is_odd)
        if one.resets:
            yield f"{layer}.reset_running_stats()"
        if one.zeros:
            whole = one.zeros == tuple(range(int(one.call.args[1])))
            index = ":" if whole else indices(one.zeros)
            yield statement(f"{layer}.bias.data[{index}] = ", "0", 12)
        for name in one.frozen:
            yield f"{layer}.{name}.requires_grad_(False)"

    def _follow(self, record: Record) -> list[str]:
        self._needs.add("follow")
        if not record.left_out:
            return ["follow()"]
        self._needs.add("left_out")
        return [statement("", f"follow({list(record.left_out)!r})", 12)]

    def _freezes(self, record: Record) -> list[str]:
        assert not isinstance(record.edit, str)
        lines = [f"{place(record.edit.path, record.is_odd)}.requires_grad_({record.action == 'thaw'})"]
        if record.joins:
            return [*lines, *self._follow(record)]
        if record.action == "thaw" and self._completes:
            self._needs.add("complete")
            lines.append("complete()")
        return lines

    def _redraws(self, record: Record) -> Iterator[str]:
        assert not isinstance(record.edit, str)
        layer, scheme = place(record.edit.path, record.is_odd), str(record.edit.settings.get("scheme", "default"))
        yield f"with torch.random.fork_rng({'devices=[]' if self.device == 'cpu' else ''}):"
        yield f"{' ' * 16}torch.manual_seed({record.edit.seed})  # decides the new weights"
        if scheme == "default":
            if self.device == "cpu":
                yield f"{' ' * 16}{layer}.reset_parameters()"
            else:
                yield f"{' ' * 16}{layer}.cpu().reset_parameters()"
                yield f"{layer}.to(device)"
        else:
            # Into a tensor of torch's usual layout: numbers fill memory in its order.
            yield f"{' ' * 16}drawn = torch.empty({layer}.weight.shape)"
            yield f"{' ' * 16}{_drawing(scheme, record)}"
            yield f"{layer}.weight.data.copy_(drawn)"
            if record.has_bias:
                yield f"nn.init.zeros_({layer}.bias)"
        self._needs.add("forget")
        yield f"forget({layer})"

    def _jumped(self, jump: Jump) -> Iterator[str]:
        """State of the parameters that are still the same goes over to those that stand for them."""
        if not jump.kept:
            return
        same = all(before == now for before, now in jump.kept)
        now = ["before" if same else "now", "before"]
        names = repr([one[0] for one in jump.kept] if same else [list(one) for one in jump.kept])
        yield statement("names = ", names, 12)
        yield f"for {'before' if same else 'before, now'} in names:"
        yield f"{' ' * 16}if former[before] in optimizer.state:"
        yield f"{' ' * 20}state = optimizer.state.pop(former[before])"
        yield f"{' ' * 20}optimizer.state[model.get_parameter({now[0]})] = state"

    # -- functions ----------------------------------------------------------------------------------------------------

    def helpers(self) -> list[str]:
        """Definitions that the statements call; empty without edits."""
        needs, blocks = self._needs, []
        if self.moves_modes:
            blocks.append(_MODES)
        if "dropouts" in needs:
            blocks.append(_DROPOUTS)
        if "keep" in needs:
            self.imports.add("import copy")
            blocks.append(_KEEP)
        if "outputs_first" in needs:
            blocks.append(_OUTPUTS_FIRST)
        if "replace" in needs:
            end = _LAST if self.spec.channels_last else _CARRIED
            blocks.append("\n".join([_CARRY, *([_TAPS] if "taps" in needs else []), end]))
            blocks.append(self._replace())
        if "insert" in needs:
            blocks.append(_INSERT)
        if "complete_rmsprop" in needs:
            blocks.append(_COMPLETE_RMSPROP)
        if needs & {"follow", "forget", "complete"} and self._completes:
            blocks.append(_COMPLETE)
        if "follow" in needs:
            some = "left_out" in needs
            params = "[p for n, p in model.named_parameters() if n not in left_out]"
            block = _FOLLOW.format(
                left_out="left_out=()" if some else "", params=params if some else "list(model.parameters())"
            )
            blocks.append(f"{block}\n    complete()" if self._completes else block)
        if "forget" in needs:
            blocks.append(f"{_FORGET}\n    complete()" if self._completes else _FORGET)
        return blocks

    def _replace(self) -> str:
        needs, parts = self._needs, [_REPLACE]
        if needs & {"BatchNorm", "InstanceNorm"}:
            parts.append(_BUFFERS)
        parts.append(_PUT_EVERYWHERE if "everywhere" in needs else _PUT)
        whole = "\n".join(parts)
        plain = '        return carry(value, drawn, rows, columns if key == "weight" else None)'
        special = []
        if "outputs_first" in needs:
            special += [
                '        if key == "weight" and isinstance(new, nn.modules.conv._ConvTransposeNd):',
                "            value = outputs_first(value, old.groups)",
                "            filled = outputs_first(drawn, new.groups)",
                "            return outputs_first(carry(value, filled, rows, columns), new.groups)",
            ]
        if "LayerNorm" in needs:
            special += [
                "        if isinstance(new, nn.LayerNorm):",
                "            flat = carry(value.flatten(), drawn.flatten(), rows, None)",
                "            return flat.view_as(drawn)",
            ]
        return whole.replace(plain, "\n".join([*special, plain]))


def _draws(one: Placed) -> bool:
    """Whether making the layer takes random numbers."""
    return any(word in one.call.function for word in ("Conv", "Linear"))


def _has_weights(one: Placed) -> bool:
    return any(word in one.call.function for word in ("Conv", "Linear", "Norm", "PReLU"))


def _drawing(scheme: str, record: Record) -> str:
    if not scheme.startswith("kaiming"):
        return f"nn.init.{scheme}_(drawn)"
    known = init.calculate_gain(record.activation) if record.activation in _TORCHS else 0.0  # type: ignore[arg-type]
    if record.std == known / math.sqrt(record.fan_in):
        return f'nn.init.{scheme}_(drawn, nonlinearity="{record.activation}")'
    if scheme == "kaiming_normal":
        return f"drawn.normal_(0, {record.std!r})  # kaiming_normal, for {record.activation}"
    bound = math.sqrt(3) * record.std
    return f"drawn.uniform_({-bound!r}, {bound!r})  # kaiming_uniform, for {record.activation}"


def _spoken(record: Record) -> str:
    return str(record.edit).partition("\n")[0]
