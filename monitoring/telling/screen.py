"""A window as a table on the screen."""

from collections import Counter

from monitoring.judging.records import FAMILIES, Judgement
from monitoring.records.history import Judged, Series
from monitoring.telling import verdict
from util_lib.pages.pictures import number

HEAD = ("test", "state", "now", "unremarkable", "rows", "what it says")
NO_LETTERS = {code: "\ufffd" for code in (*range(32), *range(127, 160))}


def as_text(series: Series, judged: Judged) -> str:
    """Return the state of a window, what is unusual in it, and how many tests there were."""
    window = judged.window
    parts = [
        f"{series.project}, {judged.version}: {window.name} ({window.start:%Y-%m-%d %H:%M} to "
        f"{window.end:%Y-%m-%d %H:%M} UTC, {window.n:,} rows) is "
        f"{judged.state.upper() if judged.state == 'alarm' else judged.state}"
    ]
    if window.promoted:
        parts.append("the first window of this version: nothing is judged against the one before")
    unusual = [test for test in judged.tests if test.outcome == "failed"]
    if unusual:
        parts += ["", *_table([HEAD, *(_line(judged, test) for test in unusual)])]
    parts.append("")
    for family in FAMILIES:
        parts.append(f"{family:12} {_count(judged, family)}")
    labels = f"{judged.labelled:,} of {window.n:,} rows ({verdict.coverage(judged):.0%})"
    if (score := verdict.performance(judged)) and score.statistic is not None:
        labels += f", {score.reason}"
    return "\n".join([*parts, f"{'labels':12} {labels}"]).translate(NO_LETTERS | {10: 10})


def name_of(test: Judgement) -> str:
    """Return what a test is called: what it tests, and of which column."""
    return test.test if test.column is None else f"{test.column}: {test.test}"


def band(test: Judgement) -> str:
    """Return the band in which a statistic is unremarkable."""
    if test.low is None and test.high is None:
        return ""
    if test.low is None or test.high is None:
        return f"to {number(test.high)}" if test.low is None else f"from {number(test.low)}"
    return f"{number(test.low)} to {number(test.high)}"


def _line(judged: Judged, test: Judgement) -> tuple[str, ...]:
    state = judged.test_states.get(test.key, "not judged")
    values = number(test.statistic), band(test), f"{test.n:,}"
    return name_of(test), state, *values, test.reason


def _count(judged: Judged, family: str) -> str:
    tests = [test for test in judged.tests if test.family == family]
    count = Counter(test.outcome for test in tests)
    words = [f"{count[outcome]} {outcome}" for outcome in ("passed", "failed") if count[outcome]]
    if count["not judged"]:
        reasons = Counter(test.reason for test in tests if test.outcome == "not judged")
        reason, n = reasons.most_common(1)[0]
        others = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
        words.append(f"{count['not judged']} not judged ({reason}{others})")
    return ", ".join(words) or "no tests"


def _table(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD) - 1)]
    return [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    ]
