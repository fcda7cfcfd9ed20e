"""The recorded rows of a project, as the judges take them: of one model, between two moments."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.judging.records import Recorded
from util_lib import monitoring_log, validation
from util_lib.errors import UserError
from util_lib.monitoring_log import About
from util_lib.tables import typed

# the roles of rows that a model answers in its own right
ANSWERS = (monitoring_log.CHAMPION, monitoring_log.BATCH)
FRAME = ("time", "request", "row", "role", "version", "share", "rejected", "prediction")
REPEATED = ("role", "version", "rejected")  # texts of which few are different
BEGINNING = pd.Timestamp("1970-01-01")


class RowFile(NamedTuple):
    """One parquet file of rows, and what it says of all of them."""

    path: Path
    about: About


def choose_project(folder: Path, asked: str | None) -> str:
    """Return the project to work on: the one asked for, else the only one."""
    there = monitoring_log.projects(folder) if folder.is_dir() else []
    if not there:
        raise UserError(
            f"{folder} has no rows: serve with -P capture=0.1 (or all) first, or set "
            f"{monitoring_log.PLACE} to where the log is"
        )
    if asked is None and len(there) > 1:
        raise UserError(f"{folder} has rows of {', '.join(there)}: choose one, -P project=NAME")
    if asked is not None and asked not in there:
        raise UserError(f"project: {validation.choose('project', asked, there)}")
    return asked or there[0]


def files(folder: Path, project: str) -> list[RowFile]:
    """Return the files of a project, in the order of their days and names."""
    paths = sorted((folder / monitoring_log.ROWS / f"project={project}").glob("day=*/*.parquet"))
    found = []
    for path in paths:
        try:
            found.append(RowFile(path, monitoring_log.about(pq.read_schema(path))))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise _unreadable(path, error) from error
    return found


def choose_model(found: list[RowFile], asked: str | None) -> str:
    """Return the model to judge, by its name without version.

    Where several are recorded it is the one that answered: the others are challengers.
    """
    there = sorted({_name(file) for file in found})
    if not there:
        raise UserError(
            "no rows are finished yet: a service ends a stream each minute, and when it stops"
        )
    if asked is not None and asked not in there:
        raise UserError(f"model: {validation.choose('model', asked, there)}")
    if asked is None and len(there) > 1:
        there = sorted({_name(file) for file in found if _has_answers(file)}) or there
        if len(there) > 1:
            raise UserError(
                f"rows of several models are recorded, {', '.join(there)}: choose one, "
                "-P model=NAME"
            )
    return asked or there[0]


def times(found: list[RowFile], model: str, since: pd.Timestamp = BEGINNING) -> np.ndarray:
    """Return when the rows came that the model answered or refused, from `since` on."""
    parts = [np.array([], "datetime64[us]")]
    for file in found:
        if _day(file) >= since.normalize():
            table = _beside(_table(file, ["time", "role"]), file, model)
            asked = pc.not_equal(table["role"], monitoring_log.SHADOW)
            moments = table["time"].filter(asked).cast(pa.timestamp("us")).to_numpy()
            parts.append(moments[moments >= since.to_datetime64()])
    return np.concatenate(parts)


def read(
    found: list[RowFile], model: str, start: pd.Timestamp, end: pd.Timestamp
) -> tuple[Recorded, About]:
    """Return the rows from `start` to before `end`, by time, and what the version says that counts.

    That is the one of `model` that answered most rows, of several the newest. Of other models come
    what they answered in its place or as its shadow. A column that another
    version recorded in another way is missing in its rows. The order does not depend on how rows
    came into files.
    """
    tables, answered = list[Any](), dict[str, tuple[int, Any, About]]()
    for file in found:
        if not start.normalize() <= _day(file) < end:
            continue
        table = _beside(_between(_table(file), start, end), file, model)
        if table.num_rows == 0:
            continue
        tables.append(table)
        if _name(file) == model:
            n = pc.sum(pc.is_in(table["role"], pa.array(ANSWERS))).as_py()
            before = answered.get(file.about.version, (0, None, file.about))[0]
            last = pc.max(table["time"]).as_py()
            answered[file.about.version] = (before + n, last, file.about)
    about = max(answered.values(), key=lambda each: each[:2])[2]
    columns = {name: _joined(tables, name) for name in tables[0].column_names if name != "inputs"}
    order = pc.sort_indices(
        pa.table({name: columns[name] for name in ("time", "request", "row", "role")}),
        [(name, "ascending") for name in ("time", "request", "row", "role")],
    )
    confidence = None
    probabilities = columns.pop("probabilities")
    if about.task != "regression":
        confidence = _largest(probabilities)[order.to_numpy()]
    frame = {name: _for_pandas(columns.pop(name).take(order), name) for name in FRAME}
    fields = {
        field.name: field.type
        for file in found
        if file.about.version == about.version
        for field in pq.read_schema(file.path).field("inputs").type
    }
    inputs = {
        name: _for_pandas(_input(tables, name, kind).take(order), name)
        for name, kind in fields.items()
    }
    rows = range(len(order))
    return Recorded(pd.DataFrame(frame, rows), pd.DataFrame(inputs, rows), confidence), about


def identified(
    found: list[RowFile], start: pd.Timestamp, end: pd.Timestamp, column: str | None
) -> pd.DataFrame:
    """Return request and row of the rows of a window, and as `key` the values of an input."""
    nothing = {"request": pa.array([], pa.string()), "row": pa.array([], pa.int32())}
    parts = [pa.table(nothing | ({"key": pa.array([], pa.string())} if column else {}))]
    for file in found:
        if start.normalize() <= _day(file) < end:
            names = ["time", "request", "row", *([f"inputs.{column}"] if column else [])]
            table = _between(_table(file, names), start, end)
            part = {"request": table["request"], "row": table["row"]}
            if column:
                part["key"] = _input([table], column, None).cast(pa.string())
            parts.append(pa.table(part))
    return pa.concat_tables(parts).to_pandas().drop_duplicates(["request", "row"])


def _name(file: RowFile) -> str:
    return file.about.model.rpartition(":")[0] or file.about.model


def _day(file: RowFile) -> pd.Timestamp:
    return pd.Timestamp(file.path.parent.name.partition("=")[2])


def _has_answers(file: RowFile) -> bool:
    found = pc.any(pc.is_in(_table(file, ["role"])["role"], pa.array(ANSWERS)))
    return bool(found.as_py())


def _table(file: RowFile, columns: list[str] | None = None) -> Any:
    try:
        with pq.ParquetFile(file.path) as opened:
            return opened.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return UserError(f"{path} cannot be read ({reason}): remove it, and its rows are not judged")


def _beside(table: Any, file: RowFile, model: str) -> Any:
    """Return the rows of a model, or of another one those beside some champion."""
    if _name(file) == model:
        return table
    roles = (monitoring_log.CHALLENGER, monitoring_log.SHADOW)
    return table.filter(pc.is_in(table["role"], pa.array(roles)))


def _between(table: Any, start: pd.Timestamp, end: pd.Timestamp) -> Any:
    kind = table.schema.field("time").type
    first, last = (pa.scalar(each.to_pydatetime(), pa.timestamp("us")) for each in (start, end))
    first, last = first.cast(kind), last.cast(kind)
    inside = pc.and_(pc.greater_equal(table["time"], first), pc.less(table["time"], last))
    return table.filter(inside)


def _joined(tables: list[Any], name: str) -> Any:
    chunks = [chunk for table in tables for chunk in table[name].chunks]
    kind = chunks[0].type if chunks else tables[0].schema.field(name).type
    return pa.chunked_array([_cast(chunk, kind) for chunk in chunks], kind)


def _input(tables: list[Any], name: str, kind: pa.DataType | None) -> Any:
    """Return a column of the inputs; null where it is not there, or of another kind."""
    chunks = []
    for table in tables:
        if "inputs" not in table.column_names:
            chunks.append(pa.nulls(table.num_rows, kind or pa.null()))
            continue
        struct = table.schema.field("inputs").type
        for chunk in table["inputs"].chunks:
            place = struct.get_field_index(name)
            there = place >= 0 and (kind is None or struct.field(place).type == kind)
            nulls = pa.nulls(len(chunk), kind or pa.null())
            chunks.append(pc.struct_field(chunk, [place]) if there else nulls)
    return pa.chunked_array(chunks, kind) if kind else pa.chunked_array(chunks)


def _cast(values: Any, kind: pa.DataType) -> Any:
    return values if values.type == kind else values.cast(kind)


def _for_pandas(values: Any, name: str) -> Any:
    values = values.combine_chunks()
    if name in REPEATED:
        return values.dictionary_encode().to_pandas()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return typed.for_pandas(values)


def _largest(lists: Any) -> np.ndarray:
    """Return the largest number of each list, NaN where there is none."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    flat = pc.list_flatten(lists).to_numpy().astype("float64")
    found = np.full(len(lengths), np.nan)
    filled = lengths > 0
    if filled.any():
        found[filled] = np.maximum.reduceat(flat, (np.cumsum(lengths) - lengths)[filled])
    return found
