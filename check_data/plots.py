"""Small pictures of two distributions: the sample, beside the reference."""

from typing import Any

import numpy as np
import pandas as pd

from util_lib.checks.drift import ColumnDrift
from util_lib.checks.shapes import shapes
from util_lib.dataset.declaration import Data
from util_lib.pages import pictures
from util_lib.tables.column_values import as_numbers, at_rows, missing

MOST_ROWS = 2**21  # of a large table, drawn


def draw(compared: ColumnDrift, sample: Any, reference: Any, data: Data) -> str:
    """Return the picture that belongs to a comparison; its title is the sentence."""
    column = data.columns[compared.column]
    is_text = column.role == "text"
    sides = [_column(frame, compared.column) for frame in (sample, reference)]
    gone = [missing(side, text=is_text) for side in sides]
    regressed = column.role == "target" and data.task == "regression"
    unit, dates = "", False
    if compared.kind == "null rate":
        sides = [lost.map({True: "null", False: "has a value"}) for lost in gone]
    else:
        sides = [side[~lost] for side, lost in zip(sides, gone, strict=True)]
        if is_text:
            sides, unit = [side.astype("str").str.len() for side in sides], "characters"
        elif column.role in ("numerical", "date") or regressed:
            unit, dates = column.unit or "", column.dtype == "datetime"
            sides = sides if dates else [as_numbers(side) for side in sides]
        else:
            sides = [side.map(str) for side in sides]
    return pictures.distributions(shapes(sides[0], sides[1], dates), compared.sentence, unit)


def _column(table: Any, name: str) -> pd.Series:
    """Return a column, of a large table at rows in even distances."""
    if isinstance(table, pd.DataFrame):
        return table[name]
    step = -(-len(table) // MOST_ROWS)
    return at_rows(table, name, np.arange(0, len(table), step))
