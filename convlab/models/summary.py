"""A trace as the rows of a table: a tree of containers and layers, with shares and what changed since another trace."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from torch import nn

from convlab.geometry import ReceptiveField
from convlab.models.trace import Record, Trace

State = Literal["ok", "failed", "unreached"]


@dataclass(frozen=True)
class Row:
    """One line of a summary. Sizes include the batch; `memory` is in bytes; `*_share` is the part of the total.

    ``call``
        0 for the first call of a path; the weights of later calls are the first's, and have no share.
    ``details``
        The module as it prints itself, such as ``Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))``.
    ``state``
        ``"failed"`` for the layer where the trace ended, ``"unreached"`` for what comes after it: then the numbers are
        those of the trace before.
    ``kernel_size``
        The window of a convolution or pooling; empty for others.
    ``before``
        The values of the trace before that differ, by field.
    """

    path: str
    call: int
    kind: str
    depth: int
    is_leaf: bool
    details: str = ""
    state: State = "ok"
    kernel_size: tuple[int, ...] = ()
    input_size: tuple[int, ...] = ()
    output_size: tuple[int, ...] = ()
    num_params: int = 0
    trainable: int = 0
    mult_adds: int = 0
    memory: int = 0
    receptive_field: str = ""
    jump: str = ""
    params_share: float = 0.0
    mult_adds_share: float = 0.0
    memory_share: float = 0.0
    before: dict[str, object] = field(default_factory=dict)


COMPARED: Final = (
    *("kernel_size", "input_size", "output_size", "num_params", "trainable", "mult_adds", "memory"),
    *("receptive_field", "jump"),
)


@dataclass(frozen=True)
class Summary:
    """Rows in call order, containers before what they hold; totals; why it ended early.

    ``total_memory``
        Bytes of all activations, functions included.
    ``input_memory``, ``pass_memory``, ``params_memory``
        Bytes as torchinfo counts them: of the inputs; of the outputs of layers with weights, twice (forward and
        backward); of the parameters.
    ``largest``
        Path of the layer with the largest share, for ``num_params``, ``mult_adds`` and ``memory``.
    """

    rows: tuple[Row, ...]
    total_params: int
    trainable_params: int
    total_mult_adds: int
    total_memory: int
    input_memory: int
    pass_memory: int
    params_memory: int
    largest: dict[str, str]
    error: str


def summarize(trace: Trace, before: "Summary | Trace | None" = None) -> Summary:
    """The rows of `trace`; each row's `before` holds the values that differ from `before`'s row of the same call.

    Where the trace ended early a row for the failing layer follows, and the rows of `before` that were not reached.

    Example:
        >>> from torch import nn
        >>> from convlab.models.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
        >>> [row.num_params for row in summarize(trace(net, (1, 1, 8, 8))).rows]
        [80, 0]
    """
    was = summarize(before) if isinstance(before, Trace) else before
    old = {(row.path, row.call): row for row in was.rows} if was is not None else {}
    modules = dict(trace.model.named_modules())
    records = [record for record in trace.rows if _is_shown(record)]
    leaves = [record for record in records if record.is_leaf]
    totals = trace.total_params, trace.total_mult_adds, sum(record.memory for record in leaves)
    rows = [_row(r, modules.get(r.path), totals, old.get((r.path, r.call))) for r in records]
    if trace.error is not None:
        rows = _end(rows, trace, modules, old)
    params = [p for p in trace.model.parameters() if not hasattr(p, "materialize")]
    return Summary(
        rows=tuple(rows),
        total_params=trace.total_params,
        trainable_params=trace.trainable_params,
        total_mult_adds=trace.total_mult_adds,
        total_memory=totals[2],
        input_memory=sum(tensor.numel() * tensor.element_size() for tensor in trace.inputs.named.values()),
        pass_memory=2 * sum(record.memory for record in leaves if record.num_params and record.path in modules),
        params_memory=sum(p.numel() * p.element_size() for p in params),
        largest=_largest([row for row in rows if row.is_leaf]),
        error=str(trace.error) if trace.error is not None else "",
    )


def _is_shown(record: Record) -> bool:
    """The model itself and its outputs say nothing that their last layer does not, an Identity nothing at all."""
    is_model = not record.is_leaf and (not record.path or record.path[:1] == "[")
    return not is_model and (record.kind != "Identity" or record.num_params > 0)


def _row(record: Record, module: nn.Module | None, totals: tuple[int, int, int], was: Row | None) -> Row:
    num_params, mult_adds, memory = totals
    row = Row(
        path=record.path,
        call=record.call,
        kind=record.kind,
        depth=record.path.count("."),
        is_leaf=record.is_leaf,
        details=_details(record.kind, module),
        kernel_size=_kernel_size(module),
        input_size=record.input_size,
        output_size=record.output_size,
        num_params=record.num_params,
        trainable=record.trainable,
        mult_adds=record.mult_adds,
        memory=record.memory,
        receptive_field=_of_each_input(record),
        jump=_jump(record.receptive_field),
        params_share=_share(record.num_params, num_params) if not record.call else 0.0,
        mult_adds_share=_share(record.mult_adds, mult_adds),
        memory_share=_share(record.memory, memory) if record.is_leaf else 0.0,
    )
    if was is None:
        return row
    return replace(row, before={n: getattr(was, n) for n in COMPARED if getattr(was, n) != getattr(row, n)})


def _end(rows: list[Row], trace: Trace, modules: dict[str, nn.Module], old: dict[tuple[str, int], Row]) -> list[Row]:
    """`rows` with the layer where the trace ended, the containers around it, and those of `old` not reached."""
    error = trace.error
    path = error.path if error is not None else ""
    parts = path.split(".")
    around = [".".join(parts[:count]) for count in range(1, len(parts))]
    for above in around:
        if above in modules and not any(row.path == above for row in rows):
            kind = type(modules[above]).__name__
            row = old.get((above, 0)) or Row(above, 0, kind, above.count("."), is_leaf=False, details=f"{kind}()")
            at = next((i for i, one in enumerate(rows) if one.path.startswith(f"{above}.")), len(rows))
            rows = [*rows[:at], replace(row, state="unreached", before={}), *rows[at:]]
    module = modules.get(path) if path else None
    kind = (error.kind if error is not None else "") or (type(module).__name__ if module is not None else "")
    call = sum(row.path == path for row in rows)
    failed = Row(path, call, kind, path.count("."), True, _details(kind, module), "failed", _kernel_size(module))
    known = {(row.path, row.call) for row in (*rows, failed)}
    rest = [row for key, row in old.items() if key not in known and row.path not in around]
    return [*rows, failed, *(replace(row, state="unreached", before={}) for row in rest)]


def _largest(leaves: list[Row]) -> dict[str, str]:
    shares = {"num_params": "params_share", "mult_adds": "mult_adds_share", "memory": "memory_share"}
    found = {
        name: max(leaves, key=lambda row: float(getattr(row, share)), default=None) for name, share in shares.items()
    }
    return {name: row.path for name, row in found.items() if row is not None and getattr(row, shares[name]) > 0}


def _details(kind: str, module: nn.Module | None) -> str:
    if module is None:
        return f"{kind}(), a function"
    try:
        settings = module.extra_repr()
    except Exception:  # a person's own extra_repr must not take the table away
        settings = "..."
    return f"{kind}({settings})"


def _kernel_size(module: nn.Module | None) -> tuple[int, ...]:
    size = getattr(module, "kernel_size", ())
    if isinstance(size, int):
        digit = type(module).__name__[-2:-1]
        return (size,) * (int(digit) if digit in "123" and digit else 1)
    return tuple(size) if isinstance(size, tuple) else ()


def _of_each_input(record: Record) -> str:
    fields = record.receptive_fields
    if len(fields) == 1:
        return words(next(iter(fields.values())))
    return ", ".join(f"{name}: {words(one)}" for name, one in fields.items()) or "none"


def words(field: ReceptiveField) -> str:
    """A field's size, a reach that all axes share said once.

    Example:
        >>> words(ReceptiveField((9, 9), (1, 1), (0.5, 0.5), ("global", "global"), (0, 0), (1, 1)))
        'global (9 x 9)'
    """
    reaches = set(field.reach)
    if len(reaches) != 1 or reaches == {"local"}:
        return str(field)
    return f"{field.reach[0]} ({' x '.join(map(str, field.size))})"


def _jump(field: ReceptiveField | None) -> str:
    if field is None or None in field.jump:
        return ""
    return " x ".join(map(str, field.jump)) if len(set(field.jump)) > 1 else str(field.jump[0]) if field.jump else ""


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
