"""Finds numbers and dates that stand for a missing value: -999, 9999, 1900-01-01 and the like."""

import re

import numpy as np
import pandas as pd

NINES = re.compile(r"-?(9{1,7}|9{2,4}\.9{1,2})")
DAYS = ("1900-01-01", "1899-12-30", "1753-01-01", "0001-01-01", "9999-12-31", "2999-12-31")
FEWEST_ROWS = 3  # a value that stands for a missing one comes again
FAR_YEARS = 10  # between such a date and all the others


def find(values: pd.Series) -> list[tuple[int | float | str, int]]:
    """Return the smallest or largest value if it is such a number or date, and how often it is.

    Far is a number that is farther from its neighbour than all the others are from each other.
    """
    filled = values.dropna()
    if pd.api.types.is_datetime64_any_dtype(filled):
        return _dates(filled)
    if not pd.api.types.is_numeric_dtype(filled) or pd.api.types.is_bool_dtype(filled):
        return []
    numbers = np.unique(filled.astype("float64"))
    numbers = numbers[np.isfinite(numbers)]
    found: list[tuple[int | float | str, int]] = []
    for end in (0, -1):
        if len(numbers) < 4:
            break
        number = numbers[end]
        text = str(int(number)) if number == int(number) else repr(float(number))
        others = numbers[1:] if end == 0 else numbers[:-1]
        far = abs(number - others[end]) > others[-1] - others[0]
        if NINES.fullmatch(text) and far and (filled == number).sum() >= FEWEST_ROWS:
            value = int(number) if number == int(number) else float(number)
            found.append((value, int((filled == number).sum())))
            numbers = others
    return found


def _dates(filled: pd.Series) -> list[tuple[int | float | str, int]]:
    found: list[tuple[int | float | str, int]] = []
    days = filled.dt.strftime("%Y-%m-%d")
    for day in DAYS:
        same = days == day
        if same.sum() < FEWEST_ROWS or same.all():
            continue
        years = filled[~same].dt.year
        if not years.between(int(day[:4]) - FAR_YEARS, int(day[:4]) + FAR_YEARS).any():
            found.append((day, int(same.sum())))
    return found


def without(values: pd.Series, found: list[tuple[int | float | str, int]]) -> pd.Series:
    """Return `values` without those found."""
    gone = [value for value, _ in found]
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.mask(values.dt.strftime("%Y-%m-%d").isin(gone))
    return values.astype("Int64" if pd.api.types.is_integer_dtype(values) else values.dtype).mask(
        values.isin(gone)
    )
