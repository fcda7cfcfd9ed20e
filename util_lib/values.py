"""The values of a column as a comparison or a search for leaks reads them."""

import pandas as pd


def missing(values: pd.Series, *, text: bool) -> pd.Series:
    """Mark nulls; of text also the empty, which is what `preprocess` makes of nulls."""
    return values.isna() | values.isin([""]) if text else values.isna()


def as_numbers(values: pd.Series) -> pd.Series:
    """Return numbers as float64, dates as nanoseconds since 1970, NaN for what is neither.

    Dates may be written as text (ISO 8601), as they are in CSV.
    """
    types = pd.api.types
    if types.is_numeric_dtype(values):
        return values.astype("float64")
    if not types.is_datetime64_any_dtype(values):
        numbers = pd.to_numeric(values, errors="coerce")
        if numbers.notna().any():
            return numbers.astype("float64")
    dates = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
    return dates.dt.as_unit("ns").astype("int64").astype("float64").where(dates.notna())
