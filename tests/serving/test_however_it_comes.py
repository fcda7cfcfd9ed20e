"""Tables of all sorts, declared and written in all sorts of ways, mean the same however they come.

The typed table, its bytes once cleaned, which rows repeat, the statistics of drift and a model's
answers are those of the values that were written: in parquet, Arrow, JSON, CSV and over HTTP.
"""

import dataclasses
import datetime
import json
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather
from service_support import running
from serving_support import OFFICE, office_rows

from serving import predict
from serving.model.loaded import Loaded
from serving.model.row_schema import RowSchema
from util_lib.checks import drift
from util_lib.dataset.declaration import Data
from util_lib.tables import cleaning, reading, typed

MARKS = st.sampled_from("aZ04?N#-\"';,\\\n\r\t =é")
TEXTS = st.text(
    MARKS | st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6
)
VALUES = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([2.0**63, 1e20]),
    "bool": st.booleans(),
    "string": TEXTS,
    "datetime": st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
}
OF_THE_MODEL = {
    "day": st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)).map(
        lambda day: datetime.datetime(day.year, day.month, day.day)
    ),
    "temp": st.floats(-1e9, 1e9),
    "fee": st.integers(-(2**53), 2**53).filter(lambda fee: fee != -999),
    "land": TEXTS | st.sampled_from(["NA", "ZA", "NO", "null"]),
    "code": TEXTS | st.sampled_from(["4", "04", "1e3", "1000"]),
    "flag": st.booleans(),
}
# How the values of a column may be written, and what may stand for a missing one.
WRITTEN = {
    "int": {"thousands": [None, ".", "'"], "strip": [[], ["EUR"]], "missing": [[], [-999]]},
    "float": {"decimal": [None, ","], "strip": [[], ["°"]], "missing": [[], [-999], [0.5]]},
    "datetime": {"date_format": [None, "%d.%m.%Y"], "missing": [[], ["1900-01-01"]]},
    "string": {"missing": [[], ["?"], ["NA", "0"]]},
    "bool": {"missing": [[]]},
}
FORMS = {
    "separator": [",", ";", "\t", "|"],
    "encoding": ["utf-8", "utf-16", "cp1252"],
    "skip_lines": [0, 2],
    "footer_lines": [0, 1],
    "trailing_separator": [False, True],
    "quote": ['"', "'"],
    "escape": [None, "\\"],
    "comment": [None, "#"],
    "trim": [False, True],
    "decimal": [".", ","],
    "thousands": [None, " ", "_"],
    "missing": [[], ["n.a.", "-"]],
}
REFERENCE = office_rows(40, 7)


class Table(NamedTuple):
    """Rows as they are meant, how they are declared to be written, and a way in which they come."""

    data: Data
    rows: list[tuple]
    way: str

    def arrow(self):
        columns = zip(self.data.columns.items(), zip(*self.rows, strict=True), strict=True)
        return pa.table({n: pa.array(v, typed.TYPES[c.dtype]) for (n, c), v in columns})

    def records(self):
        return [
            {
                name: _in_json(value, column, number)
                for (name, column), value in zip(self.data.columns.items(), row, strict=True)
            }
            for number, row in enumerate(self.rows)
        ]

    def text(self):
        form, lines = self.data.csv, []
        lines += [f"a title, {form.quote}open"] * form.skip_lines
        lines.append(form.separator.join(self.data.columns))
        for number, row in enumerate(self.rows):
            cells = zip(row, self.data.columns.values(), strict=True)
            line = form.separator.join(_cell(*cell, form, number) for cell in cells)
            lines.append(line + form.separator * form.trailing_separator)
            lines += [f"  {form.comment} {form.quote} no row"] * bool(form.comment)
        lines += ["", f"* {form.quote}preliminary"] * form.footer_lines
        return "".join(f"{line}\n" for line in lines)


def _in_json(value, column, number):
    if value is None:
        return [None, *column.missing][number % (1 + len(column.missing))]
    if isinstance(value, float) and value.is_integer() and 0 < abs(value) < 1e21:
        return int(value)  # as JavaScript writes it
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _cell(value, column, form, number):
    if value is None:
        words = ["", *form.missing, *map(str, column.missing)]
        text = words[number % len(words)]
    elif isinstance(value, datetime.datetime):
        text = value.strftime(column.date_format) if column.date_format else value.isoformat()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = _number(value, column, form, number)
    else:
        text = str(value)
    if isinstance(value, str) or form.separator in text or form.quote in text:
        text = _quoted(text, form)
    return f" {text} " if form.trim else text


def _number(value, column, form, number):
    decimal, thousands = column.decimal or form.decimal, column.thousands or form.thousands
    text = repr(value)
    if thousands and "e" not in text:
        whole, dot, rest = text.lstrip("-").partition(".")
        sign = text[: text.startswith("-")]
        text = sign + f"{int(whole):,}".replace(",", thousands) + (dot and decimal + rest)
    else:
        text = text.replace(".", decimal)
    for part in column.strip:
        text = f"{part} {text}" if number % 2 else f"{text} {part}"
    return text


def _quoted(text, form):
    escape = form.escape or form.quote
    if form.escape:
        text = text.replace(escape, escape * 2)
    return form.quote + text.replace(form.quote, escape + form.quote) + form.quote


def _as_meant(value, column, form):
    """Return a value, None where the declaration takes it for a missing one."""
    missing = [*column.missing, *form.missing, ""]
    if isinstance(value, datetime.datetime):
        return None if value.isoformat().removesuffix("T00:00:00") in missing else value
    if isinstance(value, str):
        value = value.encode(form.encoding, "ignore").decode(form.encoding)
        value = value.strip() if form.trim else value
    return None if not isinstance(value, bool) and value in missing else value


@st.composite
def tables(draw):
    """Draw the columns of the model and some others, how all are written, and rows that repeat."""
    form = {key: draw(st.sampled_from(choices)) for key, choices in FORMS.items()}
    if form["separator"] == form["decimal"]:
        form["decimal"] = "."
    others = dict(enumerate(draw(st.lists(st.sampled_from([*VALUES]), max_size=3))))
    columns = {name: {**declared} for name, declared in OFFICE.items()}
    columns |= {
        f"c{place}": {"dtype": dtype, "role": "ignore", "nullable": True}
        for place, dtype in others.items()
    }
    for name, column in columns.items():
        keys = WRITTEN[column["dtype"]]
        column |= {key: draw(st.sampled_from(choices)) for key, choices in keys.items()}
        if name not in OFFICE and "date_format" in column:
            column["date_format"] = None  # it has a time of day
    columns["left"] = {"dtype": "string", "role": "target"}
    given = {"file_url": "t", "target": "left", "columns": columns, "csv": form}
    data = Data.model_validate(given | {"drop_duplicates": True})
    values = {**OF_THE_MODEL, **{f"c{place}": VALUES[dtype] for place, dtype in others.items()}}
    cells = [value if name == "fee" else st.none() | value for name, value in values.items()]
    drawn = draw(st.lists(st.tuples(*cells, st.just("yes")), min_size=1, max_size=4))
    rows = [
        tuple(_as_meant(v, c, data.csv) for v, c in zip(row, data.columns.values(), strict=True))
        for row in drawn
    ]
    again = [rows[place % len(rows)] for place in draw(PLACES)]
    return Table(data, rows + again, draw(st.sampled_from(["jsonl", "csv", "arrow"])))


PLACES = st.lists(st.integers(0, 3), max_size=2)


def _written(table, folder):
    """Write a table in each format; return the paths by suffix."""
    paths = {suffix: folder / f"t.{suffix}" for suffix in ("parquet", "arrow", "jsonl", "csv")}
    pq.write_table(table.arrow(), paths["parquet"])
    feather.write_feather(table.arrow(), paths["arrow"])
    lines = "\n".join(map(json.dumps, table.records()))
    paths["jsonl"].write_text(lines, encoding="utf-8")
    paths["csv"].write_bytes(table.text().encode(table.data.csv.encoding))
    return paths


def _is_read_as_it_is_meant(table, folder):
    paths = _written(table, folder)
    read = {suffix: cleaning.read(path, table.data) for suffix, path in paths.items()}
    expected = read["parquet"]
    values = [[None if pd.isna(v) else v for v in expected[n].astype(object)] for n in expected]
    assert [*zip(*values, strict=True)] == table.rows
    for frame in read.values():
        pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    cleaned = {suffix: cleaning.clean(frame, table.data) for suffix, frame in read.items()}
    assert len(cleaned["parquet"]) == len({*table.rows})
    content = {suffix: _bytes(frame, folder) for suffix, frame in cleaned.items()}
    assert all(each == content["parquet"] for each in content.values())


@pytest.fixture(scope="module")
def ask(office_directory, tmp_path_factory):
    """Ask one model, which is declared as a table is, for its rows however they come."""
    folder = tmp_path_factory.mktemp("tables")
    with running(office_directory) as service:
        loaded = service.slots[0].loaded
        yield lambda table: _is_answered_the_same(table, folder, service, loaded)


def _is_answered_the_same(table, folder, service, loaded):
    declaration = loaded.model.declaration.model_copy(
        update={"columns": table.data.columns, "csv": table.data.csv}
    )
    columns = {name: table.data.columns[name] for name in loaded.model.columns}
    model = dataclasses.replace(loaded.model, columns=columns, declaration=declaration)
    service.slots[0].loaded = Loaded(model, RowSchema(model), loaded.card, loaded.examples)
    paths, body = _written(table, folder), table.text().encode()
    way = paths[table.way]
    frames = [cleaning.read(path, table.data) for path in (paths["parquet"], way)]
    one, other = (drift.compare(frame, REFERENCE, table.data, 0.05) for frame in frames)
    assert repr(one) == repr(other)
    answers = {path.name: _batch(model, path, folder) for path in (paths["parquet"], way)}
    answers["json"] = _http(service, json={"dataframe_records": table.records()})
    answers["csv"] = _http(service, data=body, kind="text/csv")
    if table.data.csv.separator != ",":
        usual = folder / "usual.csv"
        reading.write(frames[0], usual)
        answers["usual"] = _http(service, data=usual.read_bytes(), kind="text/csv")
        if table.way == "arrow":
            answers["usual file"] = _batch(model, usual, folder)
    assert all(each == answers["t.parquet"] for each in answers.values()), answers


def _bytes(frame, folder):
    """Return the bytes of a table as parquet."""
    path = folder / "cleaned.parquet"
    reading.write(frame, path)
    return path.read_bytes()


def _batch(model, path, folder):
    output = folder / "out.jsonl"
    done = predict.predict_file(model, path, output, [], 20_000)
    assert done.rejected == 0, predict.rejected_path(output).read_text()
    lines = output.read_text().splitlines()
    return [json.loads(line)["probability_yes"] for line in lines]


def _http(service, **request):
    found = service.post("/predict", **request).json()
    assert "predictions" in found, found
    return [row["probabilities"]["yes"] for row in found["predictions"]]


MANY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=100, deadline=None, suppress_health_check=MANY)
@given(tables())
def test_a_table_is_read_as_it_is_meant_however_it_comes(tmp_path, table):
    _is_read_as_it_is_meant(table, tmp_path)


@settings(max_examples=20, deadline=None, suppress_health_check=MANY)
@given(tables())
def test_rows_get_the_same_answers_however_they_come(ask, table):
    ask(table)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=MANY)
@given(tables())
def test_ten_thousand_tables_are_the_same_however_they_come(tmp_path, ask, table):
    _is_read_as_it_is_meant(table, tmp_path)
    ask(table)
