"""What no one expects in a table is a finding, or nothing; never a traceback."""

import datetime
import decimal

import pandas as pd
import pytest

from check_data import plots
from check_data.examine import examine
from util_lib.dataset.declaration import Data

N = 120
UNUSUAL = {
    "lists": [[1], [2, 3]],
    "records": [{"a": 1}, None],
    "bytes": [b"a", b"\xff"],
    "decimals": [decimal.Decimal("1.5"), decimal.Decimal("2")],
    "all kinds": ["a", 1, None, 2.5, True],
    "nothing": [None],
    "infinite": [float("inf"), float("-inf"), 1.0],
    "huge": [1e308, -1e308, 5e-324],
    "far dates": ["9999-12-31", "0001-01-01", "2020-01-01"],
    "days": [datetime.date(2020, 1, 1), None],
    "hours": [datetime.time(1)],
    "markup": ["\x00<b>&", ""],
}
DECLARED = [
    {"dtype": "float", "role": "numerical", "min": 0, "nullable": True, "unique": True},
    {"dtype": "int", "role": "categorical", "allowed": [1], "nullable": True, "max_null_rate": 0.1},
    {"dtype": "string", "role": "text", "allowed": ["x"]},
    {"dtype": "datetime", "role": "date", "min": "2020-01-01", "nullable": True},
    {"dtype": "bool", "role": "categorical"},
]


def series(values):
    return pd.Series((values * N)[:N])


def look(declared, frame, reference, **keys):
    data = Data(file_url="x", target="y", columns=declared, **keys)
    results = examine(frame, reference, data, 0.05)
    for compared in results.comparisons:
        if compared.tested:
            assert plots.draw(compared, frame, reference, data).endswith("</svg>")
    return results


@pytest.mark.parametrize("values", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("column", DECLARED, ids=lambda column: column["dtype"])
def test_unusual_values_of_a_column_are_judged(values, column):
    classes = series(["p", "q", "r"])
    frame = pd.DataFrame({"x": series(values), "y": classes})
    reference = pd.DataFrame({"x": range(N), "y": classes})
    declared = {"x": column, "y": {"dtype": "string", "role": "target"}}
    for other in (reference, frame.iloc[::-1].reset_index(drop=True)):
        look(declared, frame, other)


@pytest.mark.parametrize("values", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_unusual_values_of_the_target_are_judged(values, task):
    frame = pd.DataFrame({"x": range(N), "y": series(values)})
    dtype = "string" if task == "classification" else "float"
    declared = {
        "x": {"dtype": "int", "role": "numerical"},
        "y": {"dtype": dtype, "role": "target", "nullable": True},
    }
    checks = {"min_class_share": 0.1} if task == "classification" else {}
    look(declared, frame, frame.iloc[::-1].reset_index(drop=True), task=task, checks=checks)


def test_a_column_of_another_type_is_a_fault_and_not_looked_at_further():
    frame = pd.DataFrame({"x": ["one", *["1"] * (N - 1)], "y": series(["p", "q"])})
    reference = pd.DataFrame({"x": range(N), "y": series(["p", "q"])})
    declared = {
        "x": {"dtype": "int", "role": "numerical", "min": 0},
        "y": {"dtype": "string", "role": "target"},
    }
    results = look(declared, frame, reference)
    assert [(fault.column, fault.rule) for fault in results.faults] == [("x", "type")]
    assert [(each.column, each.tested) for each in results.comparisons] == [
        ("x", False),
        ("y", True),
    ]
    assert "some values are of another type" in results.comparisons[0].sentence
