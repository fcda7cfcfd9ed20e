import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from step_support import ROOT

from util_lib.transformers import (
    DaysBeforeNewest,
    FeatureColumns,
    MeanImputer,
    ModeImputer,
    to_texts,
)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MeanImputer(), ModeImputer()])
def test_the_imputers_keep_scikit_learns_conventions(estimator, check):
    check(estimator)


@pytest.fixture
def frame():
    return pd.DataFrame({"a": [1.0, 3.0, np.nan], "b": ["x", None, "y"], "c": [1, 1, 2]})


@pytest.fixture
def dated(frame):
    return frame.assign(d=pd.to_datetime(["2019-07-01", None, "2019-06-01"]))


def test_the_mean_fills_the_named_columns_and_no_other(frame):
    before = frame.copy()
    filled = MeanImputer(variables=["a"]).fit_transform(frame)
    assert filled["a"].tolist() == [1, 3, 2] and filled["b"].isna().sum() == 1
    pd.testing.assert_frame_equal(frame, before)


def test_the_mode_is_the_smallest_of_the_most_frequent_values(frame):
    imputer = ModeImputer().fit(frame)
    assert imputer.imputer_dict_ == {"a": 1.0, "b": "x", "c": 1}
    filled = imputer.transform(frame)
    assert filled["b"].tolist() == ["x", "x", "y"] and not filled.isna().any(axis=None)
    assert list(imputer.get_feature_names_out()) == ["a", "b", "c"]


def test_new_rows_are_filled_with_what_was_learned(frame):
    imputer = MeanImputer(variables=["a"]).fit(frame)
    new = pd.DataFrame({"a": [np.nan, 100.0], "b": ["", ""], "c": [0, 0]})
    assert imputer.transform(new)["a"].tolist() == [2.0, 100.0]


@pytest.mark.parametrize("imputer", [MeanImputer(), ModeImputer()])
def test_a_column_without_any_value_is_an_error_that_names_it(imputer):
    with pytest.raises(ValueError, match=r"without any observed value .*\['b'\]"):
        clone(imputer).fit(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan]}))


@pytest.mark.parametrize("imputer", [MeanImputer, ModeImputer])
def test_an_unknown_variable_is_an_error_that_names_it(imputer, frame):
    with pytest.raises(ValueError, match=r"does not have: \['z'\]"):
        imputer(variables=["z"]).fit(frame)


def test_texts_become_a_flat_array_without_missing_values():
    column = pd.DataFrame({"t": ["a", None, np.nan, pd.NA, 5]}, dtype=object)
    assert to_texts(column).tolist() == ["a", "", "", "", "5"]


@pytest.fixture
def columns(dated):
    return FeatureColumns(numerical=["a"], categorical=["c"], dates=["d"], nlp=["b"]).fit(dated)


def test_a_request_becomes_the_table_the_model_knows(columns):
    request = pd.DataFrame({"z": [1], "b": [None], "c": [None], "a": ["2"]}, dtype=object)
    table = columns.transform(request)
    assert list(table) == ["a", "c", "d", "b"] == list(columns.get_feature_names_out())
    assert [str(kind) for kind in table.dtypes] == ["float64", "float64", "object", "object"]
    assert table["d"].isna()[0]
    assert table["a"][0] == 2 and table["c"].isna()[0] and table["b"].isna()[0]


def test_a_column_left_out_is_missing_and_all_left_out_is_an_error(columns):
    assert columns.transform(pd.DataFrame({"a": [1.0]}))["c"].isna().all()
    with pytest.raises(ValueError, match="none of the model's columns"):
        columns.transform(pd.DataFrame({"z": [1.0]}))


def test_text_among_numbers_is_an_error_that_names_the_column(columns):
    with pytest.raises(ValueError, match="column 'a' must hold numbers, found 'fast'"):
        columns.transform(pd.DataFrame({"a": ["fast"], "c": [1], "b": ["x"]}))


@pytest.mark.parametrize(
    "given", ["2019-06-20", pd.Timestamp("2019-06-20"), "2019-06-20T02:00:00+02:00"]
)
def test_a_date_is_the_same_however_a_request_brings_it(columns, given):
    request = pd.DataFrame({"d": [given, None]}, dtype=object)
    assert columns.transform(request)["d"].tolist() == [
        "2019-06-20",
        pytest.approx(np.nan, nan_ok=True),
    ]


@pytest.mark.parametrize("given", ["20/06/2019", "soon", 20190620, 1.5, True])
def test_what_is_no_date_is_an_error_that_names_the_column(columns, given):
    with pytest.raises(ValueError, match=f"column 'd' must hold dates .* found {given!r}"):
        columns.transform(pd.DataFrame({"d": [given, None]}, dtype=object))


def test_days_are_counted_from_the_newest_date_of_training_for_a_row_and_a_batch(dated):
    days = DaysBeforeNewest().fit(dated[["d"]])
    batch = days.transform(pd.DataFrame({"d": ["2019-06-01", "2019-07-11", None]}, dtype=object))
    assert batch.ravel().tolist() == [30, -10, 31]
    alone = days.transform(pd.DataFrame({"d": ["2019-06-01"]}))
    assert alone.tolist() == [[30]]
    assert list(days.get_feature_names_out()) == ["d"]


def test_dates_that_are_all_missing_cannot_be_learned_from(dated):
    with pytest.raises(ValueError, match=r"without any date: \['d'\]"):
        DaysBeforeNewest().fit(dated[["d"]].assign(d=pd.NaT))


def test_the_module_stands_alone_because_it_travels_with_models(tmp_path):
    code = "import sys, util_lib.transformers; print([m for m in sys.modules if 'util_lib' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['util_lib', 'util_lib.transformers']"
