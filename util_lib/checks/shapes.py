"""Two distributions of a column as a page draws them (`pages.pictures`): now, and before."""

from typing import Any

import numpy as np
import pandas as pd

from util_lib.tables.column_values import as_date, as_numbers

BINS = 20
MOST_VALUES = 10  # of categories; the others are one
OTHERS = "(others)"
MISSING = "(missing)"
TAIL = 0.005  # of either end, which is drawn in the outer bins
LARGEST = 1e300  # beyond, a difference may be infinite


def shapes(now: pd.Series, before: pd.Series, dates: bool) -> dict[str, Any]:
    """Return the shares of rows of both, in the same bins or of the same values.

    Bins of whole numbers begin at whole numbers.
    """
    if dates or (
        pd.api.types.is_numeric_dtype(now.dtype) and not pd.api.types.is_bool_dtype(now.dtype)
    ):
        return _of_numbers(as_numbers(now, dates=dates), as_numbers(before, dates=dates), dates)
    both = [values.astype("str").where(values.notna(), MISSING) for values in (now, before)]
    shares = pd.concat([each.value_counts(normalize=True) for each in both], axis=1).fillna(0)
    shares.columns = ["now", "before"]
    shares = shares.assign(most=shares.max(axis=1)).reset_index(names="name")
    shares = shares.sort_values(["most", "name"], ascending=[False, True])
    names, rest = list(shares["name"][:MOST_VALUES]), shares[MOST_VALUES:]
    lists = {which: list(shares[which][:MOST_VALUES]) for which in ("now", "before")}
    if len(rest):
        names.append(OTHERS)
        for which in lists:
            lists[which].append(rest[which].sum())
    return {"kind": "values", "names": names, **_rounded(lists)}


def _of_numbers(now: pd.Series, before: pd.Series, dates: bool) -> dict[str, Any]:
    parts = [values[np.isfinite(values)].to_numpy(float) for values in (now, before)]
    if not all(map(len, parts)):
        return {"kind": "numbers", "edges": [], "now": [], "before": []}
    ends = np.clip([np.quantile(part, [TAIL, 1 - TAIL]) for part in parts], -LARGEST, LARGEST)
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if not dates and all((part == np.round(part)).all() for part in parts):
        low, width = np.floor(low), np.ceil(high) - np.floor(low) + 1
        step = np.ceil(width / BINS)
        edges = low + step * np.arange(np.ceil(width / step) + 1)
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts = [np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] for part in parts]
    shown = [str(as_date(edge).date()) if dates else float(f"{edge:.6g}") for edge in edges]
    lists = {
        which: list(count / count.sum())
        for which, count in zip(("now", "before"), counts, strict=True)
    }
    return {"kind": "numbers", "edges": shown, **_rounded(lists)}


def _rounded(lists: dict[str, Any]) -> dict[str, list[float]]:
    return {which: [round(float(value), 6) for value in values] for which, values in lists.items()}
