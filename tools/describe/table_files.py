"""Reads a table of any format for its draft: values as they are meant, and how it is written."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from tools.describe import readings, sniff
from tools.describe.readings import Reading
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import packed_files, reading


class Table(NamedTuple):
    """A table as it is meant; `reasons` say how its file is written."""

    frame: pd.DataFrame
    readings: dict[str, Reading]
    format: str
    csv: Csv | None
    reasons: list[str]
    sheet: str | None = None

    @property
    def named(self) -> bool:
        """Say whether the columns' names are those that the file gives them."""
        return self.csv is None or self.csv.header


def read(path: Path, sheet: str | None = None) -> Table:
    """Return the table in a file, packed or not; in Excel, the one on `sheet`."""
    reading.check_file(path)
    kind = _format(path)
    csv: Csv | None = None
    names: list[str] | None = None
    reasons: list[str] = []
    if kind == "csv":
        csv, names, reasons = sniff.sniff(path)
        blanks = readings.habit_of_blanks(_columns(path, kind, csv, names))
        if blanks and not csv.trim:
            csv = csv.model_copy(update={"trim": True})
            reasons = [*reasons, "blanks around a field are no part of it"]
    columns = _columns(path, kind, csv or Csv(), names, sheet)
    read = readings.read(columns, csv)
    return Table(read.frame, read.readings, kind, read.csv, reasons, sheet)


def _format(path: Path) -> str:
    """Return the format by what the file holds, whatever its name; JSON by its first mark."""
    if packed_files.is_excel(path):
        return "excel"
    with packed_files.opened(path) as file:
        start = file.read(64)
    if start.startswith(reading.PARQUET_MAGIC):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "arrow"
    return "json" if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else "csv"


def _columns(
    path: Path, kind: str, csv: Csv, names: list[str] | None, sheet: str | None = None
) -> dict[str, Any]:
    """Return the columns as the file has them: Arrow's, or lists where values are of any type."""
    gathered: dict[str, list[Any]] = {}
    n_rows = 0
    for piece in reading.pieces(path, csv, kind, names, sheet):
        for number, reason in piece.unread:
            raise UserError(f"{path.name} cannot be read: record {number}, from 0: {reason}")
        for name in piece.columns:  # a record of JSON may be the first with a column
            gathered.setdefault(name, [[None] * n_rows] if n_rows else [])
        for name, parts in gathered.items():
            parts.append(piece.columns.get(name, [None] * len(piece.numbers)))
        n_rows += len(piece.numbers)
    if not n_rows:
        raise UserError(f"{path.name} has columns but no rows: expected at least one")
    return {name: _joined(parts) for name, parts in gathered.items()}


def _joined(parts: list[Any]) -> Any:
    if all(isinstance(part, pa.Array) for part in parts):
        return pa.chunked_array(parts).combine_chunks()
    return [value for part in parts for value in part]
