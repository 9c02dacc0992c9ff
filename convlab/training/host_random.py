"""The random numbers of Python and numpy, whose global generators the user's own code may draw from."""

import contextlib
import dis
import random
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import numpy as np
import torch
from numpy.random import mtrand
from torch import nn

from convlab.models.borrow import has_own_code


class HostRandom:
    """The run's own `random` and `numpy.random` streams, lent to user code that draws from the global ones.

    Both are global to the process, unlike torch's: another thread that draws from one of them at the very moment when
    the user's model or data set may do so takes a number from the run. So they are lent no longer than needed.
    """

    def __init__(self, seed: int) -> None:
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin the streams of a seed."""
        self._python: Any = random.Random(seed).getstate()
        self._numpy = np.random.MT19937()
        state: Any = np.random.RandomState(seed % 2**32).get_state(legacy=False)
        self._numpy.state = state

    def state(self) -> tuple[Any, Any]:
        """Where the two streams stand: Python's as `random.getstate` tells it, numpy's as its bit generator does."""
        return self._python, self._numpy.state

    def put_back(self, python: Any, numpy: Any) -> None:
        """Let the streams go on from there."""
        self._python, self._numpy.state = python, numpy

    @contextmanager
    def lent(self, modules: Collection[ModuleType] = (random, np.random)) -> Iterator[None]:
        """Let the code inside draw from the run's streams; numpy's changes hands in no time, Python's in some 40 µs."""
        python = random.getstate() if random in modules else None
        numpy = mtrand.get_bit_generator() if np.random in modules else None
        if python is not None:
            random.setstate(self._python)
        if numpy is not None:
            mtrand.set_bit_generator(self._numpy)
        try:
            yield
        finally:
            if python is not None:
                self._python = random.getstate()
                random.setstate(python)
            if numpy is not None:
                mtrand.set_bit_generator(numpy)


@contextmanager
def numpy_untouched() -> Iterator[None]:
    """Around a whole run: numpy forgets the second of a pair of normal numbers whenever its generator changes hands."""
    before: dict[str, Any] = np.random.get_state(legacy=False)
    try:
        yield
    finally:
        after: dict[str, Any] = np.random.get_state(legacy=False)
        drawn = any(not np.array_equal(before["state"][key], after["state"][key]) for key in ("key", "pos"))
        if before["has_gauss"] and not drawn:
            np.random.set_state(before)


def model_code(model: nn.Module) -> list[object]:
    """Classes, hooks and attributes of `model` that are not torch's own."""
    code: list[object] = []
    for module in model.modules():
        if has_own_code(module):
            code += [type(module), *vars(module).values()]
            code += [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return code


_SINGLETONS: Final = {id(random.random.__self__): random, id(np.random.rand.__self__): np.random}  # type: ignore[attr-defined]
_ROLES: Final = {
    "LOAD_GLOBAL": "global",
    "LOAD_NAME": "global",
    "LOAD_ATTR": "attribute",
    "LOAD_METHOD": "attribute",
    "IMPORT_FROM": "attribute",
    "IMPORT_NAME": "import",
}
_LIBRARIES: Final = ("torch", "numpy", "builtins", "random")


def drawn_from(*code: object) -> frozenset[ModuleType]:
    """Which of the modules `random` and `numpy.random` functions, methods of classes, or what they call, name.

    Told from the compiled code, not from running it: a model that draws once in a thousand steps is found too.
    """
    todo, seen, found = list(code), set[int](), set[ModuleType]()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if item is random or item is np.random:
            found.add(item)
        elif (module := _SINGLETONS.get(id(getattr(item, "__self__", None)))) is not None:
            found.add(module)
        elif isinstance(item, FunctionType):
            todo += _named_by(item) if _is_own(item) else []
        elif isinstance(item, type):
            todo += [value for base in item.__mro__ if _is_own(base) for value in vars(base).values()]
        elif isinstance(item, property):
            todo += [item.fget]
        elif (function := getattr(item, "__func__", None)) is not None:
            todo += [function]
        elif not isinstance(item, ModuleType) and _is_own(type(item)):
            todo += [type(item)]
    return frozenset(found)


def _is_own(item: Any) -> bool:
    return str(getattr(item, "__module__", "builtins")).partition(".")[0] not in _LIBRARIES


def _named_by(function: FunctionType) -> list[object]:
    """What the global names in a function, its imports, and the attributes of modules among them stand for."""
    named_as: dict[str, set[str]] = {"global": set(), "attribute": set(), "import": set()}
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        for instruction in dis.get_instructions(code):
            if (role := _ROLES.get(instruction.opname)) is not None:
                named_as[role].add(instruction.argval)
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]
    named = [function.__globals__[name] for name in named_as["global"] & function.__globals__.keys()]
    named += [sys.modules[name] for name in named_as["import"] & sys.modules.keys()]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            named.append(cell.cell_contents)
    for module in [value for value in named if isinstance(value, ModuleType)]:
        own = module.__name__.partition(".")[0] not in _LIBRARIES
        attributes = named_as["attribute"] & vars(module).keys()
        named += [vars(module)[name] for name in attributes if own or name == "random"]
    return [value for value in named if value is not torch.random]
