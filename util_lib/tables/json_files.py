"""Reads records of JSON: a list of them, one in each line, or a table as pandas writes it."""

import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from util_lib.errors import UserError
from util_lib.tables import packed_files
from util_lib.tables.csv_files import refuse_repeated

BETWEEN = re.compile(r"[\s,]*")  # the elements of a JSON array
PIECE_CHARS = 2**20  # read of a JSON array at a time
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # JSON may write one half of a character's two
LARGEST_OBJECT = 64 * 2**20  # a file that is one JSON object is read whole


class RepeatedKeyError(ValueError):
    """A record names a column twice."""


class Unread(NamedTuple):
    """A record that cannot be read, and why."""

    reason: str


NO_OBJECT = Unread("no JSON object")
HALF = Unread("half of a surrogate pair, which is no text")


def loads(text: str) -> Any:
    """Return what a JSON text holds; `ValueError` where an object has a key twice.

    NaN is None: both are ways to say that a value is missing.
    """
    return DECODER.decode(text)


def is_text(content: Any, text: str, *span: int) -> bool:
    """Say whether all in a JSON text can be written: half of a surrogate pair is no letter."""
    if not SURROGATE.search(text, *span):
        return True
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = set[str]()
        for name, _ in pairs:
            if name in names:
                raise repeated(name)
            names.add(name)
    return record


def repeated(name: str) -> RepeatedKeyError:
    """Return the error for a key that is twice in one object."""
    return RepeatedKeyError(f"the key {name[:80]!r} occurs twice in one object")


def _constant(word: str) -> float | None:
    return None if word == "NaN" else float(word)


DECODER = json.JSONDecoder(object_pairs_hook=_unrepeated, parse_constant=_constant)


def records(path: Path) -> Iterator[dict[str, Any] | Unread]:
    """Yield the records of a file.

    What is wrong with the file as a whole is a `UserError`.
    """
    with packed_files.opened(path) as binary:
        try:
            # how it is written is seen at its start; what is packed may not go back to it
            seen = binary.read(PIECE_CHARS)
            pieces = chain([seen], iter(lambda: binary.read(PIECE_CHARS), b""))
            start = seen.decode("utf-8-sig", errors="replace").lstrip()
            whole = io.BufferedReader(packed_files.Pieces(pieces), PIECE_CHARS)
            file = io.TextIOWrapper(whole, encoding="utf-8-sig")
            for element in _elements(file, start, path):
                yield element if isinstance(element, dict | Unread) else NO_OBJECT
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-8 text (byte 0x{error.object[error.start]:02x}): save it as "
                "UTF-8"
            ) from error


def _elements(file: TextIO, start: str, path: Path) -> Iterator[Any]:
    if start.startswith("["):
        return _array(file, path)
    first, _, rest = start.partition("\n")
    in_lines = packed_files.suffix_of(path) != ".json" or (
        rest.strip() and _line(first) != NO_OBJECT
    )
    if start.startswith("{") and not in_lines:
        text = file.read(LARGEST_OBJECT + 1)
        if len(text) > LARGEST_OBJECT:
            raise UserError(
                f"{path} is one JSON object of more than {LARGEST_OBJECT // 2**20} MB: write one "
                "record in each line (.jsonl)"
            )
        try:
            content = loads(text)
            if not is_text(content, text):
                raise ValueError(HALF.reason)
            return iter(_records(content, path))
        except (ValueError, RecursionError) as error:
            lines = "; records in lines are of a file named .jsonl" * ("Extra data" in str(error))
            raise UserError(f"{path} is no complete JSON file: {error}{lines}") from error
    return (_line(line) for line in file if line.strip())


def _line(line: str) -> Any:
    try:
        content = loads(line)
        return content if is_text(content, line) else HALF
    except RepeatedKeyError as error:
        return Unread(str(error))
    except (ValueError, RecursionError):
        return NO_OBJECT


def _records(content: Any, path: Path) -> list[Any]:
    """Return the records of one JSON object: a table as pandas and MLflow write it, or one row."""
    content = content.get("dataframe_records", content.get("dataframe_split", content))
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no rows: expected a list of records, or columns and data")
    if {"columns", "data"} <= {*content}:
        columns, data = content["columns"], content["data"]
        if not (isinstance(columns, list) and isinstance(data, list)) or any(
            not isinstance(row, list) or len(row) != len(columns) for row in data
        ):
            raise UserError(f"{path} has columns and data that do not fit")
        names = [*map(str, columns)]
        refuse_repeated(path, names)
        return [dict(zip(names, row, strict=True)) for row in data]
    return [content]


def _array(file: TextIO, path: Path) -> Iterator[Any]:
    """Yield the elements of a JSON array, which is never whole in memory."""
    text = file.read(PIECE_CHARS)
    place = text.index("[") + 1
    while True:
        if between := BETWEEN.match(text, place):
            place = between.end()
        if text.startswith("]", place):
            rest = text[place + 1 :]
            while not rest.strip() and (rest := file.read(PIECE_CHARS)):
                pass
            if rest := rest.strip():
                raise UserError(
                    f"{path} goes on after its JSON array, with {rest[:40]!r}: expected one array, "
                    "or one record in each line (.jsonl)"
                )
            return
        try:
            element, end = DECODER.raw_decode(text, place)
        except RepeatedKeyError as error:
            element, end = Unread(str(error)), json.JSONDecoder().raw_decode(text, place)[1]
        except (ValueError, RecursionError):
            end = len(text)
        if end < len(text):  # else a number could go on in the next piece
            yield element if is_text(element, text, place, end) else HALF
            place = end
            continue
        text, place = text[place:], 0
        if len(text) > LARGEST_OBJECT or not (piece := file.read(PIECE_CHARS)):
            raise UserError(f"{path} is no complete JSON array: it breaks off at {text[:40]!r}")
        text += piece
