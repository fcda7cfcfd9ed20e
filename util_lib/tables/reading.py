"""Reads and writes tables in files: parquet, CSV, JSON, Excel and Arrow, packed or not.

A file is read in pieces, as what it holds (`pieces`); a declaration says what the values stand for
(`typed`). No row index is ever written.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from csv import QUOTE_MINIMAL, QUOTE_NONNUMERIC
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv, Data
from util_lib.errors import UserError
from util_lib.tables import csv_files, packed_files, several_files
from util_lib.tables.csv_files import PARQUET_MAGIC

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".xlsx": "excel",
    ".arrow": "arrow",
    ".feather": "arrow",
}
KNOWN = "parquet, CSV, JSON, Excel or Arrow"
OURS = Csv()  # how `write` writes a CSV file
PIECE_ROWS = 2**17
MOST_ROWS: int = Data.model_fields["max_rows"].default
VALUES_PER_ROW = 20  # a table may have so many times `max_rows` values
MOST_GAPS = 20_000_000  # of a piece whose records have few keys in common
HOW_WRITTEN = ("missing", "decimal", "thousands", "strip", "date_format")  # keys of a column


class Piece(NamedTuple):
    """Some rows of a file, by column as the file has them, with their numbers, counted from 0.

    `written`: the values are texts because the file has nothing else. `unread` holds (number, why)
    of rows that could not be read.
    """

    columns: dict[str, Any]
    numbers: Sequence[int]
    unread: list[tuple[int, str]]
    written: bool = False


def format_of(path: str | Path, format: str = "auto") -> str:
    """Return the format of a file: as declared, else by its suffix, else by its first bytes."""
    if format != "auto":
        return format
    path = files_of(Path(path))[0]
    if known := FORMATS.get(packed_files.suffix_of(path)):
        return known
    if packed_files.is_excel(path):
        return "excel"
    with packed_files.opened(path) as file:
        start = file.read(6)
    if start.startswith(PARQUET_MAGIC):
        return "parquet"
    return "arrow" if start == b"ARROW1" else "csv"


def is_parquet(path: str | Path, format: str = "auto") -> bool:
    """Say whether a file is to be read as parquet."""
    return format_of(path, format) == "parquet"


def files_of(path: Path) -> list[Path]:
    """Return the files of a table: those of a folder in the order of their names, or the one."""
    return (sorted(path.iterdir()) if path.is_dir() else []) or [path]


def fetch(artifact: Any, folder: str | Path, *, several: bool = False) -> str:
    """Fetch the table that `artifact` holds, its one file, into `folder`; return its path.

    `several` says that it may hold several files, which are one table: then it is their folder's.
    """
    n_files = len(artifact.manifest.entries)
    if several and n_files > 1:
        return artifact.download(str(folder))
    if n_files != 1:
        raise UserError(
            f"artifact {artifact.name!r} (type {artifact.type}) holds {n_files} files, and a table "
            "is one file: give the name of an artifact with a table"
        )
    return artifact.file(str(folder))


def shape(path: str | Path) -> tuple[list[str], int]:
    """Return the column names of a file and its number of rows; `UserError` if it is no table."""
    path = Path(path)
    check_file(path)
    names, n_rows = _parquet_shape(path) if is_parquet(path) else csv_files.check(path, OURS)
    check_shape(path, len(names), n_rows)
    return names, n_rows


def _parquet_shape(path: Path) -> tuple[list[str], int]:
    from util_lib.tables import parquet_files

    names, n_rows = [], 0
    for part in files_of(path):
        with parquet_files.opened(part) as file:
            names, n_rows = file.schema_arrow.names, n_rows + file.metadata.num_rows
    return names, n_rows


def refuse_large(path: Path, names: Collection[str], n_rows: int, max_rows: int) -> None:
    """Raise `UserError` for a table larger than `max_rows` allows."""
    if n_rows > max_rows or n_rows * len(names) > VALUES_PER_ROW * max_rows:
        raise UserError(
            f"{path.name} has {n_rows:,} rows or more of {len(names):,} columns: expected at most "
            f"{max_rows:,} rows, and {VALUES_PER_ROW} times as many values; raise data.max_rows if "
            "it is the right file and the memory is there"
        )


def read(
    path: str | Path,
    columns: Mapping[str, Column] | None = None,
    csv: Csv = OURS,
    format: str = "auto",
    names: list[str] | None = None,
    sheet: str | None = None,
    max_rows: int | None = MOST_ROWS,
    rows: "np.ndarray | None" = None,
    partition: str | None = None,
) -> "pd.DataFrame":
    """Return the table in a file; `UserError` if it holds none, or one larger than `max_rows` says.

    `columns` declares those that are known, by their names in the file: they come in the declared
    type, integers with gaps and booleans with gaps in pandas' nullable types. A declared column in
    which a value is of another type is left as the file has it. Others come as they are; texts of a
    CSV file as what all of a column are. `csv` says how a CSV file is written, and where it has no
    header `names` are its columns. `rows` marks those that are wanted, None = all; the column
    `partition` says of which partition the file of each row is.
    """
    import pandas as pd

    columns = columns or {}
    found, written = columns_of(Path(path), csv, format, names, sheet, max_rows, rows, partition)
    frame = {n: _column(values, columns.get(n), csv, written) for n, values in found.items()}
    return pd.DataFrame(frame)


def columns_of(
    path: Path,
    csv: Csv = OURS,
    format: str = "auto",
    names: list[str] | None = None,
    sheet: str | None = None,
    max_rows: int | None = None,
    rows: "np.ndarray | None" = None,
    partition: str | None = None,
) -> tuple[dict[str, Any], bool]:
    """Return the columns of a file as it has them: Arrow's, or lists where values are of any type.

    And whether all are texts because the file has nothing else (CSV).
    """
    gathered: dict[str, list[Any]] = {}
    written, n_rows = False, 0
    for file in files_of(path):
        check_file(file)
    if max_rows is not None and is_parquet(path, format):
        refuse_large(path, *_parquet_shape(path), max_rows)
    for piece in pieces(path, csv, format, names, sheet, partition=partition):
        if rows is not None:
            piece = _marked(piece, rows)
        if max_rows is not None:
            known = gathered.keys() | piece.columns.keys()
            refuse_large(path, known, n_rows + len(piece.numbers), max_rows)
        for number, reason in piece.unread:
            raise UserError(f"{path.name} cannot be read: record {number}, from 0: {reason}")
        written = piece.written
        for name in piece.columns:  # a record of JSON may be the first with a column
            gathered.setdefault(name, [[None] * n_rows] if n_rows else [])
        for name, parts in gathered.items():
            parts.append(piece.columns.get(name, [None] * len(piece.numbers)))
        n_rows += len(piece.numbers)
    check_shape(path, len(gathered), n_rows)
    return {name: _joined(parts) for name, parts in gathered.items()}, written


def _marked(piece: Piece, rows: "np.ndarray") -> Piece:
    import pyarrow as pa

    marks = pa.array(rows[piece.numbers].astype(bool))
    columns = {name: values.filter(marks) for name, values in piece.columns.items()}
    return piece._replace(columns=columns, numbers=[n for n in piece.numbers if rows[n]])


def _joined(parts: list[Any]) -> Any:
    import pyarrow as pa

    if all(isinstance(part, pa.Array) for part in parts):
        kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
        if len(kinds) <= 1:
            kind = next(iter(kinds), pa.null())
            return pa.chunked_array([part.cast(kind) for part in parts], kind).combine_chunks()
    return [
        value
        for part in parts
        for value in (part.to_pylist() if isinstance(part, pa.Array) else part)
    ]


def _column(source: Any, column: Column | None, csv: Csv, written: bool) -> Any:
    """Return one column for pandas."""
    import pandas as pd
    import pyarrow as pa

    from util_lib.tables import typed

    if column is not None:
        found = as_declared(source, column, csv, written)
        if not found.wrong.any():
            return typed.for_pandas(found.values)
    if isinstance(source, list):
        try:
            source = pa.array(source)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return pd.Series(source, dtype=object)
    if not written:
        return typed.for_pandas(source)
    if column is None:
        return typed.for_pandas(typed.guessed(source, csv))
    return typed.for_pandas(typed.texts_as_they_are(source, csv))


def as_declared(source: Any, column: Column, csv: Csv = OURS, written: bool = False) -> Any:
    """Return what the values of a piece's column stand for, as `typed.Read`."""
    from util_lib.tables import typed

    if isinstance(source, list):
        return typed.read_objects(source, column, csv)
    return typed.read(source, column, csv, written=written)


def row_values(values: Any, column: Column, csv: Csv = OURS, written: bool = False) -> Any:
    """Return the values of a piece's column for pandas, one by one as they are declared.

    One of another type is what the file has there; what is missing is null.
    """
    import pandas as pd

    from util_lib.tables import typed

    found = as_declared(values, column, csv, written)
    series = typed.for_pandas(found.values)
    if not found.wrong.any():
        return series
    given = values if isinstance(values, list) else values.to_pylist()
    read = series.astype(object).where(series.notna(), None)
    mixed = [g if wrong else r for g, r, wrong in zip(given, read, found.wrong, strict=True)]
    return pd.Series(mixed, dtype=object)


def ordinary(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return `columns` as a file of another form has them: numbers and dates in the usual way."""
    usual = {"decimal": None, "thousands": None, "date_format": None}
    return {name: column.model_copy(update=usual) for name, column in columns.items()}


def own(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return `columns` as the pipeline's own tables have them, where all has been read once.

    What a declaration says of how values are written holds for the raw file alone.
    """
    usual = {key: Column.model_fields[key].default for key in HOW_WRITTEN}
    return {name: column.model_copy(update=usual) for name, column in columns.items()}


def read_own(
    path: str | Path, columns: Mapping[str, Column], rows: "np.ndarray | None" = None
) -> "pd.DataFrame":
    """Return a table that the pipeline has written, or marked rows; missing text is empty."""
    frame = read(path, own(columns), max_rows=None, rows=rows)
    texts = [n for n, column in columns.items() if column.role == "text" and n in frame.columns]
    return frame.assign(**{n: frame[n].fillna("") for n in texts if frame[n].dtype == "str"})


def pieces(
    path: Path,
    csv: Csv = OURS,
    format: str = "auto",
    names: list[str] | None = None,
    sheet: str | None = None,
    *,
    wanted: set[str] | None = None,
    n_rows: int = PIECE_ROWS,
    skip_damaged: bool = False,
    partition: str | None = None,
    only: range | None = None,
) -> Iterator[Piece]:
    """Yield the rows of a file, at most `n_rows` at a time; `UserError` if it holds no table.

    The first piece has no rows: it shows the columns, JSON aside, where each record has its own.
    `wanted` are the columns to read, None = all. Rows of CSV that cannot be read are an error, or
    with `skip_damaged` handed on as unread; records of JSON always are. A folder is one table; the
    rows of `only` some of its files, by their places, are told with the columns of the first.
    """
    options: Any = {"wanted": wanted, "n_rows": n_rows, "skip_damaged": skip_damaged}
    read = partial(_of_file, csv=csv, format=format, names=names, sheet=sheet, **options)
    parts = several_files.chosen(files_of(path), read, only)
    several = path.is_dir() or partition
    yield from several_files.joined(parts, partition) if several else next(parts)[1]


def _of_file(
    path: Path,
    csv: Csv,
    format: str,
    names: list[str] | None,
    sheet: str | None,
    *,
    wanted: set[str] | None,
    n_rows: int,
    skip_damaged: bool,
) -> Iterator[Piece]:
    check_file(path)
    kind = format_of(path, format)
    try:
        if kind == "parquet":
            from util_lib.tables import parquet_files

            for columns, numbers in parquet_files.batches(path, wanted, n_rows):
                yield Piece(columns, numbers, [])
        elif kind == "csv":
            yield from _of_csv(path, csv, names, n_rows, skip_damaged)
        elif kind == "json":
            yield from _of_json(path, n_rows)
        elif kind == "excel":
            from util_lib.tables import excel_files

            yield from _of_table(excel_files.columns(path, sheet), n_rows)
        else:
            from util_lib.tables import parquet_files

            for columns, numbers in parquet_files.arrow_batches(path, wanted, n_rows):
                yield Piece(columns, numbers, [])
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _of_csv(
    path: Path, csv: Csv, names: list[str] | None, n_rows: int, skip_damaged: bool
) -> Iterator[Piece]:
    for texts in csv_files.batches(path, csv, names, skip_damaged=skip_damaged):
        header, unread = texts.batch.schema.names, texts.unread
        for start in range(0, max(texts.batch.num_rows, 1), n_rows):
            part = texts.batch.slice(start, n_rows)
            values = dict(zip(header, part.columns, strict=True))
            yield Piece(values, texts.numbers[start : start + n_rows], unread, written=True)
            unread = []


def _of_json(path: Path, n_rows: int) -> Iterator[Piece]:
    from util_lib.tables import json_files

    yield Piece({}, [], [])
    numbered = enumerate(json_files.records(path))
    while rows := list(islice(numbered, n_rows)):
        unread = [(n, row.reason) for n, row in rows if isinstance(row, json_files.Unread)]
        records = [(n, row) for n, row in rows if isinstance(row, dict)]
        names = dict.fromkeys(name for _, row in records for name in row)
        if (n_gaps := len(names) * len(records) - sum(len(row) for _, row in records)) > MOST_GAPS:
            raise UserError(
                f"{path.name} has {len(names):,} keys in {len(records):,} records, which have few "
                f"in common ({n_gaps:,} gaps): expected records of one table"
            )
        columns = {name: _compact([row.get(name) for _, row in records]) for name in names}
        yield Piece(columns, [n for n, _ in records], unread)


def _compact(values: list[Any]) -> Any:
    """Return values that are all of one type in little room; others as they are."""
    import pyarrow as pa

    if len({*map(type, values)} - {type(None)}) == 1:
        with suppress(pa.ArrowException, OverflowError):  # a record, or more than 64 bits
            array = pa.array(values)
            return values if pa.types.is_nested(array.type) else array
    return values


def _of_table(columns: dict[str, Any], n_rows: int) -> Iterator[Piece]:
    length = max(map(len, columns.values()), default=0)
    yield Piece({name: values[:0] for name, values in columns.items()}, [], [])
    for start in range(0, length, n_rows):
        part = {name: values[start : start + n_rows] for name, values in columns.items()}
        yield Piece(part, range(start, min(start + n_rows, length)), [])


def write(frame: "pd.DataFrame", path: str | Path) -> None:
    """Write a table, the same in the same bytes, without index: CSV, or parquet, by its suffix."""
    path = Path(path)
    if path.suffix.lower() == ".csv":
        # Python's writer would leave a text with a carriage return, which ends a row, unquoted.
        texts = [frame[name] for name in frame if frame[name].dtype in ("str", "object")]
        ends = any(text.astype("str").str.contains("\r", regex=False).any() for text in texts)
        quoting: Any = QUOTE_NONNUMERIC if ends else QUOTE_MINIMAL
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8", quoting=quoting)
    else:
        with of_one_type():
            frame.to_parquet(path, index=False, engine="pyarrow")


@contextmanager
def of_one_type() -> Iterator[None]:
    """Say in one sentence that values of a column have no type in common."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowTypeError, pa.ArrowInvalid, OverflowError) as error:
        raise UserError(
            f"the values of a column have no type in common ({' '.join(map(str, error.args))}): "
            "declare the column with its dtype, or leave it out (clean.drop_columns)"
        ) from error


def check_file(path: Path) -> None:
    """Raise `UserError` where there is no file with anything in it."""
    if path.is_dir():
        raise UserError(f"{path} is a directory: expected a file in {KNOWN}")
    if not path.is_file():
        raise UserError(f"{path} does not exist: expected a file in {KNOWN}")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes): expected a file in {KNOWN}")


def check_shape(path: Path, n_columns: int, n_rows: int) -> None:
    """Raise `UserError` for what has no columns, or no rows."""
    if n_columns == 0:
        raise UserError(f"{path.name} has no columns: expected a table")
    if n_rows == 0:
        raise UserError(f"{path.name} has columns but no rows: expected at least one")
