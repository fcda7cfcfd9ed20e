"""Labels that came later: kept as they were given, joined to recorded rows when a window is judged.

Each file that is loaded becomes one file of the log, named after the moment and its content: the
newest label of a row wins, within one file the last. A key is a request with its row, or an input
that is recorded as it is or as its hash.
"""

import datetime
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.records import private_files, rows
from monitoring.records.rows import RowFile
from util_lib import monitoring_log, validation
from util_lib.dataset.columns import Column
from util_lib.errors import UserError
from util_lib.model.config import Declaration
from util_lib.monitoring_log import About
from util_lib.tables import reading, typed

STAMP = "%Y%m%dT%H%M%S%f"
ROW = Column(dtype="int", role="ignore")
TEXT = Column(dtype="string", role="text")
NUMBER = Column(dtype="float", role="ignore")
N_SHOWN = 3  # of values that are wrong
EVER = (pd.Timestamp("1970-01-01"), pd.Timestamp("2200-01-01"))


class LoadedLabels(NamedTuple):
    """What became of a file of labels, counted in rows."""

    rows: int
    kept: int
    empty: int  # no label, or no key
    wrong: int  # a label that is no number
    doubled: int  # a later row of the file has the same key
    unknown: int  # keys that no recorded row has
    new_classes: list[str]  # labels that the model cannot answer
    again: bool = False  # the very same labels are there already

    def sentences(self) -> list[str]:
        """Say what is to be known, a sentence each."""
        if self.again:
            return ["these labels are there already: nothing was changed"]
        said = [f"{self.kept:,} labels kept of {self.rows:,} rows"]
        if self.empty:
            said.append(f"{self.empty:,} rows are without a label or a key and are left out")
        if self.wrong:
            said.append(f"{self.wrong:,} labels are no numbers and are left out")
        if self.doubled:
            said.append(f"{self.doubled:,} rows have the key of a later row, which counts")
        if self.unknown:
            said.append(
                f"{self.unknown:,} labels belong to no recorded row: not sampled, or not "
                "here yet; then they count once it is there"
            )
        if self.new_classes:
            shown = ", ".join(map(repr, self.new_classes[:N_SHOWN]))
            said.append(
                f"{len(self.new_classes)} classes are none that the model knows ({shown}): its "
                "answers to these rows count as wrong"
            )
        return said


def load(
    path: Path, folder: Path, project: str, key: list[str], label: str | None, found: list[RowFile]
) -> LoadedLabels:
    """Keep the labels of a table, with the key that joins them to rows; `found` are those rows."""
    abouts = [file.about for file in found]
    about = abouts[-1]
    is_number = about.task == "regression"
    join = _join(key, abouts)
    types = dict.fromkeys(key, TEXT if join is None else _column(about, join))
    types |= {key[1]: ROW} if len(key) > 1 else {}
    with _only_usual_files():
        names, _ = _names(path, types)
        given = _label_column(path, names, key, label)
        frame = reading.read(path, types | {given: NUMBER if is_number else TEXT})
    labels, wrong = _labels(frame[given], is_number)
    if not is_number and about.classes:
        labels = labels.map(_names_of_classes(labels, about.classes), na_action="ignore")
    keys = _keys(frame, key, path) if join is None else _hashed(frame[join], join, about, folder)
    lacking = labels.isna() | keys.isna().any(axis=1)
    table = keys.assign(label=labels)[~lacking]
    if (n := len(frame)) and wrong == n:
        raise UserError(
            f"{path.name}: no label in {given!r} is a number, as the model's answers are "
            f"(the first is {frame[given].iloc[0]!r}): name the column of labels, -P label=NAME"
        )
    if table.empty:
        raise UserError(f"{path.name}: no row has both a key and a label: nothing was loaded")
    unique = table.drop_duplicates([*keys], keep="last")
    new = [] if is_number else sorted({*unique["label"]} - {*(about.classes or unique["label"])})
    if new and len(new) == unique["label"].nunique():
        raise UserError(
            f"{path.name}: no label in {given!r} is a class of {about.model}: expected "
            f"{', '.join(map(repr, (about.classes or [])[:5]))}, found "
            f"{', '.join(map(repr, new[:N_SHOWN]))}"
        )
    again = not _write(unique, folder, project, join)
    n_wrong, n_empty = int(wrong), int(lacking.sum()) - int(wrong)
    unknown = int((~_known(unique, found, join)).sum())
    doubled = len(table) - len(unique)
    return LoadedLabels(n, len(unique), n_empty, n_wrong, doubled, unknown, new, again)


@contextmanager
def _only_usual_files() -> Iterator[None]:
    """Name no key of a dataset file where a file cannot be read: labels have none."""
    try:
        yield
    except UserError as error:
        said, found, _ = str(error).partition("set data.")
        if not found:
            raise
        said = re.sub(r"[,;:]( or| else)?( if [^;:,]*,)? *$", "", said.rstrip())
        raise UserError(
            f"{said}; labels are read from CSV in UTF-8 with commas and a first line of names, "
            "parquet, JSON, Excel or Arrow"
        ) from error


def of_window(
    folder: Path, project: str, found: list[RowFile], start: pd.Timestamp, end: pd.Timestamp
) -> pd.DataFrame | None:
    """Return request, row, label and time of the labelled rows of a window; None without labels."""
    parts = []
    for path in _files(folder, project):
        table = _read(path)
        join = json.loads(table.schema.metadata[b"join"])
        frame = table.to_pandas()
        if join is not None:
            asked = rows.identified(found, start, end, join)
            frame = asked.merge(frame, on="key")[["request", "row", "label"]]
        moment = datetime.datetime.strptime(path.name.partition("-")[0], STAMP)
        parts.append(frame.assign(time=pd.Timestamp(moment, tz="UTC")))
    if not parts:
        return None
    labels = pd.concat(parts, ignore_index=True)
    asked = rows.identified(found, start, end, None)
    labels = labels.drop_duplicates(["request", "row"], keep="last")
    return labels.merge(asked, on=["request", "row"])[["request", "row", "label", "time"]]


def newest(folder: Path, project: str) -> str:
    """Return the name of the newest file of labels, empty without one."""
    return max((path.name for path in _files(folder, project)), default="")


def _files(folder: Path, project: str) -> list[Path]:
    return sorted((folder / monitoring_log.LABELS / f"project={project}").glob("[0-9]*.parquet"))


def _read(path: Path) -> Any:
    try:
        return pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read ({reason}): remove it and load its labels again"
        ) from error


def _join(key: list[str], abouts: list[About]) -> str | None:
    """Return the input by which labels are joined; None = by request and row."""
    if len(key) == 2 or (len(key) == 1 and key[0] in ("request", "request_id")):
        return None
    if len(key) != 1 or not key[0]:
        raise UserError(f"key must be two columns, request_id,row, or one; found {','.join(key)!r}")
    modes = abouts[-1].monitor
    mode = modes.get(key[0])
    if mode is None:
        raise UserError(
            f"key: {validation.choose('recorded column', key[0], [*modes])}; or request_id,row"
        )
    if mode == "length":
        raise UserError(
            f"key: {key[0]!r} is recorded as its length alone: declare it with monitor: hash (or "
            "keep), or join by request_id,row"
        )
    return key[0]


def _names(path: Path, types: dict[str, Column]) -> tuple[list[str], int]:
    names, n_rows = dict[str, None](), 0
    for piece in reading.pieces(path):
        names |= dict.fromkeys(piece.columns)
        n_rows += len(piece.numbers)
    reading.check_shape(path, len(names), n_rows)
    for name in types:
        if name not in names:
            raise UserError(f"{path.name}: {validation.choose('column', name, [*names])}")
    return [*names], n_rows


def _label_column(path: Path, names: list[str], key: list[str], label: str | None) -> str:
    others = [name for name in names if name not in key]
    if label is not None:
        if label not in others:
            raise UserError(f"{path.name}: {validation.choose('column', label, others)}")
        return label
    if len(others) == 1 or "label" in others:
        return others[0] if len(others) == 1 else "label"
    raise UserError(
        f"{path.name} has {'the columns ' + ', '.join(others) if others else 'no column'} besides "
        "the key: name the one of labels, -P label=NAME"
    )


def _labels(values: pd.Series, is_number: bool) -> tuple[pd.Series, int]:
    if is_number:
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
        numbers = numbers.where(np.isfinite(numbers))
        return numbers, int((numbers.isna() & values.notna()).sum())
    whole = pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all()
    written = values.astype("Int64") if whole else values
    return written.astype("str").where(values.notna()), 0


def _names_of_classes(labels: pd.Series, classes: list[str]) -> dict[str, str]:
    """Map labels to the classes that they mean: the same text, else the one of the same number.

    A class 1 is `1.0` in a column of doubles. Where `04` and `4` are classes `4.0` may be either.
    """
    found = {}
    for label in labels.dropna().unique():
        same = [name for name in classes if _number(name) == _number(label) is not None]
        found[label] = same[0] if label not in classes and len(same) == 1 else label
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _column(about: About, name: str) -> Column:
    """Return how an input is declared, for a table of any form."""
    declared = Declaration.model_validate(about.declaration).columns.get(name, TEXT)
    return reading.own({name: declared})[name]


def _hashed(values: pd.Series, name: str, about: About, folder: Path) -> pd.DataFrame:
    """Return the values of an input as the log has them, as texts."""
    kind = typed.TYPES[_column(about, name).dtype]
    try:
        array = pa.Array.from_pandas(values).cast(kind)
    except pa.ArrowException:
        raise UserError(
            f"key: values of {name!r} are no {kind} as the model's are: correct the column"
        ) from None
    kept = monitoring_log.kept(array, about.monitor[name], monitoring_log.key(folder))
    return pd.DataFrame({"key": kept.cast(pa.string()).to_pandas()})


def _keys(frame: pd.DataFrame, key: list[str], path: Path) -> pd.DataFrame:
    texts = frame[key[0]].astype("str").where(frame[key[0]].notna())
    found = pd.DataFrame({"request": texts, "row": 0})
    if len(key) > 1:
        numbers = pd.to_numeric(frame[key[1]], errors="coerce").astype("float64")
        found["row"] = numbers.where((numbers % 1 == 0) & numbers.abs().lt(2**53))
    if found["row"].isna().all():
        raise UserError(f"{path.name}: {key[1]!r} must be row numbers from 0, found none")
    return found.astype({"row": "Int64"})


def _known(labels: pd.DataFrame, found: list[RowFile], join: str | None) -> pd.Series:
    asked = rows.identified(found, *EVER, join)
    if join is not None:
        return labels["key"].isin(asked["key"])
    both = labels.astype({"row": "int64"}).merge(
        asked, on=["request", "row"], how="left", indicator=True
    )
    return both["_merge"] == "both"


def _write(labels: pd.DataFrame, folder: Path, project: str, join: str | None) -> bool:
    """Keep labels in a new file; say whether they were not there yet."""
    fields = {"request": pa.string(), "row": pa.int32(), "key": pa.string()}
    is_number = labels["label"].dtype == "float64"
    schema = pa.schema(
        [(name, fields[name]) for name in labels if name in fields]
        + [("label", pa.float64() if is_number else pa.string())],
        {"join": json.dumps(join)},
    )
    table = pa.Table.from_pandas(labels, schema, preserve_index=False).replace_schema_metadata(
        schema.metadata
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    if newest(folder, project).endswith(f"-{digest}.parquet"):
        return False
    target = folder / monitoring_log.LABELS / f"project={project}"
    private_files.make_folder(target)
    moment = datetime.datetime.now(datetime.UTC)
    private_files.write(target / f"{moment:{STAMP}}-{digest}.parquet", content)
    return True
