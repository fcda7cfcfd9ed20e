"""The report as one page of HTML that needs nothing else: no script, no font, no network."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from util_lib.page import Number, Verdict, document, table

N_ROWS = 5  # examples of a finding

STYLE = """
.failed{color:#a3122d;font-weight:600}.passed{color:#1c6b3c}.skipped{color:#6b7380}
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}
"""


def html(report: Mapping[str, Any], plots: Mapping[int, str]) -> str:
    """Return the page; `plots` holds a picture for some of the comparisons, by their place."""
    failed, n = report["n_failed"], report["n_checks"]
    words = f"{failed} of {n} checks failed" if failed else f"all {n} checks passed"
    parts = [
        f'<h1>Data checks</h1><p class="{report["verdict"]}">{words}</p>',
        _about(report),
        "<h2>What is wrong</h2>",
        _findings(report["findings"], "Nothing: the table is as declared."),
        "<h2>Drift</h2>",
        _drift(report, plots),
        "<h2>Leakage</h2>",
        _leaks(report),
        "<h2>All checks</h2>",
        table(
            ("column", "check", "what it asks", "outcome", "what it says"),
            [
                (
                    check["column"] or "(table)",
                    check["rule"],
                    check["asks"],
                    Verdict(check["outcome"]),
                    check["says"],
                )
                for check in report["checks"]
            ],
        ),
    ]
    return document(words, STYLE, parts)


def _about(report: Mapping[str, Any]) -> str:
    rows = []
    for which in ("sample", "reference"):
        about = report[which]
        if about is None:
            rows.append((which, report["drift_not_tested"] or "none"))
        else:
            rows.append(
                (
                    which,
                    f"{about['artifact']}, {about['rows']:,} rows, {about['columns']} columns, "
                    f"digest {about['digest']}",
                )
            )
    settings = ", ".join(f"{name} = {value}" for name, value in report["settings"].items())
    return table(("", ""), [*rows, ("settings", settings)])


def _findings(findings: Iterable[Mapping[str, Any]], nothing: str) -> str:
    rows = [
        (
            finding["column"] or "(table)",
            finding["rule"],
            finding["message"],
            Number("" if finding["count"] is None else f"{finding['count']:,}"),
            _examples(finding["examples"]),
        )
        for finding in findings
    ]
    if not rows:
        return f"<p>{nothing}</p>"
    heads = ("column", "check", "what is wrong", "rows", "the first of them (row: value)")
    return "<p>Rows are counted from 0.</p>" + table(heads, rows)


def _examples(examples: list[Mapping[str, Any]]) -> str:
    shown = [f"{each['row']}: {_value(each['value'])}" for each in examples[:N_ROWS]]
    return ", ".join(shown + (["..."] if len(examples) > N_ROWS else []))


def _value(value: Any) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str) else f"{value}"


def _drift(report: Mapping[str, Any], plots: Mapping[int, str]) -> str:
    if report["drift_not_tested"]:
        return f"<p>{escape(report['drift_not_tested'])}</p>"
    compared = report["drift"]
    order = sorted(range(len(compared)), key=lambda i: not compared[i]["drifted"])
    parts = [
        '<p class="key">Pictures are of what drifted:'
        '<span style="background:#c2374f"></span>sample'
        '<span style="background:#b7bec7"></span>reference</p>'
        if plots
        else "<p>Nothing drifted.</p>"
    ]
    for place in order:
        if place in plots:
            name = f"{compared[place]['column']} ({compared[place]['kind']})"
            caption = f"<figcaption>{escape(name)}</figcaption>"
            parts.append(f"<figure>{caption}{plots[place]}</figure>")
    rows = [
        (
            each["column"],
            each["kind"],
            Number(f"{each['statistic']:.4g}" if each["tested"] else ""),
            Number(f"{each['p']:.3g}" if each["tested"] else ""),
            Number(f"{each['level']:.3g}"),
            Number(f"{each['effect']:.4g}" if each["tested"] else ""),
            Verdict(
                "failed: drift" if each["drifted"] else "passed" if each["tested"] else "skipped"
            ),
            each["sentence"],
        )
        for each in (compared[place] for place in order)
    ]
    heads = ("column", "what", "statistic", "p", "level", "effect", "verdict", "in words")
    return "\n".join(parts) + table(heads, rows)


def _leaks(report: Mapping[str, Any]) -> str:
    if report["settings"]["leakage"] == "off":
        return "<p>Not looked for (data.leakage: off).</p>"
    rows = [
        (
            leak["column"] or "(table)",
            leak["rule"],
            leak["message"],
            ", ".join(
                f"{name} {value if isinstance(value, str) else f'{value:.4g}'}"
                for name, value in leak["strength"].items()
            ),
            Verdict("failed" if leak["fatal"] else "skipped: a warning"),
        )
        for leak in report["leakage"]
    ]
    if not rows:
        return "<p>Nothing found that gives the target away.</p>"
    return table(("column", "how found", "what was found", "strength", ""), rows)
