"""Pages of HTML that need nothing else: no script, no font, no network.

Each is a template beside the code that fills it in. All have the frame `page.html`, the style
`page.css` and the parts `page.parts.html`, and whatever is put into them is escaped.
"""

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE = Path(__file__).with_suffix(".css")
SMALLEST_P = 0.0001  # smaller ones are written so


class Number(str):
    """Text of a number, set to the right."""


class Verdict(str):
    """A verdict, whose first word is its class in the style."""


def render(folder: Path, template: str, **values: Any) -> str:
    """Return the page that a template of `folder` makes of `values`."""
    return _environment(folder).get_template(template).render(**values)


def p_value(p: float) -> Number:
    """Write the chance of a test."""
    return Number(f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.2g}")


@functools.cache
def _environment(folder: Path) -> "Environment":
    import jinja2  # slow, and many import this module who write no page

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["css"] = _class
    found.filters["breakable"] = _breakable
    return found


def _breakable(words: str) -> Any:
    """Let a long name be broken where its parts meet, and nowhere else."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/_.:])", r"\1<wbr>", str(escape(words))))


def _class(cell: Any) -> str:
    if isinstance(cell, Number):
        return "n"
    first = re.match(r"\w+", cell) if isinstance(cell, Verdict) else None
    return first[0] if first else ""
