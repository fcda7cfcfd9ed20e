"""Files that are there whole or not at all, written a piece at a time.

Rows go to a hidden file beside the real one, which is renamed at the end. What a killed process
left of its own is removed by the next one that writes the same file.
"""

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from util_lib import safe_files
from util_lib.errors import UserError

SUFFIXES = (".csv", ".parquet", ".jsonl", ".json")
WAY_OUT = "nothing was written; free space there or name another output"


class TableWriter:
    """One output file; a context manager that keeps nothing unless `commit` was called.

    The format is that of the suffix: .csv, .parquet, .jsonl, or .json for an array of records. All
    pieces have the columns and types of the first.
    """

    def __init__(self, path: Path, spreadsheet: bool = False):
        """Begin `path`, whose directory is made; `UserError` where nothing can be written.

        `spreadsheet` puts an apostrophe before what a spreadsheet would run as a formula, in CSV.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"output {path} must end in {', '.join(SUFFIXES)}")
        self.path, self.n_rows, self._spreadsheet = path, 0, spreadsheet
        self._parquet: pq.ParquetWriter | None = None
        with safe_files.writing(path, WAY_OUT):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f".{path.name}.*.partial"):
                if not safe_files.is_held(left):
                    left.unlink(missing_ok=True)
            self._partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
            self._lock = safe_files.hold(self._partial)
            self._file = self._partial.open("wb")

    def __enter__(self) -> "TableWriter":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not committed."""
        with contextlib.suppress(OSError):  # a full disk, which `write` has told
            if self._parquet is not None:
                self._parquet.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)
        safe_files.release(self._lock)

    def write(self, frame: pd.DataFrame) -> None:
        """Add rows."""
        with safe_files.writing(self.path, WAY_OUT):
            getattr(self, f"_write_{self.path.suffix.lower()[1:]}")(frame)
            self.n_rows += len(frame)

    def finish(self) -> None:
        """Bring all rows to disk: what can fail, fails here."""
        with safe_files.writing(self.path, WAY_OUT):
            if self._parquet is not None:
                self._parquet.close()
                self._parquet = None
            if self.path.suffix.lower() == ".json":
                self._file.write(b"\n]\n" if self.n_rows else b"[]\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def commit(self) -> None:
        """Give the finished file its name."""
        with safe_files.writing(self.path, WAY_OUT):
            os.replace(self._partial, self.path)
            safe_files.sync_directory(self.path.parent)

    def _write_csv(self, frame: pd.DataFrame) -> None:
        if self.n_rows == 0:
            self._file.write(frame.head(0).to_csv(index=False, lineterminator="\n").encode())
        if self._spreadsheet:
            frame = frame.apply(_inert)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
        pa_csv.write_csv(table, self._file, options)

    def _write_parquet(self, frame: pd.DataFrame) -> None:
        if self._parquet is None:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            self._parquet = pq.ParquetWriter(self._file, table.schema)
        else:
            schema = self._parquet.schema
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        self._parquet.write_table(table)

    def _write_jsonl(self, frame: pd.DataFrame) -> None:
        self._file.write("".join(f"{record}\n" for record in _records(frame)).encode())

    def _write_json(self, frame: pd.DataFrame) -> None:
        if len(frame):
            self._file.write(b",\n" if self.n_rows else b"[\n")
            self._file.write(",\n".join(_records(frame)).encode())


def _inert(values: pd.Series) -> pd.Series:
    """Return texts that a spreadsheet shows as they are, after an apostrophe where they need it.

    https://owasp.org/www-community/attacks/CSV_Injection lists the signs.
    """
    if not pd.api.types.is_string_dtype(values.dtype):
        return values
    formula = values.str.match(r"[=+\-@\t\r]").fillna(False).astype(bool)
    return values.where(~formula, "'" + values)


def _records(frame: pd.DataFrame) -> list[str]:
    """Return each row as a JSON object; a missing value is null."""
    columns = [frame[name].astype(object).where(frame[name].notna(), None) for name in frame]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    records = (dict(zip(frame.columns, row, strict=True)) for row in rows)
    return [json.dumps(r, ensure_ascii=False, allow_nan=False, default=str) for r in records]
