"""Pictures of a sweep."""

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from pipeline.sweeps.leaderboard.ranking import RankedSweep, marks, pareto
from pipeline.sweeps.record import Trial, is_maximised, short_names
from util_lib.pages.pictures import short, svg, text

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34
INSET = 0.04  # of an axis, at either end, so that no point lies on the other axis
LINES_HEIGHT, AXIS_GAP = 320, 150  # of the parallel coordinates
LOGARITHMIC = 50  # a parameter whose largest value is so many times its smallest
SHORT = 24  # characters of a label
N_LABELS = 12  # of categories on an axis


class Axis(NamedTuple):
    """Where values lie on an axis, from 0 to 1, and what is written beside it."""

    places: dict[Any, float]
    labels: list[tuple[float, str]]


def axis(values: Sequence[Any]) -> Axis:
    """Return an axis for these values: of numbers, logarithmic where they span much, or of words.

    A boolean, null or a text among them makes all of them words.
    """
    numbers = [n for value in values if (n := number(value)) is not None]
    if len(numbers) < len(values):
        words = sorted({shown(value) for value in values})
        places = {word: (i + 0.5) / len(words) for i, word in enumerate(words)}
        labels = [(place, word) for word, place in places.items()]
        step = math.ceil(len(labels) / N_LABELS)
        return Axis({v: places[shown(v)] for v in values}, labels[::step])
    low, high = min(numbers), max(numbers)
    scaled: Callable[[float], float] = math.log if low > 0 and high / low >= LOGARITHMIC else float
    if low == high:
        return Axis(dict.fromkeys(values, 0.5), [(0.5, shown(low))])
    bottom, span = scaled(low), scaled(high) - scaled(low)

    def place(n: float) -> float:
        return INSET + (1 - 2 * INSET) * (scaled(n) - bottom) / span

    middle = math.sqrt(low * high) if scaled is math.log else (low + high) / 2
    if all(n == round(n) for n in numbers):  # of leaves or trees there are no halves
        low, middle, high = round(low), round(middle), round(high)
    labels = [(place(n), shown(n)) for n in dict.fromkeys((low, middle, high))]
    return Axis({v: place(n) for v, n in zip(values, numbers, strict=True)}, labels)


def number(value: Any) -> float | None:
    """Return a value of a parameter as a number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def shown(value: Any) -> str:
    """Write a value as in YAML, numbers with four digits that count."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def against(sweep: RankedSweep, key: str, objective: int = 0) -> str:
    """Draw one point for each trial: its value of the parameter, its score."""
    trials = [trial for trial in sweep.measured if key in trial.overrides]
    across = axis([_hashable(trial.overrides[key]) for trial in trials])
    points = [(across.places[_hashable(trial.overrides[key])], trial) for trial in trials]
    title = f"{sweep.objectives[objective]} against {key}"
    return _scatter(sweep, points, across, objective, title)


def objectives(sweep: RankedSweep) -> str:
    """Draw the second objective across, the first up; the Pareto front is marked."""
    across = axis([trial.value(sweep.objectives[1]) for trial in sweep.measured])
    points = [(across.places[trial.value(sweep.objectives[1])], trial) for trial in sweep.measured]
    title = f"{sweep.objectives[0]} against {sweep.objectives[1]}"
    return _scatter(sweep, points, across, 0, title)


def _scatter(
    sweep: RankedSweep, points: list[tuple[float, Trial]], across: Axis, objective: int, title: str
) -> str:
    values = {trial.number: trial.value(sweep.objectives[objective]) for _, trial in points}
    ends = {
        trial.number: (values[trial.number] - error, values[trial.number] + error)
        for _, trial in points
        if objective == 0 and (error := sweep.error(trial)) is not None
    }
    up = axis([*values.values(), *itertools.chain(*ends.values())])
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    floor = HEIGHT - BOTTOM
    parts = [f'<path class="axis" d="M{LEFT},{TOP}V{floor}H{WIDTH - RIGHT}"/>']
    for place, words in up.labels:
        parts.append(text(LEFT - 6, floor - height * place + 4, words, "end"))
    for place, words in across.labels:
        parts.append(text(LEFT + width * place, floor + 16, short(words, 12), "middle"))
    marked = marks(sweep)
    # marked ones last, so that they lie on top
    for place, trial in sorted(points, key=lambda point: point[1].number in marked):
        x = LEFT + width * place
        y = floor - height * up.places[values[trial.number]]
        kind = "marked" if trial.number in marked else "point"
        if trial.number in ends:
            bottom, top = (floor - height * up.places[end] for end in ends[trial.number])
            parts.append(f'<path class="bar {kind}" d="M{x:.1f},{top:.1f}V{bottom:.1f}"/>')
        parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
            f"<title>{escape(told(sweep, trial))}</title></circle>"
        )
    return svg(parts, WIDTH, HEIGHT, title)


def parallel(sweep: RankedSweep) -> str:
    """Draw one line for each trial, across an axis for each parameter and each objective.

    The best half stands out, the marked trials most; an objective's axis has its better end up.
    """
    keys = sweep.varied
    trials = sweep.measured
    axes = [axis([_hashable(trial.overrides.get(key)) for trial in trials]) for key in keys]
    columns = [
        [a.places[_hashable(trial.overrides.get(key))] for trial in trials]
        for a, key in zip(axes, keys, strict=True)
    ]
    for objective in sweep.objectives:
        found = axis([trial.value(objective) for trial in trials])
        if not is_maximised(objective):
            found = Axis(
                {value: 1 - place for value, place in found.places.items()},
                [(1 - place, words) for place, words in found.labels],
            )
        axes.append(found)
        columns.append([found.places[trial.value(objective)] for trial in trials])
    width = AXIS_GAP * (len(axes) - 1) + 2 * LEFT
    floor, height = LINES_HEIGHT - BOTTOM, LINES_HEIGHT - BOTTOM - 2 * TOP
    marked = marks(sweep)
    lines = []
    for row, trial in enumerate(trials):
        points = " ".join(
            f"{LEFT + AXIS_GAP * i:.1f},{floor - height * column[row]:.1f}"
            for i, column in enumerate(columns)
        )
        kind = "marked" if trial.number in marked else "line" if row < len(trials) / 2 else "faint"
        lines.append(
            f'<polyline class="{kind}" points="{points}">'
            f"<title>{escape(told(sweep, trial))}</title></polyline>"
        )
    parts = lines[::-1]  # the best on top
    names = [*short_names(keys).values(), *sweep.objectives]
    for i, (found, name) in enumerate(zip(axes, names, strict=True)):
        x = LEFT + AXIS_GAP * i
        parts.append(f'<path class="axis" d="M{x},{floor - height}V{floor}"/>')
        parts.append(text(x, LINES_HEIGHT - 10, short(name, SHORT), "middle"))
        for place, words in found.labels:
            parts.append(text(x + 5, floor - height * place + 4, short(words, 16), "start"))
    return svg(parts, width, LINES_HEIGHT, "every trial's parameters and scores")


def told(sweep: RankedSweep, trial: Trial) -> str:
    """Say in a line what a trial was and reached: what a point shows under the pointer."""
    given = [f"{key.rpartition('.')[2]} {shown(v)}" for key, v in trial.overrides.items()]
    reached = [
        f"{name} {value:.4g}"
        for name, value in zip(sweep.objectives, sweep.values(trial), strict=True)
    ]
    front = ["Pareto front"] if len(sweep.objectives) > 1 and trial.number in pareto(sweep) else []
    return f"trial {trial.number}: {', '.join([*given, *reached, *front])}"


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
