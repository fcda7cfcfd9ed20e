"""Parts of a page of HTML that needs nothing else: no script, no font, no network."""

import re
from collections.abc import Iterable
from html import escape

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1d2430;background:#fff;max-width:1100px;
margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}h2{margin-top:2.2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .7rem .3rem 0;
border-bottom:1px solid #e3e6ea;overflow-wrap:anywhere}
th{font-weight:600}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th.n{text-align:right}
figure{display:inline-block;margin:1rem 1.5rem 0 0;vertical-align:top}
figcaption{max-width:460px;font-weight:600}
svg text{font:11px system-ui,sans-serif;fill:#1d2430}
"""


class Number(str):
    """Text of a number, set to the right."""


class Verdict(str):
    """A verdict, whose first word is its class in the style."""


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """Return the page; `style` is added to `STYLE`, `parts` are HTML."""
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}{style}</style>'
        "</head><body>"
    )
    return "\n".join([head, *parts, "</body></html>\n"])


def table(heads: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of texts, without a row of heads where all of them are empty."""
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


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Return a text of a picture; letters that cannot be shown become a mark."""
    words = escape("".join(letter if letter.isprintable() else "\ufffd" for letter in words))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def svg(parts: Iterable[str], width: int, height: int, title: str) -> str:
    """Return a picture of `width` by `height` pixels; `title` is read out for those who listen."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _class(cell: str) -> str:
    if isinstance(cell, Number):
        return ' class="n"'
    first = re.match(r"\w+", cell)
    return f' class="{first[0]}"' if first and isinstance(cell, Verdict) else ""
