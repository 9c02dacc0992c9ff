"""Shapes, parameters, mult-adds and receptive fields of any ``nn.Module``, without running any arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from convlab.models._trace.errors import TraceError as TraceError
from convlab.models._trace.inputs import Inputs, read_inputs
from convlab.models._trace.layout import columns, html_table, text_table
from convlab.models._trace.record import Record as Record
from convlab.models._trace.record import Shared, record_of
from convlab.models._trace.session import run
from convlab.models._trace.tracer import Call, Tracer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def trace(model: nn.Module, input_size: Any = None, *, input_data: Any = None) -> Trace:
    """Trace a model: a record of each call in its forward, with shapes, cost and receptive fields.

    ``input_size`` includes the batch dimension, as in torchinfo: ``(1, 3, 224, 224)``; a list of sizes for several
    inputs, a dict of sizes for keyword inputs. ``input_data`` is a tensor, or a tuple or dict with tensors, instead.

    No activation is allocated and no arithmetic runs, unless the forward asks for the value of an activation (then
    one real forward does). The model is left bit for bit as it was. Where shapes do not fit the trace ends early, and
    ``error`` says why; input that cannot be meant raises ``ValueError`` or ``TypeError``.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5))
    >>> trace(net, (1, 1, 28, 28))["2"].receptive_field.size
    (14, 14)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}; torch.nn.Sequential(...) would work")
    inputs = read_inputs(model, input_size, input_data)
    tracer, error = run(model, inputs)
    return Trace(model, inputs, tracer, error)


class Trace:
    """What `trace` found.

    ``records``
        A record for each call of a leaf module or function, in call order.
    ``edges``
        Pairs of indices into ``records``: from the one that made a tensor to the one that took it.
    ``containers``, ``rows``
        Records of the modules around the leaves (what comes out of them); ``rows`` is both, in the order in which
        they began.
    ``error``
        Why the trace ended early, or ``None``.
    ``notes``
        What a reader must know: where the fields hold for this input only, or an operation was unknown.
    ``total_params``, ``trainable_params``, ``total_mult_adds``, ``input_sizes``
        Totals, and the size of each input by its name.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, tracer: Tracer, error: TraceError | None) -> None:
        self.model, self.inputs, self.error = model, inputs, error
        self.notes = tuple(tracer.notes)
        self.input_sizes = {name: tuple(tensor.shape) for name, tensor in inputs.named.items()}
        axes = tuple((name, dim, inputs.named[name].shape[dim]) for name, dim in inputs.axes())
        finished = [call for call in tracer.modules if call.itemsize]
        shared: Shared = {}
        self.records = tuple(_records(tracer.calls, axes, shared))
        self.containers = tuple(_records(finished, axes, shared))
        order = sorted(zip((*tracer.calls, *finished), (*self.records, *self.containers), strict=True), key=_began)
        self.rows = tuple(record for _, record in order)
        self.edges = tuple((source, i) for i, call in enumerate(tracer.calls) for source in call.sources if source < i)
        parameters = [p for p in model.parameters() if not hasattr(p, "materialize")]
        self.total_params = sum(p.numel() for p in parameters)
        self.trainable_params = sum(p.numel() for p in parameters if p.requires_grad)
        self.total_mult_adds = sum(record.mult_adds for record in self.records)

    @property
    def input_size(self) -> tuple[int, ...]:
        """Size of the (first) input, batch included."""
        return next(iter(self.input_sizes.values()), ())

    def calls(self, path: str) -> tuple[Record, ...]:
        """Return all calls of a leaf, container or function, in order."""
        found = tuple(record for record in (*self.records, *self.containers) if record.path == path)
        if not found:
            raise KeyError(f"the trace has no {path!r}")
        return found

    def __getitem__(self, path: str) -> Record:
        """Return the last call of a leaf or function, or what comes out of a container."""
        return self.calls(path)[-1]

    @property
    def output(self) -> Record:
        """What comes out of the model (the first tensor of several, see `outputs`)."""
        if not self.outputs:
            raise self.error or LookupError("the model returned no tensor")
        return self.outputs[0]

    @property
    def outputs(self) -> tuple[Record, ...]:
        """A record for each tensor that comes out of the model."""
        return tuple(
            record for record in (*self.records, *self.containers) if record.path == "" or record.path[:1] == "["
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each record, with torchinfo's column names and the receptive field's values."""
        import pandas as pd

        return pd.DataFrame(columns(self.records, list(self.input_sizes)))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw how the receptive field grows from layer to layer; returns the axes."""
        from convlab.plots.trace import plot_trace

        return plot_trace(self, ax)

    def __repr__(self) -> str:
        return text_table(self)

    def _repr_html_(self) -> str:
        return html_table(self)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def _began(pair: tuple[Call, Record]) -> int:
    return pair[0].order


def _records(calls: list[Call], axes: tuple[tuple[str, int, int], ...], shared: Shared) -> Iterator[Record]:
    counted: Counter[str] = Counter()
    for call in calls:
        yield record_of(call, counted[call.path], axes, shared)
        counted[call.path] += 1
