"""Finds out how a CSV file is written: encoding, separator, header, decimal mark, missing words.

Only the first rows are looked at, but for the encoding, which a late letter may decide.
"""

import codecs
import csv
import io
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables.csv_files import SEPARATORS
from util_lib.tables.typed import MISSING

LOOKED_AT = 2_000  # lines
MOST_SKIPPED = 20  # lines before the table
AGREEING = 0.95  # share of the lines with as many fields as most
NUMBERS = 0.8  # share of a column's values that are numbers, so that the others are missing
CHUNK_BYTES = 2**20
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
COMMA_NUMBER = re.compile(r"[-+]?\d+,\d+")
DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?[/.]\d\d?[/.]\d{2,4}")
# What people write where a value is missing and pandas does not take for missing by itself.
MISSING_WORDS = (
    "?",
    "-",
    "--",
    "---",
    ".",
    "..",
    "*",
    "missing",
    "unknown",
    "(null)",
    "not available",
)
KNOWN_MISSING = {word.lower() for word in MISSING}


class Sniffed(NamedTuple):
    """How the file is written; `names` are given to its columns where no line names them.

    `codes` are columns of digits that are names, not numbers: some begin with a zero.
    """

    options: Csv
    names: list[str] | None
    codes: list[str]
    reasons: list[str]


def sniff(path: Path) -> Sniffed:
    """Return how the CSV file at `path` is written; `UserError` if it is no text of lines."""
    encoding = find_encoding(path)
    lines, n_lines = _first_lines(path, encoding)
    separator = find_separator(lines)
    skip = _lines_before_the_table(lines, separator)
    rows = _split(lines[skip:], separator)
    reasons = []
    if skip:
        reasons.append(f"the table begins at line {skip + 1}")
    if _counts_what_follows(rows, n_lines - skip):
        skip += 1
        rows = rows[1:]
        reasons.append("the first line counts rows and columns, and is no header")
    header = has_header(rows)
    first, values = (rows[0], rows[1:]) if header else (None, rows)
    decimal = "," if separator != "," and _decimal_comma(values) else "."
    missing = _missing_words(values, decimal)
    names = None if header else [f"c{number}" for number in range(len(rows[0]))]
    if not header:
        reasons.append("no line names the columns: they are called c0, c1, ... in their order")
    options = Csv(
        separator=separator,
        encoding=encoding,
        header=header,
        skip_lines=skip,
        decimal=decimal,
        missing=missing,
    )
    codes = _codes(first or names or [], values)
    return Sniffed(options, names, codes, reasons)


def find_encoding(path: Path) -> str:
    """Return utf-8, utf-16 (by its mark), cp1252 or latin-1, the first that fits the whole file."""
    with path.open("rb") as file:
        start = file.read(CHUNK_BYTES)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if b"\0" in start or re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]{2}", start):
            raise UserError(
                f"{path.name} is neither a parquet file nor text: expected a table as parquet or "
                "CSV; unpack it or export it as one of them"
            )
        for encoding in ("utf-8", "cp1252"):
            decoder = codecs.getincrementaldecoder(encoding)()
            file.seek(0)
            try:
                while chunk := file.read(CHUNK_BYTES):
                    decoder.decode(chunk)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                continue
            return encoding
    return "latin-1"


def _first_lines(path: Path, encoding: str) -> tuple[list[str], int]:
    """Return the first lines, and how many lines with something in them the file has."""
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
        lines = list(islice(file, LOOKED_AT))
        n_lines = sum(bool(line.strip()) for line in lines)
        n_lines += sum(bool(line.strip()) for line in file)
    if not n_lines:
        raise UserError(f"{path.name} has no line with anything in it: expected a table")
    return lines, n_lines


def find_separator(lines: list[str]) -> str:
    """Return the character that cuts the lines into most alike numbers of fields; else a comma."""
    best, fewest_skipped = ",", MOST_SKIPPED + 1
    for separator in SEPARATORS:
        counts = [len(row) for row in _split(lines, separator)]
        usual, n_usual = Counter(counts).most_common(1)[0]
        if usual < 2 or n_usual < AGREEING * (len(counts) - MOST_SKIPPED):
            continue
        skipped = counts.index(usual)
        if n_usual < AGREEING * (len(counts) - skipped):
            continue
        if skipped < fewest_skipped:
            best, fewest_skipped = separator, skipped
    return best


def _split(lines: list[str], separator: str) -> list[list[str]]:
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator)
    return [row for row in rows if row]


def _lines_before_the_table(lines: list[str], separator: str) -> int:
    counts = [len(next(csv.reader([line], delimiter=separator), [])) for line in lines]
    usual = Counter(len(row) for row in _split(lines, separator)).most_common(1)[0][0]
    if usual < 2:
        return 0
    first = next((i for i, count in enumerate(counts[:MOST_SKIPPED]) if count == usual), 0)
    # a quoted name may go on in the next line: then there is nothing to skip
    return 0 if any('"' in line for line in lines[:first]) else first


def _counts_what_follows(rows: list[list[str]], n_lines: int) -> bool:
    """Say whether the first line is "rows, columns, class names", as scikit-learn writes it."""
    if len(rows) < 3 or not rows[0][0].strip().isdecimal():
        return False
    others = [field for field in rows[0][1:] if not _is_number(field)]
    return int(rows[0][0]) == n_lines - 1 and len(rows[0]) > 2 and bool(others)


def has_header(rows: list[list[str]]) -> bool:
    """Say whether the first row names the columns.

    It does where it differs in kind from what is below it, and where its fields are distinct words
    that no value repeats.
    """
    first, values = rows[0], rows[1:]
    if not values:
        return not any(_is_number(field) or DATE.fullmatch(field.strip()) for field in first)
    columns = list(zip(*(row for row in values if len(row) == len(first)), strict=True))
    if not columns:
        return True
    words = [field.strip() for field in first]
    if all(_is_number(word) for word in words):
        return len(words) > 2 and _are_numbered(words)
    repeats = False
    for word, column in zip(words, columns, strict=True):
        filled = [value.strip() for value in column if value.strip().lower() not in KNOWN_MISSING]
        if not filled or not word:
            continue
        for kind in (_is_number, _is_date):
            if sum(map(kind, filled)) >= AGREEING * len(filled) and not kind(word):
                if word.lower() not in KNOWN_MISSING and word not in MISSING_WORDS:
                    return True
        repeats |= word in filled and not _is_number(word)
    numbers = [word for word in words if _is_number(word)]
    if repeats or any(_is_date(word) for word in words):
        return False
    if numbers and not _are_numbered(numbers):
        return False
    return len(set(words)) == len(words)


def _are_numbered(words: list[str]) -> bool:
    """Say whether the words count up by one, as the names that pandas makes and years do."""
    if len(words) < 2 or not all(word.isdecimal() for word in words):
        return False
    numbers = [int(word) for word in words]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _decimal_comma(values: list[list[str]]) -> bool:
    fields = [field.strip() for row in values for field in row]
    commas = sum(bool(COMMA_NUMBER.fullmatch(field)) for field in fields)
    return commas > sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", field)) for field in fields)


def _missing_words(values: list[list[str]], decimal: str) -> list[str]:
    """Return the words that stand where else only numbers are."""
    found: Counter[str] = Counter()
    for column in zip(*(row for row in values if len(row) == len(values[0])), strict=True):
        filled = [value for value in column if value.strip().lower() not in KNOWN_MISSING]
        others = [value for value in filled if not _is_number(value.replace(decimal, "."))]
        words = set(others)
        if others and len(others) <= (1 - NUMBERS) * len(filled):
            if all(word.strip().lower() in MISSING_WORDS for word in words):
                found.update(words)
    return sorted(found)


def _codes(names: list[str], values: list[list[str]]) -> list[str]:
    columns = zip(*(row for row in values if len(row) == len(names)), strict=True)
    return [
        name
        for name, column in zip(names, columns, strict=False)
        if any(re.fullmatch(r"0\d+", value) for value in column)
        and all(re.fullmatch(r"\d*", value) for value in column)
    ]


def _is_number(text: str) -> bool:
    text = text.strip()
    return bool(NUMBER.fullmatch(text) or COMMA_NUMBER.fullmatch(text))


def _is_date(text: str) -> bool:
    return bool(DATE.fullmatch(text.strip()))
