"""Reads a sheet of an Excel file: small by nature, and read whole."""

import logging
import re
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from util_lib import validation
from util_lib.errors import UserError
from util_lib.tables.csv_files import refuse_repeated

logger = logging.getLogger("excel_files")

MOST_CELLS = 20_000_000
DAMAGED = (zipfile.BadZipFile, zlib.error, ElementTree.ParseError, OSError, LookupError, ValueError)
PIECE_BYTES = 2**20
FILLED = re.compile(rb'<(?:\w+:)?c\b[^>]*?\br="([A-Z]+)([0-9]+)"[^>/]*>')  # a cell's column and row
WRONG = re.compile(rb'<(?:\w+:)?c\b(?=[^>]*\bt="e")[^>]*?\br="([A-Z]+[0-9]+)"')


def columns(path: Path, sheet: str | None) -> dict[str, Any]:
    """Return the columns of a sheet; its first row with something in it names them."""
    import python_calamine  # what reads no Excel file needs none of it

    try:
        with python_calamine.CalamineWorkbook.from_path(str(path)) as book:
            names = book.sheet_names
            if sheet is None and len(names) != 1:
                raise UserError(
                    f"{path.name} has {len(names)} sheets: name one of {', '.join(names)} as "
                    "data.sheet"
                )
            if sheet is not None and sheet not in names:
                raise UserError(f"{path.name}: {validation.choose('sheet', sheet, names)}")
            height, width, errors = _looked_at(path, names.index(sheet or names[0]))
            _refuse_large(path, height, width)
            found = book.get_sheet_by_name(sheet or names[0])
            _refuse_large(path, found.height, found.width)
            before = (found.start or (0, 0))[1]  # empty columns
            rows = [row for row in found.to_python() if any(cell != "" for cell in row)]
    except python_calamine.CalamineError as error:
        raise UserError(
            f"{path.name} is no complete Excel file ({error}): save or download it again"
        ) from error
    if errors:  # for which calamine has nothing
        n_cells = "1 cell holds" if len(errors) == 1 else f"{len(errors):,} cells hold"
        logger.warning(
            "%s: %s an error of Excel such as #DIV/0! (%s first): what is there counts as missing",
            *(path.name, n_cells, errors[0]),
        )
    if not rows:
        return {}
    header = [str(_cell(cell)) if cell != "" else "" for cell in rows[0]]
    kept = [place for place, name in enumerate(header) if name or any(r[place] != "" for r in rows)]
    if nameless := [before + place + 1 for place in kept if not header[place]]:
        raise UserError(f"{path.name}: column {nameless[0]} has no name in its first row")
    refuse_repeated(path, [header[place] for place in kept])
    return {header[place]: [_cell(row[place]) for row in rows[1:]] for place in kept}


def _refuse_large(path: Path, height: int, width: int) -> None:
    if height * width > MOST_CELLS:
        raise UserError(
            f"{path.name} has {height:,} rows of {width:,} cells, and a sheet is read whole, up to "
            f"{MOST_CELLS:,} cells: empty a cell that stands far from the table, or save it as CSV"
        )


def _looked_at(path: Path, place: int) -> tuple[int, int, list[str]]:
    """Return how many rows and columns the filled cells of a sheet span, and which hold an error.

    calamine gives room to all between them before it can be asked, and without it the process ends.
    """
    columns, rows, errors, rest = set[int](), set[int](), list[str](), b""
    with suppress(*DAMAGED), zipfile.ZipFile(path) as book:
        listed = ElementTree.fromstring(book.read("xl/workbook.xml")).findall("{*}sheets/{*}sheet")
        links = ElementTree.fromstring(book.read("xl/_rels/workbook.xml.rels"))
        targets = {link.get("Id"): link.get("Target", "") for link in links}
        [target] = [targets[of] for name, of in listed[place].items() if name.endswith("}id")]
        with book.open(target[1:] if target.startswith("/") else f"xl/{target}") as part:
            while piece := part.read(PIECE_BYTES):
                text, mark, rest = (rest + piece).rpartition(b"<")
                rest = mark + rest
                found = FILLED.findall(text)
                errors += (cell.decode() for cell in WRONG.findall(text))
                columns |= {_number(letters) for letters in {letters for letters, _ in found}}
                rows |= {int(row) for row in {row for _, row in found}}
    height, width = (max(of, default=0) - min(of, default=1) + 1 for of in (rows, columns))
    return height, width, errors


def _number(letters: bytes) -> int:
    """Return the number of a column by its letters."""
    return sum(26**place * (letter - 64) for place, letter in enumerate(reversed(letters)))


def _cell(value: Any) -> Any:
    """Return a cell's value: an empty one is missing, and a whole number, a double there, whole."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return None if value == "" else value
