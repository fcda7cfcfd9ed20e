"""Pictures of windows over time."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

from monitoring.records.history import Judged
from util_lib.pages.pictures import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    number,
    short,
    svg,
    text,
)

N_LABELS = 3  # below the axis of windows


class Point(NamedTuple):
    """What a test measured in one window, None where it did not; with the band it was held to."""

    value: float | None
    low: float | None
    high: float | None
    state: str
    words: str


def over_time(windows: Sequence[Judged], points: Sequence[Point], title: str) -> str:
    """Draw a test over the windows, its band, and where another version began to answer."""
    known = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    across, up = _across(len(windows)), _up(known)
    parts = [*_band(points, across, up), *_promotions(windows, across), *_frame(windows, known, up)]
    for there, group in groupby(enumerate(points), lambda at: at[1].value is not None):
        if there:
            line = " ".join(f"{across(i):.1f},{up(p.value or 0.0):.1f}" for i, p in group)
            parts.append(f'<polyline class="line" points="{line}"/>')
    for i, point in enumerate(points):
        if point.value is not None:
            parts.append(
                f'<circle class="{point.state.split()[0]}" cx="{across(i):.1f}" '
                f'cy="{up(point.value):.1f}" r="3.5"><title>{escape(point.words)}</title></circle>'
            )
    return svg(parts, WIDTH, HEIGHT, title)


def coverage(windows: Sequence[Judged], shares: Sequence[float]) -> str:
    """Draw the share of rows with a label, a bar for each window."""
    across, up = _across(len(windows)), _up([0.0, 1.0], inset=0)
    width = min(24.0, 0.6 * (WIDTH - LEFT - RIGHT) / max(1, len(windows)))
    parts = [*_frame(windows, [0.0, 1.0], up), *_promotions(windows, across)]
    for i, share in enumerate(shares):
        y = up(min(1.0, share))
        words = f"{windows[i].window.name}: {windows[i].labelled:,} labels, {share:.0%} of the rows"
        parts.append(
            f'<rect class="now" x="{across(i) - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"><title>{escape(words)}</title></rect>'
        )
    return svg(parts, WIDTH, HEIGHT, "share of rows with a label, by window")


def _across(n: int) -> Callable[[float], float]:
    width = WIDTH - LEFT - RIGHT
    return lambda place: LEFT + width * (place + 0.5) / max(1, n)


def _up(values: Sequence[float], inset: float = 0.08) -> Callable[[float], float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    span, height = (high - low) or 1.0, HEIGHT - TOP - BOTTOM
    return lambda v: HEIGHT - BOTTOM - height * (inset + (1 - 2 * inset) * (v - low) / span)


def _frame(
    windows: Sequence[Judged], values: Sequence[float], up: Callable[[float], float]
) -> list[str]:
    across, floor = _across(len(windows)), HEIGHT - BOTTOM
    parts = [f'<path class="axis" d="M{LEFT},{TOP}V{floor}H{WIDTH - RIGHT}"/>']
    for value in sorted({min(values), max(values)}) if values else ():
        parts.append(text(LEFT - 5, up(value) + 4, number(value), "end"))
    every = max(1, -(-len(windows) // N_LABELS))
    for i in range(0, len(windows), every):
        parts.append(text(across(i), floor + 16, windows[i].window.name, "middle"))
    return parts


def _band(
    points: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float]
) -> list[str]:
    parts, half = [], (across(1) - across(0)) / 2
    floor, top = HEIGHT - BOTTOM, TOP
    for i, point in enumerate(points):
        if point.low is None and point.high is None:
            continue
        upper = top if point.high is None else up(point.high)
        lower = floor if point.low is None else up(point.low)
        parts.append(
            f'<rect class="band" x="{across(i) - half:.1f}" y="{upper:.1f}" '
            f'width="{2 * half:.1f}" height="{max(0.0, lower - upper):.1f}"/>'
        )
    return parts


def _promotions(windows: Sequence[Judged], across: Callable[[float], float]) -> list[str]:
    parts, half = [], (across(1) - across(0)) / 2
    for i, judged in enumerate(windows):
        if judged.window.promoted:
            x = across(i) - half
            version = judged.version.rpartition(":")[2]
            parts.append(f'<path class="promoted" d="M{x:.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
            parts.append(text(x + 3, TOP - 4, short(version), "start"))
    return parts
