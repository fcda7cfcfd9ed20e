"""What a failed check says: one sentence that names the column, what was expected, how many rows
are different, and the first of them. Rows are counted from 0.
"""

from typing import Any

import numpy as np
import pandas as pd

from util_lib import validation
from util_lib.checks import rules
from util_lib.checks.findings import Finding
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.tables import column_values

N_SHOWN = 3  # values and row numbers in a sentence
N_EXAMPLES = 10  # rows in a finding
N_LOOKED_AT = 1000  # wrong values among which different ones are looked for
EXACT = 1e15  # up to here a whole float is shown as an integer
SMALL = 0.0001  # how much smaller a p-value is says nothing more
MAX_LENGTH = 60  # of a shown value


def missing(frame: pd.DataFrame, name: str) -> Finding:
    """Say that the table lacks a column."""
    near = validation.nearest(name, list(map(str, frame.columns)))
    message = f"column {name!r} is missing" + (f"; the nearest is {near!r}" if near else "")
    return Finding(name, "column is there", message)


def order(frame: pd.DataFrame, data: Data) -> Finding:
    """Say which column is the first to stand where another belongs."""
    there = [name for name in frame.columns if name in data.columns]
    wanted = [name for name in data.columns if name in there]
    found, belongs = next(
        (pair for pair in zip(there, wanted, strict=True) if pair[0] != pair[1]),
        (data.text_feature and data.text_feature.name, "a declared column"),
    )
    message = (
        f"the columns must come in the declared order, {found!r} stands where {belongs!r} belongs"
    )
    return Finding(None, "column order", message)


def others(frame: pd.DataFrame, data: Data) -> Finding:
    """Name the columns that are not declared."""
    joined = data.text_feature.name if data.text_feature else None
    found = [name for name in frame.columns if name not in data.columns and name != joined]
    message = f"no column may be there that is not declared, found {_listed(found)}"
    return Finding(None, "no other columns", message, len(found))


def nulls(values: pd.Series, name: str) -> Finding:
    """Count the nulls of a column that may have none."""
    wrong = values.isna()
    message = f"column {name!r} must not be null, {_count(wrong)} {_verb(wrong, 'are')}"
    return _with_rows(name, "no nulls", message, "", values, wrong)


def of_column(
    values: pd.Series, name: str, column: Column, rule: str, wrong: pd.Series | None
) -> Finding:
    """Say what the rule asks of a column; `wrong` marks rows, None stands for all of it."""
    if rule == "null rate":
        empty = values.isna()
        message = (
            f"column {name!r} must be null in at most {column.max_null_rate:.2%} of the rows, "
            f"{_count(empty)} are ({empty.mean():.2%})"
        )
        return Finding(name, rule, message, int(empty.sum()))
    expected, verb = expectation(values, column, rule)
    if wrong is None:
        message = f"column {name!r} must {expected}, found {values.dtype}"
        return Finding(name, rule, message, len(values))
    message = f"column {name!r} must {expected}, {_count(wrong)} {_verb(wrong, verb)} not"
    if rule == "range":
        shown = _extremes(values, column, wrong)
    else:
        shown = _listed(values[wrong].head(N_LOOKED_AT))
    return _with_rows(name, rule, message, shown, values, wrong)


def of_table(frame: pd.DataFrame, data: Data, rule: str) -> Finding:
    """Say what the rule asks of the table as a whole."""
    if rule == "row count":
        few = len(frame) < data.checks.min_rows
        bound = f"least {data.checks.min_rows:,}" if few else f"most {data.checks.max_rows:,}"
        message = f"the table must have at {bound} rows, it has {len(frame):,}"
        return Finding(None, rule, message, len(frame))
    kind = "classes" if data.task == "classification" else "values"
    if rule == "target varies":
        values = frame[data.target].dropna()
        message = (
            f"target {data.target!r} must have at least two {kind}, {len(values):,} of "
            f"{len(frame):,} rows have {show(values.iloc[0])}"
        )
        return Finding(data.target, rule, message, len(values))
    shares = rules.class_shares(frame, data)
    small = shares[shares < data.checks.min_class_share]
    found = [f"{show(name)} has {share:.2%}" for name, share in small.head(N_SHOWN).items()]
    found += ["..."] if len(small) > N_SHOWN else []
    message = (
        f"each class of target {data.target!r} must have at least "
        f"{data.checks.min_class_share:.2%} of the rows, {', '.join(found)}"
    )
    return Finding(data.target, rule, message, len(small))


def expectation(values: pd.Series, column: Column, rule: str) -> tuple[str, str]:
    """Return what the rule asks, and the verb that says whether a row does or is so."""
    if rule == "exact":
        return (
            "hold whole numbers up to 2**53, beyond which a model confuses them (dtype string for "
            "codes, role ignore for ids)",
            "do",
        )
    if rule == "range":
        unit = f" {column.unit}" if column.unit else ""
        if column.min is None or column.max is None:
            bound = f"at most {column.max}" if column.min is None else f"at least {column.min}"
            return f"be {bound}{unit}", "are"
        return f"lie in [{column.min}, {column.max}]{unit}", "do"
    if rule == "allowed values":
        listed = column.allowed or []
        plural = "classes" if column.role == "target" else "values"
        several = f"one of {len(listed)} {plural}"
        return f"be {show(listed[0]) if len(listed) == 1 else several}", "are"
    if rule == "unique":
        return "be unique", "are"
    finite = column.dtype == "float" and pd.api.types.is_float_dtype(values.dtype)
    return "be finite" if finite else f"be of type {column.dtype}", "are"


def _extremes(values: pd.Series, column: Column, wrong: pd.Series) -> str:
    found, (low, high) = rules.comparable(values[wrong], column), rules.bounds(column)
    shown = []
    if low is not None and found.min() < low:
        shown.append(f"min {show(found.min())}")
    if high is not None and found.max() > high:
        shown.append(f"max {show(found.max())}")
    return ", ".join(shown)


def _with_rows(
    name: str, rule: str, message: str, shown: str, values: pd.Series, wrong: pd.Series
) -> Finding:
    rows = np.flatnonzero(wrong.to_numpy())
    first = values.iloc[rows[:N_EXAMPLES]]
    examples = [
        {"row": int(row), "value": plain(value)} for row, value in zip(rows, first, strict=False)
    ]
    numbers = [*map(str, rows[:N_SHOWN]), *(["..."] if len(rows) > N_SHOWN else [])]
    where = f"row{'' if len(rows) == 1 else 's'} {', '.join(numbers)}"
    message = f"{message} ({f'{shown}; ' if shown else ''}{where})"
    return Finding(name, rule, message, len(rows), examples)


def _count(wrong: pd.Series) -> str:
    return f"{int(wrong.sum()):,} of {len(wrong):,} rows"


def _verb(wrong: pd.Series, plural: str) -> str:
    return {"are": "is", "do": "does"}[plural] if wrong.sum() == 1 else plural


def _listed(values: Any) -> str:
    """Return the first different ones of `values`, and dots where there are more."""
    shown = list(dict.fromkeys(show(value) for value in values))
    return ", ".join(shown[:N_SHOWN] + (["..."] if len(shown) > N_SHOWN else []))


def show(value: Any) -> str:
    """Return a value as a sentence shows it: whole numbers without a point, long texts cut."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    text = str(value) if isinstance(value, pd.Timestamp) else repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."


def plain(value: Any) -> str | int | float | bool | None:
    """Return a value as JSON can hold it: what it has no word for, as text, and long texts cut."""
    value = show(value) if isinstance(value, dict | list | tuple) else column_values.plain(value)
    if not isinstance(text := value, str):
        return value
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."


def chance(p: float, level: float) -> str:
    """Say how likely a test finds so much by chance, and on which side of `level` that is."""
    said = f"p = {p:.2g}" if p else "p < 1e-300"  # a double holds no smaller one
    if p < SMALL <= level:
        said = f"p < {SMALL}"
    return f"{said} {'<' if p < level else '>='} {level:.4g}"
