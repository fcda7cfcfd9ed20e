"""Whether columns give the target away, and whether rows do.

Looked at are the columns that a model gets: role `ignore` is the way out, and ends a finding. Every
finding says how it was found and how strong it is; none proves a leak: a column that is known when
the model is used may be as good as it looks. docs/data_gate.md says what is looked for and where
the thresholds lie.
"""

from typing import Any

import numpy as np
import pandas as pd

from util_lib.checks import leakage_columns, leakage_rows, leakage_splits
from util_lib.checks.findings import Finding
from util_lib.checks.leakage_columns import MIN_ROWS, SEED, LookedAt, Target
from util_lib.dataset.declaration import Data
from util_lib.tables import drawing
from util_lib.tables.column_values import as_numbers, at_rows

MOST_ROWS = 2**22  # of a large table, looked at


def find(sample: Any, data: Data) -> list[Finding]:
    """Return what was found: of the rows first, then of the columns as they are declared.

    Empty where `data.leakage` is `off`. A finding is fatal where it is `fail`, except for the order
    of the rows, which no model sees. The same table gives the same findings: what is drawn at
    random is drawn with a fixed seed. Columns that are missing are passed over, and so are values
    of another type than declared: `check_data` names them elsewhere.
    """
    if data.leakage == "off" or data.target not in sample.columns:
        return []
    roles = _roles(sample, data)
    contents = leakage_rows.contents(sample, roles)
    in_memory = isinstance(sample, pd.DataFrame)
    rows = np.arange(len(sample)) if in_memory else _drawn(contents)
    target = _target(at_rows(sample, data.target, rows), data)
    known = ~np.isnan(target.values)
    if known.sum() < MIN_ROWS or len(np.unique(target.values[known])) < 2:
        return []
    rows, target = rows[known], target._replace(values=target.values[known])
    features = LookedAt(sample, roles, rows)
    copies, first = leakage_rows.copies(features, target, contents[rows])
    dated = any(column.dtype == "datetime" for column in data.columns.values())
    found = [*leakage_rows.order(features, target, dated), *copies]
    if data.split.by == "time":  # then rows in the order of the target do no harm
        found = [finding for finding in found if finding.rule != leakage_rows.ROW_ORDER]
    found += leakage_splits.find(sample, data, features, target)
    # A copy of a row says nothing new of a column, and would make chance look like a rule.
    target = target._replace(values=target.values[first])
    features = features.at(first)
    found += leakage_columns.sums(features, target)
    for name, feature in features.items():
        found += leakage_columns.alone(name, feature, target)
    return [
        finding._replace(fatal=data.leakage == "fail" and finding.rule != leakage_rows.ROW_ORDER)
        for finding in found
    ]


def _drawn(contents: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows to look at: all, of a large table about MOST_ROWS.

    They are drawn by their content, so that rows that are equal come together; where so few
    contents are frequent that the draw fails, by a hash of their number.
    """
    n = len(contents)
    if n <= MOST_ROWS:
        return np.arange(n)
    last = np.uint64(2**64 * MOST_ROWS // n)
    chosen = np.flatnonzero(contents <= last)
    if abs(len(chosen) - MOST_ROWS) > 0.1 * MOST_ROWS:
        chosen = np.flatnonzero(drawing.drawn(n, MOST_ROWS, SEED))
    return chosen


def _target(values: pd.Series, data: Data) -> Target:
    if data.task == "regression":
        numbers = as_numbers(values).to_numpy()
        return Target(data.target, np.where(np.isfinite(numbers), numbers, np.nan), None)
    codes, classes = pd.factorize(values.astype("str").where(values.notna()), sort=True)
    return Target(data.target, np.where(codes < 0, np.nan, codes), list(classes))


def _roles(sample: Any, data: Data) -> dict[str, str]:
    """Return what a model gets, and as what each column is used."""
    joined = data.text_feature.columns if data.text_feature else []
    roles = {name: "text" if name in joined else c.role for name, c in data.columns.items()}
    return {
        name: role
        for name, role in roles.items()
        if name in sample.columns and name != data.target and role != "ignore"
    }
