"""Small pictures of two distributions, the sample over the reference, as SVG text.

Drawn by hand: a few lines that need no plotting library in the step's environment, and that are
the same, byte for byte, for the same data.
"""

from typing import Any

import numpy as np
import pandas as pd

from util_lib.checks.drift import ColumnDrift
from util_lib.dataset.declaration import Data
from util_lib.page import svg, text
from util_lib.tables.column_values import as_date, as_numbers, at_rows, missing

WIDTH, HEIGHT, MARGIN = 460, 150, 18
MOST_ROWS = 2**21  # of a large table, drawn
N_BINS = 40
N_BARS = 12  # categories shown; the others count as one
TAIL = 0.002  # share of rows at each end that the outer bars take in, whatever their value
LARGEST = 1e300  # beyond, a difference may be infinite
BAR = 18  # height of a category
LABEL = 150  # width for its name
SHARES = 110  # width for its two shares
SHORT = 22  # characters of a name
REFERENCE, SAMPLE = "#b7bec7", "#c2374f"


def draw(compared: ColumnDrift, sample: Any, reference: Any, data: Data) -> str:
    """Return the picture that belongs to a comparison; its title is the sentence."""
    column = data.columns[compared.column]
    is_text = column.role == "text"
    sides = [_column(frame, compared.column) for frame in (sample, reference)]
    gone = [missing(side, text=is_text) for side in sides]
    if compared.kind == "null rate":
        new, old = (lost.map({True: "null", False: "has a value"}) for lost in gone)
        return bars(new, old, compared.sentence)
    new, old = (side[~lost] for side, lost in zip(sides, gone, strict=True))
    if is_text:
        lengths = [side.astype("str").str.len().astype("float64") for side in (new, old)]
        return histogram(lengths[0], lengths[1], compared.sentence, "characters")
    regressed = column.role == "target" and data.task == "regression"
    if column.role in ("numerical", "date") or regressed:
        dates = column.dtype == "datetime"
        new, old = (as_numbers(side, dates=dates).dropna() for side in (new, old))
        return histogram(new, old, compared.sentence, column.unit, dates)
    return bars(new, old, compared.sentence)


def _column(table: Any, name: str) -> pd.Series:
    """Return a column, of a large table at rows in even distances."""
    if isinstance(table, pd.DataFrame):
        return table[name]
    step = -(-len(table) // MOST_ROWS)
    return at_rows(table, name, np.arange(0, len(table), step))


def histogram(
    sample: pd.Series,
    reference: pd.Series,
    title: str,
    unit: str | None = None,
    dates: bool = False,
) -> str:
    """Draw the shares of rows by value: the reference as grey bars, the sample as a red line.

    `dates` are nanoseconds since 1970. The outer bars hold all that lies beyond them.
    """
    both = np.concatenate([sample.to_numpy(), reference.to_numpy()])
    both = both[np.isfinite(both)]
    low, high = np.clip(np.quantile(both, [TAIL, 1 - TAIL]), -LARGEST, LARGEST)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, N_BINS + 1)
    shares = [
        np.histogram(np.clip(side.to_numpy(), low, high), edges)[0] / len(side)
        for side in (sample, reference)
    ]
    top = max(shares[0].max(), shares[1].max())
    step = (WIDTH - 2 * MARGIN) / N_BINS
    floor = HEIGHT - MARGIN
    ys = [floor - (floor - MARGIN) * side / top for side in shares]
    parts = [
        f'<rect x="{MARGIN + i * step:.1f}" y="{y:.1f}" width="{step:.1f}" '
        f'height="{floor - y:.1f}" fill="{REFERENCE}"/>'
        for i, y in enumerate(ys[1])
        if y < floor
    ]
    line = " ".join(
        f"{MARGIN + i * step:.1f},{y:.1f} {MARGIN + (i + 1) * step:.1f},{y:.1f}"
        for i, y in enumerate(ys[0])
    )
    line = f"{MARGIN},{floor} {line} {WIDTH - MARGIN},{floor}"
    parts.append(f'<polyline points="{line}" fill="none" stroke="{SAMPLE}" stroke-width="1.6"/>')
    for x, anchor, value in (
        (MARGIN, "start", low),
        (WIDTH / 2, "middle", (low + high) / 2),
        (WIDTH - MARGIN, "end", high),
    ):
        label = str(as_date(value).date()) if dates else f"{value:.4g}"
        label += f" {unit}" if unit and anchor == "end" else ""
        parts.append(text(x, HEIGHT - 4, label, anchor))
    parts.append(text(MARGIN, MARGIN - 6, f"{top:.1%} of the rows", "start"))
    return svg(parts, WIDTH, HEIGHT, title)


def bars(sample: pd.Series, reference: pd.Series, title: str) -> str:
    """Draw the share of rows of each category, the most frequent first: red over grey."""
    shares = pd.DataFrame(
        {
            name: side.map(str).value_counts(normalize=True)
            for name, side in (("sample", sample), ("reference", reference))
        }
    ).fillna(0.0)
    order = np.lexsort([shares.index.astype(str).to_numpy(), -shares.sum(axis=1).to_numpy()])
    shares = shares.iloc[order]
    if len(shares) > N_BARS:
        others = (
            shares.iloc[N_BARS - 1 :].sum().to_frame(f"({len(shares) - N_BARS + 1:,} others)").T
        )
        shares = pd.concat([shares.iloc[: N_BARS - 1], others])
    top, width = shares.to_numpy().max(), WIDTH - LABEL - SHARES
    parts = []
    for row, (name, ours, theirs) in enumerate(shares.itertuples()):
        y = MARGIN / 2 + row * (BAR + 4)
        name = name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"
        parts.append(text(LABEL - 6, y + BAR / 2 + 4, name, "end"))
        for share, offset, colour in ((theirs, BAR / 2, REFERENCE), (ours, 0, SAMPLE)):
            length = width * share / top
            parts.append(
                f'<rect x="{LABEL}" y="{y + offset:.1f}" width="{length:.1f}" '
                f'height="{BAR / 2:.1f}" fill="{colour}"/>'
            )
        label = f"{ours:.1%}, was {theirs:.1%}"
        at = LABEL + width * max(ours, theirs) / top + 4
        parts.append(text(at, y + BAR / 2 + 4, label, "start"))
    return svg(parts, WIDTH, int(len(shares) * (BAR + 4) + MARGIN), title)
