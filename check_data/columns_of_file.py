"""A large table of which one column at a time is in memory: what the checks ask of a frame."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from util_lib.dataset.columns import Column
from util_lib.tables import reading, typed

ROWS = 2**18  # read at a time


class ColumnsOfFile:
    """The table in a parquet file that the pipeline has written; the last column asked is kept."""

    def __init__(
        self, path: Path, declared: Mapping[str, Column], without: list[str] | None = None
    ):
        """Look at the file's columns; none is read yet."""
        names, self._n_rows = reading.shape(path)
        self.columns = [name for name in names if name not in (without or [])]
        self.empty = not self._n_rows
        self._path, self._declared = path, declared
        self._kept: dict[str, pd.Series] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._n_rows

    def drop(self, columns: list[Any]) -> "ColumnsOfFile":
        """Return the table without some columns."""
        gone = [name for name in reading.shape(self._path)[0] if name not in self.columns]
        return ColumnsOfFile(self._path, self._declared, [*gone, *columns])

    def __getitem__(self, name: str) -> pd.Series:
        """Return a column as `reading.read_own` does."""
        if name not in self._kept:
            self._kept.clear()  # before the next is read
            self._kept[name] = self._read(name, self._declared[name])
        return self._kept[name]

    def _read(self, name: str, declared: Column) -> pd.Series:
        column = reading.own({name: declared})[name]
        parts = []
        for values in self._pieces(name):
            found = reading.as_declared(values, column)
            if found.wrong.any():  # the column is left as the file has it
                parts = [_part(values, declared) for values in self._pieces(name)]
                break
            parts.append(_part(found.values, declared))
        return pd.concat(parts, ignore_index=True).rename(name)

    def _pieces(self, name: str) -> Iterator[Any]:
        for piece in reading.pieces(self._path, wanted={name}, n_rows=ROWS):
            if piece.numbers:
                yield piece.columns[name]


def _part(values: Any, declared: Column) -> pd.Series:
    series = typed.for_pandas(values)
    return series.fillna("") if declared.role == "text" and series.dtype == "str" else series
