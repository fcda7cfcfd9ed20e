"""Reads parquet and Arrow files, in which an index that pandas set aside is a column again."""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from util_lib.errors import UserError
from util_lib.tables import packed_files
from util_lib.tables.csv_files import PARQUET_MAGIC, refuse_repeated

Columns = dict[str, Any]
# Addresses that pyarrow and threads set aside and do not use: stacks, and malloc's arenas.
RESERVED = 2**30 + 2**27 * (os.cpu_count() or 1)
_bounded: list[bool] = []


def batches(
    path: Path, wanted: set[str] | None, n_rows: int
) -> Iterator[tuple[Columns, Sequence[int]]]:
    """Yield the columns of some rows, and the numbers of these; the first time of none.

    `wanted` are the columns to read, None = all.
    """
    with opened(path) as file:
        yield from _numbered(
            file.schema_arrow, wanted, lambda columns: record_batches(file, n_rows, columns)
        )


def arrow_batches(
    path: Path, wanted: set[str] | None, n_rows: int
) -> Iterator[tuple[Columns, Sequence[int]]]:
    """Yield the rows of an Arrow file, which is a feather file too, as `batches` does.

    Its own batches are read one at a time.
    """
    with _arrow(path) as (schema, whole):
        refuse_repeated(path, schema.names)

        def parts(columns: list[str]) -> Iterator[Any]:
            for batch in whole:
                for start in range(0, batch.num_rows, n_rows):
                    yield batch.slice(start, n_rows).select(columns)

        yield from _numbered(schema, wanted, parts)


@contextmanager
def _arrow(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an Arrow file; what is wrong with it, also while it is read, becomes a `UserError`."""
    try:
        with _within_memory(path), path.open("rb") as file:
            reader = pa.ipc.open_file(file)
            numbers = range(reader.num_record_batches)
            yield reader.schema, (reader.get_batch(number) for number in numbers)
    except (pa.ArrowException, OSError) as error:
        raise _incomplete(path, "Arrow", error, "make or download it again") from error


def _numbered(
    schema: pa.Schema, wanted: set[str] | None, parts: Callable[[list[str]], Iterator[Any]]
) -> Iterator[tuple[Columns, Sequence[int]]]:
    named, counted = _index(schema)
    order = [*named, *(name for name in schema.names if name not in named)]
    yield _with_counted(schema.empty_table(), order, counted, 0), []
    chosen = [name for name in order if wanted is None or name in wanted]
    start = 0
    for batch in parts(chosen):
        numbers = range(start, start + batch.num_rows)
        yield _with_counted(batch, chosen, counted, start), numbers
        start += batch.num_rows


def record_batches(
    file: Any, n_rows: int, columns: list[str] | None = None, use_threads: bool = True
) -> Iterator[Any]:
    """Yield the rows of an open file, at most `n_rows` at a time.

    Some row groups are asked for at a time: of all, pyarrow keeps what it has read until the end.
    Each thread keeps memory of its own.
    """
    groups: list[int] = []
    for group in range(file.metadata.num_row_groups):
        groups.append(group)
        held = sum(file.metadata.row_group(each).num_rows for each in groups)
        if held >= n_rows or group == file.metadata.num_row_groups - 1:
            yield from file.iter_batches(n_rows, groups, columns, use_threads=use_threads)
            groups = []


def writer(path: Path, schema: Any, compression: str = "snappy") -> Any:
    """Open a file to write; numbers and dates, of which few repeat, get no dictionary.

    It takes time, and of those no room is gained.
    """
    varied = (pa.types.is_floating, pa.types.is_temporal)
    few = [field.name for field in schema if not any(is_so(field.type) for is_so in varied)]
    return pq.ParquetWriter(path, schema, compression=compression, use_dictionary=few or False)


def _index(schema: Any) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Return the columns that are a named index of pandas', and those that only count: start, step.

    An index is a column that some writer set aside; one without name only counts rows.
    https://pandas.pydata.org/docs/development/developer.html describes the metadata.
    """
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    counted = {
        entry["name"]: (entry["start"], entry["step"])
        for entry in index
        if isinstance(entry, dict) and entry.get("name") is not None
    }
    return [entry for entry in index if isinstance(entry, str) and entry in schema.names], counted


def _with_counted(
    table: Any, order: list[str], counted: dict[str, tuple[int, int]], first: int
) -> Columns:
    rows = np.arange(first, first + table.num_rows)
    columns = {name: pa.array(start + step * rows) for name, (start, step) in counted.items()}
    for name in order:
        if not name.startswith("__index_level_"):
            values = table.column(name)
            columns[name] = (
                values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
            )
    return columns


@contextmanager
def opened(path: Path, buffer_size: int = 0) -> Iterator[Any]:
    """Open a parquet file; what is wrong with it, also while it is read, becomes a `UserError`.

    With `buffer_size`, in bytes, a column of a row group is not read whole before its first rows,
    which `pre_buffer` would undo.
    """
    try:
        with (
            _within_memory(path),
            pq.ParquetFile(path, buffer_size=buffer_size, pre_buffer=False) as file,
        ):
            refuse_repeated(path, file.schema_arrow.names)
            yield file
    except (pa.ArrowException, OSError) as error:
        with path.open("rb") as start:
            other = start.read(len(PARQUET_MAGIC)) != PARQUET_MAGIC
        way_out = "if it is CSV, set data.format to csv; else " if other else ""
        raise _incomplete(path, "parquet", error, f"{way_out}make or download it again") from error


@contextmanager
def _within_memory(path: Path) -> Iterator[None]:
    """Let no more memory be asked for than is free: a value that repeats is in the file once."""
    free, (soft, hard) = free_memory(), resource.getrlimit(resource.RLIMIT_AS)
    if free is None or _bounded:
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + free + RESERVED
    _bounded.append(True)
    resource.setrlimit(resource.RLIMIT_AS, (most if soft < 0 else min(most, soft), hard))
    try:
        yield
    except MemoryError:
        raise UserError(
            f"{path.name} needs more memory while it is read than is free ({free / 1e9:,.1f} GB): "
            "it may hold very long values, many times; leave such columns out when it is made, or "
            "read it where more is free"
        ) from None
    finally:
        _bounded.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this machine or container can still give, None where it is not told.

    Below `root` lies what Linux tells of both.
    """
    free = []
    with suppress(OSError, ValueError, IndexError):
        about = (root / "proc/meminfo").read_text().partition("MemAvailable:")[2]
        free.append(int(about.split()[0]) * 1024)
    with suppress(OSError, ValueError):  # "max" is no number: no limit
        group = root / "sys/fs/cgroup"
        most, now = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        free.append(max(0, int(most) - int(now)))
    return min(free, default=None)


def _incomplete(path: Path, kind: str, error: Exception, way_out: str) -> UserError:
    if packed := packed_files.kind_of(path):
        return UserError(
            f"{path.name} is packed with {packed}: unpack it, {kind} files are read as they are"
        )
    return UserError(f"{path.name} is no complete {kind} file ({_reason(error)}): {way_out}")


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].strip().rstrip(".")
