"""Shapes, parameters, mult-adds and receptive fields of any ``nn.Module``, without running any arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import nn

from convlab.models._trace.errors import TraceError as TraceError
from convlab.models._trace.inputs import Inputs, read_inputs
from convlab.models._trace.record import Record as Record
from convlab.models._trace.record import record_of
from convlab.models._trace.session import run
from convlab.models._trace.tracer import Call, Tracer, tensors_in


def trace(model: nn.Module, input_size: Any = None, *, input_data: Any = None) -> Trace:
    """Trace a model: a record of each call in its forward, with shapes, cost and receptive fields.

    ``input_size`` includes the batch dimension, as in torchinfo: ``(1, 3, 224, 224)``; a list of sizes for several inputs, a
    dict of sizes for keyword inputs. ``input_data`` is a tensor, or a tuple or dict with tensors, instead.

    No activation is allocated and no arithmetic runs, unless the forward asks for the value of an activation (then one real
    forward does). The model is left bit for bit as it was. Where shapes do not fit the trace ends early, and ``error`` says
    why; input that cannot be meant raises ``ValueError`` or ``TypeError``.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5))
    >>> trace(net, (1, 1, 28, 28))["2"].receptive_field.size
    (14, 14)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}; torch.nn.Sequential(...) would work")
    inputs = read_inputs(model, input_size, input_data)
    tracer, output, error = run(model, inputs)
    return Trace(model, inputs, tracer, output, error)


class Trace:
    """What `trace` found: ``records`` of leaf modules and functions in call order, and ``edges`` between them."""

    def __init__(self, model: nn.Module, inputs: Inputs, tracer: Tracer, output: Any, error: TraceError | None) -> None:
        self.error = error
        self.notes = tuple(tracer.notes)
        self.input_sizes = {name: tuple(tensor.shape) for name, tensor in inputs.named.items()}
        axes = tuple((name, dim, inputs.named[name].shape[dim]) for name, dim in inputs.axes())
        self.records = tuple(_records(tracer.calls, axes))
        self.containers = tuple(_records([call for call in tracer.modules if call.output_size or call.state], axes))
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
        return tuple(record for record in (*self.records, *self.containers) if record.path == "" or record.path[:1] == "[")

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def _records(calls: list[Call], axes: tuple[tuple[str, int, int], ...]) -> Iterator[Record]:
    counted: Counter[str] = Counter()
    for call in calls:
        yield record_of(call, counted[call.path], axes)
        counted[call.path] += 1


__all__ = ["Record", "Trace", "TraceError", "tensors_in", "trace"]
