"""The windows that are over: each is judged once, and its performance when its labels are there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from monitoring.judging import judge, windows
from monitoring.judging.records import Judgement, Thresholds, Window
from monitoring.records import given_labels, references, rows
from monitoring.records.history import Judged, Series, with_states
from monitoring.records.rows import RowFile
from monitoring.records.shapes import shapes_of

PERFORMANCE = "performance"


class Log(NamedTuple):
    """Where the rows of a series are, and by what they are judged."""

    folder: Path
    series: Series
    files: list[RowFile]
    thresholds: Thresholds


def new(log: Log, done: list[Judged], until: str | None) -> list[Window]:
    """Return the windows that are over and not judged yet, oldest first."""
    since = done[-1].window.end if done else rows.BEGINNING
    times = rows.times(log.files, log.series.model, since)
    end = until or pd.Timestamp.now("UTC")
    return windows.windows(times, log.series.kind, end) if len(times) else []


def waiting(log: Log, done: list[Judged]) -> list[Judged]:
    """Return judged windows of whose performance something is open, and labels came since."""
    newest = given_labels.newest(log.folder, log.series.project)
    return [each for each in done if each.labels < newest and any(map(_is_open, each.tests))]


def judged(
    log: Log, done: list[Judged], fresh: list[Window], late: list[Judged], run: Any
) -> tuple[list[Judged], list[str]]:
    """Return all windows with those that are judged now, and the names of these."""
    told, known = [], {each.window.name: each for each in done}
    with _references(run) as reference_of:
        for before in late:
            after = _with_labels(log, before, reference_of)
            if after is not None:
                known[before.window.name] = after
                if after.tests != before.tests:
                    told.append(before.window.name)
        for window in fresh:
            earlier = [*known.values()]
            known[window.name] = _judge(log, window, earlier, reference_of)
            told.append(window.name)
    return with_states([*known.values()]), told


def _judge(log: Log, window: Window, earlier: list[Judged], reference_of: Any) -> Judged:
    recorded, about = rows.read(log.files, log.series.model, window.start, window.end)
    promoted = bool(earlier) and earlier[-1].version != about.version
    window = replace(window, promoted=promoted)
    reference = reference_of(about)
    labels = _labels(log, window)
    rates = [each.rate for each in earlier]
    tests = judge.window(recorded, labels, reference, log.thresholds, window, rates)
    rate = next((test.statistic for test in tests if test.family == "traffic"), None)
    return Judged(
        window=window,
        version=about.version,
        tests=tests,
        rate=rate or 0.0,
        labelled=0 if labels is None else len(labels),
        labels=given_labels.newest(log.folder, log.series.project),
        shapes=shapes_of(tests, recorded, reference),
    )


def _with_labels(log: Log, before: Judged, reference_of: Any) -> Judged | None:
    """Return a window with what its labels say of tests that are open; None without its rows."""
    labels = _labels(log, before.window)
    seen = given_labels.newest(log.folder, log.series.project)
    if labels is None or len(labels) == before.labelled:
        return replace(before, labels=seen)
    recorded, about = rows.read(log.files, log.series.model, before.window.start, before.window.end)
    found = judge.window(recorded, labels, reference_of(about), log.thresholds, before.window, [])
    now = {test.key: test for test in found if test.family == PERFORMANCE}
    tests = [now.get(test.key, test) if _is_open(test) else test for test in before.tests]
    tests += [test for key, test in now.items() if key not in {t.key for t in before.tests}]
    return replace(before, tests=tests, labelled=len(labels), labels=seen)


def _labels(log: Log, window: Window) -> pd.DataFrame | None:
    project = log.series.project
    return given_labels.of_window(log.folder, project, log.files, window.start, window.end)


def _is_open(test: Judgement) -> bool:
    return test.family == PERFORMANCE and test.outcome == "not judged"


@contextmanager
def _references(run: Any) -> Iterator[Any]:
    """Give a function that returns the reference of a version, each fetched once."""
    known: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as tmp:

        def of(about: Any) -> Any:
            if about.version not in known:
                known[about.version] = references.of(about, run, Path(tmp))
            return known[about.version]

        yield of
