"""Tells how a CSV file is written that should be as a model's own file was, and what differs."""

import codecs
import csv
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.tables import csv_files, packed_files, reading, typed


class Form(NamedTuple):
    """How a file is written, what its columns are then, and how it differs from what was known."""

    csv: Csv
    columns: dict[str, Column]
    differs: str


def of(path: Path | bytes, own: Csv, columns: Mapping[str, Column]) -> Form:
    """Return how a file, or its content, is written that should be as `own` and `columns` say.

    It is where its header shows the most of `columns`. Where fields are separated in another way
    nothing else of `own` holds but what its texts mean. Else what `own` has around the table, in
    its bytes and its quotes may be there or as usual.
    """
    own = _decoded(path, own)
    begins = own.model_copy(update={"header": True, "skip_lines": 0})
    usual = [
        Csv(separator=separator, missing=own.missing, trim=own.trim)
        for separator in reversed(csv_files.SEPARATORS)
        if separator != own.separator
    ]
    best, most = begins, -1
    for candidate in (own, begins, *usual):
        if candidate.header and (known := _n_known(path, candidate, columns)) > most:
            best, most = candidate, known
    if best.separator != own.separator:
        word = csv_files.SEPARATORS[best.separator]
        return Form(
            best,
            reading.ordinary(columns),
            f"its fields are separated by {word}, which those of the model's own file are not: "
            "numbers and dates are read as usual, with a dot and as in ISO 8601",
        )
    differs = ["begins with its header"] if best is begins and own.header else []
    if best.quote != '"' and _has_usual_quotes(path, best):
        best = best.model_copy(update={"quote": '"'})
        differs.append('has " around fields')
    best, as_usual = _without_absent_ends(path, best, columns)
    differs += as_usual
    said = f"it {' and '.join(differs)}, which the model's own file did not" if differs else ""
    return Form(best, dict(columns), said)


def _n_known(path: Path | bytes, form: Csv, columns: Mapping[str, Column]) -> int:
    try:
        return len(columns.keys() & {*csv_files.first_row(path, form)})
    except (csv.Error, UnicodeError):
        return -1


def _decoded(path: Path | bytes, form: Csv) -> Csv:
    """Return `form` in UTF-8 where the file is such; a text in another encoding hardly ever is."""
    if codecs.lookup(form.encoding).name == "utf-8":
        return form
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with packed_files.opened(path) as file:
            while piece := file.read(csv_files.PIECE_BYTES):
                if "\0" in decoder.decode(piece):  # as every second byte of UTF-16
                    return form
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return form
    return form.model_copy(update={"encoding": "utf-8"})


def _has_usual_quotes(path: Path | bytes, form: Csv) -> bool:
    """Say whether fields at the start of the file begin with the usual quote, and none with its."""
    with csv_files.opened(path, form) as file:
        start = file.read(csv_files.PIECE_BYTES)
    before = rf"(?:^|{re.escape(form.separator)})[ \t]*"
    usual, own = (re.search(before + re.escape(q), start, re.M) for q in ('"', form.quote))
    return usual is not None and own is None


def _without_absent_ends(
    path: Path | bytes, form: Csv, columns: Mapping[str, Column]
) -> tuple[Csv, list[str]]:
    """Return `form` without separators at the ends and lines below the table that are not there.

    And how the file differs by that.
    """
    differs: list[str] = []
    if not (form.footer_lines or form.trailing_separator):
        return form, differs
    bare = form.model_copy(update={"footer_lines": 0})
    with csv_files.opened(path, bare) as file:
        rows = csv_files.rows_of(file, bare)
        header: list[str] = next(rows, [])
        first: list[str] = next(rows, [])
    if form.trailing_separator and len(first) == len(header):
        form = form.model_copy(update={"trailing_separator": False})
        differs.append("has rows that end without a separator")
    if form.footer_lines:
        with csv_files.opened(path, bare) as file:
            last = deque((line for line in file if line.strip()), maxlen=form.footer_lines)
        if all(_is_row(line, header, form, columns) for line in last):
            form = form.model_copy(update={"footer_lines": 0})
            differs.append("has no lines below the table")
    return form, differs


def _is_row(line: str, header: list[str], form: Csv, columns: Mapping[str, Column]) -> bool:
    """Say whether a line is a row: it has a field for each column, and what these declare."""
    try:
        row: list[str] = next(csv_files.rows_of([line], form), [])
    except csv.Error:
        return False
    if len(row) - (form.trailing_separator and not row[-1]) != len(header):
        return False
    for name, text in zip(header, row, strict=False):
        if column := columns.get(name.strip() if form.trim else name):
            found = typed.read(pa.array([text], pa.string()), column, form, written=True)
            absent = found.values.null_count > 0
            if found.wrong.any() or (absent and not column.nullable):
                return False
            if column.dtype == "string" and len(header) == 1:  # a note is a text too
                return False
    return True
