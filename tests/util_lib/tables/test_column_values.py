"""The values of a column, as comparisons, the search for leaks and JSON read them."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from util_lib.tables import column_values


class InPieces:
    """A table that is not in memory: its column comes in pieces."""

    def __init__(self, *lengths):
        starts = np.cumsum([0, *lengths])
        self._parts = [
            pd.Series(range(s, s + n)) * 10 for s, n in zip(starts, lengths, strict=False)
        ]

    def pieces(self, name):
        assert name == "x"
        return self._parts


@pytest.mark.parametrize(
    "table", [InPieces(3, 1, 4), InPieces(8), InPieces(5, 3), pd.DataFrame({"x": range(0, 80, 10)})]
)
@pytest.mark.parametrize("rows", [[0, 2, 3, 7], [3], [4, 5, 6, 7], range(8), [], [0, 1, 2]])
def test_a_column_is_taken_at_rows_wherever_they_lie(table, rows):
    found = column_values.at_rows(table, "x", np.array(rows, dtype=int))
    assert found.tolist() == [10 * row for row in rows] and found.index.tolist() == [*rows]


def test_empty_text_is_missing_and_an_empty_number_is_none():
    values = pd.Series(["a", "", None])
    assert column_values.missing(values, text=True).tolist() == [False, True, True]
    assert column_values.missing(values, text=False).tolist() == [False, False, True]


def test_values_are_as_json_can_hold_them():
    given = {
        1: [np.int64(3), np.float64(0.5), (True, "a")],
        "gaps": [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT],
        "ends": [float("inf"), -np.inf],
        "other": [datetime.date(2024, 1, 2), pd.Timestamp("2024-01-02"), Decimal("1.50")],
    }
    found = column_values.plain(given)
    assert found == {
        "1": [3, 0.5, [True, "a"]],
        "gaps": [None] * 5,
        "ends": ["inf", "-inf"],
        "other": ["2024-01-02", "2024-01-02 00:00:00", "1.50"],
    }
    assert [type(value) for value in found["1"][:2]] == [int, float]


def numbers(values, **keys):
    found = column_values.as_numbers(pd.Series(values, index=range(5, 5 + len(values))), **keys)
    assert found.dtype == "float64" and found.index.tolist() == [*range(5, 5 + len(values))]
    return [None if np.isnan(value) else value for value in found]


def test_numbers_are_numbers_also_as_text_and_nothing_else_is():
    assert numbers([1, 2]) == [1, 2] and numbers(["1.5", "x", None]) == [1.5, None, None]
    assert numbers(pd.array([True, None], "boolean")) == [1, None]
    assert numbers(pd.array([2**60, None], "Int64")) == [2.0**60, None]
    assert numbers([1 + 2j]) == [None]
    assert numbers(pd.to_datetime(["2024-01-01"])) == [None]
    assert numbers(pd.to_timedelta(["1 day"])) == [None]


def test_dates_are_nanoseconds_since_1970_and_nothing_else_is_a_date():
    day, written = 86_400 * 10**9, ["1970-01-02", "1970-01-02T01:00:00+01:00", "x", None]
    assert numbers(written, dates=True) == [day, day, None, None]
    assert numbers(pd.Categorical(["1970-01-02", None]), dates=True) == [day, None]
    mixed = [datetime.date(1970, 1, 2), "1970-01-03", 5, 1.5, None, True]
    assert numbers(mixed, dates=True) == [day, 2 * day, None, None, None, None]
    assert numbers([5, 6], dates=True) == [None, None]
    assert numbers(pd.to_timedelta(["1 day"]), dates=True) == [None]
    late = pd.array(["9999-12-31"], "datetime64[s]")
    assert numbers(late, dates=True) == [pytest.approx(2.534e20, rel=1e-3)]
    assert column_values.as_date(day) == pd.Timestamp("1970-01-02")
    assert str(column_values.as_date(numbers(late, dates=True)[0]))[:10] == "9999-12-31"
