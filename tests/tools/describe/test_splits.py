"""A draft divides rows by group or by time where a random split would flatter, else at random."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import split_proposals


def patients() -> pd.DataFrame:
    """Forty patients with fifteen rows each; whether a patient is ill, nothing measured tells."""
    rng = np.random.default_rng(5)
    who = np.repeat(np.arange(40), 15)
    rows = rng.normal(size=(40, 4))[who] + rng.normal(scale=0.1, size=(600, 4))
    ill = rng.permutation(np.repeat(["yes", "no"], 20))[who]
    table = pd.DataFrame(rows, columns=["m0", "m1", "m2", "m3"])
    table.insert(0, "patient_id", [f"P{number:03}" for number in who])
    return table.assign(ill=ill).sample(frac=1, random_state=1)


def weeks() -> pd.DataFrame:
    """Prices that walk: rows of one week are alike, and the next week is another."""
    rng = np.random.default_rng(5)
    week = np.repeat(np.arange(60), 10)
    level = np.cumsum(rng.normal(size=60))[week]
    return pd.DataFrame(
        {
            "date": (pd.Timestamp("2024-01-01") + pd.to_timedelta(week * 7, "D")).date,
            "volume": level * 0.1 + rng.normal(size=600),
            "region": rng.choice(list("abc"), 600),
            "price": level + rng.normal(scale=0.2, size=600),
        }
    )


def test_patients_are_kept_together_and_the_untouched_draft_scores_as_by_chance(
    drafts, monkeypatch
):
    data = drafts.draft(patients())
    assert (data.split.by, data.split.column) == ("group", "patient_id")
    text = " ".join(drafts.text("customers").replace("# ", "").split())
    assert "(AUC of the nearest rows): rows of one patient are in both split: {by: group" in text
    assert 0.2 < drafts.run_pipeline("customers", monkeypatch)["test_roc_auc_ovo_macro"] < 0.8


@pytest.mark.parametrize("file", ["customers.csv", "customers.parquet"])
def test_newer_weeks_are_measured_on_and_the_untouched_draft_has_the_honest_r2(
    drafts, monkeypatch, file
):
    data = drafts.draft(weeks(), file=file)
    assert (data.split.by, data.split.column) == ("time", "date")
    assert "shuffle them" not in drafts.text("customers")
    if file.endswith("csv"):
        assert drafts.run_pipeline("customers", monkeypatch)["test_r2"] < 0.5


def test_an_id_with_gaps_can_divide_nothing_which_the_draft_says(drafts):
    table = patients()
    table.iloc[::50, 0] = None
    data = drafts.draft(table)
    text = drafts.text("customers")
    assert data.split.by == "random"
    assert "rows of one patient are in both" in text and "a value in every row" in text


@pytest.mark.parametrize("number", range(len(split_proposals.KINDS)))
def test_a_made_table_gets_the_split_that_is_right(tmp_path, number):
    _, table, right = split_proposals.made(number, seed=0)
    assert split_proposals.proposed(table, tmp_path) == right


@pytest.mark.slow
def test_of_200_made_tables_nearly_all_get_the_split_that_is_right(tmp_path):
    n_right = n_false = 0
    for number in range(200):
        _, table, right = split_proposals.made(number, seed=0)
        found = split_proposals.proposed(table, tmp_path)
        n_right += found == right
        n_false += found not in (right, "random")
    assert n_right >= 190 and n_false <= 10
