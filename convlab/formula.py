"""A formula that a person types, such as ``0.95 ** epoch``: arithmetic and nothing else, free of torch."""

import ast
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

FUNCTIONS: Final[dict[str, Callable[..., float]]] = {
    "min": min,
    "max": max,
    "abs": abs,
    **{name: getattr(math, name) for name in ("exp", "log", "sqrt", "sin", "cos", "tanh")},
    # As a float: whole numbers have no limit, and floor(9e9) ** floor(9e9) would never end.
    "floor": lambda value: float(math.floor(value)),
    "ceil": lambda value: float(math.ceil(value)),
}
LONGEST: Final = 500
"""Characters of a formula."""

_FLOAT: Final = "float"
_ALLOWED: Final = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Load),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_REFUSED: Final = (
    *(ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift, ast.Invert),
    *(ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.MatMult),
)


@dataclass(frozen=True)
class Formula:
    """A function of one variable, kept as its text, so that it can be compared, saved and shown.

    Args:
        text: arithmetic, comparisons, ``a if b else c``, pi, and the `FUNCTIONS`.
        variable: the name that stands for the function's argument.

    Raises:
        ValueError: the text is anything else; or, when called, it has no value there.

    Example:
        >>> Formula("0.5 ** (epoch // 10)", "epoch")(20)
        0.25
    """

    text: str
    variable: str

    def __post_init__(self) -> None:
        _compiled(self.text, self.variable)

    def __call__(self, value: float) -> float:
        """The value of the formula where its variable is `value`."""
        names: dict[str, Any] = {
            "__builtins__": {},
            **FUNCTIONS,
            _FLOAT: float,
            "pi": math.pi,
            self.variable: float(value),
        }
        try:
            return float(eval(_compiled(self.text, self.variable), names))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"{self.text!r} has no value at {self.variable}={value:g}: {error}") from None

    def source(self) -> str:
        """The function in plain Python, for a script that imports `math`.

        Example:
            >>> Formula("(1 + cos(pi * epoch)) / 2", "epoch").source()
            'lambda epoch: (1 + math.cos(math.pi * epoch)) / 2'
        """
        tree = ast.parse(self.text.strip(), mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and hasattr(math, node.id) and node.id != self.variable:
                node.id = f"math.{node.id}"
        return f"lambda {self.variable}: {ast.unparse(tree)}"


@functools.lru_cache(maxsize=256)
def _compiled(text: str, variable: str) -> CodeType:
    if len(text) > LONGEST:
        raise ValueError(f"{text[:40]!r}... is longer than {LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    # What is nested too deeply is a MemoryError to the parser.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is no formula") from None
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not _is_allowed(node, variable, id(node) in functions):
            raise ValueError(f"{text!r} holds {ast.unparse(node)!r}, which is no arithmetic with {variable}")
        if isinstance(node, ast.Constant):
            # Whole numbers have no limit: 9 ** 9 ** 9 would never end, as floats it overflows at once.
            try:
                node.value = float(node.value)  # type: ignore[arg-type]  # checked above
            except OverflowError:
                raise ValueError(f"{text!r} holds a number that is too large") from None
    tree = ast.fix_missing_locations(_TruthAsFloat().visit(tree))
    return compile(tree, "<formula>", "eval")


class _TruthAsFloat(ast.NodeTransformer):
    """True counts as the whole number 1, of which others could be made without limit."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        return ast.Call(ast.Name(_FLOAT, ast.Load()), [node], [])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return ast.Call(ast.Name(_FLOAT, ast.Load()), [node], []) if isinstance(node.op, ast.Not) else node


def _is_allowed(node: ast.AST, variable: str, is_function: bool) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS if is_function else node.id in (variable, "pi")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and not node.keywords
    return isinstance(node, _ALLOWED) and not isinstance(node, _REFUSED)
