"""Cleans a table with more than `data.large_rows` rows, some at a time, as `cleaning.clean` does.

Each batch is read, goes through the rules that look at one row, gets its new columns and is put
into a file on the way. Which of its rows repeat is then asked of DuckDB; the others are the table.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib import validation
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.dataset.repeats import declared
from util_lib.errors import UserError
from util_lib.tables import cleaning, large, packed_files, parquet_files, reading, typed
from util_lib.tables.reading import Piece

ROWS = 2**17  # of a batch
ITS_SHARE = 8  # DuckDB gets this part of the memory: it takes more than it is told
OUT = "left out: "  # begins the names of columns that are compared only
TIMES = 3  # what the files on the way take, of what the table holds


class Kinds:
    """What all of a column are, as far as it has been read: the next batch may tell otherwise."""

    def __init__(self) -> None:
        """Begin with what the declaration says, and the narrowest types of other columns."""
        self.mistyped: set[str] = set()
        self.guesses: dict[str, int] = {}
        self.valued: set[str] = set()  # of those guessed, which have a value
        self.schema: pa.Schema | None = None


class _AgainError(Exception):
    """A batch shows that the ones before it were read as the wrong type."""

    def __init__(self, schema: pa.Schema | None = None) -> None:
        """Store the types of all columns, where they are known."""
        super().__init__()
        self.schema = schema


def n_rows_of(path: Path, data: Data) -> int:
    """Return how many rows a table has, of CSV how many lines; 0 for formats read whole."""
    if path.is_dir():
        return sum(n_rows_of(file, data) for file in reading.files_of(path))
    kind = reading.format_of(path, data.format)
    if kind == "parquet":
        with parquet_files.opened(path) as file:
            return file.metadata.num_rows
    if kind != "csv":
        return 0
    with packed_files.opened(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def clean(path: Path, data: Data, target: Path, folder: Path) -> tuple[tuple[int, int], float]:
    """Write the cleaned table to `target`; return its shape and the share of repeats dropped."""
    if target.suffix == ".csv":
        raise UserError(
            f"a table above large_rows ({data.large_rows:,}) is written as parquet: set "
            "data.preprocessed_artifact to a name ending in .parquet, or raise data.large_rows"
        )
    large.check_room(folder, TIMES * _size(path, data))
    kinds, staged = Kinds(), folder / "staged.parquet"
    while True:
        try:
            schema, n_rows, compared = _stage(path, data, staged, kinds)
            break
        except _AgainError as again:
            kinds.schema = again.schema
    repeated = np.zeros(n_rows, dtype=bool)
    if how := declared(data):
        types = pq.read_schema(staged).types
        nested = [name for name, place in compared.items() if pa.types.is_nested(types[place])]
        if nested:
            raise cleaning.not_comparable(nested)
        repeated = repeats(staged, [*compared.values()], folder, data.memory, how.keep)
        cleaning.log_dropped(cleaning.DUPLICATES, n_rows, int((~repeated).sum()))
    with pq.ParquetFile(staged) as file, parquet_files.writer(target, schema) as writer:
        start = 0
        for batch in parquet_files.record_batches(file, ROWS):
            kept = ~repeated[start : start + batch.num_rows]
            start += batch.num_rows
            columns = batch.columns if kept.all() else batch.filter(pa.array(kept)).columns
            writer.write_table(pa.Table.from_arrays(columns[: len(schema)], schema=schema))
    staged.unlink()
    return (int((~repeated).sum()), len(schema)), float(repeated.mean())


def _size(path: Path, data: Data) -> int:
    if path.is_dir():
        return sum(_size(file, data) for file in reading.files_of(path))
    if not reading.is_parquet(path, data.format):
        return path.stat().st_size
    with parquet_files.opened(path) as file:
        groups = range(file.metadata.num_row_groups)
        return sum(file.metadata.row_group(group).total_byte_size for group in groups)


def _stage(
    path: Path, data: Data, staged: Path, kinds: Kinds
) -> tuple[pa.Schema, int, dict[str, int]]:
    """Write the rows that the rules keep, with their new columns; duplicates are among them.

    Return the schema of the table, the number of rows, and where the columns are that repeats are
    equal in; those that are left out of the table come after its own.
    """
    rules = cleaning.row_rules(data)
    counts = {rule: [0, 0] for rule in rules}
    n_rows = n_columns = 0
    how, compared = declared(data), dict[str, int]()
    with_nulls: set[str] = set()
    writer = None
    try:
        for frame in _frames(path, data, kinds):
            frame = cleaning.named(frame, data)
            for rule, select in rules.items():
                counts[rule][0] += len(frame)
                frame = select(frame).reset_index(drop=True)
                counts[rule][1] += len(frame)
            whole, frame = frame, cleaning.declared_only(frame, data)
            if frame.empty:
                continue
            names = cleaning.compared(whole, how) if how else []
            out = [name for name in names if name not in frame]
            frame = _with_new_columns(frame, data, kinds)
            n_columns = len(frame.columns)
            frame = frame.assign(**{f"{OUT}{name}": whole[name] for name in out})
            places = {name: place for place, name in enumerate(frame.columns)}
            compared = {name: places[OUT + name if name in out else name] for name in names}
            table = _of_one_schema(pa.Table.from_pandas(frame, preserve_index=False), kinds)
            with_nulls |= {name for name in table.column_names if table[name].null_count}
            n_rows += len(table)
            writer = writer or _staging(staged, table.schema)
            writer.write_table(_numbered(table))
    finally:
        if writer is not None:
            writer.close()
    for rule, (before, kept) in counts.items():
        cleaning.log_dropped(rule, before, kept)
    if writer is None:
        reading.check_shape(path, len(data.columns), n_rows)
    own = pa.schema([*table.schema][:n_columns])
    return _described(own, frame, with_nulls), n_rows, compared


def _staging(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    names = [str(place) for place in range(len(schema))]
    numbered = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
    return parquet_files.writer(path, pa.schema(numbered), "none")


def _numbered(table: pa.Table) -> pa.Table:
    """Call the columns by their place: a database takes a name for another in upper case."""
    return table.rename_columns([str(place) for place in range(table.num_columns)])


def _frames(path: Path, data: Data, kinds: Kinds) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in the types of `kinds`, about `ROWS` at a time."""
    columns = cleaning.columns_in_file(data)
    n_rows = 0
    waiting: list[pd.DataFrame] = []
    for piece in reading.pieces(path, data.csv, data.format, [*columns], n_rows=ROWS):
        n_rows += len(piece.numbers)
        reading.refuse_large(path, piece.columns, n_rows, data.max_rows)
        waiting.append(_frame(piece, columns, data, kinds))
        if sum(map(len, waiting)) >= ROWS:
            yield pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else waiting[0]
            waiting = []
    for name in kinds.guesses.keys() - kinds.valued:  # nothing but words that may be missing
        if typed.GUESSES[kinds.guesses[name]] != "string":
            kinds.guesses[name] = typed.GUESSES.index("string")
            raise _AgainError
    if waiting:
        yield pd.concat(waiting, ignore_index=True)


def _frame(piece: Piece, columns: dict[str, Column], data: Data, kinds: Kinds) -> pd.DataFrame:
    values: dict[str, Any] = {}
    for name, source in piece.columns.items():
        if name in columns and name not in kinds.mistyped:
            found = reading.as_declared(source, columns[name], data.csv, piece.written)
            if found.wrong.any():
                kinds.mistyped.add(name)
                raise _AgainError
            source = found.values
        elif piece.written and name in columns:
            source = typed.texts_as_they_are(source, data.csv)
        elif piece.written:
            source = _guessed(name, source, data, kinds)
        values[name] = typed.for_pandas(source)
    return pd.DataFrame(values)


def _guessed(name: str, texts: pa.Array, data: Data, kinds: Kinds) -> pa.Array:
    place = kinds.guesses.setdefault(name, 0)
    values = typed.guess(texts, data.csv, typed.GUESSES[place])
    if values is None:
        kinds.guesses[name] = place + 1
        raise _AgainError
    if values.null_count < len(values):
        kinds.valued.add(name)
    return values


def _with_new_columns(frame: pd.DataFrame, data: Data, kinds: Kinds) -> pd.DataFrame:
    whole = cleaning.with_new_columns(frame, data)
    # What is no text stays as it is, also where a batch has nothing but gaps.
    renamed = {data.clean.rename.get(name, name) for name in kinds.mistyped}
    return whole.assign(**{n: frame[n] for n in renamed if data.columns[n].role == "text"})


def _of_one_schema(table: pa.Table, kinds: Kinds) -> pa.Table:
    """Return a batch in the types of all; a type that is wider than those begins anew."""
    schema = table.schema.remove_metadata()
    if kinds.schema is None:
        kinds.schema = schema
    with reading.of_one_type():
        if schema != kinds.schema:
            wider = pa.unify_schemas([kinds.schema, schema], promote_options="permissive")
            if wider != kinds.schema:
                raise _AgainError(wider)
        return table.cast(kinds.schema)


def _described(schema: pa.Schema, frame: pd.DataFrame, with_nulls: set[str]) -> pa.Schema:
    """Return the schema with what pandas writes beside: which types of its own a column has."""
    shown = {}
    for field in schema:
        empty = pa.array([None] if field.name in with_nulls else [], field.type)
        is_object = frame[field.name].dtype == object
        shown[field.name] = frame[field.name].head(0) if is_object else typed.for_pandas(empty)[:0]
    metadata = pa.Schema.from_pandas(pd.DataFrame(shown), preserve_index=False).metadata
    return schema.with_metadata(metadata)


def repeats(
    path: Path, places: list[int], folder: Path, memory: str, keep: str = "first"
) -> np.ndarray:
    """Mark the rows of a file that equal another in some columns, all but one, as pandas finds.

    Rows with the same hash are compared by their values, so nothing is left to the hash. Missing
    values are alike, and so are 0.0 and -0.0.
    """
    import duckdb  # only large tables need it

    schema = pq.read_schema(path)
    fields = [schema.field(place) for place in places]
    columns = ", ".join(f'"{f.name}"' for f in fields if not pa.types.is_null(f.type)) or "0"
    order = "DESC" if keep == "last" else "ASC"
    spilled = folder / "duckdb"
    settings: dict[str, Any] = {
        "memory_limit": f"{validation.bytes_of(memory) // ITS_SHARE // 10**6}MB",
        "temp_directory": str(spilled),
        "threads": 2,  # each takes memory of its own
        "preserve_insertion_order": False,
    }
    table = "read_parquet(?, file_row_number = true)"
    marks = np.zeros(pq.read_metadata(path).num_rows, dtype=bool)
    with duckdb.connect(":memory:", config=settings) as database:
        ask = database.execute
        ask(
            f"CREATE TABLE hashed AS SELECT hash({columns}) AS h, file_row_number AS r "
            f"FROM {table}",
            [str(path)],
        )
        ask(
            "CREATE TABLE alike AS SELECT r FROM hashed WHERE h IN "
            "(SELECT h FROM hashed GROUP BY h HAVING count(*) > 1)"
        )
        ask("DROP TABLE hashed")
        found = ask(
            "SELECT r FROM (SELECT file_row_number AS r, row_number() OVER "
            f"(PARTITION BY {columns} ORDER BY file_row_number {order}) AS place FROM {table} "
            "WHERE file_row_number IN (SELECT r FROM alike)) WHERE place > 1",
            [str(path)],
        )
        while len(rows := found.fetchmany(ROWS)):
            marks[[row for (row,) in rows]] = True
    shutil.rmtree(spilled, ignore_errors=True)
    return marks
