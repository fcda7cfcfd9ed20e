"""Reads a sheet of an Excel file: small by nature, and read whole."""

from pathlib import Path
from typing import Any

from util_lib import validation
from util_lib.errors import UserError
from util_lib.tables.csv_files import refuse_repeated

MOST_CELLS = 20_000_000


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
            found = book.get_sheet_by_name(sheet or names[0])
            if found.height * found.width > MOST_CELLS:
                raise UserError(
                    f"{path.name} has {found.height:,} rows of {found.width:,} cells, "
                    f"and a sheet is read whole, up to {MOST_CELLS:,} cells: save it as CSV"
                )
            rows = [row for row in found.to_python() if any(cell != "" for cell in row)]
    except python_calamine.CalamineError as error:
        raise UserError(
            f"{path.name} is no complete Excel file ({error}): save or download it again"
        ) from error
    if not rows:
        return {}
    header = [str(_cell(cell)) if cell != "" else "" for cell in rows[0]]
    kept = [place for place, name in enumerate(header) if name or any(r[place] != "" for r in rows)]
    if nameless := [place + 1 for place in kept if not header[place]]:
        raise UserError(f"{path.name}: column {nameless[0]} has no name in its first row")
    refuse_repeated(path, [header[place] for place in kept])
    return {header[place]: [_cell(row[place]) for row in rows[1:]] for place in kept}


def _cell(value: Any) -> Any:
    """Return a cell's value: an empty one is missing, and a whole number, a double there, whole."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return None if value == "" else value
