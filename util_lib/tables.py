"""Reads and writes tables: parquet and CSV files. No row index is ever written."""

import csv
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from util_lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet as pq

PARQUET_SUFFIXES = (".parquet", ".pq")
PARQUET_MAGIC = b"PAR1"
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def is_parquet(path: str | Path) -> bool:
    """Say whether a file is to be read as parquet: by its suffix, else by its first bytes."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PARQUET_SUFFIXES or suffix == ".csv":
        return suffix != ".csv"
    with path.open("rb") as file:
        return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC


def shape(path: str | Path) -> tuple[list[str], int]:
    """Return the column names of a file and its number of rows; `UserError` if it is no table."""
    path = Path(path)
    _check_file(path)
    if is_parquet(path):
        with _parquet(path) as file:
            names, n_rows = file.schema_arrow.names, file.metadata.num_rows
    else:
        names, n_rows = _check_csv(path)
    _check_shape(path, len(names), n_rows)
    return names, n_rows


def read(path: str | Path, text_columns: Iterable[str] = ()) -> "pd.DataFrame":
    """Return the table in a parquet or CSV file; `UserError` if it holds none.

    In a CSV file an empty field is missing. Words such as NA are missing in columns of numbers
    only: elsewhere they may be values (NA is also Namibia). `text_columns` stay text even where
    every value looks like a number ("007").
    """
    path = Path(path)
    _check_file(path)
    parquet = is_parquet(path)
    frame = _read_parquet(path) if parquet else _read_csv(path, set(text_columns))
    _check_shape(path, frame.shape[1], len(frame))
    return frame


def write(frame: "pd.DataFrame", path: str | Path) -> None:
    """Write a table to `path`, as CSV if it ends in .csv, else as parquet.

    The row index is not written. The same table gives the same bytes.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
    else:
        frame.to_parquet(path, index=False, engine="pyarrow")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a directory: expected a parquet or CSV file")
    if not path.is_file():
        raise UserError(f"{path} does not exist: expected a parquet or CSV file")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes): expected a parquet or CSV file")


def _check_shape(path: Path, n_columns: int, n_rows: int) -> None:
    if n_columns == 0:
        raise UserError(f"{path.name} has no columns: expected a table")
    if n_rows == 0:
        raise UserError(f"{path.name} has columns but no rows: expected at least one")


@contextmanager
def _parquet(path: Path) -> Iterator["pq.ParquetFile"]:
    """Open a parquet file; what is wrong with it, also while it is read, becomes a `UserError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _refuse_repeated(path, file.schema_arrow.names)
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].strip().rstrip(".")
        raise UserError(
            f"{path.name} is no complete parquet file ({reason}): make or download it again"
        ) from error


def _read_parquet(path: Path) -> "pd.DataFrame":
    with _parquet(path) as file:
        frame = file.read().to_pandas()
    # A named index is a column that some writer set aside; an unnamed one only counts rows.
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame


def _read_csv(path: Path, text_columns: set[str]) -> "pd.DataFrame":
    import pandas as pd

    header, _ = _check_csv(path)
    options = {
        "low_memory": False,  # else a column can change its type in the middle of a file
        "index_col": False,
    }
    text = {name: "str" for name in header if name in text_columns}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, dtype=text, **options)
            # In a column of text only an empty field is missing: read those again.
            texts = [
                name
                for name, column in frame.items()
                if not pd.api.types.is_numeric_dtype(column) and column.isna().any()
            ] + [name for name, column in frame.items() if column.isna().all()]
            if texts:
                again = pd.read_csv(
                    path,
                    dtype=text,
                    usecols=list(dict.fromkeys(texts)),
                    keep_default_na=False,
                    na_values=[""],
                    **options,
                )
                for name in again:
                    frame[name] = again[name]
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path.name} is no readable CSV file: {error}") from error
    return frame


def _check_csv(path: Path) -> tuple[list[str], int]:
    """Read through a CSV file once; return its header and its number of rows.

    Every row must have as many fields as the header; blank lines are no rows.
    """
    with path.open("rb") as file:
        if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
            raise UserError(f"{path.name} is a parquet file: give it a name ending in .parquet")
    n_rows = 0
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if not any(name.strip() for name in header):
                raise UserError(f"{path.name} has no columns: its first line is empty")
            if len(header) == 1:
                for separator, word in OTHER_SEPARATORS.items():
                    if separator in header[0]:
                        raise UserError(
                            f"{path.name} has its fields separated by {word}: expected commas"
                        )
            _refuse_repeated(path, header)
            for row in rows:
                if len(row) not in (len(header), 0):
                    raise UserError(
                        f"{path.name} line {rows.line_num} has {len(row)} fields, its header has "
                        f"{len(header)}: the file is truncated or not CSV"
                    )
                n_rows += bool(row)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path.name} is not UTF-8 text (byte 0x{error.object[error.start]:02x}): save it as "
            "UTF-8"
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{path.name} is no complete CSV file (line {rows.line_num}: {error})"
        ) from error
    return header, n_rows


def _refuse_repeated(path: Path, names: list[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"{path.name} has several columns called {repeated[0]!r}: column names must differ"
        )
