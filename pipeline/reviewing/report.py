"""What a review found, as Markdown: first what speaks against the change, then all figures."""

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.receipts.differences import STEP, Difference
from pipeline.reviewing.changes import Change
from pipeline.reviewing.measured import Scores
from pipeline.reviewing.side import Side
from pipeline.reviewing.tests import Tests

SHOWN = 12  # digits of a digest
MOST_FILES = 20  # that differ, named
BESIDE = ("_se", "_baseline")  # of a metric: no figures of their own


class Review(NamedTuple):
    """All that was found; `before` and `now` are None where nothing that runs has changed."""

    change: Change
    options: str
    sample: str
    tests: Tests | None
    before: Side | None
    now: Side | None
    touched: dict[str, str]
    measured: list[Scores]
    rows: list[Difference]
    sizes: dict[str, tuple[int | None, int | None]]


def against(review: Review) -> list[str]:
    """Say what speaks against the change; nothing where nothing does."""
    found = []
    if review.now and review.now.failed:
        also = ", and did not before" if review.before and review.before.failed else ""
        found.append(f"the pipeline does not run{also}: {review.now.failed}")
    if review.tests and review.tests.failed:
        found.append(f"tests fail: {review.tests.said}")
    for measured in review.measured:
        for name in measured.fell:
            score = measured.metrics[name]
            found.append(
                f"{name} is worse: {_figure(score['before'])} -> {_figure(score['now'])} on the "
                f"same {measured.rows:,} rows, 95 % interval of the difference {_interval(score)}"
            )
    return found


def as_markdown(review: Review) -> str:
    """Return the report."""
    reasons = against(review)
    verdict = ["**Nothing speaks against it.**"]
    if reasons:
        verdict = ["**Refused:**", "", *(f"- {reason}" for reason in reasons)]
    lines = ["# Review", "", *verdict, "", f"Compared: {review.change.described()}."]
    if review.options:
        lines.append(f"Options: `{review.options}`.")
    if review.sample:
        lines.append(f"Data: {review.sample}.")
    files = review.change.files
    lines += ["", *(f"- `{path}`" for path in files[:MOST_FILES])]
    if len(files) > MOST_FILES:
        lines.append(f"- and {len(files) - MOST_FILES} more")
    if review.before is None or review.now is None:
        nothing = "Only documents differ: no step and no test was run."
        return "\n".join([*lines, "", nothing]) + "\n"
    lines += ["", *_steps(review.before, review.now, review.touched)]
    lines += ["", *_tests(review.tests)]
    for measured in review.measured:
        lines += ["", *_scores(measured)]
    if not review.measured:
        lines += ["", "## Metrics", "", "No step measures a model on test rows on both sides."]
    lines += ["", *_recorded(review.rows)]
    lines += ["", *_artifacts(review.rows, review.sizes)]
    lines += ["", *_cost(review.before, review.now)]
    return "\n".join(lines) + "\n"


def _steps(before: Side, now: Side, touched: dict[str, str]) -> list[str]:
    rows = []
    for name in dict.fromkeys([*before.steps, *now.steps]):
        if name not in now.steps:
            why = "is gone" if not now.failed else "not reached"
        else:
            why = touched.get(name, "-")
        seconds = [
            f"{side.results[name].seconds:.1f}" if name in side.results else "-"
            for side in (before, now)
        ]
        rows.append([name, why, "ran" if name in now.ran else "-", *seconds])
    said = f"Touched: {len(touched)} of {len(now.steps)} steps."
    if before.failed:
        said += f" The base does not run: {before.failed}."
    head = ["step", "touched by", "now", "seconds, base", "seconds, now"]
    return ["## Steps", "", said, "", *_table(head, rows)]


def _tests(tests: Tests | None) -> list[str]:
    if tests is None:
        return ["## Tests", "", "Not run: nothing differs."]
    if tests.why_not:
        return ["## Tests", "", f"Not run: {tests.why_not}."]
    places = ", ".join(f"`{place}`" for place in tests.places)
    return ["## Tests", "", f"{tests.said} ({tests.seconds:.0f} s): {places}"]


def _scores(measured: Scores) -> list[str]:
    title = f"## Metrics of {measured.step} on the same rows"
    if measured.why_not:
        return [title, "", f"Not compared: {measured.why_not}."]
    rows = [
        [
            name,
            _figure(score["before"]),
            _figure(score["now"]),
            _delta(score["now"] - score["before"]),
            _interval(score),
            "**worse**" if score["fell"] else "",
        ]
        for name, score in measured.metrics.items()
    ]
    head = ["metric", "base", "now", "difference", "95 % interval of it", ""]
    said = f"{measured.chosen[0].upper()}{measured.chosen[1:]}: {measured.rows:,}."
    return [title, "", said, "", *_table(head, rows)]


def _recorded(found: list[Difference]) -> list[str]:
    metrics = [row for row in found if not row.name and not row.what.startswith(STEP)]
    shown = [row for row in metrics if not row.what.endswith(BESIDE)]
    differing = [row for row in metrics if not row.same]
    rows = [
        [row.what, row.before or "-", row.now or "-", row.difference or "0" if row.now else "-"]
        for row in shown
        if not row.same
    ]
    said = f"Different: {len(differing)} of {len(metrics)} metrics that the steps recorded"
    if not rows:
        return ["## Recorded", "", f"{said}: all differences are 0." if metrics else f"{said}."]
    return ["## Recorded", "", f"{said}.", "", *_table(["metric", "base", "now", ""], rows)]


def _artifacts(
    found: list[Difference], sizes: dict[str, tuple[int | None, int | None]]
) -> list[str]:
    artifacts = [row for row in found if row.name]
    rows = []
    for row in artifacts:
        old, new = sizes.get(row.name, (None, None))
        digests = [f"`{text[:SHOWN]}`" if text else "-" for text in (row.before, row.now)]
        bytes_now = "-" if new is None else f"{new:,}"
        if old is not None and new is not None and old != new:
            bytes_now += f" ({new - old:+,})"
        what = "same" if row.same else row.difference or "different"
        rows.append([row.name, *digests, bytes_now, what])
    differing = sum(not row.same for row in artifacts)
    said = f"Another digest: {differing} of {len(artifacts)} artifacts."
    head = ["artifact", "base", "now", "bytes", "first difference"]
    return ["## Artifacts", "", said, "", *_table(head, rows)]


def _cost(before: Side, now: Side) -> list[str]:
    rows = [
        [
            name,
            f"{len(side.ran)} of {len(side.steps)}",
            f"{side.ended.cpu:.1f}",
            f"{side.seconds:.1f}",
        ]
        for name, side in (("base", before), ("now", now))
    ]
    said = "What this review took; steps that did not run came from the cache."
    return ["## Cost", "", said, "", *_table(["", "steps that ran", "CPU s", "seconds"], rows)]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


def _interval(score: dict[str, float]) -> str:
    return f"{_delta(score['low'])} to {_delta(score['high'])}"


def _delta(value: float) -> str:
    return "0" if value == 0 else f"{value:+.4g}" if abs(value) >= 1 else f"{value:+.4f}"


def _figure(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
