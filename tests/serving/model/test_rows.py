import json

import numpy as np
import pandas as pd
import pytest
from step_support import make_songs, with_text

from serving.model import served_model
from serving.model.rows import check_rows
from util_lib.dataset.columns import Column

COLUMNS = {
    "share": Column(dtype="float", role="numerical", min=0, max=1, unit="m"),
    "count": Column(dtype="int", role="categorical", min=0, max=11, nullable=True),
    "kind": Column(dtype="string", role="categorical", allowed=["x", "y"]),
    "loud": Column(dtype="bool", role="categorical", nullable=True),
    "day": Column(dtype="datetime", role="date", min="2020-01-01", nullable=True),
}
RIGHT = {"share": 0.5, "count": 3, "kind": "x", "loud": True, "day": "2021-02-03"}


def found(*rows):
    return [(p.row, p.column, p.rule) for p in check_rows(pd.DataFrame([*rows]), COLUMNS)]


def test_rows_as_declared_have_no_problem():
    others = [{"count": None}, {"count": 3.0}, {"day": "2021-02-03T10:00:00Z"}, {"loud": None}]
    assert found(RIGHT, *[{**RIGHT, **other} for other in others], {**RIGHT, "more": 1}) == []


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"share": None}, "no nulls"),
        ({"share": 1.5}, "range"),
        ({"share": "0.5"}, "type"),
        ({"share": True}, "type"),
        ({"share": float("inf")}, "type"),
        ({"share": 10**400}, "type"),
        ({"share": [0.5]}, "type"),
        ({"count": 2.5}, "type"),
        ({"count": 12}, "range"),
        ({"count": {}}, "type"),
        ({"kind": "z"}, "allowed values"),
        ({"kind": 1}, "type"),
        ({"kind": ["x"]}, "type"),
        ({"loud": 1}, "type"),
        ({"loud": "true"}, "type"),
        ({"day": "2021-13-01"}, "type"),
        ({"day": "2019-01-01"}, "range"),
        ({"day": 5}, "type"),
    ],
)
def test_a_wrong_value_is_named_alone_and_among_others(changed, rule):
    (name,) = changed
    assert found({**RIGHT, **changed}) == [(0, name, rule)]
    others = [{**RIGHT, name: value} for value in (RIGHT[name], 3, "y", None, [])]
    among = [problem for problem in found(*others, {**RIGHT, **changed}) if problem[0] == 5]
    assert among == [(5, name, rule)]


def test_a_column_that_is_missing_is_named_with_the_nearest():
    row = {("shares" if name == "share" else name): value for name, value in RIGHT.items()}
    (problem,) = check_rows(pd.DataFrame([row]).drop(columns=["count"]), COLUMNS)
    assert (problem.row, problem.message) == (
        None,
        "column 'share' is missing; the nearest is 'shares'",
    )


def test_a_problem_says_what_was_expected_and_can_be_written_as_json():
    values = [{"share": 7, "kind": "z"}, {"share": None}, {"count": {"a": [1]}}]
    problems = check_rows(pd.DataFrame([{**RIGHT, **v} for v in values]), COLUMNS)
    assert [problem.message for problem in problems] == [
        "column 'share' must lie in [0, 1] m, found 7",
        "column 'kind' must be one of x, y, found 'z'",
        "column 'share' must not be null",
        "column 'count' must be of type int, found \"{'a': [1]}\"",
    ]
    json.dumps([problem._asdict() for problem in problems], allow_nan=False)


def test_what_training_was_told_of_the_columns_comes_with_the_model(exported):
    served = served_model.load("model_export:prod")
    assert list(served.columns) == ["energy", "loudness", "tempo", "key", "text_feature"]
    assert (served.columns["tempo"].max, served.columns["tempo"].unit) == (250, "BPM")
    assert served.columns["loudness"].nullable and not served.columns["tempo"].nullable
    assert list(served.sources) == ["title", "song_name"]
    assert served.columns["text_feature"].description.startswith("title and song_name")


def test_a_text_feature_is_made_of_its_parts_as_preprocess_makes_it(exported):
    served = served_model.load("model_export:prod")
    raw = make_songs(30, seed=4)
    ready, problems = served.examine(raw)
    assert problems == []
    np.testing.assert_array_equal(served.predict(ready)[1], served.predict(with_text(raw))[1])
    given = with_text(raw).drop(columns=["title", "song_name"])
    assert served.examine(given)[1] == []


def test_rows_that_are_right_are_told_from_others(exported):
    served = served_model.load("model_export:prod")
    songs = make_songs(6).astype({"tempo": object, "title": object})
    songs.loc[1, "tempo"] = "fast"
    songs.loc[3, "title"] = 5
    songs.loc[4, "key"] = 99
    ready, problems = served.examine(songs)
    assert list(ready.index) == [0, 2, 5]
    assert [(p.row, p.column) for p in problems] == [(1, "tempo"), (3, "title"), (4, "key")]
    assert served.predict(ready)[0].shape == (3,)


def test_a_row_without_a_column_that_must_be_there_is_not_ready(exported):
    served = served_model.load("model_export:prod")
    ready, problems = served.examine(make_songs(6).drop(columns=["tempo", "loudness"]))
    assert len(ready) == 0 and [(p.row, p.column) for p in problems] == [(None, "tempo")]


def test_each_row_may_bring_a_made_column_or_what_it_is_made_of(exported):
    served = served_model.load("model_export:prod")
    raw = make_songs(12, seed=4)
    whole = with_text(raw).drop(columns=["title", "song_name"])
    records = [*raw.head(6).to_dict("records"), *whole.tail(6).to_dict("records")]
    ready, problems = served.examine(pd.DataFrame(records))
    assert problems == []
    np.testing.assert_array_equal(served.predict(ready)[1], served.predict(whole)[1])
