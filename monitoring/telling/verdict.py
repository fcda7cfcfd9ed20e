"""What is to be known of the last window, for programs: one JSON object."""

import datetime
import re
from typing import Any

from monitoring.judging.records import Judgement
from monitoring.records.given_labels import STAMP
from monitoring.records.history import Judged, Series
from util_lib.tables import column_values

FILE = "verdict.json"
LATE = datetime.timedelta(hours=1)  # after its end a window is closed
CODES = {"alarm": 3}  # exit codes of states; 0 of all others


def of(series: Series, windows: list[Judged], judged: Judged) -> dict[str, Any]:
    """Return the verdict on one of the windows.

    Labels come later: `labelled` is about the newest window of the same version that has a score.
    `as_of` is the moment from which it could be judged so: when the window closed, or when the
    newest labels came that were looked at.
    """
    window, labelled = judged.window, _newest_with_score(windows, judged)
    test = performance(labelled)
    return column_values.plain(
        {
            "project": series.project,
            "window": window.name,
            "state": judged.state,
            "model": series.model,
            "version": judged.version,
            "rows": window.n,
            "alarms": _listed(judged, "alarm"),
            "watched": _listed(judged, "watch"),
            "not_judged": sum(test.outcome == "not judged" for test in judged.tests),
            "labelled": {
                "window": labelled.window.name,
                "score": score(labelled),
                "n": labelled.labelled if test is None else test.n,
                "coverage": coverage(labelled),
                "others": _others(labelled),
            },
            "as_of": _moment(judged).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def told(judged: list[Judged], names: list[str]) -> Judged:
    """Return the window to speak of: the last that alarms among those judged now, else the last."""
    alarming = [each for each in judged if each.window.name in names and each.state == "alarm"]
    return [*judged[-1:], *alarming][-1]


def score(judged: Judged) -> float | None:
    """Return what the model reached by the labels of a window, where there are enough."""
    test = performance(judged)
    return None if test is None else test.statistic


def performance(judged: Judged) -> Judgement | None:
    """Return the test of the model's score by labels."""
    return next((test for test in judged.tests if is_by_labels(test)), None)


def is_by_labels(test: Judgement) -> bool:
    """Say whether a test is that of the model's own score by labels."""
    return test.family == "performance" and test.test == "score"


def coverage(judged: Judged) -> float:
    """Return the share of a window's rows that have a label."""
    return judged.labelled / judged.window.n if judged.window.n else 0.0


def step(window: str) -> int:
    """Return a window's number in series of metrics: 202614 of 2026-W14, 20260405 of 2026-04-05."""
    return int(re.sub(r"\D", "", window))


def metrics(judged: Judged) -> dict[str, float]:
    """Return what a window gives to series of metrics: the statistic of each test, by its name."""
    found = {
        "/".join(filter(None, test.key)): test.statistic
        for test in judged.tests
        if test.statistic is not None
    }
    found |= {"rows": float(judged.window.n), "label_coverage": coverage(judged)}
    return found | {"alarms": float(sum(s == "alarm" for s in judged.test_states.values()))}


def _listed(judged: Judged, state: str) -> list[dict[str, Any]]:
    return [
        {"family": t.family, "test": t.test, "column": t.column, "reason": t.reason}
        for t in judged.tests
        if judged.test_states.get(t.key) == state
    ]


def _newest_with_score(windows: list[Judged], judged: Judged) -> Judged:
    """Return the newest window in which this version has a score, `judged` itself if none has."""
    mine = [each for each in windows if each.version == judged.version and score(each) is not None]
    return mine[-1] if mine else judged


def _others(judged: Judged) -> list[dict[str, Any]]:
    """Return what labels say of versions that answered the same rows: their gain, 95 % interval."""
    return [
        {
            "version": test.column,
            "gain": test.statistic,
            "low": test.statistic - test.high,
            "high": test.statistic + test.high,
        }
        for test in judged.tests
        if test.test == "challenger" and test.statistic is not None and test.high is not None
    ]


def _moment(judged: Judged) -> datetime.datetime:
    closed = judged.window.end.to_pydatetime() + LATE
    if not judged.labelled:
        return closed
    loaded = datetime.datetime.strptime(judged.labels.partition("-")[0], STAMP)
    return max(closed, loaded)
