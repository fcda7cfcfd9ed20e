"""Cleans a table with more than `data.large_rows` rows, some at a time, as `cleaning.clean` does.

Each batch is read, goes through the rules that look at one row, gets its new columns and is put
into a file on the way. Which of its rows repeat is then asked of DuckDB; the others are the table.
The files of a folder may be worked on by several processes or machines, which put their rows into
files of their own.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess import repeated as repeated_rows
from preprocess.repeated import Part, Question
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.dataset.repeats import declared
from util_lib.errors import UserError
from util_lib.processes import tasks
from util_lib.processes.tasks import Each
from util_lib.tables import cleaning, large, packed_files, parquet_files, reading, typed
from util_lib.tables.reading import Piece

ROWS = 2**17  # of a batch
MOST_TASKS = 256  # beyond, several files are one task
BUCKETS = 8  # of the rows by their hash, where several look for repeats
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

    def same_types(self, other: "Kinds") -> bool:
        """Say whether both read columns as the same types."""
        return (self.mistyped, self.guesses) == (other.mistyped, other.guesses)


class Staged(NamedTuple):
    """A file with rows that the rules keep, and what is known of them.

    `names` are the columns of the raw table, the first `n_columns` of the file those of the new
    one; those after them are compared only. `compared` says where the columns are that repeats are
    equal in, `counts` how many rows each rule had and kept.
    """

    path: Path
    kinds: Kinds
    n_rows: int
    n_read: int
    n_columns: int
    names: list[str]
    compared: dict[str, int]
    with_nulls: set[str]
    objects: set[str]
    counts: dict[str, list[int]]

    def is_stale(self, kinds: Kinds) -> bool:
        """Say whether its rows are of other types than those of all files."""
        others = self.n_rows and self.kinds.schema != kinds.schema
        return bool(others) or not self.kinds.same_types(kinds)


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


def clean(
    path: Path, data: Data, target: Path, folder: Path, each: Each = tasks.here
) -> tuple[tuple[int, int], float]:
    """Write the cleaned table to `target`; return its shape and the share of repeats dropped.

    `each` may be of several who work on the files of a folder (`tasks.team`): the bytes that are
    written are the same.
    """
    if target.suffix == ".csv":
        raise UserError(
            f"a table above large_rows ({data.large_rows:,}) is written as parquet: set "
            "data.preprocessed_artifact to a name ending in .parquet, or raise data.large_rows"
        )
    large.check_room(folder, TIMES * _size(path, data))
    alone = each is tasks.here
    kinds, parts = _staged_by_all(path, data, folder, each, 1 if alone else MOST_TASKS)
    repeated = np.zeros(sum(part.n_rows for part in parts), dtype=bool)
    if how := declared(data):
        question = _question(kinds, parts[-1], folder, data.memory, how.keep)
        files, start = [], 0
        for part in parts:
            files.append(Part(part.path, start))
            start += part.n_rows
        repeated = repeated_rows.find(files, question, each, 1 if alone else BUCKETS)
        cleaning.log_dropped(cleaning.DUPLICATES, len(repeated), int((~repeated).sum()))
    schema = _described(kinds, parts)
    _write(parts, repeated, schema, target)
    for part in parts:
        part.path.unlink()
    return (int((~repeated).sum()), len(schema)), float(repeated.mean())


def _question(kinds: Kinds, part: Staged, folder: Path, memory: str, keep: str) -> Question:
    assert kinds.schema is not None
    types = kinds.schema.types
    nested = [name for name, place in part.compared.items() if pa.types.is_nested(types[place])]
    if nested:
        raise cleaning.not_comparable(nested)
    return Question([*part.compared.values()], folder, memory, keep)


def _staged_by_all(
    path: Path, data: Data, folder: Path, each: Each, most: int
) -> tuple[Kinds, list[Staged]]:
    """Put the rows that the rules keep into at most so many files, all of the types of `Kinds`.

    What the files tell of the types is put together; those read as other types are read again.
    """
    n_files = len(reading.files_of(path))
    share = -(-n_files // most)
    shares = [range(first, min(first + share, n_files)) for first in range(0, n_files, share)]
    kinds, found = Kinds(), dict[int, Staged]()
    while stale := [n for n in range(len(shares)) if n not in found or found[n].is_stale(kinds)]:
        made = each(partial(_stage, path, data, folder, kinds), [(n, shares[n]) for n in stale])
        found |= dict(zip(stale, made, strict=True))
        n_read = sum(part.n_read for part in found.values())
        reading.refuse_large(path, made[0].names, n_read, data.max_rows)
        kinds = _put_together([part.kinds for part in found.values()])
    for rule in cleaning.row_rules(data):
        before, kept = (sum(part.counts[rule][n] for part in found.values()) for n in (0, 1))
        cleaning.log_dropped(rule, before, kept)
    parts = [found[n] for n in range(len(shares)) if found[n].n_rows]
    reading.check_shape(path, len(data.columns), len(parts))
    return kinds, parts


def _put_together(found: list[Kinds]) -> Kinds:
    all_of = Kinds()
    for kinds in found:
        all_of.mistyped |= kinds.mistyped
        all_of.valued |= kinds.valued
        for name, place in kinds.guesses.items():
            all_of.guesses[name] = max(place, all_of.guesses.get(name, 0))
    for name in all_of.guesses.keys() - all_of.valued:  # nothing but words that may be missing
        all_of.guesses[name] = typed.GUESSES.index("string")
    schemas = [kinds.schema for kinds in found if kinds.schema is not None]
    if schemas and all(kinds.same_types(all_of) for kinds in found):
        with reading.of_one_type():
            all_of.schema = pa.unify_schemas(schemas, promote_options="permissive")
    return all_of


def _write(parts: list[Staged], repeated: np.ndarray, schema: pa.Schema, target: Path) -> None:
    """Write the rows that repeat no other, always as many at a time: so the bytes are the same."""
    waiting, start = schema.empty_table(), 0
    names = [str(place) for place in range(len(schema))]
    with parquet_files.writer(target, schema) as writer:
        for part in parts:
            with pq.ParquetFile(part.path) as file:
                for batch in parquet_files.record_batches(file, ROWS, names):
                    kept = ~repeated[start : start + batch.num_rows]
                    start += batch.num_rows
                    columns = batch.columns if kept.all() else batch.filter(pa.array(kept)).columns
                    waiting = pa.concat_tables(
                        [waiting, pa.Table.from_arrays(columns, schema=schema)]
                    )
                    while len(waiting) >= ROWS:
                        writer.write_table(waiting.slice(0, ROWS).combine_chunks())
                        waiting = waiting.slice(ROWS)
        if len(waiting):
            writer.write_table(waiting.combine_chunks())


def _size(path: Path, data: Data) -> int:
    if path.is_dir():
        return sum(_size(file, data) for file in reading.files_of(path))
    reading.check_file(path)
    if not reading.is_parquet(path, data.format):
        return path.stat().st_size
    with parquet_files.opened(path) as file:
        groups = range(file.metadata.num_row_groups)
        return sum(file.metadata.row_group(group).total_byte_size for group in groups)


def _stage(path: Path, data: Data, folder: Path, kinds: Kinds, share: tuple[int, range]) -> Staged:
    """Put the rows of some files that the rules keep, with their new columns, into a file.

    Duplicates are among them, and each has a hash. Types are those of `kinds`, or wider.
    """
    number, files = share
    own, staged = deepcopy(kinds), folder / f"staged-{number}.parquet"
    while True:
        try:
            return _stage_as(path, data, staged, own, files)
        except _AgainError as again:
            own.schema = again.schema


def _stage_as(path: Path, data: Data, staged: Path, kinds: Kinds, files: range) -> Staged:
    rules = cleaning.row_rules(data)
    counts = {rule: [0, 0] for rule in rules}
    n_rows = n_columns = n_read = 0
    how, compared, names = declared(data), dict[str, int](), list[str]()
    with_nulls, objects = set[str](), set[str]()
    writer = hasher = None
    try:
        for frame in _frames(path, data, kinds, files):
            n_read += len(frame)
            names = [*frame.columns]
            frame = cleaning.named(frame, data)
            for rule, select in rules.items():
                counts[rule][0] += len(frame)
                frame = select(frame).reset_index(drop=True)
                counts[rule][1] += len(frame)
            whole, frame = frame, cleaning.declared_only(frame, data)
            if frame.empty:
                continue
            equal_in = cleaning.compared(whole, how) if how else []
            out = [name for name in equal_in if name not in frame]
            frame = _with_new_columns(frame, data, kinds)
            n_columns = len(frame.columns)
            frame = frame.assign(**{f"{OUT}{name}": whole[name] for name in out})
            objects = {str(name) for name in frame if frame[name].dtype == object}
            places = {name: place for place, name in enumerate(frame.columns)}
            compared = {name: places[OUT + name if name in out else name] for name in equal_in}
            table = _of_one_schema(pa.Table.from_pandas(frame, preserve_index=False), kinds)
            with_nulls |= {name for name in table.column_names if table[name].null_count}
            n_rows += len(table)
            table = _numbered(table)
            if how and not any(
                pa.types.is_nested(table.schema.types[n]) for n in compared.values()
            ):
                hasher = hasher or repeated_rows.Hasher([*compared.values()], table.schema)
                table = table.append_column(repeated_rows.HASH, hasher(table))
            writer = writer or parquet_files.writer(staged, table.schema, "none")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return Staged(
        staged, kinds, n_rows, n_read, n_columns, names, compared, with_nulls, objects, counts
    )


def _numbered(table: pa.Table) -> pa.Table:
    """Call the columns by their place: a database takes a name for another in upper case."""
    return table.rename_columns([str(place) for place in range(table.num_columns)])


def _frames(path: Path, data: Data, kinds: Kinds, files: range) -> Iterator[pd.DataFrame]:
    """Yield the rows of some files in the types of `kinds`, about `ROWS` at a time."""
    columns = cleaning.columns_in_file(data)
    n_rows = 0
    waiting: list[pd.DataFrame] = []
    for piece in reading.pieces(path, data.csv, data.format, [*columns], n_rows=ROWS, only=files):
        n_rows += len(piece.numbers)
        reading.refuse_large(path, piece.columns, n_rows, data.max_rows)
        waiting.append(_frame(piece, columns, data, kinds))
        if sum(map(len, waiting)) >= ROWS:
            yield pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else waiting[0]
            waiting = []
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


def _described(kinds: Kinds, parts: list[Staged]) -> pa.Schema:
    """Return the new table's schema with what pandas writes beside: its own types."""
    assert kinds.schema is not None
    schema = pa.schema([*kinds.schema][: parts[-1].n_columns])
    with_nulls = {name for part in parts for name in part.with_nulls}
    shown = {}
    for field in schema:
        empty = pa.array([None] if field.name in with_nulls else [], field.type)
        values = typed.for_pandas(empty)[:0]
        shown[field.name] = values.astype(object) if field.name in parts[-1].objects else values
    metadata = pa.Schema.from_pandas(pd.DataFrame(shown), preserve_index=False).metadata
    return schema.with_metadata(metadata)
