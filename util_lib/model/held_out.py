"""Rows on which a model is measured, and which of them it has seen in training.

Beside a model lie digests of its training rows, 8 bytes each. A row is known by its content, so
that it is found in whatever table it comes back; a test split is not searched for the rows of the
training split that it was split off from, where equal rows are repeats of the data.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from util_lib import tracking, validation
from util_lib.errors import DamagedModelError, UserError

ROWS_FILE = "training_rows.npy"  # in a model directory
MIN_ROWS = 30  # left to measure on: an accuracy of fewer has a standard error of up to 0.09


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


def training_rows(exported: Any) -> Any | None:
    """Return the artifact with the rows that a model was fitted on, None where it is gone."""
    reference = ((exported.metadata or {}).get("data") or {}).get("artifact")
    api = tracking.Api()
    if not reference or ":" not in reference or not api.artifact_exists(reference):
        return None
    return api.artifact(reference)


def split_off_together(trained: Any | None, test: Any) -> bool:
    """Say whether one run made the training rows and the test rows: no row is in both."""
    if trained is None or trained.type != test.type:
        return False
    with tracking.lineage():
        makers = [artifact.logged_by() for artifact in (trained, test)]
    return None not in makers and makers[0].id == makers[1].id


def read_digests(directory: str | Path) -> np.ndarray | None:
    """Return the digests in a model directory, None of a model that was exported without."""
    path = Path(directory, ROWS_FILE)
    if not path.exists():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedModelError(f"{path} holds no digests of rows: {error}") from error
    if found.dtype != np.uint64 or found.ndim != 1:
        raise DamagedModelError(f"{path} holds no digests of rows: {found.ndim} x {found.dtype}")
    return found


def seen(frame: pd.DataFrame, digests: np.ndarray, columns: list[str]) -> np.ndarray:
    """Return a mask of the rows of `frame` that equal a training row in all `columns`."""
    return np.isin(hashes(frame, columns), digests)


def refuse_few(n_left: int, n_seen: int, version: str, min_rows: int = MIN_ROWS) -> None:
    """Raise `UserError` where training has seen so many rows that too few are left."""
    if n_seen and n_left < min_rows:
        raise UserError(
            f"{n_seen:,} of the {n_seen + n_left:,} rows of {version} were trained on: {n_left:,} "
            f"are left to measure on, and at least {min_rows:,} are needed; measure on rows that "
            "training has not seen"
        )


def hashes(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Return 8 bytes for each row: those of its `columns`.

    5 and 5.0 give the same, and so do two nulls.
    """
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
