"""Two distributions of a column that moved, as a page draws them: now, and in the reference."""

from typing import Any

import numpy as np
import pandas as pd

from monitoring.judging.records import Judgement, Recorded
from monitoring.judging.states import Key
from util_lib import monitoring_log
from util_lib.model.monitoring_reference import ModelReference
from util_lib.tables.column_values import as_date, as_numbers

ANSWERS = {"answers": "prediction", "confidence": "confidence"}  # tests, and their columns
BINS = 20
MOST_VALUES = 10  # of categories; the others are one
OTHERS = "(others)"
MISSING = "(missing)"
TAIL = 0.005  # of either end, which is drawn in the outer bins


def shapes_of(
    tests: list[Judgement], recorded: Recorded, reference: ModelReference
) -> dict[Key, dict[str, Any]]:
    """Return the shapes of all inputs that drifted, and of answers that did."""
    frame, found = recorded.frame, {}
    answered = frame["rejected"].isna() & (frame["role"] != monitoring_log.SHADOW)
    mine = answered & (frame["version"] == reference.version)
    for test in tests:
        now: Any = None
        before, name, dates = reference.inputs, test.column, False
        if test.outcome != "failed":
            continue
        if test.test == "drift" and name is not None and name in recorded.inputs:
            column = reference.columns.get(name)
            dates = column is not None and column.dtype == "datetime"
            now = recorded.inputs.loc[answered, name]
        elif test.family == "predictions":
            before, name = reference.outputs, ANSWERS.get(test.test)
            values = frame["prediction"] if name == "prediction" else recorded.confidence
            now = pd.Series(values)[mine.to_numpy()]
        if now is not None and before is not None and name in before:
            found[test.key] = shapes(now, before[name], dates)
    return found


def shapes(now: pd.Series, before: pd.Series, dates: bool) -> dict[str, Any]:
    """Return the shares of both in the same bins or values, which `names` names."""
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
    ends = [np.quantile(part, [TAIL, 1 - TAIL]) for part in parts]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
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
