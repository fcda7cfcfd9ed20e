"""The report as one page of HTML that needs nothing else: no script, no font, no network."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

N_ROWS = 5  # examples of a finding

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1d2430;background:#fff;max-width:1100px;
margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}h2{margin-top:2.2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .7rem .3rem 0;
border-bottom:1px solid #e3e6ea;overflow-wrap:anywhere}
th{font-weight:600}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th.n{text-align:right}
.failed{color:#a3122d;font-weight:600}.passed{color:#1c6b3c}.skipped{color:#6b7380}
figure{display:inline-block;margin:1rem 1.5rem 0 0;vertical-align:top}
figcaption{max-width:460px;font-weight:600}
svg text{font:11px system-ui,sans-serif;fill:#1d2430}
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}
"""


def html(report: Mapping[str, Any], plots: Mapping[int, str]) -> str:
    """Return the page; `plots` holds a picture for some of the comparisons, by their place."""
    failed, n = report["n_failed"], report["n_checks"]
    words = f"{failed} of {n} checks failed" if failed else f"all {n} checks passed"
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{words}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
        f'<h1>Data checks</h1><p class="{report["verdict"]}">{words}</p>',
        _about(report),
        "<h2>What is wrong</h2>",
        _findings(report["findings"], "Nothing: the table is as declared."),
        "<h2>Drift</h2>",
        _drift(report, plots),
        "<h2>Leakage</h2>",
        _leaks(report),
        "<h2>All checks</h2>",
        _table(
            ("column", "check", "what it asks", "outcome", "what it says"),
            [
                (
                    check["column"] or "(table)",
                    check["rule"],
                    check["asks"],
                    _Class(check["outcome"]),
                    check["says"],
                )
                for check in report["checks"]
            ],
        ),
        "</body></html>\n",
    ]
    return "\n".join(parts)


class _Number(str):
    """Text of a number, set to the right."""


class _Class(str):
    """A verdict, coloured by its first word."""


def _about(report: Mapping[str, Any]) -> str:
    rows = []
    for which in ("sample", "reference"):
        table = report[which]
        if table is None:
            rows.append((which, report["drift_not_tested"] or "none"))
        else:
            rows.append(
                (
                    which,
                    f"{table['artifact']}, {table['rows']:,} rows, {table['columns']} columns, "
                    f"digest {table['digest']}",
                )
            )
    settings = ", ".join(f"{name} = {value}" for name, value in report["settings"].items())
    return _table(("", ""), [*rows, ("settings", settings)])


def _findings(findings: Iterable[Mapping[str, Any]], nothing: str) -> str:
    rows = [
        (
            finding["column"] or "(table)",
            finding["rule"],
            finding["message"],
            _Number("" if finding["count"] is None else f"{finding['count']:,}"),
            _examples(finding["examples"]),
        )
        for finding in findings
    ]
    if not rows:
        return f"<p>{nothing}</p>"
    heads = ("column", "check", "what is wrong", "rows", "the first of them (row: value)")
    return "<p>Rows are counted from 0.</p>" + _table(heads, rows)


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
            _Number(f"{each['statistic']:.4g}" if each["tested"] else ""),
            _Number(f"{each['p']:.3g}" if each["tested"] else ""),
            _Number(f"{each['level']:.3g}"),
            _Number(f"{each['effect']:.4g}" if each["tested"] else ""),
            _Class(
                "failed: drift" if each["drifted"] else "passed" if each["tested"] else "skipped"
            ),
            each["sentence"],
        )
        for each in (compared[place] for place in order)
    ]
    heads = ("column", "what", "statistic", "p", "level", "effect", "verdict", "in words")
    return "\n".join(parts) + _table(heads, rows)


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
            _Class("failed" if leak["fatal"] else "skipped: a warning"),
        )
        for leak in report["leakage"]
    ]
    if not rows:
        return "<p>Nothing found that gives the target away.</p>"
    return _table(("column", "how found", "what was found", "strength", ""), rows)


def _table(heads: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    rows = [list(row) for row in rows]
    first = rows[0] if rows else [""] * len(heads)
    parts = ["<table>"]
    if any(heads):
        cells = [
            f"<th{_class(cell)}>{escape(head)}</th>"
            for head, cell in zip(heads, first, strict=True)
        ]
        parts.append(f"<tr>{''.join(cells)}</tr>")
    for row in rows:
        cells = [f"<td{_class(cell)}>{escape(cell)}</td>" for cell in row]
        parts.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*parts, "</table>"])


def _class(cell: str) -> str:
    if isinstance(cell, _Number):
        return ' class="n"'
    return f' class="{cell.partition(":")[0]}"' if isinstance(cell, _Class) else ""
