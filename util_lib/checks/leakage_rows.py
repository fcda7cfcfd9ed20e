"""Rows that stand in the order of the target, and rows that a split would put on both sides."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from util_lib.checks.findings import Finding
from util_lib.checks.leakage_columns import Feature, LookedAt, Target, feature
from util_lib.tables.column_values import pieces

ROW_ORDER = "row order"
COPIES = "repeated rows"
MAX_RUNS = 0.5  # of the runs that shuffled rows would have
MIN_AUTOCORRELATION = 0.5
MIN_SIGMAS = 6
MIN_COPIES = 0.05  # of the rows
MAX_BY_CHANCE = 0.1  # of the copies


def order(features: LookedAt, target: Target, dated: bool = False) -> Iterator[Finding]:
    """Say whether neighbouring rows have like targets, and which columns count the rows.

    Classes: the number of runs of equal classes against that of shuffled rows (Wald and Wolfowitz;
    mean and variance for several classes after Mood 1940). Numbers: the correlation of the ranks of
    neighbouring rows. Nobody is told to shuffle a `dated` table.
    """
    n = len(target.values)
    if target.classes is None:
        ranks = pd.Series(target.values).rank().to_numpy()
        before, after = ranks[:-1], ranks[1:]
        if before.std() == 0 or after.std() == 0:
            return
        correlation = float(np.corrcoef(before, after)[0, 1])
        if correlation < MIN_AUTOCORRELATION or correlation * np.sqrt(n) < MIN_SIGMAS:
            return
        how = f"the ranks of neighbours correlate by {correlation:.2f}, those of shuffled rows by 0"
        strength = {"autocorrelation": correlation}
    else:
        runs = 1 + int((np.diff(target.values) != 0).sum())
        expected, deviation = _runs_of_shuffled(np.bincount(target.values.astype(int)))
        if runs > MAX_RUNS * expected or runs > expected - MIN_SIGMAS * deviation:
            return
        how = f"{runs:,} runs of one class, shuffled rows have about {expected:,.0f}"
        strength = {"runs": float(runs), "expected": expected}
    counters = [name for name, feature in features.items() if _counts_rows(feature)]
    if not counters:
        advice = (
            "by a random split rows are foretold from later ones (data.split: by time)"
            if dated
            else "shuffle them before the table is used elsewhere"
        )
        yield Finding(
            None,
            ROW_ORDER,
            f"the rows stand in the order of {target.name!r} ({how}): a column that counts the "
            f"rows would give it away; {advice}",
            strength=strength,
        )
    for name in counters:
        yield Finding(
            name,
            "row number",
            f"column {name!r} counts the rows, and they stand in the order of {target.name!r} "
            f"({how}): leave the column out (role: ignore)",
            strength=strength,
        )


def contents(table: Any, roles: dict[str, str]) -> np.ndarray:
    """Return a hash of each row's features but text: equal rows have the same."""
    rows = np.zeros(len(table), dtype=np.uint64)
    for name in (name for name, role in roles.items() if role != "text"):
        start = 0
        for values in pieces(table, name):
            part = rows[start : start + len(values)]
            part[:] = pd.util.hash_array(part + feature(values, roles[name]).hashes())
            start += len(values)
    return rows


def copies(
    features: LookedAt, target: Target, rows: np.ndarray
) -> tuple[list[Finding], np.ndarray]:
    """Say how many rows equal another in every feature but text; mark the rows that come first.

    First are rows without an earlier one that equals it in these and in the target. Where values
    are so few that rows must meet by chance, nothing is said and every row is marked. `rows` are
    their `contents`.
    """
    n = len(target.values)
    plain = [name for name, role in features.roles.items() if role != "text"]
    everything = np.ones(n, dtype=bool)
    if not plain or _share_of_equal(rows) < MIN_COPIES:
        return [], everything
    agree = 1.0
    for name in plain:
        each = np.bincount(features[name].codes()) / n
        agree *= float(each @ each)
    _, group, sizes = np.unique(rows, return_inverse=True, return_counts=True)
    shared = sizes[group] > 1
    share = float(shared.mean())
    # How many would share theirs if columns were independent: no more than n * P(two rows agree).
    if min(1.0, n * agree) > MAX_BY_CHANCE * share:
        return [], everything
    pairs = pd.DataFrame({"group": group, "target": target.values})
    first = ~pairs.duplicated().to_numpy()
    n_groups, n_conflicting = int((sizes > 1).sum()), _with_several(pairs, first)
    return [
        Finding(
            None,
            COPIES,
            f"{shared.sum():,} of {n:,} rows equal another in every feature but text "
            f"({n_groups:,} groups, {n_conflicting:,} of them with several targets): a random "
            "split puts some on both sides; keep one of each, or mind it when reading scores",
            count=int(shared.sum()),
            examples=[
                {"row": int(row), "value": None} for row in _rows(features[plain[0]])[shared][:3]
            ],
            strength={
                "share": share,
                "groups": float(n_groups),
                "conflicting groups": float(n_conflicting),
            },
        )
    ], first


def _share_of_equal(rows: np.ndarray) -> float:
    ordered = np.sort(rows)
    same = np.zeros(len(rows) + 1, dtype=bool)
    same[1:-1] = ordered[1:] == ordered[:-1]
    return float((same[1:] | same[:-1]).mean())


def _rows(feature: Feature) -> np.ndarray:
    return feature.values.index.to_numpy()


def _with_several(pairs: pd.DataFrame, first: np.ndarray) -> int:
    return int((np.bincount(pairs["group"][first]) > 1).sum())


def _runs_of_shuffled(sizes: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of the number of runs; `sizes` = rows of each class."""
    sizes = sizes.astype("float64")
    n, squares, cubes = sizes.sum(), (sizes**2).sum(), (sizes**3).sum()
    mean = 1 + n - squares / n
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    return float(mean), float(np.sqrt(max(variance, 0.0)))


def _counts_rows(feature: Feature) -> bool:
    """Tell whether every row has a number, and each a larger one than the row before."""
    numbers = feature.numbers
    if numbers is None or feature.missing.any() or feature.role == "text":
        return False
    steps = np.diff(numbers)
    return bool((steps > 0).all() or (steps < 0).all())
