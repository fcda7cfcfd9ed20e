"""Computes expressions over the columns of a table, as `util_lib.dataset.expressions` reads them.

The tree is walked, nothing is run as code. Whole numbers of any width are computed in 64 bits and
exactly: a result that has no room there is refused. `/` gives decimals. What is made of a missing
value is missing, except that `and` and `or` answer where the other side decides (as in SQL). What
has no finite value, such as a division by zero, is missing too.
"""

import ast
import operator
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from util_lib.dataset import expressions
from util_lib.dataset.columns import Column
from util_lib.errors import UserValueError
from util_lib.tables import typed

LONGEST_TEXT, MOST_TEXT = 100_000, 2**30  # characters that `+` makes: in one row, in all
WHOLE, NUMBERS, TRUTH, TEXTS, DATES = "whole numbers", "numbers", "truth values", "texts", "dates"
DATE = Column(dtype="datetime", role="date", nullable=True)
EMPTY = {"int": WHOLE, "bool": TRUTH, "string": TEXTS}  # the kind of a column without a value
ARRAYS: dict[str, type] = {WHOLE: np.int64, NUMBERS: np.float64, TRUTH: np.bool_, TEXTS: object}

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Eq: operator.eq,
    ast.In: operator.eq,
    ast.NotIn: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
TO_NUMBERS: dict[str, Callable] = {"log": np.log, "sqrt": np.sqrt}
TO_WHOLE: dict[str, Callable] = {"ceil": np.ceil, "floor": np.floor, "round": np.round}


class TooLargeError(UserValueError):
    """Whole numbers do not fit into 64 bits in `rows`, their places counted from 0."""

    def __init__(self, message: str, rows: list[int]):
        """Store the places beside the sentence."""
        super().__init__(message)
        self.rows = rows


class _Beyond(Exception):
    """Marks the rows, or all at once, for which a whole number does not fit."""


class _Values(NamedTuple):
    """Values of one kind and which are missing, one for each row or one for all."""

    kind: str
    values: np.ndarray
    missing: np.ndarray


def compute(expression: str, frame: pd.DataFrame, columns: dict[str, Column]) -> pd.Series:
    """Return the values of an expression for the rows of `frame`.

    A column is taken as `columns` declares it, where its values are such: whole numbers that came
    as 3.0, beside a gap or from JSON, are whole. Raises `ValueError` for what cannot be computed,
    and `TooLargeError` where that is so for some rows. The type is int64, float64, bool, str or
    datetime64; Int64 and boolean where a whole number or a truth value is missing.
    """
    tree, names = expressions.read(expression)
    try:
        known = {name: _column(frame[name], columns.get(name)) for name in names}
        kind, values, missing = _compute(tree, known)
    except _Beyond as error:
        rows = np.flatnonzero(np.broadcast_to(error.args[0], len(frame))).tolist()
        raise TooLargeError(
            f"{expression!r} needs whole numbers beyond 64 bits in {len(rows):,} of "
            f"{len(frame):,} rows (row {rows[0]}, from 0): declare its columns as float, or limit "
            "them",
            rows,
        ) from None
    values, missing = (np.broadcast_to(part, len(frame)).copy() for part in (values, missing))
    if kind == TEXTS:
        return pd.Series(values, index=frame.index, dtype="str").mask(missing)
    if kind == NUMBERS:
        values[missing] = np.nan
    elif kind != DATES and missing.any():  # a date that is missing is NaT already
        array = pd.arrays.IntegerArray if kind == WHOLE else pd.arrays.BooleanArray
        return pd.Series(array(values, missing), index=frame.index)
    return pd.Series(values, index=frame.index)


def _column(column: pd.Series, declared: Column | None) -> _Values:
    """Return a column as it is declared, where its values are such, else as they are."""
    missing = column.isna().to_numpy(dtype=bool)
    dtype = declared.dtype if declared else ""
    present = column[~missing]
    if present.dtype == object:
        present = present.infer_objects()
    elif isinstance(present.dtype, pd.CategoricalDtype):
        present = present.astype(present.cat.categories.dtype)
    if dtype == "datetime" or pd.api.types.is_datetime64_any_dtype(present.dtype):
        dates = _moments(column)
        return _Values(DATES, dates, np.isnat(dates))
    kind, found = _plain(present, dtype)
    values = np.full(len(column), "" if kind == TEXTS else 0, dtype=found.dtype)
    values[~missing] = found
    return _fitting(values, missing) if kind == WHOLE else _Values(kind, values, missing)


def _plain(present: pd.Series, dtype: str) -> tuple[str, np.ndarray]:
    """Return the kind of the values that are there, and an array; whole numbers in any type."""
    types = pd.api.types
    if not len(present):
        kind = EMPTY.get(dtype, NUMBERS)
        return kind, np.array([], dtype=ARRAYS[kind])
    if types.is_bool_dtype(present.dtype):
        return TRUTH, present.to_numpy(dtype=bool)
    if types.is_string_dtype(present.dtype) and present.dtype != object:
        return TEXTS, present.to_numpy(dtype=object)
    if types.is_integer_dtype(present.dtype) and dtype != "float":
        return WHOLE, present.to_numpy()
    if types.is_numeric_dtype(present.dtype):
        numbers = present.to_numpy(dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return (WHOLE if dtype == "int" and (numbers % 1 == 0).all() else NUMBERS), numbers
    listed = present.tolist()
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError(f"column {present.name!r} holds {type(value).__name__} among others")
    if all(isinstance(value, int) or (dtype == "int" and value % 1 == 0) for value in listed):
        if dtype != "float":
            return WHOLE, np.array([int(value) for value in listed], dtype=object)
    return NUMBERS, np.array([float(value) for value in listed])


def _compute(node: ast.expr, known: dict[str, _Values]) -> _Values:
    match node:
        case ast.Name(id=name):
            return known[name]
        case ast.Constant(value=value):
            return _column(pd.Series([value]), None)
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=part):
            return _not(_truth(_compute(part, known)))
        case ast.UnaryOp(op=sign, operand=part):
            number = _number(_compute(part, known))
            return _applied(OPERATORS[type(sign)], number) if type(sign) in OPERATORS else number
        case ast.BinOp(left=left, op=sign, right=right):
            return _binary(sign, _compute(left, known), _compute(right, known), right)
        case ast.BoolOp(op=sign, values=parts):
            sides = [_truth(_compute(part, known)) for part in parts]
            return _all(sides) if isinstance(sign, ast.And) else _any(sides)
        case ast.Compare():
            return _comparison(node, known)
        case ast.Call(func=ast.Name(id=name), args=[part, *places]):
            return _function(name, _compute(part, known), [expressions.number(p) for p in places])
    raise ValueError(expressions.LANGUAGE)


def _binary(sign: ast.operator, left: _Values, right: _Values, written: ast.expr) -> _Values:
    """Return what arithmetic makes of two values; `written` is how the right one is spelled."""
    missing, apply = left.missing | right.missing, OPERATORS[type(sign)]
    if left.kind == right.kind == TEXTS and isinstance(sign, ast.Add):
        sizes = _lengths(left) + _lengths(right)
        if sizes.max(initial=0) > LONGEST_TEXT or sizes.sum() > MOST_TEXT:
            raise ValueError(f"a text of over {LONGEST_TEXT:,} characters, or too many of them")
        return _Values(TEXTS, left.values + right.values, missing)
    if left.kind == right.kind == DATES and isinstance(sign, ast.Sub):
        days = (left.values - right.values) / np.timedelta64(1, "D")
        return _finite(days, missing)
    left, right = _number(left), _number(right)
    if isinstance(sign, ast.Div | ast.FloorDiv | ast.Mod):
        missing = missing | (right.values == 0)
        right = right._replace(values=np.where(right.values == 0, 1, right.values))
    if isinstance(sign, ast.Pow):
        power = expressions.number(written)
        if isinstance(power, int) and power >= 0:
            return _applied(lambda values: values**power, left)
    if isinstance(sign, ast.Div | ast.Pow):
        left, right = _decimal(left), _decimal(right)
    return _applied(apply, left, right, missing=missing)


def _applied(apply: Callable, *parts: _Values, missing: np.ndarray | None = None) -> _Values:
    """Return what `apply` makes of numbers: exactly of whole ones, else in doubles."""
    missing = parts[0].missing if missing is None else missing
    with np.errstate(all="ignore"):
        doubles = apply(*(part.values.astype(np.float64) for part in parts))
        if any(part.kind == NUMBERS for part in parts):
            return _finite(doubles, missing)
        if (np.abs(doubles) < 2.0**62).all():
            return _Values(WHOLE, apply(*(part.values for part in parts)), missing)
    return _fitting(apply(*(part.values.astype(object) for part in parts)), missing)


def _fitting(values: np.ndarray, missing: np.ndarray) -> _Values:
    """Return whole numbers in 64 bits. Raises `_Beyond` where one does not fit."""
    if values.dtype != np.int64:
        beyond = ((values >= 2**63) | (values < -(2**63))).astype(bool) & ~missing
        if beyond.any():
            raise _Beyond(beyond)
        values = np.where(missing, 0, values).astype(np.int64)
    return _Values(WHOLE, values, missing)


def _finite(values: np.ndarray, missing: np.ndarray) -> _Values:
    return _Values(NUMBERS, values, missing | ~np.isfinite(values))


def _number(part: _Values) -> _Values:
    """Return numbers as they are, truth values as 0 and 1."""
    if part.kind == TRUTH:
        return _Values(WHOLE, part.values.astype(np.int64), part.missing)
    if part.kind not in (WHOLE, NUMBERS):
        raise ValueError(f"arithmetic needs numbers, found {part.kind}")
    return part


def _decimal(part: _Values) -> _Values:
    return _Values(NUMBERS, part.values.astype(np.float64), part.missing)


def _truth(part: _Values) -> _Values:
    if part.kind != TRUTH:
        raise ValueError(f"and, or, not need truth values such as x > 1, found {part.kind}")
    return part


def _not(part: _Values) -> _Values:
    return _Values(TRUTH, ~part.values, part.missing)


def _all(parts: list[_Values]) -> _Values:
    """Say whether all are true: no where one is false, else missing where one is missing."""
    false = reduce(operator.or_, [~part.values & ~part.missing for part in parts])
    missing = ~false & reduce(operator.or_, [part.missing for part in parts])
    return _Values(TRUTH, ~false & ~missing, missing)


def _any(parts: list[_Values]) -> _Values:
    return _not(_all([_not(part) for part in parts]))


def _comparison(node: ast.Compare, known: dict[str, _Values]) -> _Values:
    left, answers = _compute(node.left, known), []
    for sign, written in expressions.compared(node):
        rights = [_compute(part, known) for part in written]
        found = _any([_compared(OPERATORS[type(sign)], left, right) for right in rights])
        answers.append(_not(found) if isinstance(sign, ast.NotIn) else found)
        left = rights[0]
    return _all(answers)


def _compared(compare: Callable, left: _Values, right: _Values) -> _Values:
    if {left.kind, right.kind} == {TEXTS, DATES}:
        left, right = _date(left), _date(right)
    elif left.kind != right.kind:
        try:
            left, right = _number(left), _number(right)
        except ValueError:
            raise ValueError(
                f"{left.kind} are compared with {right.kind} (texts stand in quotes)"
            ) from None
    missing = left.missing | right.missing
    return _Values(TRUTH, compare(left.values, right.values).astype(bool) & ~missing, missing)


def _date(part: _Values) -> _Values:
    """Return dates, also of texts as in ISO 8601."""
    if part.kind == DATES:
        return part
    texts = pd.Series(part.values, name="of texts").mask(part.missing)
    dates = _moments(texts)
    return _Values(DATES, dates, np.isnat(dates))


def _moments(column: pd.Series) -> np.ndarray:
    """Return dates in microseconds, in UTC where they have a time zone; `ValueError` for others."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.to_numpy(dtype="datetime64[us]")
    found = typed.read_objects(column.tolist(), DATE)
    if found.wrong.any():
        example = column[found.wrong].tolist()[0]
        raise ValueError(
            f"column {column.name!r} must hold dates as in 2019-05-26, found {example!r}"
        )
    return found.values.to_numpy(zero_copy_only=False).astype("datetime64[us]")


def _function(name: str, part: _Values, places: list[Any]) -> _Values:
    if name in ("isnull", "notnull"):
        is_null = _Values(TRUTH, part.missing, np.zeros_like(part.missing))
        return is_null if name == "isnull" else _not(is_null)
    part = _number(part)
    if name == "abs":
        return _applied(operator.abs, part)
    if name in TO_NUMBERS:
        return _applied(TO_NUMBERS[name], _decimal(part))
    if part.kind == WHOLE:
        return part
    if places:
        return _applied(lambda values: np.round(values, places[0]), part)
    return _fitting(TO_WHOLE[name](part.values), part.missing | ~np.isfinite(part.values))


def _lengths(part: _Values) -> np.ndarray:
    return np.array([len(text) for text in part.values])
