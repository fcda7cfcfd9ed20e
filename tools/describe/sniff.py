"""Finds out how the lines of a CSV file are written: encoding, marks, header, what is no row.

What its values are is told by `readings`, from whole columns.
"""

import codecs
import csv
import io
import re
from collections import Counter, deque
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tools.describe.census import MISSING
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import packed_files
from util_lib.tables.csv_files import SEPARATORS

LOOKED_AT = 2_000  # lines, for the marks between fields; every line is read for the others
LOOKED_AT_LAST = 30  # lines, for what stands below the table
MOST_SKIPPED = 20  # lines before the table
AGREEING = 0.95  # share of the lines with as many fields as most
NONE = {*(word.lower() for word in MISSING), ""}
CHUNK_BYTES = 2**20
BLANKS = "blanks around a field are no part of it"
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\d+,\d+")
NOTE = re.compile(r"[*#†‡(—–]|(Note|Source|Quelle|Total|Fuente)s?\b", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?[/.]\d\d?[/.]\d{2,4}")


class Sniffed(NamedTuple):
    """How the lines are written; `names` are given to its columns where `options` has no header."""

    options: Csv
    names: list[str] | None
    reasons: list[str]


class _Lines(NamedTuple):
    """The first and the last lines; how many have something in them; those with a \\" in them."""

    first: list[str]
    last: list[str]
    n_filled: int
    escaped: list[str]


def sniff(path: Path) -> Sniffed:
    """Return how the CSV file at `path` is written; `UserError` if it is no text of lines."""
    encoding = find_encoding(path)
    lines = _lines(path, encoding)
    comment = _comment(lines.first)
    first = [line for line in lines.first if not (comment and line.startswith(comment))]
    whole = len(lines.first) < LOOKED_AT
    quote, escape = _quoting(first, lines.escaped, whole)
    marks = Csv(quote=quote, escape=escape, comment=comment, encoding=encoding)
    separator = find_separator(first, marks)
    marks = marks.model_copy(update={"separator": separator})
    reasons = []
    footer = _lines_below(lines.last, marks)
    if footer:
        what = [line.strip() for line in lines.last if line.strip()][-footer]
        reasons.append(f"lines below the table that are no rows: {footer}, {what[:60]!r}")
    if whole and footer:
        first = [line for line in first if line.strip()][:-footer]
    skip, extra = _lines_before(first, marks)
    rows = _split(first[skip:], marks)
    if skip:
        reasons.append(f"the table begins at line {skip + 1}")
    if _counts_what_follows(rows, lines.n_filled - skip):
        skip, rows = skip + 1, rows[1:]
        reasons.append("the first line counts rows and columns, and is no header")
    # a comment above the table is passed over without being counted
    counted = _physical(lines.first, skip, comment)
    names = None
    header = has_header(rows)
    trailing = extra and not any(row[-1].strip() for row in rows[1:] if len(row) > len(rows[0]))
    if trailing:
        header = True
        reasons.append("rows end with a separator, the header does not: no column is behind it")
    elif extra:
        free = "rownames" if "rownames" not in rows[0] else "rownames_2"
        names, header, counted = [free, *(name.strip() for name in rows[0])], False, counted + 1
        reasons.append(f"rows have a field more than the header: the first, their name, is {free}")
    elif not header:
        names = [f"c{number}" for number in range(len(rows[0]))]
        reasons.append("no line names the columns: they are called c0, c1, ... in their order")
    if trim := _has_quotes_after_blanks(first[skip:], marks):
        reasons.append(BLANKS)
    if escape:
        reasons.append("quotes within a text have a backslash before them")
    if comment:
        reasons.append(f"lines that begin with {comment} are comments")
    options = marks.model_copy(
        update={
            "header": header,
            "skip_lines": counted,
            "footer_lines": footer,
            "trailing_separator": trailing,
            "trim": trim,
        }
    )
    return Sniffed(Csv.model_validate(options.model_dump()), names, reasons)


def find_encoding(path: Path) -> str:
    """Return utf-8, utf-16 (by its mark), cp1252 or latin-1, the first that fits the whole file."""
    with packed_files.opened(path) as file:
        start = file.read(CHUNK_BYTES)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in start or re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]{2}", start):
        raise UserError(
            f"{path.name} is neither a parquet file nor text: expected a table as parquet, CSV, "
            "JSON, Excel or Arrow; export it as one of them"
        )
    for encoding in ("utf-8", "cp1252"):
        decoder = codecs.getincrementaldecoder(encoding)()
        with packed_files.opened(path) as file:
            try:
                while chunk := file.read(CHUNK_BYTES):
                    decoder.decode(chunk)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                continue
        return encoding
    return "latin-1"


def _lines(path: Path, encoding: str) -> _Lines:
    with packed_files.opened(path) as packed:
        known = "utf-8-sig" if encoding == "utf-8" else encoding
        file = io.TextIOWrapper(packed, encoding=known, newline="")
        first = list(islice(file, LOOKED_AT))
        n_filled = sum(bool(line.strip()) for line in first)
        last = deque(first, LOOKED_AT_LAST)
        escaped = [line for line in first if '\\"' in line]
        for line in file:
            n_filled += bool(line.strip())
            last.append(line)
            if '\\"' in line and len(escaped) < LOOKED_AT:
                escaped.append(line)
    if not n_filled:
        raise UserError(f"{path.name} has no line with anything in it: expected a table")
    return _Lines(first, list(last), n_filled, escaped)


def _comment(lines: list[str]) -> str | None:
    """Return # where lines within the table begin with it, and neither the header nor a row do."""
    marked = [number for number, line in enumerate(lines) if line.startswith("#")]
    plain = [number for number, line in enumerate(lines) if line.strip() and line[0] != "#"]
    if not marked or len(marked) > 0.2 * len(plain):
        return None
    if marked[-1] < plain[0]:  # all above it: the last of them may be the header
        return None
    separator = find_separator([lines[number] for number in plain], Csv())
    usual = Counter(lines[number].count(separator) for number in plain).most_common(1)[0][0]
    return None if any(lines[number].count(separator) == usual for number in marked) else "#"


def _quoting(first: list[str], escaped: list[str], whole: bool) -> tuple[str, str | None]:
    """Return the quote, and what stands before one within a text where it is not doubled."""
    candidates: list[tuple[str, str | None]] = [('"', None)]
    if escaped:
        candidates.append(('"', "\\"))
    single = sum(bool(re.search(r"(^|[,;|\t])'[^']*'([,;|\t]|\s*$)", line)) for line in first)
    if single > len(first) / 2:
        candidates.append(("'", None))
    best, most = candidates[0], -1.0
    for quote, escape in candidates:
        marks = Csv(quote=quote, escape=escape)
        looked_at = [*(line for line in escaped if line not in first), *first]
        marks = marks.model_copy(update={"separator": find_separator(looked_at, marks)})
        agreeing = _agreement(looked_at, marks, whole)
        if agreeing > most or (agreeing == most and quote == "'"):
            best, most = (quote, escape), agreeing
    return best


def _agreement(lines: list[str], marks: Csv, whole: bool) -> float:
    """Return the share of rows that have as many fields as most, up to the first broken quote."""
    counts: list[int] = []
    reader = csv.reader(lines, strict=True, **dialect(marks))
    try:
        counts.extend(len(row) for row in reader if row)
    except csv.Error:
        if whole or reader.line_num < len(lines):
            return len(counts) / (2 * len(lines))
    return Counter(counts).most_common(1)[0][1] / len(counts) if counts else 0.0


def _has_quotes_after_blanks(lines: list[str], marks: Csv) -> bool:
    """Say whether fields in quotes stand after a blank, which must be none of their own then."""
    as_values = csv.reader(lines, **(dialect(marks) | {"skipinitialspace": False}))
    quoted = csv.reader(lines, **dialect(marks))
    rows = zip(as_values, quoted, strict=False)
    return any([f.strip() for f in a] != [f.strip() for f in b] for a, b in rows)


def dialect(marks: Csv) -> dict:
    """Return what Python's reader of CSV calls the marks of a file."""
    return {
        "delimiter": marks.separator,
        "quotechar": marks.quote,
        "escapechar": marks.escape,
        "doublequote": marks.escape is None,
        "skipinitialspace": True,  # else a quote after a blank would be a value
    }


def find_separator(lines: list[str], marks: Csv) -> str:
    """Return the character that cuts the lines into most alike numbers of fields; else a comma."""
    best, fewest_skipped = ",", MOST_SKIPPED + 1
    for separator in SEPARATORS:
        tried = marks.model_copy(update={"separator": separator})
        counts = [len(row) for row in _split(lines, tried)]
        usual, n_usual = Counter(counts).most_common(1)[0]
        if usual < 2 or n_usual < AGREEING * (len(counts) - MOST_SKIPPED):
            continue
        skipped = counts.index(usual)
        if n_usual < AGREEING * (len(counts) - skipped - 1):
            continue
        if skipped < fewest_skipped:
            best, fewest_skipped = separator, skipped
    return best


def _split(lines: list[str], marks: Csv) -> list[list[str]]:
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(io.StringIO("".join(lines), newline=""), **dialect(marks))
    return [row for row in rows if row]


def _lines_before(lines: list[str], marks: Csv) -> tuple[int, bool]:
    """Return how many lines stand before the table, and whether its rows have one field more."""
    counts = [len(next(csv.reader([line], **dialect(marks)), [])) for line in lines]
    usual = Counter(len(row) for row in _split(lines, marks)).most_common(1)[0][0]
    if usual < 2:
        return 0, False
    first = next((i for i, count in enumerate(counts[:MOST_SKIPPED]) if count == usual), 0)
    # a quoted name may go on in the next line: then there is nothing to skip
    if any(marks.quote in line and line.count(marks.quote) % 2 for line in lines[:first]):
        return 0, False
    named = [i for i, count in enumerate(counts[:first]) if count]
    if named and usual > 2 and counts[named[-1]] == usual - 1:
        if not has_header(_split(lines[first:], marks)):
            return named[-1], True
    return first, False


def _physical(lines: list[str], skip: int, comment: str | None) -> int:
    """Return how many lines of the file stand before the table, comments among them."""
    if not comment:
        return skip
    plain = [number for number, line in enumerate(lines) if not line.startswith(comment)]
    return plain[skip] if skip else 0


def _lines_below(lines: list[str], marks: Csv) -> int:
    """Return how many lines at the end are none of the table, such as notes; blank ones aside.

    A last row that is cut off is no note: that stands behind a blank line, begins with a mark or
    is a sentence, and ends its line.
    """
    counts = [len(next(csv.reader([line], **dialect(marks)), [])) for line in lines]
    usual = Counter(counts).most_common(1)[0][0]
    if usual < 2 or any(line.count(marks.quote) % 2 for line in lines):
        return 0
    below = 0
    for number in range(len(lines) - 1, 0, -1):
        line, behind_blank = lines[number].strip(), not lines[number - 1].strip()
        if line:
            other = counts[number] != usual
            marked = bool(NOTE.match(line)) and (other or behind_blank)
            alone = counts[number] == 1 and (behind_blank or " " in line)
            if not (marked or (alone and (lines[number].endswith("\n") or behind_blank))):
                break
        below += 1
    return sum(bool(line.strip()) for line in lines[len(lines) - below :])


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
        filled = [value.strip() for value in column if value.strip().lower() not in NONE]
        if not filled or not word:
            continue
        for kind in (_is_number, _is_date):
            if sum(map(kind, filled)) >= AGREEING * len(filled) and not kind(word):
                if word.lower() not in NONE:
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


def _is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text.strip()))


def _is_date(text: str) -> bool:
    return bool(DATE.fullmatch(text.strip()))
