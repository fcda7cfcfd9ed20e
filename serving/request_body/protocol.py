"""MLflow's scoring protocol: the body of a request as rows, and labels as its answer.

See https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally and, for what its own server
takes, mlflow.pyfunc.scoring_server. Rows are plain dictionaries; a missing value is None, however
it was written (null, NaN, an empty CSV field, a key that is not there).
"""

import csv
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from serving.model import csv_forms
from serving.model.csv_forms import Form
from serving.request_body import bounded_json
from serving.request_body.refusals import RequestError
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.tables import csv_files, json_files, typed

FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")
JSON, CSV = "application/json", "text/csv"

Row = dict[str, Any]


class Known(NamedTuple):
    """What is known of a request before it is read: the model's columns, and what is too much."""

    columns: dict[str, Column]
    sources: dict[str, Column]
    max_rows: int
    max_values: int  # of a row
    form: Csv = Csv()  # how the CSV file was written that the model is from


def read(body: bytes, content_type: str | None, known: Known) -> list[Row]:
    """Return the rows of a request's body; `RequestError` says what is wrong with its form.

    The declared columns say how the texts of a CSV file are meant; JSON has types of its own.
    """
    kind = _content_type(content_type)
    text = _text(body)
    if kind == CSV:
        rows = _csv(text, known)
    else:
        rows = _json(text, known)
    if not rows:
        raise RequestError(400, "the request has no rows: send at least one")
    return rows


def answer(labels: Sequence[Any], warnings: list[str]) -> bytes:
    """Return labels as MLflow's server answers them, and what may not be meant in the request."""
    content: dict[str, Any] = {"predictions": list(labels)}
    return json.dumps(content | ({"warnings": warnings} if warnings else {})).encode()


def _content_type(header: str | None) -> str:
    kind, *parameters = [part.strip() for part in (header or "").split(";")]
    if kind.lower() not in (JSON, CSV):
        raise RequestError(
            415, f"Content-Type must be {JSON} or {CSV}, found {kind[:80] or 'none'!r}"
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
            raise RequestError(415, f"charset must be utf-8, found {value[:80]!r}")
    return kind.lower()


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"the body must be UTF-8; byte {error.start} of it is not"
        ) from None


def _json(text: str, known: Known) -> list[Row]:
    names, max_rows = list(known.columns), known.max_rows
    try:
        content = bounded_json.loads(text, max_rows, known.max_values)
        is_text = json_files.is_text(content, text)
    except json.JSONDecodeError as error:
        raise RequestError(
            400, f"the body must be JSON: {error.msg}, line {error.lineno} column {error.colno}"
        ) from None
    except json_files.RepeatedKeyError as error:
        raise RequestError(400, str(error)) from None
    except ValueError:  # Python refuses numbers of more than 4,300 digits
        raise RequestError(400, "the body holds a number of more than 4,300 digits") from None
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply") from None
    if not is_text:
        raise RequestError(400, "the body holds half of a surrogate pair, which is no text")
    given = [key for key in FORMATS if isinstance(content, dict) and key in content]
    if len(given) != 1:
        found = f"found {len(given)} of them" if isinstance(content, dict) else "found no object"
        raise RequestError(
            400, f"the body must be an object with exactly one of {', '.join(FORMATS)}; {found}"
        )
    form = given[0]
    if form == "dataframe_split":
        rows = _split(content[form], max_rows)
    elif form == "dataframe_records":
        rows = _records(content[form], form)
    else:
        rows = _tensors(content[form], form, names, max_rows)
    return _limited(rows, max_rows)


def _split(content: Any, max_rows: int) -> list[Row]:
    if not isinstance(content, dict) or not {"columns", "data"} <= content.keys():
        raise RequestError(400, "dataframe_split must be an object with columns and data")
    columns, data = content["columns"], content["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise RequestError(400, "dataframe_split: columns must be a list of names")
    if len(set(columns)) < len(columns):
        raise RequestError(400, "dataframe_split: columns must differ, one name occurs twice")
    if not isinstance(data, list):
        raise RequestError(400, "dataframe_split: data must be a list of rows")
    _limited(data, max_rows)
    width = len(columns)
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != width:
            found = f"{len(row)}" if isinstance(row, list) else "no list"
            raise RequestError(
                400,
                f"dataframe_split: row {number} must list {width} values, found {found}",
            )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _records(content: Any, form: str) -> list[Row]:
    if not isinstance(content, list):
        raise RequestError(400, f"{form} must be a list of rows")
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise RequestError(400, f"{form}: row {number} must be an object of column: value")
    return content


def _tensors(content: Any, form: str, names: list[str], max_rows: int) -> list[Row]:
    """Read `inputs` or `instances`: rows, or columns, or the values of a model's only column."""
    if isinstance(content, dict):
        if not any(isinstance(values, list) for values in content.values()):
            return [content]  # one row
        return _columns(content, form, max_rows)
    if isinstance(content, list) and len(names) == 1 and not isinstance(content[:1], dict):
        return [row if isinstance(row, dict) else {names[0]: row} for row in content]
    return _records(content, form)


def _columns(content: dict[str, Any], form: str, max_rows: int) -> list[Row]:
    lengths = {}
    for name, values in content.items():
        if not isinstance(values, list):
            raise RequestError(400, f"{form}: column {name[:80]!r} must be a list, as others are")
        lengths[len(values)] = name
    if len(lengths) > 1:
        (short, one), (long, other) = sorted(lengths.items())[:: len(lengths) - 1]
        raise RequestError(
            400,
            f"{form}: all columns must have as many values, {one[:80]!r} has {short} and "
            f"{other[:80]!r} has {long}",
        )
    _limited(next(iter(content.values())), max_rows)
    return [
        dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)
    ]


def _csv(text: str, known: Known) -> list[Row]:
    body = text.encode()
    form, columns, _ = csv_form(body, known)
    rows: list[list[str]] = []
    header: list[str] = []
    try:
        with csv_files.opened(body, form) as file:
            # csv itself would take what follows an opening quote for one field.
            for line in csv_files.rows_of(file, form):
                if not line:
                    continue
                if not header:
                    header = _header(line, form, known)
                    continue
                if form.trailing_separator and len(line) == len(header) + 1 and not line[-1]:
                    line = line[:-1]
                if len(line) != len(header):
                    raise RequestError(
                        400,
                        f"CSV: row {len(rows)} must have {len(header)} fields as the header has, "
                        f"found {len(line)}",
                    )
                rows.append(line)
                _limited(rows, known.max_rows)
    except csv.Error as error:
        raise RequestError(400, f"the body must be CSV: {error}, in row {len(rows)}") from None
    texts = zip(*rows, strict=True) if rows else [()] * len(header)
    read = [
        _values([*column], columns.get(name), form)
        for name, column in zip(header, texts, strict=True)
    ]
    return [dict(zip(header, row, strict=True)) for row in zip(*read, strict=True)]


def csv_form(body: bytes, known: Known) -> Form:
    """Return how a CSV body is written, and how that differs from the model's own file."""
    form = known.form.model_copy(update={"encoding": "utf-8"})
    return csv_forms.of(body, form, known.sources | known.columns)


def _header(line: list[str], form: Csv, known: Known) -> list[str]:
    if len(line) > known.max_values:
        raise RequestError(
            413, f"CSV: a row may have {known.max_values:,} fields, found {len(line):,}"
        )
    header = [name.strip() for name in line] if form.trim else line
    if len(set(header)) < len(header):
        raise RequestError(400, "CSV: the names of the columns must differ")
    return header


def _values(texts: list[str], column: Column | None, form: Csv) -> list[Any]:
    """Return what the texts of a column stand for; one that it cannot be stays, and is refused."""
    if column is None:
        return [text or None for text in texts]
    found = typed.read(pa.array(texts, pa.string()), column, form, written=True)
    values = found.values.to_pylist()
    if column.dtype == "datetime":
        values = [value and value.isoformat() for value in values]
    return [t if wrong else v for t, v, wrong in zip(texts, values, found.wrong, strict=True)]


def _limited(rows: list[Any], max_rows: int) -> list[Any]:
    if len(rows) > max_rows:
        raise RequestError(
            413, f"a request may have {max_rows:,} rows: send more in several requests"
        )
    return rows
