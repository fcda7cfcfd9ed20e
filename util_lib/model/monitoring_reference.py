"""What the rows that a model answers are compared with later: written with it, read by monitoring.

Two files beside the model. `monitoring_reference.parquet` holds the columns of the training rows
that the declaration gives the model, each sorted on its own: their distributions, and no row.
`monitoring_outputs.parquet` holds what the model answered to rows that it was not fitted on, their
target and no input.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from util_lib.dataset.columns import Column


@dataclass(frozen=True)
class OwnScore:
    """What a model reached on rows that it had not seen, and on which: `test` or `validation`."""

    metric: str  # accuracy, or mae
    value: float
    error: float  # one standard error
    n: int
    split: str


@dataclass(frozen=True)
class ModelReference:
    """What one version of a model is judged by; what is None is not known.

    `columns` are the columns of `inputs` as declared. `outputs` has the columns prediction,
    confidence (not of a regression) and target.
    """

    version: str
    task: str
    target: str
    columns: dict[str, Column]
    inputs: pd.DataFrame | None = None
    outputs: pd.DataFrame | None = None
    score: OwnScore | None = None


def read(directory: str | Path, version: str) -> ModelReference:
    """Return the reference in a model directory; of a model without, one that knows nothing."""
    raise NotImplementedError
