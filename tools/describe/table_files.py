"""Reads a table of any format for its draft: values as they are meant, and how it is written."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tools.describe import readings, sniff
from tools.describe.readings import Reading
from util_lib.dataset.declaration import Csv
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
        blanks = readings.habit_of_blanks(reading.columns_of(path, csv, kind, names)[0])
        if blanks and not csv.trim:
            csv = csv.model_copy(update={"trim": True})
            reasons = [*reasons, sniff.BLANKS]
    columns, _ = reading.columns_of(path, csv or Csv(), kind, names, sheet)
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
