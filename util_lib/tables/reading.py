"""Reads and writes tables: parquet and CSV files. No row index is ever written."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import csv_files
from util_lib.tables.csv_files import PARQUET_MAGIC, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet as pq

PARQUET_SUFFIXES = (".parquet", ".pq")
OURS = Csv()  # how `write` writes a CSV file


def is_parquet(path: str | Path, format: str = "auto") -> bool:
    """Say whether a file is to be read as parquet: by its suffix, else by its first bytes.

    A `format` other than auto decides alone.
    """
    if format != "auto":
        return format == "parquet"
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PARQUET_SUFFIXES or suffix == ".csv":
        return suffix != ".csv"
    with path.open("rb") as file:
        return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC


def fetch(artifact: Any, folder: str | Path) -> str:
    """Fetch the table that `artifact` holds, its one file, into `folder`; return its path."""
    if (n_files := len(artifact.manifest.entries)) != 1:
        raise UserError(
            f"artifact {artifact.name!r} (type {artifact.type}) holds {n_files} files, and a table "
            "is one file: give the name of an artifact with a table"
        )
    return artifact.file(str(folder))


def shape(path: str | Path) -> tuple[list[str], int]:
    """Return the column names of a file and its number of rows; `UserError` if it is no table."""
    path = Path(path)
    _check_file(path)
    if is_parquet(path):
        with _parquet(path) as file:
            names, n_rows = file.schema_arrow.names, file.metadata.num_rows
    else:
        names, n_rows = csv_files.check(path, OURS)
    _check_shape(path, len(names), n_rows)
    return names, n_rows


def read(
    path: str | Path,
    text_columns: Iterable[str] = (),
    csv: Csv = OURS,
    format: str = "auto",
    names: list[str] | None = None,
) -> "pd.DataFrame":
    """Return the table in a parquet or CSV file; `UserError` if it holds none.

    `csv` says how a CSV file is written, and where it has no header `names` are its columns. An
    empty field and the words of `csv.missing` are missing. Words such as NA are missing in columns
    of numbers only: elsewhere they may be values (NA is also Namibia). `text_columns` stay text
    even where every value looks like a number ("007").
    """
    path = Path(path)
    _check_file(path)
    if is_parquet(path, format):
        frame = _read_parquet(path)
    else:
        frame = csv_files.read(path, set(text_columns), csv, names)
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
            refuse_repeated(path, file.schema_arrow.names)
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].strip().rstrip(".")
        with path.open("rb") as start:
            other = start.read(len(PARQUET_MAGIC)) != PARQUET_MAGIC
        raise UserError(
            f"{path.name} is no complete parquet file ({reason}): "
            + ("if it is CSV, set data.format to csv; else " if other else "")
            + "make or download it again"
        ) from error


def _read_parquet(path: Path) -> "pd.DataFrame":
    with _parquet(path) as file:
        frame = file.read().to_pandas()
    # A named index is a column that some writer set aside; an unnamed one only counts rows.
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame
