"""A graph as SVG: what a thing was made of lies above it; each box leads to a place of the page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from util_lib.pages.pictures import short, text

BOX, GAP = 216, 24  # widths
LINE, PAD, BETWEEN = 14, 8, 42  # heights: of a line, around the lines, between two rows
THROUGH = 20  # width of a line that passes a row
MOST_LINES, LETTERS, NAME_LETTERS = 3, 31, 31  # more run out of a box in a wide font
SWEEPS = 4  # in which the places within a row are mended
CORNERS = {"run": 3, "artifact": 16}


class Node(NamedTuple):
    """A box: its name and a few facts; `kind` and `state` are classes of the style."""

    kind: str
    name: str
    facts: tuple[str, ...] = ()
    state: str = ""


def draw(nodes: Mapping[str, Node], edges: Iterable[tuple[str, str]], title: str) -> str:
    """Return the picture of a graph without circles; the keys of `nodes` are their anchors."""
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] in nodes and edge[1] in nodes]
    levels = _levels(nodes, edges)
    rows, paths = _rows(levels, edges)
    lines = {key: node.facts[:MOST_LINES] for key, node in nodes.items()}
    x = _across(rows, nodes)
    width = max((x[key] + _width(key, nodes) / 2 for row in rows for key in row), default=0) + GAP
    heights = {key: LINE * (1 + len(facts)) + 2 * PAD for key, facts in lines.items()}
    top, tops = PAD, []
    for row in rows:
        tops.append(top)
        height = max(heights.get(key, 0) for key in row)
        heights |= {key: height for key in row if key not in nodes}  # lines pass it
        top += height + BETWEEN
    parts = []
    for path in paths:
        at = levels[path[0]]
        places = [(x[key], tops[at + i], heights[key]) for i, key in enumerate(path)]
        parts.append(f'<path class="edge" d="{_curve(places)}"/>')
    for row, y in zip(rows, tops, strict=True):
        for key in row:
            if key in nodes:
                parts.append(_box(key, nodes[key], lines[key], x[key], y, heights[key]))
    return (
        f'<svg viewBox="0 0 {width:.0f} {top - BETWEEN + PAD}" width="{width:.0f}" '
        f'height="{top - BETWEEN + PAD}" role="group" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _levels(nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return each node's row: one below the lowest of what it is made of."""
    levels = dict.fromkeys(nodes, 0)
    for _ in nodes:  # no way is longer
        lower = [(below, levels[above] + 1) for above, below in edges]
        lower = [(below, level) for below, level in lower if levels[below] < level]
        if not lower:
            break
        for below, level in lower:
            levels[below] = max(levels[below], level)
    return levels


def _rows(
    levels: dict[str, int], edges: Sequence[tuple[str, str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows, in a good order, and the way of each edge through them."""
    rows: list[list[str]] = [[] for _ in range(max(levels.values(), default=-1) + 1)]
    for key, level in levels.items():
        rows[level].append(key)
    paths = []
    for number, (above, below) in enumerate(edges):
        through = [f"{number} {level}" for level in range(levels[above] + 1, levels[below])]
        for level, key in enumerate(through, levels[above] + 1):
            rows[level].append(key)
        paths.append([above, *through, below])
    beside: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for path in paths:
        for a, b in pairwise(path):
            beside[0].setdefault(b, []).append(a)
            beside[1].setdefault(a, []).append(b)
    for sweep in range(SWEEPS):
        near = beside[sweep % 2]
        place = {key: i / max(1, len(row) - 1) for row in rows for i, key in enumerate(row)}
        for row in rows if sweep % 2 == 0 else reversed(rows):
            means = {
                key: sum(place[other] for other in near[key]) / len(near[key])
                if key in near
                else place[key]
                for key in row
            }
            row.sort(key=lambda key: means[key])
            place |= {key: i / max(1, len(row) - 1) for i, key in enumerate(row)}
    return rows, paths


def _width(key: str, nodes: Mapping[str, Node]) -> int:
    return BOX if key in nodes else THROUGH


def _across(rows: list[list[str]], nodes: Mapping[str, Node]) -> dict[str, float]:
    """Return where the middle of each node lies: every row is centred."""
    wide = [sum(_width(key, nodes) + GAP for key in row) - GAP for row in rows]
    x: dict[str, float] = {}
    for row, width in zip(rows, wide, strict=True):
        left = GAP / 2 + (max(wide) - width) / 2
        for key in row:
            x[key] = left + _width(key, nodes) / 2
            left += _width(key, nodes) + GAP
    return x


def _curve(places: Sequence[tuple[float, int, int]]) -> str:
    """Return a line from box to box; each place is its middle, its top and its height."""
    (x, y, height), *rest = places
    parts = [f"M{x:.0f},{y + height:.0f}"]
    y += height
    for i, (to, top, height) in enumerate(rest):
        parts.append(f"C{x:.0f},{(y + top) / 2:.0f} {to:.0f},{(y + top) / 2:.0f} {to:.0f},{top}")
        x, y = to, top
        if i < len(rest) - 1:
            y = top + height
            parts.append(f"V{y}")
    return "".join(parts)


def _box(key: str, node: Node, facts: tuple[str, ...], x: float, y: int, height: int) -> str:
    parts = [
        f'<rect x="{x - BOX / 2:.0f}" y="{y}" width="{BOX}" height="{height}" '
        f'rx="{CORNERS.get(node.kind, 0)}"/>'
    ]
    parts.append(text(x, y + PAD + 11, short(node.name, NAME_LETTERS), "middle", "name"))
    for i, fact in enumerate(facts, 1):
        parts.append(text(x, y + PAD + 11 + LINE * i, short(fact, LETTERS), "middle"))
    words = escape(", ".join([node.name, *node.facts]))
    return (
        f'<a class="{node.kind} {node.state}" href="#{escape(key)}"><title>{words}</title>'
        f"{''.join(parts)}</a>"
    )
