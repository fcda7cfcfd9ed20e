"""Rows that belong together or follow each other, and what a score by a random split hides."""

import argparse

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import r2_score, roc_auc_score

from util_lib.errors import UserError
from util_lib.model import training
from util_lib.tables import splitting
from util_lib.tables.splitting import Rule

PATIENT = Rule("group", "patient_id")
WEEK = Rule("time", "date")


def patients() -> pd.DataFrame:
    """Forty patients with fifteen rows each, told apart by their values; half are ill by chance."""
    random = np.random.default_rng(3)
    patient = np.repeat(np.arange(40), 15)
    values = random.normal(size=(40, 4))[patient] + random.normal(scale=0.05, size=(600, 4))
    table = pd.DataFrame(values, columns=[f"m{i}" for i in range(4)])
    ill = random.permutation(np.repeat(["yes", "no"], 20))[patient]
    table = table.assign(patient_id=[f"P{i:03d}" for i in patient], ill=ill)
    return table.sample(frac=1, random_state=1, ignore_index=True)


def weeks() -> pd.DataFrame:
    """Six hundred rows of a hundred weeks, whose price walks."""
    random = np.random.default_rng(4)
    week = np.repeat(np.arange(100), 6)
    level = 50 + np.cumsum(random.normal(scale=3, size=100))[week]
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(week * 7, "D")
    price = level + random.normal(scale=0.2, size=600)
    table = pd.DataFrame({"date": when, "week": week.astype(float), "price": price})
    return table.sample(frac=1, random_state=1, ignore_index=True)


def divided(table: pd.DataFrame, how: Rule, stratify: str | None = None, size: float = 0.3):
    """Divide rows as a training step does."""
    given = {"val_size": size, "random_seed": 42, "stratify": stratify}
    split = {f"split_{key}": value for key, value in how._asdict().items()}
    return training.split(table, argparse.Namespace(**given, **split))


def test_rows_of_one_patient_are_never_in_both_parts_and_the_score_is_that_of_chance():
    table, features = patients(), [f"m{i}" for i in range(4)]
    scores = {}
    for how in (Rule(), PATIENT):
        train, val = divided(table, how, "ill")
        forest = RandomForestClassifier(random_state=0).fit(train[features], train["ill"])
        scores[how.by] = roc_auc_score(val["ill"], forest.predict_proba(val[features])[:, 1])
    assert not {*train["patient_id"]} & {*val["patient_id"]}
    assert len(train) + len(val) == 600 and len(val) == 180
    assert abs((val["ill"] == "yes").mean() - 0.5) < 0.05
    assert scores["random"] > 0.95 and scores["group"] < 0.75


def test_the_newest_weeks_are_measured_on_and_a_walk_is_not_foreseen():
    table = weeks()
    scores = {}
    for how in (Rule(), WEEK):
        train, val = divided(table, how)
        forest = RandomForestRegressor(random_state=0).fit(train[["week"]], train["price"])
        scores[how.by] = r2_score(val["price"], forest.predict(val[["week"]]))
    assert train["date"].max() < val["date"].min() and len(train) + len(val) == 600
    assert len(val) == 180
    assert scores["random"] > 0.95 and scores["time"] < 0.5


def test_rows_within_the_gap_are_in_no_part():
    table = weeks()
    train, val = divided(table, WEEK._replace(gap=21.0))
    assert val["date"].min() - train["date"].max() > pd.Timedelta(21, "D")
    assert len(val) == 180 and len(train) == 420 - 3 * 6


def test_rows_of_one_moment_stay_together_and_shares_are_as_near_as_that_allows():
    for when, size, expected in (
        ([1, 2, 2, 3], 0.5, [1, 2, 3]),  # 0.75 is as near as 0.25
        ([1, 2, 2, 2, 3], 0.3, [4]),
        ([1, 2, 2], 0.1, [1, 2]),  # at least some
        ([3, 1, 2, 4], 0.25, [3]),
    ):
        fitted, measured = splitting.part(pd.Series(when), WEEK, size, 0)
        assert [*measured] == expected and sorted([*fitted, *measured]) == [*range(len(when))]
    told = r"no row of 4 is older than those to measure on \(column 'date'{}, a gap of 0\): take"
    same = pd.Series([1, 1, 1, 1], name="date")
    with pytest.raises(UserError, match=told.format(", a share of 0.5")):
        splitting.part(same, WEEK, 0.5, 0)


@pytest.mark.parametrize(
    "written",
    [
        ["2024-01-09", "2024-01-10", "2024-01-11", "2024-02-01"],
        ["9", "10", "11", "100"],
        pd.to_datetime(["2024-01-09", "2024-01-10", "2024-01-11", "2024-02-01"], utc=True),
        [
            "2024-01-09T23:00-02:00",
            "2024-01-10T02:00Z",
            "2024-01-10T02:30Z",
            "2024-01-10T01:30-02:00",
        ],
        [2**60 + 1, 2**60 + 1000, 2**60 + 10_000, 2**60 + 100_000],
    ],
)
def test_times_are_dates_or_numbers_also_as_text(written):
    fitted, measured = splitting.part(pd.Series(written, name="date"), WEEK, 0.25, 0)
    assert [*fitted] == [0, 1, 2] and [*measured] == [3]


def test_columns_of_arrow_are_divided_as_those_of_pandas():
    names, when = ["b", "a", "b", None], [3.0, 1.0, 2.0, float("nan")]
    for values in (pa.chunked_array([names[:1], names[1:3]]).dictionary_encode(), pa.array(names)):
        fitted, measured = splitting.part(values[:3], PATIENT, 0.4, 0)
        assert ([*fitted], [*measured]) == ([0, 2], [1])
    assert [*splitting.part(pa.array(when[:3]), WEEK, 0.3, 0)[1]] == [0]
    for values, how in (
        (pa.array(names), PATIENT),
        (pa.array(when), WEEK),
        (pd.Series(when), WEEK),
    ):
        with pytest.raises(UserError, match="must have a value in every row, 1 of 4 rows"):
            splitting.part(values, how, 0.3, 0)


def test_a_column_that_the_table_lacks_is_named_with_the_nearest():
    splitting.check_column(["a"], Rule())
    splitting.check_column(["date"], WEEK)
    with pytest.raises(UserError, match="split: unknown column 'date': the nearest is 'dates'"):
        splitting.check_column(["dates", "x"], WEEK)


def test_a_rule_is_read_from_options_and_told_of_a_model_unless_it_is_the_usual_one():
    parser = argparse.ArgumentParser()
    splitting.add_arguments(parser)
    assert splitting.rule(parser.parse_args([])) == Rule() and Rule().about() == {}
    given = ["--split_by", "time", "--split_column", "date", "--split_gap", "7"]
    how = splitting.rule(parser.parse_args(given))
    assert how == Rule("time", "date", 7.0)
    assert how.about() == {"split": {"by": "time", "column": "date", "gap": 7.0}}
    for wrong in (["--split_by", "size"], ["--split_gap", "-1"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)


def test_groups_are_numbered_where_rows_have_them():
    rows = pd.DataFrame({"patient_id": ["b", "a", "b"]})
    assert [*splitting.groups_of(rows, PATIENT)] == [0, 1, 0]
    assert splitting.groups_of(rows, WEEK) is splitting.groups_of(rows[[]], PATIENT) is None


def test_the_same_seed_draws_the_same_groups_and_another_one_others():
    table = patients()
    first, second = (divided(table, PATIENT)[1] for _ in range(2))
    assert first.equals(second)
    others = splitting.part(table["patient_id"], PATIENT, 0.3, 7)[1]
    assert {*others} != {*first.index}


@pytest.mark.parametrize("stratify", [None, "ill"])
def test_no_group_is_on_both_sides_of_a_fold(stratify):
    table = patients()
    labels = table[stratify] if stratify else None
    seen: list[int] = []
    folds = [*splitting.folds(table["patient_id"], PATIENT, 4, 1, labels)]
    for fitted, measured in folds:
        names = table["patient_id"]
        assert not {*names.iloc[fitted]} & {*names.iloc[measured]}
        seen += [*measured]
    assert sorted(seen) == [*range(600)] and len(folds) == 4
    again, other = (
        [[*m] for _, m in splitting.folds(table["patient_id"], PATIENT, 4, seed, labels)]
        for seed in (1, 2)
    )
    assert again == [[*measured] for _, measured in folds] != other


def test_parts_and_folds_by_group_have_the_shares_of_the_whole_table():
    table = patients()
    ill = table["ill"].factorize()[0]
    for seed in range(5):
        _, measured = splitting.part(table["patient_id"], PATIENT, 0.3, seed, ill)
        assert abs(ill[measured].mean() - 0.5) < 0.05
        for _, measured in splitting.folds(table["patient_id"], PATIENT, 4, seed, ill):
            assert abs(ill[measured].mean() - 0.5) < 0.05


def test_two_groups_are_enough_for_two_parts():
    fitted, measured = splitting.part(pd.Series(["a", "a", "b"]), PATIENT, 0.3, 0)
    assert sorted([[*fitted], [*measured]]) == [[0, 1], [2]]


def test_every_fold_by_time_is_measured_on_newer_rows():
    table = weeks()
    for fitted, measured in splitting.folds(table["date"], WEEK._replace(gap=7.0), 4, 1):
        gap = table["date"].iloc[measured].min() - table["date"].iloc[fitted].max()
        assert gap > pd.Timedelta(7, "D")


def test_folds_by_time_are_as_many_moments_each_and_end_with_the_newest():
    table = weeks()
    folds = [*splitting.folds(table["date"], WEEK, 4, 1)]
    seen = [table["week"].iloc[measured].unique() for _, measured in folds]
    assert [[*np.sort(found)] for found in seen] == [
        [*range(20 * k, 20 * k + 20)] for k in (1, 2, 3, 4)
    ]
    assert [len(fitted) for fitted, _ in folds] == [6 * 20 * k for k in (1, 2, 3, 4)]


def test_folds_that_cannot_be_made_are_refused():
    for values, how, said in (
        ([1, None, 2], PATIENT, "split by group: column 'patient_id' must have a value in every"),
        (["soon", "later", "now"], WEEK, "column 'date' must hold dates or numbers, found 'soon'"),
        ([1, 2, 3], WEEK._replace(gap=9.0), r"\(column 'date', a gap of 9\): take fewer"),
    ):
        with pytest.raises(UserError, match=said):
            [*splitting.folds(pd.Series(values), how, 2, 0)]


@pytest.mark.parametrize(
    ("how", "values", "sentence"),
    [
        (PATIENT, ["a", None, "b"], "'patient_id' must have a value in every row, 1 of 3 rows"),
        (PATIENT, ["a", "a", "a"], "there are 1 groups, and both parts need one"),
        (PATIENT, [], "there are 0 groups"),
        (WEEK, ["soon", "later", "then"], "must hold dates or numbers, found 'soon'"),
        (WEEK._replace(gap=9.0), [1, 2, 3], "a gap of 9.*: take fewer to measure on, or a smaller"),
    ],
)
def test_rows_that_cannot_be_divided_are_refused(how, values, sentence):
    with pytest.raises(UserError, match=sentence):
        splitting.part(pd.Series(values, name=how.column), how, 0.3, 0)
