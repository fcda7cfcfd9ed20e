"""How a window is judged, on tables whose right answer is known."""

import datetime

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitoring.judging import judge
from monitoring.judging.records import Judgement, Recorded, Thresholds, Window
from util_lib.dataset.columns import Column
from util_lib.errors import UserError
from util_lib.model.monitoring_reference import ModelReference, OwnScore

MINE = "project/model_export:v3"
WEEK = Window("2026-W14", "week", pd.Timestamp("2026-03-30"), pd.Timestamp("2026-04-06"))
COLUMNS = {
    "size": Column(dtype="float", role="numerical", min=-10, max=10),
    "colour": Column(dtype="string", role="categorical", nullable=True, max_null_rate=0.2),
    "note": Column(dtype="string", role="text", nullable=True),
    "customer": Column(dtype="string", role="categorical", monitor="hash"),
}


def table(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    colours = pd.Series(random.choice(["red", "blue"], n), dtype=object)
    return pd.DataFrame(
        {
            "size": random.normal(shift, 1, n),
            "colour": colours.where(random.random(n) > 0.1),
            "note": random.poisson(20, n),
            "customer": random.integers(0, 99, n).astype(str),
        }
    )


def answered(n: int, sure: float = 0.9, role: str = "champion", version: str = MINE) -> Recorded:
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2026-04-01"),
            "request": [f"r{number // 2}" for number in range(n)],
            "row": np.arange(n) % 2,
            "role": role,
            "version": version,
            "share": 1.0,
            "rejected": None,
            "prediction": ["yes", "no"] * (n // 2),
        }
    )
    return Recorded(frame, table(n, seed=1), np.full(n, sure, dtype="float32"))


def reference(**changes: object) -> ModelReference:
    """Half of the answers are sure by 0.9, of which 90 % are right, half by 0.5: 50 %."""
    right = np.arange(1000) % 10 < np.where(np.arange(1000) < 500, 9, 5)
    said = np.array(["yes", "no"] * 500, dtype=object)
    outputs = {
        "prediction": said,
        "confidence": np.where(np.arange(1000) < 500, 0.9, 0.5).astype("float32"),
        "target": np.where(right, said, "other"),
    }
    given = {
        "version": MINE,
        "task": "classification",
        "target": "kind",
        "modes": {name: column.monitored for name, column in COLUMNS.items()},
        "columns": COLUMNS,
        "inputs": table(3000, seed=0).drop(columns="customer"),
        "outputs": pd.DataFrame(outputs),
        "score": OwnScore("accuracy", 0.7, 0.01, 2100, "test"),
    }
    return ModelReference(**(given | changes))


def labels_of(rows: Recorded, n_right: int, when: str = "2026-04-02") -> pd.DataFrame:
    """Of the labels of all rows the first `n_right` are what was answered."""
    right = np.arange(len(rows.frame)) < n_right
    given = rows.frame[["request", "row"]]
    label = np.where(right, rows.frame["prediction"], "other")
    return given.assign(label=label, time=pd.Timestamp(when))


def judged(
    rows: Recorded, labels: pd.DataFrame | None = None, by: ModelReference | None = None, **more
) -> dict[tuple[str, str | None], Judgement]:
    found = judge.window(rows, labels, by or reference(), Thresholds(), WEEK, **more)
    return {(each.test, each.column): each for each in found}


def failed(found: dict[tuple[str, str | None], Judgement]) -> set[tuple[str, str | None]]:
    return {key for key, each in found.items() if each.outcome == "failed"}


def test_rows_as_the_reference_fail_no_test():
    assert failed(judged(answered(1000))) <= {("confidence", None)}  # these are all as sure


def test_a_column_that_moved_is_found_and_named():
    rows = answered(1000)
    rows.inputs["size"] += 0.5
    found = judged(rows)
    assert failed(found) - {("confidence", None)} == {("drift", "size")}
    drift = found["drift", "size"]
    assert drift.effect == pytest.approx(0.197, abs=0.04)  # 2 Φ(0.25) - 1
    assert drift.p_value < drift.alpha and drift.effect >= drift.threshold == 0.05
    assert drift.statistic > drift.high > drift.low == 0
    assert "column 'size' drifts" in drift.reason


def test_a_text_is_compared_by_the_lengths_that_were_kept_and_hashes_not_at_all():
    rows = answered(1000)
    rows.inputs["note"] *= 2
    found = judged(rows)
    assert found["drift", "note"].outcome == "failed"
    assert "text length" in found["drift", "note"].reason
    assert found["drift", "customer"].outcome == "not judged"
    assert "hashes" in found["drift", "customer"].reason
    rows.inputs["note"] = 0
    assert judged(rows)["missing", "note"].outcome == "failed"


def test_each_family_shares_its_chance_of_a_false_alarm_over_tests_and_windows_of_a_year():
    found = judged(answered(1000), labels_of(answered(1000), 700)).values()
    for family in ("inputs", "predictions", "performance"):
        alphas = [each.alpha for each in found if each.family == family and each.alpha]
        shared = 1 - 0.95 ** (1 / (len(alphas) * 52))
        assert alphas == pytest.approx([shared] * len(alphas), rel=1e-9)


def test_shares_of_refused_and_of_forbidden_rows_are_judged():
    rows = answered(1000)
    rows.frame.loc[:199, "rejected"] = "range"
    rows.frame.loc[:199, "prediction"] = None
    rows.inputs.loc[200:299, "size"] = 11.0
    found = judged(rows)
    assert found["rejected", None].outcome == "failed"
    assert found["rejected", None].statistic == pytest.approx(0.2)
    assert found["rules", None].statistic == pytest.approx(100 / 800)
    assert "column 'size' must lie in [-10, 10], 100 of 800" in found["rules", None].reason


def test_more_missing_values_than_declared_fail_whatever_the_reference_had():
    rows = answered(1000)
    rows.inputs["colour"] = rows.inputs["colour"].where(np.arange(1000) % 2 == 0)
    found = judged(rows)["null rate limit", "colour"]
    n_missing = rows.inputs["colour"].isna().sum()
    assert found.outcome == "failed"
    assert found.p_value == pytest.approx(stats.binom.sf(n_missing - 1, 1000, 0.2))


def test_without_a_reference_nothing_is_judged_and_nothing_is_quiet():
    bare = ModelReference(MINE, "classification", "kind")
    found = judge.window(answered(1000), None, bare, Thresholds(), WEEK)
    assert {each.outcome for each in found} == {"not judged"}
    assert judge.states([(WEEK, found)])[0].state == "not judged"


def test_other_classes_and_other_confidence_than_on_validation_rows_fail():
    rows = answered(1000)
    rows.frame["prediction"] = "yes"
    assert {("answers", None), ("confidence", None)} <= failed(judged(rows))


def test_a_score_is_compared_with_the_models_own_whose_error_counts_too():
    rows = answered(1000)
    found = judged(rows, labels_of(rows, 600))["score", None]
    share = (0.7 * 2100 + 1) / 2102
    error = np.sqrt(share * (1 - share) / 1000 + 0.01**2)
    assert found.statistic == pytest.approx(0.6)
    assert found.p_value == pytest.approx(stats.norm.sf(0.1 / error))
    assert found.outcome == "failed" and found.low < 0.7
    better = judged(rows, labels_of(rows, 900))["score", None]
    assert better.outcome == "passed"  # one-sided: better is no alarm


def test_of_two_labels_of_a_row_the_newest_wins_and_the_coverage_is_said():
    rows = answered(1000)
    old, new = labels_of(rows, 0, "2026-04-02"), labels_of(rows, 1000, "2026-04-03")
    both = pd.concat([new.head(400), old])
    found = judged(rows, both)["score", None]
    assert found.statistic == pytest.approx(0.4)
    assert "1,000 of 1,000 answered rows have a label (100.0%)" in found.reason
    few = judged(rows, old.head(99))["score", None]
    assert few.outcome == "not judged"
    assert "99 of 1,000" in few.reason and "at least 100" in few.reason


def test_accuracy_is_estimated_from_how_often_such_answers_were_right():
    found = judged(answered(1000, sure=0.5))["estimated score", None]
    assert found.statistic == pytest.approx(0.5)
    # 1,000 answers that are right or not, by a share that 500 rows have shown
    assert found.error == pytest.approx(np.sqrt(0.25 / 1000 + 0.25 / 500))
    assert found.outcome == "failed" and found.effect == pytest.approx(0.2)
    assert "cannot see a change of the labels' meaning" in found.reason


def test_numbers_are_judged_by_their_errors_and_nothing_is_estimated_of_them():
    random = np.random.default_rng(0)
    truth = random.normal(size=1000)
    outputs = pd.DataFrame({"prediction": truth, "target": truth + random.normal(size=1000)})
    by = reference(
        task="regression", outputs=outputs, score=OwnScore("mae", 0.8, 0.02, 1000, "test")
    )
    rows = answered(1000)
    frame = rows.frame.assign(prediction=truth + 2)
    labels = labels_of(rows, 0).assign(label=truth)
    found = judged(Recorded(frame, rows.inputs), labels, by)
    assert found["score", None].statistic == pytest.approx(2)
    assert {("answers", None), ("score", None)} <= failed(found)
    assert found["estimated score", None].outcome == "not judged"
    assert "confidence" not in {test for test, _ in found}


def test_a_challenger_is_compared_on_the_rows_that_both_answered_and_never_alarms():
    ours = answered(1000)
    theirs = answered(400, role="shadow", version="project/model_export:v4").frame
    theirs.loc[:99, "prediction"] = "other"  # which is right
    both = pd.concat([ours.frame, theirs], ignore_index=True)
    inputs = pd.concat([ours.inputs, ours.inputs.head(400)], ignore_index=True)
    rows = Recorded(both, inputs, np.full(1400, 0.9))
    found = judged(rows, labels_of(ours, 0))["challenger", "project/model_export:v4"]
    assert found.outcome == "passed" and found.n == 400
    assert found.statistic == pytest.approx(0.25)
    assert "answers 75.0% of 400 rows alike" in found.reason
    assert judged(rows)["drift", "size"].n == 1000  # a shadow's rows are the same again


def test_the_request_rate_is_compared_with_the_windows_before_and_sampling_counts():
    rows = answered(336)  # 168 requests in 168 hours
    rows.frame["share"] = 0.1
    assert judged(rows)["request rate", None].outcome == "not judged"
    usual = judged(rows, rates_before=[9.0, 10.0, 11.0, 10.0])["request rate", None]
    assert (usual.outcome, usual.statistic) == ("passed", pytest.approx(10))
    assert failed(judged(rows, rates_before=[21.0] * 4)) >= {("request rate", None)}


@pytest.mark.parametrize("kind", ["hour", "day", "week"])
def test_small_windows_wait_for_the_next_and_open_ones_for_their_end(kind):
    step = {"hour": 1, "day": 24, "week": 168}[kind]
    start = pd.Timestamp("2026-12-28")  # of a week that ends in another year
    times = [start + pd.Timedelta(hours=step * number) for number in range(4)]
    counts = [300, 100, 200, 500]
    moments = pd.Series(np.repeat(np.array(times, dtype="datetime64[us]"), counts))
    names = {
        "hour": ["2026-12-28T00", "2026-12-28T02"],
        "day": ["2026-12-28", "2026-12-30"],
        "week": ["2026-W53", "2027-W02"],
    }[kind]
    end = times[3] + pd.Timedelta(hours=1)
    found = judge.windows(moments, kind, until=end)
    assert [window.name for window in found] == names
    assert [(window.start, window.end, window.n) for window in found] == [
        (times[0], times[1], 300),
        (times[1], times[3], 300),
    ]
    assert judge.windows(moments, kind, until=end - pd.Timedelta(seconds=1)) == found[:1]
    assert judge.windows(moments, kind, until=names[1]) == found
    assert judge.windows(moments, kind, until=end.tz_localize(datetime.UTC)) == found


def test_a_name_that_no_window_can_have_is_refused():
    for name in ("2026-W60", "2026-04-05", "last"):
        with pytest.raises(UserError, match="no name of a week.*2026-W14"):
            judge.windows(pd.Series([WEEK.start]), "week", until=name)


def test_what_fails_is_watched_and_alarms_the_second_time_or_at_once_if_it_is_very_unlikely():
    def one(outcome: str, p: float = 1e-4, test: str = "drift") -> Judgement:
        return Judgement("inputs", test, "size", outcome, "why", p_value=p, alpha=1e-3)

    def said(*weeks: list[Judgement]) -> list[str]:
        return [each.state for each in judge.states([(WEEK, week) for week in weeks])]

    bad, good, none = one("failed"), one("passed"), one("not judged")
    assert said([good], [bad], [bad], [good], [bad]) == [
        "quiet",
        "watch",
        "alarm",
        "quiet",
        "watch",
    ]
    assert said([one("failed", p=9e-6)]) == ["alarm"]
    assert said([bad], [none], [bad]) == ["watch", "not judged", "alarm"]
    assert said([bad], [one("failed", test="missing")]) == ["watch", "watch"]
    new = Window("2026-W15", "week", WEEK.end, WEEK.end + pd.Timedelta(weeks=1), promoted=True)
    states = judge.states([(WEEK, [bad]), (new, [bad]), (WEEK, [bad])])
    assert [each.state for each in states] == ["watch", "not judged", "watch"]
