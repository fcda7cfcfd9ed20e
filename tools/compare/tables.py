"""Where two tables first differ: columns, types, number of rows, or a cell."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib.tables.reading import is_parquet


def is_table(path: Path) -> bool:
    """Say whether a file is read as a table: a parquet file, or one called .csv."""
    return path.suffix.lower() == ".csv" or is_parquet(path)


def difference(before: Path, now: Path) -> str:
    """Return the first difference of two tables in one line; rows are counted from 0."""
    old, new = read(before), read(now)
    if list(old.columns) != list(new.columns):
        return _of_columns(list(map(str, old.columns)), list(map(str, new.columns)))
    sentences = []
    if len(old) != len(new):
        sentences.append(f"{len(old):,} -> {len(new):,} rows")
    if other := [name for name in old.columns if old[name].dtype != new[name].dtype]:
        types = [type_of(frame[other[0]]) for frame in (old, new)]
        sentences.append(f"column {other[0]!r}: type {' -> '.join(types)}")
    if cell := _first_cell(old, new):
        sentences.append(cell)
    return "; ".join(sentences) or _of_writing(before, now)


def read(path: Path) -> pd.DataFrame:
    """Return a table as its file has it."""
    if is_parquet(path):
        # As the file has them: 5 and 5.0, or a null in a column of numbers, are no detail here.
        return pq.read_table(path).to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="replace")


def type_of(column: pd.Series) -> str:
    """Return the name of a column's type."""
    return str(column.dtype).removesuffix("[pyarrow]")


def _of_columns(old: list[str], new: list[str]) -> str:
    if gone := [name for name in old if name not in new]:
        return f"column {gone[0]!r} is gone"
    if added := [name for name in new if name not in old]:
        return f"column {added[0]!r} is new"
    at = next(n for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return f"columns in another order: number {at} is {old[at]!r} -> {new[at]!r}"


def _first_cell(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """Describe the differing cell in the earliest row, there the leftmost; empty for none."""
    n_rows = min(len(old), len(new))
    found: tuple[int, str] | None = None
    for name in old.columns:
        differs = differing(old[name].iloc[:n_rows], new[name].iloc[:n_rows])
        if differs.any():
            row = int(np.argmax(differs))
            if found is None or row < found[0]:
                found = (row, name)
    if found is None:
        return ""
    row, name = found
    values = (_shown(frame[name].iloc[row]) for frame in (old, new))
    return f"row {row}, column {name!r}: {' -> '.join(values)}"


def differing(old: pd.Series, new: pd.Series) -> np.ndarray:
    """Compare two columns value by value; two nulls, and two NaN, are equal."""
    null, other_null = old.isna().to_numpy(bool), new.isna().to_numpy(bool)
    if old.dtype != new.dtype:
        pairs = zip(old.tolist(), new.tolist(), strict=True)
        unequal = np.array([_unequal(a, b) for a, b in pairs], dtype=bool)
    elif isinstance(old.dtype, pd.ArrowDtype) and pa.types.is_nested(old.dtype.pyarrow_dtype):
        pairs = zip(old.tolist(), new.tolist(), strict=True)
        unequal = np.array([repr(a) != repr(b) for a, b in pairs], dtype=bool)
    else:
        unequal = (old != new).fillna(False).to_numpy(bool)
    if old.dtype.kind == new.dtype.kind == "f":
        a, b = (column.to_numpy(float, na_value=np.nan) for column in (old, new))
        unequal &= ~(np.isnan(a) & np.isnan(b))
    return (unequal & ~(null & other_null)) | (null != other_null)


def _unequal(a: Any, b: Any) -> bool:
    if a is pd.NA or b is pd.NA:  # told by `isna` already
        return False
    return bool(np.any(np.asarray(a != b)))


def _shown(value: Any) -> str:
    if value is pd.NA or value is None:
        return "null"
    text = repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _of_writing(before: Path, now: Path) -> str:
    """Equal values in unequal files: say what about the files differs."""
    if is_parquet(before):
        old, new = (pq.read_metadata(path) for path in (before, now))
        if old.created_by != new.created_by:
            return f"the same values, written by {old.created_by} -> {new.created_by}"
        if old.metadata != new.metadata:
            return "the same values, with other metadata in the file"
    return "the same values, written in another way"
