"""Expressions are computed exactly, whatever type the columns came in."""

import operator
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from util_lib.dataset.columns import Column
from util_lib.errors import UserError
from util_lib.tables import cleaning
from util_lib.tables.computing import TooLargeError, compute

INT = Column(dtype="int", role="ignore", nullable=True)
FLOAT = Column(dtype="float", role="ignore", nullable=True)
TEXT = Column(dtype="string", role="ignore", nullable=True)
WIDTHS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def values(expression, table, columns=None):
    """The values of an expression, None where one is missing."""
    result = compute(expression, pd.DataFrame(table), columns or {})
    return [None if pd.isna(value) else value for value in result.tolist()]


@pytest.mark.parametrize("dtype", [*WIDTHS, "Int8", "UInt8", "uint8[pyarrow]", object, "float32"])
def test_whole_numbers_of_every_width_are_computed_exactly(dtype):
    rows = {"w": [31, 100, 0], "h": [27, 120, 1]}
    table = pd.DataFrame({name: pd.Series(cells, dtype=dtype) for name, cells in rows.items()})
    declared = {"w": INT, "h": INT}
    for expression, expected in (
        ("w * h", [837, 12_000, 0]),
        ("w - h", [4, -20, -1]),
        ("-w", [-31, -100, 0]),
        ("+w", [31, 100, 0]),
        ("w ** 0", [1, 1, 1]),
        ("w ** 3", [29_791, 1_000_000, 0]),
        ("w // -h", [-2, -1, 0]),
        ("w % -h", [-23, -20, 0]),
    ):
        result = compute(expression, table, declared)
        assert (result.tolist(), result.dtype) == (expected, np.int64), expression
    assert compute("w / h", table, declared).dtype == np.float64


LEAVES = st.sampled_from(["x", "y"]) | st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-9, 9)
SIGNS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
TREES = st.recursive(LEAVES, lambda part: st.tuples(part, st.sampled_from([*SIGNS]), part))


def written(tree) -> str:
    return (
        f"({written(tree[0])} {tree[1]} {written(tree[2])})" if type(tree) is tuple else str(tree)
    )


def exactly(tree, row):
    """What Python's own whole numbers give; None for a division by zero."""
    if type(tree) is not tuple:
        value = row[tree] if isinstance(tree, str) else tree
    else:
        left, right = exactly(tree[0], row), exactly(tree[2], row)
        if left is None or right is None or (tree[1] in ("//", "%") and right == 0):
            return None
        value = SIGNS[tree[1]](left, right)
    if value is not None and not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


@settings(max_examples=300, deadline=None)
@given(
    TREES,
    st.lists(
        st.fixed_dictionaries(
            {name: st.none() | st.integers(-(2**63), 2**63 - 1) for name in "xy"}
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_whole_numbers_are_exact_or_refused_with_their_rows(tree, rows):
    expected, beyond = [], []
    for place, row in enumerate(rows):
        try:
            expected.append(exactly(tree, row))
        except OverflowError:
            beyond.append(place)
    table = pd.DataFrame(rows, dtype=object)
    try:
        assert values(written(tree), table, {"x": INT, "y": INT}) == expected
        assert beyond == []
    except TooLargeError as refused:
        assert {*refused.rows} <= {*beyond} and refused.rows
        assert "beyond 64 bits" in str(refused) and "\n" not in str(refused)


def test_a_number_beside_a_gap_is_as_exact_as_alone():
    large = 2**53 + 1
    table = {"id": pd.array([large, None], dtype="Int64"), "n": [1.0, None]}
    assert values("id + n", table, {"n": INT}) == [large + 1, None]
    assert values("id == 9007199254740993", table) == [True, None]
    assert values("n + 9223372036854775807 + 1", {"n": [None]}, {"n": INT}) == [None]


def test_declared_decimals_are_decimals_though_a_file_has_whole_numbers():
    table = {"x": np.array([2**62, 3])}
    assert values("x * 8", table, {"x": FLOAT}) == [2.0**65, 24.0]
    top = pd.DataFrame({"x": [2**63 - 2]})
    assert values("x + 1", top, {"x": INT}) == [2**63 - 1]
    with pytest.raises(TooLargeError):  # by 24, which in doubles lies below the limit
        compute("x * 103", pd.DataFrame({"x": [89_547_301_328_687_144]}), {"x": INT})
    assert values("1 - x - 3", top, {"x": INT}) == [-(2**63)]
    for beyond in ("x + 2", "1 - x - 4"):  # the first that have no room in 64 bits
        with pytest.raises(TooLargeError):
            compute(beyond, top, {"x": INT})
    with pytest.raises(
        TooLargeError, match=r"'x \* 8' needs whole .* in 1 of 2 rows .row 0,.*limit them$"
    ):
        compute("x * 8", pd.DataFrame(table), {"x": INT})


@pytest.mark.parametrize(
    ("numbers", "declared", "expected", "dtype"),
    [
        ([Decimal(2**53 + 1), None], INT, [2**53 + 1, None], "Int64"),
        ([Decimal("3.0"), Decimal("4")], INT, [3, 4], "int64"),
        ([Decimal("3.0"), Decimal("4.5")], INT, [3.0, 4.5], "float64"),
        ([Decimal("3.0"), Decimal("4")], None, [3.0, 4.0], "float64"),
        ([Decimal("3.0"), Decimal("4")], FLOAT, [3.0, 4.0], "float64"),
        ([2**64, -1], FLOAT, [2.0**64, -1.0], "float64"),
        (np.array([0.5, 2], dtype="float32"), None, [0.5, 2.0], "float64"),
        (np.array([1, 2], dtype="uint8"), None, [1, 2], "int64"),
    ],
)
def test_numbers_are_as_declared_where_they_are_such(numbers, declared, expected, dtype):
    table = pd.DataFrame({"x": pd.Series(numbers)})
    result = compute("x", table, {"x": declared} if declared else {})
    assert [None if pd.isna(value) else value for value in result] == expected
    assert result.dtype == dtype


@pytest.mark.parametrize("dtype", ["uint64", object])
def test_whole_numbers_that_have_no_room_are_refused_as_they_are(dtype):
    for number, holds in ((2**63 - 1, True), (2**63, False)):
        table = pd.DataFrame({"u": pd.Series([1, number], dtype=dtype)})
        if holds:
            assert values("u", table) == [1, number]
        else:
            with pytest.raises(TooLargeError, match="row 1, from 0"):
                compute("u", table, {})


@pytest.mark.parametrize("dtype", ["category", object])
def test_objects_and_categories_are_computed_as_what_they_hold(dtype):
    table = {
        "c": pd.Series(["a", "b", None], dtype=dtype),
        "n": pd.Series([1, 2, None], dtype=dtype),
        "t": pd.Series([True, False, None], dtype=dtype),
    }
    assert values("c + 'x'", table) == ["ax", "bx", None]
    assert values("n + 1", table, {"n": INT}) == [2, 3, None]
    assert values("not t", table) == [False, True, None]


def test_columns_without_a_value_are_what_they_are_declared_to_be():
    truth = Column(dtype="bool", role="ignore", nullable=True)
    table, declared = {"t": [None], "n": [None], "c": [None]}, {"t": truth, "n": INT, "c": TEXT}
    for expression, dtype in (("not t", "boolean"), ("n + 1", "Int64"), ("c + 'x'", "str")):
        result = compute(expression, pd.DataFrame(table), declared)
        assert result.isna().all() and result.dtype == dtype, expression


def test_what_is_missing_stays_missing_unless_the_other_side_decides():
    table = {"x": [1.0, None, 5.0], "t": pd.array([True, True, None], dtype="boolean")}
    assert values("x + 1", table) == [2, None, 6]
    assert values("x > 2", table) == [False, None, True]
    assert values("x > 2 or t", table) == [True, True, True]
    assert values("x > 2 and t", table) == [False, None, None]
    assert values("not t", table) == [False, False, None]
    assert values("t + 1", table) == [2, 2, None] and values("-t", table) == [-1, -1, None]
    assert values("t == 1", table) == [True, True, None]
    assert values("x in [1, 2]", table) == [True, None, False]
    assert values("isnull(x) or x > 2", table) == [False, True, True]
    assert values("notnull(x) and x > 2", table) == [False, False, True]


@pytest.mark.filterwarnings("error")
def test_what_has_no_finite_value_is_missing():
    table = {"x": [4.0, 0.0, -1.0], "n": [2, 0, 1]}
    assert values("1 / x", table) == [0.25, None, -1]
    assert values("7 // n", table) == [3, None, 7] and values("7 % n", table) == [1, None, 0]
    assert values("log(x) - log(x)", table) == [0, None, None]
    assert values("sqrt(x)", table) == [2, 0, None]
    assert values("isnull(x)", {"x": [np.inf, 1.0]}, {"x": INT}) == [False, False]
    assert values("1e308 * x", table) == [None, 0, -1e308]


def test_functions_and_signs_mean_what_they_say():
    table = {"x": [2.5, -2.5], "c": ["a", "b"], "floor area": [3, 4], "µ": [1, 2]}
    assert values("floor(x)", table) == [2, -3] and values("ceil(x)", table) == [3, -2]
    assert values("round(x)", table) == [2, -2] and values("round(x / 3, 2)", table) == [
        0.83,
        -0.83,
    ]
    assert values("abs(x) + `floor area`", table) == [5.5, 6.5]
    assert values("1 < x < 3 & c == 'a' | µ >= 2", table) == [True, True]
    assert values("c + '`&'", table) == ["a`&", "b`&"]
    assert values("c not in ['a', 'z']", table) == [False, True]
    assert values("(x > 0) + (c == 'a')", table) == [2, 0]
    assert values("2 ** -1", table) == [0.5, 0.5]
    assert values("floor(x)", {"x": [1.5, None]}) == [1, None]


@pytest.mark.parametrize("expression", ["x + 1", "x * 0.5", "x > 1", "c + c"])
def test_each_value_stays_with_its_row(expression):
    table = pd.DataFrame({"x": pd.array([1, None], dtype="Int64"), "c": ["a", None]}, index=[7, 3])
    assert compute(expression, table, {}).isna().to_dict() == {7: False, 3: True}


def test_dates_are_compared_with_dates_and_subtracted_to_days():
    stamps = pd.Series(["2020-01-01", "2020-01-03T12:00", None])
    table = {"d": pd.to_datetime(stamps, format="ISO8601"), "e": ["2019-12-31"] * 3}
    declared = {"e": Column(dtype="datetime", role="date")}
    assert values("d", table) == [*map(pd.Timestamp, stamps[:2]), None]
    assert values("d > '2020-01-02'", table) == [False, True, None]
    assert values("e in ['2019-12-31']", table, declared) == [True, True, True]
    assert values("d - e", table, declared) == [1, 3.5, None]
    nanoseconds = {"d": table["d"].astype("datetime64[ns]")}  # which end in 2262
    assert values("d < '9999-12-31'", nanoseconds) == [True, True, None]
    zoned = pd.Series(pd.to_datetime(["2020-01-02T01:00+02:00", None]))
    mixed = pd.Series(["2020-01-02", pd.NA], dtype=object)
    for dates, days in ((zoned, 1 - 1 / 24), (mixed, 1)):
        first = [pd.Timestamp("2020-01-01")] * 2
        assert values("d - e", {"d": dates, "e": first}, {"d": declared["e"]}) == [days, None]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("c * 2", "arithmetic needs numbers, found texts"),
        ("c == 1", r"texts are compared with whole numbers \(texts stand in quotes\)"),
        ("x and c == 'a'", "need truth values such as x > 1, found numbers"),
        ("d > 'soon'", "column 'of texts' must hold dates as in 2019-05-26, found 'soon'"),
        ("m + 1", "column 'm' holds list among others"),
        ("c + " * 400 + "c", "too large"),
        ("X", "unknown column 'X': the nearest is 'x'"),
    ],
)
def test_what_cannot_be_computed_is_one_sentence(expression, said):
    table = pd.DataFrame({"x": [1.5], "c": ["a"], "m": [[1]], "d": pd.to_datetime(["2020-01-01"])})
    with pytest.raises((UserError, ValueError), match=said) as refused:
        cleaning.derive(table, "new", expression, {})
    assert "\n" not in str(refused.value)


def test_texts_of_two_columns_are_joined_up_to_100_000_characters():
    table = {"c": ["a" * 60_000], "d": ["b" * 40_000]}
    assert values("c + d", table) == ["a" * 60_000 + "b" * 40_000]
    no_rows = {name: pd.Series([], dtype="str") for name in table}
    joined = compute("c + d", pd.DataFrame(no_rows), dict.fromkeys(table, TEXT))
    assert joined.tolist() == [] and joined.dtype == "str"
    with pytest.raises((UserError, ValueError), match="a text of over 100,000 characters"):
        compute("c + d", pd.DataFrame({**table, "d": ["b" * 40_001]}), {})


def test_texts_that_double_and_double_end():
    table, text = pd.DataFrame({"c": ["ab" * 20]}), "c" + " + c" * 90
    with pytest.raises(UserError, match="a text of over 100,000 characters"):
        for _ in range(5):
            table = table.assign(c=cleaning.derive(table, "c", text, {}))
