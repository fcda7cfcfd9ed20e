"""The rows of a file for a model, a piece at a time, read as the model's declaration says.

A row that cannot be read at all (a CSV line with too many fields, a line that is no JSON) is no end
of the file: it is handed on with the reason, and counts as a row.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from serving.model import csv_forms
from serving.model.served_model import ServedModel
from util_lib.tables import packed_files, reading, typed

logger = logging.getLogger("serving")

SUFFIXES = (*reading.FORMATS,)


class Chunk(NamedTuple):
    """Some rows: `numbers` are theirs in the file, counted from 0; `unread` holds (number, reason).

    `frame` and `kept` have a row for each of `numbers`: what the model reads, and the columns that
    the caller wants back, as the file has them.
    """

    numbers: Sequence[int]
    frame: pd.DataFrame
    kept: pd.DataFrame
    unread: list[tuple[int, str]] = []
    names: list[str] = []  # of all columns that the rows have


def is_table(path: Path) -> bool:
    """Say whether a file's name says that it holds a table."""
    return packed_files.suffix_of(path) in SUFFIXES


def chunks(path: Path, served: ServedModel, keep: list[str], n_rows: int) -> Iterator[Chunk]:
    """Yield the rows of a file, `n_rows` at a time; what is wrong with the file is a `UserError`.

    The first chunk has no rows: it shows the columns of the file, JSON aside, where each record has
    its own.
    """
    declared = served.columns | served.sources
    form = served.declaration.csv
    reading.check_file(path)
    if reading.format_of(path) == "csv":
        form, declared, differs = csv_forms.of(path, form, declared)
        if differs:
            logger.warning("%s: %s", path.name, differs)
    pieces = reading.pieces(path, form, wanted={*declared, *keep}, n_rows=n_rows, skip_damaged=True)
    for piece in pieces:
        index = range(len(piece.numbers))
        frame = {
            name: reading.row_values(values, declared[name], form, piece.written)
            for name, values in piece.columns.items()
            if name in declared
        }
        kept = {
            name: _as_it_is(piece.columns.get(name), len(index), piece.written) for name in keep
        }
        if not piece.numbers and not piece.unread:  # only the columns
            frame = {name: frame.get(name, []) for name in piece.columns}
            kept = {name: kept[name] for name in keep if name in piece.columns}
        table, back = pd.DataFrame(frame, index), pd.DataFrame(kept, index)
        yield Chunk(piece.numbers, table, back, piece.unread, [*piece.columns])


def _as_it_is(values: Any, n_rows: int, written: bool) -> pd.Series:
    if values is None:
        return pd.Series([None] * n_rows, dtype=object)
    if written:  # an empty field is a missing value there too
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return typed.for_pandas(values) if isinstance(values, pa.Array) else _plain(values)


def _plain(values: list[Any]) -> pd.Series:
    """Return values of JSON, whole numbers exactly."""
    try:
        return typed.for_pandas(pa.array(values))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pd.Series(values, dtype=object)
