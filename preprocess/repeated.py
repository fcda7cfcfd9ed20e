"""Which rows of a large table repeat others: found by DuckDB, in files of some of the rows each.

Rows with the same hash are compared by their values, so nothing is left to the hash. Missing values
are alike, and so are 0.0 and -0.0. Equal rows have the same hash and so fall into the same bucket:
each bucket is looked at on its own.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib import validation
from util_lib.processes.tasks import Each

HASH = "hash"  # the column of a file that has the hash of each row
ITS_SHARE = 8  # DuckDB gets this part of the memory: it takes more than it is told


class Part(NamedTuple):
    """A file with some rows of the table, and the number of its first one."""

    path: Path
    start: int


class Question(NamedTuple):
    """In which columns of the files, called by their places, rows are equal; which is kept."""

    places: list[int]
    folder: Path
    memory: str
    keep: str = "first"


class Hasher:
    """Gives rows their hash."""

    def __init__(self, places: Sequence[int], schema: pa.Schema) -> None:
        """Hash the columns at some places, whose types all batches have."""
        import duckdb  # only large tables need it

        self._columns = _columns(schema, places)
        self._database = duckdb.connect(":memory:", config={"threads": 1})

    def __call__(self, batch: pa.Table) -> pa.Array:
        """Return a hash for each row, the same for the same values."""
        found = self._database.sql(f"SELECT hash({self._columns}) AS h FROM batch")
        return found.to_arrow_table()["h"]


def find(parts: list[Part], question: Question, each: Each, n_buckets: int) -> np.ndarray:
    """Mark the rows that equal another in some columns, all but one, as pandas finds them.

    `each` does the work, see `tasks.team`, for the rows by hash in so many buckets.
    """
    n_rows = sum(pq.read_metadata(part.path).num_rows for part in parts)
    marks = np.zeros(n_rows, dtype=bool)
    with tempfile.TemporaryDirectory(dir=question.folder) as tmp:
        here = question._replace(folder=Path(tmp))
        look = partial(_alike, parts, here, n_buckets)
        for rows in each(look, range(n_buckets)):
            marks[rows] = True
        chosen = [
            (part, np.flatnonzero(marks[part.start : end]))
            for part, end in zip(parts, [*(p.start for p in parts[1:]), n_rows], strict=True)
        ]
        files = each(partial(_candidates, here), chosen)
        marks[:] = False
        compare = partial(_equal, [file for file in files if file], here, n_buckets)
        for rows in each(compare, range(n_buckets)):
            marks[rows] = True
    return marks


def _alike(parts: list[Part], question: Question, n_buckets: int, bucket: int) -> np.ndarray:
    """Return the numbers of the rows of a bucket whose hash another row has too."""
    sources = " UNION ALL ".join(
        f"SELECT {HASH} AS h, file_row_number + {part.start} AS r FROM {_scan(part.path)}"
        for part in parts
    )
    with _opened(question) as ask:
        ask(f"CREATE TABLE hashed AS SELECT h, r FROM ({sources}) WHERE h % {n_buckets} = {bucket}")
        repeated = "SELECT h FROM hashed GROUP BY h HAVING count(*) > 1"
        return ask(f"SELECT r FROM hashed WHERE h IN ({repeated})").fetchnumpy()["r"]


def _candidates(question: Question, chosen: tuple[Part, np.ndarray]) -> Path | None:
    """Write some rows of a file, their hash and their numbers in the table; None where none is."""
    part, rows = chosen
    if not len(rows):
        return None
    path = question.folder / f"{part.start}.parquet"
    with _opened(question) as ask:
        ask("CREATE TABLE chosen (r BIGINT)")
        given = pa.table({"r": rows})  # noqa: F841 # DuckDB finds it by its name
        ask("INSERT INTO chosen SELECT r FROM given")
        columns = ", ".join(f'"{place}"' for place in dict.fromkeys(question.places))
        ask(
            f"COPY (SELECT {columns}, {HASH}, file_row_number + {part.start} AS r "
            f"FROM {_scan(part.path)} WHERE file_row_number IN (SELECT r FROM chosen)) "
            f"TO {_quoted(path)} (FORMAT parquet)"
        )
    return path


def _equal(files: list[Path], question: Question, n_buckets: int, bucket: int) -> np.ndarray:
    """Return the numbers of the rows of a bucket that equal another, all but one of each."""
    if not files:
        return np.zeros(0, dtype=int)
    columns = _columns(pq.read_schema(files[0]), [str(place) for place in question.places])
    order = "DESC" if question.keep == "last" else "ASC"
    sources = f"read_parquet([{', '.join(map(_quoted, files))}])"
    with _opened(question) as ask:
        return ask(
            f"SELECT r FROM (SELECT r, row_number() OVER (PARTITION BY {columns} "
            f"ORDER BY r {order}) AS place FROM {sources} WHERE {HASH} % {n_buckets} = {bucket}) "
            "WHERE place > 1"
        ).fetchnumpy()["r"]


@contextmanager
def _opened(question: Question) -> Iterator[Any]:
    import duckdb

    spilled = tempfile.mkdtemp(prefix="duckdb-", dir=question.folder)
    settings: dict[str, Any] = {
        "memory_limit": f"{validation.bytes_of(question.memory) // ITS_SHARE // 10**6}MB",
        "temp_directory": spilled,
        "threads": 2,  # each takes memory of its own
        "preserve_insertion_order": False,
    }
    try:
        with duckdb.connect(":memory:", config=settings) as database:
            yield database.execute
    finally:
        shutil.rmtree(spilled, ignore_errors=True)


def _columns(schema: pa.Schema, places: Sequence[Any]) -> str:
    fields = [schema.field(place) for place in places]
    return ", ".join(f'"{f.name}"' for f in fields if not pa.types.is_null(f.type)) or "0"


def _scan(path: Path) -> str:
    return f"read_parquet({_quoted(path)}, file_row_number = true)"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
