"""Reads CSV files, however they are written, and says what is wrong with those that are damaged."""

import codecs
import csv
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PARQUET_MAGIC = b"PAR1"
# The rarer in texts and numbers first: where several fit, the first of them is meant.
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}
# What pandas, and with it MLflow's server, takes for a missing value in a column of numbers.
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)


def read(
    path: Path, text_columns: set[str], options: Csv, names: list[str] | None = None
) -> "pd.DataFrame":
    """Return the table in a CSV file; see `tables.read`."""
    import pandas as pd

    header, _ = check(path, options, names)
    arguments: dict[str, Any] = {
        "sep": options.separator,
        "decimal": options.decimal,
        "header": 0 if options.header else None,
        "names": None if options.header else header,
        "dtype": {name: "str" for name in header if name in text_columns},
        "low_memory": False,  # else a column can change its type in the middle of a file
        "index_col": False,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            with _opened(path, options) as file:
                frame = pd.read_csv(file, na_values=options.missing, **arguments)
            # In a column of text only what is declared is missing: read those again.
            texts = [
                name
                for name, column in frame.items()
                if not pd.api.types.is_numeric_dtype(column) and column.isna().any()
            ] + [name for name, column in frame.items() if column.isna().all()]
            if texts:
                with _opened(path, options) as file:
                    again = pd.read_csv(
                        file,
                        usecols=list(dict.fromkeys(texts)),
                        keep_default_na=False,
                        na_values=["", *options.missing],
                        **arguments,
                    )
                for name in again:
                    frame[name] = again[name]
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path.name} is no readable CSV file: {error}") from error
    return frame


def check(path: Path, options: Csv, names: list[str] | None = None) -> tuple[list[str], int]:
    """Read through a CSV file once; return the names of its columns and its number of rows.

    Every row must have as many fields as the header, or as `names` where the file has none;
    blank lines are no rows.
    """
    with path.open("rb") as file:
        if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
            raise UserError(f"{path.name} is a parquet file: give it a name ending in .parquet")
    n_rows = 0
    csv.field_size_limit(sys.maxsize)
    try:
        with _opened(path, options) as file:
            rows = csv.reader(file, strict=True, delimiter=options.separator)
            first = next(rows, [])
            _check_first(path, first, options, names)
            header = first if options.header or names is None else names
            n_rows += not options.header
            for row in rows:
                if len(row) not in (len(header), 0):
                    line = rows.line_num + options.skip_lines
                    begin = "header" if options.header else "first row"
                    raise UserError(
                        f"{path.name} line {line} has {len(row)} fields, its {begin} has "
                        f"{len(header)}: the file is truncated or not CSV"
                    )
                n_rows += bool(row)
    except UnicodeError as error:
        raise UserError(_undecodable(path, options, error)) from error
    except csv.Error as error:
        line = rows.line_num + options.skip_lines
        raise UserError(f"{path.name} is no complete CSV file (line {line}: {error})") from error
    return header, n_rows


def refuse_repeated(path: Path, names: list[str]) -> None:
    """Raise `UserError` if two columns have the same name."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"{path.name} has several columns called {repeated[0]!r}: column names must differ"
        )


def looks_like_values(names: list[str]) -> bool:
    """Say whether a header is rather a row: names are seldom numbers."""
    return any(name.strip().replace(".", "", 1).lstrip("+-").isdecimal() for name in names)


@contextmanager
def _opened(path: Path, options: Csv) -> Iterator[TextIO]:
    """Open a CSV file at its header, or its first row where it has none."""
    encoding = options.encoding
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # a byte order mark is no part of the first name
    with path.open(encoding=encoding, newline="") as file:
        for _ in range(options.skip_lines):
            file.readline()
        yield file


def _check_first(path: Path, first: list[str], options: Csv, names: list[str] | None) -> None:
    """Raise `UserError` if the header, or the first row where there is none, cannot be right."""
    if not any(field.strip() for field in first):
        after = f" after skip_lines {options.skip_lines}" if options.skip_lines else ""
        raise UserError(f"{path.name} has no columns: its first line{after} is empty")
    for separator, word in SEPARATORS.items():
        if len(first) == 1 != len(names or []) and separator in first[0]:
            raise UserError(
                f"{path.name} has its fields separated by {word}: set data.csv.separator to "
                f"{separator!r}"
            )
    if options.header:
        try:
            refuse_repeated(path, first)
        except UserError as error:
            if looks_like_values(first):
                raise UserError(
                    f"{error}; if its first line holds values, set data.csv.header to false"
                ) from None
            raise
        return
    expected = names or []
    if len(first) != len(expected):
        raise UserError(
            f"{path.name} has {len(first)} fields in its first row and `columns` declares "
            f"{len(expected)}: without a header every column is to be declared, in the file's order"
        )
    if first == expected:
        raise UserError(
            f"{path.name} has the declared names in its first row: set data.csv.header to true"
        )


def _undecodable(path: Path, options: Csv, error: UnicodeError) -> str:
    byte = ""
    if isinstance(error, UnicodeDecodeError):
        byte = f" (byte 0x{error.object[error.start]:02x})"
    name = "UTF-8" if codecs.lookup(options.encoding).name == "utf-8" else options.encoding
    return (
        f"{path.name} is not {name} text{byte}: save it as UTF-8, or set data.csv.encoding to what "
        "it is, such as latin-1"
    )
