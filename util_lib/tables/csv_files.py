"""Reads CSV files, however they are written, and says what is wrong with those that are damaged.

A file is read as what it is: texts. What they stand for is `typed`'s to say.
"""

import codecs
import csv
import io
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from util_lib.errors import UserError
from util_lib.tables import packed_files

if TYPE_CHECKING:
    import pyarrow as pa

    from util_lib.dataset.declaration import Csv

PARQUET_MAGIC = b"PAR1"
# The rarer in texts and numbers first: where several fit, the first of them is meant.
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}
BLOCK_BYTES = 2**24  # read at a time; no row may be longer
PIECE_BYTES = 2**20
BEYOND = "\0"  # stands for the column behind a separator at the end of each row


class Texts(NamedTuple):
    """Some rows as texts, with their numbers in the file, and (number, why) of those unread."""

    batch: "pa.RecordBatch"
    numbers: list[int]
    unread: list[tuple[int, str]]


def batches(
    path: Path, options: "Csv", names: list[str] | None, *, skip_damaged: bool
) -> Iterator[Texts]:
    """Yield the rows of a CSV file, every field as text; the first batch has none.

    Every row must have as many fields as the header, or as `names` where the file has none; blank
    lines are no rows. Others are a `UserError`, or with `skip_damaged` handed on as unread.
    """
    import pyarrow as pa

    header = _header(path, options, names)
    if _has_quotes(path, options):
        check(path, options, names, skip_damaged=skip_damaged)
    yield Texts(_no_rows(header), [], [])
    reasons: dict[int, str] = {}
    first = 2 if options.header else 1  # as pyarrow counts the rows

    def damaged(row: Any) -> str:
        reasons[row.number - first] = _wrong_width(row.actual_columns, options, len(header))
        return "skip" if skip_damaged else "error"

    number = 0
    try:
        with _bytes(path, options) as file:
            for batch in _pyarrow(file, header, options, damaged):
                numbers: list[int] = []
                unread: list[tuple[int, str]] = []
                while len(numbers) < batch.num_rows or number in reasons:
                    if number in reasons:
                        unread.append((number, reasons.pop(number)))
                    else:
                        numbers.append(number)
                    number += 1
                yield Texts(batch, numbers, unread)
        if reasons:
            yield Texts(_no_rows(header), [], [*reasons.items()])
    except (pa.ArrowException, UnicodeError) as error:
        check(path, options, names, skip_damaged=skip_damaged)
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path.name} is no readable CSV file: {reason}") from error


def _pyarrow(file: BinaryIO, header: list[str], options: "Csv", damaged: Any) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.csv

    names = [*header, BEYOND] if options.trailing_separator else header
    with pa.csv.open_csv(
        file,
        pa.csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=names,
            skip_rows_after_names=int(options.header),
        ),
        pa.csv.ParseOptions(
            delimiter=options.separator,
            quote_char=options.quote,
            escape_char=options.escape or False,
            newlines_in_values=True,
            invalid_row_handler=damaged,
        ),
        pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    ) as reader:
        for batch in reader:
            if options.trailing_separator:
                beyond = batch.column(BEYOND)
                if any(beyond.unique().to_pylist()):
                    raise UserError(
                        "data.csv.trailing_separator: some rows have a value behind the last "
                        "column: set it to false and give that column a name"
                    )
                batch = batch.select(header)
            yield batch


def _no_rows(header: list[str]) -> "pa.RecordBatch":
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], pa.string())] * len(header), header)


def first_row(path: Path | bytes, options: "Csv") -> list[str]:
    """Return the fields of the header, or of the first row where there is none."""
    with opened(path, options) as file:
        first: list[str] = next(rows_of(file, options), [])
    return [name.strip() for name in first] if options.trim else first


def _header(path: Path, options: "Csv", names: list[str] | None) -> list[str]:
    """Return the names of the columns; `UserError` where the first line cannot be right."""
    with path.open("rb") as start:
        if start.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
            raise UserError(f"{path.name} is a parquet file: give it a name ending in .parquet")
    try:
        first = first_row(path, options)
    except UnicodeError as error:
        raise UserError(_undecodable(path, options, error)) from error
    except csv.Error as error:
        raise _incomplete(path, options.skip_lines + 1, error) from error
    _check_first(path, first, options, names)
    if names is not None and not options.header:
        return names
    # As pandas names a column that the header leaves without name.
    return [name or f"Unnamed: {place}" for place, name in enumerate(first)]


def check(
    path: Path, options: "Csv", names: list[str] | None = None, *, skip_damaged: bool = False
) -> tuple[list[str], int]:
    """Read through a CSV file once; return the names of its columns and its number of rows.

    Every row must have as many fields as the header, or as `names` where the file has none, which
    `skip_damaged` does not ask; blank lines are no rows.
    """
    header, n_rows = _header(path, options, names), 0
    width = len(header)
    try:
        with opened(path, options) as file:
            rows = rows_of(file, options)
            if options.header:
                next(rows)
            for row in rows:
                if len(row) not in (width + options.trailing_separator, 0) and not skip_damaged:
                    line = rows.line_num + options.skip_lines
                    raise UserError(
                        f"{path.name} line {line} has {_wrong_width(len(row), options, width)}: "
                        f"the file is truncated or not CSV{_hint(row, width)}"
                    )
                n_rows += bool(row)
    except UnicodeError as error:
        raise UserError(_undecodable(path, options, error)) from error
    except csv.Error as error:
        raise _incomplete(path, rows.line_num + options.skip_lines, error) from error
    return header, n_rows


def _wrong_width(n_fields: int, options: "Csv", width: int) -> str:
    one_more = " and trailing_separator asks for an empty one more" * options.trailing_separator
    first = "header" if options.header else "first row"
    return f"{n_fields} fields, its {first} has {width}{one_more}"


def _hint(row: list[str], width: int) -> str:
    if len(row) == width + 1 and not row[-1]:
        return "; if every row ends in a separator, set data.csv.trailing_separator to true"
    if len(row) == 1:
        return "; if it is a footnote, set data.csv.footer_lines"
    return ""


def _incomplete(path: Path, line: int, error: Exception) -> UserError:
    return UserError(f"{path.name} is no complete CSV file (line {line}: {error})")


def refuse_repeated(path: Path, names: list[str]) -> None:
    """Raise `UserError` if two columns have the same name."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"{path.name} has several columns called {repeated[0]!r}: column names must differ"
        )


def looks_like_values(names: list[str]) -> bool:
    """Say whether a header is rather a row: names are seldom numbers."""
    return any(name.strip().replace(".", "", 1).lstrip("+-").isdecimal() for name in names)


def rows_of(file: Iterable[str], options: "Csv") -> Any:
    """Return Python's reader of the rows of a text, as lists of texts."""
    csv.field_size_limit(sys.maxsize)
    return csv.reader(
        file,
        strict=True,
        delimiter=options.separator,
        quotechar=options.quote,
        escapechar=options.escape,
    )


@contextmanager
def opened(path: Path | bytes, options: "Csv") -> Iterator[TextIO]:
    """Open a file, or its content, at its header, or its first row where it has none."""
    with _bytes(path, options) as file:
        yield io.TextIOWrapper(file, encoding="utf-8", newline="")


@contextmanager
def _bytes(path: Path | bytes, options: "Csv") -> Iterator[BinaryIO]:
    """Open a CSV file, in UTF-8, at its header, or its first row where it has none.

    Comments and what stands below the table are left out.
    """
    with packed_files.opened(path) as packed:
        pieces = _utf8(packed, options.encoding)
        if options.comment or options.footer_lines:
            pieces = _table_lines(_lines(pieces), options)
        file = io.BufferedReader(packed_files.Pieces(pieces), PIECE_BYTES)
        if not (options.comment or options.footer_lines):
            for _ in range(options.skip_lines):
                file.readline()
        if options.trim:
            tight = _tight(iter(partial(file.read, PIECE_BYTES), b""), options)
            file = io.BufferedReader(packed_files.Pieces(tight), PIECE_BYTES)
        yield file


def _utf8(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield a file in UTF-8 without a byte order mark, which is no part of the first name."""
    pieces = iter(lambda: file.read(PIECE_BYTES), b"")
    if codecs.lookup(encoding).name == "utf-8":
        first = next(pieces, b"")
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from pieces
        return
    for text in codecs.iterdecode(pieces, encoding):
        yield text.encode()


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from io.BufferedReader(packed_files.Pieces(pieces), PIECE_BYTES)


def _table_lines(lines: Iterator[bytes], options: "Csv") -> Iterator[bytes]:
    """Yield the lines without those that `options` says are no part of the table.

    Blank lines count as none of the lines below the table. What stands within a quoted field of
    several lines is of the table, whatever it looks like.
    """
    held: deque[bytes] = deque()
    comment = options.comment.encode() if options.comment else None
    mark, is_open = options.quote.encode(), _patterns(options).is_open
    escaped = re.compile(re.escape(options.escape.encode()) + b".") if options.escape else None
    row = b""
    for line in islice(lines, options.skip_lines, None):
        if not row and (not line.strip() or (comment and line.lstrip().startswith(comment))):
            continue
        n_quotes = (escaped.sub(b"", line) if escaped else line).count(mark)
        changes = n_quotes % 2 == 1 if row else mark in line
        row += line if line.endswith(b"\n") else line + b"\n"
        if (is_open.match(row) if changes else len(row) > len(line)) and len(row) <= BLOCK_BYTES:
            continue  # a field goes on in the next line
        held.append(row)
        row = b""
        if len(held) > options.footer_lines:
            yield held.popleft()
    held += (line for line in row.splitlines(keepends=True) if line.strip())
    yield from islice(held, max(0, len(held) - options.footer_lines))


def _tight(pieces: Iterator[bytes], options: "Csv") -> Iterator[bytes]:
    """Yield rows without the blanks around quoted fields, beside which a quote would be a value."""
    mark, patterns, held = options.quote.encode(), _patterns(options), b""
    for piece in pieces:
        held += piece
        rows = patterns.rows.match(held) if mark in held else None
        end = rows.end() if rows else len(held)
        if not end and len(held) > BLOCK_BYTES:  # a field without end, or no CSV
            end = held.rfind(b"\n") + 1 or len(held)
        yield patterns.quoted.sub(rb"\1", held[:end])
        held = held[end:]
    yield patterns.quoted.sub(rb"\1", held)


class _Patterns(NamedTuple):
    """What quoted fields, whole rows, and rows whose last field goes on behind them look like."""

    quoted: re.Pattern[bytes]
    rows: re.Pattern[bytes]
    is_open: re.Pattern[bytes]


def _patterns(options: "Csv") -> _Patterns:
    # Atomic groups: possessive quantifiers of groups match wrongly before Python 3.11.4.
    quote, separator = (re.escape(o.encode()) for o in (options.quote, options.separator))
    blank = rb" " if options.separator == "\t" else rb"[ \t]"
    blanks = rb"(?>%b*)" % blank if options.trim else rb""
    inside = rb"(?>[^%b]*(?:%b%b[^%b]*)*)" % ((quote,) * 4)
    if options.escape:
        escape = re.escape(options.escape.encode())
        plain = rb"[^%b%b]*" % (quote, escape)
        inside = rb"(?s:(?>%b(?:(?:%b.|%b%b)%b)*))" % (plain, escape, quote, quote, plain)
    ends = rb"%b\r\n" % separator
    quoted = rb"%b%b%b%b" % (quote, inside, quote, blanks)
    bare = rb"(?!%b%b)(?>[^%b]*)" % (blanks, quote, ends)
    field = rb"(?:%b%b(?=[%b])|%b)" % (blanks, quoted, ends, bare)
    begins = rb"(?:(?<=[%b])|\A)%b" % (ends, blanks)
    return _Patterns(
        re.compile(begins + rb"(%b%b%b)%b(?=[%b]|\Z)" % (quote, inside, quote, blanks, ends)),
        re.compile(rb"(?>(?:%b(?>(?:%b%b)*)(?:\r\n?|\n))*)" % (field, separator, field)),
        re.compile(rb"(?>(?:%b%b)*)%b%b%b\Z" % (field, separator, blanks, quote, inside)),
    )


def _has_quotes(path: Path, options: "Csv") -> bool:
    """Say whether a field may be quoted: only then can a quote be missing, which pyarrow mends."""
    quote = options.quote.encode()
    with _bytes(path, options) as file:
        return any(quote in piece for piece in iter(lambda: file.read(PIECE_BYTES), b""))


def _check_first(path: Path, first: list[str], options: "Csv", names: list[str] | None) -> None:
    """Raise `UserError` if the header, or the first row where there is none, cannot be right."""
    if not any(field.strip() for field in first):
        after = f" after skip_lines {options.skip_lines}" if options.skip_lines else ""
        raise UserError(f"{path.name} has no columns: its first line{after} is empty")
    is_lone = len(first) == 1 != len(names or [])
    for separator, word in SEPARATORS.items():
        if is_lone and separator in first[0]:
            raise UserError(
                f"{path.name} has its fields separated by {word}: set data.csv.separator to "
                f"{separator!r}"
            )
    if is_lone and "  " in first[0].strip():
        raise UserError(
            f"{path.name} has columns of fixed width, with no character between its fields: save "
            "it as CSV"
        )
    if options.header:
        try:
            refuse_repeated(path, [name for name in first if name])
        except UserError as error:
            if looks_like_values(first):
                raise UserError(
                    f"{error}; if its first line holds values, set data.csv.header to false"
                ) from None
            raise
        return
    expected = names or []
    n_fields = len(first) - (options.trailing_separator and not first[-1])
    if n_fields != len(expected):
        raise UserError(
            f"{path.name} has {n_fields} fields in its first row and `columns` declares "
            f"{len(expected)}: without a header every column is to be declared, in the file's order"
        )
    if first == expected:
        raise UserError(
            f"{path.name} has the declared names in its first row: set data.csv.header to true"
        )


def _undecodable(path: Path, options: "Csv", error: UnicodeError) -> str:
    byte = ""
    if isinstance(error, UnicodeDecodeError):
        byte = f" (byte 0x{error.object[error.start]:02x})"
    name = "UTF-8" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    return (
        f"{path.name} is not {name} text{byte}: save it as UTF-8, or set data.csv.encoding to what "
        "it is, such as latin-1"
    )
