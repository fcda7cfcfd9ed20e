"""Small pictures as SVG text; colours are classes of `page.css`, so that they suit a dark screen.

Drawn by hand, for a plotting library costs more than all else on a page (docs/decisions.md).
"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 16, 28
BAR, LABEL, SHARES = 16, 120, 105  # of bars: height, room for their names, and for their shares
SHORT = 18  # characters of a name
LONG, LONG_LABEL = 24, 160  # where it is all that is said


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    """Return a text of a picture; letters that cannot be shown become a mark."""
    words = escape("".join(letter if letter.isprintable() else "\ufffd" for letter in words))
    chosen = f' class="{kind}"' if kind else ""
    return f'<text{chosen} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def svg(parts: Iterable[str], width: float, height: float, title: str) -> str:
    """Return a picture of `width` by `height` pixels; `title` is read out for those who listen."""
    title = escape(title)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{title}"><title>{title}</title>{"".join(parts)}</svg>'
    )


def short(words: str, length: int = SHORT) -> str:
    """Return a name cut to a length."""
    return words if len(words) <= length else f"{words[: length - 1]}…"


def number(value: float | str | None) -> str:
    """Return a number as people read it; a text, as dates are, stays."""
    if not isinstance(value, int | float):
        return value or ""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def distributions(shapes: dict[str, Any], title: str, unit: str = "") -> str:
    """Draw two distributions (`checks.shapes`): bars for now, an outline or thin bars for before.

    The outer bars hold all that lies beyond them.
    """
    return _of_values(shapes, title) if shapes["kind"] == "values" else _bars(shapes, title, unit)


def _bars(shapes: dict[str, Any], title: str, unit: str) -> str:
    most = max([*shapes["now"], *shapes["before"], 1e-9])
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    floor, step = HEIGHT - BOTTOM, width / max(1, len(shapes["now"]))
    parts = []
    outline = [f"{LEFT},{floor}"]
    for i, (now, before) in enumerate(zip(shapes["now"], shapes["before"], strict=True)):
        x, y, top = LEFT + i * step, floor - height * now / most, floor - height * before / most
        parts.append(
            f'<rect class="now" x="{x + 0.5:.1f}" y="{y:.1f}" width="{step - 1:.1f}" '
            f'height="{floor - y:.1f}"/>'
        )
        outline += [f"{x:.1f},{top:.1f}", f"{x + step:.1f},{top:.1f}"]
    outline.append(f"{LEFT + width},{floor}")
    parts.append(f'<polyline class="before" points="{" ".join(outline)}"/>')
    parts.append(f'<path class="axis" d="M{LEFT},{TOP}V{floor}H{WIDTH - RIGHT}"/>')
    parts.append(text(LEFT - 5, TOP + 8, f"{most:.2g}" if most < 0.01 else f"{most:.0%}", "end"))
    edges = shapes["edges"]
    for place, anchor in ((0, "start"), (len(edges) // 2, "middle"), (len(edges) - 1, "end")):
        if edges:
            words = number(edges[place]) + (f" {unit}" if unit and anchor == "end" else "")
            parts.append(text(LEFT + place * step, floor + 16, words, anchor))
    return svg(parts, WIDTH, HEIGHT, title)


def _of_values(shapes: dict[str, Any], title: str) -> str:
    parts, room = [], WIDTH - LABEL - SHARES
    most = max([*shapes["now"], *shapes["before"], 1e-9])
    for row, name in enumerate(shapes["names"]):
        y = 6 + row * (BAR + 8)
        now, before = shapes["now"][row], shapes["before"][row]
        parts.append(text(LABEL - 6, y + BAR / 2 + 4, short(name), "end"))
        for kind, share, at in (("now", now, y), ("was", before, y + BAR / 2)):
            parts.append(
                f'<rect class="{kind}" x="{LABEL}" y="{at}" width="{room * share / most:.1f}" '
                f'height="{BAR / 2}"/>'
            )
        end = LABEL + room * max(now, before) / most + 5
        parts.append(text(end, y + BAR / 2 + 4, f"{now:.1%}, was {before:.1%}", "start"))
    return svg(parts, WIDTH, 12 + len(shapes["names"]) * (BAR + 8), title)


def bars(shares: Mapping[str, float], title: str) -> str:
    """Draw a bar for each share, from 0 to 1, the largest first."""
    parts = []
    for row, name in enumerate(sorted(shares, key=lambda name: -shares[name])):
        y = 8 + row * (BAR + 6)
        length = (WIDTH - LONG_LABEL - 40) * shares[name]
        parts.append(text(LONG_LABEL - 6, y + BAR / 2 + 4, short(name, LONG), "end"))
        parts.append(
            f'<rect class="now" x="{LONG_LABEL}" y="{y}" width="{length:.1f}" height="{BAR}"/>'
        )
        parts.append(text(LONG_LABEL + length + 5, y + BAR / 2 + 4, f"{shares[name]:.0%}", "start"))
    return svg(parts, WIDTH, 16 + len(shares) * (BAR + 6), title)
