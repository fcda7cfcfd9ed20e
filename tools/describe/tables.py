"""Reads a table of any format for its draft: values as they are meant, and how it is written."""

import bz2
import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd
import pyarrow as pa

from tools.describe import readings, sniff
from tools.describe.readings import Reading
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import reading

CHUNK_BYTES = 2**20
ARROW_MAGIC = b"ARROW1"
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class Table(NamedTuple):
    """A table as it is meant; `named` says that the file itself names its columns."""

    frame: pd.DataFrame
    readings: dict[str, Reading]
    format: str
    csv: Csv | None
    reasons: list[str]

    @property
    def named(self) -> bool:
        """Say whether the columns' names are those that the file gives them."""
        return self.csv is None or self.csv.header


def read(path: Path, folder: Path, max_bytes: int) -> Table:
    """Return the table in a file; one that is packed is unpacked in `folder`, up to `max_bytes`."""
    path = _unpacked(path, folder, max_bytes)
    with path.open("rb") as file:
        start = file.read(64)
    csv, reasons = None, []
    if start.startswith(reading.PARQUET_MAGIC):
        kind, table = "parquet", _parquet(path)
    elif start.startswith(ARROW_MAGIC):
        kind, table = "arrow", _arrow(path)
    elif start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        kind, table = "json", _json(path)
    else:
        sniffed = sniff.sniff(path)
        kind, table = "csv", sniff.texts(path, sniffed)
        csv, reasons = sniffed.options, sniffed.reasons
    read = readings.read(table, csv)
    if read.csv and csv and read.csv.trim and not csv.trim:
        reasons = [*reasons, "blanks around a field are no part of it"]
    return Table(read.frame, read.readings, kind, read.csv, reasons)


def _unpacked(path: Path, folder: Path, max_bytes: int) -> Path:
    with path.open("rb") as file:
        start = file.read(4)
    kind = next((kind for magic, kind in PACKED.items() if start.startswith(magic)), None)
    if kind is None:
        return path
    plain = folder / "unpacked"
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as packed:
                names = [name for name in packed.namelist() if not name.endswith("/")]
                if len(names) != 1:
                    raise UserError(
                        f"{path.name} holds {len(names)} files: expected one, with the table"
                    )
                with packed.open(names[0]) as source:
                    return _copied(source, plain, max_bytes)
        open_packed: dict[str, Callable[[str], Any]] = {
            "gzip": gzip.open,
            "bz2": bz2.open,
            "zstd": lambda packed: pa.input_stream(packed, compression="zstd"),
        }
        with open_packed[kind](str(path)) as source:
            return _copied(source, plain, max_bytes)
    except (OSError, EOFError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise UserError(f"{path.name} is no complete {kind} file: {error}") from error


def _copied(source: IO[bytes], plain: Path, max_bytes: int) -> Path:
    with plain.open("wb") as target:
        while piece := source.read(CHUNK_BYTES):
            target.write(piece)
            if target.tell() > max_bytes:
                raise UserError(
                    f"the unpacked table has more than {max_bytes:,} bytes: give a larger max_bytes"
                )
    return plain


def _parquet(path: Path) -> pa.Table:
    with reading._parquet(path) as file:
        table = file.read()
    if table.num_rows == 0:
        raise UserError(f"{path.name} has columns but no rows: expected at least one")
    unnamed = [name for name in table.column_names if name.startswith("__index_level_")]
    return table.drop_columns(unnamed)


def _arrow(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except pa.ArrowException as error:
        raise UserError(f"{path.name} is no complete Arrow file: {error}") from error


def _json(path: Path) -> pa.Table:
    """Return records, one in each line or all in a list."""
    from pyarrow import json as arrow_json

    try:
        with path.open(encoding="utf-8-sig") as file:
            if file.read(1) == "[":
                file.seek(0)
                return pa.Table.from_pylist(json.load(file))
        return arrow_json.read_json(path)
    except (ValueError, pa.ArrowException, AttributeError) as error:
        raise UserError(f"{path.name} is no readable JSON of records: {error}") from error
