"""Cleaning by declaration: what each rule drops and makes, and what it refuses."""

import logging

import numpy as np
import pandas as pd
import pytest
from excel_support import write_sheets

from util_lib.dataset.declaration import Data
from util_lib.dataset.repeats import Duplicates
from util_lib.errors import UserError
from util_lib.tables import cleaning, computing

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


@pytest.fixture
def read(tmp_path):
    def go(contents, **keys):
        for name, content in contents.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        columns = {"code": {"dtype": "string", "role": "ignore"}, "n": {"dtype": "int"}}
        columns["n"]["role"] = "target"
        data = Data.model_validate({"file_url": "t.csv", "columns": columns, "target": "n", **keys})
        frame = cleaning.read(path if len(contents) == 1 else path.parent, data)
        return cleaning.named(frame, data)

    return go


def test_a_renamed_column_is_read_as_it_is_declared(read):
    frame = read({"t.csv": "Old code,n\n007,1\n"}, clean={"rename": {"Old code": "code"}})
    assert frame.to_dict("list") == {"code": ["007"], "n": [1]}
    frame = read(
        {"t.csv": "007,1\n"}, clean={"rename": {"Old code": "code"}}, csv={"header": False}
    )
    assert frame.to_dict("list") == {"code": ["007"], "n": [1]}


def test_a_table_is_read_up_to_its_declared_rows_and_from_its_sheet(read, tmp_path):
    with pytest.raises(UserError, match="2 rows or more of 2 columns: expected at most 1 rows"):
        read({"t.csv": "code,n\na,1\nb,2\n"}, max_rows=1)
    write_sheets(tmp_path / "t.xlsx", One=[["n"], [1]], Two=[["n"], [2]])
    keys = {"file_url": "t.xlsx", "target": "n", "sheet": "Two"}
    keys["columns"] = {"n": {"dtype": "int", "role": "target"}}
    assert cleaning.read(tmp_path / "t.xlsx", Data.model_validate(keys))["n"].tolist() == [2]


@pytest.mark.parametrize(
    ("by", "test", "expected"),
    [
        ("file", "newest_partition", ["2024-01", "2024-02"]),
        ("file", "share", None),
        ("column", "newest_partition", None),
    ],
)
def test_rows_say_of_which_file_they_are_where_the_newest_is_measured_on(read, by, test, expected):
    files = {"in/2024-01.csv": "code,n\na,1\n", "in/2024-02.csv": "code,n\nb,2\n"}
    partition = {"by": by} | ({"column": "code"} if by == "column" else {})
    frame = read(files, partition=partition, test=test)
    assert frame["n"].tolist() == [1, 2]
    if by == "file" and expected:
        numbered = {"n/1.csv": "code,n\na,1\n", "n/2.csv": "code,n\nb,2\n"}
        found = read(numbered, partition=partition, test=test)["_partition"]
        assert found.tolist() == ["1", "2"] and found.dtype == "str"
    if expected is None:
        assert list(frame) == ["code", "n"]
    else:
        assert frame["_partition"].tolist() == expected and frame["_partition"].dtype == "str"


def test_rows_outside_the_limits_go_and_the_log_counts_them(clean, caplog):
    table = clean(keep_rows={"price": {"min": 10, "max": 350}})
    assert table["id"].tolist() == [1, 2, 3]
    assert "clean.keep_rows.price: dropped 2 of 5 rows" in caplog.text
    assert clean(keep_rows={"price": {"max": 350, "nullable": True}})["id"].tolist() == [1, 2, 3, 5]
    assert clean(keep_rows={"area": {"allowed": ["Bronx"]}})["id"].tolist() == [1, 4]
    late = clean(keep_rows={"seen": {"min": "2019-01-01"}})
    assert late["id"].tolist() == [1, 5] and list(late)[0] == "id"
    assert clean(keep_rows={"price": {"min": 50, "max": 350}})["id"].tolist() == [2, 3]
    assert clean(keep_rows={"price": {"max": 350, "allowed": [50, 900]}})["id"].tolist() == [2, 3]


def test_dates_are_within_limits_in_whichever_zone_both_are_written(clean, raw):
    at = pd.to_datetime(["2019-01-01 00:00", "2019-01-01 02:00", None, None, "2018-12-31 23:30"])
    naive, zoned = raw.assign(at=at), raw.assign(at=at.tz_localize("UTC").tz_convert("Asia/Tokyo"))
    for table in (naive, zoned):
        for bound in ("2019-01-01", "2019-01-01T01:00:00+01:00", "2019-01-01T00:00:00Z"):
            assert clean(table, keep_rows={"at": {"min": bound}})["id"].tolist() == [1, 2], bound


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


@pytest.mark.parametrize("rule", ["price", "drop_nulls", "duplicates"])
def test_the_log_names_the_rule_and_what_it_dropped(clean, caplog, rule):
    rules = {"keep_rows": {"price": {"max": 350, "nullable": True}}} if rule == "price" else {}
    rules |= {"drop_nulls": ["price"]} if rule == "drop_nulls" else {}
    rules |= {"duplicates": {"columns": ["nights"]}} if rule == "duplicates" else {}
    clean(**rules)
    kind = " duplicates" if rule == "duplicates" else ""
    key = {"price": "clean.keep_rows.price", "drop_nulls": "clean.drop_nulls"}.get(rule, rule)
    assert caplog.messages == [f"{key}: dropped 1{kind} of 5 rows"]


def test_the_share_of_repeats_is_told(raw):
    columns = {"id": {"dtype": "int", "role": "target"}}
    data = Data.model_validate({"file_url": "t.csv", "target": "id", "columns": columns})
    assert cleaning.clean_and_count(raw, data)[1] == 0
    same = data.model_copy(update={"duplicates": Duplicates(columns=["nights"])})
    assert cleaning.clean_and_count(raw, same)[1] == 0.2


@pytest.mark.parametrize("nested", [[1], {"x": 1}, np.array([1])])
def test_rows_with_lists_or_records_cannot_be_compared_and_the_column_is_named(raw, nested):
    data = Data.model_validate(
        {
            "file_url": "t.csv",
            "target": "id",
            "columns": {"id": {"dtype": "int", "role": "target"}},
            "drop_duplicates": True,
        }
    )
    with pytest.raises(UserError, match="^column 'odd' holds lists or records: expected one value"):
        cleaning.clean(raw.assign(odd=[nested] * 5), data)


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


def test_missing_text_is_empty_and_joined_with_one_space(clean, raw):
    feature = {"name": "words", "columns": ["name"]}
    table = clean(text_feature=feature)
    assert table["words"].tolist() == table["name"].tolist() == ["a room", "", "", "loft", "b"]
    more = {"more": {"dtype": "string", "role": "text", "nullable": True}}
    feature["columns"] = ["name", "more"]
    numbers = clean(raw.assign(more=[1, 2, None, 3, 4]), columns=more, text_feature=feature)
    assert numbers["words"].tolist()[1:3] == [" 2.0", " "]
    nothing = clean(raw.assign(more=None), columns=more, text_feature=feature)
    assert nothing["more"].tolist() == [""] * 5 and nothing["more"].dtype == "str"
    assert nothing["words"].tolist()[0] == "a room "


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
        (
            {"rename": {"Listing nam": "name"}},
            "^clean.rename: unknown column 'Listing nam': the nearest is",
        ),
        ({"rename": {"Listing name": "id"}}, "several columns called 'id'"),
        ({"keep_rows": {"prize": {"min": 1}}}, "keep_rows.prize: unknown column 'prize'"),
        ({"drop_nulls": ["prize"]}, "drop_nulls: unknown column 'prize': the nearest is 'price'"),
        ({"drop_columns": ["ids"]}, "drop_columns: unknown column 'ids': the nearest is 'id'"),
        (
            {"keep_rows": {"area": {"min": 1}}},
            "^clean.keep_rows.area: a bound of 1 needs a column of numbers, found 'Bronx'",
        ),
        ({"keep_rows": {"price": {"min": "2019-01-01"}}}, "a column of dates .* found 10"),
        ({"keep_rows": {"price": {"min": 5000}}}, "keep_rows.price leaves no row of 5"),
        (
            {"rename": {"id": "names"}},
            "'name' is declared .* the nearest is 'names'; it has .*area$",
        ),
        (
            {"rename": {"Listing name": "x"}, "drop_columns": ["x"]},
            "does not have it; it has id, price, nights, seen, pets, area$",
        ),
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


def test_a_column_without_values_has_no_bound(clean, raw):
    with pytest.raises(UserError, match="needs a column of dates .* found (object|str)$"):
        clean(raw.assign(none=None), keep_rows={"none": {"min": "2019-01-01"}})


def test_what_is_too_large_names_its_column_and_its_rows(clean, raw):
    columns = {"x": {"dtype": "int", "role": "ignore"}}
    with pytest.raises(computing.TooLargeError, match="^derived.x: ") as refused:
        clean(raw.assign(id=[1, 2**62, 3, 4, 5]), columns=columns, derived={"x": "id * 4"})
    assert list(refused.value.rows) == [1]


def test_a_header_that_holds_values_is_said_to(clean, raw):
    with pytest.raises(
        UserError, match="Bronx: if these are values, set data.csv.header to false$"
    ):
        clean(raw.set_axis(["1", "10.5", "3", "x", "yes", "room", "Bronx"], axis=1), rename={})
