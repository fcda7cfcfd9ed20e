"""Rows on which a model is measured, and which of them it has seen in training."""

import numpy as np
import pandas as pd

from util_lib import validation
from util_lib.errors import UserError


def check_columns(frame: pd.DataFrame, columns: list[str], target: str, task: str) -> None:
    """Raise `UserError` if the table lacks a column, or has rows without a usable target."""
    for name in [*columns, target]:
        if name not in frame.columns:
            names = list(map(str, frame.columns))
            raise UserError(f"test data: {validation.choose('column', name, names)}")
    if n_missing := int(frame[target].isna().sum()):
        raise UserError(
            f"target {target!r} must have a value in every row, {n_missing:,} of {len(frame):,} "
            "rows of the test data have none"
        )
    if task == "regression" and not pd.api.types.is_numeric_dtype(frame[target]):
        raise UserError(
            f"target {target!r} must hold numbers, as the model predicts them, found "
            f"{frame[target].iloc[0]!r} in the test data"
        )


def seen(frame: pd.DataFrame, training: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Return a mask of the rows of `frame` that equal a training row in all `columns`.

    5 and 5.0 are equal, and so are two nulls.
    """
    return np.isin(_hashes(frame, columns), _hashes(training, columns))


def _hashes(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    plain = {}
    for number, name in enumerate(columns):
        column = frame[name]
        is_number = pd.api.types.is_numeric_dtype(column)
        plain[number] = (
            column.to_numpy("float64", na_value=np.nan)
            if is_number
            else column.astype(object).where(column.notna(), None).map(str).to_numpy()
        )
    table = pd.DataFrame(plain, index=range(len(frame)))
    return pd.util.hash_pandas_object(table, index=False).to_numpy()
