"""Which rows of a column are as declared: whole columns at once, nulls aside.

A check of a column answers a mask, True where the row is right, with the rows of `values`; or
False where the column as a whole is wrong. A null is right everywhere: `nullable` has its own
rule. A check takes the type of its column for granted where `right_type` complains: one fault, one
sentence.
"""

import datetime
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from util_lib.dataset.columns import Bound, Column
from util_lib.dataset.declaration import Data

types = pd.api.types
EXACT = 2**53  # whole numbers beyond are not all doubles
USED = ("numerical", "categorical", "target")  # roles of what a model computes with


def right_type(values: pd.Series, column: Column) -> "pd.Series | bool":
    """Say which values are of the declared type.

    Integers of a column with nulls arrive as floats: whole numbers pass there, and where the
    column is nullable. Dates pass as text too, for CSV has no other. An infinite float is wrong.
    """
    if types.is_string_dtype(values.dtype) and values.dtype != object:
        return _right_text(values, column)
    if not len(present := values.dropna()):
        return _mask(True, values)
    if column.dtype == "string":
        return _unless_null(values, present.map(lambda value: isinstance(value, str)))
    if column.dtype == "bool":
        if types.is_bool_dtype(values.dtype):
            return _mask(True, values)
        return _unless_null(values, present.map(lambda v: isinstance(v, bool | np.bool_)))
    if column.dtype == "datetime":
        return _unless_null(values, as_dates(present).notna())
    numeric = types.is_numeric_dtype(values.dtype) and not types.is_bool_dtype(values.dtype)
    if column.dtype == "int" and numeric:
        return _right_int(values, present, column)
    if numeric:
        return _unless_null(values, np.isfinite(present))
    numbers = _unless_null(values, pd.to_numeric(present, errors="coerce").notna())
    return False if numbers.all() else numbers


def in_range(values: pd.Series, column: Column) -> pd.Series:
    """Say which values lie between `min` and `max`, both included."""
    present, (low, high) = comparable(values, column), bounds(column)
    inside = pd.Series(True, index=present.index)
    if low is not None:
        inside &= present >= low
    if high is not None:
        inside &= present <= high
    return _unless_null(values, inside)


def is_allowed(values: pd.Series, column: Column) -> pd.Series:
    """Say which values are among those listed."""
    listed = column.allowed or []
    try:
        return values.isin(listed) | values.isna()
    except TypeError:  # lists and records have no hash, and are never listed
        return _unless_null(values, values.dropna().map(lambda value: _in(value, listed)))


def is_exact(values: pd.Series, column: Column) -> pd.Series:
    """Say which whole numbers a model can tell from their neighbours: it computes with doubles."""
    present = values.dropna()
    if values.dtype == object:
        present = present[present.map(lambda value: isinstance(value, int))]
    elif not types.is_integer_dtype(values.dtype):
        return _mask(True, values)
    return _unless_null(values, present.between(-EXACT, EXACT))


def is_unique(values: pd.Series, column: Column) -> pd.Series:
    """Say which values do not occur in an earlier row; nulls may."""
    present = values.dropna()
    try:
        repeated = present.duplicated()
    except TypeError:
        repeated = present.map(repr).duplicated()
    return _unless_null(values, ~repeated)


def null_rate_is_low(values: pd.Series, column: Column) -> bool:
    """Say whether no larger share than `max_null_rate` is missing."""
    return column.max_null_rate is None or bool(values.isna().mean() <= column.max_null_rate)


def rows_are_enough(frame: pd.DataFrame, data: Data) -> bool:
    """Say whether the number of rows lies between `min_rows` and `max_rows`."""
    most = data.checks.max_rows
    return data.checks.min_rows <= len(frame) and (most is None or len(frame) <= most)


def target_varies(frame: pd.DataFrame, data: Data) -> bool:
    """Say whether the target has two values: with one there is nothing to learn."""
    values = frame[data.target].dropna() if data.target in frame.columns else None
    try:
        return values is None or values.empty or bool((values != values.iloc[0]).any())
    except (TypeError, ValueError):  # lists and records: another type than any target has
        return True


def classes_are_large(frame: pd.DataFrame, data: Data) -> bool:
    """Say whether each class of the target has at least `min_class_share` of the rows."""
    if data.checks.min_class_share is None or data.target not in frame.columns:
        return True
    return bool((class_shares(frame, data) >= data.checks.min_class_share).all())


def class_shares(frame: pd.DataFrame, data: Data) -> pd.Series:
    """Return the share of rows of each class, the smallest first; a listed class may have none."""
    values = frame[data.target]
    if values.dtype == object:
        values = values[values.map(lambda value: isinstance(value, Hashable)).astype(bool)]
    shares = values.value_counts() / len(frame)
    listed = data.columns[data.target].allowed or []
    absent = [name for name in listed if name not in shares.index]
    shares = pd.concat([shares, pd.Series(0.0, index=pd.Index(absent, dtype=object))])
    return shares.sort_values(kind="stable")


def comparable(values: pd.Series, column: Column) -> pd.Series:
    """Return the values that a range applies to; of another type, none: `right_type` names those.

    Dates come back in UTC.
    """
    present = values.dropna()
    if column.dtype == "datetime":
        return as_dates(present).dropna()
    if types.is_bool_dtype(present.dtype) or types.is_datetime64_any_dtype(present.dtype):
        return present.iloc[:0].astype("float64")
    if types.is_numeric_dtype(present.dtype):
        return present
    return pd.to_numeric(present, errors="coerce").dropna()


def bounds(column: Column) -> tuple[Any, Any]:
    """Return `min` and `max` as the values of `comparable` are compared with them."""
    if column.dtype != "datetime":
        return column.min, column.max
    low, high = (None if each is None else _as_moment(each) for each in (column.min, column.max))
    return low, high


def as_dates(values: pd.Series) -> pd.Series:
    """Return dates in UTC, NaT for what is none: numbers, and text that is not as in ISO 8601."""
    if types.is_numeric_dtype(values.dtype):
        return pd.Series(pd.NaT, index=values.index)
    if values.dtype == object:
        values = values.where(values.map(lambda value: isinstance(value, str | datetime.date)))
    dates = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
    return dates.dt.tz_localize(None)


def _right_text(values: pd.Series, column: Column) -> "pd.Series | bool":
    """Judge a column that can hold nothing but text."""
    if column.dtype == "string" or values.isna().all():
        return _mask(True, values)
    if column.dtype == "bool":
        return values.isna()
    present = values.dropna()
    if column.dtype == "datetime":
        return _unless_null(values, as_dates(present).notna())
    numbers = _unless_null(values, pd.to_numeric(present, errors="coerce").notna())
    return False if numbers.all() else numbers


def _right_int(values: pd.Series, present: pd.Series, column: Column) -> "pd.Series | bool":
    if types.is_integer_dtype(values.dtype):
        return _mask(True, values)
    whole = _unless_null(values, present.mod(1) == 0)
    as_floats = column.nullable or len(present) < len(values)
    return whole if as_floats or not whole.all() else False


def _as_moment(bound: Bound) -> pd.Timestamp:
    moment = pd.Timestamp(bound)
    return moment if moment.tz is None else moment.tz_convert("UTC").tz_localize(None)


def _in(value: object, listed: list) -> bool:
    return any(value is other or _same(value, other) for other in listed)


def _same(value: object, other: object) -> bool:
    return type(value) is type(other) and bool(np.all(value == other))


def _mask(answer: bool, values: pd.Series) -> pd.Series:
    return pd.Series(answer, index=values.index)


def _unless_null(values: pd.Series, right: pd.Series) -> pd.Series:
    """Spread `right`, which may lack rows with nulls, over all rows of `values`."""
    if len(right) == len(values):
        return right.astype(bool)
    mask = _mask(True, values)
    mask.loc[right.index] = right.astype(bool)
    return mask
