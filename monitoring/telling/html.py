"""The windows of a model as one page that is readable offline: no script, no font, no network."""

from collections.abc import Iterable, Sequence
from html import escape

from monitoring.judging.records import FAMILIES, Judgement
from monitoring.records.history import Judged, Series
from monitoring.telling import pictures, verdict
from monitoring.telling.pictures import Point
from monitoring.telling.screen import band, name_of, number
from util_lib.page import Number, Verdict, document, table

FILE = "monitoring.html"
MOST_WINDOWS = 60  # drawn; the table lists all
FEW = 6  # quiet tests that are shown at once
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

STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--paper:#fff;--rule:#c9ced6;--line:#3d6299;
--band:#dfe9f5;--now:#5b7db1;--was:#9a6a1f;--alarm:#a3122d;--watch:#7d5000;--quiet:#1c6b3c;
--none:#5a6270}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ec;--paper:#15181d;--rule:#444b56;
--line:#8fb3ea;--band:#26354b;--now:#7fa3da;--was:#d9a44c;--alarm:#ff8a9b;--watch:#e9b85c;
--quiet:#7fd09a;--none:#aab2bf}}
body{color:var(--ink);background:var(--paper)}
th,td{border-bottom-color:var(--rule)}
svg text{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg{max-width:100%;height:auto}figure{max-width:100%;margin-right:.9rem}
figcaption{max-width:340px;overflow-wrap:anywhere}
.wide{overflow-x:auto}.wide table{min-width:46rem}.wide th,.wide td{overflow-wrap:break-word}
.wide th{color:inherit;white-space:nowrap}
summary{cursor:pointer;padding:.6rem 0;font-weight:600}
:focus-visible{outline:3px solid var(--line);outline-offset:2px}
.alarm{color:var(--alarm);fill:var(--alarm);font-weight:600}
.watch{color:var(--watch);fill:var(--watch);font-weight:600}
.quiet{color:var(--quiet);fill:var(--quiet)}
.not,.not_judged{color:var(--none);fill:var(--none)}
.state{font-size:1.25rem}
.axis{stroke:var(--rule);fill:none}.line{fill:none;stroke:var(--line);stroke-width:1.6}
.band{fill:var(--band)}.now{fill:var(--now)}.was{fill:var(--was)}
.before{fill:none;stroke:var(--was);stroke-width:2}
.promoted{stroke:var(--ink);stroke-dasharray:4 3}
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}
"""


def html(series: Series, windows: Sequence[Judged], spoken: Judged) -> str:
    """Return the page; `spoken` is the window that its top is about."""
    drawn = windows[-MOST_WINDOWS:]
    title = f"{series.model} is {spoken.state} in {spoken.window.name}"
    parts = [
        "<main>",
        f"<h1>Monitoring of {escape(series.model)}</h1>",
        f'<p class="state"><strong class="{spoken.state.split()[0]}">{spoken.state}</strong>: '
        f"{WORDS[spoken.state]}.</p>",
        f"<p>{escape(_about(series, spoken))}</p>",
        f"<h2>Unusual in {escape(spoken.window.name)}</h2>",
        _unusual(spoken),
        *_moved(spoken),
        "<h2>Score and labels</h2>",
        *_score(drawn),
        "<h2>Every test over time</h2>",
        _key(drawn),
        *_families(drawn),
        "<h2>All windows</h2>",
        _wide("All windows", _windows(windows)),
        "</main>",
    ]
    return document(title, STYLE, parts)


def _about(series: Series, spoken: Judged) -> str:
    window = spoken.window
    promoted = " It is the first window of this version." if window.promoted else ""
    return (
        f"Project {series.project}, version {spoken.version}: {window.n:,} rows from "
        f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC, "
        f"{spoken.labelled:,} of them with a label.{promoted}"
    )


def _unusual(spoken: Judged) -> str:
    rows = [
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
    silent = _silent(spoken)
    if not rows:
        return f"<p>Nothing.</p>{silent}"
    heads = ("state", "of", "test", "measured", "unremarkable", "rows", "what it says")
    return _wide("What is unusual", table(heads, rows)) + silent


def _silent(spoken: Judged) -> str:
    reasons: dict[str, list[str]] = {}
    for test in spoken.tests:
        if test.outcome == "not judged":
            reasons.setdefault(test.reason, []).append(name_of(test))
    if not reasons:
        return ""
    rows = [(", ".join(names), reason) for reason, names in reasons.items()]
    n = sum(map(len, reasons.values()))
    return (
        f"<details><summary>{n} tests could not be judged</summary>"
        f"{_wide('Tests not judged', table(('test', 'why'), rows))}</details>"
    )


def _moved(spoken: Judged) -> list[str]:
    if not spoken.shapes:
        return []
    parts = [
        "<h2>What moved</h2>",
        '<p class="key">Shares of rows:<span class="now" style="background:var(--now)"></span>in '
        f"{escape(spoken.window.name)}"
        '<span style="background:var(--was)"></span>in the reference; the outer bars hold all that '
        "lies beyond.</p>",
    ]
    for (_, test, column), shapes in spoken.shapes.items():
        name = column if column is not None else test
        parts.append(
            _figure(name, pictures.distributions(shapes, f"{name}, now and in the reference"))
        )
    return parts


def _score(drawn: Sequence[Judged]) -> list[str]:
    scores = [verdict.performance(judged) for judged in drawn]
    coverage = [verdict.coverage(judged) for judged in drawn]
    parts = []
    if any(test is not None and test.statistic is not None for test in scores):
        points = [_point(judged, test) for judged, test in zip(drawn, scores, strict=True)]
        picture = pictures.over_time(drawn, points, "score by labels")
        parts.append(_figure("score by labels", picture))
    if any(coverage):
        parts.append(_figure("share of rows with a label", pictures.coverage(drawn, coverage)))
    return parts or [
        "<p>No labels yet: <code>mlflow run monitoring -e labels -P labels=FILE</code> loads "
        "them.</p>"
    ]


def _key(drawn: Sequence[Judged]) -> str:
    words = "A line for each test; the band behind it is where it is unremarkable."
    if any(judged.window.promoted for judged in drawn):
        words += " Dashed: another version began to answer."
    return f"<p>{words}</p>"


def _families(drawn: Sequence[Judged]) -> list[str]:
    parts, last = [], drawn[-1]
    for family in FAMILIES:
        tests = {
            test.key: test
            for judged in drawn
            for test in judged.tests
            if test.family == family and test.statistic is not None
        }
        if not tests:
            continue
        ordered = _ordered(last, tests.values())
        worst = [t for t in ordered if last.test_states.get(t.key) in ("alarm", "watch")]
        parts.append(f"<h3>{escape(FAMILY[family])}</h3>")
        parts += [_line(drawn, test) for test in worst]
        if calm := [test for test in ordered if test not in worst]:
            is_open = not worst and len(calm) <= FEW
            parts.append(
                f"<details{' open' if is_open else ''}><summary>{len(calm)} quiet or not judged in "
                f"{escape(last.window.name)}</summary>"
            )
            parts += [*(_line(drawn, test) for test in calm), "</details>"]
    return parts


def _line(drawn: Sequence[Judged], test: Judgement) -> str:
    found = [{each.key: each for each in judged.tests}.get(test.key) for judged in drawn]
    points = [_point(judged, each) for judged, each in zip(drawn, found, strict=True)]
    state = drawn[-1].test_states.get(test.key, "not judged")
    last = next((point for point in reversed(points) if point.value is not None), None)
    words = f"{name_of(test)}, {len(points)} windows; last {number(last.value) if last else ''}"
    picture = pictures.over_time(drawn, points, f"{words}, {state}")
    return _figure(f"{name_of(test)}: {state}", picture)


def _point(judged: Judged, test: Judgement | None) -> Point:
    if test is None:
        return Point(None, None, None, "not judged", "")
    state = judged.test_states.get(test.key, "not judged")
    words = f"{judged.window.name}: {number(test.statistic)} ({state}); {test.reason}"
    return Point(test.statistic, test.low, test.high, state, words)


def _windows(windows: Sequence[Judged]) -> str:
    heads = ("window", "state", "version", "rows", "labels", "score", "alarms", "watched")
    rows = []
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
    return table(heads, rows)


def _ordered(judged: Judged, tests: Iterable[Judgement]) -> list[Judgement]:
    states = judged.test_states
    return sorted(tests, key=lambda test: ORDER.index(states.get(test.key, "not judged")))


def _figure(caption: str, picture: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{picture}</figure>"


def _wide(name: str, content: str) -> str:
    """Return what may be wider than a phone: it can be moved by keyboard too."""
    return (
        f'<div class="wide" role="region" aria-label="{escape(name)}" tabindex="0">{content}</div>'
    )
