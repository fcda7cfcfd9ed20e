"""The rows that were asked about, by the declaration, rules and tests of check_data."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from monitoring.judging.records import Judgement, Recorded, Thresholds, not_judged
from util_lib.checks import drift, rules, sentences
from util_lib.checks.drift import ColumnDrift
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.model.monitoring_reference import ModelReference
from util_lib.tables import column_values

INPUTS, TARGET = "inputs", "(target)"
NO_REFERENCE = "the model was exported without a reference: train it again to have one"
SHARES = ("rejected", "rules")
WORDS = {
    "rejected": "of the rows were refused, not being as declared",
    "rules": "of the answered rows break a rule of the declaration",
}
N_CELLS = 61  # the most that a chi-square test of drift may have, and one


class _Answered:
    """Some rows of a table, as the tests ask for them: a column at a time, in pieces."""

    def __init__(self, table: Any, rows: np.ndarray, modes: dict[str, str]):
        self.columns = [name for name in table.columns if modes.get(name) in ("keep", "length")]
        self.empty = not rows.any()
        self._table, self._rows, self._modes = table, rows, modes

    def __len__(self) -> int:
        return int(self._rows.sum())

    def pieces(self, name: str) -> Iterator[pd.Series]:
        start = 0
        for values in column_values.pieces(self._table, name):
            kept = values[self._rows[start : start + len(values)]].reset_index(drop=True)
            start += len(values)
            yield _lengths(kept) if self._modes[name] == "length" else kept


def of_version(frame: pd.DataFrame, version: str) -> np.ndarray:
    """Mark the rows that a version was asked about, and not as a shadow."""
    mine = (frame["version"] == version) & (frame["role"] != "shadow")
    return mine.to_numpy(dtype=bool)


def judge(
    rows: Recorded, reference: ModelReference, thresholds: Thresholds, alpha: float
) -> list[Judgement]:
    """Return the tests of the inputs; `alpha` is the chance of a false alarm that they share.

    Those are the rows that this version was asked about. Another one may take other columns, and
    what a shadow gets was counted before.
    """
    frame = rows.frame
    asked = of_version(frame, reference.version)
    refused = asked & frame["rejected"].notna().to_numpy()
    n_asked, n_refused = int(asked.sum()), int(refused.sum())
    if reference.inputs is None:
        return [not_judged(INPUTS, test, NO_REFERENCE) for test in ("drift", "missing", *SHARES)]
    answered = _Answered(rows.inputs, asked & ~refused, dict(reference.modes))
    before = _remembered(reference)
    limits = [*_null_limits(answered, reference)]
    others = len(SHARES) + len(limits)
    compared = compare(answered, before, _columns(reference), thresholds, alpha, others)
    level = drift.sidak(alpha, sum(found.tested for found in compared) + others)
    hashed = [name for name, mode in reference.modes.items() if mode == "hash"]
    found = [
        of_drift(INPUTS, _test(each), each, len(answered), len(before), thresholds)
        for each in compared
    ]
    found += [
        not_judged(INPUTS, "drift", f"column {name!r}: the log keeps hashes of it alone", name)
        for name in hashed
    ]
    found += [_over_limit(*limit, level) for limit in limits]
    broken, which = _broken(answered, reference)
    for test, n_wrong, n_rows, more in (
        ("rejected", n_refused, n_asked, ""),
        ("rules", broken, len(answered), "".join(f"; {sentence}" for sentence in which)),
    ):
        if not n_rows:
            found.append(not_judged(INPUTS, test, "no row was asked about"))
            continue
        counts, sizes = [n_wrong, 0], (n_rows, len(before))
        each = drift.compare_shares(test, counts, sizes, _data({}, thresholds), level)
        share = f"{n_wrong / n_rows:.2%} {WORDS[test]} ({n_wrong:,} of {n_rows:,}){more}"
        verdict = of_drift(INPUTS, test, each, n_rows, len(before), thresholds)
        found.append(replace(verdict, column=None, reason=share))
    return found


def of_drift(
    family: str,
    test: str,
    found: ColumnDrift,
    n: int,
    n_reference: int,
    thresholds: Thresholds,
) -> Judgement:
    """Return a test of drift as one of monitoring."""
    if not found.tested:
        return not_judged(family, test, found.sentence, found.column)
    by_difference = found.kind in ("numerical", "null rate")
    threshold = thresholds.min_effect if by_difference else thresholds.kl_threshold
    return Judgement(
        family=family,
        test=test,
        column=found.column,
        outcome="failed" if found.drifted else "passed",
        reason=found.sentence,
        n=n,
        statistic=found.effect,
        effect=found.effect,
        p_value=found.p,
        alpha=found.level,
        threshold=threshold,
        low=0.0,
        high=max(threshold, _noise(found, n, n_reference)),
    )


def _noise(found: ColumnDrift, n: int, n_reference: int) -> float:
    """Return about the largest effect that chance would explain at the level of a test."""
    both = n * n_reference / (n + n_reference) if n and n_reference else 1.0
    if found.kind == "numerical":
        return min(1.0, float(np.sqrt(-np.log(found.level / 2) / 2 / both)))
    if found.kind == "null rate":
        return 0.0
    # of a chi-square test the statistic and p tell how many cells there were
    cells = np.arange(1, N_CELLS)
    freedom = cells[np.abs(stats.chi2.sf(found.statistic, cells) - found.p).argmin()]
    return float(stats.chi2.isf(found.level, freedom) / (2 * np.log(2) * both))


def compare(
    sample: Any,
    before: Any,
    columns: dict[str, Column],
    thresholds: Thresholds,
    alpha: float,
    others: int = 0,
) -> list[ColumnDrift]:
    """Compare two tables as check_data does; `alpha` is shared with `others` more tests."""
    data = _data(columns, thresholds)
    found = drift.compare(sample, before, data, alpha, others)
    return [each for each in found if each.column != TARGET]


def _data(columns: dict[str, Column], thresholds: Thresholds) -> Data:
    return Data(
        file_url="recorded",
        target=TARGET,
        columns=columns | {TARGET: Column(dtype="string", role="target")},
        min_effect=thresholds.min_effect,
        kl_threshold=thresholds.kl_threshold,
    )


def _columns(reference: ModelReference) -> dict[str, Column]:
    """Return the columns of the reference as the tests of drift take them: none is ignored."""
    text = Column(dtype="string", role="text", nullable=True)
    roles = {"float": "numerical", "int": "numerical", "datetime": "date"}
    columns = {}
    for name, mode in reference.modes.items():
        column = reference.columns[name]
        if column.role == "ignore":
            role = roles.get(column.dtype, "categorical")
            column = column.model_copy(update={"role": role})
        if mode != "hash":
            columns[name] = text if mode == "length" else column
    return columns


@lru_cache(maxsize=2)
def _remembered(reference: ModelReference) -> drift.Remembered:
    """Return the inputs of the reference, for as many windows as are judged by it."""
    assert reference.inputs is not None  # asked for where there are some
    columns = {name: reference.inputs[name] for name in reference.inputs.columns}
    lengths = {name for name in columns if reference.modes.get(name) == "length"}
    columns |= {name: _lengths(columns[name]) for name in lengths}
    return drift.Remembered(pd.DataFrame(columns))


def _lengths(values: pd.Series) -> pd.Series:
    """Return lengths of texts; a text without any is as good as missing."""
    return values.astype("Int32").mask(lambda lengths: lengths == 0)


def _test(found: ColumnDrift) -> str:
    return "missing" if found.kind == "null rate" else "drift"


def _null_limits(
    answered: _Answered, reference: ModelReference
) -> Iterator[tuple[str, Column, int, int]]:
    """Yield the columns whose share of missing values is limited, and how many are missing."""
    for name, column in reference.columns.items():
        if column.max_null_rate is not None and name in answered.columns and len(answered):
            n_missing = sum(int(values.isna().sum()) for values in answered.pieces(name))
            yield name, column, n_missing, len(answered)


def _over_limit(name: str, column: Column, n_missing: int, n: int, level: float) -> Judgement:
    limit = column.max_null_rate or 0.0
    p = float(stats.binom.sf(n_missing - 1, n, limit)) if limit < 1 else 1.0
    over = n_missing / n > limit
    return Judgement(
        family=INPUTS,
        test="null rate limit",
        column=name,
        outcome="failed" if over and p < level else "passed",
        reason=f"column {name!r} must be missing in at most {limit:.2%} of the rows, "
        f"{n_missing:,} of {n:,} are ({n_missing / n:.2%}), {sentences.chance(p, level)}",
        n=n,
        statistic=n_missing / n,
        effect=n_missing / n - limit,
        p_value=p,
        alpha=level,
        threshold=0.0,
        low=0.0,
        high=limit,
    )


def _broken(answered: _Answered, reference: ModelReference) -> tuple[int, list[str]]:
    """Return how many rows break a rule, and a sentence for each rule that is broken.

    The log is typed: what is left to break are nulls, limits and lists.
    """
    wrong, said = np.zeros(len(answered), dtype=bool), []
    for name in answered.columns:
        column = reference.columns[name]
        if reference.modes[name] == "length":
            column = column.model_copy(update={"allowed": None})
        asks: dict[str, Any] = {}
        if column.min is not None or column.max is not None:
            asks["range"] = rules.in_range
        if column.allowed is not None:
            asks["allowed values"] = rules.is_allowed
        if not column.nullable:
            asks["no nulls"] = lambda values, _: values.notna()
        for rule, is_right in asks.items():
            broken = ~_joined(is_right(values, column) for values in answered.pieces(name))
            if broken.any():
                n_broken = int(broken.sum())
                asked = "not be null"
                if rule != "no nulls":
                    first = next(iter(answered.pieces(name)))
                    asked = sentences.expectation(first, column, rule)[0]
                said.append(
                    f"column {name!r} must {asked}, {n_broken:,} of {len(wrong):,} rows break it"
                )
                wrong |= broken
    return int(wrong.sum()), said


def _joined(parts: Iterable[pd.Series]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=bool), *(part.to_numpy(bool) for part in parts)])
