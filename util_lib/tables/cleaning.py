"""How a raw table becomes the one that is declared: pure functions, in the order of `clean`.

Every rule says in the log what it changed. A rule that names a column which is not there, or that
leaves no row, is a `UserError`; values of a wrong type are left for check_data to name.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from util_lib import partitions, validation
from util_lib.dataset import expressions, repeats
from util_lib.dataset.clean import Keep
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data, TextFeature
from util_lib.errors import UserError
from util_lib.tables import computing, csv_files, reading

logger = logging.getLogger("cleaning")

DUPLICATES = "duplicates"


def names_in_file(data: Data) -> list[str]:
    """Return the declared columns as the file calls them: without those that are derived."""
    old = {new: name for name, new in data.clean.rename.items()}
    return [old.get(name, name) for name in data.columns if name not in data.derived]


def columns_in_file(data: Data) -> dict[str, Column]:
    """Return the declared columns by their names in the file: without those that are derived."""
    declared = [column for name, column in data.columns.items() if name not in data.derived]
    return dict(zip(names_in_file(data), declared, strict=True))


def read(path: str | Path, data: Data) -> pd.DataFrame:
    """Return the raw table in a file that is written as `data` declares, in the declared types."""
    columns = columns_in_file(data)
    names = [*columns]
    by_file = data.partition.by == "file" and data.test == partitions.NEWEST
    if by_file:
        columns[partitions.COLUMN] = data.table_columns[partitions.COLUMN]
    return reading.read(
        path,
        columns,
        data.csv,
        data.format,
        names,
        data.sheet,
        max_rows=data.max_rows,
        partition=partitions.COLUMN if by_file else None,
    )


def clean(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` cleaned as `data` declares, its rows counted from 0.

    In this order: rename, keep_rows, drop_nulls, duplicates, drop_columns, derived columns, missing
    text, text feature.
    """
    return clean_and_count(frame, data)[0]


def clean_and_count(frame: pd.DataFrame, data: Data) -> tuple[pd.DataFrame, float]:
    """Return `frame` cleaned, and the share of rows that were dropped as repeats of others."""
    frame = named(frame, data)
    for rule, select in row_rules(data).items():
        frame = _logged(frame, rule, select)
    whole, frame = frame, narrow(declared_only(frame, data))
    share = 0.0
    if how := repeats.declared(data):
        repeated = repeated_rows(whole[compared(whole, how)], how)
        frame = _logged(frame, DUPLICATES, lambda rows: rows[~repeated])
        share = float(repeated.mean())
    return with_new_columns(frame, data), share


def named(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` with its columns called as `data` says, its rows counted from 0."""
    frame = rename(frame.reset_index(drop=True), data.clean.rename)
    for name in data.clean.drop_columns:
        _known(frame, "clean.drop_columns", name)
    return frame


def row_rules(data: Data) -> dict[str, Callable[[pd.DataFrame], pd.DataFrame]]:
    """Return what drops rows for what stands in them alone, by its key, in this order."""
    rules: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        f"clean.keep_rows.{name}": partial(keep_rows, name=name, keep=keep)
        for name, keep in data.clean.keep_rows.items()
    }
    if data.clean.drop_nulls:
        rules["clean.drop_nulls"] = partial(drop_nulls, names=data.clean.drop_nulls)
    return rules


def declared_only(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` without the columns that `data` drops; the declared ones must be there."""
    frame = frame.drop(columns=data.clean.drop_columns)
    check_columns(frame, data)
    return frame


def with_new_columns(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` with the derived columns, missing text as '' and the text feature."""
    for name, expression in data.derived.items():
        frame = frame.assign(**{name: derive(frame, name, expression, data.columns)})
    return add_text_feature(fill_missing_text(frame, data.columns), data.text_feature)


def rename(frame: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Return `frame` with columns called anew; every old name must be there, no new one yet."""
    for old in names:
        _known(frame, "clean.rename", old)
    renamed = [names.get(name, name) for name in frame.columns]
    if twice := [name for name in names.values() if renamed.count(name) > 1]:
        raise UserError(
            f"clean.rename: the table would have several columns called {twice[0]!r}: choose "
            "another name"
        )
    return frame.set_axis(renamed, axis="columns")


def keep_rows(frame: pd.DataFrame, name: str, keep: Keep) -> pd.DataFrame:
    """Return the rows whose value of column `name` is within the limits of `keep`."""
    rule = f"clean.keep_rows.{name}"
    _known(frame, rule, name)
    column = frame[name]
    kept = column.notna()
    for bound, compare in ((keep.min, pd.Series.ge), (keep.max, pd.Series.le)):
        if bound is not None:
            kept &= _compared(column, bound, compare, rule)
    if keep.allowed is not None:
        kept &= column.isin(keep.allowed)
    return frame[kept | column.isna()] if keep.nullable else frame[kept]


def _compared(column: pd.Series, bound: Any, compare: Callable, rule: str) -> pd.Series:
    """Compare a column with a bound of its own kind: a number, or a date."""
    is_date = not isinstance(bound, int | float)
    if is_date and pd.api.types.is_datetime64_any_dtype(column):
        timestamp = pd.Timestamp(bound)
        if (column.dt.tz is None) != (timestamp.tz is None):
            column, timestamp = (
                pd.to_datetime(column, utc=True),
                pd.to_datetime(timestamp, utc=True),
            )
        return compare(column, timestamp)
    if is_date or not pd.api.types.is_numeric_dtype(column):
        kind = "dates (dtype datetime, ISO 8601)" if is_date else "numbers"
        values = column.dropna()
        if not is_date:
            values = values[pd.to_numeric(values, errors="coerce").isna()]
        found = repr(values.tolist()[0]) if len(values) else str(column.dtype)
        raise UserError(f"{rule}: a bound of {bound} needs a column of {kind}, found {found}")
    return compare(column, bound)


def drop_nulls(frame: pd.DataFrame, names: bool | list[str]) -> pd.DataFrame:
    """Return the rows with a value in the named columns; True = in every column."""
    if names is True:
        return frame.dropna()
    for name in names or []:
        _known(frame, "clean.drop_nulls", name)
    return frame.dropna(subset=names or [])


def narrow(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with numpy's types where pandas' nullable ones have nothing to mark.

    The rows with gaps may have been dropped since the table was read.
    """
    types = {
        str(name): values.dtype.numpy_dtype
        for name, values in frame.items()
        if isinstance(values.dtype, pd.api.extensions.ExtensionDtype)
        and hasattr(values.dtype, "numpy_dtype")
        and not values.isna().any()
    }
    return frame.astype(types)


def check_columns(frame: pd.DataFrame, data: Data) -> None:
    """Raise `UserError` for a declared column that the table lacks, or a new one that it has."""
    columns = list(map(str, frame.columns))
    for name in data.columns:
        if name not in columns and name not in data.derived:
            near = validation.nearest(name, [c for c in columns if c not in data.columns])
            no_header = csv_files.looks_like_values(columns)
            raise UserError(
                f"column {name!r} is declared and the table does not have it"
                + (f"; the nearest is {near!r}" if near else "")
                + f"; it has {', '.join(columns)}"
                + (": if these are values, set data.csv.header to false" if no_header else "")
            )
    new = dict.fromkeys(data.derived, "derived")
    if data.text_feature:
        new[data.text_feature.name] = "text_feature.name"
    for name, key in new.items():
        if name in columns:
            raise UserError(f"{key} {name!r} is a column of the table already: choose another name")


def compared(frame: pd.DataFrame, how: repeats.Duplicates) -> list[str]:
    """Return the columns in which rows that repeat are equal."""
    for name in how.columns or []:
        _known(frame, "duplicates.columns", name)
    return how.columns or [name for name in frame.columns if name != partitions.COLUMN]


def repeated_rows(frame: pd.DataFrame, how: repeats.Duplicates) -> pd.Series:
    """Mark the rows that repeat another, all but the first or the last of each."""
    try:
        return frame.duplicated(keep=how.keep)
    except TypeError:
        nested = [
            name
            for name, column in frame.items()
            if column.map(
                lambda value: isinstance(value, list | dict) or hasattr(value, "shape")
            ).any()
        ]
        raise not_comparable(nested) from None


def not_comparable(nested: list[Any]) -> UserError:
    """Return why rows cannot be compared, of which the `nested` columns hold more than a value."""
    return UserError(
        f"column {nested[0]!r} holds lists or records: expected one value in each cell"
    )


def derive(
    frame: pd.DataFrame, name: str, expression: str, columns: dict[str, Column]
) -> pd.Series:
    """Return the values of a derived column, made of the others as `columns` declares them."""
    for column in expressions.columns_of(expression, name):
        _known(frame, f"derived.{name}", column)
    try:
        return computing.compute(expression, frame, columns)
    except computing.TooLargeError as error:
        raise computing.TooLargeError(f"derived.{name}: {error}", error.rows) from None
    except (ValueError, ArithmeticError) as error:
        raise UserError(
            f"derived.{name}: {expression!r} cannot be computed: {' '.join(str(error).split())}"
        ) from error


def fill_missing_text(frame: pd.DataFrame, columns: dict[str, Column]) -> pd.DataFrame:
    """Return `frame` with '' for missing values in the columns of role text.

    A column that holds something else than text is left as it is: `check_data` will say so.
    """
    filled = {}
    for name, column in columns.items():
        if column.role != "text":
            continue
        if frame[name].isna().all():
            filled[name] = pd.Series("", index=frame.index, dtype="str")
        elif pd.api.types.is_string_dtype(frame[name].dropna()):
            filled[name] = frame[name].fillna("")
    return frame.assign(**filled)


def add_text_feature(frame: pd.DataFrame, feature: TextFeature | None) -> pd.DataFrame:
    """Return `frame` with one more column: the declared ones joined with one space."""
    if feature is None:
        return frame
    joined = None
    for name in feature.columns:
        column = frame[name].astype("str").fillna("")
        joined = column if joined is None else joined + " " + column
    return frame.assign(**{feature.name: joined})


def _known(frame: pd.DataFrame, rule: str, name: str) -> None:
    """Raise `UserError` if a rule names a column that the table does not have."""
    if name not in frame.columns:
        raise UserError(f"{rule}: {validation.choose('column', name, [*map(str, frame.columns)])}")


def _logged(
    frame: pd.DataFrame, rule: str, select: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """Apply a rule that drops rows and say how many."""
    kept = select(frame).reset_index(drop=True)
    log_dropped(rule, len(frame), len(kept))
    return kept


def log_dropped(rule: str, n_rows: int, n_kept: int) -> None:
    """Say how many of the rows a rule dropped; `UserError` if none is left."""
    kind = " duplicates" if rule == DUPLICATES else ""
    if not n_kept:
        raise UserError(f"{rule} leaves no row of {n_rows:,}: correct the rule, or the data")
    logger.info("%s: dropped %s%s of %s rows", rule, f"{n_rows - n_kept:,}", kind, f"{n_rows:,}")
