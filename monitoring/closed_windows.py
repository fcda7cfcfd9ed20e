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


def came_after(log: Log, last: Judged) -> int:
    """Return how many rows of the newest judged window are not those that were judged."""
    times = rows.times(log.files, log.series.model, last.window.start)
    return int((times < last.window.end.to_datetime64()).sum()) - last.window.n


def waiting(log: Log, done: list[Judged]) -> list[Judged]:
    """Return judged windows whose performance is open, and for which enough labels came since."""
    newest = given_labels.newest(log.folder, log.series.project)
    found = []
    for each in done:
        if each.labels < newest and any(map(_is_open, each.tests)):
            labels = _labels(log, each.window)
            n = 0 if labels is None else len(labels)
            if n != each.labelled and n >= log.thresholds.min_labels:
                found.append(each)
    return found


def judged(
    log: Log, done: list[Judged], fresh: list[Window], late: list[Judged], run: Any
) -> tuple[list[Judged], list[str]]:
    """Return all windows with those that are judged now, and the names of these."""
    told, known = [], {each.window.name: each for each in done}
    with _references(run) as reference_of:
        for before in late:
            known[before.window.name] = _with_labels(log, before, reference_of)
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


def _with_labels(log: Log, before: Judged, reference_of: Any) -> Judged:
    """Return a window with what its labels say of tests that are open."""
    window, labels = before.window, _labels(log, before.window)
    recorded, about = rows.read(log.files, log.series.model, window.start, window.end)
    found = judge.window(recorded, labels, reference_of(about), log.thresholds, window)
    now = {test.key: test for test in found if test.family == PERFORMANCE}
    return replace(
        before,
        tests=[now.get(test.key, test) if _is_open(test) else test for test in before.tests],
        labelled=0 if labels is None else len(labels),
        labels=given_labels.newest(log.folder, log.series.project),
    )


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
