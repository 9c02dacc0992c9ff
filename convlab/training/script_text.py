"""Python expressions laid out as `ruff format` leaves them, which a script may not need for it."""

import ast
import json
from typing import Final

from convlab.models.calls import WIDTH

_INDENT: Final = 4
_CHAINS: Final = ((ast.Add, ast.Sub), (ast.Mult, ast.Div, ast.FloorDiv, ast.Mod))
_SIMPLE: Final = (ast.Name, ast.Constant, ast.Attribute)


def statement(start: str, expression: str, indent: int = 0) -> str:
    """A line that begins with `start` and holds `expression`, broken up where it is too long.

    Example:
        >>> print(statement("decay = ", "lambda epoch: 0.95 ** epoch"))
        decay = lambda epoch: 0.95**epoch
    """
    tree = ast.parse(expression, mode="eval").body
    return f"{' ' * indent}{start}{_laid_out(tree, indent, len(start))}"


def text(value: object) -> str:
    """A value as an expression, with double quotes."""
    return _line(ast.parse(repr(value), mode="eval").body)


def _laid_out(node: ast.expr, indent: int, lead: int, trail: int = 0) -> str:
    line = _line(node)
    if indent + lead + len(line) + trail <= WIDTH:
        return line
    inner = indent + _INDENT
    if isinstance(node, ast.Lambda):
        body = _broken(node.body, inner)
        return "\n".join(
            [f"lambda {ast.unparse(node.args)}: (", *(f"{' ' * inner}{one}" for one in body), f"{' ' * indent})"]
        )
    if isinstance(node, ast.ListComp):
        loops = []
        for one in node.generators:
            start = f"for {_line(one.target)} in "
            loops.append(start + _laid_out(one.iter, inner, len(start)))
        return "\n".join(["[", *(f"{' ' * inner}{one}" for one in (_line(node.elt), *loops)), f"{' ' * indent}]"])
    if isinstance(node, ast.Call):
        parts = [("", one) for one in node.args] + [(f"{key.arg}=", key.value) for key in node.keywords]
        opening, closing = f"{_line(node.func)}(", ")"
    elif isinstance(node, ast.List):
        parts = [("*", one.value) if isinstance(one, ast.Starred) else ("", one) for one in node.elts]
        opening, closing = "[", "]"
    else:
        return line
    body = [f"{' ' * inner}{name}{_laid_out(one, inner, len(name), 1)}," for name, one in parts]
    return "\n".join([opening, *body, f"{' ' * indent}{closing}"])


def _broken(node: ast.expr, indent: int) -> list[str]:
    """An expression in brackets: on a line where it fits, else one for each operand."""
    line = _line(node)
    if indent + len(line) <= WIDTH:
        return [line]
    if isinstance(node, ast.IfExp):
        return [_line(node.body), f"if {_line(node.test)}", f"else {_line(node.orelse)}"]
    if not isinstance(node, ast.BinOp):
        return [line]
    # The operands of a chain, a * b / c, with their operators: what stands between them in the whole of it.
    alike = next((ops for ops in _CHAINS if isinstance(node.op, ops)), ())
    operands: list[ast.expr] = []
    operators: list[ast.operator] = []
    rest: ast.expr = node
    while isinstance(rest, ast.BinOp) and isinstance(rest.op, alike):
        operands.insert(0, rest.right)
        operators.insert(0, rest.op)
        rest = rest.left
    # Beside its operator, an operand keeps the brackets that it needs.
    later = [
        _line(ast.BinOp(ast.Name("_"), op, one)).removeprefix("_ ") for op, one in zip(operators, operands, strict=True)
    ]
    return [_line(rest), *later]


def _line(node: ast.expr) -> str:
    return ast.unparse(_Formatted().visit(ast.parse(ast.unparse(node), mode="eval").body))


class _Formatted(ast.NodeTransformer):
    """Texts in double quotes, and no spaces around ** between simple operands, by names that hold the finished text."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:  # named by ast
        if isinstance(node.value, str):
            return ast.Name(json.dumps(node.value, ensure_ascii=False))
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        hugs = isinstance(node.op, ast.Pow) and _is_simple(node.left) and _is_simple(node.right)
        before = node.left
        visited = self.generic_visit(node)
        assert isinstance(visited, ast.BinOp)
        if isinstance(node.op, ast.Pow) and isinstance(before, ast.BinOp) and isinstance(visited.left, ast.Name):
            visited.left = ast.Name(f"({visited.left.id})")
        if not hugs:
            return visited
        return ast.Name(f"{ast.unparse(visited.left)}**{ast.unparse(visited.right)}")


def _is_simple(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.UAdd) and _is_simple(node.operand)
    if isinstance(node, ast.Attribute):
        return _is_simple(node.value) and not isinstance(node.value, ast.Constant)
    return isinstance(node, _SIMPLE)
