"""A large table of which some rows of one column are in memory: what the checks ask of a frame."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib.dataset.columns import Column
from util_lib.tables import parquet_files, reading, typed

ROWS = 2**19  # read at a time


class ColumnsOfFile:
    """The table in a parquet file that the pipeline has written, a column at a time, in pieces."""

    def __init__(
        self, path: Path, declared: Mapping[str, Column], without: list[str] | None = None
    ):
        """Look at the file's columns; none is read yet."""
        names, self._n_rows = reading.shape(path)
        self.columns = [name for name in names if name not in (without or [])]
        self.empty = not self._n_rows
        self._path, self._declared = path, declared
        self._as_is: dict[str, bool] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._n_rows

    def drop(self, columns: list[Any]) -> "ColumnsOfFile":
        """Return the table without some columns."""
        gone = [name for name in reading.shape(self._path)[0] if name not in self.columns]
        return ColumnsOfFile(self._path, self._declared, [*gone, *columns])

    def __getitem__(self, name: str) -> pd.Series:
        """Return a whole column as `reading.read_own` does."""
        return pd.concat([*self.pieces(name)], ignore_index=True).rename(name)

    def pieces(self, name: str) -> Iterator[pd.Series]:
        """Yield a column, at most `ROWS` of its rows at a time."""
        declared = self._declared[name]
        column = reading.own({name: declared})[name]
        as_is = self._is_as_is(name, column)
        for values in self._read(name):
            read = values if as_is else reading.as_declared(values, column).values
            series = typed.for_pandas(read)
            text = declared.role == "text" and series.dtype == "str"
            yield (series.fillna("") if text else series).rename(name)

    def _is_as_is(self, name: str, column: Column) -> bool:
        """Tell whether a value is of another type: then the column is left as the file has it."""
        if name not in self._as_is:
            kind = pq.read_schema(self._path).field(name).type
            self._as_is[name] = not _surely(kind, column) and any(
                reading.as_declared(values, column).wrong.any() for values in self._read(name)
            )
        return self._as_is[name]

    def _read(self, name: str) -> Iterator[Any]:
        with parquet_files.opened(self._path) as file:
            for batch in parquet_files.record_batches(file, ROWS, [name]):
                yield batch.column(0)


def _surely(kind: pa.DataType, column: Column) -> bool:
    """Say whether every value of an Arrow type is of the declared one."""
    kinds = {pa.large_string(): pa.string(), pa.timestamp("ns"): pa.timestamp("us")}
    return kinds.get(kind, kind) == typed.TYPES[column.dtype]
