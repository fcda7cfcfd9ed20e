"""Answers as rows of the monitoring log: many together, so that one costs little."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from serving.model.served_model import ServedModel
from util_lib import monitoring_log
from util_lib.dataset.columns import Column
from util_lib.tables import typed

Rows = list[dict[str, Any]] | pd.DataFrame


class Record(NamedTuple):
    """One request, as references to what its answer was made of; nothing is copied for it.

    `rows` are as the model took them, `numbers` their places in the request. Of what was refused
    there are the kinds of refusal in `rejected` and no rows; None stands for a request as a whole.
    """

    time: float
    request: str
    role: str
    model: ServedModel
    numbers: Sequence[int | None]
    rows: Rows = []
    labels: Sequence[Any] = ()
    probabilities: np.ndarray | None = None
    rejected: list[str] | None = None


def schema(model: ServedModel) -> pa.Schema:
    """Return the schema of the streams of one model."""
    classes = None if model.classes is None else model.classes.tolist()
    names = list(model.columns)
    return monitoring_log.schema(model.version, model.task, classes, model.declaration, names)


def batch(records: list[Record], columns: pa.Schema, share: float, secret: bytes) -> pa.RecordBatch:
    """Return records of one role and one model, all answered or all refused, as rows."""
    first = records[0]
    lengths = [len(record.numbers) for record in records]
    n_rows = sum(lengths)
    times = np.array([round(record.time * 1e6) for record in records], dtype=np.int64)
    numbers: list[int | None] = []
    rejected: list[str] = []
    for record in records:
        numbers += record.numbers
        rejected += record.rejected or []
    requests = pa.array([record.request for record in records], pa.string())
    places = np.repeat(np.arange(len(records)), lengths)
    arrays = {
        "time": pa.array(times[places]).cast(columns.field("time").type),
        "request": requests.take(pa.array(places)),
        "row": pa.array(numbers, pa.int32()),
        "role": pa.repeat(pa.scalar(first.role), n_rows),
        "version": pa.repeat(pa.scalar(first.model.version), n_rows),
        "share": pa.repeat(pa.scalar(float(share)), n_rows),
    }
    if first.rejected is None:
        arrays["prediction"] = _predictions(records, columns.field("prediction").type)
        arrays["inputs"] = _inputs(records, columns.field("inputs").type, secret, n_rows)
        if first.probabilities is not None:
            arrays["probabilities"] = _lists([r.probabilities for r in records if len(r.numbers)])
    else:
        arrays["rejected"] = pa.array(rejected, pa.string())
    listed = [
        arrays[field.name] if field.name in arrays else pa.nulls(n_rows, field.type)
        for field in columns
    ]
    return pa.RecordBatch.from_arrays(listed, schema=columns)


def _predictions(records: list[Record], kind: pa.DataType) -> pa.Array:
    labels = [label for record in records for label in record.labels]
    return pa.array(labels if pa.types.is_floating(kind) else list(map(str, labels)), kind)


def _lists(parts: list[Any]) -> pa.Array:
    table = np.concatenate(parts).astype(np.float32)
    n_rows, n_classes = table.shape
    offsets = np.arange(n_rows + 1, dtype=np.int32) * n_classes
    return pa.ListArray.from_arrays(offsets, table.ravel())


def _inputs(
    records: list[Record], struct: pa.StructType, secret: bytes, n_rows: int
) -> pa.StructArray:
    model = records[0].model
    modes = model.declaration.monitored(list(model.columns))
    tables = [record.rows for record in records]
    rows = [row for table in tables if isinstance(table, list) for row in table]
    arrays = []
    for field in struct:
        values: Any = [row.get(field.name) for row in rows]
        if not rows:
            values = pd.concat([table[field.name] for table in tables])
        column = model.columns[field.name]
        whole = typed.TYPES[column.dtype]
        found = _typed(values, column, model).cast(whole, safe=False)
        arrays.append(monitoring_log.kept(found, modes[field.name], secret))
    if not arrays:  # a model that declares nothing
        return pa.array([{}] * n_rows, struct)
    return pa.StructArray.from_arrays(arrays, fields=list(struct))


def _typed(values: Any, column: Column, model: ServedModel) -> pa.Array:
    """Return checked values in their declared type, by the reader that all rows come through."""
    form = model.declaration.csv
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return typed.read_objects(list(values), column, form).values  # of several types
    return typed.read(array, column, form).values
