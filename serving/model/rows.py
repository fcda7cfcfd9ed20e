"""What is wrong with rows that a caller sends: each row for itself, by the model's declaration.

The rules are those of check_data (`util_lib.checks.rules`), except those about a table as a whole:
a value that must be `unique` may be asked about twice, and a share of nulls belongs to no row.
"""

import sys
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from util_lib import validation
from util_lib.checks import rules, sentences
from util_lib.dataset.columns import Column

LARGEST = sys.float_info.max


class Problem(NamedTuple):
    """One value that breaks a rule; `row` is counted from 0, None where a column is not there.

    `value` is what JSON can hold of the value found, `expected` words for people.
    """

    row: int | None
    column: str
    rule: str
    value: Any
    expected: str

    @property
    def message(self) -> str:
        """Return one sentence without the row, which each caller counts in its own way."""
        if self.row is None:
            return f"column {self.column!r} is missing{self.expected}"
        found = "" if self.value is None else f", found {sentences.show(self.value)}"
        return f"column {self.column!r} must {self.expected}{found}"


def absent_column(name: str, there: list[str], known: Collection[str]) -> str:
    """Say that a column which may be missing is in no row, and which other name is near."""
    near = validation.nearest(name, [other for other in there if other not in known])
    hint = f"; the nearest is {near!r}" if near else ""
    return f"column {name!r} is in no row and counts as missing{hint}"


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON has them, with None where a value is missing."""
    records: list[Any] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return records


def check_rows(frame: pd.DataFrame, columns: dict[str, Column]) -> list[Problem]:
    """Return what is wrong with the values of `frame`, by row, then in the order of `columns`.

    A column that is not there is a problem unless it is nullable; others than `columns` are not
    looked at. A row's answer does not depend on the other rows: an integer may come as 3.0, a text
    is no number, a date may be text as in ISO 8601.
    """
    problems: list[Problem] = []
    for name, column in columns.items():
        if name in frame.columns:
            problems += _of_column(frame[name].reset_index(drop=True), name, column)
        elif not column.nullable:
            near = validation.nearest(name, [n for n in map(str, frame) if n not in columns])
            hint = f"; the nearest is {near!r}" if near else ""
            problems.append(Problem(None, name, "column is there", None, hint))
    return sorted(problems, key=lambda problem: -1 if problem.row is None else problem.row)


def _of_column(values: pd.Series, name: str, column: Column) -> list[Problem]:
    missing = values.isna()
    found = []
    if not column.nullable and missing.any():
        rows = np.flatnonzero(missing)
        found += [Problem(int(row), name, "no nulls", None, "not be null") for row in rows]
    right = _right_type(values, missing, column)
    found += _problems(values, ~missing & ~right, name, column, "type")
    present = ~missing & right
    fine = values if present.all() else values[present]
    good = _as_declared(fine, column)
    if column.min is not None or column.max is not None:
        found += _problems(values, ~rules.in_range(good, column), name, column, "range")
    if column.dtype == "int" and column.role in rules.USED:
        exact = rules.is_exact(fine, column)
        found += _problems(values, ~exact, name, column, "exact")
    if column.allowed is not None:
        found += _problems(values, ~rules.is_allowed(good, column), name, column, "allowed values")
    return found


def _problems(
    values: pd.Series, wrong: pd.Series, name: str, column: Column, rule: str
) -> list[Problem]:
    """`wrong` marks rows of `values`, or of a part of them."""
    rows = wrong.index[wrong.to_numpy(dtype=bool)]
    if not len(rows):
        return []
    expected, _ = sentences.expectation(values, column, rule)
    if rule == "allowed values" and len(column.allowed or []) <= 20:
        expected = f"be one of {', '.join(map(str, column.allowed or []))}"
    return [
        Problem(int(row), name, rule, sentences.plain(values.iloc[row]), expected) for row in rows
    ]


def _right_type(values: pd.Series, missing: pd.Series, column: Column) -> pd.Series:
    """Say which values are of the declared type, whatever type the column as a whole has."""
    if values.dtype == object:
        judge = {
            "string": lambda value: isinstance(value, str),
            "bool": lambda value: isinstance(value, bool | np.bool_),
            "int": lambda value: _is_number(value) and value % 1 == 0,
            "float": _is_number,
        }.get(column.dtype)
        if judge is not None:
            present = values[~missing].map(judge).astype(bool)
            return present.reindex(values.index, fill_value=True)
    if column.dtype == "int" and pd.api.types.is_float_dtype(values.dtype):
        return missing | (values % 1 == 0)
    if column.dtype in ("int", "float") and not pd.api.types.is_numeric_dtype(values.dtype):
        return missing
    answer = rules.right_type(values, column)
    return pd.Series(answer, index=values.index) if isinstance(answer, bool) else answer


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return False
    size: Any = abs(value)
    return not isinstance(value, complex) and size <= LARGEST


def _as_declared(values: pd.Series, column: Column) -> pd.Series:
    """Return values of the right type without the type `object` that their column may have had."""
    if values.dtype == object and column.dtype in ("int", "float"):
        return values.astype("float64")
    return values
