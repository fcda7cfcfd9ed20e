import numpy as np
import pandas as pd
import pytest
from pandera.errors import SchemaErrors
from step_support import DECLARED

from check_data import table_schema
from util_lib.dataset.declaration import Data

N = 300


def faults(values, **declared):
    """The faults of a table of one feature and a target without any."""
    data = {
        "file_url": "x.csv",
        "target": "y",
        "task": "regression",
        "columns": {
            "x": {"role": "ignore", **declared},
            "y": {"dtype": "int", "role": "target"},
        },
    }
    return table_schema.faults(pd.DataFrame({"x": values, "y": range(N)}), Data(**data))


def series(values, **options):
    return pd.Series(list(values) * (N // len(values)), **options)


@pytest.mark.parametrize(
    ("values", "declared", "sentences"),
    [
        # A value of another type is one fault, not one more for each rule it cannot keep.
        (
            series([[1, 2]]),
            {"dtype": "float", "allowed": [1], "unique": True, "min": 0},
            ["[1, 2]"],
        ),
        (series(["a", 1.0]), {"dtype": "float", "min": 0, "max": 1}, ["150 of 300 rows are not"]),
        (series(["a", 7.0]), {"dtype": "float", "max": 1}, ["type float, 150", "at most 1, 150"]),
        (series(["1"]), {"dtype": "int", "min": 5}, ["found str"]),
        (
            series(pd.to_datetime(["2024-01-31"])),
            {"dtype": "float", "max": 1},
            ["found datetime64"],
        ),
        (series([{"a": 2}, "x", 1, b"b"]), {"dtype": "int", "min": 0}, ["225 of 300"]),
        (series([True, False]), {"dtype": "float", "min": 0}, ["found bool"]),
        (series([10**30, 1], dtype=object), {"dtype": "int"}, ["found object"]),
        # What pandas has several types for is judged by its values.
        (
            series(["a", "b", "c"], dtype="category"),
            {"dtype": "string", "allowed": ["a", "b"]},
            ["'c'"],
        ),
        (series([1, 2, 3], dtype="category"), {"dtype": "int", "max": 2}, ["max 3; rows 2, 5, 8"]),
        (series([1, None, 3], dtype="Int64"), {"dtype": "int", "nullable": True, "max": 3}, []),
        (series([1.5, None], dtype="Float64"), {"dtype": "float", "nullable": True, "max": 3}, []),
        (series([True, None], dtype="boolean"), {"dtype": "bool", "nullable": True}, []),
        (series([1.0, None]), {"dtype": "int", "nullable": True}, []),
        (series([1, 2], dtype="uint8"), {"dtype": "int", "min": 0}, []),
        (series(["a", None]), {"dtype": "string", "nullable": True}, []),
        # Dates are compared in UTC, whatever their zone and whether they are text.
        (
            pd.Series(pd.date_range("2024-01-01", periods=N, tz="Europe/Berlin")),
            {"dtype": "datetime", "min": "2024-01-01"},
            ["min 2023-12-31 23:00:00; row 0)"],
        ),
        (
            series(["2024-01-31", "2024-02-01T10:00"]),
            {"dtype": "datetime", "max": "2024-02-01"},
            ["150"],
        ),
        (series([20240131]), {"dtype": "datetime"}, ["type datetime, 300 of 300"]),
        # Nulls are no values.
        (series([None, 1.0]), {"dtype": "float", "nullable": True, "min": 0, "allowed": [1]}, []),
        (
            pd.Series([*range(N - 2), np.nan, np.nan]),
            {"dtype": "int", "nullable": True, "unique": True},
            [],
        ),
        (series([{"a": 1}, {"a": 1}]), {"dtype": "string", "unique": True}, ["type string"]),
    ],
)
def test_a_column_is_judged_by_its_values_and_each_fault_is_said_once(values, declared, sentences):
    found = [fault.message for fault in faults(values, **declared)]
    assert len(found) == len(sentences), found
    for sentence, message in zip(sentences, found, strict=True):
        assert message.startswith("column 'x' must ") and sentence in message


def test_a_finding_holds_the_first_rows_as_json_can_hold_them():
    (fault,) = faults(pd.Series([0.5, np.inf, -np.inf, *[1.0] * (N - 3)]), dtype="float")
    assert (fault.rule, fault.count, fault.fatal) == ("type", 2, True)
    assert fault.examples == [{"row": 1, "value": "inf"}, {"row": 2, "value": "-inf"}]
    (fault,) = faults(pd.Series(["x" * 1000] * N), dtype="int")
    assert fault.count == N and len(fault.examples) == 10
    assert len(fault.examples[0]["value"]) == 60 and len(fault.message) < 200


def test_the_schema_is_one_of_pandera_and_can_be_used_without_us():
    schema = table_schema.build(Data(**DECLARED))
    assert list(schema.columns) == [*DECLARED["columns"], "text_feature"]
    assert not schema.columns["text_feature"].required
    with pytest.raises(SchemaErrors, match="column 'tempo' not in dataframe"):
        schema.validate(pd.DataFrame({"energy": [0.1]}), lazy=True)
