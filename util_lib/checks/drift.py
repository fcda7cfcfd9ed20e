"""Whether a table is distributed as another one, its reference, is: column by column.

Numbers and dates are compared by the two-sample Kolmogorov-Smirnov (KS) test; categories, classes
and text lengths by the chi-square test and the Kullback-Leibler (KL) divergence of their shares;
missing values are left out of both and their rate is compared on its own. A test tells whether two
tables differ, and in large tables everything does: so a verdict needs an effect of some size too,
`data.min_effect` or `data.kl_threshold`. docs/data_gate.md says how to set them.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from util_lib.checks import kolmogorov
from util_lib.checks.kolmogorov import Sorted
from util_lib.checks.sentences import chance
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.processes import tasks
from util_lib.processes.tasks import Each
from util_lib.tables.column_values import as_date, as_numbers, missing, pieces

TOP_CATEGORIES = 50  # the most frequent of both tables; the others count as one
LENGTH_BINS = 10  # of text lengths, at the quantiles of both tables together
MIN_EXPECTED = 5  # rows that chi-square needs in each cell (Cochran's rule)
OTHERS = "(others)"


class ColumnDrift(NamedTuple):
    """One test of one column, and its verdict.

    `kind` is `numerical`, `categorical`, `text length`, `null rate` or `target`. `statistic` is KS
    or chi-square; `effect` is in the unit of its threshold: the KS statistic for numbers (0 to 1),
    KL in bits for categories, classes and text lengths, the difference of the two rates for nulls.
    Not `tested`: one of the tables has no values; then p is 1 and nothing drifts.
    """

    column: str
    kind: str
    statistic: float
    p: float
    level: float
    effect: float
    drifted: bool
    sentence: str
    tested: bool = True


class _Test(NamedTuple):
    """A comparison before all are counted, which its level depends on."""

    column: str
    kind: str
    statistic: float
    p: float
    effect: float
    enough: bool  # whether the effect reaches its threshold
    measure: str  # "KS statistic 0.123 >= 0.05"
    detail: str  # "medians 3 and 4"


class _Untested(NamedTuple):
    column: str
    kind: str
    reason: str


class _Side(NamedTuple):
    """What one table has in a column: numbers, or how often each value or length of text occurs."""

    n_missing: int
    n_values: int
    numbers: Sorted
    counts: pd.Series


class Remembered:
    """A table that is compared more than once: what is in its columns is counted once."""

    def __init__(self, table: pd.DataFrame):
        """Count nothing yet."""
        self.columns, self.empty, self._table = table.columns, table.empty, table
        self.sides: dict[str, _Side] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._table)

    def pieces(self, name: str) -> list[pd.Series]:
        """Return a column."""
        return [self._table[name]]


def compare(
    sample: Any,
    reference: Any,
    data: Data,
    ks_alpha: float,
    others: int = 0,
    each: Each = tasks.here,
) -> list[ColumnDrift]:
    """Compare each declared column that is not ignored, in the order of the declaration.

    `ks_alpha` is the chance of at least one false alarm over all tests together, `others` that are
    made elsewhere included; each test is held to its Šidák level. A column that one of the tables
    lacks or has no values of is returned as not tested. `each` compares the columns, see `tasks`.
    """
    names = [name for name, column in data.columns.items() if column.role != "ignore"]
    tests = [*chain(*each(partial(_tests_of, sample, reference, data), names))]
    n_tests = others + sum(isinstance(test, _Test) for test in tests)
    level = sidak(ks_alpha, max(1, n_tests))
    return [_judged(test, level) for test in tests]


def sidak(alpha: float, n_tests: int) -> float:
    """Return the level of each of `n_tests` tests so that all together err with chance `alpha`.

    Šidák's correction: 1 - (1 - alpha)^(1 / n).
    """
    return 1 - (1 - alpha) ** (1 / n_tests)


def compare_shares(
    name: str, n_missing: list[int], n_rows: tuple[int, int], data: Data, level: float
) -> ColumnDrift:
    """Compare the share of rows that lack something in a sample with that in a reference."""
    return _judged(_null_rates(name, n_missing, n_rows, data), level)


def divergence(counts: np.ndarray) -> float:
    """Return the KL divergence, in bits, of the shares in column 0 from those in column 1.

    `counts` has a row for each category. Half a row is added to every cell, so that a category
    that one side lacks gives a large number and not an infinite one.
    """
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=0)
    return max(0.0, float((shares[:, 0] * np.log2(shares[:, 0] / shares[:, 1])).sum()))


def _tests_of(sample: Any, reference: Any, data: Data, name: str) -> list[_Test | _Untested]:
    return [*_tests(sample, reference, name, data.columns[name], data)]


def _tests(
    sample: Any, reference: Any, name: str, column: Column, data: Data
) -> Iterator[_Test | _Untested]:
    kind = _kind(column, data)
    for frame, which in ((sample, "sample"), (reference, "reference")):
        if name not in frame.columns:
            yield _Untested(name, kind, f"the {which} does not have it")
            return
    text = column.role == "text"
    numeric = _is_numeric(column, data)
    try:
        new, old = (_side(frame, name, column, numeric) for frame in (sample, reference))
    except TypeError:  # lists and records have no hash
        new, old = (
            _side(frame, name, column, numeric, as_text=True) for frame in (sample, reference)
        )
    for frame, side, which in (sample, new, "sample"), (reference, old, "reference"):
        if not side.n_values:
            values_are = "dates" if column.dtype == "datetime" else "numbers"
            what = "rows" if frame.empty else f"{values_are if numeric else 'values'} in it"
            yield _Untested(name, kind, f"the {which} has no {what}")
            break
    else:
        if numeric:
            yield _numbers(name, kind, new.numbers, old.numbers, data)
        else:
            count = _length_bins if text else _counts
            counts = count(new.counts, old.counts)
            yield _categories(name, kind, counts, data)
    if (column.nullable or text) and len(sample) and len(reference):
        n_missing = [side.n_missing for side in (new, old)]
        if any(n_missing):
            yield _null_rates(name, n_missing, (len(sample), len(reference)), data)


def _kind(column: Column, data: Data) -> str:
    if column.role == "target":
        return "target"
    if column.role == "text":
        return "text length"
    return "numerical" if _is_numeric(column, data) else "categorical"


def _is_numeric(column: Column, data: Data) -> bool:
    if column.role == "target":
        return data.task == "regression"
    return column.role in ("numerical", "date")


def _side(frame: Any, name: str, column: Column, numeric: bool, *, as_text: bool = False) -> _Side:
    """Go through a column; `TypeError` where its values cannot be counted, but `as_text`.

    What is of another type is left out: `check_data` names it elsewhere.
    """
    if isinstance(frame, Remembered):
        if name not in frame.sides:
            frame.sides[name] = _counted_side(frame, name, column, numeric, as_text)
        return frame.sides[name]
    return _counted_side(frame, name, column, numeric, as_text)


def _counted_side(frame: Any, name: str, column: Column, numeric: bool, as_text: bool) -> _Side:
    text = column.role == "text"
    n_missing = n_values = 0
    numbers, counted = Sorted(), []
    for values in pieces(frame, name):
        gone = missing(values, text=text)
        n_missing += int(gone.sum())
        if gone.any():
            values = values[~gone]
        if numeric:
            values = as_numbers(values, dates=column.dtype == "datetime").dropna()
            numbers.add(values.to_numpy())
        else:
            values = _lengths(values) if text else values.astype(str) if as_text else values
            counted.append(_counted(values))
        n_values += len(values)
    numbers.end()
    counts = counted[0] if counted else pd.Series(dtype="int64")
    if len(counted) > 1:
        counts = pd.concat(counted).groupby(level=0, sort=False).sum()
        counts = counts.sort_values(ascending=False, kind="stable")
    return _Side(n_missing, n_values, numbers, counts)


def _lengths(texts: pd.Series) -> pd.Series:
    if texts.dtype == "Int32":  # all that monitoring keeps of them
        return texts.astype("float64")
    try:
        return texts.str.len().dropna().astype("float64")
    except AttributeError:  # no text among them
        return texts.iloc[:0]


def _counted(values: pd.Series) -> pd.Series:
    counts = values.value_counts()
    counts = counts.set_axis(counts.index.astype(object))
    pd.factorize(counts.index)  # lists and records have no hash, and not all of pandas minds
    return counts[counts > 0]  # a pandas category may be known and not occur


def _length_bins(sample: pd.Series, reference: pd.Series) -> pd.DataFrame:
    """Count text lengths in bins that hold about as many rows of both tables together."""
    both = sample.add(reference, fill_value=0).sort_index()
    lengths, up_to = both.index.to_numpy(dtype="float64"), both.cumsum().to_numpy()
    places = np.floor((up_to[-1] - 1) * (np.arange(1, LENGTH_BINS) / LENGTH_BINS))
    edges = np.unique(lengths[np.searchsorted(up_to, places, "right")])
    names = pd.Index(
        [f"up to {edges[0]:.0f} characters"]
        + [f"{low + 1:.0f} to {high:.0f} characters" for low, high in pairwise(edges)]
        + [f"more than {edges[-1]:.0f} characters"],
        dtype=object,
    )
    binned = []
    for side in (sample, reference):
        bins = np.searchsorted(edges, side.index.to_numpy(dtype="float64"))
        n_rows = np.bincount(bins, weights=side.to_numpy(), minlength=len(names)).astype("int64")
        counts = pd.Series(n_rows, names).sort_values(ascending=False, kind="stable")
        binned.append(counts[counts > 0])
    return _counts(*binned)


def _counts(sample: pd.Series, reference: pd.Series) -> pd.DataFrame:
    """Return how often each category occurs: a row for each, the sample's counts first."""
    return pd.concat([sample, reference], axis=1, keys=["sample", "reference"]).fillna(0)


def _pooled(counts: pd.DataFrame) -> pd.DataFrame:
    """Return `counts` with rare categories as one, so that chi-square may be trusted.

    Rare are all but the TOP_CATEGORIES most frequent of both tables together, and those expected in
    fewer than MIN_EXPECTED rows of the smaller table if both are alike. Which these are must not
    depend on which table has them, ties included, or chance would find differences among them. The
    most frequent category is never pooled: two rows remain where there were two or more.
    """
    cells = counts.to_numpy()
    both, totals = cells.sum(axis=1), cells.sum(axis=0)
    expected = both * (totals.min() / totals.sum())
    if len(both) <= TOP_CATEGORIES and (expected >= MIN_EXPECTED).all():
        return counts
    labels = pd.util.hash_array(counts.index.to_numpy(dtype=object))
    order = np.lexsort((labels, -both))
    rare = expected < MIN_EXPECTED
    rare[order[TOP_CATEGORIES:]] = True
    rare[order[0]] = False
    if not rare.any():
        return counts
    kept = order[~rare[order]]
    if expected[rare].sum() < MIN_EXPECTED and len(kept) > 2:
        rare[kept[-1]] = True  # or what is pooled would be rare itself
    others = counts[rare].sum().to_frame(OTHERS).T
    return pd.concat([counts[~rare], others])


def _categories(name: str, kind: str, counts: pd.DataFrame, data: Data) -> _Test:
    from scipy import stats

    cells = _pooled(counts)
    table = cells.to_numpy(dtype="float64")
    totals = table.sum(axis=0)
    expected = np.outer(table.sum(axis=1), totals) / totals.sum()
    gaps = (table - expected) ** 2 / expected
    statistic, bits = float(gaps.sum()), divergence(table)
    if len(table) == 1:
        p = 1.0
    elif expected.min() >= MIN_EXPECTED:
        p = float(stats.chi2.sf(statistic, len(table) - 1))
    else:  # only two rows may still be rare: Fisher's exact test
        p = float(stats.fisher_exact(table.astype("int64")).pvalue)
    worst = int(gaps.max(axis=1).argmax())
    ours, theirs = table[worst] / totals
    label = _shown(cells.index[worst], kind)
    enough = bits >= data.kl_threshold
    return _Test(
        name,
        kind,
        statistic,
        p,
        bits,
        enough,
        f"KL divergence {bits:.3g} bits {'>=' if enough else '<'} {data.kl_threshold:g}",
        f"{label} in {ours:.2%} of the rows, of the reference's {theirs:.2%}",
    )


def _numbers(name: str, kind: str, sample: Sorted, reference: Sorted, data: Data) -> _Test:
    statistic, p, medians = kolmogorov.compare(sample, reference)
    enough = statistic >= data.min_effect
    if data.columns[name].dtype == "datetime":
        shown = [str(as_date(median).round("s")) for median in medians]
    else:
        shown = [f"{median:.6g}" for median in medians]
    return _Test(
        name,
        kind,
        statistic,
        p,
        statistic,
        enough,
        f"KS statistic {statistic:.3f} {'>=' if enough else '<'} {data.min_effect:g}",
        f"medians {shown[0]} and {shown[1]}",
    )


def _null_rates(name: str, n_missing: list[int], n_rows: tuple[int, int], data: Data) -> _Test:
    """Compare the two rates: as two categories, for rates near 0, and by their difference."""
    counts = pd.DataFrame(
        [n_missing, [n - k for n, k in zip(n_rows, n_missing, strict=True)]],
        index=["null", "not null"],
        columns=["sample", "reference"],
    )
    test = _categories(name, "null rate", counts[counts.sum(axis=1) > 0], data)
    ours, theirs = (k / n for k, n in zip(n_missing, n_rows, strict=True))
    difference = abs(ours - theirs)
    by_difference = difference >= data.min_effect
    return test._replace(
        effect=difference,
        enough=by_difference or test.enough,
        measure=test.measure
        if test.enough and not by_difference
        else f"a difference of {difference:.3f} {'>=' if by_difference else '<'} "
        f"{data.min_effect:g}",
        detail=f"{ours:.2%} of the rows are null, of the reference's {theirs:.2%}",
    )


def _judged(test: _Test | _Untested, level: float) -> ColumnDrift:
    if isinstance(test, _Untested):
        sentence = f"column {test.column!r} was not compared: {test.reason}"
        return ColumnDrift(
            test.column, test.kind, 0.0, 1.0, level, 0.0, False, sentence, tested=False
        )
    unlikely = test.p < level
    what = {"target": "target ", "null rate": "null rate of column "}.get(test.kind, "column ")
    if test.kind == "text length":
        what = "text length of column "
    verdict = (
        "drifts from the reference"
        if unlikely and test.enough
        else "differs from the reference, by too little to call it drift"
        if unlikely
        else "shows no drift from the reference"
    )
    return ColumnDrift(
        test.column,
        test.kind,
        test.statistic,
        test.p,
        level,
        test.effect,
        unlikely and test.enough,
        f"{what}{test.column!r} {verdict}: {test.measure}, {chance(test.p, level)} ({test.detail})",
    )


def _shown(label: object, kind: str) -> str:
    if kind == "text length" or label is OTHERS:
        return str(label)
    text = repr(label.item() if isinstance(label, np.generic) else label)
    return text if len(text) <= 60 else f"{text[:57]}..."
