"""Answers to rows that a loaded model has taken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from serving.model.loaded import Loaded


@dataclass
class Prediction:
    """The answer of one model to the rows of one request."""

    loaded: Loaded
    labels: list[Any]
    probabilities: np.ndarray | None
    rows: list[dict[str, Any]]  # as the model took them


def predict(loaded: Loaded, rows: list[dict[str, Any]]) -> tuple[list[Any], np.ndarray | None]:
    """Return labels, as plain values, and probabilities (rows by classes, or None)."""
    labels, probabilities = loaded.model.predict(table(loaded, rows))
    return np.asarray(labels).tolist(), probabilities


def table(loaded: Loaded, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return checked rows as the table that a model takes, numbers as doubles."""
    columns = {}
    for name, column in loaded.model.columns.items():
        values = [row.get(name) for row in rows]
        if column.dtype in ("float", "int"):
            columns[name] = np.array(values, dtype=np.float64)
        else:
            columns[name] = np.array(values, dtype=object)
    return pd.DataFrame(columns)
