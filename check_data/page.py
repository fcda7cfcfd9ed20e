"""The report as one page of HTML that needs nothing else."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from util_lib.pages.page import Number, Verdict, p_value, render

N_ROWS = 5  # examples of a finding


def html(report: Mapping[str, Any], plots: Mapping[int, str]) -> str:
    """Return the page; `plots` holds a picture for some of the comparisons, by their place."""
    failed, n = report["n_failed"], report["n_checks"]
    compared = report["drift"]
    order = sorted(range(len(compared)), key=lambda i: not compared[i]["drifted"])
    checks = {
        outcome: [each for each in report["checks"] if each["outcome"] == outcome]
        for outcome in ("failed", "passed", "skipped")
    }
    return render(
        Path(__file__).parent,
        "report.html",
        title=f"{failed} of {n} checks failed" if failed else f"all {n} checks passed",
        report=report,
        about=_about(report),
        wrong=_wrong(report["findings"], checks["failed"]),
        pictures=[
            (f"{compared[i]['column']} ({compared[i]['kind']})", plots[i])
            for i in order
            if i in plots
        ],
        compared=[_comparison(compared[i]) for i in order],
        leaks=[_leak(leak) for leak in report["leakage"]],
        checks={outcome: [_check(each) for each in some] for outcome, some in checks.items()},
    )


def _about(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for which in ("sample", "reference"):
        about = report[which]
        told = report["drift_not_tested"] or "none"
        if about is not None:
            told = (
                f"{about['artifact']}, {about['rows']:,} rows, {about['columns']} columns, "
                f"digest {about['digest']}"
            )
        rows.append((which, told))
    settings = ", ".join(f"{name} = {value}" for name, value in report["settings"].items())
    return [*rows, ("settings", settings)]


def _wrong(
    findings: Iterable[Mapping[str, Any]], failed: Iterable[Mapping[str, Any]]
) -> list[tuple[str, ...]]:
    """Return a row for each finding, and for each check that failed by something else."""
    rows = [
        (
            _where(found),
            found["rule"],
            found["message"],
            Number("" if found["count"] is None else f"{found['count']:,}"),
            _examples(found["examples"]),
        )
        for found in findings
    ]
    told = {row[:2] for row in rows}
    others = [(_where(check), check["rule"], check["says"], Number(""), "") for check in failed]
    return rows + [row for row in others if row[:2] not in told]


def _examples(examples: list[Mapping[str, Any]]) -> str:
    shown = [f"{each['row']}: {_value(each['value'])}" for each in examples[:N_ROWS]]
    return ", ".join(shown + (["..."] if len(examples) > N_ROWS else []))


def _value(value: Any) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str) else f"{value}"


def _where(about: Mapping[str, Any]) -> str:
    return about["column"] or "(table)"


def _comparison(each: Mapping[str, Any]) -> tuple[str, ...]:
    tested = each["tested"]
    return (
        each["column"],
        each["kind"],
        Verdict("failed: drift" if each["drifted"] else "passed" if tested else "skipped"),
        Number(f"{each['statistic']:.4g}" if tested else ""),
        p_value(each["p"]) if tested else Number(""),
        Number(f"{each['level']:.3g}"),
        Number(f"{each['effect']:.4g}" if tested else ""),
        each["sentence"],
    )


def _leak(leak: Mapping[str, Any]) -> tuple[str, ...]:
    strength = ", ".join(
        f"{name} {value if isinstance(value, str) else f'{value:.4g}'}"
        for name, value in leak["strength"].items()
    )
    verdict = Verdict("failed" if leak["fatal"] else "warning")
    return _where(leak), leak["rule"], verdict, leak["message"], strength


def _check(check: Mapping[str, Any]) -> tuple[str, ...]:
    says = check["says"]
    return _where(check), check["rule"], Verdict(check["outcome"]), check["asks"], says
