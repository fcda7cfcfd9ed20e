"""What the rows that a model answers are compared with later: written with it, read by monitoring.

Two files beside the model. `monitoring_reference.parquet` holds the columns of the rows that the
model was fitted on, each sorted on its own: their distributions, and no row.
`monitoring_outputs.parquet` holds what the model answered to rows that it was not fitted on, their
target and no input. The same rows give the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from util_lib.dataset.columns import Column, Monitored
from util_lib.errors import DamagedModelError
from util_lib.model.config import TEXT
from util_lib.model.uncertainty import standard_errors
from util_lib.tables import drawing

INPUTS_FILE, OUTPUTS_FILE = "monitoring_reference.parquet", "monitoring_outputs.parquet"
MOST_ROWS = 10_000  # of each: a share of them is off by up to 0.005 (one standard error)
METRICS = {"classification": "accuracy", "regression": "mae"}
EVALUATE = "evaluate"  # job type of the runs that measure a model on test rows


@dataclass(frozen=True)
class OwnScore:
    """What a model reached on rows that it had not seen, and on which: `test` or `validation`."""

    metric: str  # accuracy, or mae
    value: float
    error: float  # one standard error
    n: int
    split: str


@dataclass(frozen=True, eq=False)
class ModelReference:
    """What one version of a model is judged by; what is None is not known.

    `modes` says what the log keeps of each column of the model, `columns` how it is declared;
    `inputs` holds the same, but no hashes. `outputs` has the columns prediction,
    confidence (the largest probability; not of a regression) and target.
    """

    version: str
    task: str
    target: str
    modes: dict[str, Monitored] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    inputs: pd.DataFrame | None = None
    outputs: pd.DataFrame | None = None
    score: OwnScore | None = None


def tables(
    train: pd.DataFrame,
    modes: dict[str, Monitored],
    answers: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return what is to be written, Arrow tables by the names of their files.

    Of each column there is what `modes` says (`Declaration.monitored`), but no hashes: their key is
    another in each log. `answers` are the probabilities, by `classes`, of rows that the model was
    not fitted on, or numbers; `truth` is what they should be. Where the training rows or these are
    more than MOST_ROWS, those are drawn by a hash of their places.
    """
    import pyarrow as pa

    sample = train[[*modes]].take(_drawn(len(train)))
    sorted_columns = {
        name: values
        for name, mode in modes.items()
        if (values := _sorted(sample[name], mode)) is not None
    }
    made = {INPUTS_FILE: pa.table(sorted_columns)}
    if answers is None or truth is None or not len(truth):
        return made
    rows = _drawn(len(truth))
    answers, truth = answers[rows], truth[rows]
    if classes is None:
        outputs = {"prediction": answers.astype(float), "target": truth.astype(float)}
    else:
        outputs = {
            "prediction": pa.array([str(name) for name in classes[answers.argmax(axis=1)]]),
            "confidence": answers.max(axis=1).astype("float32"),
            "target": pa.array([str(name) for name in truth]),
        }
    return made | {OUTPUTS_FILE: pa.table(outputs)}


def write(made: dict[str, Any], directory: Path) -> None:
    """Write what `tables` returned into a model directory."""
    import pyarrow.parquet as pq

    for name, table in made.items():
        pq.write_table(table, directory / name, compression="zstd")


def read(directory: str | Path, version: str, about: Any, exported: Any = None) -> ModelReference:
    """Return the reference in a model directory; of a model without, one that knows nothing.

    `about` is what the model's metadata say (`config.described`). The score is that of the newest
    run that measured the artifact `exported` on test rows; where there is none, or no store, that
    of the validation rows in the directory.
    """
    inputs, outputs = _read(Path(directory, INPUTS_FILE)), read_outputs(directory)
    modes = about.declaration.monitored(about.features.names())
    known = about.declaration.of_table(about.features, about.target)
    columns = {name: known.get(name, TEXT) for name in modes}
    score = _on_test_rows(exported, about.task) if exported is not None else None
    if score is None and outputs is not None:
        score = _on_validation_rows(outputs, about.task)
    return ModelReference(version, about.task, about.target, modes, columns, inputs, outputs, score)


def read_outputs(directory: str | Path) -> pd.DataFrame | None:
    """Return a model's answers to validation rows, None where it has none beside it."""
    return _read(Path(directory, OUTPUTS_FILE))


def _drawn(n_rows: int) -> np.ndarray:
    """Return the places of at most MOST_ROWS rows, in an order that says nothing of theirs."""
    hashes = drawing.hashes(0, n_rows, 0)
    places = np.arange(n_rows)
    if n_rows > MOST_ROWS:
        places = np.argpartition(hashes, MOST_ROWS)[:MOST_ROWS]
    return places[np.argsort(hashes[places])]


def _sorted(values: pd.Series, mode: Monitored) -> Any:
    """Return what is kept of a column, sorted; None where that is nothing to compare with."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if mode in ("hash", "drop"):
        return None
    if mode == "length":
        values = values.astype("str").str.len().astype("float64").astype("Int32")
    try:
        found = pa.array(values.to_numpy() if values.dtype == object else values, from_pandas=True)
        if pa.types.is_dictionary(found.type):
            found = found.dictionary_decode()
        return found.take(pc.sort_indices(found))
    except (pa.ArrowException, ValueError, TypeError):
        return None  # values of several types: monitoring says that the reference lacks it


def _read(path: Path) -> pd.DataFrame | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    try:
        return pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DamagedModelError(f"{path} is no parquet file: {error}") from error


def _on_test_rows(exported: Any, task: str) -> OwnScore | None:
    metric = METRICS[task]
    names: Sequence[str] = [f"test_{metric}", f"test_{metric}_se", "test_rows"]
    found = [
        dict(run.summary)
        for run in exported.used_by()
        if run.job_type == EVALUATE and run.state == "finished"
    ]
    found = [summary for summary in found if all(name in summary for name in names)]
    if not found:
        return None
    value, error, n = (found[-1][name] for name in names)
    return OwnScore(metric, float(value), float(error), int(n), "test")


def _on_validation_rows(outputs: pd.DataFrame, task: str) -> OwnScore | None:
    truth, answers = outputs["target"].to_numpy(), outputs["prediction"].to_numpy()
    if task == "regression":
        value, error = np.abs(truth - answers).mean(), standard_errors.of_mae(truth, answers)
    else:
        value, error = (truth == answers).mean(), standard_errors.of_accuracy(truth, answers)
    if not np.isfinite(error):
        return None
    return OwnScore(METRICS[task], float(value), float(error), len(truth), "validation")
