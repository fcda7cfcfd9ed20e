"""The small language of `derived` and of rules about rows: read once, held against a list.

A text becomes a syntax tree in which only what `_parts` names can stand, and that same tree is what
`util_lib.tables.computing` computes: no second reading, nothing that is run as code. The limits
keep a stranger's text from taking the machine's time.
"""

import ast
import re
import warnings
from functools import lru_cache
from typing import NamedTuple

MOST_CHARACTERS, MOST_PARTS, MOST_LEVELS, LARGEST_POWER = 2_000, 500, 100, 100
TOO_LARGE = (
    f"an expression has at most {MOST_CHARACTERS:,} characters, {MOST_PARTS} parts and "
    f"{MOST_LEVELS} levels: make a column of each part"
)
FUNCTIONS = ("abs", "ceil", "floor", "isnull", "log", "notnull", "round", "sqrt")
LANGUAGE = (
    "only columns, numbers, texts, + - * / // % **, comparisons, in [...], and, or, not, and "
    f"{', '.join(FUNCTIONS)}"
)
UNARY = ast.UAdd | ast.USub | ast.Not | ast.Invert
BINARY = ast.Add | ast.Sub | ast.Mult | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow
COMPARISONS = ast.Eq | ast.NotEq | ast.Lt | ast.LtE | ast.Gt | ast.GtE
# A text, a name in backticks, a sign for `and` or `or`. What stands in a text is left alone.
MARKS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`([^`]+)`|[&|]""")


class Expression(NamedTuple):
    """An expression as it was read; the names in its tree are those of its columns."""

    tree: ast.expr
    columns: list[str]


def columns_of(expression: str, name: str) -> list[str]:
    """Return the columns that the expression of the column or rule `name` is made of, in order.

    Raises `ValueError` for anything that `read` refuses.
    """
    try:
        return list(read(expression).columns)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def check_all(derived: dict[str, str]) -> dict[str, str]:
    """Return the expressions of `derived`; `ValueError` for one that is no harmless expression."""
    for name, expression in derived.items():
        columns_of(expression, name)
    return derived


@lru_cache(maxsize=1024)
def read(text: str) -> Expression:
    """Return what an expression says. Raises `ValueError` for anything outside the language.

    Names with spaces or signs stand in backticks. `&` and `|` are other words for `and` and `or`.
    """
    shown = repr(text) if len(text) <= 80 else f"{text[:80]!r}..."
    source, quoted = _without_marks(text)
    try:
        if len(text) > MOST_CHARACTERS:
            raise RecursionError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an odd backslash in a text
            tree = ast.parse(source, mode="eval").body
    except (RecursionError, MemoryError):
        raise ValueError(f"{shown} is too large: {TOO_LARGE}") from None
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"{shown} is no expression ({reason})") from None
    columns, waiting, n_parts = [], [(tree, 1)], 0
    while waiting:
        node, level = waiting.pop()
        n_parts += 1
        if n_parts > MOST_PARTS or level > MOST_LEVELS:
            raise ValueError(f"{shown} is too large: {TOO_LARGE}")
        written = ast.get_source_segment(source, node) or ""
        try:
            parts = _parts(node)
        except ValueError as error:
            raise ValueError(f"{shown} holds {written!r}: {error}") from None
        if isinstance(node, ast.Name):  # as it is written: Python would respell some letters
            node.id = quoted.get(written, written)
            columns.append(node.id)
        waiting += [(part, level + 1) for part in reversed(parts)]
    return Expression(tree, list(dict.fromkeys(columns)))


def _without_marks(text: str) -> tuple[str, dict[str, str]]:
    """Return an expression as Python writes it, and the names that stood in backticks."""
    quoted: dict[str, str] = {}
    prefix = "_"
    while prefix in text:  # no column of the text is called like a stand-in
        prefix += "_0"

    def python(match: re.Match[str]) -> str:
        if match[1] is None:
            return {"&": " and ", "|": " or "}.get(match[0], match[0])
        quoted[f"{prefix}{len(quoted)}"] = match[1]
        return f" {next(reversed(quoted))} "

    return MARKS.sub(python, text[: MOST_CHARACTERS + 1]).strip(), quoted


def _parts(node: ast.expr) -> list[ast.expr]:
    """Return what a part of an expression is made of. Raises `ValueError` for what is no part."""
    if isinstance(node, ast.Name):
        return []
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, int | float) and not abs(value) < (
            2**63 if isinstance(value, int) else float("inf")
        ):
            raise ValueError("whole numbers lie below 2**63, others below 1.8e308")
        if isinstance(value, bool | int | float | str):
            return []
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, UNARY):
        return [node.operand]
    if isinstance(node, ast.BinOp) and isinstance(node.op, BINARY):
        if isinstance(node.op, ast.Pow):
            power = number(node.right)
            if abs(power or 0) > LARGEST_POWER or any(
                isinstance(part, ast.Pow) for part in ast.walk(node.right)
            ):
                raise ValueError(f"a power is at most {LARGEST_POWER}, and no power of a power")
        return [node.left, node.right]
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.Compare):
        return [node.left, *(part for pair in compared(node) for part in pair[1])]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        called, n_arguments = node.func.id, len(node.args)
        if called in FUNCTIONS and n_arguments == 1:
            return node.args
        if called == "round" and n_arguments == 2:
            places = number(node.args[1])
            if not isinstance(places, int) or abs(places) > 15:
                raise ValueError("the places to round to are a whole number up to 15")
            return node.args
    raise ValueError(LANGUAGE)


def compared(node: ast.Compare) -> list[tuple[ast.cmpop, list[ast.expr]]]:
    """Return each sign of a comparison with what stands to its right: with `in`, the list."""
    pairs: list[tuple[ast.cmpop, list[ast.expr]]] = []
    for sign, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(sign, COMPARISONS):
            pairs.append((sign, [right]))
        elif isinstance(sign, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple):
            if len(node.ops) > 1 or not right.elts:
                raise ValueError("in is followed by a list of values, and stands alone")
            pairs.append((sign, right.elts))
        else:
            raise ValueError(LANGUAGE)
    return pairs


def number(node: ast.expr) -> int | float | None:
    """Return the number that a part of an expression spells, None where it is none."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    return None
