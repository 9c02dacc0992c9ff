"""Train a live model for a try, then give everything back bit for bit, and prove it."""

import hashlib
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn.parameter import is_lazy

from convlab.models.borrow import borrowed
from convlab.training.active import active_runs, on_loan

_LEAVES: Final = (Tensor, np.ndarray, str, bytes, int, float, type(None), type, nn.Module)
_LONGEST: Final = 64
_DEEPEST: Final = 6


@contextmanager
def lent(model: nn.Module, data: object) -> Iterator[None]:
    """Inside, train `model` on `data` as you like; after, both are as they were, also after an exception.

    More than `borrowed`: where the weights lie (device, memory layout), the probability of each dropout layer, and the
    random generators that the data's loaders, samplers and data sets, and the model's layers, have of their own.

    Raises:
        RuntimeError: a run is training the model right now, or it is on loan already.
    """
    with on_loan(model), _given_back(model, data):
        yield


@contextmanager
def _given_back(model: nn.Module, data: object) -> Iterator[None]:
    generators = own_generators(model, data)
    states = [state_of_generator(generator) for generator in generators]
    places = [
        (p, p.data, p.grad, None if p.grad is None else p.grad.data) for p in model.parameters() if not is_lazy(p)
    ]
    dropouts = [(m, m.p) for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    with borrowed(model):
        try:
            yield
        finally:
            for param, place, grad, grad_place in places:
                param.data = place
                if grad is not None and grad_place is not None:
                    grad.data = grad_place
            for layer, p in dropouts:
                layer.p = p
            for generator, state in zip(generators, states, strict=True):
                put_generator_back(generator, state)


def checksum(model: nn.Module, data: object, *optimizers: optim.Optimizer) -> str:
    """A digest of everything that a try could leave changed: the same before and after, or it was not given back.

    Of `model`: weights, buffers, each module's mode, `requires_grad`, gradients, device and layout. Of `optimizers` and
    those of paused runs: groups and state. The random numbers of torch, numpy, Python, and of `own_generators`.
    """
    digest = hashlib.blake2b(digest_size=12)
    for name, param in model.named_parameters():
        _add(
            digest,
            (name, param.requires_grad),
            None if is_lazy(param) else param,
            None if is_lazy(param) else param.grad,
        )
    for name, buffer in model.named_buffers():
        _add(digest, name, None if is_lazy(buffer) else buffer)
    _add(digest, [(module.training, getattr(module, "p", None)) for module in model.modules()])
    for optimizer in (*optimizers, *(run.optimizer for run in active_runs(model))):
        state = optimizer.state_dict()
        _add(digest, [_settings(group) for group in state["param_groups"]])
        for key, values in state["state"].items():
            _add(digest, key, *values.values())
    _add(digest, (random.getstate(), np.random.get_state()), torch.get_rng_state())
    if torch.cuda.is_initialized():
        _add(digest, None, *torch.cuda.get_rng_state_all())
    for generator in own_generators(model, data):
        state = state_of_generator(generator)
        _add(digest, *((None, state) if isinstance(state, Tensor) else (state,)))
    return digest.hexdigest()


def _settings(group: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, repr(value)) for name, value in group.items()]


def _add(digest: Any, facts: object, *tensors: object) -> None:
    digest.update(pickle.dumps(facts))
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            digest.update(repr((tensor.dtype, tensor.shape, tensor.stride(), tensor.device)).encode())
            raw: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            digest.update(raw)
        else:
            digest.update(repr(tensor).encode())


# -- generators of the user's own -------------------------------------------------------------------------------------

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random


def own_generators(model: nn.Module, data: object) -> list[Generator]:
    """The random generators to be found in the attributes of a model's layers, and of data sets, loaders, samplers."""
    found: dict[int, Generator] = {}
    seen: set[int] = set()
    todo: list[tuple[object, int]] = [(vars(module), 1) for module in model.modules()] + [(data, 0)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, Generator):
            found[id(item)] = item
        elif id(item) not in seen and depth <= _DEEPEST and not isinstance(item, _LEAVES):
            seen.add(id(item))
            todo += [(part, depth + 1) for part in _parts(item)]
    return list(found.values())


def _parts(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values()) if len(item) <= _LONGEST else []
    if isinstance(item, list | tuple | set):
        return list(item) if len(item) <= _LONGEST else []
    return list(vars(item).values()) if hasattr(item, "__dict__") else []


def state_of_generator(generator: Generator) -> Any:
    """Where a random generator of any kind stands."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.RandomState):
        return generator.get_state()
    return generator.getstate()


def put_generator_back(generator: Generator, state: Any) -> None:
    """Let a random generator go on from there."""
    if isinstance(generator, torch.Generator | np.random.RandomState):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.setstate(state)
