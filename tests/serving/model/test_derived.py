"""A derived column is computed in service as it was for training, whatever type its parts have."""

import numpy as np
import pandas as pd
import pytest
from serving_support import export_model

from serving.model import served_model
from serving.model.row_schema import RowSchema
from util_lib.dataset.declaration import Data
from util_lib.tables import cleaning

WHOLE = {"dtype": "int", "role": "ignore"}
COLUMNS = {
    "w": WHOLE,
    "h": {**WHOLE, "nullable": True},
    "area": {"dtype": "int", "role": "numerical", "nullable": True},
    "roomy": {"dtype": "bool", "role": "categorical", "nullable": True},
    "big": {"dtype": "string", "role": "target"},
}
DERIVED = {"area": "w * h", "roomy": "area > 5_000 or isnull(h)"}


def plots(dtype) -> pd.DataFrame:
    """Sides of which each fits into one byte, and whose products do not."""
    random = np.random.default_rng(3)
    w, h = random.integers(1, 120, (2, 200))
    big = np.where(w * h > 2_500, "yes", "no")
    return pd.DataFrame({"w": w, "h": h, "big": big}).astype({"w": dtype, "h": dtype})


def cleaned(table: pd.DataFrame) -> pd.DataFrame:
    data = {"file_url": "plots.csv", "target": "big", "columns": COLUMNS, "derived": DERIVED}
    return cleaning.clean(table, Data.model_validate({**data, "drop_duplicates": False}))


@pytest.fixture
def served(steps):
    features = {"numerical": ["area"], "categorical": ["roomy"], "nlp": []}
    declaration = {"columns": COLUMNS, "derived": DERIVED}
    table = cleaned(plots("uint8"))
    export_model(steps, table, target="big", features=features, declaration=declaration)
    return served_model.load("model_export:latest")


def test_training_and_service_agree_for_every_type_of_whole_number(served):
    for dtype in ("uint8", "int8", "int16", "uint32", "int64", "Int8", object):
        table = plots(dtype)
        exact = [int(w) * int(h) for w, h in zip(table["w"], table["h"], strict=True)]
        trained = cleaned(table)
        assert trained["area"].tolist() == exact
        ready, problems = served.examine(table[["w", "h"]])
        assert problems == [] and ready["area"].tolist() == exact
        np.testing.assert_array_equal(served.predict(ready)[1], served.predict(trained)[1])
    records = [{"w": int(w), "h": float(h)} for w, h in zip(table["w"], table["h"], strict=True)]
    rows, problems = RowSchema(served).check(records)
    assert problems == [] and [row["area"] for row in rows] == exact


def test_a_row_that_does_not_fit_is_refused_alone_and_a_gap_stays_one(served):
    rows = [{"w": 2**40, "h": 2**40}, {"w": 3, "h": 4}, {"w": 3, "h": None}, {"w": 2**62, "h": 2}]
    ready, problems = served.examine(pd.DataFrame(rows, dtype=object))
    assert [(p.row, p.column, p.rule) for p in problems] == [(0, "area", "range")] + [
        (3, "area", "range")
    ]
    assert "whole numbers of 64 bits" in problems[0].message
    assert ready["area"].isna().tolist() == [False, True]
    assert ready["roomy"].tolist() == [False, True]
    for row in ready.index:
        alone = served.examine(pd.DataFrame([rows[row]], dtype=object))[0]
        np.testing.assert_array_equal(
            served.predict(alone)[1][0], served.predict(ready.loc[[row]])[1][0]
        )
