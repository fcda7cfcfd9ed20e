"""The windows of a model as one page that is readable offline: no script, no font, no network."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from monitoring.judging.records import FAMILIES, Judgement
from monitoring.records.history import Judged, Series
from monitoring.telling import pictures, verdict
from monitoring.telling.pictures import Point
from monitoring.telling.screen import band, name_of
from util_lib.pages.page import Number, Verdict, render
from util_lib.pages.pictures import distributions, number

FILE = "monitoring.html"
MOST_WINDOWS = 60  # drawn; the table lists all
Drawn = tuple[str, str]  # a caption and its picture
ORDER = ("alarm", "watch", "quiet", "not judged")
WORDS = {
    "alarm": "something has changed, in two windows running or far beyond chance",
    "watch": "something looks changed; the next window tells whether it is",
    "quiet": "nothing has changed beyond chance",
    "not judged": "nothing could be judged",
}
FAMILY = {
    "inputs": "Inputs: what the model is asked about, against its training rows",
    "predictions": "Predictions: what it answers, against its answers to rows it had not seen",
    "performance": "Performance: by labels, and estimated without",
    "traffic": "Traffic: how much it is asked",
}


def html(series: Series, windows: Sequence[Judged], spoken: Judged) -> str:
    """Return the page; `spoken` is the window that its top is about."""
    drawn = windows[-MOST_WINDOWS:]
    return render(
        Path(__file__).parent,
        "monitoring.html",
        title=f"{series.model} is {spoken.state} in {spoken.window.name}",
        model=series.model,
        spoken=spoken,
        meaning=WORDS[spoken.state],
        about=_about(series, spoken),
        unusual=_unusual(spoken),
        silent=_silent(spoken),
        moved=_moved(spoken),
        scores=_score(drawn),
        promoted=any(judged.window.promoted for judged in drawn),
        families=[*_families(drawn)],
        last=drawn[-1].window.name,
        windows=_windows(windows),
    )


def _about(series: Series, spoken: Judged) -> str:
    window = spoken.window
    promoted = " It is the first window of this version." if window.promoted else ""
    return (
        f"Project {series.project}, version {spoken.version}: {window.n:,} rows from "
        f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC, "
        f"{spoken.labelled:,} of them with a label.{promoted}"
    )


def _unusual(spoken: Judged) -> list[tuple[str, ...]]:
    return [
        (
            Verdict(spoken.test_states.get(test.key, "not judged")),
            test.family,
            name_of(test),
            Number(number(test.statistic)),
            band(test),
            Number(f"{test.n:,}"),
            test.reason,
        )
        for test in _ordered(spoken, (t for t in spoken.tests if t.outcome == "failed"))
    ]


def _silent(spoken: Judged) -> list[tuple[str, str]]:
    """Return why tests could not be judged, each reason once, with their names."""
    reasons: dict[str, list[str]] = {}
    for test in spoken.tests:
        if test.outcome == "not judged":
            reasons.setdefault(test.reason, []).append(name_of(test))
    return [(", ".join(names), reason) for reason, names in reasons.items()]


def _moved(spoken: Judged) -> list[Drawn]:
    named = [(test if name is None else name, s) for (_, test, name), s in spoken.shapes.items()]
    return [(name, distributions(s, f"{name}, now and in the reference")) for name, s in named]


def _score(drawn: Sequence[Judged]) -> list[Drawn]:
    scores = [verdict.performance(judged) for judged in drawn]
    coverage = [verdict.coverage(judged) for judged in drawn]
    found = []
    if any(test is not None and test.statistic is not None for test in scores):
        points = [_point(judged, test) for judged, test in zip(drawn, scores, strict=True)]
        found.append(("score by labels", pictures.over_time(drawn, points, "score by labels")))
    if any(coverage):
        found.append(("share of rows with a label", pictures.coverage(drawn, coverage)))
    return found


def _families(drawn: Sequence[Judged]) -> Iterator[tuple[str, list[Drawn], list[Drawn]]]:
    """Give what each family is about, its pictures of what is unusual now, and of the rest."""
    last = drawn[-1]
    for family in FAMILIES:
        tests = {
            test.key: test
            for judged in drawn
            for test in judged.tests
            if test.family == family and test.statistic is not None
        }
        ordered = _ordered(last, tests.values())
        worst = [t for t in ordered if last.test_states.get(t.key) in ("alarm", "watch")]
        calm = [_line(drawn, test) for test in ordered if test not in worst]
        if tests:
            yield FAMILY[family], [_line(drawn, test) for test in worst], calm


def _line(drawn: Sequence[Judged], test: Judgement) -> Drawn:
    found = [{each.key: each for each in judged.tests}.get(test.key) for judged in drawn]
    points = [_point(judged, each) for judged, each in zip(drawn, found, strict=True)]
    state = drawn[-1].test_states.get(test.key, "not judged")
    last = next((point for point in reversed(points) if point.value is not None), None)
    words = f"{name_of(test)}, {len(points)} windows; last {number(last.value) if last else ''}"
    picture = pictures.over_time(drawn, points, f"{words}, {state}")
    return f"{name_of(test)}: {state}", picture


def _point(judged: Judged, test: Judgement | None) -> Point:
    if test is None:
        return Point(None, None, None, "not judged", "")
    state = judged.test_states.get(test.key, "not judged")
    words = f"{judged.window.name}: {number(test.statistic)} ({state}); {test.reason}"
    return Point(test.statistic, test.low, test.high, state, words)


def _windows(windows: Sequence[Judged]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for judged in reversed(windows):
        named = {
            state: ", ".join(name_of(t) for t in judged.tests if judged.test_states[t.key] == state)
            for state in ("alarm", "watch")
        }
        version = f"{judged.version} (new)" if judged.window.promoted else judged.version
        rows.append(
            (
                *(judged.window.name, Verdict(judged.state), version),
                *(Number(f"{judged.window.n:,}"), Number(f"{judged.labelled:,}")),
                *(Number(number(verdict.score(judged))), named["alarm"], named["watch"]),
            )
        )
    return rows


def _ordered(judged: Judged, tests: Iterable[Judgement]) -> list[Judgement]:
    states = judged.test_states
    return sorted(tests, key=lambda test: ORDER.index(states.get(test.key, "not judged")))
