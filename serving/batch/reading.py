"""Tables of any size, a piece at a time: parquet, CSV, JSON and JSON lines.

A row that cannot be read at all (a CSV line with too many fields, a line that is no JSON) is no end
of the file: it is handed on with the reason, and counts as a row.
"""

import csv
import json
import math
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib.cli import ANSWERS
from util_lib.dataset.columns import Column
from util_lib.errors import UserError
from util_lib.tables.csv_files import SEPARATORS
from util_lib.tables.typed import MISSING

SUFFIXES = (".parquet", ".pq", ".csv", ".json", ".jsonl", ".ndjson")
BETWEEN = re.compile(r"[\s,]*")  # the elements of a JSON array
PIECE_CHARS = 2**20  # read of a JSON array at a time
LARGEST_OBJECT = 64 * 2**20  # a file that is one JSON object is read whole


class Chunk(NamedTuple):
    """Some rows: `numbers` are theirs in the file, counted from 0; `unread` holds (number, reason).

    `frame` and `kept` have a row for each of `numbers`: what the model reads, and the columns that
    the caller wants back, as the file has them.
    """

    numbers: list[int]
    frame: pd.DataFrame
    kept: pd.DataFrame
    unread: list[tuple[int, str]] = []


def chunks(path: Path, columns: dict[str, Column], keep: list[str], n_rows: int) -> Iterator[Chunk]:
    """Yield the rows of a file, `n_rows` at a time; what is wrong with the file is a `UserError`.

    `columns` are those to read; they say what the texts of a CSV file stand for: numbers, booleans,
    or texts. The first chunk has no rows: it shows the columns of the file, JSON aside, where each
    record has its own.
    """
    readers = {".csv": _csv, ".parquet": _parquet, ".pq": _parquet}
    reader = readers.get(path.suffix.lower(), _json)
    if not path.is_file():
        raise UserError(f"{path} does not exist: expected a file in {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): expected a table")
    try:
        yield from reader(path, columns, keep, n_rows)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte 0x{error.object[error.start]:02x}): save it as UTF-8"
        ) from error


def _parquet(
    path: Path, columns: dict[str, Column], keep: list[str], n_rows: int
) -> Iterator[Chunk]:
    start = 0
    try:
        with pq.ParquetFile(path) as file:
            _refuse_repeated(path, file.schema_arrow.names)
            yield _chunk([], file.schema_arrow.empty_table().to_pandas(), keep)
            wanted = [name for name in file.schema_arrow.names if name in columns or name in keep]
            for batch in file.iter_batches(batch_size=n_rows, columns=wanted):
                frame = batch.to_pandas().reset_index(drop=True)
                yield _chunk([*range(start, start + len(frame))], frame, keep)
                start += len(frame)
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"{path} is no complete parquet file: {reason}") from error


def _chunk(
    numbers: list[int],
    frame: pd.DataFrame,
    keep: list[str],
    unread: list[tuple[int, str]] | None = None,
) -> Chunk:
    return Chunk(numbers, frame, frame.reindex(columns=keep), unread or [])


def _refuse_repeated(path: Path, names: list[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"{path} has several columns called {repeated[0]!r}: column names must differ"
        )


def _csv(path: Path, columns: dict[str, Column], keep: list[str], n_rows: int) -> Iterator[Chunk]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        separator = max(reversed(SEPARATORS), key=lambda s: len({*_fields(first, s)} & {*columns}))
        rows = csv.reader(file, strict=True, delimiter=separator)
        try:
            header = next(rows)
            _refuse_repeated(path, header)
            yield _chunk([], pd.DataFrame(columns=header, dtype=object), keep)
            yield from _of_lines(filter(None, rows), header, columns, keep, n_rows)
        except csv.Error as error:
            raise UserError(
                f"{path} is no complete CSV file (line {rows.line_num}: {error})"
            ) from error


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _of_lines(
    rows: Iterator[list[str]],
    header: list[str],
    columns: dict[str, Column],
    keep: list[str],
    n_rows: int,
) -> Iterator[Chunk]:
    width, start = len(header), 0
    while lines := list(islice(rows, n_rows)):
        numbers, unread = [*range(start, start + len(lines))], []
        if any(len(line) != width for line in lines):
            numbered = [*zip(numbers, lines, strict=True)]
            unread = [
                (number, f"{len(line)} fields, the header has {width}")
                for number, line in numbered
                if len(line) != width
            ]
            numbers = [number for number, line in numbered if len(line) == width]
            lines = [line for line in lines if len(line) == width]
        texts = dict(zip(header, zip(*lines, strict=True) if lines else [()] * width, strict=True))
        frame = {n: _from_text(texts[n], columns[n]) for n in header if n in columns}
        kept = {name: _from_text(texts[name], None) for name in keep}
        index = range(len(numbers))
        yield Chunk(numbers, pd.DataFrame(frame, index), pd.DataFrame(kept, index), unread)
        start += len(numbers) + len(unread)


def _from_text(texts: tuple[str, ...], column: Column | None) -> pd.Series:
    """Return what the texts of a CSV column stand for; one that stands for nothing stays text."""
    if column is not None and column.dtype in ("int", "float"):
        try:
            return pd.Series([float(text) if text else math.nan for text in texts], dtype="float64")
        except ValueError:
            return pd.Series([_number(text) for text in texts], dtype=object)
    if column is not None and column.dtype == "bool":
        read = [ANSWERS.get(text.strip().lower(), text) if text else None for text in texts]
        return pd.Series(read, dtype=object)
    return pd.Series([text or None for text in texts], dtype=object)


def _number(text: str) -> float | str:
    try:
        return math.nan if text.strip() in MISSING else float(text)
    except ValueError:
        return text


def _json(path: Path, columns: dict[str, Column], keep: list[str], n_rows: int) -> Iterator[Chunk]:
    with path.open(encoding="utf-8-sig") as file:
        yield Chunk([], pd.DataFrame(), pd.DataFrame())
        number, records = 0, _json_records(file, path)
        while rows := list(islice(enumerate(records, number), n_rows)):
            good = [(n, row) for n, row in rows if isinstance(row, dict)]
            bad = [(n, "no JSON object") for n, row in rows if not isinstance(row, dict)]
            frame = pd.DataFrame([row for _, row in good], index=range(len(good)))
            yield _chunk([n for n, _ in good], frame, keep, bad)
            number += len(rows)


def _json_records(file: TextIO, path: Path) -> Iterator[Any]:
    start = next((char for char in iter(lambda: file.read(1), "") if not char.isspace()), "")
    file.seek(0)
    if start == "[":
        return _array(file, path)
    if path.suffix.lower() == ".json" and start == "{" and _is_one_object(file, path):
        try:
            return iter(_records(json.load(file), path))
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{path} is no complete JSON file: {error}") from error
    return (_line(line) for line in file if line.strip())


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_one_object(file: TextIO, path: Path) -> bool:
    """Say whether a file that begins with { is one object, not one in each line."""
    first = file.readline()
    rest = next((line for line in file if line.strip()), None)
    file.seek(0)
    if rest is not None and isinstance(_line(first), dict):
        return False
    if path.stat().st_size > LARGEST_OBJECT:
        raise UserError(
            f"{path} is one JSON object of more than {LARGEST_OBJECT // 2**20} MB: write one "
            "record in each line (.jsonl)"
        )
    return True


def _records(content: Any, path: Path) -> list[Any]:
    """Return the records of one JSON object: a table as pandas and MLflow write it, or one row."""
    content = content.get("dataframe_records", content.get("dataframe_split", content))
    if isinstance(content, list):
        return content
    if {"columns", "data"} <= {*content}:
        try:
            return pd.DataFrame(content["data"], columns=content["columns"]).to_dict("records")
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} has columns and data that do not fit: {error}") from None
    return [content]


def _array(file: TextIO, path: Path) -> Iterator[Any]:
    """Yield the elements of a JSON array, which is never whole in memory."""
    decoder, text = json.JSONDecoder(), file.read(PIECE_CHARS)
    place = text.index("[") + 1
    while True:
        if between := BETWEEN.match(text, place):
            place = between.end()
        if text.startswith("]", place):
            return
        try:
            element, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = len(text)
        if end < len(text):  # else a number could go on in the next piece
            yield element
            place = end
            continue
        text, place = text[place:], 0
        if len(text) > LARGEST_OBJECT or not (piece := file.read(PIECE_CHARS)):
            raise UserError(f"{path} is no complete JSON array: it breaks off at {text[:40]!r}")
        text += piece
