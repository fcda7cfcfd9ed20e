"""Cleaning by declaration: what each rule drops and makes, and what it refuses."""

import logging

import numpy as np
import pandas as pd
import pytest

from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.tables import cleaning

COLUMNS = {
    "price": {"dtype": "int", "role": "numerical"},
    "nights": {"dtype": "int", "role": "numerical", "nullable": True},
    "seen": {"dtype": "datetime", "role": "date", "nullable": True},
    "pets": {"dtype": "bool", "role": "categorical", "nullable": True},
    "name": {"dtype": "string", "role": "text", "nullable": True},
    "area": {"dtype": "string", "role": "target"},
}


@pytest.fixture
def raw():
    return pd.DataFrame(
        {
            "id": [1, 2, 3, 4, 5],
            "price": [10.0, 50, 50, 900, np.nan],
            "nights": [1, np.nan, np.nan, 2, 3],
            "seen": ["2019-05-26", None, None, "2018-01-01", "2019-06-01"],
            "pets": ["yes", "No", "No", None, "TRUE"],
            "Listing name": ["a room", None, None, "loft", "b"],
            "area": ["Bronx", "Queens", "Queens", "Bronx", "Queens"],
        }
    )


@pytest.fixture
def clean(raw, caplog, tmp_path):
    caplog.set_level(logging.INFO)

    def go(table=None, *, columns=None, derived=None, csv=None, **rules):
        keys = ("drop_duplicates", "duplicates", "text_feature")
        top = {key: rules.pop(key) for key in keys if key in rules}
        rules.setdefault("rename", {"Listing name": "name"})
        declared = {**COLUMNS, **(columns or {})}
        data = Data.model_validate(
            {
                "file_url": "t.csv",
                "target": "area",
                "columns": declared,
                "clean": rules,
                "derived": derived or {},
                "csv": csv or {},
                **top,
            }
        )
        path = tmp_path / "table.parquet"
        (raw if table is None else table).to_parquet(path)
        return cleaning.clean(cleaning.read(path, data), data)

    return go


def test_rows_outside_the_limits_go_and_the_log_counts_them(clean, caplog):
    table = clean(keep_rows={"price": {"min": 10, "max": 350}})
    assert table["id"].tolist() == [1, 2, 3]
    assert "clean.keep_rows.price: dropped 2 of 5 rows" in caplog.text
    assert clean(keep_rows={"price": {"max": 350, "nullable": True}})["id"].tolist() == [1, 2, 3, 5]
    assert clean(keep_rows={"area": {"allowed": ["Bronx"]}})["id"].tolist() == [1, 4]
    late = clean(keep_rows={"seen": {"min": "2019-01-01"}})
    assert late["id"].tolist() == [1, 5]


def test_rows_with_gaps_go_where_it_is_said(clean):
    assert clean(drop_nulls=["price"])["id"].tolist() == [1, 2, 3, 4]
    assert clean(drop_nulls=True)["id"].tolist() == [1]
    assert len(clean()) == 5


def test_rows_are_compared_in_all_columns_of_the_file_or_in_those_declared(clean, raw):
    table = clean(drop_columns=["id"], drop_duplicates=True)
    assert "id" not in table and len(table) == 5  # no two rows have the same id
    assert len(clean(pd.concat([raw, raw]), drop_columns=["id"], drop_duplicates=True)) == 5
    same = ["price", "nights", "name"]
    assert clean(duplicates={"columns": same})["id"].tolist() == [1, 2, 4, 5]
    assert clean(duplicates={"columns": same, "keep": "last"})["id"].tolist() == [1, 3, 4, 5]
    twice = pd.concat([raw, raw.assign(price=1.0)])
    assert len(clean(twice, drop_columns=["id"], duplicates={"columns": ["id"]})) == 5
    with pytest.raises(UserError, match="duplicates.columns: .*'nigths'.*nearest is 'nights'"):
        clean(duplicates={"columns": ["nigths"]})


def test_rows_that_repeat_stay_unless_it_is_said(clean):
    assert len(clean(drop_columns=["id"])) == 5


def test_dates_and_booleans_of_text_become_such(clean):
    table = clean()
    assert pd.api.types.is_datetime64_any_dtype(table["seen"]) and table["seen"].isna().sum() == 2
    assert table["pets"].tolist()[:3] == [True, False, False] and table["pets"].isna()[3]
    full = clean(drop_nulls=["pets"])
    assert full["pets"].dtype == bool


def test_dates_are_read_as_they_are_written_where_it_is_said(clean, raw):
    table = raw.assign(seen=["26.05.2019 08:30", None, None, "01.02.2018 00:00", None])
    seen = clean(table, csv={"date_format": "%d.%m.%Y %H:%M"})["seen"]
    assert seen[0] == pd.Timestamp("2019-05-26 08:30") and seen[3] == pd.Timestamp("2018-02-01")
    assert clean(table)["seen"][0] == "26.05.2019 08:30"


@pytest.mark.parametrize(
    ("column", "values"),
    [("seen", ["26/05/2019"] * 5), ("pets", [2] * 5), ("seen", [20190526] * 5)],
)
def test_what_is_no_date_or_boolean_is_left_for_check_data(clean, raw, column, values):
    assert clean(raw.assign(**{column: values}))[column].tolist() == values


def test_integers_are_whole_again_once_the_gaps_are_gone(clean):
    table = clean(drop_nulls=["price"])
    assert table["price"].dtype == "int64" and table["nights"].dtype == "Int64"
    assert clean(drop_nulls=["price"], keep_rows={"id": {"max": 1}})["nights"].dtype == "int64"


def test_missing_text_is_empty_and_joined_with_one_space(clean):
    feature = {"name": "words", "columns": ["name"]}
    table = clean(text_feature=feature)
    assert table["words"].tolist() == table["name"].tolist() == ["a room", "", "", "loft", "b"]


def test_derived_columns_are_computed_from_the_cleaned_ones(clean):
    columns = {
        "cost": {"dtype": "float", "role": "numerical"},
        "cheap": {"dtype": "bool", "role": "ignore"},
        "double cost": {"dtype": "float", "role": "numerical"},
    }
    derived = {
        "cost": "price * nights",
        "cheap": "price < 60 and area == 'Bronx'",
        "double cost": "`cost` * 2",
    }
    table = clean(columns=columns, derived=derived, drop_nulls=["price", "nights"])
    assert table["cost"].tolist() == [10, 1800] and table["double cost"].tolist() == [20, 3600]
    assert table["cheap"].tolist() == [True, False] and table["cheap"].dtype == bool


def test_rows_are_counted_anew(clean):
    assert list(clean(keep_rows={"id": {"min": 4}}).index) == [0, 1]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"rename": {"Listing nam": "name"}}, "unknown column 'Listing nam': the nearest is"),
        ({"rename": {"Listing name": "id"}}, "several columns called 'id'"),
        ({"keep_rows": {"prize": {"min": 1}}}, "keep_rows.prize: unknown column 'prize'"),
        ({"drop_nulls": ["prize"]}, "drop_nulls: unknown column 'prize': the nearest is 'price'"),
        ({"drop_columns": ["ids"]}, "drop_columns: unknown column 'ids': the nearest is 'id'"),
        ({"keep_rows": {"area": {"min": 1}}}, "needs a column of numbers, found 'Bronx'"),
        ({"keep_rows": {"price": {"min": "2019-01-01"}}}, "a column of dates .* found 10"),
        ({"keep_rows": {"price": {"min": 5000}}}, "keep_rows.price leaves no row of 5"),
        ({"rename": {"id": "names"}}, "'name' is declared .* the nearest is 'names'"),
        (
            {"columns": {"x": {"dtype": "float", "role": "ignore"}}, "derived": {"x": "prize + 1"}},
            "derived.x: unknown column 'prize': the nearest is 'price'",
        ),
        (
            {
                "columns": {"x": {"dtype": "float", "role": "ignore"}},
                "derived": {"x": "area * price"},
            },
            "derived.x: 'area . price' cannot be computed",
        ),
        (
            {"columns": {"id": {"dtype": "int", "role": "ignore"}}, "derived": {"id": "price + 1"}},
            "derived 'id' is a column of the table already",
        ),
        ({"text_feature": {"name": "id", "columns": ["name"]}}, "text_feature.name 'id' is a col"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_one_sentence(clean, rules, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        clean(**rules)
    assert "\n" not in str(refused.value)


def test_a_header_that_holds_values_is_said_to(clean, raw):
    with pytest.raises(UserError, match="set data.csv.header to false"):
        clean(raw.set_axis(["1", "10.5", "3", "x", "yes", "room", "Bronx"], axis=1), rename={})
