"""The values of a column, as comparisons, the search for leaks and JSON read them."""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd


def pieces(table: Any, name: str) -> Iterable[pd.Series]:
    """Return a column in pieces: a frame has one, a table that is not in memory has several."""
    return [table[name]] if isinstance(table, pd.DataFrame) else table.pieces(name)


def at_rows(table: Any, name: str, rows: np.ndarray) -> pd.Series:
    """Return a column at some rows, in order; its index numbers the rows of the table from 0."""
    parts, start = [], 0
    for values in pieces(table, name):
        stop = start + len(values)
        first, last = np.searchsorted(rows, [start, stop])
        if last - first < len(values):
            values = values.iloc[rows[first:last] - start]
        parts.append(values)
        start = stop
    whole = pd.concat(parts) if len(parts) > 1 else parts[0]
    return whole.set_axis(pd.RangeIndex(start) if len(rows) == start else rows)


def missing(values: pd.Series, *, text: bool) -> pd.Series:
    """Mark nulls; of text also the empty, which is what `preprocess` makes of nulls."""
    return values.isna() | values.isin([""]) if text else values.isna()


def plain(value: Any) -> Any:
    """Return a value, or a list or mapping of values, as JSON can hold it.

    What is missing is None; what JSON has no word for is text.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    return value if isinstance(value, str | int) else str(value)


def as_numbers(values: pd.Series, *, dates: bool = False) -> pd.Series:
    """Return numbers as float64, or `dates` as nanoseconds since 1970; NaN for anything else.

    Both may be written as text, dates in ISO 8601.
    """
    types = pd.api.types
    if dates:
        if types.is_numeric_dtype(values):
            return pd.Series(np.nan, index=values.index)
        if values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(object)
            values = values.where(values.map(lambda value: isinstance(value, str | date)))
        moments = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
        # By microseconds: 9999-12-31, which many tables have, is beyond what nanoseconds can count.
        return (moments.dt.as_unit("us").astype("int64") * 1000.0).where(moments.notna())
    if types.is_complex_dtype(values) or values.dtype.kind in "mM":
        return pd.Series(np.nan, index=values.index)
    if not types.is_numeric_dtype(values):
        values = pd.to_numeric(values, errors="coerce")
    return values.astype("float64")


def as_date(number: float) -> pd.Timestamp:
    """Return the date that `as_numbers` made `number` of."""
    return pd.Timestamp(int(number / 1000), unit="us")
