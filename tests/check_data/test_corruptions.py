"""Every way to go wrong, and every harmless difference, goes through the steps once."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.check_data.corruptions import (
    CORRUPTIONS,
    DATASET,
    ROOT,
    SONGS,
    VARIATIONS,
    Outcome,
    everything,
    halves,
    markdown,
    send,
)
from util_lib.checks import drift
from util_lib.dataset import declaration
from util_lib.tables import cleaning

# What no check of columns can see, and why. docs/corruptions.md says so too.
NOT_CAUGHT = {
    "song names decoded wrongly, such as Caf\u00c3\u00a9": "any text may stand in a column of text",
    "a genre is there twice as often": "4 % instead of 2: below data.kl_threshold",
    "genres belong to other rows": "each column is as before",
    "energies belong to other rows": "each column is as before",
}
# Chance, as often as ks_alpha says: each fresh draw of rows gives an alarm with probability 0.05.
ALARMS = {"300 of its rows"}


@pytest.fixture(scope="module")
def half():
    return halves()[1]


@pytest.mark.parametrize(
    ("heading", "name", "step", "sentence"),
    [
        ("Values", "three tempos of 9999", "check_data", "must lie in [50, 250] BPM, 3 of 3,469"),
        ("Types", "a word among the tempos", "check_data", "type float, 1 of 3,469 rows is not"),
        ("Columns", "a column is missing", "preprocess", "'tempo' is declared and the table does"),
        ("Files", "0 bytes", "get_data", "is empty: expected a file with data"),
    ],
)
def test_what_is_wrong_is_said_by_the_first_step_that_sees_it(
    steps, tmp_path, half, heading, name, step, sentence
):
    outcome = send(CORRUPTIONS[heading][name](half), tmp_path)
    assert outcome.step == step and sentence in outcome.says


def test_a_table_with_nothing_wrong_goes_through(steps, tmp_path, half):
    reference, _ = halves()
    assert send(reference, tmp_path) == send(half, tmp_path) == Outcome()


@pytest.mark.slow
def test_all_corruptions_but_those_named_are_caught_and_nothing_else_is(steps, tmp_path):
    rows = list(everything(tmp_path))
    outcomes = {name: (heading, outcome) for heading, name, outcome in rows}
    assert len(outcomes) == sum(map(len, CORRUPTIONS.values())) + len(VARIATIONS)
    caught = {name for name, (_, outcome) in outcomes.items() if outcome.step}
    wrong = {name for changes in CORRUPTIONS.values() for name in changes}
    assert wrong - caught == set(NOT_CAUGHT)
    assert caught - wrong == ALARMS
    assert markdown(rows) == (ROOT / "docs" / "corruptions.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_false_alarms_are_as_frequent_as_ks_alpha_says():
    """500 pairs of 1,000 rows each, drawn from the demo songs; verdicts by p-value alone."""
    data = declaration.load(ROOT / DATASET).model_copy(
        update={"min_effect": 0.0, "kl_threshold": 0.0}
    )
    songs = cleaning.clean(pd.read_parquet(SONGS), data)
    alarms = 0
    for seed in range(500):
        drawn = np.random.default_rng(seed).permutation(len(songs))[:2000]
        pair = songs.iloc[drawn[:1000]], songs.iloc[drawn[1000:]]
        alarms += any(each.drifted for each in drift.compare(*pair, data, 0.05))
    print(f"{alarms} alarms in 500 pairs")
    assert stats.binomtest(alarms, 500, 0.05).pvalue > 0.001
