"""Expressions of `derived`: the columns' own arithmetic and comparisons, and nothing else."""

import ast
import re

EXPRESSION_PARTS = (
    ast.Expression | ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.Name | ast.Constant
)
OPERATORS = ast.operator | ast.unaryop | ast.boolop | ast.cmpop | ast.expr_context


def columns_of(expression: str, name: str) -> list[str]:
    """Return the columns that an expression of `derived` is made of, in order.

    Names with spaces or signs stand in backticks. Raises `ValueError` for anything but columns,
    numbers, texts, arithmetic, comparisons, `and`, `or` and `not`.
    """
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        quoted.setdefault(f"_column_{len(quoted)}", match[1])
        return next(key for key, value in quoted.items() if value == match[1])

    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", stand_in, expression).strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{name}: {expression!r} is no expression ({error.msg})") from None
    found: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, EXPRESSION_PARTS | OPERATORS):
            raise ValueError(
                f"{name}: {expression!r} holds {ast.unparse(node)!r}: only columns, numbers, "
                "arithmetic, comparisons, and, or, not"
            )
        if isinstance(node, ast.Name):
            found.append(quoted.get(node.id, node.id))
    return list(dict.fromkeys(found))


def check_all(derived: dict[str, str]) -> dict[str, str]:
    """Return the expressions of `derived`; `ValueError` for one that is no harmless expression."""
    for name, expression in derived.items():
        columns_of(expression, name)
    return derived
