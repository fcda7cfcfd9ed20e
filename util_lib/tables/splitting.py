"""Which rows are measured on where rows belong together or follow each other: by group, by time.

The rules are scikit-learn's GroupShuffleSplit and TimeSeriesSplit with shares of rows, not of
groups: as many rows as asked for, as near as groups and equal times allow.
"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from util_lib import cli, validation
from util_lib.dataset.splits import BY
from util_lib.errors import UserError

MICROSECONDS = 86_400_000_000  # of a day
DRAWS = 20  # orders of the groups, of which the one nearest to the asked shares counts


class Rule(NamedTuple):
    """By what rows are divided: random, or by the groups or the times of a column."""

    by: str = "random"
    column: str | None = None
    gap: float = 0.0

    def about(self) -> dict[str, dict[str, str | float | None]]:
        """Return what a model's metadata say of it: nothing of the usual one."""
        return {} if self.by == "random" else {"split": self._asdict()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name what says how rows are divided (`data.split`)."""
    parser.add_argument(
        "--split_by", choices=BY, default="random", help="random, or by group or time of a column"
    )
    parser.add_argument(
        "--split_column", type=cli.optional, default="null", help="of by group or time, or null"
    )
    parser.add_argument(
        "--split_gap",
        type=cli.number(0),
        default="0",
        help="by time: rows so shortly before the newest are left out; days, or the column's unit",
    )


def rule(args: argparse.Namespace) -> Rule:
    """Return what `add_arguments` read."""
    return Rule(args.split_by, args.split_column, args.split_gap)


def groups_of(rows: Any, how: Rule) -> np.ndarray | None:
    """Number the groups of rows that a split keeps together; None where it keeps none."""
    if how.by != "group" or how.column not in rows:
        return None
    return rows[how.column].factorize()[0]


def part(
    values: Any, how: Rule, size: float, seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the rows to fit on and of the rows to measure on, in the table's order.

    `values` are those of the rule's column, of pandas or Arrow, `size` is the share of rows to
    measure on. By group `labels`, codes from 0, keep their shares as near as groups allow.
    """
    column = _column(values, how)
    if how.by == "group":
        measured = _groups(_codes(column), size, seed, labels)
        return np.flatnonzero(~measured), np.flatnonzero(measured)
    when = _times(column, how)
    ordered = np.sort(when)
    edge = ordered[len(ordered) - max(1, int(np.ceil(size * len(ordered))))]
    measured = when >= edge
    if abs((when > edge).mean() - size) < abs(measured.mean() - size) and (when > edge).any():
        measured = when > edge  # rows of one moment stay together
    return _before(when, measured, how, size)


def folds(
    values: Any, how: Rule, n_folds: int, seed: int, labels: Any = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the places of the rows of each fold: to fit on, to measure on.

    By time every fold is measured on rows that are newer than those it is fitted on.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, TimeSeriesSplit

    column = _column(values, how)
    if how.by == "group":
        kind = GroupKFold if labels is None else StratifiedGroupKFold
        splitter = kind(n_folds, shuffle=True, random_state=seed)
        yield from splitter.split(np.zeros(len(column)), labels, _codes(column))
        return
    when = _times(column, how)
    moments = np.unique(when)
    for _, newer in TimeSeriesSplit(n_folds).split(moments):
        inside = (when >= moments[newer[0]]) & (when <= moments[newer[-1]])
        yield _before(when, inside, how, None)


def check_column(names: list[str], how: Rule) -> None:
    """Raise `UserError` if the table lacks the column."""
    if how.column is not None and how.column not in names:
        raise UserError(f"split: {validation.choose('column', how.column, names)}")


def _column(values: Any, how: Rule) -> pa.Array:
    """Return the column as Arrow has it; raise `UserError` if a row has no value."""
    known = isinstance(values, pa.Array | pa.ChunkedArray)
    column = values if known else pa.array(values)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if column.null_count:
        raise UserError(
            f"split by {how.by}: column {how.column!r} must have a value in every row, "
            f"{column.null_count:,} of {len(column):,} rows have none"
        )
    return column


def _codes(column: pa.Array) -> np.ndarray:
    return column.dictionary_encode().indices.to_numpy()


def _times(column: pa.Array, how: Rule) -> np.ndarray:
    """Return when rows were: numbers as they are, dates in days, either also as text."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for kind in (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
            try:
                column = column.cast(kind)
                break
            except pa.ArrowInvalid:
                continue
    if pa.types.is_temporal(column.type):
        return column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() / MICROSECONDS
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy()
    raise UserError(
        f"split by time: column {how.column!r} must hold dates or numbers, found "
        f"{column[0].as_py()!r}: declare it with dtype datetime"
    )


def _groups(groups: np.ndarray, size: float, seed: int, labels: np.ndarray | None) -> np.ndarray:
    """Mark the rows of some groups: of `DRAWS` orders the one with the nearest shares."""
    n_groups = groups.max() + 1 if len(groups) else 0
    if n_groups < 2:
        raise UserError(f"split by group: there are {n_groups} groups, and both parts need one")
    labels = np.zeros(len(groups), dtype=int) if labels is None else labels
    counts = np.zeros((n_groups, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    wanted, random = size * counts.sum(axis=0), np.random.default_rng(seed)
    found: list[tuple[float, int, np.ndarray]] = []
    for _ in range(DRAWS):
        order = random.permutation(n_groups)
        rows = np.cumsum(counts[order].sum(axis=1))
        n_taken = int(np.abs(rows[:-1] - size * len(groups)).argmin()) + 1
        taken = order[:n_taken]
        found.append((float(np.abs(counts[taken].sum(axis=0) - wanted).sum()), len(found), taken))
    return np.isin(groups, min(found)[2])


def _before(
    when: np.ndarray, measured: np.ndarray, how: Rule, size: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows before those `measured`, at least the gap before, and these."""
    fitted = when < when[measured].min() - how.gap
    if not fitted.any():
        share = "" if size is None else f", a share of {size:g}"
        raise UserError(
            f"split by time: no row of {len(when):,} is older than those to measure on (column "
            f"{how.column!r}{share}, a gap of {how.gap:g}): take fewer to measure on, or a smaller "
            "gap"
        )
    return np.flatnonzero(fitted), np.flatnonzero(measured)
